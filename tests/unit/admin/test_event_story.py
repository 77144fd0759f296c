"""An event told for a person: its line, what it changed, its link at Stripe, its timeline; JSON that folds."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.admin.api.schemas import AttemptOut, DeliveryWhole
from gateway.admin.console.json_view import MOST_NODES, folded
from gateway.admin.event_story import ChangedField, changes, human_line, stripe_url, timeline
from gateway.core.model import AttemptOutcome, DeliveryState, Event, EventSource, EventState

AT = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
EVENT = Event("acme", "evt_1", "invoice.paid", EventState.ROUTED, True, AT, b"{}")


def about(**fields: Any) -> dict[str, Any]:
    return {"type": "x", "data": {"object": fields}}


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (about(amount_total=4500, currency="eur", receipt_email="jenny@example.com"), "€45.00 from jenny@example.com"),
        (about(amount=500, currency="jpy", customer="cus_1"), "¥500 from cus_1"),
        (about(amount_paid=0, amount_due=5120, currency="kwd", email="a@b.example", customer={"id": "cus_1"}),
         "KWD\xa05.120 from a@b.example (cus_1)"),
        (about(amount="[redacted]", currency="eur", customer_email="[redacted]"), "[redacted]"),
        (about(amount=1, currency="unknown"), None),
        (about(object="customer", id="cus_1", email="a@b.example"), "a@b.example (cus_1)"),
        ({"type": "gateway.delivery.dead", "data": {"object": {"summary": "It died."}}}, "It died."),
        ({"type": "v2.core.account.closed"}, None),
        ("no JSON", None),
    ],
)  # fmt: skip
def test_the_line_says_who_paid_what(body: Any, line: str | None) -> None:
    assert human_line(body) == line


def test_changes_are_told_by_path() -> None:
    body = about(status="active", items={"n": 2}, metadata={"a": 1}, lists=[1, 2])
    body["data"]["previous_attributes"] = {"status": "trialing", "metadata": {"a": 1, "b": 2}, "lists": [1], "gone": 1}
    assert changes(body) == [
        ChangedField("status", "trialing", "active"),
        ChangedField("metadata.b", 2, "(was not there)"),
        ChangedField("lists", [1], [1, 2]),
        ChangedField("gone", 1, "(was not there)"),
    ]
    assert changes(about(status="active")) == []


def test_the_link_leads_to_the_account_and_mode() -> None:
    assert stripe_url(EVENT) == "https://dashboard.stripe.com/events/evt_1"
    test = replace(EVENT, livemode=False, connected_account="acct_9")
    assert stripe_url(test) == "https://dashboard.stripe.com/acct_9/test/events/evt_1"
    for ours in (EventSource.SEND, EventSource.OWN, EventSource.SEED):
        assert stripe_url(replace(EVENT, source=ours)) is None


def delivery(state: DeliveryState, **fields: Any) -> DeliveryWhole:
    whole = {
        "id": "dlv_1", "event_id": "evt_1", "account": "acme", "type": "x", "route": "fulfil", "action": "ship",
        "state": state, "attempts": 1, "needs": [], "waits_for_turn": False, "created_at": AT, "next_attempt_at": None,
        "finished_at": None, "reason": None, "last_error": None, "rendered": None, "output": None, "history": [],
    }  # fmt: skip
    return DeliveryWhole(**{**whole, **fields})


def test_the_timeline_has_what_was_and_what_is_planned_in_order() -> None:
    tried = AttemptOut(
        number=1, started_at=AT + timedelta(seconds=1), duration_seconds=0.2, outcome=AttemptOutcome.RETRY, error="500"
    )
    waiting = delivery(DeliveryState.PENDING, history=[tried], next_attempt_at=AT + timedelta(minutes=5))
    again = delivery(
        DeliveryState.CANCELLED, created_at=AT + timedelta(hours=1), finished_at=AT + timedelta(hours=2), reason="Jenny"
    )
    told = [(moment.what, moment.state, moment.error) for moment in timeline(EVENT, [again, waiting])]
    assert told == [
        ("received", "routed", None),
        ("attempt 1", "retry", "500"),
        ("next attempt, planned", "pending", None),
        ("made by a replay", "pending", None),
        ("cancelled", "cancelled", "Jenny"),
    ]


def test_json_folds_below_the_object_and_is_escaped() -> None:
    drawn = str(folded({"data": {"object": {"<b>": "\u202e", "items": {"data": [1, None]}}}}))
    assert len(re.findall("<details open>", drawn)) == 3
    assert len(re.findall("<details>", drawn)) == 2
    assert "&#34;&lt;b&gt;&#34;" in drawn
    assert "\\u202e" in drawn
    assert "2 items" in drawn
    assert "<details" not in str(folded({"n": [[]] * (MOST_NODES + 1)}))
    assert "<details" not in str(folded("no JSON"))
