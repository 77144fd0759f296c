"""The loop that purges old events: in small steps, with rests between, told in one line."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest
import structlog

from gateway.config.schema.store import StoreSettings
from gateway.core.errors import StoreUnavailable
from gateway.delivery.retention import (
    FIRST_SECONDS,
    LONGEST_REST_SECONDS,
    PERIOD_SECONDS,
    REST_SECONDS,
    Retention,
    next_limit,
)
from gateway.store.answers import Purged
from gateway.store.sqlite.store import SqliteStore
from tests.conftest import Clock
from tests.contract.test_store import DEAD, SUCCEEDED, an_event, owed
from tests.contract.test_store_upkeep import end, event_ids

DAY = 86400.0


class Loop:
    """A retention loop whose rests pass at once, until the first long one; `now` is its time."""

    def __init__(self, store: SqliteStore, **settings: Any) -> None:
        self.logged: list[dict[str, Any]] = []
        self.rests: list[float] = []
        self.now = 0.0
        log = structlog.wrap_logger(None, processors=[self._log])
        self.retention = Retention(
            store,
            lambda: StoreSettings(**settings),
            log,
            rng=Random(7),
            sleep=self._sleep,
            monotonic=lambda: self.now,
        )

    def _log(self, logger: Any, method: str, entry: Any) -> Any:
        self.logged.append({key: value for key, value in entry.items() if key != "seconds"})
        raise structlog.DropEvent

    async def _sleep(self, seconds: float) -> None:
        self.rests.append(seconds)
        if seconds > FIRST_SECONDS:
            raise asyncio.CancelledError

    async def run(self) -> None:
        task = asyncio.create_task(self.retention.run())
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()


async def test_one_run_purges_everything_old_and_tells_it_in_one_line(store: SqliteStore, clock: Clock) -> None:
    for i in range(250):
        await store.add(an_event(f"evt_{i}"), [owed()] if i % 50 == 0 else [])
        if i % 50 == 0:
            await end(store, SUCCEEDED)
    clock.forward(91 * DAY)
    await store.add(an_event("evt_new"), [])
    loop = Loop(store)
    await loop.run()
    assert loop.logged == [{"event": "retention.purged", "events": 250, "deliveries": 5, "attempts": 5}]
    assert await event_ids(store) == ["evt_new"]
    assert 0 <= loop.rests[0] <= FIRST_SECONDS
    assert loop.rests[1:-1] == [REST_SECONDS] * 4  # between the steps: of 40, 100, 100 and 10 events, and of free pages
    assert 0.9 * PERIOD_SECONDS <= loop.rests[-1] <= 1.1 * PERIOD_SECONDS


async def test_the_settings_say_how_long_events_and_dead_letters_are_kept(store: SqliteStore, clock: Clock) -> None:
    await store.add(an_event("evt_1"), [owed()])
    await end(store, SUCCEEDED)
    await store.add(an_event("evt_2"), [owed()])
    await end(store, DEAD)
    clock.forward(3 * DAY)
    await Loop(store, retention="2d").run()
    assert await event_ids(store) == ["evt_2"]
    await Loop(store, retention="2d", dead_retention="4d").run()
    assert await event_ids(store) == ["evt_2"]
    clock.forward(2 * DAY)
    await Loop(store, retention="2d", dead_retention="4d").run()
    assert await event_ids(store) == []


async def test_a_store_that_is_away_is_told_and_asked_again_later(store: SqliteStore) -> None:
    loop = Loop(store)

    async def away(**kwargs: object) -> None:
        raise StoreUnavailable("cannot commit: disk full")

    store.purge = away  # type: ignore[method-assign, assignment]
    await loop.run()
    assert loop.logged == [{"event": "retention.failed", "error": "cannot commit: disk full"}]
    assert len(loop.rests) == 2


async def test_a_store_that_is_slow_gets_a_longer_rest(store: SqliteStore, clock: Clock) -> None:
    for i in range(60):
        await store.add(an_event(f"evt_{i}"), [])
    clock.forward(91 * DAY)
    purge = store.purge

    loop = Loop(store)

    async def slowly(**words: Any) -> Purged:
        loop.now += slowness.pop()
        return await purge(**words)

    slowness = [0.0, 5.0, 0.1]
    store.purge = slowly  # type: ignore[method-assign]
    await loop.run()
    assert loop.rests[1:-1] == [pytest.approx(0.45), LONGEST_REST_SECONDS]


def test_a_step_has_about_as_many_rows_whatever_an_event_brought() -> None:
    assert next_limit(Purged(40, 40, 40, 1)) == 93
    assert next_limit(Purged(40, 400, 2000, 1)) == 20
    assert next_limit(Purged(40, 0, 0, 1)) == 100
    assert next_limit(Purged(0, 0, 0, 1)) == 40
