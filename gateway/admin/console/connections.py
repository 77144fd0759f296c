"""Connections and routes: how each does, why one is paused; pause and resume."""

from __future__ import annotations

from aiohttp import web

from gateway.admin.console.notices import go_back, notices
from gateway.admin.console.render import page
from gateway.admin.reports import overview
from gateway.admin.reports.routes import routes
from gateway.admin.request import actor, parts

MOST_REASON = 200  # characters


async def listed(request: web.Request) -> web.StreamResponse:
    """Those of the configuration."""
    context = {"connections": await overview.connections(parts(request)), **notices(request)}
    return page(request, "connections.html", context)


async def pause(request: web.Request) -> web.StreamResponse:
    """Its deliveries wait until it is resumed."""
    name = request.match_info["name"]
    await parts(request).operations.pause(actor(request), [name], await _reason(request))
    return go_back(request, "/connections", "said", f"{name} is paused until it is resumed.")


async def resume(request: web.Request) -> web.StreamResponse:
    """Its deliveries run again at once."""
    name = request.match_info["name"]
    await parts(request).operations.resume(actor(request), [name])
    return go_back(request, "/connections", "said", f"{name} works again: what waits runs now.")


async def routes_listed(request: web.Request) -> web.StreamResponse:
    """The routes of the configuration."""
    return page(request, "routes.html", {"routes": await routes(parts(request).operations), **notices(request)})


async def pause_route(request: web.Request) -> web.StreamResponse:
    """What it owes waits until it is resumed."""
    name = request.match_info["name"]
    await parts(request).operations.pause_routes(actor(request), [name], await _reason(request))
    return go_back(request, "/routes", "said", f"{name} is paused until it is resumed.")


async def resume_route(request: web.Request) -> web.StreamResponse:
    """What it owes runs again at once."""
    name = request.match_info["name"]
    await parts(request).operations.resume_routes(actor(request), [name])
    return go_back(request, "/routes", "said", f"{name} works again: what waits runs now.")


async def _reason(request: web.Request) -> str:
    reason = (await request.post()).get("reason")
    return reason.strip()[:MOST_REASON] if isinstance(reason, str) else ""
