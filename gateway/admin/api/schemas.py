"""The API's types: what it takes and what it answers. The OpenAPI document is made of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Generic, Literal, Self, TypeVar

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field

from gateway.admin.api.exchanges import Exchanges
from gateway.admin.waiting import Outcome
from gateway.config.load import Config
from gateway.core.model import (
    Attempt,
    AttemptOutcome,
    ChangeResult,
    Delivery,
    DeliveryFilter,
    DeliveryState,
    EventFilter,
    EventState,
    Refusal,
    Word,
)
from gateway.plugin import parse_duration

T = TypeVar("T")
MOST_IDS = 1000
MOST_LISTED = 500


class Shown(BaseModel):
    """The base of what is answered. Like all models here it is compiled at its first use, if ever: start needs none."""

    model_config = ConfigDict(defer_build=True)


class OfRecord(Shown):
    """An answer with the same fields as a record of the gateway."""

    @classmethod
    def of(cls, record: object) -> Self:
        """From the record."""
        return cls.model_validate(record, from_attributes=True)


class Model(BaseModel):
    """The base of what is taken: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", defer_build=True)


def words(value: Any) -> Any:
    """A query's `a,b` or repeated values as a list without empty ones."""
    if isinstance(value, str):
        value = value.split(",")
    return [part for part in value if part != ""] if isinstance(value, list) else value


def _moment(value: Any) -> Any:
    """`2h` means two hours ago."""
    if isinstance(value, str):
        try:
            return datetime.now(UTC) - timedelta(seconds=parse_duration(value.strip()))
        except (ValueError, OverflowError):
            return value.strip() or None
    return value


Id = Annotated[str, Field(min_length=1, max_length=255)]
Words = Annotated[list[Annotated[str, Field(max_length=255)]], BeforeValidator(words), Field(max_length=50)]
When = Annotated[datetime | None, BeforeValidator(_moment)]
EventStates = Annotated[list[EventState], BeforeValidator(words), Field(max_length=10)]
DeliveryStates = Annotated[list[DeliveryState], BeforeValidator(words), Field(max_length=10)]


class EventsWhere(Model):
    """Which events. Empty fields do not narrow."""

    account: Words = Field(default_factory=list)
    type: Words = Field(default_factory=list, description="Types or globs, such as `invoice.*`.")
    state: EventStates = Field(default_factory=list)
    object: Annotated[str, Field(max_length=255)] = Field("", description="The id of the event's object.")
    since: When = Field(None, description="A time, or `2h` for two hours ago.")
    until: When = None

    def filter(self, text: str = "") -> EventFilter:
        """The same for the store."""
        return EventFilter(
            accounts=self.account,
            types=self.type,
            states=[state.value for state in self.state],
            object_id=self.object or None,
            since=aware(self.since),
            until=aware(self.until),
            text=text or None,
        )


class DeliveriesWhere(Model):
    """Which deliveries. Empty fields do not narrow."""

    id: Annotated[list[Id], BeforeValidator(words), Field(max_length=MOST_IDS)] = Field(
        default_factory=list, description="Their ids."
    )
    state: DeliveryStates = Field(default_factory=list)
    route: Words = Field(default_factory=list)
    action: Words = Field(default_factory=list)
    account: Words = Field(default_factory=list)
    connection: Words = Field(default_factory=list)
    owner: Words = Field(default_factory=list, description="Of routes that they answer for.")
    event: Words = Field(default_factory=list, description="Ids of events.")
    since: When = Field(None, description="Made at or after: a time, or `2h` for two hours ago.")
    until: When = None
    waiting: bool = Field(False, description="Only what waits until a time: `after`, `at` or `during`.")

    def filter(self, config: Callable[[], Config]) -> DeliveryFilter:
        """The same for the store: a connection is the actions that use it in today's configuration, an owner those of
        the routes that name them.
        """
        lanes = None
        if self.connection or self.owner:
            lanes = [
                (route.name, action.name)
                for route in config().routes
                for action in route.actions
                if (not self.connection or action.connection in self.connection)
                and (not self.owner or route.owner in self.owner)
            ]
        return DeliveryFilter(
            ids=self.id,
            event_ids=self.event,
            accounts=self.account,
            routes=self.route,
            actions=self.action,
            lanes=lanes,
            states=[state.value for state in self.state],
            since=aware(self.since),
            until=aware(self.until),
            waiting=self.waiting,
        )


def aware(moment: datetime | None) -> datetime | None:
    """UTC where a time does not say otherwise."""
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment


class ForgetAsk(Model):
    """A customer whose data is to be erased."""

    customer: Annotated[str, Field(max_length=260, description="Stripe's id of the customer: cus_...")]
    account: Annotated[str, Field(max_length=64, description="Only from this account; empty: from all.")] = ""
    cancel: bool = Field(False, description="Cancel what is still owed for these events; else they are refused.")
    dry_run: bool = Field(False, description="Only count the events, and the rejected requests.")


class Cut(Model):
    """Which part of a list."""

    cursor: Annotated[str, Field(max_length=30)] = Field("", description="`next` of the page before.")
    limit: Annotated[int, Field(ge=1, le=MOST_LISTED)] = 50


class Ordered(Cut):
    """Which part of a list, from which end."""

    oldest_first: bool = False


class EventsQuery(EventsWhere, Ordered):
    """The query of a list of events."""

    text: Annotated[str, Field(max_length=200)] = Field(
        "", description="Stands in the body, to the letter. Looks through the inbox a part at a time: follow `next`."
    )
    outcome: Outcome | None = Field(None, description="Has a delivery of that kind; in order of the deliveries.")


class DeliveriesQuery(DeliveriesWhere, Ordered):
    """The query of a list of deliveries."""


