"""An inbox behind a console's API: `gateway --url https://... --token ... events list`, from a laptop."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Iterator, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec
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
    Result,
)
from gateway.admin.pausing import Actor
from gateway.admin.problems import Refused
from gateway.admin.reports.overview import ConnectionOut
from gateway.cli.main import BadUsage
from gateway.client import ClientError, GatewayClient, PageOf, ProblemError
from gateway.client.records import EventNameRecord
from gateway.core.errors import UsageError

CHUNK = 100  # changed by one request
A = TypeVar("A", bound=BaseModel)
R = TypeVar("R")


class RemoteOperations:
    """Does what `gateway.admin.operations.Operations` does for events and deliveries, by asking a console. Raises
    UsageError; Refused in the console's own words.
    """

    def __init__(self, url: str, token: str, user: str) -> None:
        if urlsplit(url).scheme not in ("http", "https"):
            raise BadUsage("--url: expected the console's address, such as https://gateway.example")
        if not token:
            raise BadUsage("--url needs --token, or GATEWAY_TOKEN")
        self._client = GatewayClient(url, token, user=user)

    async def close(self) -> None:
        """Frees everything."""
        await self._client.close()

    async def events(self, query: EventsQuery, ids: Sequence[str] = ()) -> ListOf[EventOut]:
        """See `Operations`; of single ids, filters other than the account do not narrow."""
        if not ids:
            with self._told():
                return _page(EventOut, await self._client.list_events(**_sent(query)))
        events = [await self.event(event_id, account) for event_id in ids for account in query.account or ("",)]
        return ListOf[EventOut](
            items=[event for several in events for event in several], next=None, searched_until=None
        )

    async def event(self, event_id: str, account: str = "") -> list[EventWhole]:
        """See `Operations`."""
        event = await self._found(self._client.show_event(event_id, account=account or None))
        return [] if event is None else [_of(EventWhole, event)]

    async def deliveries(self, query: DeliveriesQuery, ids: Sequence[str] = ()) -> ListOf[DeliveryOut]:
        """See `Operations`; of single ids, filters other than the state do not narrow."""
        if not ids:
            with self._told():
                return _page(DeliveryOut, await self._client.list_deliveries(**_sent(query)))
        deliveries = [await self.delivery(delivery_id) for delivery_id in ids]
        items = [
            delivery
            for delivery in deliveries
            if delivery is not None and (not query.state or delivery.state in query.state)
        ]
        return ListOf[DeliveryOut](items=items, next=None, searched_until=None)

    async def delivery(self, delivery_id: str) -> DeliveryWhole | None:
        """See `Operations`."""
        delivery = await self._found(self._client.show_delivery(delivery_id))
        return None if delivery is None else _of(DeliveryWhole, delivery)

    async def connections_now(self) -> list[ConnectionOut]:
        """How each connection does."""
        with self._told():
            return [_of(ConnectionOut, connection) for connection in (await self._client.list_connections()).items]

    async def retry(self, actor: Actor, ids: Sequence[str]) -> list[Result]:
        """See `Operations`."""
        with self._told():
            return [
                _of(Result, r) for part in _parts(ids) for r in (await self._client.retry_deliveries(ids=part)).results
            ]

    async def cancel(self, actor: Actor, ids: Sequence[str]) -> list[Result]:
        """See `Operations`."""
        with self._told():
            return [
                _of(Result, r) for part in _parts(ids) for r in (await self._client.cancel_deliveries(ids=part)).results
            ]

    async def answer(self, actor: Actor, delivery_id: str, *, is_yes: bool) -> Result:
        """See `Operations`."""
        answer = self._client.approve_delivery if is_yes else self._client.refuse_delivery
        with self._told():
            await answer(delivery_id)
        return Result(id=delivery_id, done=True, refused=None)

    def check_routes(self, routes: Sequence[str]) -> None:
        """The console checks them."""

    async def replay(
        self, actor: Actor, events: Sequence[EventOut], routes: Sequence[str] = (), *, force: bool, dry_run: bool
    ) -> list[Replayed]:
        """See `Operations`."""
        results: list[Replayed] = []
        for part in _parts([EventNameRecord(id=event.id, account=event.account) for event in events]):
            with self._told():
                answer = await self._client.replay_events(events=part, routes=routes, force=force, dry_run=dry_run)
            results += [_of(Replayed, replayed) for replayed in answer.results]
        for result in results:
            if result.refused is not None:
                result.refused = f"{result.event_id}: {result.refused}"
        return results

    async def _found(self, asked: Awaitable[R]) -> R | None:
        """One thing, or None where there is none."""
        try:
            with self._told():
                return await asked
        except Refused as error:
            if error.status == 404 and "there is no such" in error.detail:
                return None
            raise

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """What the client raises, as commands tell it."""
        try:
            yield
        except ProblemError as error:
            raise Refused(error.status, f"{self._client.url} answered {error.status}: {error.detail}") from None
        except ClientError as error:
            raise UsageError(str(error)) from None


def _of(model: type[A], record: object) -> A:
    return model.model_validate(msgspec.to_builtins(record))


def _page(model: type[A], page: PageOf[Any]) -> ListOf[A]:
    items = [_of(model, item) for item in page.items]
    return ListOf[A](items=items, next=page.next, searched_until=page.searched_until)


def _parts(items: Sequence[R]) -> list[Sequence[R]]:
    return [items[start : start + CHUNK] for start in range(0, len(items), CHUNK)]


def _sent(query: Model) -> dict[str, Any]:
    """The fields that say anything."""
    return query.model_dump(mode="json", exclude_defaults=True)
