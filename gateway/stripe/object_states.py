"""Which events the present state of an object tells of: that it was created, and how far it has come since.

An object does not tell what changed in it and how often, so most types cannot be told from it. When each of these
events happens is in https://docs.stripe.com/api/events/types, what each status means in the object's API reference.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.core.internal_events import is_own
from gateway.stripe.event_types import is_thin, matches
from gateway.stripe.objects import objects_of

_STATES = """
charge.pending status=pending
charge.succeeded status=succeeded
charge.failed status=failed
charge.refunded amount_refunded>0
charge.dispute.closed status=won|lost|warning_closed
checkout.session.expired status=expired
checkout.session.completed status=complete
credit_note.voided status=void
customer.subscription.paused status=paused
customer.subscription.deleted status=canceled
identity.verification_session.processing status=processing
identity.verification_session.requires_input status=requires_input
identity.verification_session.verified status=verified
identity.verification_session.canceled status=canceled
invoice.finalized status=open|paid|uncollectible|void
invoice.marked_uncollectible status=uncollectible
invoice.voided status=void
invoice.paid status=paid
issuing_dispute.submitted status=submitted|won|lost
issuing_dispute.closed status=won|lost|expired
payment_intent.requires_action status=requires_action
payment_intent.processing status=processing
payment_intent.amount_capturable_updated status=requires_capture
payment_intent.canceled status=canceled
payment_intent.succeeded status=succeeded
payment_method.attached customer|customer_account
payout.canceled status=canceled
payout.paid status=paid
payout.failed status=failed
quote.finalized status=open|accepted
quote.accepted status=accepted
quote.canceled status=canceled
refund.failed status=failed
reporting.report_run.failed status=failed
reporting.report_run.succeeded status=succeeded
review.opened open=True
setup_intent.requires_action status=requires_action
setup_intent.canceled status=canceled
setup_intent.succeeded status=succeeded
subscription_schedule.completed status=completed
subscription_schedule.released status=released
subscription_schedule.canceled status=canceled
test_helpers.test_clock.ready status=ready
topup.canceled status=canceled
topup.failed status=failed
topup.reversed status=reversed
topup.succeeded status=succeeded
transfer.reversed amount_reversed>0
treasury.financial_account.closed status=closed
"""
"""Type and condition, in the order in which they happen to one object, after `.created`."""

CHANGED = -1
"""The order of a type of which it is not known whether it ever happened to an object."""

_ELSEWHERE = {
    "customer.tax_id.created": "Stripe lists the tax ids of customers by customer",
    "customer.source.created": "Stripe lists the sources of customers by customer",
}
_INSTEAD = {
    "charge.captured": "a captured charge may have been so from the start: charge.succeeded is told by its status",
    "checkout.session.async_payment_succeeded": "a paid session may have been so at once: seed "
    "checkout.session.completed, and ask for object.payment_status in its `if`",
    "invoice.payment_succeeded": "an invoice may be paid without a payment: invoice.paid is told by its status",
}


@dataclass(frozen=True, slots=True)
class ToldEvent:
    """A type of event, of which the state of an object tells whether it happened to it."""

    type: str
    kind: str  # the object's, the value of its field `object`
    condition: str = ""  # none: that it is there
    order: int = 0  # in which the types happen to one object

    def happened(self, value: Mapping[str, Any]) -> bool:
        """Whether it happened to this object."""
        if ">" in self.condition:
            field, _, least = self.condition.partition(">")
            amount = value.get(field)
            return isinstance(amount, int) and amount > int(least)
        field, equals, values = self.condition.partition("=")
        if not equals:
            return not field or any(value.get(name) is not None for name in field.split("|"))
        return str(value.get(field)) in values.split("|")


@functools.cache
def _by_condition() -> Mapping[str, tuple[str, int]]:
    rows = (line.rsplit(" ", 1) for line in _STATES.strip().splitlines())
    return {event_type: (condition, order) for order, (event_type, condition) in enumerate(rows, 1)}


def told_by_state(event_type: str) -> ToldEvent | str:
    """What tells of a type of event; or why nothing does, in words."""
    if event_type in _ELSEWHERE:
        return _ELSEWHERE[event_type]
    if is_own(event_type):
        return "it is the gateway's own: it happened here, not at Stripe"
    if is_thin(event_type):
        return "it is a thin event, which holds no object; seed the snapshot type of the same name, where there is one"
    kinds = objects_of(event_type)
    condition, order = _by_condition().get(event_type, (None, 0))
    if len(kinds) == 1 and (condition is not None or event_type.endswith(".created")):
        return ToldEvent(event_type, kinds[0], condition or "", order)
    if event_type in _INSTEAD:
        return _INSTEAD[event_type]
    if event_type.endswith(".deleted"):
        return "what is deleted is in no list of Stripe's"
    return "how an object is now does not tell whether, or how often, it happened"


def changed_type(event_type: str) -> ToldEvent | str:
    """The same for what says no more than that an object is now as it is: also the `.updated` of its kind."""
    kinds = objects_of(event_type)
    if event_type.endswith(".updated") and len(kinds) == 1 and not is_thin(event_type):
        return ToldEvent(event_type, kinds[0], order=CHANGED)
    return told_by_state(event_type)


def types_of(patterns: Sequence[str]) -> list[str]:
    """The types that a route's patterns name, each once; a pattern that matches none is one by itself."""
    return list(dict.fromkeys(known for pattern in patterns for known in sorted(matches(pattern)) or [pattern]))


def last_happened(told: Sequence[ToldEvent], value: Mapping[str, Any]) -> ToldEvent | None:
    """Of several types, the one that happened last to an object; None where none did."""
    kind = value.get("object")
    happened = [event for event in told if event.kind == kind and event.happened(value)]
    return max(happened, key=lambda event: event.order, default=None)
