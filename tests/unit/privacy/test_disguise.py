"""What an event is kept as beside tests: the same shape, and nobody in it."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.privacy.disguise import Disguise
from gateway.privacy.redaction import parse_path


def disguised(fields: dict[str, Any], *paths: str) -> Any:
    event = {"id": "evt_1", "type": "t", "data": {"object": fields}}
    return Disguise(tuple(map(parse_path, paths))).event(event)["data"]["object"]


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ({"email": "a@b.example", "id": "cus_1"}, {"email": "person-1@example.com", "id": "cus_1"}),
        ({"email": "jürgen@müller.example"}, {"email": "person-1@example.com"}),
        (
            {"receipt_email": None, "name": "", "phone": "+49"},
            {"receipt_email": None, "name": "", "phone": "+15555550001"},
        ),
        (
            {"a": "x@b.example", "b": "y@b.example", "c": "x@b.example"},
            {"a": "person-1@example.com", "b": "person-2@example.com", "c": "person-1@example.com"},
        ),
        ({"object": "product", "name": "Pro"}, {"object": "product", "name": "Pro"}),
        (
            {"name": "Ann Lee", "description": "for Ann Lee, order 7"},
            {"name": "Person 1", "description": "for Person 1, order 7"},
        ),
        (
            {"line1": "Main St 1", "state": "CA", "country": "US"},
            {"line1": "Example 1", "state": "Example 2", "country": "US"},
        ),
        ({"state": "active"}, {"state": "active"}),
        (
            {"url": "/v1/invoices", "receipt_url": "https://pay.stripe.com/r/abc?s=ap"},
            {"url": "/v1/invoices", "receipt_url": "https://pay.stripe.com/masked-1"},
        ),
        ({"client_secret": "pi_1_secret_x", "last4": "4242"}, {"client_secret": "secret-1", "last4": "0001"}),
        (
            {"customer_tax_ids": [{"type": "eu_vat", "value": "DE1"}]},
            {"customer_tax_ids": [{"type": "eu_vat", "value": "Text 1"}]},
        ),
        ({"custom_fields": [{"text": {"value": "hi"}}]}, {"custom_fields": [{"text": {"value": "Text 1"}}]}),
        ({"custom_fields": [{"numeric": {"value": "77"}}]}, {"custom_fields": [{"numeric": {"value": "0001"}}]}),
        ({"dob": {"day": 9, "month": 5, "year": None}}, {"dob": {"day": 1, "month": 1, "year": None}}),
        ({"cancel_url": "https://b.example/?who=7"}, {"cancel_url": "https://b.example/masked-1"}),
        ({"amount": 5, "paid": True, "created": 1}, {"amount": 5, "paid": True, "created": 1}),
    ],
)
def test_who_it_is_about_is_gone_and_the_shape_stays(fields: dict[str, Any], kept: dict[str, Any]) -> None:
    assert disguised(fields) == kept


def test_what_a_path_leads_to_is_hidden_leaf_by_leaf() -> None:
    fields = {"metadata": {"sku": "tee", "n": 3, "ok": True, "list": [{"a": "b"}]}, "reference": "tee-shirt"}
    hidden = {"sku": "[redacted]", "n": 0, "ok": True, "list": [{"a": "[redacted]"}]}
    assert disguised(fields, "data.object.metadata")["metadata"] == hidden
    assert disguised(fields, "**.list")["metadata"] == fields["metadata"] | {"list": [{"a": "[redacted]"}]}  # type: ignore[operator]


def test_what_was_hidden_in_the_event_is_hidden_in_what_was_made_of_it() -> None:
    disguise = Disguise(())
    disguise.event({"data": {"object": {"name": "Ann Lee"}}})
    assert disguise.other({"text": "Ann Lee <ann@lee.example>"}) == {"text": "Person 1 <person-1@example.com>"}
    assert disguise.count == {"name": 1, "e-mail address": 1}
