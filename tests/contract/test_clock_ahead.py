"""What a clock that was ahead has left in every store is taken for now: nothing waits for the clock to catch up."""

from __future__ import annotations

from dataclasses import replace

from gateway.core.model import ConnectionState, EventState, Gathered, PlannedDelivery, SharedRate
from gateway.store.protocol import Store
from tests.conftest import Clock
from tests.contract.test_store import SUCCEEDED, an_event, claim_all, later, owed
from tests.contract.test_store_upkeep import DAY, PAUSED, PLACES, end, purge

__all__ = ["PLACES"]


async def test_retention_goes_on_after_a_clock_was_a_year_ahead(store: Store, clock: Clock) -> None:
    clock.forward(365 * DAY)
    for number in range(3):
        await store.add(an_event(f"evt_ahead_{number}"), [owed()])
        await end(store, SUCCEEDED)
    clock.forward(-365 * DAY)
    await store.add(replace(an_event("evt_right"), state=EventState.UNMATCHED), [])
    await purge(store)
    clock.forward(91 * DAY)
    assert await purge(store) == (4, 3, 3)


async def test_what_arrived_by_a_clock_that_was_ahead_is_due(store: Store, clock: Clock) -> None:
    clock.forward(365 * DAY)
    await store.add(an_event(), [owed()])
    clock.forward(-365 * DAY)
    await purge(store)
    assert len(await claim_all(store)) == 1


async def test_what_was_released_by_a_clock_that_was_ahead_is_due(store: Store, clock: Clock) -> None:
    await store.add(an_event(), [owed(), PlannedDelivery("fulfil", "after", ("save",))])
    clock.forward(DAY)
    await end(store, SUCCEEDED)
    clock.forward(-DAY)
    await purge(store)
    assert [claim.delivery.action for claim in await claim_all(store)] == ["after"]


async def test_what_was_marked_ahead_is_told_again_in_its_time(store: Store, clock: Clock) -> None:
    clock.forward(DAY)
    await store.mark("alert", 300)
    clock.forward(-DAY)
    first = await store.mark("alert", 300)
    assert first.timestamp() * 1000 == clock()
    clock.forward(299)
    assert await store.mark("alert", 300) == first
    clock.forward(1)
    assert (await store.mark("alert", 300)).timestamp() * 1000 == clock()


async def test_a_digest_waits_no_longer_than_it_should_after_a_clock_was_ahead(store: Store, clock: Clock) -> None:
    clock.forward(DAY)
    await store.mark("digest", 0)
    await store.add(an_event(), [owed(order="digest")])
    (claim,) = await claim_all(store, lease_seconds=2 * DAY)
    clock.forward(-DAY)
    held = (claim.delivery.id, claim.token)
    assert await store.gather(*held, wait_seconds=30, every_seconds=300, most=9) == 300.0
    clock.forward(300)
    assert isinstance(await store.gather(*held, wait_seconds=30, every_seconds=300, most=9), Gathered)


async def test_a_lease_and_a_rate_of_a_clock_that_was_ahead_hold_nobody_up(store: Store, clock: Clock) -> None:
    await store.add(an_event("evt_1"), [owed()])
    (lane,) = (await store.due()).lanes
    rate = SharedRate("shop", frozenset([lane]), per_second=1.0, burst=1.0)
    clock.forward(DAY)
    assert await store.take_lease("reconcile", "somebody", lease_seconds=60)
    assert len(await store.claim({lane: 9}, lease_seconds=60, rates=[rate])) == 1
    clock.forward(-DAY)
    assert await store.take_lease("reconcile", "another", lease_seconds=60)
    assert not await store.take_lease("reconcile", "somebody", lease_seconds=60)
    await store.add(an_event("evt_2"), [owed()])
    assert await store.claim({lane: 9}, lease_seconds=60, rates=[rate]) == []
    clock.forward(1)
    assert len(await store.claim({lane: 9}, lease_seconds=60, rates=[rate])) == 1


async def test_what_was_tried_by_a_clock_that_was_ahead_waits_as_long_as_it_was_to(store: Store, clock: Clock) -> None:
    await store.add(an_event(), [owed()])
    clock.forward(365 * DAY)
    await end(store, later(600))
    clock.forward(-365 * DAY)
    await purge(store)
    clock.forward(599)
    assert await claim_all(store) == []
    clock.forward(1)
    assert len(await claim_all(store)) == 1


async def test_a_pause_of_a_clock_that_was_ahead_lasts_as_long_as_it_was_to(store: Store, clock: Clock) -> None:
    clock.forward(DAY)
    await store.change_connection("shop", 0, PAUSED)
    clock.forward(-DAY)
    await purge(store)
    clock.forward(10)
    paused = (await store.connections())["shop"]
    assert (paused.state, paused.left_seconds, paused.version) == (ConnectionState.PAUSED, 20.0, 1)


async def test_what_a_gateway_held_that_died_while_the_clock_was_ahead_is_taken_over_in_two_minutes(
    store: Store, clock: Clock
) -> None:
    """Whoever lives keeps what it holds. On a store of one gateway, its next start takes over what a dead one held."""
    for number in (1, 2):
        await store.add(an_event(f"evt_{number}"), [owed()])
    clock.forward(DAY)
    dead, alive = await claim_all(store, lease_seconds=60)
    clock.forward(-DAY)
    await store.due()
    for _ in (1, 2):
        clock.forward(59)
        assert await store.renew([(alive.delivery.id, alive.token)], lease_seconds=60) == set()
        await store.due()
    assert [claim.delivery.id for claim in await claim_all(store)] == [dead.delivery.id] * store.is_shared


async def test_a_note_of_a_clock_that_was_ahead_is_new(store: Store, clock: Clock) -> None:
    clock.forward(DAY)
    await store.keep_note("reconcile", {"at": 1})
    clock.forward(-DAY)
    note = await store.note("reconcile")
    assert note is not None
    assert note.age_seconds == 0
