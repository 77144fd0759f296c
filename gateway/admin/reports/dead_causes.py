"""Reasons for dead letters, so that those which differ in ids, numbers and quoted values only are one cause."""

from __future__ import annotations

import re

_ID = re.compile(r"\b[a-z]{2,12}_[A-Za-z0-9_]{8,}\b|\b[0-9a-f]{12,}\b")
_ATTEMPTS = re.compile(r" \(attempt \d+ of \d+, the last\)")
_QUOTED = re.compile(r"'[^']{0,200}'")
_NUMBER = re.compile(r"\b\d{4,}\b")
MOST_CHARACTERS = 240


def cause_of(reason: str) -> str:
    """The words that such reasons share."""
    text = _ATTEMPTS.sub("", reason[:2000])
    text = _ID.sub("…", text)
    text = _QUOTED.sub(lambda quoted: "'…'" if any(c.isdigit() for c in quoted[0]) else quoted[0], text)
    text = _NUMBER.sub("…", text)
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 1] + "…"
