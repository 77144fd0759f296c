"""Which values are secrets, by the names of the keys that they stand under, or of the variables that they come from."""

from __future__ import annotations

import functools
import re

SECRET_KEY = re.compile(
    r"secret|password|passwd|passphrase|token|api_?key|credential|webhook_url|^headers$|authorization|private_key|^encrypt$",
    re.I,
)
SECRET_VARIABLE = re.compile(r"SECRET|TOKEN|PASSW|PASSPHRASE|CREDENTIAL|KEY|AUTH|WEBHOOK|DSN", re.I)
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
