"""What the playground offers after `object.`."""

from __future__ import annotations

import pytest

from gateway.admin.field_completion import MOST, complete, near_fields

INVOICE = ["invoice.paid"]


def names(patterns: list[str], typed: str) -> list[str]:
    return [completion.name for completion in complete(patterns, typed)]


@pytest.mark.parametrize(
    ("patterns", "typed", "first"),
    [
        (INVOICE, "object.amount_p", ["amount_paid"]),
        (INVOICE, "event.data.object.hosted_inv", ["hosted_invoice_url"]),
        (INVOICE, "object.lines.data[0].quant", ["quantity"]),
        (INVOICE, "object.lines.ha", ["has_more"]),
        (INVOICE, "object.parent.subscription_details.subscription.latest", ["latest_invoice"]),
        (["customer.subscription.*"], "object.items.data[0].price.rec", ["recurring"]),
        (["customer.subscription.updated"], "previous.canc", ["cancel_at", "cancel_at_period_end"]),
        (["v1.billing.meter.error_report_triggered"], "object.disp", ["display_name"]),
    ],
)
def test_fields_that_begin_with_the_word_come_first(patterns: list[str], typed: str, first: list[str]) -> None:
    assert names(patterns, typed)[: len(first)] == first


def test_a_field_that_moved_is_offered_where_it_is_now() -> None:
    moved = [completion for completion in complete(INVOICE, "object.subscr") if completion.type == "moved"]
    assert (moved[0].name, moved[0].note) == (
        "parent.subscription_details.subscription",
        "subscription until Stripe's API 2025-03-31.basil",
    )


def test_a_note_says_null_values_and_what_an_id_expands_into() -> None:
    (status,) = complete(["checkout.session.completed"], "object.payment_status")
    assert (status.type, status.note) == ("enum", "no_payment_required, paid, unpaid")
    customer = complete(INVOICE, "object.customer")[0]
    assert customer.note == "may be null; an id; fetch expands it to customer"


@pytest.mark.parametrize("patterns", [[], ["no.such.type"], ["gateway.*"]])
def test_nothing_is_offered_where_nobody_knows(patterns: list[str]) -> None:
    assert complete(patterns, "object.") == []


@pytest.mark.parametrize(
    "typed", ["", "object", "vars.x", "object.nothing.", "object.id.", "object.lines[0]..", "x" * 9999]
)
def test_what_is_no_such_path_has_no_ways_on(typed: str) -> None:
    assert complete(INVOICE, typed) == []


def test_they_are_bounded() -> None:
    assert len(complete(["*"], "object.")) == MOST


def test_the_fields_of_a_type_are_listed_down_to_the_second_level() -> None:
    listed = [field.name for field in near_fields("invoice.paid")]
    assert {"object.id", "object.lines.data[0].amount"} <= set(listed)
    assert "object.parent.subscription_details.subscription" not in listed
    assert len(listed) < 400
    assert near_fields("no.such.type") == []
