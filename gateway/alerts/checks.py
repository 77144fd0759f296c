"""Looks every so often for what no request and no attempt tells: accounts that are silent, backlogs that grow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime

from structlog.typing import FilteringBoundLogger

from gateway.alerts.events import account_silent, backlog_growing
from gateway.config.load import Config
from gateway.core.errors import StoreError
from gateway.core.internal_events import ACCOUNT_SILENT, BACKLOG_GROWING, OWN_ACCOUNT, OwnEvent
from gateway.core.model import Lane
from gateway.core.routing import RouteTable
from gateway.store.answers import Due
from gateway.store.protocol import Store

LONGEST_LOOK_SECONDS = 30.0
SHORTEST_LOOK_SECONDS = 0.5
LOOKS_A_BOUND = 4  # a bound is noticed late by a quarter of itself at most
SETTLED_SECONDS = 300.0  # after a start: what piled up at Stripe while no gateway ran comes first

InForce = Callable[[], tuple[Config, RouteTable]]


def silent_after(config: Config) -> dict[str, float]:
    """The accounts that are watched, and how long each may be without an event."""
    general = config.settings.alerts.silent_after
    bounds = {name: account.silent_after or general for name, account in config.settings.accounts.items()}
    return {name: seconds for name, seconds in bounds.items() if seconds is not None}


def silent(
    bounds: Mapping[str, float],
    last_events: Mapping[str, datetime],
    started_at: datetime,
    now: datetime,
    repeat_seconds: float,
) -> Iterator[OwnEvent]:
    """An own event for each account that is silent for too long. A gateway that has just started waits a little: it
    does not know what came while it was away.
    """
    for account, bound in bounds.items():
        running = (now - started_at).total_seconds()
        last_at = last_events.get(account)
        quiet = running if last_at is None else (now - last_at).total_seconds()
        if quiet >= bound and running >= min(bound, SETTLED_SECONDS):
            yield account_silent(account, last_at, quiet, bound, now, repeat_seconds)


def late(due: Due, connection_of: Callable[[Lane], str | None], bound_seconds: float) -> dict[str, float]:
    """The connections whose oldest delivery has been due for longer than the bound, and for how long."""
    late_seconds: dict[str, float] = {}
    for lane, seconds in zip(due.lanes, due.late_seconds, strict=True):
        connection = connection_of(lane)
        if connection is not None and seconds >= bound_seconds:
            late_seconds[connection] = max(seconds, late_seconds.get(connection, 0.0))
    return late_seconds


class Watch:
    """One a gateway. `run` until cancelled."""

    def __init__(
        self,
        store: Store,
        in_force: InForce,
        publish: Callable[[OwnEvent], None],
        log: FilteringBoundLogger,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._in_force = in_force
        self._publish = publish
        self._log = log
        self._now = now
        self._started_at = now()

    async def run(self) -> None:
        """Looks again and again. A store that is away is told to the log."""
        while True:
            config, _ = self._in_force()
            bounds = [config.settings.alerts.backlog_after, *silent_after(config).values()]
            wait = min(min(bounds) / LOOKS_A_BOUND, LONGEST_LOOK_SECONDS)
            await asyncio.sleep(max(SHORTEST_LOOK_SECONDS, wait))
            try:
                await self.look()
            except StoreError as error:
                self._log.error("alert.look_failed", error=str(error))

    async def look(self) -> None:
        """One look, at what a route wants to know only. Raises StoreError."""
        config, table = self._in_force()
        alerts, now = config.settings.alerts, self._now()
        self._started_at = min(self._started_at, now)  # the clock was ahead at the start, and was put back
        bounds = {
            name: seconds for name, seconds in silent_after(config).items() if table.wanting(name, ACCOUNT_SILENT)
        }
        if bounds:
            last_events = await self._store.last_events()
            for own in silent(bounds, last_events, self._started_at, now, alerts.repeat):
                self._publish(own)
        if table.wanting(OWN_ACCOUNT, BACKLOG_GROWING):
            growing = late(await self._store.due(), lambda lane: lane_connection(table, lane), alerts.backlog_after)
            waiting = await self._store.waiting() if growing else {}
            for connection, seconds in growing.items():
                count = sum(n for lane, n in waiting.items() if lane_connection(table, lane) == connection)
                self._publish(backlog_growing(connection, count, seconds, alerts.backlog_after, now, alerts.repeat))


def lane_connection(table: RouteTable, lane: Lane) -> str | None:
    """The connection of a lane's action, where there is one."""
    route = table.by_name.get(lane.route)
    action = None if route is None else route.action(lane.action)
    return None if action is None else action.connection
