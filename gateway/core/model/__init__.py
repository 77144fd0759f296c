"""The nouns of the gateway as frozen records: accounts, events, routes, deliveries, attempts, and their states.

Times are aware UTC datetimes. Durations are float seconds and say so in their names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from gateway.core.errors import Where


class EventState(StrEnum):
    """What intake made of an event."""

    ROUTED = "routed"
    UNMATCHED = "unmatched"  # no route wanted it
    IGNORED = "ignored"  # of a mode that the account does not take


class DeliveryState(StrEnum):
    """Where a delivery stands."""

    BLOCKED = "blocked"  # waits for what it `needs`
    PENDING = "pending"  # will run when due, in its turn
    RUNNING = "running"  # claimed by a gateway, under a lease
    SUCCEEDED = "succeeded"
    SKIPPED = "skipped"  # was not owed after all: its `if` was false, `once_per`, a skipped need
    CANCELLED = "cancelled"  # a person ended it
    DEAD = "dead"  # will not be retried by itself

    @property
    def is_final(self) -> bool:
        """Whether nothing more happens without a person."""
        return self in FINAL_STATES


FINAL_STATES = frozenset({DeliveryState.SUCCEEDED, DeliveryState.SKIPPED, DeliveryState.CANCELLED, DeliveryState.DEAD})


DRY_RUN = "dry run: "
"""How the reason of a delivery begins that was skipped because nothing was to be sent. Those that need it run dry
as well: they know by a need that has ended without an output.
"""

NEEDED = "needed action "
"""How the reason of a delivery begins that was skipped or cancelled for the sake of one that it needs."""


def was_dry(state: str, reason: str | None) -> bool:
    """Whether a delivery was skipped because nothing was to be sent."""
    return state == DeliveryState.SKIPPED and reason is not None and reason.startswith(DRY_RUN)


class AttemptOutcome(StrEnum):
    """How one run of a delivery ended."""

    SUCCEEDED = "succeeded"
    SKIPPED = "skipped"
    RETRY = "retry"  # failed in a way that may pass
    DEAD = "dead"  # failed for good, or out of attempts
    INTERRUPTED = "interrupted"  # the gateway stopped or died meanwhile: whether it took effect is not known


# -- configuration, compiled ----------------------------------------------------------------------------------


class Expression(Protocol):
    """A compiled Jinja expression, such as a route's `if`."""

    @property
    def source(self) -> str:
        """The text as written."""

    @property
    def where(self) -> Where:
        """Its place in the YAML."""

    def prepare(self) -> None:
        """Does now what the first `evaluate` would do: an event need not wait for it."""

    def evaluate(self, scope: Mapping[str, Any]) -> Any:
        """The expression's native value. Raises TemplateError."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`retry:` of the defaults or of one action."""

    attempts: int  # runs in all, the first one included
    first_seconds: float
    factor: float
    max_seconds: float


STRIPE_KEEPS_SECONDS = 30 * 86400  # https://docs.stripe.com/api/events: older events are gone


@dataclass(frozen=True, slots=True)
class Reconcile:
    """`reconcile:` of an account: how often to ask Stripe for events that did not arrive, and how far back."""

    every_seconds: float
    look_back_seconds: float
    undelivered: bool = True  # False: every event, whatever Stripe says of its delivery
    connected_accounts: tuple[str, ...] = ()  # ids, or EVERY_CONNECTED; the account's own are always asked for


@dataclass(frozen=True, slots=True)
class Account:
    """One Stripe account as configured here."""

    name: str
    signing_secrets: tuple[str, ...] = field(repr=False)
    livemode: bool | None  # None: any
    tolerance_seconds: float
    api_key: str = field(default="", repr=False)
    api_version: str | None = None  # what the templates were written for
    api_per_second: float | None = None  # requests to Stripe's API; None: what Stripe allows by default
    vars: Mapping[str, Any] = field(default_factory=dict)
    connected_vars: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # by connected account
    reconcile: Reconcile | None = None
    redact: tuple[tuple[str, ...], ...] = ()  # paths of fields that are shown to nobody


@dataclass(frozen=True, slots=True)
class Fetch:
    """A route's `fetch`: what to ask Stripe for when a delivery runs."""

    expand: tuple[str, ...] = ()
    api_version: str | None = None  # None: the account's, else the event's
    again: bool = False  # at every attempt, instead of once for all of an event's actions


@dataclass(frozen=True, slots=True)
class Digest:
    """A route's `digest`: events that come close together go out as one."""

    every_seconds: float  # between two digests at least
    wait_seconds: float  # for more, after the first event


OWN = "none"  # in `connected_accounts`: events of the account itself
EVERY_CONNECTED = "*"


