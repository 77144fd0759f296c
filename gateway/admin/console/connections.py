"""Connections: how each does, why one is paused; pause and resume."""

from __future__ import annotations

from aiohttp import web

from gateway.admin.console.notices import go_back, notices
from gateway.admin.console.render import page
from gateway.admin.reports import overview
from gateway.admin.request import actor, parts

MOST_REASON = 200  # characters


async def listed(request: web.Request) -> web.StreamResponse:
    """Those of the configuration."""
    context = {"connections": await overview.connections(parts(request)), **notices(request)}
    return page(request, "connections.html", context)


async def pause(request: web.Request) -> web.StreamResponse:
    """Its deliveries wait until it is resumed."""
    name, reason = request.match_info["name"], (await request.post()).get("reason")
    words = reason.strip()[:MOST_REASON] if isinstance(reason, str) else ""
    await parts(request).operations.pause(actor(request), [name], words)
    return go_back(request, "/connections", "said", f"{name} is paused until it is resumed.")


async def resume(request: web.Request) -> web.StreamResponse:
    """Its deliveries run again at once."""
    name = request.match_info["name"]
    await parts(request).operations.resume(actor(request), [name])
    return go_back(request, "/connections", "said", f"{name} works again: what waits runs now.")
