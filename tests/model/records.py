"""What the model keeps: plain records under names of its own (`d1`, `d2`, ...), in order of arrival."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.core.model import Lane, Need

EventKey = tuple[str, str]  # account, id


@dataclass
class ModelEvent:
    """An event of the inbox."""

    key: EventKey
    type: str
    received_at: int
    object_id: str | None
    twin: str | None
    body: bytes
    number: int = 0  # in order of arrival
    is_forgettable: bool = False  # of one that is purged: a purge may have forgotten its id


@dataclass
class ModelDelivery:
    """A delivery, and all that has become of it. Times are milliseconds."""

    name: str
    event: EventKey
    event_type: str
    lane: Lane
    run: str  # the name of the run's first delivery
    needs: tuple[str, ...]
    state: str
    due_at: int
    created_at: int
    is_judged: bool
    once_key: str | None
    order_key: str | None
    reason: str | None = None
    last_error: str | None = None
    finished_at: int | None = None
    attempts: int = 0
    runs: int = 0
    token: str | None = None
    lease_until: int = 0
    claimed_at: int = 0
    output: str | None = None
    fetched: tuple[str, str] | None = None  # what was asked, and the answer: with the first of a run
    digest: list[EventKey] | None = None
    waits_until: int | None = None
    until_key: str | None = None
    otherwise: Mapping[str, Need] = field(default_factory=dict)  # how what it needs has to end, if not well
    word: dict[str, Any] = field(default_factory=dict)  # what people said
    log: list[tuple[int, str, str | None]] = field(default_factory=list)  # number, outcome and error of each attempt


@dataclass
class ModelConnection:
    """How a connection stands."""

    version: int
    state: str
    since: int
    until: int | None
    reason: str | None
    failures: int
    pauses: int


class DisagreementError(AssertionError):
    """A store did what its contract does not allow."""


def must(holds: bool, complaint: str) -> None:
    """Raises DisagreementError where something does not hold."""
    if not holds:
        raise DisagreementError(complaint)
