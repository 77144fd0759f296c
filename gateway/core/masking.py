"""Pure: takes texts that must not be shown out of values, wherever they turn up."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

MASK = "***"
SHORTEST_WITHIN = 4  # a shorter text is hidden only where it stands alone: it would hide half of every text
_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


class Masker:
    """Knows texts that must not be shown, and what is shown instead of each."""

    def __init__(self, texts: Mapping[str, str] | Iterable[str], mask: str = MASK) -> None:
        instead = dict(texts if isinstance(texts, Mapping) else dict.fromkeys(texts, mask))
        self._instead: dict[str, str] = {form: shown for text, shown in instead.items() for form in _forms(text)}
        self._instead |= instead
        self._instead.pop("", None)
        long = (text for text in self._instead if len(text) >= SHORTEST_WITHIN)
        self._within = sorted(long, key=len, reverse=True)
        short = {text for text in self._instead if len(text) < SHORTEST_WITHIN and not any(map(str.isdigit, text))}
        self._signs = {_json(text) if text in short else _json(text)[1:-1] for text in self._instead}

    def mask(self, value: Any) -> Any:
        """The same value, with every such text in its texts and keys replaced. A mapping or list that holds none is
        given back itself.
        """
        if isinstance(value, str):
            return self._text(value)
        return value if value is None or self._is_clean(value) else self._masked(value)

    def _is_clean(self, value: Any) -> bool:
        """Whether nothing is to be hidden. False also of what JSON cannot say."""
        try:
            return not self.hides_in(_json(value))
        except (TypeError, ValueError, RecursionError):
            return False

    def hides_in(self, text: str) -> bool:
        """Whether something may have to be hidden in a value whose JSON this is, which is nearly never so: one look at
        the whole is much less work than one at each of its texts.
        """
        return any(map(text.__contains__, self._signs))

    def _masked(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, Mapping):
            return {self._masked(key): self._masked(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._masked(item) for item in value]
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return self._instead.get(str(value), value)
        return value

    def _text(self, text: str) -> str:
        hits = [hidden for hidden in self._within if hidden in text]
        if not hits:
            return self._instead.get(text, text)
        return re.sub("|".join(map(re.escape, hits)), lambda match: self._instead[str(match[0])], text)


class Maskers:
    """Several, one after the other."""

    def __init__(self, *maskers: Masker) -> None:
        self._maskers = maskers

    def mask(self, value: Any) -> Any:
        """The value after all of them."""
        for masker in self._maskers:
            value = masker.mask(value)
        return value


def _forms(text: str) -> Iterator[str]:
    """How a text stands in a body that was sent as JSON, and in a URL."""
    for once in (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]):
        yield once
        yield json.dumps(once)[1:-1]  # in JSON that is a text of JSON
        yield json.dumps(once, ensure_ascii=False)[1:-1]
    yield quote(text, safe="", errors="replace")
    yield quote_plus(text, errors="replace")


def url_secrets(url: str) -> set[str]:
    """The passwords that a URL holds, as it is written and as it is meant; empty for what is no URL."""
    try:
        parts = urlsplit(url)
        passwords = {parts.password or "", *(value for name, value in parse_qsl(parts.query) if "password" in name)}
    except ValueError:
        return set()
    return (passwords | set(map(unquote, passwords))) - {""}
