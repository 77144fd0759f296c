"""What every store promises of digests and marks (gateway.store.protocol)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from gateway.core.model import DONE, DeliveryFilter, DeliveryState, Gathered, Released
from gateway.store.protocol import Store
from tests.conftest import Clock
from tests.contract.test_store import DEAD, SUCCEEDED, an_event, claim_all, later, owed

KEY = '["digest","fulfil","save"]'


async def add(store: Store, *ids: str, order: str = KEY) -> None:
    for id in ids:
        await store.add(an_event(id), [owed(order=order)])


async def gather(
    store: Store, wait: float = 30, every: float = 300, most: int = 100
) -> tuple[tuple[str, str], Gathered | float | None]:
    """Claims the one delivery that is due and gathers for it."""
    (claim,) = await claim_all(store)
    held = (claim.delivery.id, claim.token)
    return held, await store.gather(*held, wait_seconds=wait, every_seconds=every, most=most)


def ids(gathered: Gathered | float | None) -> list[str]:
    assert isinstance(gathered, Gathered)
    return [event.id for event in gathered.events]


async def states(store: Store) -> dict[str, tuple[str, str | None]]:
    found = await store.deliveries(DeliveryFilter(), limit=100, newest_first=False)
    return {one.event_id: (one.state.value, one.reason) for one in found}


async def test_a_delivery_waits_for_others_and_then_takes_them_along(store: Store, clock: Clock) -> None:
    await add(store, "evt_1")
    held, wait = await gather(store)
    assert wait == 30.0
    assert await store.finish(*held, Released("digest: gathers", 30.0))
    clock.forward(10)
    await add(store, "evt_2", "evt_3")
    clock.forward(20)
    held, gathered = await gather(store)
    assert ids(gathered) == ["evt_1", "evt_2", "evt_3"]
    assert isinstance(gathered, Gathered)
    assert (gathered.count, gathered.events[1].body) == (3, b'{"id": "evt_2"}')
    assert [(event.id, event.body) for event in await store.gathered(held[0])] == [
        (event.id, event.body) for event in gathered.events
    ]
    assert await store.gathered("dlv_none") == []
    brings = f"digest: {held[0]} brings it"
    assert await states(store) == {
        "evt_1": ("running", "digest: gathers"),
        "evt_2": ("skipped", brings),
        "evt_3": ("skipped", brings),
    }


async def test_what_a_digest_brings_is_the_same_at_every_attempt_and_after_a_crash(
    store: Store, clock: Clock, place: Callable[[], Store]
) -> None:
    await add(store, "evt_1", "evt_2")
    held, gathered = await gather(store, wait=0)
    await add(store, "evt_3")
    assert await store.finish(*held, later(5))
    clock.forward(5)
    held, gathered = await gather(store, wait=0)
    assert ids(gathered) == ["evt_1", "evt_2"]
    await store.close()  # in the middle of an attempt
    clock.forward(120)
    again = place()
    await again.start()
    _, gathered = await gather(again, wait=0)
    assert ids(gathered) == ["evt_1", "evt_2"]
    assert (await states(again))["evt_3"] == ("pending", None)
    await again.close()


async def test_two_digests_of_one_key_are_apart_and_another_key_does_not_wait(store: Store, clock: Clock) -> None:
    await add(store, "evt_1")
    held, _ = await gather(store, wait=0)
    await store.finish(*held, SUCCEEDED)
    await add(store, "evt_2")
    clock.forward(100)
    held, wait = await gather(store, wait=0)
    assert wait == 200.0
    await store.finish(*held, Released("digest: gathers", 200.0))
    await add(store, "evt_3", order='["digest","other","save"]')
    held, gathered = await gather(store, wait=0)
    assert ids(gathered) == ["evt_3"]
    await store.finish(*held, SUCCEEDED)
    clock.forward(200)
    _, gathered = await gather(store, wait=0)
    assert ids(gathered) == ["evt_2"]


async def test_a_dead_digest_that_is_retried_still_brings_all_of_it_and_is_taken_along_by_none(
    store: Store, clock: Clock
) -> None:
    await add(store, "evt_1", "evt_2")
    held, _ = await gather(store, wait=0)
    await store.finish(*held, DEAD)
    await add(store, "evt_3")
    (running,) = await claim_all(store)
    assert await store.retry([held[0]]) == {held[0]: DONE}
    clock.forward(300)
    gathered = await store.gather(running.delivery.id, running.token, wait_seconds=0, every_seconds=300, most=100)
    assert ids(gathered) == ["evt_3"]
    await store.finish(running.delivery.id, running.token, SUCCEEDED)
    _, gathered = await gather(store, wait=0)
    assert ids(gathered) == ["evt_1", "evt_2"]


async def test_only_the_first_events_of_a_digest_are_brought_and_all_are_counted(store: Store) -> None:
    await add(store, *(f"evt_{i}" for i in range(10, 30)))
    _, gathered = await gather(store, wait=0, most=3)
    assert ids(gathered) == ["evt_10", "evt_11", "evt_12"]
    assert isinstance(gathered, Gathered)
    assert gathered.count == 20


async def test_whoever_has_lost_the_lease_gathers_nothing(store: Store) -> None:
    await add(store, "evt_1", "evt_2")
    (claim,) = await claim_all(store)
    assert await store.gather(claim.delivery.id, "another", wait_seconds=0, every_seconds=1, most=9) is None
    assert (await states(store))["evt_2"] == (DeliveryState.PENDING.value, None)


async def test_a_mark_is_the_same_for_all_who_ask_until_its_time_is_over(store: Store, clock: Clock) -> None:
    now = datetime.fromtimestamp(clock.now / 1000, UTC)
    asked = await asyncio.gather(*(store.mark("silent acme", 60) for _ in range(20)))
    assert set(asked) == {now}
    clock.forward(59)
    assert await store.mark("silent acme", 60) == now
    assert await store.mark("silent other", 60) > now
    clock.forward(1)
    assert (await store.mark("silent acme", 60) - now).total_seconds() == 60


async def test_lanes_with_work_say_since_when(store: Store, clock: Clock) -> None:
    await store.add(an_event("evt_1"), [owed()])
    clock.forward(90)
    assert list((await store.due()).late_seconds) == [90.0]


async def test_the_gateways_own_events_are_no_sign_of_life_of_an_account(store: Store, clock: Clock) -> None:
    await store.add(an_event("evt_1"), [])
    came_at = datetime.fromtimestamp(clock.now / 1000, UTC)
    clock.forward(60)
    await store.add(an_event("evt_2", type="gateway.account.silent"), [])
    assert await store.last_events() == {"acme": came_at}


async def test_an_event_that_is_replayed_before_its_digest_is_one_of_it(store: Store, clock: Clock) -> None:
    await store.add(an_event("evt_1"), [owed(order="digest")])
    (claim,) = await claim_all(store)
    await store.replay("acme", "evt_1", [owed(order="digest")])
    gathered = await store.gather(claim.delivery.id, claim.token, wait_seconds=0, every_seconds=0, most=9)
    assert isinstance(gathered, Gathered)
    assert ([event.id for event in gathered.events], gathered.count) == (["evt_1"], 1)
