"""The types of event that there are. Stripe's are a list made from the `stripe` library, which takes long to import.

`make event-types` writes the list anew after an upgrade; a test compares the two.
"""

from __future__ import annotations

import functools
import re
from fnmatch import translate
from importlib.resources import files

from gateway.core import spelling
from gateway.core.internal_events import TYPES as OWN_TYPES
from gateway.core.internal_events import is_own

SYNCHRONOUS = "issuing_authorization.request"
"""Stripe waits two seconds for the answer to it, and takes the answer as the decision."""

_FILE = "event_types.txt"
_GLOB = re.compile(r"[*?\[]")


@functools.cache
def known_types() -> frozenset[str]:
    """Every type that Stripe has, snapshot and thin."""
    return frozenset((files(__package__) / _FILE).read_text(encoding="utf-8").split())


@functools.cache
def every_type() -> frozenset[str]:
    """Stripe's, and those of the gateway's own events."""
    return known_types() | OWN_TYPES


def is_thin(event_type: str) -> bool:
    """Whether events of a type only name their object: their types begin with a version."""
    return event_type.startswith(("v1.", "v2."))


def snapshot_types() -> list[str]:
    """The types whose events hold their object, in order."""
    return sorted(known for known in known_types() if not is_thin(known))


def thin_types() -> list[str]:
    """The types whose events only name their object, in order."""
    return sorted(known for known in known_types() if is_thin(known))


def types_in_order() -> list[str]:
    """Every type: the snapshot ones, the thin ones, the gateway's own."""
    return [*snapshot_types(), *thin_types(), *sorted(OWN_TYPES)]


@functools.lru_cache(maxsize=10_000)
def matches(pattern: str) -> frozenset[str]:
    """The types that a pattern of a route, a type or a glob, matches: Stripe's, or where it says `gateway.` the
    gateway's own.
    """
    known = OWN_TYPES if is_own(pattern) else known_types()
    if not _GLOB.search(pattern):
        return known & {pattern}
    compiled = re.compile(translate(pattern)).match
    return frozenset(event_type for event_type in known if event_type == pattern or compiled(event_type))


def sent_types(pattern: str) -> frozenset[str]:
    """The types that a webhook endpoint must send for a pattern of snapshot events; one that the list does not have is
    taken at its word.
    """
    return frozenset(known for known in matches(pattern) if not is_thin(known)) or frozenset((pattern,))


def nearest(pattern: str) -> str | None:
    """The type that is most like a pattern that matches none; for a glob, a glob that matches some. None where there is
    nothing near.
    """
    near = spelling.nearest(pattern, every_type())
    wild = _GLOB.search(pattern)
    if near is None or wild is None:
        return near
    fixed = pattern[: wild.start()].rstrip(".")
    families = {".".join(known.split(".")[: fixed.count(".") + 1]) for known in every_type()}
    family = spelling.nearest(fixed, families)
    return f"{family}.*" if family is not None else near
