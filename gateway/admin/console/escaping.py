"""What strangers wrote, made harmless to look at: every character seen, nothing that turns, hides or floods."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
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


def ago(moment: datetime | None, now: datetime | None = None) -> str:
    """`3 min ago`, `in 20 s`."""
    if moment is None:
        return ""
    seconds = ((now or datetime.now(UTC)) - moment).total_seconds()
    words = duration(abs(seconds))
    return "now" if abs(seconds) < 1 else f"{words} ago" if seconds > 0 else f"in {words}"


def duration(seconds: float) -> str:
    """`12 ms`, `3.4 s`, `5 min`, `2 h`, `3 d`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    for unit, size, until in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172800)):
        if seconds < until:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"


def clock(moment: datetime | None) -> str:
    """A moment to the second, UTC."""
    return "" if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def size(count: int) -> str:
    """`3.4 MB`."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"
