"""A case's event."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.simulation.cases.events import CREATED, EventMistake, case_event, case_object
from gateway.testing import make_event


def made(given: Any, folder: Path = Path(), livemode: bool | None = None) -> dict[str, Any]:
    return case_event(given, folder, "a case", livemode)


def test_a_type_alone_makes_a_plausible_event() -> None:
    event = made("invoice.paid")
    assert event == made({"type": "invoice.paid"})
    assert (event["type"], event["data"]["object"]["object"], event["created"]) == ("invoice.paid", "invoice", CREATED)


def test_the_same_case_makes_the_same_event_and_another_case_another() -> None:
    assert made("invoice.paid") == made("invoice.paid")
    other = case_event("invoice.paid", Path(), "another case", None)
    assert other["id"] != made("invoice.paid")["id"]
    assert other["data"]["object"]["id"] != made("invoice.paid")["data"]["object"]["id"]


def test_fields_of_the_object_and_the_envelope_are_changed() -> None:
    event = made(
        {
            "type": "customer.subscription.updated",
            "account": "acct_1",
            "request.id": "req_1",
            "previous": {"status": "active"},
            "object": {
                "status": "past_due",
                "items.data.0.quantity": 3,
                "metadata.plan": "gold",
                "currency": {"$absent": True},
            },
        }
    )
    it = event["data"]["object"]
    assert (event["account"], event["request"]["id"]) == ("acct_1", "req_1")
    assert event["data"]["previous_attributes"] == {"status": "active"}
    assert (it["status"], it["items"]["data"][0]["quantity"], it["metadata"]) == ("past_due", 3, {"plan": "gold"})
    assert "currency" not in it


def test_an_event_can_be_of_a_scenario_of_its_type() -> None:
    event = made({"type": "customer.subscription.updated", "as": "past-due", "object": {"currency": "usd"}})
    assert (event["data"]["object"]["status"], event["data"]["object"]["currency"]) == ("past_due", "usd")
    assert event["data"]["previous_attributes"] == {"status": "active"}
    assert event == made({"type": "customer.subscription.updated", "as": "past-due", "object": {"currency": "usd"}})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"type": "charge.dispute.closed", "as": "wun"},
            "charge.dispute.closed has no scenario 'wun'; it has: won, lost, warning-closed",
        ),
        ({"type": "v1.customer.created", "as": "bare"}, "a thin event holds no object that a scenario could be of"),
        ({"file": "e.json", "as": "bare"}, "a file is as it is: `as` makes an event of a type"),
    ],
)
def test_a_scenario_that_there_is_not_is_a_mistake_of_its_line(given: dict[str, Any], message: str) -> None:
    with pytest.raises(EventMistake) as raised:
        made(given)
    assert (raised.value.at, raised.value.message) == (("as",), message)


def test_a_field_within_null_can_be_set() -> None:
    event = made({"type": "checkout.session.completed", "object": {"presentment_details.presentment_currency": "usd"}})
    assert event["data"]["object"]["presentment_details"] == {"presentment_currency": "usd"}


def test_a_mapping_replaces_what_was_there() -> None:
    event = made({"type": "checkout.session.completed", "object": {"customer_details": {"email": "a@b.example"}}})
    assert event["data"]["object"]["customer_details"] == {"email": "a@b.example"}


def test_an_event_has_its_accounts_mode_unless_it_says_otherwise() -> None:
    assert made("invoice.paid", livemode=True)["livemode"] is True
    assert made({"type": "invoice.paid", "livemode": False}, livemode=True)["livemode"] is False
    assert made("invoice.paid")["livemode"] is False


def test_a_thin_event_names_its_object_and_does_not_hold_it() -> None:
    event = made({"type": "v1.billing.meter.error_report_triggered", "related_object.id": "mtr_1"})
    assert (event["object"], event["related_object"]["id"], "data" in event) == ("v2.core.event", "mtr_1", False)


@pytest.mark.parametrize(
    "type", ["v1.customer.created", "v1.billing.meter.error_report_triggered", "v2.core.account.closed"]
)
def test_the_same_case_makes_the_same_thin_event(type: str) -> None:
    event = made(type)
    assert event == made(type)
    assert event["related_object"]["url"].endswith(event["related_object"]["id"])


def test_a_file_is_taken_as_it_is_but_for_what_is_changed(tmp_path: Path) -> None:
    event = make_event("invoice.paid")
    (tmp_path / "e.json").write_text(json.dumps(event))
    assert made("e.json", tmp_path) == event
    changed = made({"file": "e.json", "type": "invoice.payment_failed", "object": {"total": 1}}, tmp_path)
    assert (changed["type"], changed["data"]["object"]["total"], changed["id"]) == (
        "invoice.payment_failed",
        1,
        event["id"],
    )


def test_what_stripe_would_bring_is_the_events_object_with_changes_or_a_file(tmp_path: Path) -> None:
    event = made("checkout.session.completed")
    fetched = case_object({"line_items": {"data": []}, "amount_total": 1}, tmp_path, event)
    assert (fetched["id"], fetched["line_items"], fetched["amount_total"]) == (
        event["data"]["object"]["id"],
        {"data": []},
        1,
    )
    assert event["data"]["object"]["amount_total"] == 4500
    (tmp_path / "o.json").write_text('{"id": "cs_2"}')
    assert case_object("o.json", tmp_path, event) == {"id": "cs_2"}


@pytest.mark.parametrize(
    ("given", "at", "message", "hint"),
    [
        (1, (), "expected a file, a type, or a mapping with type or file", None),
        ({}, (), "is missing type or file", None),
        ({"typ": "a.b"}, ("typ",), "unknown key typ", "did you mean type?"),
        ({"type": "a.b", "amount": 1}, ("amount",), "unknown key amount", "did you mean account?"),
        ({"type": "a.b", "object": [1]}, ("object",), "expected a mapping of fields to change", None),
        (
            {"type": "customer.subscription.updated", "object": {"items.data.7.id": 1}},
            ("object", "items.data.7.id"),
            "7 is no place in a list of 1",
            None,
        ),
        (
            {"type": "v2.core.x", "object": {"a": 1}},
            ("object",),
            "this event holds no object; what Stripe would bring goes under fetch",
            None,
        ),
        ({"file": 1}, ("file",), "expected the name of a file", None),
        ({"file": "no.json"}, ("file",), "cannot read 'no.json': No such file or directory",
         "paths start at the folder of the test file"),
        ({"file": "list.json"}, ("file",), "'list.json' holds no JSON object", None),
        ({"file": "bad.json"}, ("file",), "'bad.json' is not JSON: Expecting value: line 1 column 1 (char 0)", None),
    ],
)  # fmt: skip
def test_what_cannot_be_made_is_told(tmp_path: Path, given: Any, at: Any, message: str, hint: str | None) -> None:
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "bad.json").write_text("no")
    with pytest.raises(EventMistake) as caught:
        made(given, tmp_path)
    assert (caught.value.at, caught.value.message, caught.value.hint) == (at, message, hint)
