"""Connections and routes: how each does, why one is paused; pause and resume."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

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
