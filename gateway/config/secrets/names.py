"""Which values are secrets, by the names of the keys that they stand under, or of the variables that they come from."""

from __future__ import annotations

import functools
import re

SECRET_KEY = re.compile(
    r"secret|password|passwd|passphrase|token(?!_url$)|api[-_]?key|credential|webhook_url|^headers$|authorization|private_key|^encrypt$",
    re.I,
)
SECRET_VARIABLE = re.compile(r"SECRET|TOKEN|PASSW|PASSPHRASE|CREDENTIAL|KEY|AUTH|WEBHOOK|DSN", re.I)
_NEVER = re.compile(r".{0,3}|true|false|null|none|yes|no|on|off|[-+]?[0-9]{1,5}", re.I | re.S)
_HOST = r"(\[[0-9a-f:.]+\]|localhost|[0-9.]{7,15}|[a-z0-9-]+(\.[a-z0-9-]+)*\.[a-z]{2,12})"
_WORD = r"([A-Z]?[a-z]+|[A-Z]{1,8})"
_COMMON = re.compile(
    r"[-+]?[0-9][0-9_.,]{0,11} ?[A-Za-z%]{0,3}(/[a-z]+)?"  # a number, with or without its unit
    rf"|(?=.{{1,24}}$){_WORD}([-_. ]({_WORD}|[0-9]{{1,2}})){{0,3}}"  # a word or a few: production, eu-central-1
    rf"|([a-z]+[a-z0-9+]*://)?({_HOST}|[a-z][a-z0-9-]*(?=:))(:[0-9]{{1,5}})?/?([0-9]{{1,3}})?"  # an address
    rf"|[^\s@:/]+@{_HOST}"
    r"|(sqlite:)?(/[A-Za-z0-9_.-]+){2,}/?"  # a file's path
)
_LONGEST_COMMON = 64
URL_KEY = re.compile(r"(^|_)(url|dsn|uri)$", re.I)


@functools.lru_cache(maxsize=10_000)
def is_secret_key(key: str | int) -> bool:
    """Whether what stands under a key is a secret."""
    return isinstance(key, str) and SECRET_KEY.search(key) is not None


def is_secret(path: tuple[str | int, ...]) -> bool:
    """Whether a value under these keys is a secret."""
    return any(map(is_secret_key, path))


@functools.lru_cache(maxsize=10_000)
def is_url_key(key: str | int) -> bool:
    """Whether what stands under a key is a URL."""
    return isinstance(key, str) and URL_KEY.search(key) is not None


def is_url(path: tuple[str | int, ...]) -> bool:
    """Whether a value is a URL, which may hold credentials."""
    return bool(path) and is_url_key(path[-1])


def is_hidden(value: str, is_named: bool) -> bool:
    """Whether a value that came from outside is hidden wherever it turns up. Where neither its variable nor its key
    says that it is a secret, what is plainly none is not: to hide each `production`, `8080` or `db.internal` would hide
    half of what is shown. What is too short to be told from other text never is.
    """
    if _NEVER.fullmatch(value):
        return False
    return is_named or len(value) > _LONGEST_COMMON or not _COMMON.fullmatch(value)
