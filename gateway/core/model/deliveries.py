"""Deliveries, their states, and what becomes of a claim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from gateway.core.model.events import Event
from gateway.core.model.needs import End, Need
from gateway.core.model.word import Word
from gateway.core.quick import quick


class DeliveryState(StrEnum):
    """Where a delivery stands."""

    BLOCKED = "blocked"  # waits for what it `needs`
    PENDING = "pending"  # will run when due, in its turn
    RUNNING = "running"  # claimed by a gateway, under a lease
    SUCCEEDED = "succeeded"
    SKIPPED = "skipped"  # was not owed after all: its `if` was false, `once_per`, a skipped need
    CANCELLED = "cancelled"  # a person ended it, or an event of its `until`
    DEAD = "dead"  # will not be retried by itself
    EXPIRED = "expired"  # too old to be sent

    @property
    def is_final(self) -> bool:
        """Whether nothing more happens without a person."""
        return self in FINAL_STATES


FINAL_STATES = frozenset(set(DeliveryState) - {DeliveryState.BLOCKED, DeliveryState.PENDING, DeliveryState.RUNNING})


class ChangedBy(StrEnum):
    """Who changes a delivery's state."""

    INTAKE = "intake"  # routing of what arrives, or of what a person replays
    GATEWAY = "gateway"  # the one that claims it, and then the one that holds its claim
    STORE = "store"  # for the sake of another delivery, of a key or of a lease that ended
    PERSON = "person"


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of state that may happen."""

    source: DeliveryState | None  # None: the delivery is made
    target: DeliveryState
    by: ChangedBy
    when: str


TRANSITIONS = tuple(
    Transition(DeliveryState(source) if source else None, DeliveryState(target), by, when)
    for source, target, by, when in (
        ("", "pending", ChangedBy.INTAKE, "an event is routed or replayed"),
        ("", "blocked", ChangedBy.INTAKE, "it needs others of its run"),
        ("", "dead", ChangedBy.INTAKE, "routing raised an error"),
        ("", "cancelled", ChangedBy.INTAKE, "an event of its until came before"),
        ("", "skipped", ChangedBy.INTAKE, "its route is disabled"),
        ("blocked", "pending", ChangedBy.STORE, "all that it needs has ended as it should"),
        ("blocked", "skipped", ChangedBy.STORE, "one that it needs has ended otherwise"),
        ("blocked", "cancelled", ChangedBy.PERSON, "cancels it"),
        ("blocked", "cancelled", ChangedBy.STORE, "an event of its until has come"),
        ("pending", "running", ChangedBy.GATEWAY, "claims it, when due and in its turn"),
        ("pending", "skipped", ChangedBy.STORE, "its once_per is done, or another event acts for its own"),
        ("pending", "cancelled", ChangedBy.PERSON, "cancels it"),
        ("pending", "cancelled", ChangedBy.STORE, "an event of its until has come"),
        ("running", "succeeded", ChangedBy.GATEWAY, "its action is done"),
        (
            "running",
            "skipped",
            ChangedBy.GATEWAY,
            "its if is false, its route disabled, it dry or one of a burst",
        ),
        ("running", "pending", ChangedBy.GATEWAY, "will try again, or gives it back"),
        ("running", "dead", ChangedBy.GATEWAY, "failed for good, or too often"),
        ("running", "cancelled", ChangedBy.GATEWAY, "nobody has approved it in time"),
        ("running", "expired", ChangedBy.GATEWAY, "is older than its expires allows"),
        ("running", "pending", ChangedBy.STORE, "its lease ended"),
        ("running", "cancelled", ChangedBy.PERSON, "cancels it"),
        ("running", "cancelled", ChangedBy.GATEWAY, "would try again, and an event of its until has come"),
        ("running", "cancelled", ChangedBy.STORE, "its lease ended, and an event of its until has come"),
        ("skipped", "pending", ChangedBy.PERSON, "retries it"),
        ("skipped", "blocked", ChangedBy.PERSON, "retries it, and its needs are not done"),
        ("skipped", "blocked", ChangedBy.STORE, "one that it needs is retried"),
        ("cancelled", "pending", ChangedBy.PERSON, "retries it"),
        ("cancelled", "blocked", ChangedBy.PERSON, "retries it, and its needs are not done"),
        ("dead", "pending", ChangedBy.PERSON, "retries it"),
        ("dead", "blocked", ChangedBy.PERSON, "retries it, and its needs are not done"),
        ("dead", "cancelled", ChangedBy.PERSON, "cancels it"),
        ("expired", "pending", ChangedBy.PERSON, "retries it"),
        ("expired", "blocked", ChangedBy.PERSON, "retries it, and its needs are not done"),
    )
)
"""Every change of state there is; all else a store refuses. The contract's tests see each of them happen on each store,
and no other; the diagram in docs/reliability.md is compared with it. A purge removes what is in a final state, and what
is blocked by a dead one.
"""


def sources_of(target: DeliveryState, by: ChangedBy) -> frozenset[DeliveryState]:
    """The states from which somebody may bring a delivery to another."""
    return frozenset(row.source for row in TRANSITIONS if row.source and (row.target, row.by) == (target, by))


DISABLED = "disabled: "
"""How the reason of a delivery begins that was skipped because its route says `enabled: false`."""


WAITS = "waits until "
"""How the reason of a delivery begins that was planned for later, or came outside its hours; a time follows."""


HASTENED_SECONDS = 5.0
"""Deliveries that wait for their connection to be reached again are due within so long once it works again: each where
its own due time falls in a grid of that width, so that they do not come all at once.
"""


def until_reached(connection: str) -> str:
    """The reason of a pending delivery whose connection could not be reached, or takes nothing from anybody."""
    return f"waits for connection {connection} to be reached again"


def is_until_reached(reason: str | None) -> bool:
    """Whether a reason is such a one."""
    return reason is not None and reason.startswith("waits for connection ")


GATEWAY_DIED = "the gateway died during this attempt; whether it took effect is not known"
LEASE_ENDED = (
    "the gateway did not renew its lease during this attempt (it died, stopped or lost the database); whether it took "
    "effect is not known"
)


def is_by_death(error: str | None) -> bool:
    """Whether an attempt's error says that its gateway did not live to tell how it ended."""
    return error in (GATEWAY_DIED, LEASE_ENDED)


