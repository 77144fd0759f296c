"""Bars over time for each account, type or route: which of them it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from aiohttp import web

from gateway.admin.console.charts import Stack
from gateway.admin.console.forms import checked
from gateway.admin.console.render import page, query_string
from gateway.admin.reports.overview import RANGES, OverviewQuery
from gateway.admin.request import AdminParts, parts
from gateway.core.model import DeliveryFilter, EventFilter

MOST = 8  # charts on a page
LOOKED_AT = 16  # of which these are the busiest
_SECOND = "%Y-%m-%dT%H:%M:%S"
By = Literal["account", "type", "route"]
BY: tuple[By, ...] = ("account", "type", "route")


class ChartsQuery(OverviewQuery):
    """By what, and how far back."""

    by: By = "account"


@dataclass(frozen=True, slots=True)
class Chart:
    """The bars of one account, type or route."""

    name: str
    total: int
    stacks: Sequence[Stack]
    href: str


async def show(request: web.Request) -> web.StreamResponse:
    """A chart each, the busiest first."""
    query, admin = checked(request.query, ChartsQuery), parts(request)
    charts = [await _chart(admin, query, name) for name in await _names(admin, query.by)]
    charts = sorted((chart for chart in charts if chart.total), key=lambda chart: -chart.total)
    context = {
        "charts": charts[:MOST],
        "by": query.by,
        "bys": BY,
        "range": query.range,
        "ranges": list(RANGES),
        "kinds": ["succeeded", "skipped", "cancelled", "dead", "pending", "blocked"]
        if query.by == "route"
        else ["routed", "unmatched", "ignored"],
    }
    return page(request, "charts.html", context)


async def _names(admin: AdminParts, by: By) -> list[str]:
    config = admin.gateway.config
    if by == "account":
        return list(config.event_accounts)[:LOOKED_AT]
    if by == "route":
        return [route.name for route in config.routes][:LOOKED_AT]
    return list(dict.fromkeys(kind.type for kind in await admin.store.event_kinds()))[:LOOKED_AT]


async def _chart(admin: AdminParts, query: ChartsQuery, name: str) -> Chart:
    where: EventFilter | DeliveryFilter = EventFilter(accounts=(name,))
    if query.by == "type":
        where = EventFilter(types=(name,))
    elif query.by == "route":
        where = DeliveryFilter(routes=(name,))
    now, (span, _) = datetime.now(UTC), RANGES[query.range]
    bars = await admin.history.counts(where, now - span, now, now)
    form, path = "%H:%M" if query.range != "7d" else "%a %H:%M", "/deliveries" if query.by == "route" else "/events"
    stacks = [
        Stack(
            start.strftime(form),
            counts,
            path + query_string({query.by: name, "since": f"{start:{_SECOND}}", "until": f"{end:{_SECOND}}"}),
        )
        for start, end, counts in bars
    ]  # fmt: skip
    total = sum(sum(counts.values()) for _, _, counts in bars)
    return Chart(name, total, stacks, path + query_string({query.by: name, "since": query.range}))
