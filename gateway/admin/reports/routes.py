"""How each route does: what it is for, who answers for it, whether it is paused or disabled, and what it still owes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Literal

from pydantic import Field

from gateway.admin.api.schemas import Shown
from gateway.admin.pausing import Pausing
from gateway.core.model import ConnectionState, ConnectionStatus, Route

RouteWord = Literal["ok", "paused", "disabled"]


class RouteOut(Shown):
    """How one route does."""

    name: str
    description: str
    owner: str = Field(description="Who answers for it; empty: nobody is named.")
    state: RouteWord
    reason: str | None = Field(description="Why it is paused.")
    since: datetime | None = Field(description="It is paused.")
    events: list[str]
    actions: list[str]
    waiting: int = Field(description="Deliveries that are pending, running or blocked.")
    dead: int


async def routes(operations: Pausing) -> list[RouteOut]:
    """Every route of the configuration, in its order."""
    statuses = await operations.routes()
    counts: dict[str, Counter[str]] = {}
    for state in await operations.store.lane_states():
        counts.setdefault(state.lane.route, Counter()).update(state.counts)
    masker = operations.config.masker
    return [
        _route(route, statuses.get(route.name), counts.get(route.name, Counter()), masker.mask)
        for route in operations.config.routes
    ]


def _route(route: Route, status: ConnectionStatus | None, counts: Counter[str], masked: Callable[..., str]) -> RouteOut:
    is_paused = status is not None and status.state is not ConnectionState.WORKING
    return RouteOut(
        name=route.name,
        description=route.description,
        owner=route.owner,
        state="paused" if is_paused else "ok" if route.is_enabled else "disabled",
        reason=None if status is None or not is_paused else masked(status.reason),
        since=None if status is None or not is_paused else status.since,
        events=list(route.events),
        actions=[action.name for action in route.actions],
        waiting=counts["pending"] + counts["running"] + counts["blocked"],
        dead=counts["dead"],
    )