class AttemptOutcome(StrEnum):
    """How one run of a delivery ended."""

    SUCCEEDED = "succeeded"
    SKIPPED = "skipped"
    RETRY = "retry"  # failed in a way that may pass
    DEAD = "dead"  # failed for good, or out of attempts
    EXPIRED = "expired"  # too old: nothing was sent
    INTERRUPTED = "interrupted"  # the gateway stopped or died meanwhile: whether it took effect is not known


@dataclass(frozen=True, slots=True)
class Gathered:
    """What one delivery of a route with `digest` brings."""

    events: Sequence[Event]  # the first of them, oldest first
    count: int  # of all


@quick
@dataclass(frozen=True, slots=True)
class PlannedDelivery:
    """What routing decided is owed for an event: one action of one route.

    `needs` are names of actions planned for the same route in the same run, `otherwise` how those of them have to end
    that have not to succeed. `error` is set where routing
    could not decide (an `if` that raised): the delivery begins as a dead letter with that text. Those that need it are
    planned beside it, unjudged as well: their keys are known once the route is judged. `skipped` is set where the route
    is disabled: the delivery begins skipped for that reason, which begins with DISABLED.

    One with `waits_until` in the future is not due before, and is planned without keys and unjudged: while it waits it
    holds nobody up, and takes its turn when its time has come. `until_key` names the events that cancel it: those that
    happened later than its own (see Event.ends).
    """

    route: str
    action: str
    needs: tuple[str, ...] = ()
    once_key: str | None = None
    order_key: str | None = None
    error: str | None = None
    is_judged: bool = True  # False only after a routing error, or for later
    skipped: str | None = None
    otherwise: Mapping[str, Need] = field(default_factory=dict)
    waits_until: datetime | None = None
    why_later: str | None = None  # why it waits, such as `after: 3d`
    until_key: str | None = None


class Lane(NamedTuple):
    """The deliveries of one action for one account: what is claimed side by side with other lanes."""

    account: str
    route: str
    action: str


