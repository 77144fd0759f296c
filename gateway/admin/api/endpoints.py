"""The admin API: each endpoint is a function from a typed call to a typed answer. Its document is made of the same."""

from __future__ import annotations

import functools
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar, get_args, get_type_hints

from aiohttp import web
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from gateway.admin.api.rejected import (
    RejectedOut,
    RejectedQuery,
    RejectedWhole,
    VerifiedOut,
    VerifyAsk,
    readmitted,
    rejected_page,
    rejected_whole,
)
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
    OfRecord,
    ReplayAsk,
    ReplayedList,
    Result,
    Results,
    Shown,
)
from gateway.admin.auth import Role
from gateway.admin.operations import Operations
from gateway.admin.pausing import Actor
from gateway.admin.playground import PlaygroundResult, TrialAsk, try_out
from gateway.admin.problems import Refused, words_of
from gateway.admin.reports import overview
from gateway.admin.reports.accounts import AccountReport, accounts
from gateway.admin.reports.routes import RouteOut, routes
from gateway.admin.request import AdminParts, Entry, Reach, actor, parts
from gateway.admin.search import SearchOut, SearchQuery
from gateway.config.secrets.masked_yaml import masked_settings
from gateway.core.model import ConnectionState

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
        """What there is, and what changes it."""
        return self.parts.operations


@dataclass(frozen=True)
class ApiEndpoint:
    """One method on one path below /api/v1."""

    method: str
    path: str
    role: Role
    run: Callable[[Any], Awaitable[Any]]
    summary: str
    reach: Reach = Reach.NOTHING

    @functools.cached_property
    def types(self) -> tuple[type[Model], type[Model], Any]:
        """Of the query, the body (`Empty`: it takes none) and the answer, as the signature of `run` says."""
        hints = get_type_hints(self.run)
        query, body = get_args(hints["call"])
        return query, body, hints["return"]

    def entry(self) -> Entry:
        """Its route."""

        async def handle(request: web.Request) -> web.Response:
            query_type, body_type, answer_type = self.types
            query = _checked(query_type, _query_of(request, query_type))
            body = Empty() if body_type is Empty else _checked(body_type, await _json_of(request))
            call = Call(parts(request), actor(request), dict(request.match_info), query, body)
            answer = json_bytes(answer_type, await self.run(call))
            return web.Response(body=answer, content_type="application/json")

        return Entry(self.method, PREFIX + self.path, handle, self.role, self.reach, is_page=False)


@functools.cache
def _adapter(answer: Any) -> TypeAdapter[Any]:
    return TypeAdapter(answer)


def json_bytes(answer: Any, value: Any) -> bytes:
    """JSON of an answer of that type. Half of a surrogate pair, which an event may hold, is escaped as it was there."""
    try:
        return _adapter(answer).dump_json(value, by_alias=True)
    except PydanticSerializationError:
        return json.dumps(_adapter(answer).dump_python(value, mode="json", by_alias=True)).encode()


def _checked(model: type[Model], value: Any) -> Any:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise Refused(422, words_of(error)) from None


def _query_of(request: web.Request, model: type[BaseModel]) -> dict[str, Any]:
    """Repeated names as lists where the model wants lists, else the last one."""
    values_by_name: dict[str, Any] = {}
    for name in dict.fromkeys(request.query):
        values = request.query.getall(name)
        field = model.model_fields.get(name)
        is_list = field is not None and "list" in str(field.annotation)
        values_by_name[name] = [part for value in values for part in value.split(",")] if is_list else values[-1]
    return values_by_name


async def _json_of(request: web.Request) -> Any:
    if request.content_type != "application/json":
        raise Refused(415, "send JSON, as application/json")
    return value_of(await request.read())


def value_of(body: bytes) -> Any:
    """What a JSON body says. Raises Refused; also of half a surrogate pair, which no store has."""
    try:
        value = json.loads(body)
        json.dumps(value, ensure_ascii=False).encode()
        return value
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"the body is not JSON: {error}"[:300]) from None


# -- events and deliveries ------------------------------------------------------------------------------------


async def list_events(call: Call[EventsQuery, Empty]) -> ListOf[EventOut]:
    return await call.operations.events(call.query)


async def search(call: Call[SearchQuery, Empty]) -> SearchOut:
    return await call.operations.search(call.query.q)


async def show_event(call: Call[AccountQuery, Empty]) -> EventWhole:
    return await call.operations.whole(await call.operations.only_event(call.names["id"], call.query.account))


async def replay_events(call: Call[Empty, ReplayAsk]) -> ReplayedList:
    ask = call.body
    events = [EventOut.of(await call.operations.only_event(event.id, event.account)) for event in ask.events]
    results = await call.operations.replay(call.actor, events, ask.routes, force=ask.force, dry_run=ask.dry_run)
    return ReplayedList(results=results)


