"""What people have said of a delivery, which it keeps beside its state."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Word:
    """What was asked of people about a delivery, and what they said."""

    is_wanted_late: bool = False  # it had ended, and a person retried it: it expires no more
    until: datetime | None = None  # it is held for a yes until then
    approved_by: str | None = None
    approved_at: datetime | None = None
    is_link_used: bool = False  # it was asked for, and ended, before: links from then say nothing any more
    is_wanted_now: bool = False  # it waited for its time, or was cancelled, and a person retried it: it waits no more

    @property
    def is_awaited(self) -> bool:
        """Whether it is held for a yes."""
        return self.until is not None and self.approved_by is None


_NOTHING = Word()


def word_of(kept: str | None) -> Word:
    """What a store keeps as JSON."""
    if kept is None:
        return _NOTHING
    parts: Mapping[str, Any] = json.loads(kept)
    until, approved_at = (
        None if parts.get(key) is None else datetime.fromtimestamp(parts[key] / 1000, UTC) for key in ("until", "at")
    )
    late, used, now = (bool(parts.get(key)) for key in ("late", "used", "now"))
    return Word(late, until, parts.get("by"), approved_at, used, now)


def word_after_retry(kept: str | None, state: str) -> str:
    """What stays of it when a person retries what has ended: a yes, where it was not refused or skipped since, that it
    is wanted now, and that links to what was asked, or answered, before are used up. It is wanted however late.
    """
    parts = {} if kept is None else json.loads(kept)
    if state not in ("dead", "expired") or "by" not in parts:
        is_used = state == "cancelled" or "until" in parts or "by" in parts
        parts = {key: value for key, value in parts.items() if key in ("used", "now")}
        if is_used:
            parts["used"] = True
    if state == "cancelled":
        parts["now"] = True
    return json.dumps(parts | {"late": True})


def now_word(kept: str | None) -> str:
    """What is kept of one that waits for its time, and that a person retries."""
    parts = {} if kept is None else json.loads(kept)
    return json.dumps(parts | {"now": True})


def held_word(kept: str | None, now_ms: int, within_ms: int) -> str:
    """What is kept of one that is held: until when, which the first time decides, unless a clock was ahead then."""
    parts = {} if kept is None else json.loads(kept)
    latest = now_ms + within_ms
    return json.dumps(parts | {"until": min(parts.get("until", latest), latest)})


def yes_word(kept: str | None, who: str, now_ms: int) -> str:
    """What is kept of a yes."""
    parts = {} if kept is None else json.loads(kept)
    return json.dumps(parts | {"by": who, "at": now_ms})


def refuse_answer(state: str, word: Word, now: datetime) -> str | None:
    """Why a delivery takes no yes or no; None: it does."""
    if word.approved_by is not None:
        return f"{word.approved_by} has approved it"
    if state not in ("blocked", "pending", "running"):
        return f"it is {state}"
    if word.until is not None and word.until <= now:
        return "its time is over"
    return None
