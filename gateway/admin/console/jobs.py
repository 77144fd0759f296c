"""Changes to many: how far each is; pause, go on, stop."""

from __future__ import annotations

from aiohttp import web

from gateway.admin.console.notices import go_to
from gateway.admin.console.render import page
from gateway.admin.request import parts


async def listed(request: web.Request) -> web.StreamResponse:
    """Those since the gateway's start."""
    return page(request, "jobs.html", {"jobs": parts(request).operations.jobs.all()})


async def show(request: web.Request) -> web.StreamResponse:
    """One, or with `part` only its progress."""
    job = await parts(request).operations.job(request.match_info["id"])
    return page(request, "_job.html" if "part" in request.query else "job.html", {"job": job})


async def change(request: web.Request) -> web.StreamResponse:
    """Pauses, resumes or stops it."""
    job = await parts(request).operations.jobs.change(request.match_info["id"], request.match_info["what"])
    return go_to(f"/jobs/{job.id}")
