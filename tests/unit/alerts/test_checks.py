"""Which accounts are silent, and which connections are late."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from gateway.alerts.checks import late, silent
from gateway.core.model import Lane
from gateway.store.answers import Due

NOW = datetime(2026, 11, 24, 3, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=2)


def silences(minutes: float | None, bound: float = 3600, started_at: datetime = LONG_AGO) -> list[tuple[str, str]]:
    last = {} if minutes is None else {"acme": NOW - timedelta(minutes=minutes)}
    return [(own.account, own.object["summary"]) for own in silent({"acme": bound}, last, started_at, NOW, 600.0)]


def test_an_account_is_silent_once_its_last_event_is_older_than_it_may_be() -> None:
    assert silences(59) == []
    assert silences(61) == [("acme", "No event of account acme for 61 minutes")]


def test_an_account_that_never_had_an_event_is_silent_since_the_start() -> None:
    assert silences(None) == [("acme", "No event ever of account acme for 2 days")]
    assert silences(None, started_at=NOW - timedelta(minutes=59)) == []


def test_a_gateway_that_has_just_started_waits_for_what_came_while_it_was_away() -> None:
    assert silences(600, started_at=NOW - timedelta(minutes=4)) == []
    assert len(silences(600, started_at=NOW - timedelta(minutes=5))) == 1
    assert len(silences(600, bound=60, started_at=NOW - timedelta(minutes=1))) == 1


def test_a_connection_is_as_late_as_its_oldest_delivery() -> None:
    lanes = [Lane("acme", "orders", "ship"), Lane("other", "orders", "ship"), Lane("acme", "orders", "note")]
    due = Due(lanes, None, [900.0, 1000.0, 5000.0])
    connections = {"ship": "warehouse"}
    assert late(due, lambda lane: connections.get(lane.action), 900.0) == {"warehouse": 1000.0}
    assert late(due, lambda lane: connections.get(lane.action), 1001.0) == {}
