"""Which events an object's state tells of, and where objects are listed, held against the pinned library."""

from __future__ import annotations

import pytest

from gateway.stripe import objects
from gateway.stripe.event_types import known_types, snapshot_types
from gateway.stripe.object_lists import ObjectList, list_of
from gateway.stripe.object_states import (
    ToldEvent,
    _by_condition,
    changed_type,
    last_happened,
    told_by_state,
    types_of,
)


@pytest.mark.parametrize("event_type", sorted(_by_condition()))
def test_each_condition_names_a_field_and_values_that_the_object_has(event_type: str) -> None:
    told = told_by_state(event_type)
    assert event_type in known_types()
    assert isinstance(told, ToldEvent)
    assert isinstance(list_of(told.kind), ObjectList)
    known = objects.fields(told.kind)
    name, equals, values = told.condition.replace(">", "=").partition("=")
    assert any(field in known for field in name.split("|"))
    possible = {*known[name.split("|")[0]].values, *objects.documented_values(told.kind).get(name, ())}
    assert not possible or not equals or set(values.split("|")) <= set(map(str, possible))


def test_ninety_types_can_be_told_and_the_others_say_why_not() -> None:
    told = {event_type: told_by_state(event_type) for event_type in snapshot_types()}
    listed = [
        each for each in told.values() if isinstance(each, ToldEvent) and isinstance(list_of(each.kind), ObjectList)
    ]
    assert len(listed) == 90
    assert all(isinstance(each, ToldEvent) or each for each in told.values())


@pytest.mark.parametrize(
    ("event_type", "reason"),
    [
        ("customer.deleted", "what is deleted is in no list of Stripe's"),
        ("invoice.payment_succeeded", "an invoice may be paid without a payment: invoice.paid is told by its status"),
        ("customer.updated", "how an object is now does not tell whether, or how often, it happened"),
        ("v1.customer.created", "it is a thin event, which holds no object; seed the snapshot type of the same name, "
         "where there is one"),
        ("gateway.delivery.dead", "it is the gateway's own: it happened here, not at Stripe"),
    ],
)  # fmt: skip
def test_what_cannot_be_told_says_why(event_type: str, reason: str) -> None:
    assert told_by_state(event_type) == reason


def test_lists_are_as_the_library_has_them() -> None:
    assert list_of("customer") == ObjectList("customer", "/v1/customers", True)
    assert list_of("subscription") == ObjectList("subscription", "/v1/subscriptions", True, {"status": "all"})
    assert list_of("payment_link") == ObjectList("payment_link", "/v1/payment_links", False)
    assert (
        list_of("subscription_item")
        == "Stripe lists each subscription_item below its subscription, and not all of them"
    )
    assert list_of("discount") == "Stripe has no list of every discount"


def test_the_last_that_happened_is_what_an_object_tells() -> None:
    told = [each for name in types_of(["invoice.*"]) if isinstance(each := told_by_state(name), ToldEvent)]
    invoice = {"object": "invoice", "status": "paid"}
    assert getattr(last_happened(told, invoice), "type", None) == "invoice.paid"
    assert getattr(last_happened(told, {**invoice, "status": "void"}), "type", None) == "invoice.voided"
    assert getattr(last_happened(told, {**invoice, "status": "draft"}), "type", None) == "invoice.created"
    assert last_happened(told, {"object": "customer"}) is None
    assert not ToldEvent("charge.refunded", "charge", "amount_refunded>0").happened({"amount_refunded": 0})


def test_that_an_object_changed_is_told_by_whatever_it_is_now() -> None:
    assert changed_type("customer.updated") == ToldEvent("customer.updated", "customer", order=-1)
    assert isinstance(changed_type("v1.customer.updated"), str)
