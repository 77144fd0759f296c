"""What is hidden by path, and where else it is found."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.core.masking import Masker
from gateway.core.model import Event, EventState
from gateway.privacy.redaction import hidden_in, parse_path, redacted

EVENT: dict[str, Any] = {
    "id": "evt_1",
    "data": {
        "object": {
            "id": "cs_1",
            "customer_details": {"email": "jo@example.com", "name": "Jo Smith", "phone": None},
            "lines": {"data": [{"email": "a@example.com", "amount": 12345}, {"email": "b@example.com", "amount": 1}]},
            "paid": True,
        }
    },
}


def masker_for(envelope: dict[str, Any], *paths: str, fetched: dict[str, Any] | None = None) -> Masker:
    now, body = datetime(2026, 11, 24, tzinfo=UTC), json.dumps(envelope).encode()
    event = Event("acme", "evt_1", "checkout.session.completed", EventState.ROUTED, False, now, body)
    return hidden_in([event], {"acme": tuple(map(parse_path, paths))}, fetched)


def hidden(*paths: str) -> Any:
    return redacted(EVENT, [parse_path(path) for path in paths])["data"]["object"]


def test_what_a_path_leads_to_is_hidden_whole() -> None:
    assert hidden("data.object.customer_details")["customer_details"] == "[redacted]"


def test_a_star_is_any_one_name() -> None:
    found = hidden("data.object.*.email")
    assert found["customer_details"] == {"email": "[redacted]", "name": "Jo Smith", "phone": None}
    assert found["lines"]["data"][0]["email"] == "a@example.com"


def test_two_stars_are_any_number_of_names() -> None:
    found = hidden("data.object.**.email")
    assert found["customer_details"]["email"] == "[redacted]"
    assert [line["email"] for line in found["lines"]["data"]] == ["[redacted]", "[redacted]"]


def test_lists_are_passed_through() -> None:
    assert [line["amount"] for line in hidden("data.object.lines.data.amount")["lines"]["data"]] == ["[redacted]"] * 2


def test_what_is_not_there_hides_nothing_and_null_stays_null() -> None:
    assert hidden("data.object.no.such") == EVENT["data"]["object"]
    assert hidden("data.object.customer_details.phone")["customer_details"]["phone"] is None


def test_the_event_itself_is_not_changed() -> None:
    hidden("data.object")
    assert EVENT["data"]["object"]["customer_details"]["email"] == "jo@example.com"


def test_hidden_values_are_found_in_other_texts() -> None:
    masker = masker_for(EVENT, "data.object.customer_details", "data.object.**.amount")
    shown = masker.mask({"text": "Dear Jo Smith <jo@example.com>", "amount": 12345, "one": 1, "of": "1 of 12"})
    assert shown == {
        "text": "Dear [redacted] <[redacted]>", "amount": "[redacted]", "one": "[redacted]", "of": "1 of 12"
    }  # fmt: skip


def test_what_was_fetched_is_hidden_by_the_same_paths() -> None:
    masker = masker_for(EVENT, "data.object.shipping", fetched={"shipping": {"name": "Aunt Jane"}})
    assert masker.mask("to Aunt Jane") == "to [redacted]"


@pytest.mark.parametrize("path", ["", "data..x", "object.email", "data.object.[0]", "data object", ".data", "data."])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="expected a path in the event, such as data"):
        parse_path(path)


def test_two_stars_alone_are_refused() -> None:
    with pytest.raises(ValueError, match="expected a name or \\* after"):
        parse_path("data.**")
