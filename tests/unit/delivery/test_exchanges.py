"""What is kept of what an attempt sent and got: bounded, masked before it is cut, the event's body not twice."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.admin.api.exchanges import ExchangeOut
from gateway.core.masking import Masker, Maskers
from gateway.core.model import Attempt, AttemptOutcome, DeliveryState, Finish
from gateway.delivery.exchanges import BODY_CHARACTERS, MOST_EXCHANGES, MOST_HEADERS, are_kept, kept_exchanges
from gateway.plugin import Exchange
from gateway.privacy.views import shown_exchanges
from tests.contract.test_store import NOW

SECRET = "s3cret/of the + shop"
MASK = Masker([SECRET]).mask


def test_what_was_sent_and_answered_is_kept_in_short() -> None:
    exchange = Exchange("POST https://shop.example/orders", [("Content-Type", "application/json")], {"order": "A-17"})
    exchange.answered("503 Service Unavailable", [("Retry-After", "30"), ("Set-Cookie", "a=b")], "busy")
    (kept,) = kept_exchanges([exchange], b"{}", MASK) or []
    assert isinstance(kept.pop("seconds", 0.0), float)
    assert kept == {
        "sent": "POST https://shop.example/orders",
        "headers": [["Content-Type", "application/json"]],
        "body": '{"order": "A-17"}',
        "bytes": 17,
        "answer": "503 Service Unavailable",
        "answer_headers": [["Retry-After", "30"], ["Set-Cookie", "***"]],
        "answer_body": "busy",
        "answer_bytes": 4,
    }


def test_the_event_s_own_body_is_not_kept_twice_and_no_answer_is_told_as_such() -> None:
    event = b'{"id": "evt_1"}'
    kept = kept_exchanges([Exchange("POST https://shop.example", body=event)], event, MASK)
    assert kept == [{"sent": "POST https://shop.example", "bytes": 15, "is_event": True}]
    assert kept_exchanges([], event, MASK) is None


@pytest.mark.parametrize("form", [SECRET, json.dumps(SECRET)[1:-1], "s3cret%2Fof%20the%20%2B%20shop"])
def test_a_secret_is_masked_before_anything_is_cut(form: str) -> None:
    exchange = Exchange("x" * 490 + form, [("X-A", form)], "y" * (BODY_CHARACTERS - 5) + form)
    exchange.answered(form, [("X-B", form)], "z" * (BODY_CHARACTERS - 5) + form)
    text = json.dumps(kept_exchanges([exchange], b"", MASK))
    assert "s3cr" not in text
    assert text.count("***") == 6


@pytest.mark.parametrize(
    "name",
    ["Authorization", "X-Api-Key", "Proxy-Authorization", "Cookie", "webhook-signature", "X-Csrf-Token", "x-team"],
)
def test_values_of_headers_with_credentials_and_of_those_the_action_names_are_hidden(name: str) -> None:
    exchange = Exchange("GET /", [(name, "of nobody's business"), ("Idempotency-Key", "dlv_1")], hidden=["X-Team"])
    (kept,) = kept_exchanges([exchange], b"", MASK) or []
    assert kept["headers"] == [[name, "***"], ["Idempotency-Key", "dlv_1"]]


def test_however_much_was_sent_little_is_kept() -> None:
    flood = [Exchange("u" * 9999, [("n" * 999, "v" * 9999)] * 99, b"\xff" * 99_999) for _ in range(99)]
    for exchange in flood:
        exchange.answered("a" * 9999, [("n" * 999, "v" * 9999)] * 99, "é" * 99_999)
    kept = kept_exchanges(flood, b"", MASK) or []
    assert len(kept) == MOST_EXCHANGES
    assert len(kept[0]["headers"]) == len(kept[0]["answer_headers"]) == MOST_HEADERS
    assert len(kept[0]["body"]) == len(kept[0]["answer_body"]) == BODY_CHARACTERS
    assert kept[0]["answer_bytes"] == 2 * 99_999


@pytest.mark.parametrize(
    ("how", "failed", "succeeded"), [("failed", True, False), ("all", True, True), ("none", False, False)]
)
def test_which_attempts_leave_theirs_is_configured(how: str, failed: bool, succeeded: bool) -> None:
    dead = Finish(DeliveryState.DEAD, Attempt(1, NOW, 0.1, AttemptOutcome.DEAD, "answered 400"))
    done = Finish(DeliveryState.SUCCEEDED, Attempt(1, NOW, 0.1, AttemptOutcome.SUCCEEDED))
    assert (are_kept(how, dead), are_kept(how, done)) == (failed, succeeded)


@pytest.mark.parametrize(
    "bad", [{"sent": 7}, {"sent": "x", "headers": {"Accept": "b"}}, {"sent": "x", "headers": [("a", 1)]}]
)
def test_what_an_action_notes_wrongly_is_told_and_raises_nothing(bad: Any) -> None:
    (kept,) = kept_exchanges([Exchange(**bad)], b"", MASK) or []
    assert "cannot be read" in kept["sent"]


@pytest.mark.parametrize("is_ascii", [True, False])
def test_json_within_json_hides_nothing_from_the_mask(is_ascii: bool) -> None:
    name = 'Jo "JJ" Müller'
    sent = Exchange("2 rows", body={"payload": json.dumps({"name": name}, ensure_ascii=is_ascii)})
    assert "JJ" not in json.dumps(kept_exchanges([sent], b"", Masker([name]).mask))


def test_sizes_and_names_of_exchanges_are_no_redacted_values() -> None:
    kept = [{"sent": "GET /9", "answer": "404 Not Found", "answer_body": "Not Found", "answer_bytes": 9}]
    (row,) = shown_exchanges(kept, Maskers(Masker(["9", "sent"], "[redacted]")))
    assert ExchangeOut.model_validate(row).answer_bytes == 9
