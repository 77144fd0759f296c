"""The inbox: the list and its live tail, one event, replays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp_jinja2
from aiohttp import web
from aiohttp.client_exceptions import ClientConnectionResetError
from multidict import MultiMapping

from gateway.admin.api.schemas import EventOut, EventsQuery, EventsWhere, JobAsk, ListOf
from gateway.admin.console.charts import Box
from gateway.admin.console.forms import asked, checked, fields, listing
from gateway.admin.console.notices import go_back, notices, started
from gateway.admin.console.render import confirm_page, page, query_string
from gateway.admin.inbox import body_of
from gateway.admin.playground import explained
from gateway.admin.problems import Refused
from gateway.admin.request import actor, parts
from gateway.admin.waiting import STATES
from gateway.core.model import Delivery, Event, EventFilter
from gateway.core.routing import names

SIBLINGS = 20


@dataclass(frozen=True, slots=True)
class Run:
    """The deliveries of one run as a graph along `needs`."""

    route: str
    columns: Sequence[Sequence[Box]]
    arrows: Sequence[tuple[str, str]]


async def listed(request: web.Request) -> web.StreamResponse:
    """Events, the newest first."""
    admin = parts(request)
    kinds = await admin.store.event_kinds()
    query, wrong = asked(request.query, EventsQuery)
    context = {
        "page": ListOf(items=[], next=None) if query is None else await admin.operations.events(query),
        "wrong": wrong,
        **listing(request.query, EventsQuery),
        "accounts": sorted({kind.account for kind in kinds} | set(admin.gateway.config.accounts)),
        "types": sorted({kind.type for kind in kinds})[:500],
        "outcomes": list(STATES),
        "is_live": "live" in request.query,
    }
    return page(request, "events.html", context, status=200 if wrong is None else 422)


def _wants(event: Event, query: EventsQuery) -> bool:
    return (
        (not query.account or event.account in query.account)
        and (not query.type or any(names(pattern, event.type) for pattern in query.type))
        and (not query.state or event.state in query.state)
        and (not query.object or event.object_id == query.object)
    )


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
            events = [event for event in arrived.events if _wants(event, query)]
            context = {"events": events, "left_out": arrived.left_out}
            rows = aiohttp_jinja2.render_string("_event_rows.html", request, context)
            lines = "".join(f"data: {line}\n" for line in rows.splitlines())
            await response.write(f"event: rows\n{lines}\n".encode("utf-8", "replace"))
    except (ClientConnectionResetError, ConnectionError):
        pass  # the watcher has left
    return response


async def _event(request: web.Request) -> Event:
    return await parts(request).operations.only_event(request.match_info["id"], request.query.get("account", ""))


async def show(request: web.Request) -> web.StreamResponse:
    """One event: its JSON, what matched and why not, its deliveries, its siblings."""
    event, operations = await _event(request), parts(request).operations
    deliveries = await operations.deliveries_of(event)
    siblings = []
    if event.object_id is not None:
        listed = await operations.store.event_page(EventFilter(object_id=event.object_id), limit=SIBLINGS + 1)
        siblings = [other for other in listed.items if (other.account, other.id) != (event.account, event.id)]
    shown = await operations.shown(event)
    context = {
        "event": event,
        "body": body_of(shown),
        "deliveries": deliveries,
        "runs": _runs(deliveries),
        "siblings": siblings[:SIBLINGS],
        "routes": await explained(operations.config, event, shown),
        **notices(request),
    }
    return page(request, "event.html", context)


def _runs(owed: Sequence[Delivery]) -> list[Run]:
    """Each run as a graph."""
    runs: dict[str, list[Delivery]] = {}
    for delivery in owed:
        runs.setdefault(delivery.run_id, []).append(delivery)
    graphs: list[Run] = []
    for deliveries in runs.values():
        by_action = {delivery.action: delivery for delivery in deliveries}
        depths: dict[str, int] = {}

        def depth(action: str, by_action: dict[str, Delivery] = by_action, depths: dict[str, int] = depths) -> int:
            if action not in depths:
                depths[action] = 0  # a circle, which the config forbids, would end here
                needs = [need for need in by_action[action].needs if need in by_action]
                depths[action] = max((depth(need) + 1 for need in needs), default=0)
            return depths[action]

        columns: list[list[Box]] = [[] for _ in range(max(map(depth, by_action)) + 1)]
        for action, delivery in by_action.items():
            columns[depth(action)].append(
                Box(action, f"{action}: {delivery.state.value}", delivery.state.value, f"/deliveries/{delivery.id}")
            )
        arrows = [(need, delivery.action) for delivery in deliveries for need in delivery.needs]
        graphs.append(Run(deliveries[0].route, columns, arrows))
    return graphs


async def raw(request: web.Request) -> web.StreamResponse:
    """The event exactly as posted, but for what its account redacts, as a file: never shown by the browser."""
    event = await parts(request).operations.shown(await _event(request))
    return web.Response(
        body=event.body,
        headers={"Content-Type": "application/json", "Content-Disposition": 'attachment; filename="event.json"'},
    )


async def replay(request: web.Request) -> web.StreamResponse:
    """Routes one event through today's configuration."""
    event = await _event(request)
    force = (await request.post()).get("force") == "yes"
    listed = [EventOut.of(event)]
    (replayed,) = await parts(request).operations.replay(actor(request), listed, force=force, dry_run=False)
    count, owed = len(replayed.deliveries), ", ".join(replayed.owed)
    said = f"Made {count} new deliveries: {owed}." if count else "Nothing to do: no route wants it today."
    kind, text = ("said", said) if replayed.refused is None else ("refused", replayed.refused)
    return go_back(request, f"/events/{event.id}", kind, text, account=event.account)


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
