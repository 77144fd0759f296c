"""What strangers wrote, made harmless to look at: every character seen, nothing that turns, hides or floods."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from markupsafe import Markup, escape

SHOWN_CHARACTERS = 100_000  # of one JSON document on a page
COLOURED_CHARACTERS = 60_000
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_TOKEN = re.compile(
    r'(?P<key>"(?:[^"\\]|\\.)*"(?=:))|(?P<string>"(?:[^"\\]|\\.)*")|(?P<number>-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)'
    r"|(?P<word>\b(?:true|false|null)\b)"
)


def visible(text: str) -> str:
    """Control characters, and those that change the direction of writing, as their codes."""
    return _SURROGATE.sub("\ufffd", _UNSEEN.sub(lambda unseen: f"\\u{ord(unseen[0]):04x}", text))


def short(text: str, length: int) -> str:
    """At most so many characters, the cut marked."""
    return text if len(text) <= length else text[: length - 1] + "…"


def finalize(value: Any) -> Any:
    """What every `{{ }}` of a page passes through."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return visible(value)
    return "" if value is None else value


def pretty(value: Any) -> Markup:
    """JSON for people: indented, coloured where it is not too long, cut where it is far too long."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    cut = len(text) > SHOWN_CHARACTERS
    shown = visible(text[:SHOWN_CHARACTERS])
    body = Markup("").join(_coloured(shown)) if len(shown) <= COLOURED_CHARACTERS else escape(shown)
    note = Markup('<p class="note">Cut here: the whole is {:,} characters.</p>').format(len(text)) if cut else ""
    return Markup('<pre class="json" tabindex="0" dir="ltr"><code>{}</code></pre>{}').format(body, note)


def _coloured(text: str) -> Iterator[Markup]:
    at = 0
    for token in _TOKEN.finditer(text):
        yield escape(text[at : token.start()])
        yield Markup('<span class="j-{}">{}</span>').format(token.lastgroup or "", token[0])
        at = token.end()
    yield escape(text[at:])
