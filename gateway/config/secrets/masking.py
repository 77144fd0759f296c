"""Hides secrets in what is shown: credentials, and what secret variables brought, wherever it turned up."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

from gateway.config.load import Config
from gateway.config.secrets.masked_yaml import secrets_of
from gateway.privacy.redaction import Masker

_last: list[tuple[Config, Masker]] = []


def masker_of(config: Config) -> Masker:
    """For all that is secret in a config. Kept for the one that was asked for last."""
    if not _last or _last[0][0] is not config:
        _last[:] = [(config, _made(config))]
    return _last[0][1]


def _made(config: Config) -> Masker:
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