@quick
@dataclass(frozen=True, slots=True)
class Delivery:
    """One action owed for one event: the unit of retry."""

    id: str  # the same at every attempt
    event_id: str
    account: str
    event_type: str
    route: str
    action: str
    run_id: str  # deliveries of one route planned together share it; `needs` is resolved inside
    needs: tuple[str, ...]
    state: DeliveryState
    attempts: int  # since it was made or last revived, the running one included
    created_at: datetime
    next_attempt_at: datetime | None  # for pending ones
    finished_at: datetime | None
    reason: str | None  # why it is dead, skipped, cancelled or waits
    last_error: str | None
    is_judged: bool  # whether the route's `if` said yes; False after a routing error, and until its time comes
    waits_for_turn: bool  # pending, but `order_by` or `once_per` lets another go first
    once_key: str | None = None
    order_key: str | None = None
    rendered: Any = None
    output: Any = None
    otherwise: Mapping[str, Need] = field(default_factory=dict)  # how needs have to end that have not to succeed
    word: Word = field(default_factory=Word)  # what people said of it
    waits_until: datetime | None = None  # planned for then, or its hours begin then; None once it was claimed
    until_key: str | None = None  # of the events that cancel it

    @property
    def lane(self) -> Lane:
        """The lane it is claimed in."""
        return Lane(self.account, self.route, self.action)


@quick
@dataclass(frozen=True, slots=True)
class Attempt:
    """One run of a delivery."""

    number: int  # 1, 2, ... over the delivery's whole life
    started_at: datetime
    duration_seconds: float
    outcome: AttemptOutcome
    error: str | None = None
    exchanges: Any = field(default=None, repr=False)  # see gateway.delivery.exchanges


@quick
@dataclass(frozen=True, slots=True)
class Claim:
    """A delivery that this gateway may run until its lease ends."""

    delivery: Delivery
    token: str  # fences a gateway that overslept its lease
    event: Event
    outputs: Mapping[str, Any]  # of the succeeded deliveries of the same run, by action
    ends: Mapping[str, End] = field(default_factory=dict)  # of the others of the run that have ended, by action


@quick
@dataclass(frozen=True, slots=True)
class Finish:
    """How the attempt of a claim ended: by a final state, or PENDING, to run again after `wait_seconds`."""

    state: DeliveryState
    attempt: Attempt
    reason: str | None = None
    wait_seconds: float = 0.0
    rendered: Any = None
    output: Any = None

    def with_values(self, rendered: Any, output: Any) -> Finish:
        """The same with other values: what `replace` does, at a third of the time, for each delivery."""
        return Finish(self.state, self.attempt, self.reason, self.wait_seconds, rendered, output)


@dataclass(frozen=True, slots=True)
class Released:
    """A claim that is given up without an attempt, and costs none. It keeps its place, or waits for `wait_seconds`;
    with a reason that begins with WAITS, by the calendar. An `until_key` is kept with it.
    """

    reason: str | None = None  # why it waits
    wait_seconds: float = 0.0
    until_key: str | None = None


@dataclass(frozen=True, slots=True)
class Rekeyed:
    """A claim of an unjudged delivery whose route has been judged now. It takes its turn by its keys, and this costs no
    attempt.
    """

    once_key: str | None
    order_key: str | None


@dataclass(frozen=True, slots=True)
class Burst:
    """A claim of one of a burst: of all that are pending with its order key, that of the newest event is to act once no
    other has come for `wait_seconds`, or the first is `max_seconds` old. It gets `settled_key` as its order key then,
    and the others are skipped and name it. Until then the claim waits. This costs no attempt.
    """

    settled_key: str
    wait_seconds: float
    max_seconds: float


@dataclass(frozen=True, slots=True)
class HeldForYes:
    """A claim that needs a yes first. It waits for that, at most for `within_seconds` since it was first held, without
    keys and unjudged: it holds up nobody, and takes its turn once it goes on. A yes that came meanwhile counts. This
    costs no attempt.
    """

    within_seconds: float
    reason: str


Outcome = Finish | Released | Rekeyed | Burst | HeldForYes
"""What becomes of a claim."""


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """Which deliveries to list, retry or cancel. Empty fields do not narrow."""

    ids: Sequence[str] = ()
    event_ids: Sequence[str] = ()
    accounts: Sequence[str] = ()
    routes: Sequence[str] = ()
    actions: Sequence[str] = ()
    lanes: Sequence[tuple[str, str]] | None = None  # (route, action) pairs, such as all of one connection
    states: Sequence[str] = ()
    since: datetime | None = None  # made at or after
    until: datetime | None = None  # made before
    waiting: bool = False  # only those with `waits_until`
