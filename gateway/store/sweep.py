"""What a store keeps of events that can hold a person's data, as records that a sweep reads, changes and puts back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class AttemptContents:
    """What one attempt left in words."""

    number: int
    error: str | None = field(repr=False)
    exchanges: str | None = field(repr=False)  # JSON, perhaps sealed


@dataclass(frozen=True, slots=True)
class DeliveryContents:
    """What is kept of one delivery. Texts are as stored: JSON, perhaps sealed."""

    seq: int
    id: str
    run_id: str
    action: str
    state: str
    once_key: str | None
    order_key: str | None = field(repr=False)
    reason: str | None = field(repr=False)
    last_error: str | None = field(repr=False)
    rendered: str | None = field(repr=False)
    output: str | None = field(repr=False)
    fetched: str | None = field(repr=False)
    digest: str | None = None  # JSON: the numbers of the events that it brings; None: it has gathered none
    runs: int = 0  # that have begun: each may leave words
    attempts: tuple[AttemptContents, ...] = ()  # those that left any


@dataclass(frozen=True, slots=True)
class EventContents:
    """What is kept of one event and its deliveries."""

    seq: int
    account: str
    id: str
    object_id: str | None
    body: bytes = field(repr=False)
    deliveries: tuple[DeliveryContents, ...] = ()


@dataclass(frozen=True, slots=True)
class ContentsPage:
    """Some events in order of arrival, and where to go on."""

    items: Sequence[EventContents]
    next: int | None  # None: that was all


DELIVERY_COLUMNS = (
    "event_seq, seq, id, run_id, action, state, once_key, order_key, reason, last_error, rendered, output, fetched,"
    " digest, runs"
)
ATTEMPTS = "SELECT delivery_seq, number, error, exchanges FROM attempts"
ATTEMPT_SAYS = "(error IS NOT NULL OR exchanges IS NOT NULL)"
CHANGED_COLUMNS = ("once_key", "order_key", "reason", "last_error", "rendered", "output", "fetched")


def contents_page(
    events: Sequence[Any], deliveries: Sequence[Iterable[Any]], attempts: Iterable[Iterable[Any]], limit: int
) -> ContentsPage:
    """Rows -> records. Events: seq, account, id, object_id, body; deliveries: DELIVERY_COLUMNS; attempts: ATTEMPTS."""
    attempts_of: dict[int, list[AttemptContents]] = {}
    for delivery_seq, *words in attempts:
        attempts_of.setdefault(delivery_seq, []).append(AttemptContents(*words))
    deliveries_of: dict[int, list[DeliveryContents]] = {}
    for event_seq, seq, *texts in deliveries:
        cells: tuple[Any, ...] = (seq, *texts, tuple(attempts_of.get(seq, ())))
        deliveries_of.setdefault(event_seq, []).append(DeliveryContents(*cells))
    items = [
        EventContents(seq, account, event_id, object_id, bytes(body), tuple(deliveries_of.get(seq, ())))
        for seq, account, event_id, object_id, body in events
    ]
    return ContentsPage(items, items[-1].seq if len(items) == limit else None)
