"""The store's contract: what is atomic, who may claim, what a lease means.

Every store keeps the same promises; `tests/contract/test_store.py` proves them for each.

*Atomic.* Each method is one transaction. When a method that changes something returns, the change survives
`kill -9` and power loss. When it raises StoreUnavailable, the change may or may not have been made, and asking again
is safe: `add` is idempotent by `(account, id)`, `finish` is fenced by its token.

*Claims.* A pending delivery that is due, in its turn, may be claimed by one gateway at a time. The claim carries a
lease: until it ends, nobody else gets that delivery. Afterwards others may, and a `finish` or `renew` with the old
token changes nothing. A claim counts as an attempt from the start, so that a delivery that kills its gateway runs out
of attempts; handing it back takes that back.

*Turns.* Of the deliveries that share an `order_key`, the earliest in arrival that is pending or running goes
first, the others wait for their turn. Of those that share a `once_key`, likewise; when one has succeeded, the later
ones end `skipped` when their turn comes, naming it. Blocked deliveries hold nobody up.

*Needs.* When a delivery succeeds, each blocked one of the same run whose needs have all succeeded becomes pending,
in the same transaction. When one is skipped or cancelled, those that need it, directly or not, become skipped.

*Clock.* Due times, leases and ages are the store's clock, never the caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from gateway.model import (
    Attempt,
    Claim,
    Delivery,
    DeliveryFilter,
    Event,
    EventFilter,
    Fetched,
    Finish,
    Lane,
    PlannedDelivery,
)


@dataclass(frozen=True, slots=True)
class Added:
    """What `add` did."""

    is_duplicate: bool


@dataclass(frozen=True, slots=True)
class Due:
    """Which lanes have work now, and when the next will."""

    lanes: Sequence[Lane]  # due now, the one that waits longest first
    next_in_seconds: float | None  # until a further lane becomes due; None: nothing is planned


@dataclass(frozen=True, slots=True)
class Status:
    """What `gateway db status` shows beside the counts."""

    url: str  # without a password
    schema: str
    oldest_pending_at: datetime | None  # None: nothing is pending
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Note:
    """What was kept under a name."""

    value: Mapping[str, Any]
    age_seconds: float  # since it was kept


class Store(Protocol):
    """The durable inbox and its deliveries."""

    async def start(self) -> None:
        """Opens the store to run deliveries: brings the schema up to date and takes over what a dead gateway left
        running (for a store of one process: at once; for a shared one: as leases end). Raises StoreLocked,
        StoreUnavailable, StoreOutdated (made by a newer program).
        """

    async def attach(self) -> None:
        """Opens the store beside a gateway that may be running: for commands. Raises StoreMissing where there is no
        store yet, StoreOutdated where its schema is not this program's, StoreUnavailable.
        """

    async def migrate(self) -> str | None:
        """Brings the schema up to date, and nothing more: the revision it had, None where there was none. Raises
        StoreLocked (a gateway works on a store of one process), StoreUnavailable, StoreOutdated.
        """

    async def close(self) -> None:
        """Finishes what was asked and frees everything. May be called twice."""

    async def ping(self) -> None:
        """Returns when the store can commit. Raises StoreUnavailable."""

    # -- intake -----------------------------------------------------------------------------------------------

    async def add(self, event: Event, planned: Sequence[PlannedDelivery]) -> Added:
        """Commits an event and its deliveries together. An event whose `(account, id)` is known, or was within the
        last 45 days, is a duplicate and changes nothing; so is one whose `twin` another event of the account has.
        Raises StoreUnavailable.

        A planned delivery with `error` begins dead and unjudged, with that reason. One with `needs` begins blocked.
        """

    async def replay(
        self, account: str, event_id: str, planned: Sequence[PlannedDelivery], *, force: bool = False
    ) -> list[str] | None:
        """Makes new deliveries (new ids, a new run per route) for a stored event; their ids, or None where there is no
        such event. `force` drops their once_key.
        """

    # -- delivery ---------------------------------------------------------------------------------------------

    async def due(self) -> Due:
        """The lanes that have work now. Costs by the number of lanes, not of deliveries."""

    async def claim(self, wanted: Mapping[Lane, int], *, lease_seconds: float) -> list[Claim]:
        """Takes up to so many due deliveries of each lane, in order of due time, in the order of `wanted`. Those
        whose `once_key` is held by one that succeeded are not returned but end `skipped`.
        """

    async def fetched(self, run_id: str) -> Fetched | None:
        """What `keep_fetched` has kept with a run of deliveries, or None."""

    async def keep_fetched(self, run_id: str, fetched: Fetched) -> Fetched:
        """Keeps an object with a run, for as long as the run's deliveries are kept, instead of the answer to another
        question. Returns what is kept: where another gateway has kept an answer to the same question, that one.
        """

    async def renew(self, claims: Sequence[tuple[str, str]], *, lease_seconds: float) -> set[str]:
        """Extends leases, given as (delivery id, token). Returns the ids whose lease was lost to others."""

    async def finish(self, delivery_id: str, token: str, finish: Finish) -> bool:
        """Records how a claim ended and releases whoever waited for it. False, and no change, where the lease was
        lost or a person cancelled the delivery meanwhile. An output over 64 KiB is kept cut and marked.
        """

    async def wait_for_work(self, timeout_seconds: float) -> None:
        """Returns soon after any gateway or command has made work that may be due now, or after the timeout. May
        return too often, never too late. Once work was announced, the next call returns at once.
        """

    # -- gateways among themselves ----------------------------------------------------------------------------

    async def take_lease(self, name: str, holder: str, *, lease_seconds: float) -> bool:
        """Takes the lease of that name, or prolongs it where the holder has it. False where another has it and it has
        not ended.
        """

    async def release_lease(self, name: str, holder: str) -> None:
        """Gives the lease back; nothing where the holder has it no more."""

    async def note(self, name: str) -> Note | None:
        """What is kept under that name, or None."""

    async def keep_note(self, name: str, value: Mapping[str, Any] | None) -> None:
        """Keeps a value under that name instead of what was there; None forgets it."""

    # -- people -----------------------------------------------------------------------------------------------

    async def events(self, where: EventFilter, *, limit: int, newest_first: bool = True) -> list[Event]:
        """Events in order of arrival. Their `body` is left empty."""

    async def event(self, event_id: str, account: str | None = None) -> list[Event]:
        """The events of that id, whole: several where several accounts have it, none where nobody has."""

    async def deliveries(self, where: DeliveryFilter, *, limit: int, newest_first: bool = True) -> list[Delivery]:
        """Deliveries in order of arrival. Their `rendered` and `output` are left None."""

    async def delivery(self, delivery_id: str) -> tuple[Delivery, list[Attempt]] | None:
        """One delivery, whole, and its attempts, oldest first."""

    async def retry(self, delivery_ids: Sequence[str]) -> Mapping[str, str | None]:
        """Revives dead, cancelled or skipped deliveries: same ids, attempts counted afresh, due now (blocked again
        where their needs have not succeeded); pending ones become due now. By id: None where done, else why not. Where
        another delivery succeeded on the same `once_key`, it is refused and names that one. What was fetched for a
        revived delivery's run is forgotten, so that it asks afresh.
        """

    async def cancel(self, delivery_ids: Sequence[str], reason: str) -> Mapping[str, str | None]:
        """Ends blocked, pending, running or dead deliveries for good, and skips those that need them. An attempt that
        runs meanwhile may still take effect; its record is refused. By id: None where done, else why not.
        """

    async def counts(self) -> Mapping[str, int]:
        """How many deliveries are in each state, and `events`."""

    async def status(self) -> Status:
        """Where the store is and how it stands."""


StoreFactory = Callable[[str], Store]
