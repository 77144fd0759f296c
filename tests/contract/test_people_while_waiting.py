"""What people do while deliveries wait, whatever for: `after`, `during`, `approve` or a burst of `debounce`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.core.keys import key_of
from gateway.core.model import (
    DONE,
    WAITS,
    Burst,
    Delivery,
    DeliveryFilter,
    HeldForYes,
    Outcome,
    PlannedDelivery,
    Released,
)
from gateway.core.routing import settled_key
from gateway.store.protocol import Store
from tests.conftest import Clock
from tests.contract.test_store import SUCCEEDED, an_event, claim_all, owed, states
from tests.contract.test_waiting import waiting

PLACES = ("sqlite", "postgresql")
HOUR = 3600.0
BURST = key_of("debounce", "acme", None, "fulfil", "remind", "cus_1")
KINDS: dict[str, Outcome | None] = {
    "after": None,  # it is planned so
    "during": Released(f"{WAITS}tomorrow", HOUR),
    "approve": HeldForYes(HOUR, "waits for a yes"),
    "debounce": Burst(str(settled_key(BURST)), HOUR, 2 * HOUR),
}
kinds = pytest.mark.parametrize("kind", KINDS)


def planned(kind: str, clock: Clock) -> PlannedDelivery:
    if kind == "after":
        return waiting(clock, HOUR / 86400, None)
    return replace(owed("remind"), order_key=BURST if kind == "debounce" else None)


async def waits(store: Store, clock: Clock, kind: str) -> Delivery:
    """One that waits for an hour, and another action that needs it."""
    await store.add(an_event(), [planned(kind, clock), owed("note", "remind")])
    await settle(store, kind)
    (delivery,) = await store.deliveries(DeliveryFilter(states=("pending",)), limit=9)
    return delivery


async def settle(store: Store, kind: str) -> None:
    """Has what is due look what it waits for."""
    ending = KINDS[kind]
    for claim in await claim_all(store):
        assert ending is not None
        assert await store.finish(claim.delivery.id, claim.token, ending)


@kinds
async def test_cancelled_it_runs_at_no_time_and_what_needs_it_is_skipped(store: Store, clock: Clock, kind: str) -> None:
    delivery = await waits(store, clock, kind)
    assert await store.cancel([delivery.id], "no longer wanted") == {delivery.id: DONE}
    clock.forward(3 * HOUR)
    assert await claim_all(store) == []
    assert await states(store) == {"evt_1/remind": "cancelled", "evt_1/note": "skipped"}


@kinds
async def test_retried_after_that_it_is_due_at_once(store: Store, clock: Clock, kind: str) -> None:
    delivery = await waits(store, clock, kind)
    await store.cancel([delivery.id], "no longer wanted")
    assert await store.retry([delivery.id]) == {delivery.id: DONE}
    (claim,) = await claim_all(store)
    await store.finish(claim.delivery.id, claim.token, SUCCEEDED)
    assert await states(store) == {"evt_1/remind": "succeeded", "evt_1/note": "pending"}


@kinds
async def test_forgotten_it_goes_on_waiting_and_is_claimed_without_what_its_event_said(
    store: Store, clock: Clock, kind: str
) -> None:
    delivery = await waits(store, clock, kind)
    inner = getattr(store, "inner", store)
    (event,) = (await inner.contents(0, limit=9)).items
    assert await inner.replace_contents(event, replace(event, body=b'{"forgotten": true}', object_id=None))
    assert await claim_all(store) == []
    clock.forward(HOUR + 1)
    (claim,) = await claim_all(store)
    assert (claim.delivery.id, claim.event.body) == (delivery.id, b'{"forgotten": true}')


@kinds
async def test_handed_back_when_its_time_has_come_since_all_is_paused_it_keeps_its_place(
    store: Store, clock: Clock, kind: str
) -> None:
    delivery = await waits(store, clock, kind)
    clock.forward(HOUR + 1)
    for _ in range(2):
        (claim,) = await claim_all(store)
        assert await store.finish(claim.delivery.id, claim.token, Released())
        (delivery,) = await store.deliveries(DeliveryFilter(states=("pending",)), limit=9)
        assert (delivery.waits_until, delivery.attempts) == (None, 0)


@kinds
async def test_its_event_replayed_it_waits_beside_the_replay(store: Store, clock: Clock, kind: str) -> None:
    first = await waits(store, clock, kind)
    clock.forward(60)
    (again,) = await store.replay("acme", "evt_1", [planned(kind, clock)]) or []
    await settle(store, kind)
    pending = await store.deliveries(DeliveryFilter(states=("pending",)), limit=9)
    assert {delivery.id for delivery in pending} == {first.id, again}
    assert await claim_all(store) == []
    clock.forward(2 * HOUR)
    assert {claim.delivery.id for claim in await claim_all(store)} <= {first.id, again}
