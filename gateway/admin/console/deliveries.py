"""Deliveries and dead letters: the list, one, and what an operator does about them."""

from __future__ import annotations

from datetime import UTC, datetime

from aiohttp import web

from gateway.admin import delivery_story as story
from gateway.admin.api.schemas import DeliveriesQuery, DeliveriesWhere, DeliveryWhole, JobAsk, ListOf, Result
from gateway.admin.console.forms import asked, checked, fields, listing
from gateway.admin.console.notices import go_back, notices, started
from gateway.admin.console.render import confirm_page, framed, page, query_string
from gateway.admin.operations import Operations
from gateway.admin.playground import in_turn
from gateway.admin.problems import Refused
from gateway.admin.request import actor, parts
from gateway.core.model import DeliveryState
from gateway.plugin import HttpConnection, MailPreview, Preview, RequestPreview

RETRIED = (
    DeliveryState.DEAD,
    DeliveryState.EXPIRED,
    DeliveryState.CANCELLED,
    DeliveryState.SKIPPED,
    DeliveryState.PENDING,
)
CANCELLED = (DeliveryState.DEAD, DeliveryState.BLOCKED, DeliveryState.PENDING, DeliveryState.RUNNING)


async def listed(request: web.Request) -> web.StreamResponse:
    """Deliveries, the newest first."""
    operations = parts(request).operations
    config = operations.config
    query, wrong = asked(request.query, DeliveriesQuery)
    context = {
        "page": ListOf(items=[], next=None) if query is None else await operations.deliveries(query),
        "wrong": wrong,
        **listing(request.query, DeliveriesQuery),
        "states": list(DeliveryState),
        "accounts": config.event_accounts,
        "connections": list(config.connections),
        "owners": sorted({route.owner for route in config.routes if route.owner}),
        "routes": [route.name for route in config.routes],
        "actions": sorted({action.name for route in config.routes for action in route.actions}),
    }
    return page(request, "deliveries.html", context, status=200 if wrong is None else 422)


async def show(request: web.Request) -> web.StreamResponse:
    """One delivery: attempts, rendered values, output, errors."""
    operations = parts(request).operations
    delivery = await operations.only_delivery(request.match_info["id"])
    route = next((route for route in operations.config.routes if route.name == delivery.route), None)
    action = route.action(delivery.action) if route is not None else None
    sent = await _sent(operations, delivery)
    connection = operations.config.connections.get((action.connection if action is not None else None) or "")
    curl = None
    if isinstance(sent, RequestPreview) and isinstance(connection, HttpConnection):
        curl = story.as_curl(sent, delivery.id, connection, operations.config)
    context = {
        "delivery": delivery,
        "action": action,
        "curl": curl,
        "mail": story.mail_parts(sent) if isinstance(sent, MailPreview) else None,
        "exchanges": [
            (attempt, exchange, *story.exchange_parts(exchange))
            for attempt in reversed(delivery.history)
            for exchange in reversed(attempt.exchanges)
        ],
        "answer": story.answer_of(delivery.output),
        "planned": story.planned_attempts(delivery, action, datetime.now(UTC)) if action is not None else [],
        "longest": max((attempt.duration_seconds for attempt in delivery.history), default=0.0) or 1.0,
        "may_retry": delivery.state in RETRIED,
        "may_cancel": delivery.state in CANCELLED,
        "asks": operations.asks(delivery) if takes_answer(delivery) else None,
        **notices(request),
    }
    return page(request, "delivery.html", context)


async def _sent(operations: Operations, delivery: DeliveryWhole) -> Preview | None:
    """What the action sent at its last attempt, as it may be shown."""
    events = await operations.store.event(delivery.event_id, delivery.account)
    shown = await operations.shown(events[0]) if events else None
    at = delivery.history[-1].started_at if delivery.history else datetime.now(UTC)
    return await in_turn(story.preview, operations.config, delivery, shown, at)


async def mail(request: web.Request) -> web.StreamResponse:
    """The HTML of its mail, for a frame: no script, no network, no access to anything of ours."""
    operations = parts(request).operations
    sent = await _sent(operations, await operations.only_delivery(request.match_info["id"]))
    if not isinstance(sent, MailPreview):
        raise Refused(404, "it sends no mail that could be shown")
    return framed(story.mail_parts(sent).html)


async def retry(request: web.Request) -> web.StreamResponse:
    """Revives it with today's configuration."""
    (result,) = await parts(request).operations.retry(actor(request), [request.match_info["id"]])
    return _changed(request, result, "It runs again, with today's configuration.")


async def cancel(request: web.Request) -> web.StreamResponse:
    """Ends it for good."""
    (result,) = await parts(request).operations.cancel(actor(request), [request.match_info["id"]])
    return _changed(request, result, "Cancelled. A retry revives it.")


def takes_answer(delivery: DeliveryWhole) -> bool:
    """Whether a yes or a no may still come."""
    word, state = delivery.word, delivery.state
    is_over = word.until is not None and word.until <= datetime.now(UTC)
    return not state.is_final and word.approved_by is None and not is_over


async def answer(request: web.Request) -> web.StreamResponse:
    """A yes or a no."""
    is_yes = request.match_info["answer"] == "approve"
    result = await parts(request).operations.answer(actor(request), request.match_info["id"], is_yes=is_yes)
    return _changed(request, result, "Approved: it goes on." if is_yes else "Refused: it is cancelled.")


def _changed(request: web.Request, result: Result, done: str) -> web.Response:
    kind, text = ("said", done) if result.refused is None else ("refused", result.refused)
    return go_back(request, f"/deliveries/{result.id}", kind, text)


def _ask(what: object, where: DeliveriesWhere, *, dry_run: bool) -> JobAsk:
    if what not in ("retry", "cancel"):
        raise Refused(422, "what: retry or cancel")
    return JobAsk(what="retry" if what == "retry" else "cancel", deliveries=where, dry_run=dry_run)


async def confirm_many(request: web.Request) -> web.StreamResponse:
    """How many a change by filter would be about."""
    operations, where = parts(request).operations, checked(request.query, DeliveriesWhere)
    ask = _ask(request.query.get("what"), where, dry_run=True)
    answer = await operations.change_many(actor(request), ask, "")
    settled = operations.settled(ask.what, where.filter(lambda: operations.config))
    narrowed = {**fields(request.query, DeliveriesWhere), "state": list(settled.states)}
    return confirm_page(request, ask.what, "deliveries", answer, narrowed)


async def change_many(request: web.Request) -> web.StreamResponse:
    """Starts it."""
    form = await request.post()
    ask = _ask(form.get("what"), checked(form, DeliveriesWhere), dry_run=False)
    narrowed = fields(form, DeliveriesWhere)
    chosen = narrowed.pop("id", [])
    if not chosen and form.get("chosen"):
        raise Refused(422, "choose at least one")
    words = f"{len(chosen)} chosen: {', '.join(chosen[:3])}, ..." if chosen else query_string(narrowed)
    return started(await parts(request).operations.change_many(actor(request), ask, words))
