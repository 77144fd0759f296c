"""The first page: is money being fulfilled, what is failing, why."""

from __future__ import annotations

from datetime import datetime

from aiohttp import web

from gateway.admin.console.charts import Level, Stack
from gateway.admin.console.forms import checked
from gateway.admin.console.render import page, query_string
from gateway.admin.reports.overview import OverviewQuery, look
from gateway.admin.reports.ranges import RANGES, Range, bar_width
from gateway.admin.request import parts


async def show(request: web.Request) -> web.StreamResponse:
    """The page, or with `part` only what changes."""
    query, admin = checked(request.query, OverviewQuery), parts(request)
    summary = await look(admin, query.range)
    bars = [(bar_label(bar.start, query.range), bar) for bar in summary.bars]
    is_whole = admin.scope is None
    context = {
        "it": summary,
        "ranges": list(RANGES),
        "events": [Stack(label, bar.events) for label, bar in bars],
        "deliveries": [Stack(label, bar.deliveries) for label, bar in bars],
        "answers": [levels_of(label, bar.answer_p50_seconds, bar.answer_p99_seconds) for label, bar in bars]
        if is_whole
        else None,
        "done": [levels_of(label, bar.p50_seconds, bar.p99_seconds) for label, bar in bars],
        "waiting": [Level(label, {"waiting": bar.waiting or 0}) for label, bar in bars] if is_whole else None,
        "rejected": [
            Stack(label, {"rejected": bar.rejected}, "/rejected" + between(bar.start, query.range))
            for label, bar in bars
        ],
    }
    return page(request, "_overview.html" if "part" in request.query else "overview.html", context)


def bar_label(start: datetime, range_: Range) -> str:
    """What is said of a bar that begins then."""
    return start.strftime("%H:%M" if range_ != "7d" else "%a %H:%M")


def between(start: datetime, range_: Range) -> str:
    """The query of a list that is narrowed to the time of a bar."""
    form = "%Y-%m-%dT%H:%M:%S"
    return query_string({"since": f"{start:{form}}", "until": f"{start + bar_width(range_):{form}}"})


def levels_of(label: str, half: float | None, most: float | None) -> Level:
    """How long half of something took, and 99 of 100."""
    return Level(label, {} if half is None or most is None else {"half": half, "most": most})
