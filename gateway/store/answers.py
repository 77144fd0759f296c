"""What a store answers, as records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from gateway.core.model import Event, Lane


@dataclass(frozen=True, slots=True)
class Added:
    """What `add` did."""

    is_duplicate: bool


@dataclass(frozen=True, slots=True)
class Due:
    """Which lanes have work now, and when the next will."""

    lanes: Sequence[Lane]  # due now, the one that waits longest first
    next_in_seconds: float | None  # until a further lane becomes due; None: nothing is planned
    late_seconds: Sequence[float] = ()  # of each lane, since when its oldest has been due


@dataclass(frozen=True, slots=True)
class Status:
    """What `gateway db status` shows beside the counts."""

    url: str  # without a password
    schema: str
    oldest_pending_at: datetime | None  # None: nothing is pending
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Purged:
    """What one step of a purge removed."""

    events: int
    deliveries: int
    attempts: int
    cursor: int | None  # give it to the next step; None: the purge is done


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a list, and where the next part begins."""

    items: Sequence[T]
    next: str | None  # the cursor for what follows; None: that was all
    searched_until: datetime | None = None  # a search by text stopped here for time's sake, and goes on at `next`


@dataclass(frozen=True, slots=True)
class Arrivals:
    """What came in since a cursor."""

    events: Sequence[Event]  # the newest of them, oldest first, bodies left empty
    left_out: int  # older ones that also came, beyond the limit
    cursor: str


@dataclass(frozen=True, slots=True)
class Bucket:
    """What happened in one stretch of time."""

    start: datetime
    events: Mapping[str, int]  # by state
    deliveries: Mapping[str, int]  # that ended in it, by final state


@dataclass(frozen=True, slots=True)
class LaneState:
    """How many deliveries of a lane are not done, or dead."""

    lane: Lane
    counts: Mapping[str, int]  # pending, running, blocked, dead
    oldest_at: datetime | None  # since when one is pending: it was made, or the time until which it waited came


def oldest_pending(lanes: Iterable[LaneState]) -> datetime | None:
    """Since when the oldest of all lanes is pending; None where nothing is, or all of it waits until a time."""
    return min((lane.oldest_at for lane in lanes if lane.oldest_at is not None), default=None)


@dataclass(frozen=True, slots=True)
class DeadCause:
    """Dead letters of one action that share a reason."""

    route: str
    action: str
    reason: str
    count: int
    newest_id: str
    newest_at: datetime


@dataclass(frozen=True, slots=True)
class EventKind:
    """A combination that the inbox holds."""

    account: str
    type: str
    state: str


@dataclass(frozen=True, slots=True)
class Note:
    """What was kept under a name."""

    value: Mapping[str, Any]
    age_seconds: float  # since it was kept
