"""The types of event that Stripe has: a list made from the `stripe` library, which itself takes long to import.

`make event-types` writes the list anew after an upgrade; a test compares the two.
"""

from __future__ import annotations

import difflib
import functools
import re
from fnmatch import translate
from importlib.resources import files

SYNCHRONOUS = "issuing_authorization.request"
"""Stripe waits two seconds for the answer to it, and takes the answer as the decision."""

_FILE = "event_types.txt"
_GLOB = re.compile(r"[*?\[]")


@functools.cache
def known_types() -> frozenset[str]:
    """Every type, snapshot and thin."""
    return frozenset((files(__package__) / _FILE).read_text(encoding="utf-8").split())


def is_thin(event_type: str) -> bool:
    """Whether events of a type only name their object: their types begin with a version."""
    return event_type.startswith(("v1.", "v2."))


def snapshot_types() -> list[str]:
    """The types whose events hold their object, in order."""
    return sorted(known for known in known_types() if not is_thin(known))


def thin_types() -> list[str]:
    """The types whose events only name their object, in order."""
    return sorted(known for known in known_types() if is_thin(known))


@functools.lru_cache(maxsize=10_000)
def matches(pattern: str) -> frozenset[str]:
    """The types that a pattern of a route, a type or a glob, matches."""
    if not _GLOB.search(pattern):
        return known_types() & {pattern}
    compiled = re.compile(translate(pattern)).match
    return frozenset(known for known in known_types() if compiled(known))


def sent_types(pattern: str) -> frozenset[str]:
    """The types that a webhook endpoint must send for a pattern of snapshot events; one that the list does not have is
    taken at its word.
    """
    return frozenset(known for known in matches(pattern) if not is_thin(known)) or frozenset((pattern,))


def nearest(pattern: str) -> str | None:
    """The type that is most like a pattern that matches none; for a glob, a glob that matches some. None where there is
    nothing near.
    """
    near = _nearest(pattern, known_types())
    wild = _GLOB.search(pattern)
    if near is None or wild is None:
        return near
    fixed = pattern[: wild.start()].rstrip(".")
    families = {".".join(known.split(".")[: fixed.count(".") + 1]) for known in known_types()}
    family = _nearest(fixed, families)
    return f"{family}.*" if family is not None else near


def _nearest(word: str, known: frozenset[str] | set[str]) -> str | None:
    return next(iter(difflib.get_close_matches(word[:200], sorted(known), n=1, cutoff=0.6)), None)
