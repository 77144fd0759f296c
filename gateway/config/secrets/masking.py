"""All that a configuration keeps secret: what its settings declare as such, and what variables and files brought."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from pydantic import BaseModel, SecretStr

from gateway.config.secrets.names import is_hidden
from gateway.core.masking import MASK, url_secrets

MOST_REMEMBERED = 500  # of configurations that were in force before


def secrets_of(settings: Iterable[BaseModel], brought: Mapping[str, str]) -> dict[str, str]:
    """Every text to hide, and what to show instead of it: `brought` by its variable, the others masked."""
    hidden = dict(brought)
    for secret in (*brought, *_declared(list(settings))):
        for part in (secret, *url_secrets(secret)):
            if is_hidden(part, True):
                hidden.setdefault(part, MASK)
    return hidden


def remembered(hidden: Mapping[str, str], before: Mapping[str, str]) -> dict[str, str]:
    """The same, with what was to be hidden `before`: it may still turn up, in a destination's answer or in the log. Of
    that only so much, the latest first.
    """
    old = islice(((text, shown) for text, shown in before.items() if text not in hidden), MOST_REMEMBERED)
    return {**hidden, **dict(old)}


def _declared(value: Any) -> Iterator[str]:
    """What stands in settings as SecretStr."""
    if isinstance(value, SecretStr):
        if not is_file_url(value):
            yield value.get_secret_value()
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _declared(getattr(value, name))
    elif isinstance(value, (dict, list, tuple)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _declared(item)


def is_file_url(value: SecretStr) -> bool:
    """Whether it is that of an SQLite store: a file's name is no secret."""
    return value.get_secret_value().startswith("sqlite:")
