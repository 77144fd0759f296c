"""A dead letter says where a field is that an event lacks: moved by Stripe, or not posted with a thin event."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.stripe.missing_fields import missing_note
from gateway.testing import Trial, make_event
from tests.unit.testing.test_trial import Echo

LINE = {"id": "il_1", "object": "line_item"}
SCOPE = {
    "event": {"api_version": "2026-10-28.endive"},
    "object": {"object": "invoice", "lines": {"object": "list", "data": [LINE]}},
}


@pytest.mark.parametrize(
    ("message", "note"),
    [
        (
            "object.subscription: no such field; did you mean description?",
            "; gone since Stripe's API 2025-03-31.basil: it is object.parent.subscription_details.subscription now "
            "(this event is of version 2026-10-28.endive)",
        ),
        (
            "object.lines.data[0].price: no such field",
            "; gone since Stripe's API 2025-03-31.basil: it is object.lines.data[0].pricing.price_details.price now "
            "(this event is of version 2026-10-28.endive)",
        ),
        (
            "object.paid: no such field",
            "; gone since Stripe's API 2025-03-31.basil: write object.status == 'paid' "
            "(this event is of version 2026-10-28.endive)",
        ),
        ("object.never_was: no such field", ""),
        ("vars.subscription: no such field", ""),
        ("object.lines is null and has no field data", ""),
    ],
)
def test_where_a_field_is_now(message: str, note: str) -> None:
    assert missing_note(message, SCOPE) == note


OLD = {
    "event": {"api_version": "2024-06-20"},
    "object": {"object": "invoice", "lines": {"object": "list", "data": [LINE]}},
}


@pytest.mark.parametrize(
    ("message", "note"),
    [
        (
            "object.parent: no such field; did you mean paid?",
            "; there since Stripe's API 2025-03-31.basil, in the place of object.quote, object.subscription, "
            "object.subscription_details, ... (this event is of version 2024-06-20)",
        ),
        (
            "object.lines.data[0].pricing: no such field",
            "; there since Stripe's API 2025-03-31.basil, in the place of object.lines.data[0].plan, "
            "object.lines.data[0].price (this event is of version 2024-06-20)",
        ),
        ("object.never_was: no such field", ""),
    ],
)
def test_what_an_older_event_has_in_the_place_of_a_field(message: str, note: str) -> None:
    assert missing_note(message, OLD) == note


def test_a_thin_event_s_data_has_to_be_fetched() -> None:
    scope = {"event": {"object": "v2.core.event"}, "object": {"object": "billing.meter"}}
    note = "; a thin event is posted without its data: fetch: {event: true} brings it, as event.data"
    assert missing_note("event.data: no such field", scope) == missing_note("object.data: no such field", scope) == note
    assert missing_note("event.data: no such field", {"event": {"object": "event"}}) == ""


def test_what_has_not_changed_is_not_in_previous() -> None:
    form = "previous.status is defined and ..., or previous.status | default(none)"
    note = f"; previous has only what has changed: write {form}"
    assert missing_note("previous.status: no such field", OLD) == note


async def test_the_dead_letter_says_it() -> None:
    async with Trial(Echo(), {"say": "{{ object.subscription }}"}, event=make_event("invoice.paid")) as trial:
        result = await trial.attempt()
    assert result.error is not None
    assert "it is object.parent.subscription_details.subscription now" in result.error


INVOICE = {
    "id": "in_1",
    "object": "invoice",
    "lines": {"object": "list", "data": []},
    "discounts": [{"object": "discount"}],
}


@pytest.mark.parametrize(
    ("expression", "object", "where"),
    [
        ("object.subscription", INVOICE, "object.parent.subscription_details.subscription"),
        ("object.charge", INVOICE, "object.payments.data[0].payment.payment_intent"),
        ("object.discounts[0].coupon", INVOICE, "object.discounts[0].source.coupon"),
        (
            "object.current_period_end",
            {"id": "sub_1", "object": "subscription"},
            "object.items.data[0].current_period_end",
        ),
    ],
)
async def test_a_route_written_for_2024_06_20_is_told_where_each_field_is_now(
    expression: str, object: dict[str, Any], where: str
) -> None:
    event_type = "invoice.paid" if object is INVOICE else "customer.subscription.updated"
    event = make_event(event_type) | {"data": {"object": object}}
    async with Trial(Echo(), {"say": "{{ " + expression + " }}"}, event=event) as trial:
        result = await trial.attempt()
    assert result.error is not None
    assert f"it is {where} now (this event is of version " in result.error
