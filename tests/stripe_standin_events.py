"""The events of the stand-in for Stripe's API: /v1/events and /v2/core/events, as Stripe documents them."""

from __future__ import annotations

import bisect
import itertools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

KEPT_SECONDS = 30 * 86400


@dataclass(frozen=True)
class Request:
    """What was asked."""

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: Mapping[str, str]
    form: list[tuple[str, str]]


class StripeError(Exception):
    """Stripe's JSON form of an error."""

    def __init__(self, status: int, message: str, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        kind = "api_error" if status >= 500 else "invalid_request_error"
        more = {"code": code, "param": param}
        self.error = {"message": message, "type": kind, **{k: v for k, v in more.items() if v is not None}}


class EventLists:
    """Events by account, the oldest first; account "" is the platform."""

    def __init__(self) -> None:
        self.events: dict[str, list[dict[str, Any]]] = {"": []}  # by account, the oldest first
        self.thin: dict[str, list[dict[str, Any]]] = {}  # thin ones, the oldest first
        self.clock: Callable[[], float] | None = None  # set: events of more than 30 days ago are gone
        self.undelivered: set[str] = set()  # ids of events

    def add_event(self, event: dict[str, Any], *, account: str = "", delivered: bool = True) -> None:
        """Makes an event; of one second, those made later are newer."""
        if event["object"] == "v2.core.event":
            self.thin.setdefault(account, []).append(event)
            return
        events = self.events.setdefault(account, [])
        events.insert(place_of(events, event["created"] + 1), event)
        if not delivered:
            self.undelivered.add(event["id"])

    def list_events(self, asked: Request, account: str) -> dict[str, Any]:
        """The newest first, and among those of one second the one that was made last."""
        query = dict(asked.query)
        types = values(asked.query, "types")
        if types and "type" in query:
            raise StripeError(400, "You may pass either `type` or `types`, but not both.")
        if len(types) > 20:
            raise StripeError(400, "You may pass at most 20 types.", None, "types")
        if query.get("delivery_success", "true") not in ("true", "false"):
            raise StripeError(400, "Invalid boolean", "parameter_invalid_boolean", "delivery_success")
        events = self._kept(account)
        low, high = 0, len(events)
        for name, value in created_bounds(asked.query).items():
            at = int(value)
            low = max(low, place_of(events, at + (name == "gt"))) if name in ("gt", "gte", "") else low
            high = min(high, place_of(events, at + (name in ("lte", "")))) if name in ("lt", "lte", "") else high
        pattern = re.compile(re.escape(query.get("type", "*")).replace(r"\*", ".*"))
        undelivered = query.get("delivery_success")

        def wanted(event: dict[str, Any]) -> bool:
            if not pattern.fullmatch(event["type"]) or (types and event["type"] not in types):
                return False
            return undelivered is None or (undelivered == "false") == (event["id"] in self.undelivered)

        limit = limit_of(query)
        if "ending_before" in query:
            place = self._cursor(account, query["ending_before"], "ending_before")
            found = list(itertools.islice(filter(wanted, events[max(low, place + 1) : high]), limit + 1))
            data, more = found[:limit][::-1], len(found) > limit
        else:
            if "starting_after" in query:
                high = min(high, self._cursor(account, query["starting_after"], "starting_after"))
            found = list(itertools.islice(filter(wanted, reversed(events[low:high])), limit + 1))
            data, more = found[:limit], len(found) > limit
        return {"object": "list", "url": "/v1/events", "has_more": more, "data": data}

    def list_thin_events(self, asked: Request, account: str) -> dict[str, Any]:
        """Events of API v2: pages have addresses. https://docs.stripe.com/api/v2/core/events/list"""
        query = dict(asked.query)
        types = values(asked.query, "types")
        found = [event for event in self.thin.get(account, []) if not types or event["type"] in types]
        compare = {"gt": str.__gt__, "gte": str.__ge__, "lt": str.__lt__, "lte": str.__le__}
        for name, value in created_bounds(asked.query).items():
            found = [event for event in found if compare[name](event["created"][:19], value[:19])]
        start, limit = int(query.get("page", "0")), limit_of(query)
        more = urlencode([(k, v) for k, v in asked.query if k != "page"] + [("page", str(start + limit))])
        return {
            "data": found[::-1][start : start + limit],
            "next_page_url": f"{asked.path}?{more}" if start + limit < len(found) else None,
            "previous_page_url": None,
        }

    def _kept(self, account: str) -> list[dict[str, Any]]:
        """An account's events, the oldest first, without those of more than 30 days ago."""
        events = self.events.get(account, [])
        if self.clock is not None:
            del events[: place_of(events, int(self.clock() - KEPT_SECONDS))]
        return events

    def _cursor(self, account: str, event_id: str, param: str) -> int:
        """A cursor is the place of an event in the list, whether or not the filters want that event."""
        for place, event in enumerate(self.events.get(account, [])):
            if event["id"] == event_id:
                return place
        raise StripeError(400, f"No such event: '{event_id}'", "resource_missing", param)


def place_of(events: list[dict[str, Any]], created: int) -> int:
    """How many events were made before that second."""
    return bisect.bisect_left(events, created, key=lambda event: int(event["created"]))


def created_bounds(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The bounds in `created`: by gt, gte, lt, lte, or the one second, by nothing."""
    found = {}
    for key, value in pairs:
        if match := re.fullmatch(r"created(?:\[(gt|gte|lt|lte)\])?", key):
            found[match[1] or ""] = value
    return found


def limit_of(query: Mapping[str, str]) -> int:
    limit = int(query.get("limit", "10"))
    if not 1 <= limit <= 100:
        raise StripeError(400, "Limit must be between 1 and 100", "parameter_invalid_integer", "limit")
    return limit


def values(pairs: Iterable[tuple[str, str]], name: str) -> list[str]:
    """The values of an array parameter: name[]=a or name[0]=a."""
    return [value for key, value in pairs if re.fullmatch(rf"{name}\[\d*\]", key)]
