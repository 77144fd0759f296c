"""Events, deliveries and changes to them. Made from the API's document by `make generated`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec


class AttemptRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a delivery."""

    number: int
    started_at: datetime
    duration_seconds: float
    outcome: AttemptOutcomeRecord
    error: str | None
    exchanges: tuple[ExchangeRecord, ...] = ()


AttemptOutcomeRecord = Literal["succeeded", "skipped", "retry", "dead", "expired", "interrupted"]
"""How one run of a delivery ended."""


class DeliveriesWhereRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which deliveries. Empty fields do not narrow."""

    id: Sequence[str] = ()  # Their ids.
    state: Sequence[DeliveryStateRecord] = ()
    route: Sequence[str] = ()
    action: Sequence[str] = ()
    account: Sequence[str] = ()
    connection: Sequence[str] = ()
    owner: Sequence[str] = ()  # Of routes that they answer for.
    event: Sequence[str] = ()  # Ids of events.
    since: datetime | str | None = None  # Made at or after: a time, or `2h` for two hours ago.
    until: datetime | str | None = None
    waiting: bool = False  # Only what waits until a time: `after`, `at` or `during`.


class DeliveryRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery in a list."""

    id: str
    run_id: str = ""  # Deliveries of one route that were planned together share it.
    event_id: str
    account: str
    type: str
    route: str
    action: str
    state: DeliveryStateRecord
    attempts: int
    needs: tuple[str, ...]
    waits_for_turn: bool
    created_at: datetime
    next_attempt_at: datetime | None
    waits_until: datetime | None = None  # Until when its `after`, `at` or `during` has it wait.
    finished_at: datetime | None
    reason: str | None
    last_error: str | None
    owner: str | None = None  # Who answers for its route, as today's configuration says.
    waits_for: str | None = None  # What it waits for, in words, where it is pending or blocked.
    word: WordRecord = msgspec.field(default_factory=lambda: WordRecord())


DeliveryStateRecord = Literal["blocked", "pending", "running", "succeeded", "skipped", "cancelled", "dead", "expired"]
"""Where a delivery stands."""


class DeliveryWholeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One delivery, whole."""

    id: str
    run_id: str = ""  # Deliveries of one route that were planned together share it.
    event_id: str
    account: str
    type: str
    route: str
    action: str
    state: DeliveryStateRecord
    attempts: int
    needs: tuple[str, ...]
    waits_for_turn: bool
    created_at: datetime
    next_attempt_at: datetime | None
    waits_until: datetime | None = None  # Until when its `after`, `at` or `during` has it wait.
    finished_at: datetime | None
    reason: str | None
    last_error: str | None
    owner: str | None = None  # Who answers for its route, as today's configuration says.
    waits_for: str | None = None  # What it waits for, in words, where it is pending or blocked.
    word: WordRecord = msgspec.field(default_factory=lambda: WordRecord())
    rendered: Any
    output: Any
    history: tuple[AttemptRecord, ...]


class EventNameRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One stored event."""

    id: str
    account: str = ""  # Needed where several accounts have the id.


class EventRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An event in a list."""

    id: str
    type: str
    account: str
    state: EventStateRecord
    livemode: bool | None
    received_at: datetime
    created_at: datetime | None
    object_id: str | None
    connected_account: str | None
    source: str  # What brought it: webhook, or a command.
    test: bool  # Made up by Stripe's Dashboard.
    api_version: str | None
    written_for: str | None  # The version that templates expect, where it is another.
    # The worst that a delivery came to; null: nothing was owed.
    outcome: Literal["dead", "expired", "waiting", "succeeded", "skipped", "cancelled"] | None = None


EventStateRecord = Literal["routed", "unmatched", "ignored"]
"""What intake made of an event."""


class EventWholeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One event, whole."""

    id: str
    type: str
    account: str
    state: EventStateRecord
    livemode: bool | None
    received_at: datetime
    created_at: datetime | None
    object_id: str | None
    connected_account: str | None
    source: str  # What brought it: webhook, or a command.
    test: bool  # Made up by Stripe's Dashboard.
    api_version: str | None
    written_for: str | None  # The version that templates expect, where it is another.
    # The worst that a delivery came to; null: nothing was owed.
    outcome: Literal["dead", "expired", "waiting", "succeeded", "skipped", "cancelled"] | None = None
    body: Any  # The event as Stripe posted it.
    deliveries: tuple[DeliveryRecord, ...]


class EventsWhereRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which events. Empty fields do not narrow."""

    account: Sequence[str] = ()
    type: Sequence[str] = ()  # Types or globs, such as `invoice.*`.
    state: Sequence[EventStateRecord] = ()
    object: str = ""  # The id of the event's object.
    since: datetime | str | None = None  # A time, or `2h` for two hours ago.
    until: datetime | str | None = None


class ExchangeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that an attempt sent, and the answer to it, as they were kept: cut, and without secrets."""

    sent: str  # In a line: method and address of a request; what else was sent to whom.
    headers: tuple[tuple[str, ...], ...] = ()
    body: str = ""  # Its first characters.
    bytes: int = 0  # Of the whole body.
    is_event: bool = False  # The body was the event as Stripe posted it, which is not kept twice.
    answer: str | None = None  # In a line, such as `503 Service Unavailable`; null: none came.
    answer_headers: tuple[tuple[str, ...], ...] = ()
    answer_body: str = ""  # Its first characters.
    answer_bytes: int = 0  # Of as much of the answer as was read.
    seconds: float | None = None  # From sending to the answer.


class JobAnswerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """How many it is about, and the job, where one was started."""

    count: int
    job: JobRecord | None
    # Of the first `looked_at`, how many of each kind: what would become of them.
    parts: dict[str, int] = msgspec.field(default_factory=dict)
    looked_at: int = 0


class JobRecord(msgspec.Struct, frozen=True, kw_only=True):
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
    became: dict[str, int] = msgspec.field(default_factory=dict)  # The first 1,000 of its deliveries, by state now.


class RejectedHitRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A rejected request of that id."""

    id: str
    reason: str
    received_at: datetime


class ReplayedRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one event."""

    event_id: str
    account: str
    type: str
    owed: tuple[str, ...]  # route/action, as today's configuration owes it.
    skips: dict[str, str] = msgspec.field(default_factory=dict)  # Of these, those that once_per says were done.
    deliveries: tuple[str, ...]  # The ids of the deliveries made; empty in a dry run.
    refused: str | None


class ReplayedListRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What came of each event."""

    results: tuple[ReplayedRecord, ...]


class ResultRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one."""

    id: str
    done: bool
    refused: str | None  # Why not, where it was not done.


class ResultsRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What came of each."""

    results: tuple[ResultRecord, ...]


class SearchRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What was found, by what the query may mean."""

    query: str
    events: tuple[EventRecord, ...]  # Of that id.
    deliveries: tuple[DeliveryRecord, ...]  # Of that id, else those of the event of that id.
    rejected: tuple[RejectedHitRecord, ...]  # Of that id.
    of_object: tuple[EventRecord, ...]  # About the object of that id, the newest first.
    amounts: tuple[EventRecord, ...]  # With that amount of money, the newest first.
    mentions: tuple[EventRecord, ...]  # With that text in their body, the newest first.
    searched_until: datetime | None  # Bodies were looked through back to then; null: all of them.


class WordRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked of people about a delivery, and what they said."""

    is_wanted_late: bool = False
    until: datetime | None = None
    approved_by: str | None = None
    approved_at: datetime | None = None
    is_link_used: bool = False
    is_wanted_now: bool = False
