"""An inbox behind a console's API: `gateway --url https://... --token ... events list`, from a laptop."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp

from gateway.cli.inbox import Asked, who
from gateway.cli.main import BadUsage
from gateway.core.errors import UsageError
from gateway.core.model import (
    DONE,
    Attempt,
    AttemptOutcome,
    ChangeResult,
    Delivery,
    DeliveryState,
    Event,
    EventFilter,
    EventState,
    Refusal,
)

PAGE = 500
CHUNK = 100  # changed by one request


class RemoteInbox:
    """See `gateway.cli.inbox.Inbox`."""

    def __init__(self, url: str, token: str) -> None:
        if urlsplit(url).scheme not in ("http", "https"):
            raise BadUsage("--url: expected the console's address, such as https://gateway.example")
        if not token:
            raise BadUsage("--url needs --token, or GATEWAY_TOKEN")
        self._url = url
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {token}", "X-Gateway-User": who()},
            timeout=aiohttp.ClientTimeout(total=60),
        )

    async def close(self) -> None:
        """Frees everything."""
        await self._session.close()

    async def _ask(self, method: str, path: str, *, missing_is_none: bool = False, **kwargs: Any) -> Any:
        """The answer's JSON. Raises UsageError in the console's own words."""
        url = f"{self._url}/api/v1{path}"
        try:
            async with self._session.request(method, url, allow_redirects=False, **kwargs) as response:
                body = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UsageError(f"cannot reach {self._url}: {str(error) or type(error).__name__}") from None
        if response.status == 404 and missing_is_none and b"there is no such" in body:
            return None
        try:
            answer = json.loads(body)
        except ValueError:
            raise UsageError(f"{self._url} is no console: it answered {response.status}, and not in JSON") from None
        if response.status != 200:
            detail = answer.get("detail", "") if isinstance(answer, dict) else ""
            raise UsageError(f"{self._url} answered {response.status}: {detail}")
        return answer

    async def _pages(
        self, path: str, query: list[tuple[str, str]], limit: int, newest_first: bool
    ) -> AsyncIterator[dict[str, Any]]:
        cursor, left = "", limit
        while left > 0:
            more = [("limit", str(min(PAGE, left))), ("oldest_first", "false" if newest_first else "true")]
            if cursor:
                more.append(("cursor", cursor))
            page = await self._ask("GET", path, params=[*query, *more])
            for item in page["items"]:
                yield item
            left -= len(page["items"])
            cursor = page["next"]
            if cursor is None:
                return

    # -- events -----------------------------------------------------------------------------------------------

    async def events(self, where: EventFilter, *, limit: int, newest_first: bool = True) -> list[Event]:
        if where.ids:
            found = [await self.event(one, account) for one in where.ids for account in where.accounts or (None,)]
            return [event for several in found for event in several][:limit]
        query = [("account", one) for one in where.accounts] + [("type", one) for one in where.types]
        query += [("state", one) for one in where.states] + _times(where.since, where.until)
        query += [("object", where.object_id)] if where.object_id else []
        return [_event(one) async for one in self._pages("/events", query, limit, newest_first)]

    async def event(self, event_id: str, account: str | None) -> list[Event]:
        params = {"account": account} if account else {}
        found = await self._ask("GET", f"/events/{quote(event_id, safe='')}", params=params, missing_is_none=True)
        return [] if found is None else [_event(found)]

    # -- deliveries -------------------------------------------------------------------------------------------

    async def deliveries(self, asked: Asked, *, limit: int, newest_first: bool = True) -> list[Delivery]:
        where = asked.where
        if where.ids:
            several = [await self.delivery(one) for one in where.ids]
            return [one[0] for one in several if one and (not where.states or one[0].state in where.states)][:limit]
        query = [("state", one) for one in where.states] + [("route", one) for one in where.routes]
        query += [("action", one) for one in where.actions] + [("account", one) for one in where.accounts]
        query += [("connection", one) for one in asked.connections] + [("event", one) for one in where.event_ids]
        query += _times(where.since, where.until)
        return [_delivery(one) async for one in self._pages("/deliveries", query, limit, newest_first)]

    async def delivery(self, delivery_id: str) -> tuple[Delivery, list[Attempt]] | None:
        found = await self._ask("GET", f"/deliveries/{quote(delivery_id, safe='')}", missing_is_none=True)
        if found is None:
            return None
        return _delivery(found), [_attempt(one) for one in found["history"]]

    async def retry(self, ids: Sequence[str]) -> dict[str, ChangeResult]:
        return await self._change("retry", ids)

    async def cancel(self, ids: Sequence[str]) -> dict[str, ChangeResult]:
        return await self._change("cancel", ids)

    async def _change(self, what: str, ids: Sequence[str]) -> dict[str, ChangeResult]:
        done: dict[str, ChangeResult] = {}
        for start in range(0, len(ids), CHUNK):
            answer = await self._ask("POST", f"/deliveries/{what}", json={"ids": list(ids[start : start + CHUNK])})
            results = answer["results"]
            done.update({row["id"]: DONE if row["refused"] is None else Refusal(row["refused"]) for row in results})
        return done

    # -- replays ----------------------------------------------------------------------------------------------

    async def check_routes(self, routes: Sequence[str]) -> None:
        """The console checks them."""

    async def replay(
        self, events: Sequence[Event], routes: Sequence[str], *, force: bool, dry_run: bool
    ) -> list[dict[str, Any]]:
        done: list[dict[str, Any]] = []
        for start in range(0, len(events), CHUNK):
            named = [{"id": event.id, "account": event.account} for event in events[start : start + CHUNK]]
            ask = {"events": named, "routes": list(routes), "force": force, "dry_run": dry_run}
            answer = await self._ask("POST", "/events/replay", json=ask)
            for one in answer["results"]:
                if one["refused"]:
                    raise UsageError(f"{one['event_id']}: {one['refused']}")
                done.append({key: one[key] for key in ("event_id", "type", "owed", "deliveries")})
        return done


def _times(since: datetime | None, until: datetime | None) -> list[tuple[str, str]]:
    return [(name, at.isoformat()) for name, at in (("since", since), ("until", until)) if at is not None]


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _event(found: dict[str, Any]) -> Event:
    return Event(
        account=found["account"],
        id=found["id"],
        type=found["type"],
        state=EventState(found["state"]),
        livemode=found["livemode"],
        received_at=datetime.fromisoformat(found["received_at"]),
        body=json.dumps(found["body"]).encode() if "body" in found else b"",
        created_at=_moment(found["created_at"]),
        connected_account=found["connected_account"],
        object_id=found["object_id"],
        source=found["source"],
        api_version=found["api_version"],
        written_for=found["written_for"],
    )


def _delivery(found: dict[str, Any]) -> Delivery:
    return Delivery(
        id=found["id"],
        event_id=found["event_id"],
        account=found["account"],
        event_type=found["type"],
        route=found["route"],
        action=found["action"],
        run_id="",
        needs=tuple(found["needs"]),
        state=DeliveryState(found["state"]),
        attempts=found["attempts"],
        created_at=datetime.fromisoformat(found["created_at"]),
        next_attempt_at=_moment(found["next_attempt_at"]),
        finished_at=_moment(found["finished_at"]),
        reason=found["reason"],
        last_error=found["last_error"],
        is_judged=True,
        waits_for_turn=found["waits_for_turn"],
        rendered=found.get("rendered"),
        output=found.get("output"),
    )


def _attempt(found: dict[str, Any]) -> Attempt:
    return Attempt(
        number=found["number"],
        started_at=datetime.fromisoformat(found["started_at"]),
        duration_seconds=found["duration_seconds"],
        outcome=AttemptOutcome(found["outcome"]),
        error=found["error"],
    )