@dataclass(frozen=True, slots=True)
class ActionUse:
    """One named action of a route.

    `settings` is the compiled `with`; its type belongs to `gateway.config`, and routing does not look at it.
    """

    name: str
    uses: str
    needs: tuple[str, ...]
    where: Where
    condition: Expression | None = None
    connection: str | None = None
    retry: RetryPolicy = RetryPolicy(20, 5.0, 4.0, 21600.0)
    timeout_seconds: float = 30.0
    settings: Any = None
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """Event patterns + a condition + named actions, in an order that respects `needs`."""

    name: str
    accounts: frozenset[str] | None  # None: every account
    events: tuple[str, ...]  # types or globs
    where: Where
    condition: Expression | None = None
    once_per: Expression | None = None
    order_by: Expression | None = None
    actions: tuple[ActionUse, ...] = ()
    connected_accounts: frozenset[str] = frozenset({OWN})  # ids, EVERY_CONNECTED, OWN
    fetch: Fetch | None = None
    dry_run: bool = False  # of every action
    digest: Digest | None = None

    def action(self, name: str) -> ActionUse | None:
        """The action of that name, or None."""
        return next((action for action in self.actions if action.name == name), None)

    def needed_by(self, name: str) -> frozenset[str]:
        """The names of all that an action needs, directly or through others."""
        found: set[str] = set()
        todo = [name]
        while todo:
            action = self.action(todo.pop())
            for need in action.needs if action else ():
                if need not in found:
                    found.add(need)
                    todo.append(need)
        return frozenset(found)


# -- the inbox ------------------------------------------------------------------------------------------------


class EventSource(StrEnum):
    """Who brought an event here."""

    WEBHOOK = "webhook"  # Stripe posted it
    BACKFILL = "backfill"  # a person had it asked for
    RECONCILE = "reconcile"  # the gateway asked by itself
    SEND = "send"  # `gateway send` made it
    REJECTED = "rejected"  # it was refused at first, and taken in when a person had it checked again
    OWN = "gateway"  # it happened to the gateway itself


TEST_EVENT_ID = "evt_00000000000000"  # of every test event that the old Dashboard sent


@dataclass(frozen=True, slots=True)
class Event:
    """One verified Stripe event as it lies in the inbox. Its key is `(account, id)`."""

    account: str
    id: str
    type: str
    state: EventState
    livemode: bool | None  # None: a thin event that does not say
    received_at: datetime
    body: bytes = field(repr=False)  # exactly as posted
    created_at: datetime | None = None  # Stripe's `created`
    connected_account: str | None = None
    object_id: str | None = None
    api_version: str | None = None
    source: EventSource = EventSource.WEBHOOK
    snapshot_event: str | None = None  # of a thin event: the id of the snapshot event that says the same
    twin: str | None = None  # what both forms of one event share, where routes want both; not read back from the store
    written_for: str | None = None  # the version that the account's templates were written for, where it is another
    trace: str | None = None  # its trace context, which its deliveries' attempts go on; None: tracing was off

    @property
    def is_test(self) -> bool:
        """Whether the Dashboard made it up: such events share one id at Stripe and name objects that do not exist."""
        return self.id.startswith(TEST_EVENT_ID)


@dataclass(frozen=True, slots=True)
class Fetched:
    """An object as it was at Stripe, kept with the run of deliveries that asked for it."""

    asked: str  # what was asked, as text: another question is another answer
    at: datetime
    object: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Gathered:
    """What one delivery of a route with `digest` brings."""

    events: Sequence[Event]  # the first of them, oldest first
    count: int  # of all


@dataclass(frozen=True, slots=True)
class PlannedDelivery:
    """What routing decided is owed for an event: one action of one route.

    `needs` are names of actions planned for the same route in the same run. `error` is set where routing
    could not decide (an `if` that raised): the delivery begins as a dead letter with that text. Those that need it are
    planned beside it, unjudged as well: their keys are known once the route is judged.
    """

    route: str
    action: str
    needs: tuple[str, ...] = ()
    once_key: str | None = None
    order_key: str | None = None
    error: str | None = None
    is_judged: bool = True  # False only after a routing error


