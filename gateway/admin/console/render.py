"""Pages from templates. Everything printed is escaped and made visible; the files of the page come from the package."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp_jinja2
from aiohttp import web
from jinja2 import PackageLoader, StrictUndefined

from gateway import __version__
from gateway.admin import amounts
from gateway.admin.api.schemas import JobAnswer
from gateway.admin.auth import Role
from gateway.admin.console import escaping as text
from gateway.admin.console.charts import bars, graph, levels
from gateway.admin.console.json_view import folded
from gateway.admin.event_story import after_words
from gateway.admin.problems import Refused, title_of
from gateway.admin.request import parts, person
from gateway.core.model import Scope

_STATIC = Path(__file__).parent / "static"
_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".txt": "text/plain"}
FILES = {path.name: path.read_bytes() for path in sorted(_STATIC.iterdir()) if path.suffix in _TYPES}
_DIGEST = hashlib.sha256(b"".join(FILES.values())).hexdigest()[:10]


FOR_NO_SCOPE = ("/playground", "/config", "/audit")
FOR_ACCOUNTS = ("/accounts", "/rejected")  # alone


def setup_templates(app: web.Application) -> None:
    """Makes an application able to render."""
    environment = aiohttp_jinja2.setup(
        app,
        loader=PackageLoader("gateway.admin.console", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=text.finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["seg"] = lambda value: quote(str(value), safe="", errors="replace")  # one part of a path
    environment.filters.update(
        ago=amounts.ago,
        clock=amounts.clock,
        pretty=text.pretty,
        folded=folded,
        json=lambda value: text.visible(json.dumps(value, ensure_ascii=False, default=str)),
        short=text.short,
        duration=amounts.duration,
        size=amounts.size,
    )
    environment.globals.update(
        bars=bars,
        count="{:,.0f}".format,
        duration=amounts.duration,
        graph=graph,
        levels=levels,
        static=_static_url,
        after=after_words,
        query=query_string,
        version=__version__,
    )


def _static_url(name: str) -> str:
    return f"/static/{name}?v={_DIGEST}"


def query_string(values: Mapping[str, Any], **changes: Any) -> str:
    """`?a=1&b=2` of what is not empty."""
    pairs: list[tuple[str, str]] = []
    for name, value in {**values, **changes}.items():
        for item in value if isinstance(value, (list, tuple)) else [value]:
            if item not in (None, "", []):
                pairs.append((name, str(item)))
    return f"?{urlencode(pairs)}" if pairs else ""


def page(
    request: web.Request, template: str, context: Mapping[str, Any] | None = None, *, status: int = 200
) -> web.Response:
    """A page, or a part of one."""
    asker, admin = person(request), parts(request)
    common: dict[str, Any] = {
        "asker": asker,
        "may_change": asker.role >= Role.OPERATOR,
        "signed_in": asker.role >= Role.VIEWER,
        "csrf": asker.csrf,
        "path": request.path,
        "has_outbox": admin.outbox is not None and asker.scope is None,
        "reload_error": admin.gateway.reload_error if asker.role >= Role.VIEWER and asker.scope is None else None,
        "hidden_pages": _hidden_pages(asker.scope),
    }
    body = aiohttp_jinja2.render_string(template, request, {**common, **(context or {})})
    return web.Response(status=status, text=body, content_type="text/html")


def _hidden_pages(scope: Scope | None) -> tuple[str, ...]:
    """The pages that a scope does not reach: no page links there."""
    return () if scope is None else FOR_NO_SCOPE if not scope.routes else (*FOR_NO_SCOPE, *FOR_ACCOUNTS)


def framed(html: str) -> web.Response:
    """What others wrote as HTML, for a frame of a page: no script, no network, no access to anything of ours."""
    policy = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'"
    headers = {"Content-Security-Policy": policy, "X-Frame-Options": "SAMEORIGIN"}
    return web.Response(text=html, content_type="text/html", headers=headers)


def confirm_page(
    request: web.Request, what: str, noun: str, answer: JobAnswer, filters: Mapping[str, Sequence[str]]
) -> web.Response:
    """Asks before a change to many of a list, `noun`, that the fields in `given` narrow: what it would do."""
    context = {"what": what, "noun": noun, "answer": answer, "given": filters, "back": f"/{noun}", "to": request.path}
    return page(request, "confirm.html", context)


def error_page(request: web.Request, error: Refused) -> web.Response:
    """What went wrong, with a way back."""
    response = page(
        request,
        "error.html",
        {"title": title_of(error.status), "detail": error.detail, "status": error.status},
        status=error.status,
    )
    response.headers.update(error.headers)
    return response


async def static_file(request: web.Request) -> web.Response:
    """One file of the package."""
    name = request.match_info["name"]
    content = FILES.get(name)
    if content is None:
        raise Refused(404, "there is no such file")
    kind = _TYPES[Path(name).suffix]
    caching = "public, max-age=31536000, immutable" if request.query.get("v") == _DIGEST else "no-cache"
    return web.Response(body=content, content_type=kind, charset="utf-8", headers={"Cache-Control": caching})
