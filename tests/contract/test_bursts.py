"""`debounce` on both stores: the last of a burst acts, once, and the others name it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from gateway.core.model import Burst, DeliveryFilter, DeliveryState, PlannedDelivery, Released
from gateway.core.routing import settled_key
from gateway.store.protocol import Store
from tests.conftest import Clock
from tests.contract.test_store import NOW, SUCCEEDED, an_event, claim_all, owed, states

KEY = '["debounce","fulfil","save","cus_1"]'
SETTLED_KEY = settled_key(KEY)
assert SETTLED_KEY is not None
BURST = Burst(SETTLED_KEY, wait_seconds=30, max_seconds=300)


async def arrives(store: Store, number: int, *more: PlannedDelivery, made_second: int | None = None) -> None:
    event = an_event(f"evt_{number}")
    if made_second is not None:
        event = replace(event, created_at=NOW + timedelta(seconds=made_second))
    await store.add(event, [owed(order=KEY), *more])


async def look(store: Store) -> int:
    """Gives back as one of a burst all that can be claimed, again and again; how many acted."""
    acted = 0
    while claims := await claim_all(store):
        for claim in claims:
            is_one = claim.delivery.order_key == KEY
            acted += not is_one
            assert await store.finish(claim.delivery.id, claim.token, BURST if is_one else SUCCEEDED)
    return acted


async def test_the_last_of_a_burst_acts_once_it_is_over_and_the_others_name_it(store: Store, clock: Clock) -> None:
    for number in (1, 2, 3):
        await arrives(store, number, owed("tell", "save"))
        clock.forward(10)
        assert await look(store) == 0
    assert (await store.due()).next_in_seconds == 20
    clock.forward(20)
    assert await look(store) == 2
    listed = await store.deliveries(DeliveryFilter(), limit=9, newest_first=False)
    last = next(d.id for d in listed if (d.event_id, d.action) == ("evt_3", "save"))
    assert {(d.event_id, d.action): (d.state.value, d.reason) for d in listed} == {
        ("evt_1", "save"): ("skipped", f"debounce: {last} stands for it"),
        ("evt_2", "save"): ("skipped", f"debounce: {last} stands for it"),
        ("evt_3", "save"): ("succeeded", None),
        ("evt_1", "tell"): ("skipped", "needed action save was skipped"),
        ("evt_2", "tell"): ("skipped", "needed action save was skipped"),
        ("evt_3", "tell"): ("succeeded", None),
    }


async def test_a_burst_without_an_end_acts_when_its_first_is_as_old_as_max(store: Store, clock: Clock) -> None:
    acted = []
    for number in range(30):  # one every 20 s
        await arrives(store, number)
        acted.append(await look(store))
        clock.forward(20)
    assert [number for number, count in enumerate(acted) if count] == [15]  # 300 s after the first


async def test_the_last_is_the_one_that_stripe_made_last(store: Store, clock: Clock) -> None:
    await arrives(store, 1, made_second=5)
    await arrives(store, 2, made_second=4)
    clock.forward(31)
    assert await look(store) == 1
    assert await states(store) == {"evt_1/save": "succeeded", "evt_2/save": "skipped"}


async def test_what_comes_after_is_a_burst_of_its_own_and_runs_after_the_one_before(store: Store, clock: Clock) -> None:
    await arrives(store, 1)
    clock.forward(31)
    [claim] = await claim_all(store)
    await store.finish(claim.delivery.id, claim.token, BURST)
    [acts] = await claim_all(store)
    assert acts.delivery.order_key == SETTLED_KEY
    await arrives(store, 2)
    clock.forward(31)
    [other] = await claim_all(store)
    await store.finish(other.delivery.id, other.token, BURST)
    assert await claim_all(store) == []  # the one before is still at it
    await store.finish(acts.delivery.id, acts.token, SUCCEEDED)
    assert [claim.event.id for claim in await claim_all(store)] == ["evt_2"]


async def test_a_claim_that_was_lost_settles_nothing(store: Store, clock: Clock) -> None:
    await arrives(store, 1)
    await arrives(store, 2)
    clock.forward(31)
    [claim] = await claim_all(store)
    await store.finish(claim.delivery.id, claim.token, Released())
    assert not await store.finish(claim.delivery.id, claim.token, BURST)
    pending = await store.deliveries(DeliveryFilter(states=("pending",)), limit=9)
    assert [d.state for d in pending] == [DeliveryState.PENDING] * 2
