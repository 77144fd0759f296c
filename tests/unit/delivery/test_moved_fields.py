"""A dead letter says where a field is that Stripe has moved."""

from __future__ import annotations

import pytest

from gateway.delivery.moved_fields import moved_note
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
    assert moved_note(message, SCOPE) == note


async def test_the_dead_letter_says_it() -> None:
    async with Trial(Echo(), {"say": "{{ object.subscription }}"}, event=make_event("invoice.paid")) as trial:
        result = await trial.attempt()
    assert result.error is not None
    assert "it is object.parent.subscription_details.subscription now" in result.error
