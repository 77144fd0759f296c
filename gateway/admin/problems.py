"""Errors of the admin listener: problem+json (RFC 9457) for programs; the same words for pages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import web
from pydantic import ValidationError

PROBLEM_TYPE = "application/problem+json"


class Refused(Exception):  # noqa: N818 - reads as what it is
    """A request that is not done, and why."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})


def title_of(status: int) -> str:
    """`Not Found` of 404."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """The answer."""
    body = {"type": "about:blank", "title": title_of(status), "status": status, "detail": detail}
    return web.Response(status=status, body=json.dumps(body).encode(), content_type=PROBLEM_TYPE, headers=headers)


def words_of(error: ValidationError) -> str:
    """Every complaint about a request, in one line."""
    told = []
    for one in error.errors(include_url=False, include_input=False, include_context=False):
        place = ".".join(str(part) for part in one["loc"])
        told.append(f"{place}: {one['msg']}" if place else one["msg"])
    return "; ".join(told[:20])
