"""The admin listener's application: every route with the role it needs, who asks, and the headers of every answer."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Awaitable, Callable
from urllib.parse import quote

from aiohttp import web
from aiohttp.typedefs import Handler
from structlog.typing import FilteringBoundLogger

from gateway.admin import console as pages
from gateway.admin.api.endpoints import ENDPOINTS, PREFIX
from gateway.admin.api.openapi import document
from gateway.admin.auth import NAME_CHARACTERS, NOBODY, Person, Role, csrf_is_good
from gateway.admin.console.render import error_page, setup_templates
from gateway.admin.login import COOKIE, SIGN_IN
from gateway.admin.login import ENTRIES as SIGN_IN_ENTRIES
from gateway.admin.problems import PROBLEM_TYPE, Refused, title_of
from gateway.admin.reports import overview
from gateway.admin.request import (
    PARTS,
    PERSON,
    REQUEST_ID,
    SCOPED,
    AdminParts,
    Entry,
    Reach,
    asked_from_here,
    parts,
    path_asked,
    person,
    wants_json,
)
from gateway.admin.scoping.scopes import Scopes
from gateway.core.approval_link import without_links
from gateway.core.errors import StoreError, UsageError, place_of
from gateway.core.model import Scope
from gateway.telemetry.logging import given_request_id
from gateway.telemetry.metrics import CONTENT_TYPE

MAX_BODY = 2 * 1024 * 1024
SAFE_METHODS = ("GET", "HEAD")
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
        " frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
LOG = web.AppKey("log", FilteringBoundLogger)
SCOPES = web.AppKey("scopes", Scopes)


async def _metrics(request: web.Request) -> web.Response:
    admin = parts(request)
    text = await admin.metrics.answer(await overview.scrape(admin), time.time())
    return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE})


async def _openapi(request: web.Request) -> web.Response:
    return web.Response(body=json.dumps(document()).encode(), content_type="application/json")


def entries(admin: AdminParts) -> list[Entry]:
    """Every route there is, and the role that it needs."""
    public = admin.gateway.config.settings.admin.metrics_public
    metrics = Reach.NOTHING_OF_ANYBODY if public else Reach.NOTHING
    return [
        Entry("GET", "/metrics", _metrics, Role.NOBODY if public else Role.VIEWER, metrics, is_page=False),
        Entry("GET", f"{PREFIX}/openapi.json", _openapi, Role.VIEWER, Reach.NOTHING_OF_ANYBODY, is_page=False),
        *(endpoint.entry() for endpoint in ENDPOINTS),
        *SIGN_IN_ENTRIES,
        *pages.entries(with_outbox=admin.outbox is not None),
    ]


def make_app(admin: AdminParts, log: FilteringBoundLogger) -> web.Application:
    """The application. Whoever starts it closes `made.operations.jobs` and `made.tail` before it."""
    app = web.Application(middlewares=[_answers, _guards], client_max_size=MAX_BODY)
    app[PARTS] = admin
    app[LOG] = log
    app[SCOPES] = Scopes(admin, log)
    app.on_shutdown.append(_send_away)
    setup_templates(app)
    for entry in entries(admin):
        app.router.add_route(entry.method, entry.path, _with_role(entry))
    return app


async def _send_away(app: web.Application) -> None:
    await app[SCOPES].close()


def _with_role(entry: Entry) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        asker = person(request)
        if asker.role < entry.role:
            if asker.role is Role.NOBODY:
                return _sign_in_first(request, entry)
            raise Refused(403, "your token may look, not change: sign in with the operator's token")
        if asker.scope is not None:
            _narrow(request, entry.reach, asker.scope)
        return await entry.handle(request)

    return handle


def _narrow(request: web.Request, reach: Reach, scope: Scope) -> None:
    """Gives a handler the parts of a scope. Raises Refused where the route is not for it."""
    if reach is Reach.NOTHING or (reach is Reach.OWN_ACCOUNTS and scope.routes):
        raise Refused(403, f"token {scope.name} has a scope, and this tells of more than is its own")
    if reach is not Reach.NOTHING_OF_ANYBODY:
        request[SCOPED] = request.app[SCOPES].parts(scope)


def _sign_in_first(request: web.Request, entry: Entry) -> web.StreamResponse:
    if not entry.is_page:
        raise Refused(
            401, "send the token, as Authorization: Bearer ...", {"WWW-Authenticate": 'Bearer realm="gateway"'}
        )
    if request.method not in SAFE_METHODS:
        raise Refused(401, "your session has ended; sign in again")
    if (again := asked_from_here(request)) is not None:
        return again
    return web.Response(status=303, headers={"Location": f"{SIGN_IN}?next={quote(path_asked(request), safe='')}"})


# -- who asks -------------------------------------------------------------------------------------------------


@web.middleware
async def _guards(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Finds out who asks, and that a browser was not made to ask by another site."""
    asker, by_cookie = _asker(request)
    request[PERSON] = asker
    if request.method not in SAFE_METHODS:
        if request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
            raise Refused(403, "another site sent this request")
        if by_cookie and request.path != SIGN_IN:  # whoever signs in has no session yet, or wants another
            await _check_csrf(request, asker)
    return await handler(request)


