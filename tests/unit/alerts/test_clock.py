"""A clock that was ahead and was put back makes no alert mute, and none of what did not happen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import structlog

from gateway.alerts.checks import Watch
from gateway.alerts.monitor import Alerts
from gateway.core.internal_events import ACCOUNT_SILENT, SIGNATURE_FAILING, OwnEvent
from gateway.core.model import RejectedRequest
from gateway.core.routing import RouteTable
from gateway.store.sqlite.store import SqliteStore
from tests.configs import loaded

ROUTES = """\
alerts: {silent_after: 1h, repeat: 10m, signature_failures: 3, signature_within: 1m}
routes:
  alerts: {events: ["gateway.*"], actions: {tell: {uses: slack, with: {connection: team, text: Look}}}}
"""
AHEAD = datetime(2030, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 11, 24, 3, tzinfo=UTC)


def refused(at: datetime) -> RejectedRequest:
    return RejectedRequest("rej_1", at, "acme", "no_match", "", "", None, None, 0, b"")


async def test_failing_signatures_are_told_again_though_the_clock_was_put_back(tmp_path: Path) -> None:
    config = loaded(tmp_path, ROUTES)
    seconds, published = [0.0], list[str]()
    store: Any = None
    plan: Any = None
    in_force = (config, RouteTable(config.routes))
    alerts = Alerts(store, lambda: in_force, plan, structlog.get_logger(), clock=lambda: seconds[0])
    alerts.publish = lambda own: published.append(own.type)  # type: ignore[method-assign, union-attr]

    def refuse(count: int, at: datetime, every: float) -> int:
        for _ in range(count):
            seconds[0] += every
            alerts.refused(refused(at))
        return published.count(SIGNATURE_FAILING)

    assert refuse(3, AHEAD, 1.0) == 1
    assert refuse(3, NOW, 1.0) == 1  # it is told already
    seconds[0] += 600
    assert refuse(2, NOW, 59.0) == 1  # not so many in the time
    assert refuse(3, NOW, 1.0) == 2


async def test_a_silent_account_is_told_of_though_the_clock_was_ahead_at_the_start(
    tmp_path: Path, store: SqliteStore
) -> None:
    config = loaded(tmp_path, ROUTES)
    moments, published = [AHEAD, NOW, NOW + timedelta(minutes=61)], list[OwnEvent]()
    in_force = (config, RouteTable(config.routes))
    watch = Watch(store, lambda: in_force, published.append, structlog.get_logger(), lambda: moments.pop(0))
    await watch.look()
    assert not published
    await watch.look()
    assert {(own.type, own.account) for own in published} == {(ACCOUNT_SILENT, "acme"), (ACCOUNT_SILENT, "live")}
