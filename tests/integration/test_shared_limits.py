"""Two gateways on one PostgreSQL: pauses, probes, rates and purges are of both together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from aiohttp import web

from gateway.core.model import DONE, ChangeResult, ConnectionState, DeliveryFilter, PlannedDelivery, Refusal
from gateway.delivery.circuit_breaker import paused_by_hand, resumed
from gateway.store.answers import Purged
from gateway.store.postgres.store import PostgresStore
from tests.contract.test_store import DEAD, SUCCEEDED, an_event, claim_all
from tests.http_service import Serve
from tests.integration.test_postgres_turns import stores
from tests.shop import Shop, down, one_of_two_probes, shop_on

RATE = 20


@pytest.fixture
async def pair(
    tmp_path: Path, inbox_url: str, serve: Serve
) -> AsyncIterator[tuple[Shop, PostgresStore, PostgresStore]]:
    """A shop, and the stores of two gateways on it."""
    async with stores(inbox_url, 3) as (own, first, second), shop_on(tmp_path, own, serve) as made:
        yield made, first, second


async def test_a_pause_by_one_gateway_holds_in_the_other(pair: tuple[Shop, PostgresStore, PostgresStore]) -> None:
    shop, first, second = pair
    shop.service.answer = down
    settings = "concurrency: 1, breaker: {failures: 3, pause: 1h, max: 1h}"
    shop.start(settings, first)
    await shop.add(20)
    await shop.until_state(ConnectionState.PAUSED)
    await shop.until_none_runs()
    before = len(shop.service.times)
    both_work = asyncio.Event()

    async def once_both_work(request: web.BaseRequest) -> web.Response:
        if shop.service.at_once == 2:
            both_work.set()
        await both_work.wait()
        return web.Response()

    shop.service.answer = once_both_work
    shop.start(settings, second)
    await shop.add(20, name="more")
    await shop.until(lambda: "connection.still_paused" in shop.events_logged())
    await shop.until_all_looked()
    assert len(shop.service.times) == before
    assert shop.ran[1] == 0
    status = await shop.status()
    assert status.failures == 3
    change = resumed(status)
    assert change is not None
    await shop.store.change_connection("shop", status.version, change)  # as a person's command does
    await shop.until_done()
    assert (await shop.store.counts())["succeeded"] == 40
    assert shop.ran[0] > 3
    assert shop.ran[1] > 0


async def test_a_pause_while_both_work_stops_both(pair: tuple[Shop, PostgresStore, PostgresStore]) -> None:
    async def short(request: web.BaseRequest) -> web.Response:
        await asyncio.sleep(0.01)
        return web.Response()

    shop, first, second = pair
    shop.service.answer = short
    await shop.add(3000)
    shop.start("concurrency: 1", first)
    shop.start("concurrency: 1", second)
    await shop.until(lambda: shop.ran[0] > 5 and shop.ran[1] > 5)
    await shop.store.change_connection("shop", 0, paused_by_hand(await shop.status(), "stocktaking"))
    await shop.until(lambda: shop.events_logged().count("connection.paused") == 2)
    await shop.until_none_runs()
    before = len(shop.service.times)
    await shop.until_all_looked()
    assert len(shop.service.times) == before
    attempts = sum(one.attempts for one in await shop.store.deliveries(DeliveryFilter(), limit=10_000))
    assert attempts == before  # waiting cost none


async def test_one_of_two_gateways_probes(pair: tuple[Shop, PostgresStore, PostgresStore]) -> None:
    await one_of_two_probes(*pair)


async def test_a_rate_is_kept_by_both_gateways_together(pair: tuple[Shop, PostgresStore, PostgresStore]) -> None:
    shop, first, second = pair
    await shop.add(40, "a", "b", "c")
    start = time.monotonic()
    shop.start(f"concurrency: 8, rate: {RATE}/s", first)
    shop.start(f"concurrency: 8, rate: {RATE}/s", second)
    await shop.until(lambda: len(shop.service.times) >= 3 * RATE and shop.ran[0] and shop.ran[1])
    for i, at in enumerate(shop.service.times):  # a new bucket holds one, and fills with RATE a second
        assert at - start >= (i - 0.1) / RATE


# -- purging --------------------------------------------------------------------------------------------------


async def purge(store: PostgresStore, dead_seconds: float | None = None) -> list[int]:
    """A whole purge of all that has ended: events, deliveries, attempts."""
    total = [0, 0, 0]
    cursor: int | None = 0
    while cursor is not None:
        step: Purged = await store.purge(
            retention_seconds=0, dead_retention_seconds=dead_seconds, cursor=cursor, limit=7
        )
        total = [total[0] + step.events, total[1] + step.deliveries, total[2] + step.attempts]
        cursor = step.cursor
    return total


async def test_gateways_that_purge_at_once_remove_everything_once(inbox_url: str) -> None:
    async with stores(inbox_url, 3) as made:
        await asyncio.gather(*(made[0].add(an_event(f"evt_{i}"), [PlannedDelivery("r", "a")]) for i in range(100)))
        claims = await claim_all(made[1])
        await asyncio.gather(*(made[1].finish(one.delivery.id, one.token, SUCCEEDED) for one in claims))
        await asyncio.sleep(0.01)  # older than no time at all
        parts = await asyncio.gather(*(purge(one) for one in made))
        assert [sum(part) for part in zip(*parts, strict=True)] == [100, 100, 100]
        assert await made[0].counts() == {"events": 0}
        assert (await made[2].add(an_event("evt_7"), [])).is_duplicate


async def test_what_is_revived_while_it_is_purged_is_kept_whole_or_gone_whole(inbox_url: str) -> None:
    async with stores(inbox_url, 2) as (purging, reviving):
        planned = [PlannedDelivery("r", "a"), PlannedDelivery("r", "b", ("a",))]
        await asyncio.gather(*(reviving.add(an_event(f"evt_{i:03}"), planned) for i in range(200)))
        for claim in await claim_all(reviving, 200):
            await reviving.finish(claim.delivery.id, claim.token, DEAD)
        await asyncio.sleep(0.01)
        dead = await reviving.deliveries(DeliveryFilter(states=("dead",)), limit=200)  # the newest first
        removed = asyncio.create_task(purge(purging, dead_seconds=0))
        answers: dict[str, ChangeResult] = {}
        for one in dead:
            answers |= await reviving.retry([one.id])
        events, deliveries, attempts = await removed
        revived = sum(answer == DONE for answer in answers.values())
        assert (events + revived, deliveries, attempts) == (200, 2 * events, events)
        assert set(answers.values()) <= {DONE, Refusal("there is no such delivery")}
        assert await reviving.counts() == {
            state: revived for state in ("pending", "blocked", "events") if revived or state == "events"
        }


# -- gateways of the schema before -----------------------------------------------------------------------------


async def test_a_gateway_of_the_schema_before_goes_on_beside(inbox_url: str) -> None:
    """By the calls that it makes: they lead where they led, with the same parameters."""
    async with stores(inbox_url, 1) as (store,):
        await store.add(an_event("evt_1"), [PlannedDelivery("r", "a", (), "once")])
        await store.finish((claim := (await claim_all(store))[0]).delivery.id, claim.token, SUCCEEDED)
        await asyncio.sleep(0.01)
        assert await purge(store) == [1, 1, 1]
        connection = await asyncpg.connect(inbox_url)
        await connection.execute("SET search_path TO gateway")
        event = "ARRAY['acme'], ARRAY['evt_2'], ARRAY['t'], ARRAY['routed'], ARRAY[NULL::bool], ARRAY[NULL::bigint], "
        event += "ARRAY[NULL::text], ARRAY[NULL::text], ARRAY[NULL::text], ARRAY['webhook'], ARRAY[NULL::text], "
        event += "ARRAY[NULL::text], ARRAY['x'::bytea]"
        owed = "ARRAY['d1', 'd2'], ARRAY['d1', 'd2'], ARRAY['r', 'r'], ARRAY['a', 'a'], ARRAY['[]', '[]'], "
        owed += "ARRAY[false, false], ARRAY['once', NULL], ARRAY[NULL::text, NULL], ARRAY[NULL::text, NULL], "
        owed += "ARRAY['d2']"
        asked = f"SELECT add_events(NULL, {event}, ARRAY[1, 1], {owed}, ARRAY['trace'])"
        assert await connection.fetchval(asked) == [True]
        owed = owed.replace("'d", "'e")
        assert not await connection.fetchval(f"SELECT replay_event(NULL, 'acme', 'evt_1', {owed})")
        lane = "ARRAY['acme'], ARRAY['r'], ARRAY['a'], ARRAY[9]"
        rates = "ARRAY[NULL::int], '{}', '{}', '{}'"
        asked = f"SELECT claim_at_rates(NULL, 60000, 'token', {lane}, {rates})"
        assert len(await connection.fetchval(asked)) == 1
        ended = "ARRAY['d2'], ARRAY['token'], ARRAY['succeeded'], ARRAY[0], ARRAY[NULL::text], ARRAY[NULL::text], "
        ended += "ARRAY[NULL::text], ARRAY['succeeded'], ARRAY[1], ARRAY[1], ARRAY[NULL::text], ARRAY[false], "
        ended += "ARRAY[NULL::text], ARRAY[NULL::text]"
        assert await connection.fetchval(f"SELECT finish_claims(NULL, {ended})") == [True, False]
        await connection.close()
        assert await store.counts() == {"skipped": 1, "succeeded": 1, "events": 1}  # the purged once key holds
