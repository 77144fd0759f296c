"""Rejected requests on their way to the store: bounded, fair, and never waited for."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import structlog
from structlog.testing import capture_logs

from gateway.core.errors import StoreUnavailable
from gateway.core.model import RejectedBounds, RejectedFilter, RejectedRequest
from gateway.intake import rejected as module
from gateway.intake.rejected import MOST_BYTES_IN_A_WRITE, MOST_IN_A_WRITE, RejectedBatch, Rejections
from gateway.store.sqlite.store import SqliteStore
from tests.contract.test_rejected import BOUNDS, a_rejected
from tests.waiting import until


def addresses(requests: Sequence[RejectedRequest]) -> Counter[str]:
    return Counter(one.address for one in requests)


def test_a_write_holds_at_most_so_many() -> None:
    waiting = RejectedBatch()
    kept = [waiting.put(a_rejected(f"rej_{i}")) for i in range(1000)]
    assert sum(kept) == MOST_IN_A_WRITE
    assert len(waiting.take()) == MOST_IN_A_WRITE
    assert not waiting


def test_a_write_holds_at_most_so_much_or_one_request() -> None:
    waiting = RejectedBatch()
    large = a_rejected("rej_1", size=MOST_BYTES_IN_A_WRITE * 3)
    assert waiting.put(large)
    assert not waiting.put(a_rejected("rej_2", size=1))
    assert waiting.take() == [large]


def test_an_address_that_floods_makes_room_for_another() -> None:
    waiting = RejectedBatch()
    for i in range(500):
        waiting.put(a_rejected(f"rej_flood_{i}", "203.0.113.9"))
    assert all(waiting.put(a_rejected(f"rej_{i}", "192.0.2.1")) for i in range(20))
    for i in range(500):
        waiting.put(a_rejected(f"rej_again_{i}", "203.0.113.9"))
    assert addresses(waiting.take()) == {"203.0.113.9": 30, "192.0.2.1": 20}


def test_what_is_taken_is_in_order_of_arrival() -> None:
    waiting = RejectedBatch()
    arrived = [
        replace(a_rejected(f"rej_{i}", f"192.0.2.{i % 3}"), received_at=datetime.fromtimestamp(i, UTC))
        for i in range(9)
    ]
    for one in arrived:
        waiting.put(one)
    assert waiting.take() == arrived


def rejections(store: SqliteStore, bounds: RejectedBounds = BOUNDS, write_seconds: float = 0.01) -> Rejections:
    return Rejections(store, lambda: bounds, structlog.get_logger(), write_seconds)


async def kept(store: SqliteStore) -> int:
    return len(await store.rejected(RejectedFilter(), limit=10_000))


async def nothing_kept(store: SqliteStore) -> bool:
    return not await kept(store)


async def until_kept(store: SqliteStore, count: int) -> None:

    async def are_kept() -> bool:
        return await kept(store) >= count

    await until(are_kept)


async def test_what_is_put_is_kept_soon_again_and_again(store: SqliteStore) -> None:
    keeper = rejections(store)
    running = asyncio.create_task(keeper.run())
    keeper.put(a_rejected("rej_1"))
    await until_kept(store, 1)
    keeper.put(a_rejected("rej_2"))
    await until_kept(store, 2)
    keeper.stop()
    await running


async def test_what_waits_at_the_end_is_kept(store: SqliteStore) -> None:
    keeper = rejections(store, write_seconds=3600)
    running = asyncio.create_task(keeper.run())
    keeper.put(a_rejected("rej_1"))
    await asyncio.sleep(0)
    keeper.put(a_rejected("rej_2"))
    keeper.stop()
    await running
    assert await kept(store) == 2


async def test_a_flood_makes_one_small_write(store: SqliteStore) -> None:
    keeper = rejections(store, write_seconds=3600)
    running = asyncio.create_task(keeper.run())
    for i in range(100_000):
        keeper.put(a_rejected(f"rej_{i}"))
    keeper.stop()
    await running
    assert await kept(store) == MOST_IN_A_WRITE
    assert keeper.overlooked == 100_000 - MOST_IN_A_WRITE


async def test_where_none_is_to_be_kept_what_was_kept_goes(store: SqliteStore) -> None:
    await store.keep_rejected([a_rejected("rej_1")], BOUNDS)
    keeper = rejections(store, replace(BOUNDS, requests=0))
    running = asyncio.create_task(keeper.run())
    keeper.put(a_rejected("rej_2"))
    keeper.stop()
    await running
    assert await kept(store) == 0


async def test_what_is_too_old_goes_without_anything_new(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AGE_SECONDS", 0.01)
    old = replace(a_rejected("rej_1"), received_at=a_rejected("").received_at - timedelta(hours=2))
    keeper = rejections(store)
    running = asyncio.create_task(keeper.run())
    await store.keep_rejected([old], replace(BOUNDS, age_seconds=1e9))
    await until(lambda: nothing_kept(store))
    keeper.stop()
    await running


async def test_a_store_that_is_away_costs_the_requests_and_nothing_else(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(requests: Sequence[RejectedRequest], bounds: RejectedBounds) -> int:
        raise StoreUnavailable("the disk is full")

    keeper = rejections(store)
    with capture_logs() as log:
        with monkeypatch.context() as patch:
            patch.setattr(store, "keep_rejected", away)
            running = asyncio.create_task(keeper.run())
            keeper.put(a_rejected("rej_1"))
            await until(lambda: log)
        keeper.put(a_rejected("rej_2"))
        await until_kept(store, 1)
        keeper.stop()
        await running
    assert log == [{"event": "rejected.not_kept", "error": "the disk is full", "log_level": "warning"}]
