"""Requests that were refused: the list, one, and taking in those that are good by now."""

from __future__ import annotations

from aiohttp import web

from gateway.admin.api.rejected import RejectedQuery, readmitted, rejected_page, rejected_whole
from gateway.admin.console.forms import asked, checked, listing
from gateway.admin.console.notices import go_back, notices
from gateway.admin.console.render import page
from gateway.admin.request import actor, parts
from gateway.core.model import REJECTED_REASONS


async def listed(request: web.Request) -> web.StreamResponse:
    """Those that are kept, the newest first."""
    operations, (query, wrong) = parts(request).operations, asked(request.query, RejectedQuery)
    context = {
        "requests": [] if query is None else await rejected_page(operations, query),
        "wrong": wrong,
        **listing(request.query, RejectedQuery),
        "reasons": REJECTED_REASONS,
        "accounts": list(operations.config.accounts),
        **notices(request),
    }
    return page(request, "rejected.html", context, status=200 if wrong is None else 422)


async def show(request: web.Request) -> web.StreamResponse:
    """One, whole."""
    whole = await rejected_whole(parts(request).operations, request.match_info["id"])
    return page(request, "rejected_one.html", {"request": whole, **notices(request)})


async def verify(request: web.Request) -> web.StreamResponse:
    """Judges those of the filter, or one, again: what is good by now goes into the inbox."""
    form = await request.post()
    query = checked(form, RejectedQuery)
    results = await readmitted(parts(request).operations, actor(request), query, dry_run=False)
    taken = sum(result.outcome == "taken" for result in results)
    same = sum(result.outcome == "duplicate" for result in results)
    left = len(results) - taken - same
    said = f"{taken} taken into the inbox, {same} there already, {left} still rejected."
    return go_back(request, "/rejected", "said", said)
