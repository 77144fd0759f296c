"""What shares a limit: the deliveries of one connection, or of one action that has none."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.config.load import Config
from gateway.core.model import Claim, Lane
from gateway.core.routing import RouteTable
from gateway.delivery.fair_share import Limit
from gateway.plugin import BreakerSettings

NO_CONNECTION_CONCURRENCY = 16


@dataclass(slots=True)
class Group:
    """One connection's (or action's) share of this gateway's work."""

    name: str
    limit: Limit
    connection: str | None = None
    breaker: BreakerSettings | None = None  # None: it has none, or `breaker: false`
    ready: deque[Claim] = field(default_factory=deque)  # claimed, not yet started
    running: int = 0


@dataclass(frozen=True, slots=True)
class GroupFigures:
    """What a gateway does on one connection (or with one action that has none) now."""

    name: str  # `connection NAME` or `action NAME`
    connection: str | None
    concurrency: int
    running: int
    ready: int  # claimed, not yet started
    mean_seconds: float  # of an attempt, lately


class Groups:
    """Finds a lane's group by the configuration in force."""

    def __init__(self, config: Callable[[], tuple[Config, RouteTable]]) -> None:
        self._config = config
        self._groups: dict[str, Group] = {}

    def of(self, lane: Lane) -> Group:
        """The group of a lane, with today's limits; one for all lanes that the configuration does not know."""
        config, table = self._config()
        route = table.by_name.get(lane.route)
        action = route.action(lane.action) if route else None
        connection = None if action is None else action.connection
        settings = None if connection is None else config.connections.get(connection)
        name = f"connection {connection}" if connection else "unknown" if action is None else f"action {action.uses}"
        concurrency, rate, breaker = NO_CONNECTION_CONCURRENCY, None, None
        if settings is not None:
            concurrency, rate, breaker = settings.concurrency, settings.rate, settings.breaker
        group = self._groups.get(name)
        if group is None:
            limit = Limit(concurrency, rate, filled_at=time.monotonic(), tokens=1.0)
            group = self._groups[name] = Group(name, limit, connection)
        group.limit.concurrency, group.limit.rate, group.breaker = concurrency, rate, breaker
        return group

    def all(self) -> list[Group]:
        """Every group that had work."""
        return list(self._groups.values())

    def has_ready(self) -> bool:
        """Whether something is claimed that has not begun."""
        return any(group.ready for group in self._groups.values())

    def figures(self, connection: str) -> GroupFigures | None:
        """What this gateway does on a connection, for people; None before its first work."""
        group = next((group for group in self._groups.values() if group.connection == connection), None)
        if group is None:
            return None
        limit = group.limit
        return GroupFigures(
            group.name, connection, limit.concurrency, group.running, len(group.ready), limit.mean_seconds
        )
