"""Bars over time for each account, type or route: which of them it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from aiohttp import web

from gateway.admin.console.charts import Stack
from gateway.admin.console.forms import checked
from gateway.admin.console.overview import bar_label
from gateway.admin.console.render import page, query_string
from gateway.admin.reports.history import TimeBar
from gateway.admin.reports.overview import OverviewQuery
from gateway.admin.reports.ranges import RANGES
from gateway.admin.request import parts
from gateway.core.model import DeliveryFilter, EventFilter

MOST = 8  # charts on a page
_SECOND = "%Y-%m-%dT%H:%M:%S"
By = Literal["account", "type", "route"]
PLACES: dict[By, int] = {"account": 0, "type": 1, "route": 1}  # in the kinds of Store.counts_by_time
EVENT_STATES = ("routed", "unmatched", "ignored")
DELIVERY_STATES = ("succeeded", "skipped", "cancelled", "expired", "dead", "pending", "blocked")


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
    place = PLACES[query.by]
    now, (span, _) = datetime.now(UTC), RANGES[query.range]
    where = DeliveryFilter() if query.by == "route" else EventFilter()
    bars = await admin.history.counts(where, now - span, now, now)
    totals: Counter[str] = Counter()
    for bar in bars:
        for kind, count in bar.counts.items():
            totals[kind[place]] += count
    context = {
        "charts": [_chart(query, bars, name, total) for name, total in totals.most_common(MOST)],
        "left_out": max(0, len(totals) - MOST),
        "by": query.by,
        "bys": list(PLACES),
        "range": query.range,
        "ranges": list(RANGES),
        "kinds": DELIVERY_STATES if query.by == "route" else EVENT_STATES,
    }
    return page(request, "charts.html", context)


def _chart(query: ChartsQuery, bars: Sequence[TimeBar], name: str, total: int) -> Chart:
    path = "/deliveries" if query.by == "route" else "/events"
    stacks = []
    for bar in bars:
        narrowed = {query.by: name, "since": f"{bar.start:{_SECOND}}", "until": f"{bar.end:{_SECOND}}"}
        counts = bar.by_state(PLACES[query.by], name)
        stacks.append(Stack(bar_label(bar.start, query.range), counts, path + query_string(narrowed)))
    return Chart(name, total, stacks, path + query_string({query.by: name, "since": query.range}))