async def list_deliveries(call: Call[DeliveriesQuery, Empty]) -> ListOf[DeliveryOut]:
    return await call.operations.deliveries(call.query)


async def show_delivery(call: Call[Empty, Empty]) -> DeliveryWhole:
    return await call.operations.only_delivery(call.names["id"])


async def retry_deliveries(call: Call[Empty, Ids]) -> Results:
    return Results(results=await call.operations.retry(call.actor, call.body.ids))


async def cancel_deliveries(call: Call[Empty, Ids]) -> Results:
    return Results(results=await call.operations.cancel(call.actor, call.body.ids))


async def retry_delivery(call: Call[Empty, Empty]) -> DeliveryWhole:
    return await _changed(call, *await call.operations.retry(call.actor, [call.names["id"]]))


async def cancel_delivery(call: Call[Empty, Empty]) -> DeliveryWhole:
    return await _changed(call, *await call.operations.cancel(call.actor, [call.names["id"]]))


async def approve_delivery(call: Call[Empty, Empty]) -> DeliveryWhole:
    return await _changed(call, await call.operations.answer(call.actor, call.names["id"], is_yes=True))


async def refuse_delivery(call: Call[Empty, Empty]) -> DeliveryWhole:
    return await _changed(call, await call.operations.answer(call.actor, call.names["id"], is_yes=False))


async def _changed(call: Call[Empty, Empty], result: Result) -> DeliveryWhole:
    delivery = await show_delivery(call)
    if result.refused is not None:
        raise Refused(409, result.refused)
    return delivery


# -- many, and people -----------------------------------------------------------------------------------------


async def forget_customer(call: Call[Empty, ForgetAsk]) -> JobAnswer:
    return await call.operations.forget(call.actor, call.body)


async def start_job(call: Call[Empty, JobAsk]) -> JobAnswer:
    narrowed = call.body.events or call.body.deliveries
    words = narrowed.model_dump_json(exclude_defaults=True) if narrowed is not None else ""
    return await call.operations.change_many(call.actor, call.body, words)


async def list_jobs(call: Call[Empty, Empty]) -> ListOf[JobOut]:
    return ListOf(items=[JobOut.of(job) for job in call.operations.jobs.all()], next=None)


async def show_job(call: Call[Empty, Empty]) -> JobOut:
    return JobOut.of(await call.operations.job(call.names["id"]))


async def pause_job(call: Call[Empty, Empty]) -> JobOut:
    return JobOut.of(await call.operations.jobs.change(call.names["id"], "pause"))


async def resume_job(call: Call[Empty, Empty]) -> JobOut:
    return JobOut.of(await call.operations.jobs.change(call.names["id"], "resume"))


async def stop_job(call: Call[Empty, Empty]) -> JobOut:
    return JobOut.of(await call.operations.jobs.change(call.names["id"], "stop"))


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


async def list_accounts(call: Call[Empty, Empty]) -> ListOf[AccountReport]:
    return ListOf(items=await accounts(call.parts), next=None)


async def list_connections(call: Call[Empty, Empty]) -> ListOf[overview.ConnectionOut]:
    return ListOf(items=await overview.connections(call.parts), next=None)


class PauseAsk(Model):
    """Why a connection or a route is paused."""

    reason: Annotated[str, Field(max_length=200)] = ""


class Standing(OfRecord):
    """How a connection stands, as all gateways on one store see it."""

    name: str
    state: ConnectionState
    since: datetime | None
    until: datetime | None
    reason: str | None
    failures: int


async def pause_connection(call: Call[Empty, PauseAsk]) -> Standing:
    (status,) = await call.operations.pause(call.actor, [call.names["name"]], call.body.reason)
    return Standing.of(status)


async def resume_connection(call: Call[Empty, Empty]) -> Standing:
    (status,) = await call.operations.resume(call.actor, [call.names["name"]])
    return Standing.of(status)


async def list_routes(call: Call[Empty, Empty]) -> ListOf[RouteOut]:
    return ListOf(items=await routes(call.operations), next=None)


async def pause_route(call: Call[Empty, PauseAsk]) -> RouteOut:
    await call.operations.pause_routes(call.actor, [call.names["name"]], call.body.reason)
    return await _route(call)


async def resume_route(call: Call[Empty, Empty]) -> RouteOut:
    await call.operations.resume_routes(call.actor, [call.names["name"]])
    return await _route(call)


async def _route(call: Call[Any, Any]) -> RouteOut:
    """How it stands now. Raises Refused where only the store knew of it."""
    for route in await routes(call.operations):
        if route.name == call.names["name"]:
            return route
    raise Refused(404, "gateway.yaml has no such route any more")