@dataclass(frozen=True, slots=True, order=True)
class Lane:
    """The deliveries of one action for one account: what is claimed side by side with other lanes."""

    account: str
    route: str
    action: str


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
    is_judged: bool  # whether the route's `if` said yes; False only after a routing error
    waits_for_turn: bool  # pending, but `order_by` or `once_per` lets another go first
    once_key: str | None = None
    order_key: str | None = None
    rendered: Any = None
    output: Any = None

    @property
    def lane(self) -> Lane:
        """The lane it is claimed in."""
        return Lane(self.account, self.route, self.action)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run of a delivery."""

    number: int  # 1, 2, ... over the delivery's whole life
    started_at: datetime
    duration_seconds: float
    outcome: AttemptOutcome
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """A delivery that this gateway may run until its lease ends."""

    delivery: Delivery
    token: str  # fences a gateway that overslept its lease
    event: Event
    outputs: Mapping[str, Any]  # of the succeeded deliveries of the same run, by action


@dataclass(frozen=True, slots=True)
class Finish:
    """How the attempt of a claim ended: SUCCEEDED, SKIPPED, DEAD, or PENDING, to run again after `wait_seconds`."""

    state: DeliveryState
    attempt: Attempt
    reason: str | None = None
    wait_seconds: float = 0.0
    rendered: Any = None
    output: Any = None


@dataclass(frozen=True, slots=True)
class HandBack:
    """A claim that is given up without an attempt, and costs none. It keeps its place, or waits for `wait_seconds`."""

    reason: str | None = None  # why it waits
    wait_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Judged:
    """A claim of an unjudged delivery whose route has been judged now. It takes its turn by its keys, and this costs no
    attempt.
    """

    once_key: str | None
    order_key: str | None


Ending = Finish | HandBack | Judged
"""What becomes of a claim."""


# -- connections ----------------------------------------------------------------------------------------------


class ConnectionState(StrEnum):
    """Whether deliveries run on a connection."""

    WORKING = "working"
    PAUSED = "paused"  # nothing runs until the pause ends; the backlog is kept
    PROBING = "probing"  # the pause is over: one delivery tries whether it works again


@dataclass(frozen=True, slots=True)
class ConnectionStatus:
    """How a connection stands, as all gateways on one store see it."""

    name: str
    state: ConnectionState = ConnectionState.WORKING
    version: int = 0  # counts its changes
    since: datetime | None = None  # when it took this state; None: it never had another
    until: datetime | None = None  # of a pause, or of a probe's time; None in a pause: until a person resumes it
    left_seconds: float | None = None  # to `until`, by the store's clock when this was read; 0 once it is past
    reason: str | None = None  # why it is paused
    failures: int = 0  # in a row
    pauses: int = 0  # in a row, without a success between; each is longer than the one before
    failed_delivery: str | None = None  # whose failure was the last


@dataclass(frozen=True, slots=True)
class ConnectionChange:
    """What a connection's status is to become. `for_seconds` is of a pause or a probe; None: without an end."""

    state: ConnectionState
    for_seconds: float | None = None
    reason: str | None = None
    failures: int = 0
    pauses: int = 0
    failed_delivery: str | None = None


@dataclass(frozen=True, slots=True)
class SharedRate:
    """A connection's `rate`, which all gateways on one store keep together: a bucket of claims that fills steadily."""

    connection: str
    lanes: frozenset[Lane]
    per_second: float
    burst: float  # what the bucket holds at most; at first it holds 1


@dataclass(frozen=True, slots=True)
class RejectedRequest:
    """A request that was refused because nothing proved that Stripe had sent it: kept apart, never routed, with all
    that it was judged by.
    """

    id: str
    received_at: datetime  # by the clock of the gateway that judged its age
    account: str | None  # of the path; None: it was posted to /webhooks
    reason: str  # one of REJECTED_REASONS
    address: str  # of the client as it was known then; "" where nobody could tell
    peer: str  # the address of the other end of the connection
    forwarded_for: str | None  # the X-Forwarded-For as sent
    signature: str | None  # the Stripe-Signature as sent
    size: int  # bytes, of the body and of the headers that are kept
    body: bytes = field(repr=False)  # exactly as posted; unverified


REJECTED_REASONS = {
    "missing": "it bears no Stripe-Signature: Stripe did not send it, or a proxy in front takes the header away",
    "malformed": "its Stripe-Signature is none: Stripe did not send it, or a proxy in front changes headers",
    "no_match": "no signing secret of the account had signed it: the secret here is wrong, a proxy in front changes "
    "bodies, or Stripe did not send it",
    "too_old": "it was signed too long before it came: the clock here is wrong, or somebody sent an old request again",
    "too_new": "it was signed in the future: the clock here is wrong",
    "malformed_event": "its signature is good, but its body is no event that this version understands",
    "source": "its signature is good, but it came from an address that server.allowed_ips does not have",
}
"""Why a request was rejected, in words for a person."""


@dataclass(frozen=True, slots=True)
class RejectedBounds:
    """How much is kept of what was rejected. Where one of them is passed, what is oldest of the address that takes most
    goes first: who floods pushes out nobody else's.
    """

    requests: int
    size: int  # bytes
    age_seconds: float


@dataclass(frozen=True, slots=True)
class RejectedFilter:
    """Which rejected requests to list or verify. Empty fields do not narrow."""

    ids: Sequence[str] = ()
    accounts: Sequence[str] = ()
    reasons: Sequence[str] = ()
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class EventFilter:
    """What to list or replay. Empty fields do not narrow."""

    ids: Sequence[str] = ()
    accounts: Sequence[str] = ()
    types: Sequence[str] = ()  # types or globs
    states: Sequence[str] = ()
    object_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    text: str | None = None  # stands in the body, to the letter


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


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who asked for what to be changed: a replay, a retry, a cancellation."""

    at: datetime
    role: str  # viewer, operator, or cli for a command on the gateway's own machine
    who: str  # the name that the person gave, and where the request came from
    what: str  # such as delivery.retry
    target: str  # an id, or the filter of many
    count: int  # how many it was asked for
