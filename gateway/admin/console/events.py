"""The inbox: the list and its live tail, replays of many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import aiohttp_jinja2
from aiohttp import web
from aiohttp.client_exceptions import ClientConnectionResetError
from multidict import MultiMapping

from gateway.admin.api.schemas import EventOut, EventsQuery, EventsWhere, JobAsk, ListOf
from gateway.admin.console.charts import Stack
from gateway.admin.console.forms import asked, checked, fields, listing
from gateway.admin.console.notices import started
from gateway.admin.console.render import confirm_page, page, query_string
from gateway.admin.event_story import human_line
from gateway.admin.inbox import body_of
from gateway.admin.operations import Operations
from gateway.admin.problems import Refused
from gateway.admin.request import AdminParts, actor, parts
from gateway.admin.waiting import STATES
from gateway.core.model import Event
from gateway.core.routing import names
from gateway.store.answers import Arrivals


async def listed(request: web.Request) -> web.StreamResponse:
    """Events, the newest first."""
    admin = parts(request)
    kinds = await admin.store.event_kinds()
    query, wrong = asked(request.query, EventsQuery)
    is_live = "live" in request.query
    events = ListOf[EventOut](items=[], next=None) if query is None else await admin.operations.events(query)
    context = {
        "page": events,
        "lines": await _lines(admin.operations, events.items),
        "stacks": [] if query is None or is_live else await _bars(admin, request, query),
        "wrong": wrong,
        **listing(request.query, EventsQuery),
        "accounts": sorted({kind.account for kind in kinds} | set(admin.gateway.config.accounts)),
        "types": sorted({kind.type for kind in kinds})[:500],
        "outcomes": list(STATES),
        "is_live": is_live,
    }
    return page(request, "events.html", context, status=200 if wrong is None else 422)


async def _lines(operations: Operations, events: Sequence[EventOut | Event]) -> dict[tuple[str, str], str | None]:
    """What each event is about, in words, by account and id."""
    lines: dict[tuple[str, str], str | None] = {}
    for event in events:
        for whole in await operations.store.event(event.id, event.account):
            lines[event.account, event.id] = human_line(body_of(await operations.shown(whole)))
    return lines


async def _bars(admin: AdminParts, request: web.Request, query: EventsQuery) -> list[Stack]:
    """When events of the list came, over its time or the last day; each bar leads to those of its time. None for what
    no index counts.
    """
    if query.text or query.object or query.outcome:
        return []
    where, now = query.filter(), datetime.now(UTC)
    until = where.until or now
    since = where.since or until - timedelta(days=1)
    bars = await admin.history.counts(replace(where, since=None, until=None), since, until, now)
    form = "%a %d %b %H:%M" if until - since > timedelta(days=1.5) else "%H:%M"
    narrowed = fields(request.query, EventsWhere)
    return [
        Stack(
            bar.start.strftime(form),
            bar.by_state(),
            "/events" + query_string({**narrowed, "since": _second(bar.start), "until": _second(bar.end)}),
        )
        for bar in bars
    ]


def _second(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _wants(event: Event, query: EventsQuery) -> bool:
    return (
        (not query.account or event.account in query.account)
        and (not query.type or any(names(pattern, event.type) for pattern in query.type))
        and (not query.state or event.state in query.state)
        and (not query.object or event.object_id == query.object)
    )


async def _rows(request: web.Request, arrived: Arrivals, query: EventsQuery) -> bytes:
    """What came in and fits, as a server-sent event of table rows: the same for everybody who sees these events."""
    events = [event for event in arrived.events if _wants(event, query)]
    lines = await _lines(parts(request).operations, events)
    context = {"events": events, "left_out": arrived.left_out, "lines": lines}
    rows = aiohttp_jinja2.render_string("_event_rows.html", request, context)
    data = "".join(f"data: {line}\n" for line in rows.splitlines())
    return f"event: rows\n{data}\n".encode("utf-8", "replace")


async def live(request: web.Request) -> web.StreamResponse:
    """What comes in from now on, as server-sent events of table rows."""
    tail, query = parts(request).tail, checked(request.query, EventsQuery)
    if tail.is_full:
        raise Refused(503, "too many are watching already")
    response = web.StreamResponse(
        headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    )
    await response.prepare(request)
    try:
        await response.write(b"retry: 3000\n\n")
        is_live = False
        async for arrived in tail.watch():
            if not is_live:  # after the first look nothing is missed any more
                is_live = True
                await response.write(b"event: state\ndata: Live.\n\n")
            if arrived is None:
                await response.write(b": nothing\n\n")
                continue
            await response.write(await tail.told(arrived, repr(query), partial(_rows, request, arrived, query)))
    except (ClientConnectionResetError, ConnectionError):
        pass  # the watcher has left
    return response


async def confirm_many(request: web.Request) -> web.StreamResponse:
    """How many a replay by filter would be about."""
    ask = _ask(request.query, dry_run=True)
    answer = await parts(request).operations.change_many(actor(request), ask, "")
    return confirm_page(request, "replay", "events", answer, fields(request.query, EventsWhere))


async def replay_many(request: web.Request) -> web.StreamResponse:
    """Starts it."""
    form = await request.post()
    ask, words = _ask(form, dry_run=False), query_string(fields(form, EventsWhere))
    return started(await parts(request).operations.change_many(actor(request), ask, words))


def _ask(values: MultiMapping[Any], *, dry_run: bool) -> JobAsk:
    """The replay of all that a filter finds. Raises Refused where it leaves nothing out."""
    where = checked(values, EventsWhere)
    if not fields(values, EventsWhere):
        raise Refused(422, "narrow the list first: this would replay the whole inbox")
    return JobAsk(what="replay", events=where, dry_run=dry_run)