async def list_rejected(call: Call[RejectedQuery, Empty]) -> ListOf[RejectedOut]:
    requests = await rejected_page(call.operations, call.query)
    return ListOf(items=[RejectedOut.of(request) for request in requests], next=None)


async def show_rejected(call: Call[Empty, Empty]) -> RejectedWhole:
    return await rejected_whole(call.operations, call.names["id"])


async def verify_rejected(call: Call[Empty, VerifyAsk]) -> ListOf[VerifiedOut]:
    results = await readmitted(call.operations, call.actor, call.body, dry_run=call.body.dry_run)
    return ListOf(items=results, next=None)


async def list_audit(call: Call[Cut, Empty]) -> ListOf[AuditOut]:
    page = await call.parts.store.audit(limit=call.query.limit, after=call.query.cursor or None)
    return ListOf(items=[AuditOut.of(entry) for entry in page.items], next=page.next)


async def playground(call: Call[Empty, TrialAsk]) -> PlaygroundResult:
    return await try_out(call.parts.gateway.config, call.body)


V, O = Role.VIEWER, Role.OPERATOR  # noqa: E741 - the table reads better so
OWN, ACCOUNTS = Reach.OWN, Reach.OWN_ACCOUNTS

ENDPOINTS = (
    ApiEndpoint("GET", "/overview", V, show_overview, "How it goes", OWN),
    ApiEndpoint("GET", "/search", V, search, "Any id, e-mail address, amount or text", OWN),
    ApiEndpoint("GET", "/events", V, list_events, "Events in order of arrival", OWN),
    ApiEndpoint("GET", "/events/{id}", V, show_event, "One event and its deliveries", OWN),
    ApiEndpoint("POST", "/events/replay", O, replay_events, "Replay events", OWN),
    ApiEndpoint("GET", "/deliveries", V, list_deliveries, "Deliveries in order of arrival", OWN),
    ApiEndpoint("GET", "/deliveries/{id}", V, show_delivery, "One delivery and its attempts", OWN),
    ApiEndpoint("POST", "/deliveries/retry", O, retry_deliveries, "Retry deliveries", OWN),
    ApiEndpoint("POST", "/deliveries/cancel", O, cancel_deliveries, "Cancel deliveries", OWN),
    ApiEndpoint("POST", "/deliveries/{id}/retry", O, retry_delivery, "Retry one delivery", OWN),
    ApiEndpoint("POST", "/deliveries/{id}/cancel", O, cancel_delivery, "Cancel one delivery", OWN),
    ApiEndpoint("POST", "/deliveries/{id}/approve", O, approve_delivery, "Say yes to one that waits for it", OWN),
    ApiEndpoint("POST", "/deliveries/{id}/refuse", O, refuse_delivery, "Say no: it is cancelled", OWN),
    ApiEndpoint("POST", "/customers/forget", O, forget_customer, "Erase what is kept of a customer"),
    ApiEndpoint("GET", "/jobs", V, list_jobs, "Changes to many", OWN),
    ApiEndpoint("POST", "/jobs", O, start_job, "Retry, cancel or replay all that a filter finds", OWN),
    ApiEndpoint("GET", "/jobs/{id}", V, show_job, "One change to many", OWN),
    ApiEndpoint("POST", "/jobs/{id}/pause", O, pause_job, "Pause it", OWN),
    ApiEndpoint("POST", "/jobs/{id}/resume", O, resume_job, "Go on", OWN),
    ApiEndpoint("POST", "/jobs/{id}/stop", O, stop_job, "End it where it is", OWN),
    ApiEndpoint("GET", "/config", V, show_config, "The configuration in force, secrets masked"),
    ApiEndpoint("GET", "/accounts", V, list_accounts, "What each account sends", ACCOUNTS),
    ApiEndpoint("GET", "/connections", V, list_connections, "How each connection does", OWN),
    ApiEndpoint("POST", "/connections/{name}/pause", O, pause_connection, "Pause one", OWN),
    ApiEndpoint("POST", "/connections/{name}/resume", O, resume_connection, "Resume one", OWN),
    ApiEndpoint("GET", "/routes", V, list_routes, "What each route is for, and how it does", OWN),
    ApiEndpoint("POST", "/routes/{name}/pause", O, pause_route, "Pause one", OWN),
    ApiEndpoint("POST", "/routes/{name}/resume", O, resume_route, "Resume one", OWN),
    ApiEndpoint("GET", "/rejected", V, list_rejected, "Requests that were refused", ACCOUNTS),
    ApiEndpoint("GET", "/rejected/{id}", V, show_rejected, "One of them", ACCOUNTS),
    ApiEndpoint("POST", "/rejected/verify", O, verify_rejected, "Judge them again", ACCOUNTS),
    ApiEndpoint("GET", "/audit", V, list_audit, "Who asked for what"),
    ApiEndpoint("POST", "/playground", V, playground, "What would happen to an event"),
)
