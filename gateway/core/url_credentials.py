"""Pure: URLs that hold credentials: whether they mean what they seem to, and texts about them without any secret."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from gateway.core.masking import MASK, url_secrets

_SHORTEST_PART = 3  # a shorter part of a URL is no credential


def url_fault(url: str) -> str | None:
    """What makes such a URL be read otherwise than it is meant, mostly a password that is not percent-encoded: by
    RFC 3986 `/`, `?` and `#` end the part that holds it. None: nothing. The answer has no part of the URL.
    """
    rest = url.partition("://")[2]
    before_query, _, query = rest.partition("?")
    authority, _, path = before_query.partition("/")
    if "#" in rest:
        return _cut("#")
    if "@" in path:
        return _cut("/")
    if "@" in query.partition("=")[0]:
        return _cut("?")
    try:
        urlsplit(url)
    except ValueError:
        return _cut("[")
    for host in authority.rpartition("@")[2].split(","):  # libpq and NATS take several
        port = re.sub(r"^(\[[^\]]*\]|[^:]*):?", "", host)
        if port and not (port.isdecimal() and int(port) <= 65535):
            return "has a port that is no number"
    return None


def _cut(character: str) -> str:
    encoded = f"%{ord(character):02X}"
    return f"has a {character} where none can be: in a user's name or a password it is written {encoded}"


def with_password(url: str, password: str) -> str:
    """A URL with a password in it, percent-encoded: a secret. No password: the URL as it is."""
    if not password:
        return url
    parts = urlsplit(url)
    user, _, servers = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user}:{quote(password, safe='')}@{servers}").geturl()


def without_credentials(text: str, url: str, *, every_part: bool = False) -> str:
    """A text on one line without the URL (several with commas between) and any credential in it, as it is written and
    as it is meant, however short. Without a password the user's name is one: a token. With `every_part` any part of it
    may be one, as in the URLs of services that have theirs in the path.
    """
    secrets: set[str] = set()
    for address in url.split(","):
        secrets |= {address, *url_secrets(address)}
        try:
            parts = urlsplit(address)
        except ValueError:
            continue
        if parts.username and not parts.password and parts.scheme not in _WITH_USERS:
            secrets |= {parts.username, unquote(parts.username)}
        if every_part:
            words = re.split(r"[/:@?&=,]", parts.netloc + "/" + parts.path)
            words += [value for _, value in parse_qsl(parts.query)]
            secrets |= {word for word in {*words, *map(unquote, words)} if len(word) >= _SHORTEST_PART}
    text = " ".join(text.split())
    for secret in sorted({url, *secrets} - {""}, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text


_WITH_USERS = frozenset(("sqlite", "postgresql", "postgres", "mysql", "mariadb"))  # where a name alone is no token
