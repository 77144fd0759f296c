"""What happened, as own events: exactly the fields that are documented, and one id for one thing."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gateway.alerts.events import (
    account_silent,
    audit_differing,
    backlog_growing,
    connection_changed,
    delivery_dead,
    reload_failed,
    signature_failing,
)
from gateway.config.diagnostics.problem import Problem
from gateway.config.runtime import Reload, ReloadOutcome
from gateway.core.envelope import parse_event
from gateway.core.errors import Where
from gateway.core.internal_event_samples import SAMPLES
from gateway.core.internal_events import FIELDS, TYPES, OwnEvent
from gateway.core.model import ConnectionState, ConnectionStatus, Delivery, DeliveryState, Route
from gateway.delivery.connection_health import ConnectionChanged
from gateway.simulation.auditor import AuditEnded
from gateway.testing import make_event

AT = datetime(2026, 11, 24, 3, tzinfo=UTC)
DELIVERY = Delivery(
    "dlv_1", "evt_1", "acme", "invoice.paid", "orders", "ship", "dlv_1", (), DeliveryState.DEAD, 20, AT, None, AT,
    "HTTP 500", "HTTP 500", True, False,
)  # fmt: skip
WORKS = ConnectionStatus("warehouse")
PAUSED = replace(
    WORKS, state=ConnectionState.PAUSED, version=5, since=AT, left_seconds=30.0, reason="5 failures", failures=5
)
PROBING = replace(PAUSED, state=ConnectionState.PROBING, since=AT + timedelta(seconds=30))
REFUSED = Reload(
    AT,
    "SIGHUP",
    ReloadOutcome.REFUSED,
    "4f1c",
    problems=(
        Problem(Where("gateway.yaml", 3, 5), "unknown key evnets"),
        Problem(Where("a", 1, 1), "w", None, "warning"),
    ),
)


def told(own: OwnEvent | None) -> OwnEvent:
    assert own is not None
    return own


def audited(**differences: int) -> AuditEnded:
    route = Route("customers", None, ("customer.*",), Where("gateway.yaml", 1, 1), owner="crm@shop.example")
    return AuditEnded(route, "acme", AT, 300, 250, Counter(differences), ("cus_1",))


EXAMPLES = [
    told(delivery_dead(DELIVERY, "HTTP 500", "warehouse", None, AT)),
    told(connection_changed(ConnectionChanged(WORKS, PAUSED, True), AT)),
    told(connection_changed(ConnectionChanged(PROBING, WORKS, True), AT)),
    told(reload_failed(REFUSED, 60.0)),
    account_silent("acme", None, 3600, 3600, AT, 60.0),
    signature_failing("acme", Counter(no_match=5), 600, AT, 60.0),
    backlog_growing("warehouse", 3, 960, 900, AT, 60.0),
    told(audit_differing(audited(missed=2, edited=1))),
]


@pytest.mark.parametrize("own", EXAMPLES, ids=lambda own: own.type)
def test_its_object_has_exactly_the_fields_that_are_documented(own: OwnEvent) -> None:
    assert set(own.envelope()["data"]["object"]) == set(FIELDS[own.type])
    assert set(SAMPLES[own.type]) | {"object"} == set(FIELDS[own.type])


def test_there_is_one_of_each_type() -> None:
    assert {own.type for own in EXAMPLES} == TYPES == set(SAMPLES)


@pytest.mark.parametrize("own", EXAMPLES, ids=lambda own: own.type)
def test_what_lies_in_the_inbox_reads_as_an_event_of_stripes(own: OwnEvent) -> None:
    event = own.event()
    read = parse_event(event.body, own.account, AT)
    assert (read.id, read.type, read.created_at, read.object_id) == (event.id, event.type, AT, event.object_id)
    assert (read.livemode, read.api_version, read.connected_account, event.source) == (None, None, None, "gateway")
    assert json.loads(event.body)["data"]["object"]["object"] == own.envelope()["data"]["object"]["object"]


@pytest.mark.parametrize("type", sorted(TYPES))
def test_one_can_be_made_up_for_tests(type: str) -> None:
    made = make_event(type, object={"summary": "mine"})
    assert set(made["data"]["object"]) == set(FIELDS[type])
    assert (made["type"], made["data"]["object"]["summary"]) == (type, "mine")
    assert SAMPLES[type]["summary"] != "mine"


def test_every_summary_is_a_sentence_for_a_person() -> None:
    assert [own.object["summary"] for own in EXAMPLES] == [
        "Delivery dlv_1 of orders.ship is dead after 20 attempts: HTTP 500",
        "Connection warehouse is paused for 30 s: 5 failures",
        "Connection warehouse works again",
        "gateway.yaml does not load (1 error and 1 warning); the configuration before stays in force",
        "No event ever of account acme for 60 minutes",
        "5 requests in a row for account acme had no good signature",
        "Deliveries on connection warehouse wait: the oldest has been due for 16 minutes",
        "3 of 250 rows that route customers keeps are not as Stripe has them: 2 missed, 1 edited",
    ]


def test_a_dead_letter_of_an_alert_raises_no_alert() -> None:
    alert = replace(DELIVERY, event_type="gateway.delivery.dead")
    assert delivery_dead(alert, "HTTP 500", "warehouse", None, AT) is None


def test_a_delivery_that_dies_again_is_told_again() -> None:
    first = told(delivery_dead(DELIVERY, "no", None, None, AT))
    second = told(delivery_dead(DELIVERY, "no", None, None, AT + timedelta(hours=1)))
    assert first.event().id != second.event().id


def test_all_gateways_make_the_same_event_of_a_pause() -> None:
    own = told(connection_changed(ConnectionChanged(WORKS, PAUSED, True), AT))
    other = told(connection_changed(ConnectionChanged(WORKS, replace(PAUSED, left_seconds=29.1), False), AT))
    assert own.event().id == other.event().id
    next_time = replace(PAUSED, since=AT + timedelta(hours=1))
    assert told(connection_changed(ConnectionChanged(WORKS, next_time, True), AT)).event().id != own.event().id


def test_a_pause_without_an_end_says_so_and_a_probe_seen_late_says_nothing() -> None:
    endless = told(connection_changed(ConnectionChanged(WORKS, replace(PAUSED, left_seconds=None), True), AT))
    assert endless.object["paused_until"] is None
    assert endless.object["summary"] == "Connection warehouse is paused until a person resumes it: 5 failures"
    assert connection_changed(ConnectionChanged(WORKS, PROBING, False), AT) is None


def test_a_reload_that_is_not_refused_raises_nothing_and_the_same_problems_are_one_event() -> None:
    assert reload_failed(replace(REFUSED, outcome=ReloadOutcome.LOADED), 60.0) is None
    again = told(reload_failed(replace(REFUSED, at=AT + timedelta(minutes=1), asked_by="a changed file"), 60.0))
    first = told(reload_failed(REFUSED, 60.0))
    assert first.event(AT).id == again.event(AT).id
    assert first.object["problems"] == [{"where": "gateway.yaml:3:5", "message": "unknown key evnets"}]


def test_what_lasts_is_another_event_each_time_it_is_told() -> None:
    own = account_silent("acme", None, 3600, 3600, AT, 60.0)
    assert own.event(AT).id == own.event(AT).id
    assert own.event(AT).id != own.event(AT + timedelta(hours=4)).id


def test_signatures_that_fail_without_an_account_belong_to_the_gateway() -> None:
    own = signature_failing(None, Counter(no_match=1), 600, AT, 60.0)
    assert (own.account, own.object["account"]) == ("gateway", None)
    assert own.object["summary"] == "1 request in a row posted to /webhooks had no good signature"


def test_an_audit_that_found_nothing_raises_nothing_and_each_that_found_something_is_an_event_of_its_own() -> None:
    assert audit_differing(audited(missed=0)) is None
    first = told(audit_differing(audited(missed=2)))
    later = told(audit_differing(replace(audited(missed=1), at=AT + timedelta(days=1))))
    assert later.envelope()["id"] != first.envelope()["id"]
