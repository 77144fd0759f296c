"""The admin API: each endpoint is a function from a typed call to a typed answer. Its document is made of the same."""

from __future__ import annotations

import functools
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from aiohttp import web
from pydantic import BaseModel, TypeAdapter, ValidationError

from gateway.admin.api.schemas import (
    AccountQuery,
    AuditOut,
    Cut,
    DeliveriesQuery,
    DeliveryOut,
    DeliveryWhole,
    Empty,
    EventOut,
    EventsQuery,
    EventWhole,
    ForgetAsk,
    Ids,
    JobAnswer,
    JobAsk,
    JobOut,
    ListOf,
    Model,
    ReplayAsk,
    Replayed,
    ReplayedList,
    Result,
    Results,
    Shown,
)
from gateway.admin.auth import Role
from gateway.admin.bulk_jobs import Job
from gateway.admin.operations import MOST_COUNTED, Actor, Operations, Replay
from gateway.admin.playground import PlaygroundResult, TrialAsk, try_out
from gateway.admin.problems import Refused, words_of
from gateway.admin.reports import overview
from gateway.admin.request import AdminParts, Entry, actor, parts
from gateway.config.secrets.masked_yaml import masked_settings
from gateway.core.envelope import parse_json
from gateway.core.errors import EnvelopeError
from gateway.core.model import ChangeResult, DeliveryFilter, Event, Refusal
from gateway.privacy.views import shown_deliveries, shown_delivery, shown_event
from gateway.store.protocol import Store

Q = TypeVar("Q", bound=Model)
B = TypeVar("B", bound=Model)
PREFIX = "/api/v1"
MOST_DELIVERIES_OF_AN_EVENT = 500


@dataclass(frozen=True, slots=True)
class Call(Generic[Q, B]):
    """A request, checked."""

    parts: AdminParts
    actor: Actor
    names: dict[str, str]  # of the path
    query: Q
    body: B

    @property
    def operations(self) -> Operations:
        """What changes things."""
        return self.parts.operations

    @property
    def store(self) -> Store:
        """What is asked."""
        return self.parts.store


@dataclass(frozen=True, slots=True)
class ApiEndpoint:
    """One method on one path below /api/v1."""

    method: str
    path: str
    role: Role
    run: Callable[[Any], Awaitable[Any]]
    answer: Any  # a type
    summary: str
    query: type[Model] = Empty
    body: type[Model] | None = None

    def entry(self) -> Entry:
        """Its route."""

        async def handle(request: web.Request) -> web.Response:
            query = _checked(self.query, _query_of(request, self.query))
            body = Empty() if self.body is None else _checked(self.body, await _json_of(request))
            call = Call(parts(request), actor(request), dict(request.match_info), query, body)
            answer = _adapter(self.answer).dump_json(await self.run(call), by_alias=True)
            return web.Response(body=answer, content_type="application/json")

        return Entry(self.method, PREFIX + self.path, handle, self.role, is_page=False)


@functools.cache
def _adapter(answer: Any) -> TypeAdapter[Any]:
    return TypeAdapter(answer)


def _checked(model: type[Model], value: Any) -> Any:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise Refused(422, words_of(error)) from None


def _query_of(request: web.Request, model: type[BaseModel]) -> dict[str, Any]:
    """Repeated names as lists where the model wants lists, else the last one."""
    found: dict[str, Any] = {}
    for name in dict.fromkeys(request.query):
        values = request.query.getall(name)
        field = model.model_fields.get(name)
        is_list = field is not None and "list" in str(field.annotation)
        found[name] = [part for value in values for part in value.split(",")] if is_list else values[-1]
    return found


async def _json_of(request: web.Request) -> Any:
    if request.content_type != "application/json":
        raise Refused(415, "send JSON, as application/json")
    try:
        return json.loads(await request.read())
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"the body is not JSON: {error}"[:300]) from None


# -- events ---------------------------------------------------------------------------------------------------


async def list_events(call: Call[EventsQuery, Empty]) -> ListOf[EventOut]:
    query = call.query
    page = await call.store.event_page(
        query.filter(query.text), limit=query.limit, after=query.cursor or None, oldest_first=query.oldest_first
    )
    return ListOf(
        items=[EventOut.of(event) for event in page.items], next=page.next, searched_until=page.searched_until
    )


async def one_event(store: Store, event_id: str, account: str) -> Event:
    """The event of that id. Raises Refused where there is none, or several accounts have it."""
    found = await store.event(event_id, account or None)
    if not found:
        raise Refused(404, "there is no such event in the inbox")
    if len(found) > 1:
        raise Refused(409, f"several accounts have it: say account={' or '.join(event.account for event in found)}")
    return found[0]


async def show_event(call: Call[AccountQuery, Empty]) -> EventWhole:
    event = await one_event(call.store, call.names["id"], call.query.account)
    return await whole_event(call.parts, event)


