"""What every handler of the admin listener is given, and how one says which role it needs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any
from urllib.parse import quote

from aiohttp import web

from gateway.admin.auth import NOBODY, Access, Person, Role
from gateway.admin.gateway_view import GatewayView
from gateway.admin.live_tail import Tail
from gateway.admin.operations import Operations
from gateway.admin.outbox import Outbox
from gateway.admin.pausing import Actor
from gateway.admin.reports.history import History
from gateway.admin.reports.samples import Samples
from gateway.core.model import Scope
from gateway.store.protocol import Store
from gateway.telemetry.metrics import Metrics

Handle = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class AdminParts:
    """What the admin listener is made of."""

    gateway: GatewayView
    store: Store
    operations: Operations
    access: Access
    metrics: Metrics
    tail: Tail
    history: History
    samples: Samples
    outbox: Outbox | None  # only in `gateway dev`
    scope: Scope | None = None  # whose own part of all this it is; None: it is all


class Reach(Enum):
    """What a token with a scope finds at a route."""

    NOTHING = "nothing"  # refused: it would tell of others, or change what is theirs
    OWN = "own"  # the parts of its scope
    OWN_ACCOUNTS = "own accounts"  # the same, for scopes that name no routes
    NOTHING_OF_ANYBODY = "nothing of anybody"  # the route tells of no event, or by a secret of its own


PARTS = web.AppKey("parts", AdminParts)
SCOPED = web.RequestKey("scoped", AdminParts)
PERSON = web.RequestKey("person", Person)
REQUEST_ID = web.RequestKey("request_id", str)


@dataclass(frozen=True, slots=True)
class Entry:
    """One route of the admin listener."""

    method: str
    path: str
    handle: Handle
    role: Role  # at least
    reach: Reach = Reach.NOTHING
    is_page: bool = True  # errors are pages; else problem+json


def parts(request: web.Request) -> AdminParts:
    """What the application is made of, as whoever asks may see it."""
    scoped: AdminParts | None = request.get(SCOPED)
    return request.app[PARTS] if scoped is None else scoped


def person(request: web.Request) -> Person:
    """Who asks."""
    asker: Person = request.get(PERSON, NOBODY)
    return asker


def actor(request: web.Request) -> Actor:
    """Who asks, from where."""
    asker = person(request)
    return Actor(asker.word, asker.name, request.remote or "unknown", "" if asker.scope is None else asker.scope.name)


def wants_json(request: web.Request) -> bool:
    """Whether an error is told to a program."""
    return request.path.startswith("/api/")


def path_asked(request: web.Request) -> str:
    """The path and query of a request, encoded as they came, fit to stand in a page."""
    return quote(request.rel_url.raw_path_qs, safe="/?=&%")


def asked_from_here(request: web.Request) -> web.Response | None:
    """A page that asks for the same once more, where a link in a mail or a chat led here: browsers then hold a
    SameSite=Strict cookie back, and send it when they come from here. None elsewhere.
    """
    if request.headers.get("Sec-Fetch-Site") != "cross-site":
        return None
    target = path_asked(request)
    page = f'<!doctype html><meta http-equiv="refresh" content="0; url={target}"><title>Gateway</title>'
    return web.Response(text=page, content_type="text/html")


Context = dict[str, Any]
