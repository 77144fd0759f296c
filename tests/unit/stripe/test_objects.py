"""Stripe's objects are those of the pinned library, and every type of event says what it holds."""

from __future__ import annotations

import pytest

from gateway.stripe import event_types, objects
from tests.docs.stripe_objects import TARGET, as_text, described


def test_the_file_is_what_the_pinned_library_says() -> None:
    assert TARGET.read_text(encoding="utf-8") == as_text(described()), "run `make stripe-objects`"


def test_every_event_type_of_the_library_is_known() -> None:
    assert objects.event_types() == event_types.known_types()


def test_what_events_hold_are_objects_that_are_known() -> None:
    for event_type in objects.event_types():
        assert set(objects.objects_of(event_type)) <= objects.object_names(), event_type
        if not event_types.is_thin(event_type):
            assert objects.objects_of(event_type), event_type


@pytest.mark.parametrize(
    ("event_type", "names"),
    [
        ("charge.dispute.created", ("dispute",)),
        ("charge.refunded", ("charge",)),
        ("charge.refund.updated", ("refund",)),
        ("invoice.upcoming", ("invoice",)),
        ("customer.source.created", ("account", "bank_account", "card", "source")),
        ("v2.core.account[requirements].updated", ("v2.core.account",)),
        ("v1.billing.meter.error_report_triggered", ("billing.meter",)),
        ("no.such.type", ()),
    ],
)
def test_what_an_event_holds(event_type: str, names: tuple[str, ...]) -> None:
    assert objects.objects_of(event_type) == names


def test_the_kinds_of_fields() -> None:
    invoice = objects.fields("invoice")
    assert invoice["amount_due"].kind == "amount"
    assert invoice["created"].kind == "time"
    assert (invoice["customer"].kind, invoice["customer"].objects) == ("expandable", ("customer",))
    assert (invoice["lines"].kind, invoice["lines"].item) == (
        "list",
        objects.FieldType("object", objects=("line_item",)),
    )
    assert invoice["metadata"].kind == "map"
    divided = objects.fields_in(objects.fields("price")["transform_quantity"])
    assert divided is not None
    assert divided["divide_by"].kind == "integer"
    assert invoice["status"].is_nullable
    assert set(invoice["status"].values) == {"draft", "open", "paid", "uncollectible", "void"}
    assert "subscription" not in invoice
    parent = objects.fields_in(invoice["parent"])
    assert parent is not None
    details = objects.fields_in(parent["subscription_details"])
    assert details is not None
    assert details["subscription"].objects == ("subscription",)
    assert objects.fields_in(invoice["customer"]) is None
    assert "email" in (objects.fields_in(invoice["customer"], is_expanded=True) or {})


def test_a_thin_events_own_data() -> None:
    data = objects.data_of("v1.billing.meter.error_report_triggered")
    assert data["reason"].kind == "object"
    assert objects.data_of("v1.customer.created") == {}
