"""One event: what it is about, what it changed, what came of it; and its replay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp import web

from gateway.admin import event_story as story
from gateway.admin.api.schemas import DeliveryOut, EventOut
from gateway.admin.console.charts import Box
from gateway.admin.console.notices import go_back, notices
from gateway.admin.console.render import page
from gateway.admin.inbox import body_of
from gateway.admin.playground import explained
from gateway.admin.request import actor, parts
from gateway.core.model import Event, EventFilter

SIBLINGS = 20
MOST_IN_TIMELINE = 30  # deliveries


@dataclass(frozen=True, slots=True)
class Run:
    """The deliveries of one run as a graph along `needs`."""

    route: str
    columns: Sequence[Sequence[Box]]
    arrows: Sequence[tuple[str, str]]


async def _event(request: web.Request) -> Event:
    return await parts(request).operations.only_event(request.match_info["id"], request.query.get("account", ""))


async def show(request: web.Request) -> web.StreamResponse:
    """One event: what it says, what matched and why not, what became of it and when, its siblings."""
    event, admin = await _event(request), parts(request)
    operations = admin.operations
    whole = await operations.whole(event)
    siblings = []
    if event.object_id is not None:
        listed = await operations.store.event_page(EventFilter(object_id=event.object_id), limit=SIBLINGS + 1)
        siblings = [other for other in listed.items if (other.account, other.id) != (event.account, event.id)]
    shown = await operations.shown(event)
    told = [await operations.only_delivery(delivery.id) for delivery in whole.deliveries[-MOST_IN_TIMELINE:]]
    body = body_of(shown)
    context = {
        "event": event,
        "body": body,
        "caught": admin.outbox.of({delivery.id for delivery in whole.deliveries}) if admin.outbox is not None else (),
        "line": story.human_line(body),
        "changes": story.changes(body),
        "stripe_url": story.stripe_url(event),
        "timeline": story.timeline(event, told),
        "deliveries": whole.deliveries,
        "runs": _runs(whole.deliveries),
        "siblings": siblings[:SIBLINGS],
        "routes": await explained(operations.config, event, shown),
        **notices(request),
    }
    return page(request, "event.html", context)


def _runs(owed: Sequence[DeliveryOut]) -> list[Run]:
    """Each run as a graph."""
    runs: dict[str, list[DeliveryOut]] = {}
    for delivery in owed:
        runs.setdefault(delivery.run_id, []).append(delivery)
    graphs: list[Run] = []
    for deliveries in runs.values():
        by_action = {delivery.action: delivery for delivery in deliveries}
        depths: dict[str, int] = {}

        def depth(action: str, by_action: dict[str, DeliveryOut] = by_action, depths: dict[str, int] = depths) -> int:
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
