"""Changes to many: how far each is; pause, go on, stop."""

from __future__ import annotations

from aiohttp import web

from gateway.admin.bulk_jobs import Job
from gateway.admin.console.render import page
from gateway.admin.problems import Refused
from gateway.admin.request import parts


def _job(request: web.Request) -> Job:
    job = parts(request).operations.jobs.get(request.match_info["id"])
    if job is None:
        raise Refused(404, "there is no such job since the gateway's start")
    return job


async def listed(request: web.Request) -> web.StreamResponse:
    """Those since the gateway's start."""
    return page(request, "jobs.html", {"jobs": parts(request).operations.jobs.all()})


async def show(request: web.Request) -> web.StreamResponse:
    """One, or with `part` only its progress."""
    return page(request, "_job.html" if "part" in request.query else "job.html", {"job": _job(request)})


async def change(request: web.Request) -> web.StreamResponse:
    """Pauses, resumes or stops it."""
    job, jobs = _job(request), parts(request).operations.jobs
    what = request.match_info["what"]
    if what == "pause":
        jobs.pause(job)
    elif what == "resume":
        jobs.resume(job)
    else:
        await jobs.stop(job)
    return web.Response(status=303, headers={"Location": f"/jobs/{job.id}"})
