"""Why something is not done: the same words for pages, programs (RFC 9457) and the command line."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from pydantic import ValidationError

from gateway.core.errors import UsageError

PROBLEM_TYPE = "application/problem+json"


class Refused(UsageError):  # noqa: N818 - reads as what it is
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


def words_of(error: ValidationError) -> str:
    """Every complaint about a request, in one line."""
    complaints = []
    for detail in error.errors(include_url=False, include_input=False, include_context=False):
        place = ".".join(str(part) for part in detail["loc"])
        complaints.append(f"{place}: {detail['msg']}" if place else detail["msg"])
    return "; ".join(complaints[:20])
