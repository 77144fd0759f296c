"""Pure: an event told for a person: what it is about, what it changed, where Stripe shows it, what came of it when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from gateway.admin.amounts import duration
from gateway.admin.api.schemas import DeliveryWhole
from gateway.core.envelope import own_object
from gateway.core.internal_events import PREFIX
from gateway.core.model import DeliveryState, Event, EventSource

DASHBOARD = "https://dashboard.stripe.com"
MOST_CHANGES = 200
MOST_MOMENTS = 200
AGAIN_AFTER = timedelta(seconds=2)  # a delivery that was made later than that after its event was made by a replay
ABSENT = "(was not there)"
_AMOUNTS = ("amount_total", "amount_paid", "amount_due", "amount_refunded", "amount", "total", "amount_remaining")
_PERSONS = (
    ("customer_details", "email"), ("customer_email",), ("billing_details", "email"), ("receipt_email",), ("email",),
    ("customer_details", "name"), ("customer_name",), ("billing_details", "name"),
)  # fmt: skip


def human_line(body: Any) -> str | None:
    """`€45.00 from jenny@example.com (cus_123)`, as far as the event's object says that; None where it says nothing of
    it. `body` is the event as it may be shown.
    """
    object_ = own_object(body) if isinstance(body, Mapping) else {}
    person = next((text for path in _PERSONS if isinstance(text := _at(object_, path), str) and text), None)
    customer = object_.get("customer")
    customer = customer.get("id") if isinstance(customer, Mapping) else customer
    if customer is None and object_.get("object") == "customer":
        customer = object_.get("id")
    parts = [_amount(object_), *(["from"] if person or customer else []), person]
    if isinstance(customer, str):
        parts.append(f"({customer})" if person else customer)
    line = " ".join(part for part in parts if part)
    if not line and isinstance(body, Mapping) and str(body.get("type")).startswith(PREFIX):
        return str(object_.get("summary", "")) or None
    return line.removeprefix("from ") or None


def _amount(object_: Mapping[str, Any]) -> str | None:
    from gateway.templating.filters import money

    key = next((key for key in _AMOUNTS if isinstance(object_.get(key), int) and object_[key]), None)
    try:
        return None if key is None else money(object_[key], object_.get("currency"), "en_US")
    except ValueError:
        return None


def _at(value: Any, path: Sequence[str]) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


@dataclass(frozen=True, slots=True)
class ChangedField:
    """One field that an event says to have changed."""

    path: str
    before: Any
    after: Any


def changes(body: Any) -> list[ChangedField]:
    """What differs from `previous_attributes`, by path; empty for events that have none. Lists are told whole.
    https://docs.stripe.com/api/events/object#event_object-data-previous_attributes
    """
    previous = _at(body, ("data", "previous_attributes"))
    if not isinstance(previous, Mapping):
        return []
    return list(_changes(previous, own_object(body), ""))[:MOST_CHANGES]


def _changes(before: Mapping[str, Any], after: Any, path: str) -> Iterator[ChangedField]:
    for key, old in before.items():
        new = after.get(key, ABSENT) if isinstance(after, Mapping) else ABSENT
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _changes(old, new, f"{path}{key}.")
        elif old != new:
            yield ChangedField(path + str(key), old, new)


def stripe_url(event: Event) -> str | None:
    """Where the event is in Stripe's dashboard, as the Stripe CLI links it; None for what Stripe does not have."""
    is_ours = event.source in (EventSource.OWN, EventSource.SEND, EventSource.SEED)
    if is_ours or event.is_test or not event.id.startswith("evt_"):
        return None
    account = f"/{event.connected_account}" if (event.connected_account or "").startswith("acct_") else ""
    return f"{DASHBOARD}{account}{'' if event.livemode else '/test'}/events/{event.id}"


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened, or is planned, on the way of an event."""

    at: datetime
    what: str
    state: str  # a CSS class state-STATE
    delivery_id: str | None = None
    action: str = ""
    took_seconds: float | None = None
    error: str | None = None


def timeline(event: Event, deliveries: Sequence[DeliveryWhole]) -> list[Moment]:
    """What happened to an event and its deliveries, in order of time, and what is planned."""
    moments = [Moment(event.received_at, "received", event.state.value)]
    for delivery in deliveries:
        action = f"{delivery.route}/{delivery.action}"
        if delivery.created_at - event.received_at > AGAIN_AFTER:
            moments.append(Moment(delivery.created_at, "made by a replay", "pending", delivery.id, action))
        moments += [
            Moment(
                attempt.started_at, f"attempt {attempt.number}", attempt.outcome.value, delivery.id, action,
                attempt.duration_seconds, attempt.error,
            )
            for attempt in delivery.history
        ]  # fmt: skip
        is_told = delivery.history and delivery.history[-1].outcome.value == delivery.state.value
        if delivery.finished_at is not None and not is_told:
            state = delivery.state.value
            moments.append(Moment(delivery.finished_at, state, state, delivery.id, action, error=delivery.reason))
        if delivery.next_attempt_at is not None and delivery.state is DeliveryState.PENDING:
            moments.append(Moment(delivery.next_attempt_at, "next attempt, planned", "pending", delivery.id, action))
    return sorted(moments, key=lambda moment: moment.at)[:MOST_MOMENTS]


def after_words(begin: datetime, at: datetime) -> str:
    """`+ 3.4 s` since the beginning."""
    return f"+ {duration(max(0.0, (at - begin).total_seconds()))}"
