"""order_by, once_per and needs, with several gateways' stores at work on one PostgreSQL at once."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from random import Random

import asyncpg

from gateway.core.model import (
    Attempt,
    AttemptOutcome,
    Claim,
    DeliveryFilter,
    DeliveryState,
    Finish,
    Lane,
    PlannedDelivery,
)
from gateway.store.postgres.store import PostgresStore
from tests.contract.test_store import DEAD, NOW, SKIPPED, SUCCEEDED, an_event, later
from tests.waiting import until

EVERYTHING = 100_000


@asynccontextmanager
async def stores(url: str, count: int) -> AsyncIterator[list[PostgresStore]]:
    """So many gateways' stores on one database, each with its own connections and the database's clock."""
    made = [PostgresStore(url) for _ in range(count)]
    await asyncio.gather(*(one.start() for one in made))
    try:
        yield made
    finally:
        await asyncio.gather(*(one.close() for one in made))


class Watch:
    """Sees every claim, and notes what must not be: two of a key at once, or out of order."""

    def __init__(self) -> None:
        self.running: dict[str, str] = {}  # key -> the delivery that runs
        self.first_runs: dict[str, list[str]] = defaultdict(list)  # order key -> ids, as they first ran
        self.wrong: list[str] = []
        self.runs: Counter[str] = Counter()

    def begin(self, claim: Claim) -> None:
        one = claim.delivery
        for key in (one.order_key, one.once_key):
            if key is not None and key in self.running:
                self.wrong.append(f"{one.id} began while {self.running[key]} ran: {key}")
            if key is not None:
                self.running[key] = one.id
        if not self.runs[one.id] and one.order_key is not None:
            self.first_runs[one.order_key].append(one.id)
        self.runs[one.id] += 1

    def end(self, claim: Claim) -> None:
        for key in (claim.delivery.order_key, claim.delivery.once_key):
            if key is not None:
                self.running.pop(key, None)


async def work(store: PostgresStore, watch: Watch, rng: Random, done: asyncio.Event, overslept: list[bool]) -> None:
    """A gateway: claims, runs for a moment, ends in every way there is; now and then it oversleeps its lease."""

    async def run(claim: Claim) -> None:
        await asyncio.sleep(rng.random() * 0.004)
        roll = rng.random()
        how = (
            SUCCEEDED if roll < 0.6 else later(rng.random() * 0.02) if roll < 0.85 else DEAD if roll < 0.93 else SKIPPED
        )
        watch.end(claim)
        assert await store.finish(claim.delivery.id, claim.token, how)

    async def oversleep(claim: Claim) -> None:
        watch.end(claim)  # what it does after its lease is nobody's business
        await asyncio.sleep(1)
        overslept.append(await store.finish(claim.delivery.id, claim.token, SUCCEEDED))

    async with asyncio.TaskGroup() as tasks:
        while not done.is_set():
            due = await store.due()
            sleepy = rng.random() < 0.02
            limit = 1 if sleepy else rng.choice([1, 3, 20])
            claims = await store.claim(dict.fromkeys(due.lanes, limit), lease_seconds=0.3 if sleepy else 60)
            for claim in claims:
                watch.begin(claim)
                tasks.create_task(oversleep(claim) if sleepy else run(claim))
            if not claims:
                await store.wait_for_work(min(0.05, due.next_in_seconds or 1))


async def until_finished(store: PostgresStore) -> None:
    """Until nothing is pending or running."""

    async def is_done() -> bool:
        counts = await store.counts()
        return not counts.get("pending") and not counts.get("running")

    await until(is_done, 240, every=0.05)


async def lanes_of(store: PostgresStore) -> Sequence[Lane]:
    """The lanes that have work now."""
    return (await store.due()).lanes


async def deadlocks(url: str) -> int:
    """How many PostgreSQL had to break."""
    connection = await asyncpg.connect(url)
    found: int = await connection.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    await connection.close()
    return found


async def test_no_key_runs_twice_at_once_or_out_of_order_whatever_the_gateways_do(inbox_url: str) -> None:
    rng = Random(7)
    watch, done, overslept = Watch(), asyncio.Event(), list[bool]()
    async with stores(inbox_url, 4) as gateways:
        workers = [
            asyncio.create_task(work(store, watch, Random(i), done, overslept)) for i, store in enumerate(gateways)
        ]

        async def add(number: int) -> None:
            orders, onces = rng.randrange(12), rng.randrange(150)
            planned = [
                PlannedDelivery("r", "a", (), f"once {onces}" if number % 3 else None, f"order {orders}"),
                PlannedDelivery("r", "b", (), f"other once {onces}" if number % 2 else None, None),
                PlannedDelivery("r", "c", ("a", "b"), None, f"late order {orders}" if number % 5 else None),
            ]
            await gateways[number % 4].add(an_event(f"evt_{number}"), planned)

        for start in range(0, 600, 60):
            await asyncio.gather(*(add(start + i) for i in range(60)))
        async with asyncio.timeout(240):
            await until_finished(gateways[0])
        done.set()
        await asyncio.gather(*workers)
        found = await gateways[0].deliveries(DeliveryFilter(), limit=EVERYTHING, newest_first=False)
    assert watch.wrong == []
    places = {one.id: place for place, one in enumerate(found)}
    for key, ids in watch.first_runs.items():
        if not key.startswith("late"):  # those became pending when what they need was done, not when they arrived
            assert ids == sorted(ids, key=places.__getitem__), key
    done_once = Counter(one.once_key for one in found if one.once_key and one.state is DeliveryState.SUCCEEDED)
    assert set(done_once.values()) == {1}
    assert {one.state for one in found if one.action != "c"} <= {
        DeliveryState.SUCCEEDED, DeliveryState.SKIPPED, DeliveryState.DEAD,
    }  # fmt: skip
    by_run: dict[str, dict[str, DeliveryState]] = defaultdict(dict)
    for one in found:
        by_run[one.run_id][one.action] = one.state
    for states in by_run.values():
        needed = {states["a"], states["b"]}
        if needed == {DeliveryState.SUCCEEDED}:
            assert states["c"] in (DeliveryState.SUCCEEDED, DeliveryState.SKIPPED, DeliveryState.DEAD)
        elif DeliveryState.SKIPPED in needed:
            assert states["c"] is DeliveryState.SKIPPED
        else:
            assert states["c"] is DeliveryState.BLOCKED
    assert overslept  # it happened
    assert not any(overslept)  # and none could overwrite what another did
    assert await deadlocks(inbox_url) == 0


async def test_of_two_that_finish_at_once_one_releases_what_needs_both(inbox_url: str) -> None:
    async with stores(inbox_url, 2) as (first, second):
        for number in range(40):
            planned = [
                PlannedDelivery("r", "a"), PlannedDelivery("r", "b"), PlannedDelivery("r", "c", ("a", "b")),
            ]  # fmt: skip
            await first.add(an_event(f"evt_{number}"), planned)
            claims = {
                one.delivery.action: one
                for one in await first.claim(dict.fromkeys((await first.due()).lanes, 9), lease_seconds=60)
            }
            a, b = claims["a"], claims["b"]
            assert all(
                await asyncio.gather(
                    first.finish(a.delivery.id, a.token, SUCCEEDED), second.finish(b.delivery.id, b.token, SUCCEEDED)
                )
            )
            (c,) = await first.claim(dict.fromkeys((await first.due()).lanes, 9), lease_seconds=60)
            assert c.delivery.action == "c"
            await first.finish(c.delivery.id, c.token, SUCCEEDED)


async def test_the_same_events_at_every_gateway_at_once_are_each_stored_once(inbox_url: str) -> None:
    async with stores(inbox_url, 4) as gateways:

        async def add(store: PostgresStore, seed: int) -> list[bool]:
            numbers = list(range(2000))
            Random(seed).shuffle(numbers)  # each in its own order: nobody may wait in a circle
            added = await asyncio.gather(
                *(store.add(an_event(f"evt_{n}"), [PlannedDelivery("r", "a")]) for n in numbers)
            )
            return [not one.is_duplicate for one in added]

        news = await asyncio.gather(*(add(store, i) for i, store in enumerate(gateways)))
        assert sum(map(sum, news)) == 2000
        assert await gateways[0].counts() == {"pending": 2000, "events": 2000}
    assert await deadlocks(inbox_url) == 0


async def test_what_a_dead_gateway_ran_is_taken_over_when_its_lease_ends_and_says_so(inbox_url: str) -> None:
    async with stores(inbox_url, 2) as (first, second):
        for number in range(3):
            await first.add(an_event(f"evt_{number}"), [PlannedDelivery("r", "a", (), None, "key")])
        (claim,) = await first.claim(dict.fromkeys((await first.due()).lanes, 9), lease_seconds=2)
        looked = await second.due()
        assert looked.lanes == []
        assert looked.next_in_seconds is not None
        assert looked.next_in_seconds <= 2.01
        lanes = await until(lambda: lanes_of(second))
        (again,) = await second.claim(dict.fromkeys(lanes, 9), lease_seconds=60)
        assert (again.delivery.id, again.delivery.attempts) == (claim.delivery.id, 2)
        assert await first.finish(claim.delivery.id, claim.token, DEAD) is False
        assert await first.renew([(claim.delivery.id, claim.token)], lease_seconds=60) == {claim.delivery.id}
        assert await second.finish(again.delivery.id, again.token, SUCCEEDED) is True
        found = await second.delivery(claim.delivery.id)
        assert found is not None
        assert [one.outcome for one in found[1]] == [AttemptOutcome.INTERRUPTED, AttemptOutcome.SUCCEEDED]
        assert found[1][0].error == (
            "the gateway did not renew its lease during this attempt (it died, stopped or lost the database); "
            "whether it took effect is not known"
        )


async def test_a_renewed_lease_is_not_taken_over(inbox_url: str) -> None:
    async with stores(inbox_url, 2) as (first, second):
        await first.add(an_event(), [PlannedDelivery("r", "a")])
        (claim,) = await first.claim(dict.fromkeys((await first.due()).lanes, 9), lease_seconds=30)
        assert await first.renew([(claim.delivery.id, claim.token)], lease_seconds=60) == set()
        due = await second.due()
        assert due.lanes == []
        assert due.next_in_seconds is not None
        assert due.next_in_seconds > 50


async def test_one_that_cannot_be_kept_does_not_spoil_the_others_in_its_commit(inbox_url: str) -> None:
    async with stores(inbox_url, 1) as (store,):
        tried = Attempt(1, NOW, 0.1, AttemptOutcome.DEAD, "a\0b \ud800")
        nul = Finish(DeliveryState.DEAD, tried, reason="no\0", output={"x": "\0\ud800"})
        await asyncio.gather(*(store.add(an_event(f"evt_{i}"), [PlannedDelivery("r", "a")]) for i in range(3)))
        claims = await store.claim(dict.fromkeys((await store.due()).lanes, 9), lease_seconds=60)
        hows = [SUCCEEDED, nul, SUCCEEDED]
        done = [store.finish(c.delivery.id, c.token, how) for c, how in zip(claims, hows, strict=True)]
        assert await asyncio.gather(*done) == [True, True, True]
        found = await store.delivery(claims[1].delivery.id)
        assert found is not None
        assert (found[0].last_error, found[0].reason) == ("a\ufffdb ?", "no\ufffd")