async def whole_event(parts: AdminParts, event: Event) -> EventWhole:
    """An event with its body as JSON and its deliveries, as they may be shown."""
    store, event = parts.store, shown_event(event, parts.redactions)
    where = DeliveryFilter(event_ids=(event.id,), accounts=(event.account,))
    page = await store.delivery_page(where, limit=MOST_DELIVERIES_OF_AN_EVENT, oldest_first=True)
    try:
        body: Any = parse_json(event.body)
    except EnvelopeError:
        body = event.body.decode("utf-8", "replace")
    listed = EventOut.of(event).model_dump()
    owed = await shown_deliveries(store, page.items, parts.redactions)
    return EventWhole(**listed, body=body, deliveries=[DeliveryOut.of(one) for one in owed])


def replayed(done: Replay) -> Replayed:
    """What came of one, for the answer."""
    return Replayed(
        event_id=done.event.id,
        account=done.event.account,
        type=done.event.type,
        owed=[f"{planned.route}/{planned.action}" for planned in done.planned],
        deliveries=list(done.made),
        refused=done.refused,
    )


async def replay_events(call: Call[Empty, ReplayAsk]) -> ReplayedList:
    ask = call.body
    events = [await one_event(call.store, named.id, named.account) for named in ask.events]
    done = await call.operations.replay(call.actor, events, ask.routes, force=ask.force, dry_run=ask.dry_run)
    return ReplayedList(results=[replayed(one) for one in done])


# -- deliveries -----------------------------------------------------------------------------------------------


async def list_deliveries(call: Call[DeliveriesQuery, Empty]) -> ListOf[DeliveryOut]:
    query = call.query
    where = query.filter(call.parts.gateway.config)
    page = await call.store.delivery_page(
        where, limit=query.limit, after=query.cursor or None, oldest_first=query.oldest_first
    )
    shown = await shown_deliveries(call.store, page.items, call.parts.redactions)
    return ListOf(items=[DeliveryOut.of(delivery) for delivery in shown], next=page.next)


async def show_delivery(call: Call[Empty, Empty]) -> DeliveryWhole:
    found = await call.store.delivery(call.names["id"])
    if found is None:
        raise Refused(404, "there is no such delivery")
    return DeliveryWhole.whole(*await shown_delivery(call.store, *found, call.parts.redactions))


def _results(done: dict[str, ChangeResult]) -> Results:
    return Results(results=[Result.of(key, result) for key, result in done.items()])


async def retry_deliveries(call: Call[Empty, Ids]) -> Results:
    return _results(await call.operations.retry(call.actor, call.body.ids))


async def cancel_deliveries(call: Call[Empty, Ids]) -> Results:
    return _results(await call.operations.cancel(call.actor, call.body.ids))


async def retry_delivery(call: Call[Empty, Empty]) -> DeliveryWhole:
    return await _one(call, await call.operations.retry(call.actor, [call.names["id"]]))


async def cancel_delivery(call: Call[Empty, Empty]) -> DeliveryWhole:
    return await _one(call, await call.operations.cancel(call.actor, [call.names["id"]]))


async def _one(call: Call[Empty, Empty], done: dict[str, ChangeResult]) -> DeliveryWhole:
    result = next(iter(done.values()))
    if isinstance(result, Refusal) and await call.store.delivery(call.names["id"]) is not None:
        raise Refused(409, result.reason)
    return await show_delivery(call)


# -- people ---------------------------------------------------------------------------------------------------


async def forget_customer(call: Call[Empty, ForgetAsk]) -> JobAnswer:
    ask = call.body
    if ask.dry_run:
        return JobAnswer(count=await call.operations.count_of_customer(ask.customer, ask.account), job=None)
    job = await call.operations.start_forget(call.actor, ask.customer, ask.account, cancel=ask.cancel)
    return JobAnswer(count=job.total, job=JobOut.of(job))


# -- many -----------------------------------------------------------------------------------------------------


async def start_job(call: Call[Empty, JobAsk]) -> JobAnswer:
    ask, operations = call.body, call.operations
    if ask.what == "replay":
        if ask.events is None or ask.deliveries is not None:
            raise Refused(422, "replay takes events")
        where = ask.events.filter()
        if ask.dry_run:
            operations.check_routes(ask.routes)
            return JobAnswer(count=await call.store.count_events(where, at_most=MOST_COUNTED), job=None)
        words = ask.events.model_dump_json(exclude_defaults=True)
        job = await operations.start_replay(call.actor, where, ask.routes, words)
    else:
        if ask.deliveries is None or ask.events is not None:
            raise Refused(422, f"{ask.what} takes deliveries")
        narrowed = ask.deliveries.filter(call.parts.gateway.config)
        if ask.dry_run:
            settled = operations.settled(ask.what, narrowed)
            return JobAnswer(count=await call.store.count_deliveries(settled, at_most=MOST_COUNTED), job=None)
        words = ask.deliveries.model_dump_json(exclude_defaults=True)
        job = await operations.start_deliveries(call.actor, ask.what, narrowed, words)
    return JobAnswer(count=job.total, job=JobOut.of(job))