class AccountQuery(Model):
    """Tells apart events of one id."""

    account: Annotated[str, Field(max_length=64)] = ""


class Empty(Model):
    """Nothing."""


# -- answers --------------------------------------------------------------------------------------------------


class ListOf(Shown, Generic[T]):
    """A page of a list."""

    items: list[T]
    next: str | None = Field(description="The cursor of the page that follows; null: that was all.")
    searched_until: datetime | None = Field(None, description="A search by text has looked back so far.")


class EventOut(OfRecord):
    """An event in a list."""

    id: str
    type: str
    account: str
    state: EventState
    livemode: bool | None
    received_at: datetime
    created_at: datetime | None
    object_id: str | None
    connected_account: str | None
    source: str = Field(description="What brought it: webhook, or a command.")
    test: bool = Field(validation_alias=AliasChoices("test", "is_test"), description="Made up by Stripe's Dashboard.")
    api_version: str | None
    written_for: str | None = Field(description="The version that templates expect, where it is another.")
    outcome: Outcome | None = Field(None, description="The worst that a delivery came to; null: nothing was owed.")


class DeliveryOut(OfRecord):
    """A delivery in a list."""

    id: str
    run_id: str = Field("", description="Deliveries of one route that were planned together share it.")
    event_id: str
    account: str
    type: str = Field(validation_alias=AliasChoices("type", "event_type"))
    route: str
    action: str
    state: DeliveryState
    attempts: int
    needs: list[str]
    waits_for_turn: bool
    created_at: datetime
    next_attempt_at: datetime | None
    waits_until: datetime | None = Field(None, description="Until when its `after`, `at` or `during` has it wait.")
    finished_at: datetime | None
    reason: str | None
    last_error: str | None
    owner: str | None = Field(None, description="Who answers for its route, as today's configuration says.")
    waits_for: str | None = Field(None, description="What it waits for, in words, where it is pending or blocked.")
    word: Word = Field(default_factory=Word)


class AttemptOut(OfRecord):
    """One run of a delivery."""

    number: int
    started_at: datetime
    duration_seconds: float
    outcome: AttemptOutcome
    error: str | None
    exchanges: Exchanges = Field(default_factory=list)


class DeliveryWhole(DeliveryOut):
    """One delivery, whole."""

    rendered: Any
    output: Any
    history: list[AttemptOut]

    @classmethod
    def whole(cls, delivery: Delivery, attempts: Sequence[Attempt]) -> DeliveryWhole:
        """From the records."""
        listed, history = DeliveryOut.of(delivery).model_dump(), [AttemptOut.of(attempt) for attempt in attempts]
        return cls(**listed, rendered=delivery.rendered, output=delivery.output, history=history)


class EventWhole(EventOut):
    """One event, whole."""

    body: Any = Field(description="The event as Stripe posted it.")
    deliveries: list[DeliveryOut]


class AuditOut(OfRecord):
    """Who asked for what."""

    at: datetime
    role: str
    who: str
    what: str
    target: str
    count: int


class ProblemOut(Shown):
    """What went wrong, RFC 9457."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str


# -- changes --------------------------------------------------------------------------------------------------


class Ids(Model):
    """Which deliveries, by id."""

    ids: list[Id] = Field(min_length=1, max_length=MOST_IDS)


class Result(Shown):
    """What came of one."""

    id: str
    done: bool
    refused: str | None = Field(description="Why not, where it was not done.")

    @classmethod
    def of(cls, id: str, result: ChangeResult) -> Result:
        """From what the store says."""
        refused = result.reason if isinstance(result, Refusal) else None
        return cls(id=id, done=refused is None, refused=refused)


class Results(Shown):
    """What came of each."""

    results: list[Result]


class EventName(Model):
    """One stored event."""

    id: Id
    account: Annotated[str, Field(max_length=64)] = Field("", description="Needed where several accounts have the id.")


class ReplayAsk(Model):
    """Which events to route through today's configuration."""

    events: list[EventName] = Field(min_length=1, max_length=100)
    routes: list[Id] = Field(default_factory=list, max_length=100, description="Only for these.")
    force: bool = Field(False, description="Even where once_per says it was done.")
    dry_run: bool = Field(False, description="Only say what it would make.")


class Replayed(Shown):
    """What came of one event."""

    event_id: str
    account: str
    type: str
    owed: list[str] = Field(description="route/action, as today's configuration owes it.")
    skips: dict[str, str] = Field(default_factory=dict, description="Of these, those that once_per says were done.")
    deliveries: list[str] = Field(description="The ids of the deliveries made; empty in a dry run.")
    refused: str | None


class ReplayedList(Shown):
    """What came of each event."""

    results: list[Replayed]


class JobAsk(Model):
    """A change to all that a filter finds now, the oldest first."""

    what: Literal["retry", "cancel", "replay"]
    deliveries: DeliveriesWhere | None = Field(None, description="For retry and cancel.")
    events: EventsWhere | None = Field(None, description="For replay.")
    routes: list[Id] = Field(default_factory=list, max_length=100, description="Of a replay: only for these.")
    dry_run: bool = Field(False, description="Only count.")


class JobOut(OfRecord):
    """A change to many, as it goes on."""

    id: str
    what: str
    target: str
    state: Literal["running", "paused", "finished", "stopped", "failed"]
    total: int
    done: int
    refused: int
    first_refusal: str | None
    started_at: datetime
    ended_at: datetime | None
    became: dict[str, int] = Field(default_factory=dict, description="The first 1,000 of its deliveries, by state now.")


class JobAnswer(Shown):
    """How many it is about, and the job, where one was started."""

    count: int
    job: JobOut | None
    parts: dict[str, int] = Field(
        default_factory=dict, description="Of the first `looked_at`, how many of each kind: what would become of them."
    )
    looked_at: int = 0
