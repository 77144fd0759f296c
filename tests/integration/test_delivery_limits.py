"""A worker on a real SQLite inbox, against an HTTP service that fails, asks to wait, is slow, or is flooded."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gateway.core.errors import StoreUnavailable
from gateway.core.model import ConnectionChange, ConnectionState, ConnectionStatus, DeliveryFilter
from gateway.delivery import leases, worker
from gateway.delivery.circuit_breaker import paused_by_hand, resumed
from gateway.delivery.fair_share import Limit
from gateway.store.sqlite.store import SqliteStore
from tests.http_service import Serve
from tests.shop import Shop, down, ok, one_of_two_probes, shop_on


@pytest.fixture
async def shop(tmp_path: Path, serve: Serve) -> AsyncIterator[Shop]:
    store = SqliteStore(tmp_path / "inbox.db")
    await store.start()
    async with shop_on(tmp_path, store, serve) as made:
        yield made
    await store.close()


async def attempts(shop: Shop) -> int:
    return sum(one.attempts for one in await shop.store.deliveries(DeliveryFilter(), limit=10_000))


async def test_a_failing_connection_is_paused_keeps_its_backlog_and_recovers_by_itself(shop: Shop) -> None:
    shop.service.answer = down
    await shop.add(100)
    shop.start("concurrency: 4, breaker: {failures: 5, pause: 2s, max: 2s}")
    await shop.until_state(ConnectionState.PAUSED)
    await shop.until_none_runs()
    before_a_probe = [at for at in shop.service.times if at < shop.service.times[4] + 1.9]
    assert 5 <= len(before_a_probe) <= 5 + 3  # five, and those under way beside
    shop.service.answer = ok
    await shop.until_done()
    assert (await shop.store.counts())["succeeded"] == 100
    assert await attempts(shop) <= 130
    assert shop.events_logged() == ["connection.paused", "connection.recovered"]
    assert [(one.after.state, one.is_own) for one in shop.changes] == [
        (ConnectionState.PAUSED, True),
        (ConnectionState.WORKING, True),
    ]
    assert shop.changes[0].after.reason == "5 failures in a row, the last: answered 500: down"


async def test_while_it_is_down_only_probes_reach_it_one_at_a_time(shop: Shop) -> None:
    shop.service.answer = down
    await shop.add(50, "a", "b", "c")
    shop.start("concurrency: 4, breaker: {failures: 3, pause: 50ms, max: 50ms}")
    await shop.until_state(ConnectionState.PAUSED)
    await shop.until_none_runs()
    before, shop.service.most_at_once = len(shop.service.times), 0
    await shop.until(lambda: len(shop.service.times) >= before + 5)
    assert shop.service.most_at_once == 1
    gaps = [b - a for a, b in zip(shop.service.times[before:], shop.service.times[before + 1 :], strict=False)]
    assert min(gaps) >= 0.045
    assert shop.events_logged() == ["connection.paused"]


async def test_retry_after_pauses_the_whole_connection(shop: Shop) -> None:
    async def busy(request: web.BaseRequest) -> web.Response:
        shop.service.answer = ok
        return web.Response(status=429, headers={"Retry-After": "1"})

    shop.service.answer = busy
    await shop.add(20, "a", "b")
    shop.start("concurrency: 1, breaker: false")
    await shop.until_state(ConnectionState.PAUSED)
    first = shop.service.times[0]
    await shop.until_done()
    assert [at for at in shop.service.times if 0 < at - first < 0.95] == []
    assert shop.events_logged() == ["connection.paused", "connection.recovered"]


async def test_gone_pauses_until_a_person_resumes_also_after_a_restart(shop: Shop) -> None:
    async def gone(request: web.BaseRequest) -> web.Response:
        return web.Response(status=410)

    shop.service.answer = gone
    await shop.add(10)
    shop.start("concurrency: 1")
    await shop.until_state(ConnectionState.PAUSED)
    await shop.stop()
    assert (await shop.status()).until is None
    shop.service.answer = ok
    shop.start("concurrency: 1")
    await shop.until(lambda: "connection.still_paused" in shop.events_logged())
    await shop.until_all_looked()
    assert len(shop.service.times) == 1
    assert shop.events_logged() == ["connection.paused", "connection.still_paused"]
    status = await shop.status()
    change = resumed(status)
    assert change is not None
    assert isinstance(shop.store, SqliteStore)
    beside = SqliteStore(shop.store.path)
    await beside.attach()
    await beside.change_connection("shop", status.version, change)
    await beside.close()
    await shop.until_done()
    counts = await shop.store.counts()
    assert (counts["succeeded"], counts["dead"]) == (9, 1)
    assert shop.events_logged()[-1] == "connection.recovered"
    assert shop.changes[-1].is_own is False


async def test_a_pause_by_hand_hands_back_what_was_claimed_ahead(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "RENEW_SECONDS", 0.5)  # with the renewal of what it holds
    release = asyncio.Event()

    async def wait(request: web.BaseRequest) -> web.Response:
        await release.wait()
        return web.Response()

    shop.service.answer = wait
    await shop.add(20)
    running = shop.start("concurrency: 2")
    await shop.until(lambda: len(shop.service.times) == 2)
    await shop.store.change_connection("shop", 0, paused_by_hand(await shop.status(), "paused by a person"))

    async def only_those_at_work_are_held() -> bool:
        return (await shop.store.counts()).get("running") == 2

    await shop.until(only_those_at_work_are_held)
    figures = running.figures("shop")
    assert figures is not None
    assert (figures.name, figures.running, figures.ready) == ("connection shop", 2, 0)
    release.set()

    async def are_ended() -> bool:
        return (await shop.store.counts()).get("succeeded") == 2

    await shop.until(are_ended)
    await shop.until_all_looked()
    assert len(shop.service.times) == 2
    assert await attempts(shop) == 2


async def test_concurrency_holds_under_many_lanes(shop: Shop) -> None:
    async def slow(request: web.BaseRequest) -> web.Response:
        await asyncio.sleep(0.005)
        return web.Response()

    shop.service.answer = slow
    await shop.add(30, "a", "b", "c")
    await shop.add(30, "a", "b", "c", account="other")
    shop.start("concurrency: 3")
    await shop.until_done()
    assert len(shop.service.times) == 180
    assert shop.service.most_at_once == 3


async def test_a_rate_holds_under_many_lanes_and_is_used(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    take, claimed = Limit.take, list[float]()

    def noted(limit: Limit, count: int, now: float) -> None:
        claimed.extend([now] * count)
        take(limit, count, now)

    monkeypatch.setattr(Limit, "take", noted)
    await shop.add(40, "a", "b", "c")
    shop.start("concurrency: 8, rate: 50/s")
    await shop.until(lambda: len(shop.service.times) >= 100)
    for i, start in enumerate(claimed):  # never more than the burst and the rate, in no window of a second
        assert sum(start <= at < start + 0.95 for at in claimed[i:]) <= 100
    for begun, due in zip(shop.service.times, claimed, strict=False):
        assert begun >= due
    assert claimed[99] - claimed[0] > 0.9  # 1 at first, then 50 a second, of which 50 may come at once


async def test_a_flood_on_the_same_connection_does_not_hold_up_anothers_fresh_event(shop: Shop) -> None:
    async def short(request: web.BaseRequest) -> web.Response:
        await asyncio.sleep(0.02)
        return web.Response()

    shop.service.answer = short
    await shop.add(3000, "a", "b", "c")
    shop.start("concurrency: 2")
    await shop.until(lambda: len(shop.service.times) > 20)
    before = []
    for i in range(5):
        await shop.add(1, route="fresh", account="other", name=f"fresh{i}")
        added = len(shop.service.events)
        await shop.until(partial(shop.service.events.__contains__, f"evt_fresh{i}_0"))
        before.append(shop.service.events.index(f"evt_fresh{i}_0") - added)
    print(f"{before} others before it")
    assert max(before) < 50  # of the flood; it takes a hundred a second at most
    assert len(shop.service.times) < 3000  # the flood was still on


async def test_a_paused_connection_costs_next_to_nothing(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    await shop.store.change_connection("shop", 0, paused_by_hand(ConnectionStatus("shop"), "by hand"))
    await shop.add(100, "a", "b", "c")
    asked: list[float] = []
    due = shop.store.due

    async def counted() -> Any:
        asked.append(time.monotonic())
        return await due()

    monkeypatch.setattr(shop.store, "due", counted)
    shop.start()
    await shop.until(lambda: asked)
    await asyncio.sleep(1)
    start = time.monotonic()
    await asyncio.sleep(1)
    assert sum(at >= start for at in asked) <= 2


async def test_an_attempt_whose_lease_cannot_be_renewed_is_cut_off_before_it_ends(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    forever = asyncio.Event()

    async def hang(request: web.BaseRequest) -> web.Response:
        await forever.wait()
        return web.Response()

    async def away(*args: object, **kwargs: object) -> set[str]:
        raise StoreUnavailable("the store is away")

    monkeypatch.setattr(SqliteStore, "is_shared", True)
    monkeypatch.setattr(leases, "LEASE_SECONDS", 2.0)
    monkeypatch.setattr(leases, "MARGIN_SECONDS", 1.0)
    monkeypatch.setattr(worker, "RENEW_SECONDS", 0.3)
    monkeypatch.setattr(shop.store, "renew", away)
    shop.service.answer = hang
    await shop.add(1)
    shop.start("concurrency: 1")
    await shop.until(lambda: len(shop.service.times) >= 2)
    forever.set()
    (delivery,) = await shop.store.deliveries(DeliveryFilter(), limit=9)
    found = await shop.store.delivery(delivery.id)
    assert found is not None
    assert found[1][0].outcome.value == "interrupted"
    assert found[1][0].error == "the gateway lost its lease during this attempt; whether it took effect is not known"
    assert "delivery.renew_failed" in shop.events_logged("delivery.")


async def test_an_attempt_goes_on_past_its_lease_where_nobody_else_can_take_it(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = asyncio.Event()

    async def hang(request: web.BaseRequest) -> web.Response:
        await go_on.wait()
        return web.Response()

    async def away(*args: object, **kwargs: object) -> set[str]:
        raise StoreUnavailable("the store is away")

    monkeypatch.setattr(leases, "LEASE_SECONDS", 0.3)
    monkeypatch.setattr(worker, "RENEW_SECONDS", 0.1)
    monkeypatch.setattr(shop.store, "renew", away)
    shop.service.answer = hang
    await shop.add(1)
    shop.start("concurrency: 1")
    await shop.until(lambda: shop.events_logged("delivery.").count("delivery.renew_failed") == 2)  # a second later
    go_on.set()
    await shop.until_done()
    assert len(shop.service.times) == 1


@pytest.mark.parametrize("status", [404, 409])
async def test_what_is_a_deliverys_own_fault_does_not_pause_the_connection(shop: Shop, status: int) -> None:
    async def refuse(request: web.BaseRequest) -> web.Response:
        return web.Response(status=status)

    shop.service.answer = refuse
    await shop.add(8)
    shop.start("concurrency: 1, breaker: {failures: 3}")
    await shop.until(lambda: len(shop.service.times) >= 8)
    assert (await shop.store.connections()) == {}


async def test_a_probe_that_ends_without_telling_anything_is_followed_by_another(shop: Shop) -> None:
    async def refuse(request: web.BaseRequest) -> web.Response:
        if len(shop.service.times) == 3:
            shop.service.answer = ok
        return web.Response(status=404)

    shop.service.answer = refuse
    paused = ConnectionChange(ConnectionState.PAUSED, 0.1, "it was down")
    await shop.store.change_connection("shop", 0, paused)
    await shop.add(5)
    shop.start()
    await shop.until(lambda: bool(shop.changes))
    assert len(shop.service.times) >= 4
    assert shop.changes[-1].before.state is ConnectionState.PROBING


async def test_of_two_gateways_one_probes(shop: Shop) -> None:
    """Two workers on one store: each has its own view, and only what the store says decides."""
    await one_of_two_probes(shop, shop.store, shop.store)
