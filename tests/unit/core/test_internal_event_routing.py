"""Which patterns take own events, and which actions do not bring them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.alerts.events import backlog_growing
from gateway.core.internal_events import TYPES, excluded_connection, usual_account
from gateway.core.routing import RouteTable, fits
from gateway.intake.planning import intake_of, replan
from gateway.stripe import event_types
from tests.configs import loaded

ROUTES = """\
routes:
  everything: {events: ["*"], actions: {note: {uses: slack, with: {connection: team, text: all}}}}
  alerts:
    events: ["gateway.*"]
    actions:
      tell: {uses: slack, with: {connection: team, text: x}}
      post: {uses: http_forward, with: {connection: warehouse}}
      after: {uses: http_forward, needs: [tell], with: {connection: warehouse}}
"""


@pytest.mark.parametrize("pattern", ["*", "*.dead", "g*", "[g]ateway.*", "?ateway.delivery.dead", "*.*.*"])
def test_a_pattern_that_does_not_say_gateway_takes_no_own_event(pattern: str) -> None:
    assert not fits(pattern, "gateway.delivery.dead")
    assert not event_types.matches(pattern) & TYPES


@pytest.mark.parametrize("pattern", ["gateway.*", "gateway.delivery.*", "gateway.delivery.dead", "gateway.*.dead"])
def test_a_pattern_that_says_so_takes_them(pattern: str) -> None:
    assert fits(pattern, "gateway.delivery.dead")
    assert "gateway.delivery.dead" in event_types.matches(pattern)


def test_a_route_table_agrees(tmp_path: Path) -> None:
    table = RouteTable(loaded(tmp_path, ROUTES).routes)
    assert [route.name for route in table.wanting("gateway", "gateway.reload.failed")] == ["alerts"]
    assert [route.name for route in table.wanting("acme", "invoice.paid")] == ["everything"]


@pytest.mark.parametrize(
    ("connection", "actions"), [("team", ["post"]), ("warehouse", ["tell"]), ("shop", ["tell", "post", "after"])]
)
def test_what_tells_that_a_connection_does_not_work_is_not_sent_over_it(
    tmp_path: Path, connection: str, actions: list[str]
) -> None:
    config = loaded(tmp_path, ROUTES)
    own = backlog_growing(connection, 1, 900, 900, datetime(2026, 11, 24, tzinfo=UTC), 60.0)
    assert [one.action for one in replan(intake_of(config), own.event())] == actions


def test_a_dead_letter_may_be_told_over_the_connection_that_it_was_for() -> None:
    data = {"object": {"connection": "team"}}
    assert excluded_connection({"type": "gateway.delivery.dead", "data": data}) is None
    assert excluded_connection({"type": "gateway.connection.paused", "data": data}) == "team"
    assert excluded_connection({"type": "gateway.connection.paused", "data": []}) is None


def test_an_own_event_belongs_to_the_account_it_tells_of_or_to_the_gateway() -> None:
    assert usual_account("gateway.delivery.dead", "acme") == "acme"
    assert usual_account("gateway.connection.paused", "acme") == "gateway"
    assert usual_account("invoice.paid", "acme") == "acme"
