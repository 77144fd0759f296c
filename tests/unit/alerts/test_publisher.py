"""Own events are committed once, whichever gateway saw what happened, and again after the store was away."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import structlog

from gateway.alerts.events import account_silent
from gateway.alerts.publisher import Publisher
from gateway.core.errors import StoreUnavailable
from gateway.core.model import Event, EventFilter, PlannedDelivery
from gateway.store.answers import Added
from gateway.store.sqlite.store import SqliteStore
from tests.conftest import Clock

AT = datetime(2026, 11, 24, 3, tzinfo=UTC)
SILENT = account_silent("acme", None, 3600, 3600, AT, 600.0)
ONCE = replace(SILENT, repeated_seconds=None)


def publisher(store: Any, seen: list[str] | None = None, clock: Clock | None = None) -> Publisher:
    seconds = (lambda: clock.now / 1000) if clock is not None else (lambda: 0.0)
    raised = [] if seen is None else seen
    plan = lambda event: (event, [PlannedDelivery("alerts", "tell")])  # noqa: E731
    return Publisher(store, plan, structlog.get_logger(), lambda event: raised.append(event.type), seconds)


async def told(made: Publisher, *owns: Any) -> None:
    """Has them all committed."""
    for own in owns:
        made.put(own)
    made.stop()
    await made.run()


async def count(store: SqliteStore) -> int:
    return len(await store.events(EventFilter(), limit=100))


async def test_two_gateways_that_see_the_same_commit_it_once(store: SqliteStore) -> None:
    seen: list[str] = []
    await asyncio.gather(told(publisher(store, seen), ONCE, SILENT), told(publisher(store, seen), SILENT, ONCE))
    assert await count(store) == 2
    assert seen == ["gateway.account.silent"] * 2


async def test_what_lasts_is_told_again_only_after_its_time(store: SqliteStore, clock: Clock) -> None:
    for seconds, expected in ((0, 1), (300, 1), (299, 1), (1, 2)):
        clock.forward(seconds)
        await told(publisher(store), SILENT)
        assert await count(store) == expected


async def test_a_gateway_remembers_what_it_has_told_and_does_not_ask_the_store_again(
    store: SqliteStore, clock: Clock
) -> None:
    made = publisher(store, clock=clock)
    await told(made, SILENT)
    await store.close()  # asking it would fail, again and again
    await told(made, SILENT)


class Away:
    """A store that is away for the first tries."""

    def __init__(self, store: SqliteStore, tries: int) -> None:
        self._store = store
        self.left = tries

    async def add(self, event: Event, planned: Any) -> Added:
        self.left -= 1
        if self.left >= 0:
            raise StoreUnavailable("the store does not answer")
        return await self._store.add(event, planned)


async def test_what_could_not_be_committed_is_tried_again_until_the_store_is_back(store: SqliteStore) -> None:
    away = Away(store, 2)
    await told(publisher(away), ONCE)
    assert (await count(store), away.left) == (1, -1)
