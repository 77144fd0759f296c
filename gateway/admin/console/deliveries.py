"""Deliveries and dead letters: the list, one, and what an operator does about them."""

from __future__ import annotations

from dataclasses import replace

from aiohttp import web

from gateway.admin.api.schemas import DeliveriesQuery, DeliveriesWhere
from gateway.admin.console.forms import checked, fields, first
from gateway.admin.console.render import confirm_page, page, query_string
from gateway.admin.operations import MOST_COUNTED
from gateway.admin.problems import Refused
from gateway.admin.request import actor, parts
from gateway.core.model import ChangeResult, DeliveryState, Refusal
from gateway.privacy.views import shown_deliveries, shown_delivery

RETRIED = (DeliveryState.DEAD, DeliveryState.CANCELLED, DeliveryState.SKIPPED, DeliveryState.PENDING)
CANCELLED = (DeliveryState.DEAD, DeliveryState.BLOCKED, DeliveryState.PENDING, DeliveryState.RUNNING)


async def listed(request: web.Request) -> web.StreamResponse:
    """Deliveries, the newest first."""
    made, query = parts(request), checked(request.query, DeliveriesQuery)
    config = made.gateway.config
    where = query.filter(config)
    found = await made.store.delivery_page(where, limit=query.limit, after=query.cursor or None)
    found = replace(found, items=await shown_deliveries(made.store, found.items, made.redactions))
    given = fields(request.query, DeliveriesQuery)
    context = {
        "page": found,
        "given": given,
        "shown": first(given, DeliveriesQuery.model_fields),
        "filters": {name: value for name, value in given.items() if name not in ("cursor", "limit")},
        "states": list(DeliveryState),
        "accounts": config.event_accounts,
        "connections": list(config.connections),
        "routes": [route.name for route in config.routes],
        "actions": sorted({action.name for route in config.routes for action in route.actions}),
    }
    return page(request, "deliveries.html", context)


async def show(request: web.Request) -> web.StreamResponse:
    """One delivery: attempts, rendered values, output, errors."""
    return await _shown(request)


async def _shown(request: web.Request, said: str | None = None, refused: str | None = None) -> web.StreamResponse:
    found = await parts(request).store.delivery(request.match_info["id"])
    if found is None:
        raise Refused(404, "there is no such delivery")
    delivery, attempts = await shown_delivery(parts(request).store, *found, parts(request).redactions)
    route = next((one for one in parts(request).gateway.config.routes if one.name == delivery.route), None)
    action = route.action(delivery.action) if route is not None else None
    context = {
        "delivery": delivery,
        "attempts": attempts,
        "action": action,
        "longest": max((attempt.duration_seconds for attempt in attempts), default=0.0) or 1.0,
        "may_retry": delivery.state in RETRIED,
        "may_cancel": delivery.state in CANCELLED,
        "said": said,
        "refused": refused,
    }
    return page(request, "delivery.html", context, status=409 if refused else 200)


async def retry(request: web.Request) -> web.StreamResponse:
    """Revives it with today's configuration."""
    done = await parts(request).operations.retry(actor(request), [request.match_info["id"]])
    return await _changed(request, next(iter(done.values())), "It runs again, with today's configuration.")


async def cancel(request: web.Request) -> web.StreamResponse:
    """Ends it for good."""
    done = await parts(request).operations.cancel(actor(request), [request.match_info["id"]])
    return await _changed(request, next(iter(done.values())), "Cancelled. A retry revives it.")


async def _changed(request: web.Request, result: ChangeResult, done: str) -> web.StreamResponse:
    if isinstance(result, Refusal):
        return await _shown(request, refused=result.reason)
    return await _shown(request, done)


def _what(given: object) -> str:
    if given not in ("retry", "cancel"):
        raise Refused(422, "what: retry or cancel")
    return str(given)


async def confirm_many(request: web.Request) -> web.StreamResponse:
    """How many a change by filter would be about."""
    made = parts(request)
    what, where = _what(request.query.get("what")), checked(request.query, DeliveriesWhere)
    settled = made.operations.settled(what, where.filter(made.gateway.config))
    count = await made.store.count_deliveries(settled, at_most=MOST_COUNTED)
    given = {**fields(request.query, DeliveriesWhere), "state": list(settled.states)}
    return confirm_page(request, what, "deliveries", count, given)


async def change_many(request: web.Request) -> web.StreamResponse:
    """Starts it."""
    made, form = parts(request), await request.post()
    what, where = _what(form.get("what")), checked(form, DeliveriesWhere)
    words = query_string(fields(form, DeliveriesWhere))
    job = await made.operations.start_deliveries(actor(request), what, where.filter(made.gateway.config), words)
    return web.Response(status=303, headers={"Location": f"/jobs/{job.id}"})
