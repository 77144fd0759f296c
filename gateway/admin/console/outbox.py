"""What `gateway dev` caught: mails as they look, forwards, Slack messages."""

from __future__ import annotations

from aiohttp import web

from gateway.admin.console.render import framed, page
from gateway.admin.outbox import Caught
from gateway.admin.problems import Refused
from gateway.admin.request import parts


def _caught(request: web.Request) -> Caught:
    outbox = parts(request).outbox
    number = request.match_info["number"]
    caught = outbox.get(int(number)) if outbox is not None and len(number) < 12 else None
    if caught is None:
        raise Refused(404, "there is no such thing in the outbox any more")
    return caught


async def listed(request: web.Request) -> web.StreamResponse:
    """The newest first."""
    outbox = parts(request).outbox
    return page(request, "outbox.html", {"caught": outbox.all() if outbox is not None else ()})


async def show(request: web.Request) -> web.StreamResponse:
    """One."""
    return page(request, "caught.html", {"it": _caught(request)})


async def html(request: web.Request) -> web.StreamResponse:
    """A mail's HTML for its frame: no script, no network, no access to anything of ours."""
    return framed(_caught(request).html)
