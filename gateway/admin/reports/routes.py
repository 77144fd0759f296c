"""How each route does: what it is for, who answers for it, whether it is paused or disabled, and what it still owes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Literal

from pydantic import Field

from gateway.admin.api.schemas import Shown
from gateway.admin.pausing import Pausing
from gateway.core.model import ConnectionState, ConnectionStatus, Route
from gateway.simulation.auditor import note_name

RouteWord = Literal["ok", "paused", "disabled"]


class RowAuditOut(Shown):
    """The last audit of a route's rows, for one account."""

    account: str
    at: datetime = Field(description="When it ended.")
    rows: int = Field(description="That were compared.")
    differences: dict[str, int] = Field(description="Rows that differ, by why: missed, late, edited.")


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
    audits: list[RowAuditOut] = Field(description="The last one of each account.")


async def routes(operations: Pausing) -> list[RouteOut]:
    """Every route of the configuration, in its order."""
    statuses = await operations.routes()
    counts: dict[str, Counter[str]] = {}
    for state in await operations.store.lane_states():
        counts.setdefault(state.lane.route, Counter()).update(state.counts)
    masker = operations.config.masker
    return [
        _route(
            route, statuses.get(route.name), counts.get(route.name, Counter()), masker.mask,
            await _audits(route, operations),
        )
        for route in operations.config.routes
    ]  # fmt: skip


async def _audits(route: Route, operations: Pausing) -> list[RowAuditOut]:
    if route.audit is None:
        return []
    names = [name for name in operations.config.accounts if route.accounts is None or name in route.accounts]
    notes = {name: await operations.store.note(note_name(route.name, name)) for name in names}
    now = datetime.now(UTC)
    return [
        RowAuditOut(account=name, at=now - timedelta(seconds=note.age_seconds), rows=int(note.value["rows"]),
                 differences=dict(note.value["differences"]))
        for name, note in notes.items()
        if note is not None
    ]  # fmt: skip


def _route(
    route: Route, status: ConnectionStatus | None, counts: Counter[str], masked: Callable[..., str],
    audits: list[RowAuditOut],
) -> RouteOut:  # fmt: skip
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
        audits=audits,
    )
