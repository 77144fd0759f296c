"""A flood of 100,000 deliveries hardly delays a fresh event of another account or route, on any store."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from aiohttp import web

from gateway.store import open_store
from gateway.store.protocol import Store
from tests.http_service import Serve
from tests.shop import Shop, shop_on

FLOOD = 100_000


@pytest.fixture
def store(store_url: str, tmp_path: Path) -> Store:
    """Not started; by the real clock."""
    return open_store(store_url, tmp_path)


@pytest.fixture
async def shop(tmp_path: Path, store: Store, serve: Serve) -> AsyncIterator[Shop]:
    await store.start()
    async with shop_on(tmp_path, store, serve) as made:
        yield made
    await store.close()


@pytest.mark.parametrize(
    ("account", "route"), [("other", "flood"), ("acme", "fresh")], ids=["another account", "another route"]
)
async def test_a_flood_delays_anothers_fresh_event_by_few_others(shop: Shop, account: str, route: str) -> None:
    async def short(request: web.BaseRequest) -> web.Response:
        await asyncio.sleep(0.02)
        return web.Response()

    shop.service.answer = short
    for part in range(FLOOD // 1000):  # one after another: a commit of all of them would take long
        await shop.add(1, *["a"] * 1000, name=f"flood{part}")
    shop.start("concurrency: 2")
    await shop.until(lambda: some(shop.service.times))
    before = []
    for i in range(7):
        asked = len(shop.service.events)
        await shop.add(1, route=route, account=account, name=f"fresh{i}")
        await shop.until(lambda i=i: some([id for id in shop.service.events if id == f"evt_fresh{i}_0"]))  # type: ignore[misc]
        before.append(shop.service.events.index(f"evt_fresh{i}_0") - asked)
    print(f"{before} others before it")
    assert statistics.median(before) < 50  # of the flood; it takes a hundred a second at most
    assert (await shop.store.counts())["pending"] > FLOOD * 0.9  # the flood was still on


async def some(found: Sequence[object]) -> bool:
    return bool(found)
