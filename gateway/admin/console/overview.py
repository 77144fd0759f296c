"""The first page: is money being fulfilled, what is failing, why."""

from __future__ import annotations

from aiohttp import web

from gateway.admin.console.charts import Stack
from gateway.admin.console.forms import checked
from gateway.admin.console.render import page
from gateway.admin.reports.overview import RANGES, OverviewQuery, look
from gateway.admin.request import parts

SLOW_SECONDS = 300.0  # a delivery that has waited longer makes the headline


async def show(request: web.Request) -> web.StreamResponse:
    """The page, or with `part` only what changes."""
    query = checked(request.query, OverviewQuery)
    summary = await look(parts(request), query.range)
    form = "%H:%M" if query.range != "7d" else "%a %H:%M"
    context = {
        "it": summary,
        "ranges": list(RANGES),
        "events": [Stack(bar.start.strftime(form), bar.events) for bar in summary.bars],
        "deliveries": [Stack(bar.start.strftime(form), bar.deliveries) for bar in summary.bars],
    }
    return page(request, "_overview.html" if "part" in request.query else "overview.html", context)
