"""One box for any id, e-mail address, amount or text."""

from __future__ import annotations

from aiohttp import web

from gateway.admin.console.forms import asked
from gateway.admin.console.notices import go_to
from gateway.admin.console.render import page
from gateway.admin.request import parts
from gateway.admin.search import SearchQuery


async def show(request: web.Request) -> web.StreamResponse:
    """What was found, in groups; an id that names one event or delivery leads there."""
    query, wrong = asked(request.query, SearchQuery) if request.query.get("q", "").strip() else (None, None)
    hits = None if query is None else await parts(request).operations.search(query.q)
    if hits is not None and len(hits.events) == 1:
        return go_to(f"/events/{hits.events[0].id}", account=hits.events[0].account)
    if hits is not None and not hits.events and [delivery.id for delivery in hits.deliveries] == [hits.query]:
        return go_to(f"/deliveries/{hits.query}")
    context = {"hits": hits, "wrong": wrong}
    return page(request, "search.html", context, status=200 if wrong is None else 422)
