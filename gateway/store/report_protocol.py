"""What the console and the API ask of a store; a part of its contract, `gateway.store.protocol`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from gateway.core.model import AuditEntry, Delivery, DeliveryFilter, Event, EventFilter, RejectedFilter
from gateway.store.answers import Arrivals, Bucket, DeadCause, EventKind, LaneState, Page


class ReportStore(Protocol):
    """What the console and the API ask.

    None of it writes but `record`, and none holds up intake or deliveries. With a million events each answers in well
    under 300 ms. A cursor is text that only its store understands; a wrong one raises UsageError. What arrives or
    leaves meanwhile neither repeats nor skips anything else.
    """

    async def event_page(
        self, where: EventFilter, *, limit: int, after: str | None = None, oldest_first: bool = False
    ) -> Page[Event]:
        """Events in order of arrival, bodies left empty. With `where.text` it looks through bodies for a bounded time
        and may return less than `limit`, or nothing, with `searched_until` and a `next` that goes on from there.
        """

    async def delivery_page(
        self, where: DeliveryFilter, *, limit: int, after: str | None = None, oldest_first: bool = False
    ) -> Page[Delivery]:
        """Deliveries in order of arrival; `rendered` and `output` are left None."""

    async def arrivals(self, after: str | None, *, limit: int) -> Arrivals:
        """The events that came since the cursor; with None, none of them, and a cursor to begin with."""

    async def count_events(self, where: EventFilter, *, at_most: int) -> int:
        """How many there are, counting no further than `at_most`. `where.text` raises UsageError."""

    async def count_rejected(self, where: RejectedFilter, *, at_most: int) -> int:
        """How many rejected requests there are, counting no further than `at_most`."""

    async def count_deliveries(self, where: DeliveryFilter, *, at_most: int) -> int:
        """How many there are, counting no further than `at_most`."""

    async def done_once(self, once_keys: Sequence[str]) -> Mapping[str, str]:
        """Of once keys, those on which a delivery has succeeded, with its id, also where it is purged."""

    async def buckets(self, edges: Sequence[datetime]) -> Sequence[Bucket]:
        """What happened between each edge and the next."""

    async def counts_by_time(
        self, edges: Sequence[datetime], where: EventFilter | DeliveryFilter
    ) -> Sequence[Mapping[tuple[str, ...], int]]:
        """How many events, or deliveries, of a filter came between each edge and the next, by (account, type, state) or
        (account, route, action, state), as they are now; running deliveries are left out. Of the filter, accounts,
        types, routes, actions, lanes and states narrow.
        """

    async def latencies(self, edges: Sequence[datetime], *, limit: int) -> Sequence[Sequence[float]]:
        """Between each edge and the next: seconds from made to succeeded, of the newest `limit` deliveries that
        succeeded in it; sorted.
        """

    async def lane_states(self) -> Sequence[LaneState]:
        """Every lane that has pending, running, blocked or dead deliveries."""

    async def dead_causes(self, *, among: int) -> Sequence[DeadCause]:
        """Why deliveries are dead, the most frequent cause first, counted among the newest `among` dead letters."""

    async def last_events(self) -> Mapping[str, datetime]:
        """When each account's newest event came in, the gateway's own left aside; accounts without one are missing."""

    async def event_kinds(self) -> Sequence[EventKind]:
        """Which accounts, types and states the inbox holds."""

    async def size_bytes(self) -> int:
        """How much the store takes on disk, its log included."""

    async def record(self, entry: AuditEntry) -> None:
        """Adds to the audit log. Returns when it is durable."""

    async def audit(self, *, limit: int, after: str | None = None) -> Page[AuditEntry]:
        """The audit log, the newest first."""
