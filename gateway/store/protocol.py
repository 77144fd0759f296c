"""The store's contract: what is atomic, who may claim, what a lease means.

Every store keeps the same promises; `tests/contract/` proves them for each. It is written by who asks: intake,
the worker, retention, people, the console; `Store` is all of it.

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
One that is skipped with a reason that begins with DRY_RUN counts as succeeded here, but has no output; a retry of it
blocks again those that were dry because of it.

*Later.* A delivery with `waits_until` is not due before, also where what it needs is done earlier, and whatever becomes
of the clock. One with an `until_key` is cancelled by the first event that `ends` that key and happened after its own
event (a later `created`; in the same second, a later arrival), whichever of the two is added first: from the
transaction of the later add on it is claimed no more, where it is blocked or pending then; where it runs, it is
cancelled as soon as it would be tried again. Of many, that transaction cancels some, and each `due` some of the others.

*Memory.* An event's id is known, and a `once_key` that was done is honoured, for at least REMEMBERED_SECONDS, also
after `purge` has removed all else of it.

*Clock.* Due times, leases and ages are the store's clock, never the caller's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from gateway.core.model import (
    Attempt,
    ChangeResult,
    Claim,
    ConnectionChange,
    ConnectionStatus,
    Delivery,
    DeliveryFilter,
    Event,
    EventFilter,
    Fetched,
    Gathered,
    Lane,
    Outcome,
    PlannedDelivery,
    RejectedBounds,
    RejectedFilter,
    RejectedRequest,
    SharedRate,
)
from gateway.store.answers import (
    Added,
    Due,
    Note,
    Purged,
    Status,
)
from gateway.store.report_protocol import ReportStore
from gateway.store.sweep import ContentsPage, EventContents

REMEMBERED_SECONDS = 45 * 86400.0  # how long ids and done once keys are known at least; Stripe resends for 30 days


class OpenedStore(Protocol):
    """Opening and closing."""

    @property
    def is_shared(self) -> bool:
        """Whether other gateways may work on it too, and so take over what this one claimed once a lease has ended."""

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

    async def takes_compressed(self, *, begin: bool = False) -> bool:
        """Whether all programs that may work on it read what is compressed: else nothing is to be. `begin`: from now on
        older ones are refused when they start.
        """

    async def close(self) -> None:
        """Finishes what was asked and frees everything. May be called twice."""

    async def ping(self) -> None:
        """Returns when the store can commit. Raises StoreUnavailable."""


class IntakeStore(Protocol):
    """What intake asks."""

    async def add(self, event: Event, planned: Sequence[PlannedDelivery]) -> Added:
        """Commits an event and its deliveries together. An event whose `(account, id)` is known, or was within the
        last 45 days, is a duplicate and changes nothing; so is one whose `twin` another event of the account has.
        Raises StoreUnavailable.

        A planned delivery with `error` begins dead, with that reason. One with `needs` begins blocked, and one
        whose `until` has come already cancelled.
        """

    async def replay(
        self, account: str, event_id: str, planned: Sequence[PlannedDelivery], *, force: bool = False
    ) -> list[str] | None:
        """Makes new deliveries (new ids, a new run per route) for a stored event; their ids, or None where there is no
        such event. `force` drops their once_key.
        """

    async def keep_rejected(self, requests: Sequence[RejectedRequest], bounds: RejectedBounds) -> int:
        """Keeps rejected requests, apart from the inbox, and then drops what is over the bounds (see RejectedBounds).
        Their order is that of the call. How many were dropped. Raises StoreUnavailable.
        """


class QueueStore(Protocol):
    """What a worker asks."""

    async def due(self) -> Due:
        """The lanes that have work now. Costs by the number of lanes, not of deliveries."""

    async def claim(
        self, wanted: Mapping[Lane, int], *, lease_seconds: float, rates: Sequence[SharedRate] = ()
    ) -> list[Claim]:
        """Takes up to so many due deliveries of each lane, in order of due time, in the order of `wanted`. Those
        whose `once_key` is held by one that succeeded are not returned but end `skipped`.

        Of the lanes of each rate, together no more are taken than its bucket holds, whoever claims; each that is taken
        is one less in it.
        """

    async def fetched(self, run_id: str) -> Fetched | None:
        """What `keep_fetched` has kept with a run of deliveries, or None."""

    async def keep_fetched(self, run_id: str, fetched: Fetched) -> Fetched:
        """Keeps an object with a run, for as long as the run's deliveries are kept, instead of the answer to another
        question. Returns what is kept: where another gateway has kept an answer to the same question, that one.
        """

    async def gather(
        self, delivery_id: str, token: str, *, wait_seconds: float, every_seconds: float, most: int
    ) -> Gathered | float | None:
        """Takes along with a claimed delivery all pending ones with its `order_key`: they end `skipped`, naming it.
        What it brings is settled by that, for all its attempts. Not before it has waited for `wait_seconds`, and the
        last delivery of the same key was settled `every_seconds` ago: until then, the seconds that are missing. None
        where the lease was lost. Of the events `most` are returned; one that is purged meanwhile is only counted.
        """

    async def renew(self, claims: Sequence[tuple[str, str]], *, lease_seconds: float) -> set[str]:
        """Extends leases, given as (delivery id, token). Returns the ids whose lease was lost to others."""

    async def finish(self, delivery_id: str, token: str, ending: Outcome) -> bool:
        """Records what became of a claim and releases whoever waited for it. False, and no change, where the lease was
        lost or a person cancelled the delivery meanwhile. An output over 64 KiB is kept cut and marked.

        A Released or a Rekeyed leaves the delivery pending and costs no attempt; a Released without a wait keeps its
        due time, and so its place. An attempt that the gateway itself has interrupted is kept, and costs none either.
        """

    async def wait_for_work(self, timeout_seconds: float) -> None:
        """Returns soon after any gateway or command has made work that may be due now, or after the timeout. May
        return too often, never too late. Once work was announced, the next call returns at once.
        """


class ConnectionStore(Protocol):
    """How connections and routes stand, and when something was last done."""

    async def connections(self) -> Mapping[str, ConnectionStatus]:
        """The connections and the routes (`route_status_name`) whose status was ever changed, by name. Cheap: may be
        asked every second.
        """

    async def change_connection(self, name: str, version: int, change: ConnectionChange) -> ConnectionStatus | None:
        """Changes a connection's status where its version is still `version` (0: it was never changed). The new
        status, one version on; None, and no change, where somebody else was faster. `since` moves only with the state.
        A change is announced like new work. Where it makes a connection work again that was paused or probed, what
        waits longer than that, in its turn, to be reached (`until_reached`) is due within HASTENED_SECONDS, in the same
        transaction. That attempt counts none: a connection that comes and goes uses none up.
        """

    async def mark(self, name: str, every_seconds: float) -> datetime:
        """When something was last marked; it is marked now where that was `every_seconds` ago, or never was. Of several
        who ask at the same time all are told the same.
        """


class PurgeStore(Protocol):
    """What retention asks."""

    async def purge(
        self,
        *,
        retention_seconds: float,
        dead_retention_seconds: float | None,
        cursor: int = 0,
        limit: int = 100,
    ) -> Purged:
        """One step of removing old events with their deliveries and attempts: looks at no more than `limit` events, so
        that others do not wait for it. Begin with cursor 0 and go on with the one returned until that is None.

        An event goes when it was received, and all its deliveries ended (succeeded, skipped, cancelled), more than
        `retention_seconds` ago. A dead delivery keeps its event until it has been dead for `dead_retention_seconds`,
        or for ever where that is None; with it go those that are blocked by it. See *Memory* for what is kept.
        Last, the store gives free space back where it can. Several gateways may purge at once.
        """


class SweepStore(Protocol):
    """Sweeps through what is kept: forgetting, encrypting."""

    async def contents(self, after: int, *, limit: int) -> ContentsPage:
        """Everything of up to `limit` events that can hold a person's data, in order of arrival, as it is stored. Begin
        after 0. Deliveries that run meanwhile may change theirs.
        """

    async def replace_contents(self, before: EventContents, after: EventContents) -> bool:
        """Puts `after` where `before` is: the event's body and object_id, its deliveries' texts and attempts' errors
        together, overwriting what was there where the store can. False, and no change at all, where anything of it has
        changed meanwhile, a delivery's state or a new delivery included.
        """

    async def replace_rejected(self, rejected_id: str, body: bytes) -> bool:
        """Puts another body in a rejected request. False where it is gone."""

    async def scrub(self) -> str | None:
        """Makes what was overwritten or dropped unreadable in the store's own files too. None where that is done; else
        what is left to do, for a person.
        """


class SharedStore(Protocol):
    """What gateways keep for each other."""

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


class PeopleStore(Protocol):
    """What people ask, and what they change."""

    async def events(self, where: EventFilter, *, limit: int, newest_first: bool = True) -> list[Event]:
        """Events in order of arrival. Their `body` is left empty."""

    async def event(self, event_id: str, account: str | None = None) -> list[Event]:
        """The events of that id, whole: several where several accounts have it, none where nobody has."""

    async def gathered(self, delivery_id: str) -> list[Event]:
        """The events that a digest brings, whole, in order of arrival; none where the delivery has gathered none."""

    async def deliveries(self, where: DeliveryFilter, *, limit: int, newest_first: bool = True) -> list[Delivery]:
        """Deliveries in order of arrival. Their `rendered` and `output` are left None."""

    async def delivery(self, delivery_id: str) -> tuple[Delivery, list[Attempt]] | None:
        """One delivery, whole, and its attempts, oldest first."""

    async def retry(self, delivery_ids: Sequence[str]) -> Mapping[str, ChangeResult]:
        """Revives dead, cancelled or skipped deliveries: same ids, attempts counted afresh, due now (blocked again
        where their needs have not succeeded); pending ones become due now. An event that came before does not
        cancel again what it had cancelled. By id, what came of each. Where another
        delivery succeeded on the same `once_key`, it is refused and names that one. What was fetched for a revived
        delivery's run is forgotten, so that it asks afresh.
        """

    async def cancel(self, delivery_ids: Sequence[str], reason: str) -> Mapping[str, ChangeResult]:
        """Ends blocked, pending, running or dead deliveries for good, and skips those that need them. An attempt that
        runs meanwhile may still take effect; its record is refused. By id, what came of each.
        """

    async def answer(self, delivery_id: str, who: str, *, is_yes: bool) -> ChangeResult:
        """A person's yes or no to a delivery that needs one, whether it is held for it by now or not. A yes makes what
        is pending due now, and is kept; a no cancels. Refused where it has ended, somebody has said yes, or its time is
        over: of two who answer at once one is refused.
        """

    async def rejected(self, where: RejectedFilter, *, limit: int, newest_first: bool = True) -> list[RejectedRequest]:
        """Rejected requests in order of arrival. Their `body` is left empty."""

    async def rejected_request(self, rejected_id: str) -> RejectedRequest | None:
        """One rejected request, whole, or None."""

    async def forget_rejected(self, rejected_ids: Sequence[str]) -> int:
        """Drops rejected requests; how many there were."""

    async def waiting(self) -> Mapping[Lane, int]:
        """How many deliveries of each lane are blocked, pending or running."""

    async def counts(self) -> Mapping[str, int]:
        """How many deliveries are in each state, and `events`."""

    async def status(self) -> Status:
        """Where the store is and how it stands."""


class Store(
    OpenedStore,
    IntakeStore,
    QueueStore,
    ConnectionStore,
    PurgeStore,
    SweepStore,
    SharedStore,
    PeopleStore,
    ReportStore,
    Protocol,
):
    """The durable inbox and its deliveries."""
