"""What every store promises of deliveries that wait until a time, and of the events that cancel them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from gateway.core.model import (
    DONE,
    WAITS,
    Delivery,
    DeliveryFilter,
    DeliveryState,
    Event,
    EventSource,
    Lane,
    PlannedDelivery,
    Refusal,
    Rekeyed,
    Released,
)
from gateway.store.protocol import Store
from tests.conftest import Clock
from tests.contract.test_store import DEAD, SUCCEEDED, an_event, claim_all, later, owed, states
from tests.contract.test_store_upkeep import purge

DAY = 86400


def at(clock: Clock, seconds: float = 0) -> datetime:
    """A time so far from now, in whole seconds as Stripe's are."""
    return datetime.fromtimestamp(clock.now // 1000 + seconds, UTC)


def waiting(clock: Clock, days: float = 3, key: str | None = "cus_1", *needs: str) -> PlannedDelivery:
    return replace(
        owed("remind", *needs), is_judged=False, waits_until=at(clock, days * DAY), why_later="after: 3d", until_key=key
    )


def happened(event: Event, clock: Clock, seconds: float = 0, *ends: str) -> Event:
    return replace(event, created_at=at(clock, seconds), ends=ends)


async def reminder(store: Store) -> Delivery:
    (delivery,) = [d for d in await store.deliveries(DeliveryFilter(), limit=10) if d.action == "remind"]
    return delivery


async def test_it_runs_when_its_time_has_come_and_not_before(place: Callable[[], Store], clock: Clock) -> None:
    first = place()
    await first.start()
    await first.add(an_event(), [waiting(clock), owed("save")])
    planned = await reminder(first)
    assert planned.waits_until == planned.next_attempt_at == at(clock, 3 * DAY)
    assert planned.reason == f"{WAITS}{at(clock, 3 * DAY).isoformat()} (after: 3d)"
    assert (await first.due()).next_in_seconds == pytest.approx(3 * DAY, abs=60)
    assert [claim.delivery.action for claim in await claim_all(first)] == ["save"]
    await first.close()
    store = place()  # restarted
    await store.start()
    clock.forward(3 * DAY - 1)
    assert "remind" not in [claim.delivery.action for claim in await claim_all(store)]
    clock.forward(2)
    (claim,) = [claim for claim in await claim_all(store) if claim.delivery.action == "remind"]
    assert claim.delivery.waits_until is None
    assert str(claim.delivery.reason).startswith(WAITS)
    await store.close()


async def test_a_time_that_is_past_is_due_at_once(store: Store, clock: Clock) -> None:
    await store.add(an_event(), [waiting(clock, -1)])
    assert len(await claim_all(store)) == 1


async def test_while_it_waits_it_holds_nobody_up_and_then_takes_its_turn(store: Store, clock: Clock) -> None:
    await store.add(an_event("evt_1"), [waiting(clock, 1)])
    await store.add(an_event("evt_2"), [replace(owed("remind"), order_key="k")])
    (second,) = await claim_all(store)
    assert second.delivery.event_id == "evt_2"
    clock.forward(DAY + 1)
    await store.renew([(second.delivery.id, second.token)], lease_seconds=60)
    (first,) = await claim_all(store)
    assert await store.finish(first.delivery.id, first.token, Rekeyed(None, "k"))
    assert await claim_all(store) == []  # the other runs
    await store.finish(second.delivery.id, second.token, SUCCEEDED)
    (again,) = await claim_all(store)
    assert (again.delivery.id, again.delivery.attempts) == (first.delivery.id, 1)


async def test_one_that_needs_another_waits_for_both(store: Store, clock: Clock) -> None:
    await store.add(an_event(), [owed("save"), waiting(clock, 1, None, "save")])
    assert (await reminder(store)).waits_until == at(clock, DAY)
    (save,) = await claim_all(store)
    await store.finish(save.delivery.id, save.token, SUCCEEDED)
    assert await claim_all(store) == []
    assert (await states(store))["evt_1/remind"] == "pending"
    clock.forward(DAY + 1)
    assert len(await claim_all(store)) == 1


async def test_a_clock_that_is_put_back_changes_no_order_of_what_stripe_has_told(store: Store, clock: Clock) -> None:
    first, ending = happened(an_event("evt_1"), clock), happened(an_event("evt_2"), clock, 10, "cus_1")
    await store.add(ending, [])
    clock.forward(-3600)
    await purge(store)
    await store.add(first, [waiting(clock)])
    assert (await reminder(store)).state is DeliveryState.CANCELLED


async def test_an_event_of_the_gateway_s_own_is_taken_for_now_where_its_clock_was_ahead(
    store: Store, clock: Clock
) -> None:
    clock.forward(3600)
    await store.add(replace(happened(an_event("evt_2"), clock, 0, "cus_1"), source=EventSource.OWN), [])
    clock.forward(-3600)
    await purge(store)
    clock.forward(60)
    await store.add(happened(an_event("evt_1"), clock), [waiting(clock)])
    assert (await reminder(store)).state is DeliveryState.PENDING


async def test_who_retries_it_with_what_it_needs_has_it_wait_for_no_event_any_more(store: Store, clock: Clock) -> None:
    await store.add(
        happened(an_event("evt_1"), clock), [owed("save"), replace(owed("remind", "save"), until_key="cus_1")]
    )
    ids = {delivery.action: delivery.id for delivery in await store.deliveries(DeliveryFilter(), limit=10)}
    await store.cancel([ids["save"]], "no")
    await store.add(happened(an_event("evt_2"), clock, 10, "cus_1"), [])
    assert await store.retry([ids["save"], ids["remind"]]) == {ids["save"]: DONE, ids["remind"]: DONE}
    assert await states(store) == {"evt_1/save": "pending", "evt_1/remind": "blocked"}


async def test_a_person_who_retries_it_need_not_wait(store: Store, clock: Clock) -> None:
    await store.add(an_event(), [waiting(clock)])
    delivery = await reminder(store)
    assert await store.retry([delivery.id]) == {delivery.id: DONE}
    assert (await reminder(store)).waits_until is None
    assert len(await claim_all(store)) == 1


async def test_hours_that_are_closed_are_waited_for_by_the_calendar(store: Store, clock: Clock) -> None:
    await store.add(an_event(), [owed("remind")])
    (claim,) = await claim_all(store)
    await store.finish(claim.delivery.id, claim.token, Released(f"{WAITS}tomorrow", 3600.0))
    delivery = await reminder(store)
    assert delivery.waits_until == delivery.next_attempt_at
    assert [d.id for d in (await store.delivery_page(DeliveryFilter(waiting=True), limit=5)).items] == [delivery.id]
    assert await store.count_deliveries(DeliveryFilter(waiting=True), at_most=9) == 1
    clock.forward(3601)
    assert len(await claim_all(store)) == 1
    assert await store.count_deliveries(DeliveryFilter(waiting=True), at_most=9) == 0


async def test_a_clock_that_is_mended_moves_no_planned_time(store: Store, clock: Clock) -> None:
    planned_for = at(clock, 3 * DAY)
    clock.forward(3600)  # it is ahead
    await store.add(an_event(), [replace(waiting(clock), waits_until=planned_for)])
    clock.forward(-3600)
    await store.due()
    await store.purge(retention_seconds=DAY, dead_retention_seconds=None)
    assert (await reminder(store)).next_attempt_at == planned_for


async def test_its_event_is_kept_until_it_has_run(store: Store, clock: Clock) -> None:
    await store.add(an_event(), [waiting(clock, 30)])
    clock.forward(20 * DAY)
    assert (await store.purge(retention_seconds=DAY, dead_retention_seconds=DAY)).events == 0
    assert len(await store.event("evt_1")) == 1


async def test_it_is_no_backlog_before_its_time_has_come(store: Store, clock: Clock) -> None:
    await store.add(an_event(), [waiting(clock, 1)])
    (lane,) = await store.lane_states()
    assert (dict(lane.counts), lane.oldest_at) == ({"pending": 1}, None)
    clock.forward(DAY + 60)
    (lane,) = await store.lane_states()
    assert (dict(lane.counts), lane.oldest_at) == ({"pending": 1}, at(clock, -60))


async def test_the_oldest_is_told_behind_hundreds_that_wait(store: Store, clock: Clock) -> None:
    await asyncio.gather(*(store.add(an_event(f"evt_{n}"), [waiting(clock)]) for n in range(250)))
    assert (await store.status()).oldest_pending_at is None
    clock.forward(60)
    made_at = datetime.fromtimestamp(clock.now / 1000, UTC)
    await store.add(an_event("evt_now"), [owed("remind")])

    async def oldest() -> tuple[datetime | None, datetime | None]:
        (lane,) = await store.lane_states()
        return lane.oldest_at, (await store.status()).oldest_pending_at

    assert await oldest() == (made_at, made_at)
    (claim,) = await claim_all(store)
    await store.finish(claim.delivery.id, claim.token, later(3600))
    clock.forward(60)
    assert await oldest() == (made_at, made_at)  # also while it waits for a retry


# -- until ----------------------------------------------------------------------------------------------------


async def test_an_event_that_comes_cancels_what_waits_and_what_needs_it(store: Store, clock: Clock) -> None:
    await store.add(happened(an_event("evt_1"), clock), [waiting(clock), owed("note", "remind")])
    await store.add(happened(an_event("evt_2"), clock), [waiting(clock, 3, "cus_2")])
    await store.add(happened(an_event("evt_paid"), clock, 5, "cus_1", "cus_9"), [])
    assert await states(store) == {
        "evt_1/remind": "cancelled",
        "evt_1/note": "skipped",
        "evt_2/remind": "pending",
    }
    delivery = next(d for d in await store.deliveries(DeliveryFilter(event_ids=["evt_1"]), limit=9) if not d.needs)
    assert delivery.reason == "until: evt_paid (invoice.paid) came first"
    assert delivery.waits_until is None


async def test_an_event_that_happened_before_cancels_nothing(store: Store, clock: Clock) -> None:
    await store.add(happened(an_event("evt_1"), clock), [waiting(clock)])
    await store.add(happened(an_event("evt_old"), clock, -1, "cus_1"), [])
    assert (await states(store))["evt_1/remind"] == "pending"


async def test_in_the_same_second_the_later_arrival_is_the_later(store: Store, clock: Clock) -> None:
    await store.add(happened(an_event("evt_paid"), clock, 0, "cus_1"), [])
    await store.add(happened(an_event("evt_1"), clock), [waiting(clock)])
    assert (await states(store))["evt_1/remind"] == "pending"
    await store.add(happened(an_event("evt_paid_2"), clock, 0, "cus_1"), [])
    assert (await states(store))["evt_1/remind"] == "cancelled"


async def test_one_that_happened_later_cancels_though_it_came_first(store: Store, clock: Clock) -> None:
    await store.add(happened(an_event("evt_paid"), clock, 9, "cus_1"), [])
    await store.add(happened(an_event("evt_paid_old"), clock, -9, "cus_1"), [])  # the last to happen is remembered
    await store.add(happened(an_event("evt_1"), clock), [waiting(clock)])
    assert (await states(store))["evt_1/remind"] == "cancelled"


async def test_a_replayed_event_is_cancelled_by_what_came_since(store: Store, clock: Clock) -> None:
    await store.add(happened(an_event("evt_1"), clock), [])
    await store.add(happened(an_event("evt_paid"), clock, 9, "cus_1"), [])
    assert await store.replay("acme", "evt_1", [waiting(clock)]) is not None
    delivery = await reminder(store)
    assert delivery.state.value == "cancelled"
    await store.retry([delivery.id])  # a person insists
    (claim,) = await claim_all(store)
    await store.finish(claim.delivery.id, claim.token, later(0))
    assert (await states(store))["evt_1/remind"] == "pending"


async def test_a_repeated_event_cancels_once(store: Store, clock: Clock) -> None:
    paid = happened(an_event("evt_paid"), clock, 9, "cus_1")
    await store.add(paid, [])
    await store.add(happened(an_event("evt_1"), clock, 20), [waiting(clock)])
    assert (await store.add(replace(paid, created_at=at(clock, 30)), [])).is_duplicate
    assert (await states(store))["evt_1/remind"] == "pending"


async def test_its_own_event_does_not_cancel_it_but_the_next_of_the_kind_does(store: Store, clock: Clock) -> None:
    for second in (0, 0, 1):
        name = f"evt_{len(await states(store))}"
        await store.add(happened(an_event(name), clock, second, "cus_1"), [waiting(clock)])
    assert list((await states(store)).values()) == ["cancelled", "cancelled", "pending"]


async def test_what_runs_is_not_tried_again_once_it_is_cancelled(store: Store, clock: Clock) -> None:
    await store.add(happened(an_event("evt_1"), clock), [waiting(clock, 0)])
    (claim,) = await claim_all(store)
    await store.add(happened(an_event("evt_paid"), clock, 9, "cus_1"), [])
    assert (await states(store))["evt_1/remind"] == "running"
    assert await store.finish(claim.delivery.id, claim.token, later(5))
    assert (await states(store))["evt_1/remind"] == "cancelled"


async def test_one_that_is_tried_again_is_cancelled_and_lets_the_next_go(store: Store, clock: Clock) -> None:
    first = replace(owed("remind", order="k"), until_key="cus_1")
    await store.add(happened(an_event("evt_1"), clock), [first])
    await store.add(happened(an_event("evt_2"), clock), [replace(first, until_key="cus_2")])
    (claim,) = await claim_all(store)
    await store.finish(claim.delivery.id, claim.token, later(600))
    await store.add(happened(an_event("evt_paid"), clock, 9, "cus_1"), [])
    (following,) = await claim_all(store)
    assert following.delivery.event_id == "evt_2"


async def test_one_that_is_handed_back_with_a_key_is_cancelled_by_it(store: Store, clock: Clock) -> None:
    await store.add(happened(an_event("evt_1"), clock), [owed("remind")])
    (claim,) = await claim_all(store)
    await store.finish(claim.delivery.id, claim.token, Released(f"{WAITS}then", 60.0, until_key="cus_1"))
    await store.add(happened(an_event("evt_paid"), clock, 9, "cus_1"), [])
    assert (await states(store))["evt_1/remind"] == "cancelled"


async def test_a_dead_letter_is_not_cancelled(store: Store, clock: Clock) -> None:
    await store.add(happened(an_event("evt_1"), clock), [waiting(clock, 0)])
    (claim,) = await claim_all(store)
    await store.finish(claim.delivery.id, claim.token, DEAD)
    await store.add(happened(an_event("evt_paid"), clock, 9, "cus_1"), [])
    assert (await states(store))["evt_1/remind"] == "dead"


async def test_of_a_claim_and_a_cancelling_event_at_once_one_wins_wholly(store: Store, clock: Clock) -> None:
    """Whatever the order: what is not claimed when the event is answered is cancelled, and is never claimed."""
    await asyncio.gather(*(store.add(happened(an_event(f"evt_{i}"), clock), [waiting(clock, -1)]) for i in range(40)))
    (lane,) = (await store.due()).lanes
    claims, *_ = await asyncio.gather(
        store.claim({lane: 10}, lease_seconds=60),
        store.add(happened(an_event("evt_paid"), clock, 9, "cus_1"), []),
        store.add(happened(an_event("evt_paid_2"), clock, 9, "cus_1"), []),
    )
    counts = await store.counts()
    assert (counts.get("running", 0), counts["cancelled"]) == (len(claims), 40 - len(claims))
    assert await claim_all(store) == []


async def test_of_an_event_and_one_that_cancels_it_at_once_both_are_seen(store: Store, clock: Clock) -> None:
    for i in range(20):
        key = f"cus_{i}"
        await asyncio.gather(
            store.add(happened(an_event(f"evt_{i}"), clock), [waiting(clock, 3, key)]),
            store.add(happened(an_event(f"evt_paid_{i}"), clock, 9, key), []),
        )
    assert set((await states(store)).values()) == {"cancelled"}


async def test_a_clock_that_is_behind_stripes_changes_nothing_of_when_they_happened(store: Store, clock: Clock) -> None:
    await store.add(happened(an_event("evt_paid"), clock, 300, "cus_1"), [])
    await store.purge(retention_seconds=DAY, dead_retention_seconds=None)
    await store.add(happened(an_event("evt_1"), clock, 200), [waiting(clock)])
    assert (await states(store))["evt_1/remind"] == "cancelled"


async def test_what_cancels_is_forgotten_with_the_ids(store: Store, clock: Clock) -> None:
    await store.add(happened(an_event("evt_paid"), clock, 10 * DAY, "cus_1"), [])
    clock.forward(50 * DAY)
    cursor: int | None = 0
    while cursor is not None:
        cursor = (await store.purge(retention_seconds=DAY, dead_retention_seconds=None, cursor=cursor)).cursor
    await store.add(replace(an_event("evt_1"), created_at=at(clock, -45 * DAY)), [waiting(clock)])
    assert (await states(store))["evt_1/remind"] == "pending"


async def test_what_two_keys_of_one_event_cancel_is_cancelled_though_it_needs_the_other(
    store: Store, clock: Clock
) -> None:
    needy = replace(owed("note", "remind"), until_key="cus_2")
    await store.add(happened(an_event("evt_1"), clock), [waiting(clock), needy])
    await store.add(happened(an_event("evt_paid"), clock, 9, "cus_1", "cus_2"), [])
    assert set((await states(store)).values()) == {"cancelled"}


# -- more than one transaction cancels ------------------------------------------------------------------------

MANY = 600  # two steps, and a part of a third


async def overtaken(store: Store, clock: Clock, days: float = 3) -> None:
    """Many that wait, and the event that cancels them."""
    await store.add(happened(an_event("evt_1"), clock), [waiting(clock, days)] * MANY)
    await store.add(happened(an_event("evt_paid"), clock, 9, "cus_1"), [])


async def test_an_event_that_cancels_many_is_answered_after_some_and_looking_for_work_cancels_the_rest(
    place: Callable[[], Store], clock: Clock
) -> None:
    first = place()
    await first.start()
    await overtaken(first, clock)
    assert 0 < (await first.counts())["pending"] < MANY
    await first.close()
    store = place()  # restarted
    await store.start()
    steps = 0
    while (await store.due()).next_in_seconds == 0.0:
        steps += 1
    assert steps == 1  # of MANY, one was done at once, and the last leaves nothing
    assert (await store.counts())["cancelled"] == MANY
    await store.close()


async def test_what_is_yet_to_be_cancelled_is_never_claimed(store: Store, clock: Clock) -> None:
    await overtaken(store, clock, -1)
    pending = (await store.counts())["pending"]
    assert await store.claim({Lane("acme", "fulfil", "remind"): MANY}, lease_seconds=60) == []
    assert pending > 0
    assert (await store.counts())["cancelled"] == MANY


async def test_an_event_since_then_is_not_held_up_by_them(store: Store, clock: Clock) -> None:
    await overtaken(store, clock, -1)
    await store.add(happened(an_event("evt_next"), clock, 20), [waiting(clock, -1)])
    (claim,) = await store.claim({Lane("acme", "fulfil", "remind"): MANY}, lease_seconds=60)
    assert claim.delivery.event_id == "evt_next"


async def test_a_person_who_retries_one_that_is_yet_to_be_cancelled_has_it_run(store: Store, clock: Clock) -> None:
    await overtaken(store, clock)
    delivery = next(d for d in await store.deliveries(DeliveryFilter(), limit=9) if d.state.value == "pending")
    assert isinstance(await store.answer(delivery.id, "anna", is_yes=True), Refusal)  # it is cancelled
    other = next(d for d in await store.deliveries(DeliveryFilter(), limit=9) if d.state.value == "pending")
    assert await store.retry([other.id]) == {other.id: DONE}
    (claim,) = await store.claim({Lane("acme", "fulfil", "remind"): MANY}, lease_seconds=60)
    assert claim.delivery.id == other.id