async def list_jobs(call: Call[Empty, Empty]) -> ListOf[JobOut]:
    return ListOf(items=[JobOut.of(job) for job in call.operations.jobs.all()], next=None)


def _job(call: Call[Any, Any]) -> Job:
    job = call.operations.jobs.get(call.names["id"])
    if job is None:
        raise Refused(404, "there is no such job since the gateway's start")
    return job


async def show_job(call: Call[Empty, Empty]) -> JobOut:
    return JobOut.of(_job(call))


async def pause_job(call: Call[Empty, Empty]) -> JobOut:
    call.operations.jobs.pause(_job(call))
    return JobOut.of(_job(call))


async def resume_job(call: Call[Empty, Empty]) -> JobOut:
    call.operations.jobs.resume(_job(call))
    return JobOut.of(_job(call))


async def stop_job(call: Call[Empty, Empty]) -> JobOut:
    await call.operations.jobs.stop(_job(call))
    return JobOut.of(_job(call))


# -- the rest -------------------------------------------------------------------------------------------------


async def show_overview(call: Call[overview.OverviewQuery, Empty]) -> overview.Overview:
    return await overview.look(call.parts, call.query.range)


class ConfigOut(Shown):
    """The configuration in force, secrets masked."""

    version: str
    settings: dict[str, Any]


async def show_config(call: Call[Empty, Empty]) -> ConfigOut:
    config = call.parts.gateway.config
    return ConfigOut(version=config.version, settings=masked_settings(config))


async def list_connections(call: Call[Empty, Empty]) -> ListOf[overview.ConnectionOut]:
    return ListOf(items=await overview.connections(call.parts), next=None)


async def list_audit(call: Call[Cut, Empty]) -> ListOf[AuditOut]:
    page = await call.store.audit(limit=call.query.limit, after=call.query.cursor or None)
    return ListOf(items=[AuditOut.of(entry) for entry in page.items], next=page.next)


async def playground(call: Call[Empty, TrialAsk]) -> PlaygroundResult:
    return await try_out(call.parts.gateway.config, call.body)


V, O = Role.VIEWER, Role.OPERATOR  # noqa: E741 - the table reads better so

ENDPOINTS = (
    ApiEndpoint("GET", "/overview", V, show_overview, overview.Overview, "How it goes", overview.OverviewQuery),
    ApiEndpoint("GET", "/events", V, list_events, ListOf[EventOut], "Events in order of arrival", EventsQuery),
    ApiEndpoint("GET", "/events/{id}", V, show_event, EventWhole, "One event and its deliveries", AccountQuery),
    ApiEndpoint("POST", "/events/replay", O, replay_events, ReplayedList, "Replay events", body=ReplayAsk),
    ApiEndpoint(
        "GET", "/deliveries", V, list_deliveries, ListOf[DeliveryOut], "Deliveries in order of arrival", DeliveriesQuery
    ),
    ApiEndpoint("GET", "/deliveries/{id}", V, show_delivery, DeliveryWhole, "One delivery and its attempts"),
    ApiEndpoint("POST", "/deliveries/retry", O, retry_deliveries, Results, "Retry deliveries", body=Ids),
    ApiEndpoint("POST", "/deliveries/cancel", O, cancel_deliveries, Results, "Cancel deliveries", body=Ids),
    ApiEndpoint("POST", "/deliveries/{id}/retry", O, retry_delivery, DeliveryWhole, "Retry one delivery"),
    ApiEndpoint("POST", "/deliveries/{id}/cancel", O, cancel_delivery, DeliveryWhole, "Cancel one delivery"),
    ApiEndpoint(
        "POST", "/customers/forget", O, forget_customer, JobAnswer, "Erase what is kept of a customer", body=ForgetAsk
    ),
    ApiEndpoint("GET", "/jobs", V, list_jobs, ListOf[JobOut], "Changes to many"),
    ApiEndpoint(
        "POST", "/jobs", O, start_job, JobAnswer, "Retry, cancel or replay all that a filter finds", body=JobAsk
    ),
    ApiEndpoint("GET", "/jobs/{id}", V, show_job, JobOut, "One change to many"),
    ApiEndpoint("POST", "/jobs/{id}/pause", O, pause_job, JobOut, "Pause it"),
    ApiEndpoint("POST", "/jobs/{id}/resume", O, resume_job, JobOut, "Go on"),
    ApiEndpoint("POST", "/jobs/{id}/stop", O, stop_job, JobOut, "End it where it is"),
    ApiEndpoint("GET", "/config", V, show_config, ConfigOut, "The configuration in force, secrets masked"),
    ApiEndpoint("GET", "/connections", V, list_connections, ListOf[overview.ConnectionOut], "How each connection does"),
    ApiEndpoint("GET", "/audit", V, list_audit, ListOf[AuditOut], "Who asked for what", Cut),
    ApiEndpoint("POST", "/playground", V, playground, PlaygroundResult, "What would happen to an event", body=TrialAsk),
)
