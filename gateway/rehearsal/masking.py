"""Hides secrets in what is shown: credentials, and what secret variables brought, wherever it turned up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from gateway.settings.load import Config
from gateway.settings.masked import secrets_of

MASK = "***"
_SHORTEST_WITHIN = 4  # a shorter secret is hidden only where it stands alone: it would hide half of every text


class Masker:
    """Knows a config's secrets, and takes them out of values."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = sorted({one for one in secrets if one}, key=len, reverse=True)

    def mask(self, value: Any) -> Any:
        """The same value, with every secret in its texts and keys replaced."""
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, Mapping):
            return {self.mask(key): self.mask(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.mask(item) for item in value]
        if isinstance(value, (int, float)) and not isinstance(value, bool) and str(value) in self._secrets:
            return MASK
        return value

    def _text(self, text: str) -> str:
        for secret in self._secrets:
            if len(secret) >= _SHORTEST_WITHIN:
                text = text.replace(secret, MASK)
            elif text == secret:
                return MASK
        return text


def masker_of(config: Config) -> Masker:
    """For all that is secret in a config."""
    return Masker([*config.secrets, *(part for secret in secrets_of(config) for part in _with_password(secret))])


def _with_password(secret: str) -> Iterator[str]:
    """A secret, and the password in it where it is a URL."""
    yield secret
    try:
        password = urlsplit(secret).password
    except ValueError:
        return
    if password:
        yield password
        yield unquote(password)
