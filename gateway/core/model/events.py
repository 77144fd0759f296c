"""Events as they lie in the inbox."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from gateway.core.quick import quick


class EventState(StrEnum):
    """What intake made of an event."""

    ROUTED = "routed"
    UNMATCHED = "unmatched"  # no route wanted it
    IGNORED = "ignored"  # of a mode that the account does not take


class EventSource(StrEnum):
    """Who brought an event here."""

    WEBHOOK = "webhook"  # Stripe posted it
    BACKFILL = "backfill"  # a person had it asked for
    RECONCILE = "reconcile"  # the gateway asked by itself
    SEND = "send"  # `gateway send` made it
    SEED = "seed"  # `gateway seed` or an audit made it of an object at Stripe
    REJECTED = "rejected"  # it was refused at first, and taken in when a person had it checked again
    OWN = "gateway"  # it happened to the gateway itself


TEST_EVENT_ID = "evt_00000000000000"  # of every test event that the old Dashboard sent


@quick
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
    ends: Sequence[str] = ()  # keys of `until` whose waiting deliveries it cancels; not read back from the store
    trace: str | None = None  # its trace context, which its deliveries' attempts go on; None: tracing was off

    def with_body(self, body: bytes) -> Event:
        """The same with another body: what `replace` does, at a fourth of the time, for each event and delivery."""
        return Event(
            self.account, self.id, self.type, self.state, self.livemode, self.received_at, body, self.created_at,
            self.connected_account, self.object_id, self.api_version, self.source, self.snapshot_event, self.twin,
            self.written_for, self.ends, self.trace,
        )  # fmt: skip

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
class EventFilter:
    """What to list or replay. Empty fields do not narrow."""

    ids: Sequence[str] = ()
    accounts: Sequence[str] = ()
    types: Sequence[str] = ()  # types or globs
    states: Sequence[str] = ()
    object_id: str | None = None
    object_ids: Sequence[str] = ()
    since: datetime | None = None
    until: datetime | None = None
    text: str | None = None  # stands in the body, to the letter
