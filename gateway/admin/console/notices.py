"""What came of a form, said on the page that the browser is sent on to: a reload of that page asks nothing again.

The words go along in the address, signed for this session: nobody else's link can put words on a page.
"""

from __future__ import annotations

import hashlib
import hmac
from urllib.parse import quote

from aiohttp import web

from gateway.admin.api.schemas import JobAnswer
from gateway.admin.console.escaping import short
from gateway.admin.console.render import query_string
from gateway.admin.request import person

MOST_CHARACTERS = 500
KINDS = ("said", "refused")


def go_to(path: str, **query: str) -> web.Response:
    """Sends the browser on."""
    return web.Response(status=303, headers={"Location": quote(path, errors="replace") + query_string(query)})


def go_back(request: web.Request, path: str, kind: str, text: str, **query: str) -> web.Response:
    """Sends the browser on to the page about what was changed, with what came of it: `said`, or `refused`."""
    text = short(text, MOST_CHARACTERS)
    return go_to(path, **query, **{kind: text, "signed": _sign(request, kind, text)})


def started(answer: JobAnswer) -> web.Response:
    """Sends the browser on to the page of a change to many."""
    return go_to(f"/jobs/{answer.job.id}" if answer.job else "/jobs")


def notices(request: web.Request) -> dict[str, str | None]:
    """What the page says of the form before it."""
    shown: dict[str, str | None] = dict.fromkeys(KINDS)
    signature = request.query.get("signed", "").encode()
    for kind in KINDS:
        text = request.query.get(kind, "")
        if text and hmac.compare_digest(signature, _sign(request, kind, text).encode()):
            shown[kind] = text
    return shown


def _sign(request: web.Request, kind: str, text: str) -> str:
    message = f"{kind} {text}".encode("utf-8", "replace")
    return hmac.new(person(request).csrf.encode(), message, hashlib.sha256).hexdigest()[:32]
