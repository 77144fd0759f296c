"""Takes secrets out of what servers and third parties said."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel, SecretStr

from gateway.settings.load import Config

_SHORTEST = 4  # shorter ones would hide half of every text


def mask_of(config: Config) -> Callable[[str], str]:
    """A function that replaces every secret of a config."""
    parts = (config.settings, *config.connections.values())
    secrets = sorted({one for part in parts for one in _secrets(part) if len(one) >= _SHORTEST}, key=len, reverse=True)

    def mask(text: str) -> str:
        for secret in secrets:
            text = text.replace(secret, "***")
        return text

    return mask


def _secrets(value: Any) -> Iterator[str]:
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _secrets(getattr(value, name))
    elif isinstance(value, (Mapping, list, tuple)):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _secrets(item)
