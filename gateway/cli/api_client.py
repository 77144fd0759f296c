"""An inbox behind a console's API: `gateway --url https://... --token ... events list`, from a laptop."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import aiohttp
from pydantic import BaseModel

from gateway.admin.api.schemas import (
    DeliveriesQuery,
    DeliveryOut,
    DeliveryWhole,
    EventOut,
    EventsQuery,
    EventWhole,
    ListOf,
    Model,
    Replayed,
    ReplayedList,
    Result,
    Results,
)
from gateway.admin.pausing import Actor
from gateway.admin.problems import Refused
from gateway.admin.reports.overview import ConnectionOut
from gateway.cli.main import BadUsage
from gateway.core.errors import UsageError

CHUNK = 100  # changed by one request
A = TypeVar("A", bound=BaseModel)


class RemoteOperations:
    """Does what `gateway.admin.operations.Operations` does for events and deliveries, by asking a console."""

    def __init__(self, url: str, token: str) -> None:
        if urlsplit(url).scheme not in ("http", "https"):
            raise BadUsage("--url: expected the console's address, such as https://gateway.example")
        if not token:
            raise BadUsage("--url needs --token, or GATEWAY_TOKEN")
        self._url = url
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {token}"}, timeout=aiohttp.ClientTimeout(total=60)
        )

    async def close(self) -> None:
        """Frees everything."""
        await self._session.close()

    async def _ask(self, answer: type[A], method: str, path: str, **kwargs: Any) -> A:
        """The answer. Raises UsageError; Refused in the console's own words."""
        url = f"{self._url}/api/v1{path}"
        try:
            async with self._session.request(method, url, allow_redirects=False, **kwargs) as response:
                body = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UsageError(f"cannot reach {self._url}: {str(error) or type(error).__name__}") from None
        try:
            if response.status == 200:
                return answer.model_validate_json(body)
            problem = json.loads(body)
        except ValueError:
            raise UsageError(f"{self._url} is no console: it answered {response.status}, and not in JSON") from None
        detail = problem.get("detail", "") if isinstance(problem, dict) else ""
        raise Refused(response.status, f"{self._url} answered {response.status}: {detail}")

    async def _ask_for(self, answer: type[A], path: str, **kwargs: Any) -> A | None:
        """One thing, or None where there is none."""
        try:
            return await self._ask(answer, "GET", path, **kwargs)
        except Refused as error:
            if error.status == 404 and "there is no such" in error.detail:
                return None
            raise

    async def events(self, query: EventsQuery, ids: Sequence[str] = ()) -> ListOf[EventOut]:
        """See `Operations`; of single ids, filters other than the account do not narrow."""
        if not ids:
            return await self._ask(ListOf[EventOut], "GET", "/events", params=_params(query))
        events = [await self.event(event_id, account) for event_id in ids for account in query.account or ("",)]
        return ListOf[EventOut](
            items=[event for several in events for event in several], next=None, searched_until=None
        )

    async def event(self, event_id: str, account: str = "") -> list[EventWhole]:
        """See `Operations`."""
        params = {"account": account} if account else {}
        event = await self._ask_for(EventWhole, f"/events/{quote(event_id, safe='')}", params=params)
        return [] if event is None else [event]

    async def deliveries(self, query: DeliveriesQuery, ids: Sequence[str] = ()) -> ListOf[DeliveryOut]:
        """See `Operations`; of single ids, filters other than the state do not narrow."""
        if not ids:
            return await self._ask(ListOf[DeliveryOut], "GET", "/deliveries", params=_params(query))
        deliveries = [await self.delivery(delivery_id) for delivery_id in ids]
        items = [
            delivery
            for delivery in deliveries
            if delivery is not None and (not query.state or delivery.state in query.state)
        ]
        return ListOf[DeliveryOut](items=items, next=None, searched_until=None)

    async def delivery(self, delivery_id: str) -> DeliveryWhole | None:
        """See `Operations`."""
        return await self._ask_for(DeliveryWhole, f"/deliveries/{quote(delivery_id, safe='')}")

    async def connections_now(self) -> list[ConnectionOut]:
        """How each connection does."""
        return (await self._ask(ListOf[ConnectionOut], "GET", "/connections")).items

    async def retry(self, actor: Actor, ids: Sequence[str]) -> list[Result]:
        """See `Operations`."""
        return await self._change("retry", actor, ids)

    async def cancel(self, actor: Actor, ids: Sequence[str]) -> list[Result]:
        """See `Operations`."""
        return await self._change("cancel", actor, ids)

    async def answer(self, actor: Actor, delivery_id: str, *, is_yes: bool) -> Result:
        """See `Operations`."""
        path = f"/deliveries/{quote(delivery_id, safe='')}/{'approve' if is_yes else 'refuse'}"
        await self._post(DeliveryWhole, path, actor, {})
        return Result(id=delivery_id, done=True, refused=None)

    async def _change(self, what: str, actor: Actor, ids: Sequence[str]) -> list[Result]:
        results: list[Result] = []
        for start in range(0, len(ids), CHUNK):
            ask = {"ids": list(ids[start : start + CHUNK])}
            results += (await self._post(Results, f"/deliveries/{what}", actor, ask)).results
        return results

    def check_routes(self, routes: Sequence[str]) -> None:
        """The console checks them."""

    async def replay(
        self, actor: Actor, events: Sequence[EventOut], routes: Sequence[str] = (), *, force: bool, dry_run: bool
    ) -> list[Replayed]:
        """See `Operations`."""
        results: list[Replayed] = []
        for start in range(0, len(events), CHUNK):
            named = [{"id": event.id, "account": event.account} for event in events[start : start + CHUNK]]
            ask = {"events": named, "routes": list(routes), "force": force, "dry_run": dry_run}
            results += (await self._post(ReplayedList, "/events/replay", actor, ask)).results
        for result in results:
            if result.refused is not None:
                result.refused = f"{result.event_id}: {result.refused}"
        return results

    async def _post(self, answer: type[A], path: str, actor: Actor, ask: dict[str, Any]) -> A:
        return await self._ask(answer, "POST", path, json=ask, headers={"X-Gateway-User": actor.name})


def _params(query: Model) -> list[tuple[str, str]]:
    """The fields that say anything, lists as repeated names."""
    pairs = []
    for name, value in query.model_dump(mode="json", exclude_defaults=True).items():
        for word in value if isinstance(value, list) else [value]:
            pairs.append((name, word if isinstance(word, str) else json.dumps(word)))
    return pairs
