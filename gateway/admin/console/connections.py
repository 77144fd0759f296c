"""Connections and routes: how each does, why one is paused; pause and resume."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from aiohttp import web

from gateway.admin.api.schemas import Model
from gateway.admin.console.charts import Level, Stack
from gateway.admin.console.forms import checked
from gateway.admin.console.notices import go_back, notices
from gateway.admin.console.overview import bar_label, levels_of
from gateway.admin.console.render import page
from gateway.admin.reports import overview
from gateway.admin.reports.ranges import RANGES, Range, bar_starts
from gateway.admin.reports.routes import routes
from gateway.admin.reports.samples import ConnectionBar, SampledBar
from gateway.admin.request import AdminParts, actor, parts
from gateway.telemetry.metrics import ATTEMPT_BOUNDS, quantile

MOST_REASON = 200  # characters


class ConnectionsQuery(Model):
    """How far back."""

    range: Range = "1h"


@dataclass(frozen=True, slots=True)
class ConnectionCharts:
    """What one did over time."""

    name: str
    waiting: Sequence[Level]
    attempts: Sequence[Stack]
    took: Sequence[Level]


async def listed(request: web.Request) -> web.StreamResponse:
    """Those of the configuration."""
    query, admin = checked(request.query, ConnectionsQuery), parts(request)
    connections = await overview.connections(admin)
    context = {
        "connections": connections,
        "charts": [_charts(admin, each.name, query.range) for each in connections if admin.gateway.tells_of(each.name)],
        "range": query.range,
        "ranges": list(RANGES),
        **notices(request),
    }
    return page(request, "connections.html", context)


def _charts(admin: AdminParts, name: str, range_: Range) -> ConnectionCharts:
    sampled = admin.samples.bars(range_)
    charts = ConnectionCharts(name, waiting := [], attempts := [], took := [])
    for start in bar_starts(range_, datetime.now(UTC)):
        label, bar = bar_label(start, range_), sampled.get(start, SampledBar()).connections.get(name, ConnectionBar())
        waiting.append(Level(label, {} if bar.waiting is None else {"waiting": bar.waiting}))
        attempts.append(Stack(label, {"done": sum(bar.took) - bar.failed, "failed": bar.failed}))
        half, most = (quantile(ATTEMPT_BOUNDS, bar.took, share) for share in (0.5, 0.99))
        took.append(levels_of(label, half, most))
    return charts


async def pause(request: web.Request) -> web.StreamResponse:
    """Its deliveries wait until it is resumed."""
    return await _paused(request, parts(request).operations.pause, "/connections")


async def resume(request: web.Request) -> web.StreamResponse:
    """Its deliveries run again at once."""
    return await _resumed(request, parts(request).operations.resume, "/connections")


async def routes_listed(request: web.Request) -> web.StreamResponse:
    """The routes of the configuration."""
    return page(request, "routes.html", {"routes": await routes(parts(request).operations), **notices(request)})


async def pause_route(request: web.Request) -> web.StreamResponse:
    """What it owes waits until it is resumed."""
    return await _paused(request, parts(request).operations.pause_routes, "/routes")


async def resume_route(request: web.Request) -> web.StreamResponse:
    """What it owes runs again at once."""
    return await _resumed(request, parts(request).operations.resume_routes, "/routes")


async def _paused(request: web.Request, pause: Callable[..., Awaitable[object]], page: str) -> web.StreamResponse:
    name, reason = request.match_info["name"], (await request.post()).get("reason")
    await pause(actor(request), [name], reason.strip()[:MOST_REASON] if isinstance(reason, str) else "")
    return go_back(request, page, "said", f"{name} is paused until it is resumed.")


async def _resumed(request: web.Request, resume: Callable[..., Awaitable[object]], page: str) -> web.StreamResponse:
    name = request.match_info["name"]
    await resume(actor(request), [name])
    return go_back(request, page, "said", f"{name} works again: what waits runs now.")