def _asker(request: web.Request) -> tuple[Person, bool]:
    """The person, and whether a cookie spoke for them."""
    access, now = parts(request).access, time.time()
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        address = request.remote or "unknown"
        locked = access.locked_seconds(address, now)
        if locked:
            raise too_many(locked)
        grant = access.grant_of(token.strip(), address, now)
        name = request.headers.get("X-Gateway-User", "")[:NAME_CHARACTERS]
        return (Person(grant.role, name, grant.scope) if grant.role else NOBODY), False
    cookie = request.cookies.get(COOKIE)
    return (access.person_of(cookie, now) if cookie else NOBODY), True


def too_many(seconds: float) -> Refused:
    """The refusal of an address that guesses."""
    wait = int(seconds) + 1
    return Refused(429, f"too many wrong tokens; try again in {wait} s", {"Retry-After": str(wait)})


async def _check_csrf(request: web.Request, asker: Person) -> None:
    if asker.role is Role.NOBODY:
        return  # nothing to misuse: the route's role decides
    token = request.headers.get("X-CSRF-Token")
    if token is None and request.content_type in ("application/x-www-form-urlencoded", "multipart/form-data"):
        value = (await request.post()).get("csrf")
        token = value if isinstance(value, str) else None
    if not csrf_is_good(asker, token):
        raise Refused(403, "the form is not of this session; load the page again")


# -- every answer ---------------------------------------------------------------------------------------------


@web.middleware
async def _answers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns what goes wrong into words, and puts the headers on."""
    request[REQUEST_ID] = given_request_id(request.headers.get("X-Request-Id")) or secrets.token_hex(8)
    try:
        response = await handler(request)
    except Refused as error:
        response = _refusal(request, error)
    except UsageError as error:
        response = _refusal(request, Refused(422, str(error)))
    except StoreError as error:
        request.app[LOG].warning("admin.store_failed", request_id=request[REQUEST_ID], error=str(error))
        response = _refusal(request, Refused(503, str(error), {"Retry-After": "5"}))
    except web.HTTPException as error:
        kept = {name: error.headers[name] for name in ("Allow", "Location") if name in error.headers}
        response = _refusal(request, Refused(error.status, _WORDS.get(error.status, error.reason), kept))
    except Exception as error:
        # Its text could hold a payload: only its type is logged, and where.
        request.app[LOG].error(
            "admin.failed", request_id=request[REQUEST_ID], path=without_links(request.path)[:200],
            error=type(error).__name__, exc_info=False, place=place_of(error),
        )  # fmt: skip
        response = _refusal(request, Refused(500, f"that was our fault; the log has it as {request[REQUEST_ID]}"))
    if not response.prepared:
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        response.headers["X-Request-Id"] = request[REQUEST_ID]
    return response


_WORDS = {
    404: "there is nothing here",
    405: "another method is needed here",
    413: "the request is too large",
}


def _refusal(request: web.Request, error: Refused) -> web.Response:
    if wants_json(request) or request.path == "/metrics":
        problem = {
            "type": "about:blank",
            "title": title_of(error.status),
            "status": error.status,
            "detail": error.detail,
        }
        body = json.dumps(problem).encode()
        return web.Response(status=error.status, body=body, content_type=PROBLEM_TYPE, headers=error.headers)
    return error_page(request, error)
