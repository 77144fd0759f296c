"""Signing in and out: a token for a cookie."""

from __future__ import annotations

import time

from aiohttp import web

from gateway.admin.auth import SESSION_SECONDS, Grant, Role
from gateway.admin.console.render import page
from gateway.admin.problems import Refused
from gateway.admin.request import Entry, Reach, parts, person

COOKIE = "gateway_session"
SIGN_IN = "/sign-in"


def _next(target: object) -> str:
    """A path of ours to go on to, never another site's."""
    if (
        isinstance(target, str)
        and target.startswith("/")
        and not target.startswith(("//", "/\\"))
        and target.isprintable()
    ):
        return target
    return "/"


async def show(request: web.Request) -> web.StreamResponse:
    """The form."""
    return page(request, "sign_in.html", {"next": _next(request.query.get("next")), "wrong": None})


async def sign_in(request: web.Request) -> web.StreamResponse:
    """Takes a token, gives a cookie."""
    access, now, address = parts(request).access, time.time(), request.remote or "unknown"
    form = await request.post()
    token, name, next_ = form.get("token"), form.get("name"), _next(form.get("next"))
    locked = access.locked_seconds(address, now)
    grant = Grant(Role.NOBODY)
    if not locked and isinstance(token, str) and token:
        grant = access.grant_of(token.strip(), address, now)
        locked = access.locked_seconds(address, now)
    if grant.role is Role.NOBODY:
        wrong = f"Too many wrong tokens. Try again in {int(locked) + 1} s." if locked else "That token is nobody's."
        response = page(request, "sign_in.html", {"next": next_, "wrong": wrong}, status=429 if locked else 401)
        if locked:
            response.headers["Retry-After"] = str(int(locked) + 1)
        return response
    answer = web.Response(status=303, headers={"Location": next_})
    answer.set_cookie(
        COOKIE,
        access.cookie(grant, name.strip() if isinstance(name, str) else "", now),
        max_age=int(SESSION_SECONDS),
        path="/",
        httponly=True,
        samesite="Strict",
        secure=request.secure or request.headers.get("X-Forwarded-Proto", "").lower() == "https",
    )
    return answer


async def sign_out(request: web.Request) -> web.StreamResponse:
    """Ends the session."""
    if person(request).role is Role.NOBODY:
        raise Refused(401, "you are not signed in")
    parts(request).access.end(person(request), time.time())
    answer = web.Response(status=303, headers={"Location": SIGN_IN})
    answer.del_cookie(COOKIE, path="/")
    return answer


ENTRIES = (
    Entry("GET", SIGN_IN, show, Role.NOBODY, Reach.NOTHING_OF_ANYBODY),
    Entry("POST", SIGN_IN, sign_in, Role.NOBODY, Reach.NOTHING_OF_ANYBODY),
    Entry("POST", "/sign-out", sign_out, Role.VIEWER, Reach.NOTHING_OF_ANYBODY),
)
