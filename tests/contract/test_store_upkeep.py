"""What every store promises of connections, shared rates and purging (gateway.store.protocol)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gateway.core.model import (
    ConnectionChange,
    ConnectionState,
    DeliveryFilter,
    EventFilter,
    EventState,
    Finish,
    Gathered,
    Lane,
    Refusal,
    SharedRate,
    until_reached,
)
from gateway.store.answers import Purged
from gateway.store.protocol import Store
from tests.conftest import Clock
from tests.contract.test_store import DEAD, SKIPPED, SUCCEEDED, an_event, claim_all, later, owed
from tests.waiting import HANG_SECONDS

PLACES = ("sqlite", "postgresql")  # encrypted bodies are not searched: tests/integration/test_encrypted_store.py

DAY = 86400.0
PAUSED = ConnectionChange(ConnectionState.PAUSED, 30.0, "answered 503", failures=5, pauses=1, failed_delivery="dlv_1")
WORKING = ConnectionChange(ConnectionState.WORKING)


async def purge(
    store: Store, days: float = 90, dead_days: float | None = None, limit: int = 100
) -> tuple[int, int, int]:
    """A whole purge: events, deliveries, attempts."""
    total = (0, 0, 0)
    cursor: int | None = 0
    for _ in range(1000):
        assert cursor is not None
        dead = None if dead_days is None else dead_days * DAY
        step: Purged = await store.purge(
            retention_seconds=days * DAY, dead_retention_seconds=dead, cursor=cursor, limit=limit
        )
        total = (total[0] + step.events, total[1] + step.deliveries, total[2] + step.attempts)
        cursor = step.cursor
        if cursor is None:
            return total
    raise AssertionError("the purge does not end")


async def test_what_waits_for_a_connection_is_due_soon_after_it_works_again(store: Store, clock: Clock) -> None:
    actions = {
        "unreached": replace(later(3600.7), reason=until_reached("shop")),
        "another": replace(later(3600), reason=until_reached("mail")),
        "row": later(3600),
        "soon": replace(later(2), reason=until_reached("shop")),
    }
    await store.add(an_event(), [owed(action, order="1" if action == "unreached" else None) for action in actions])
    await store.add(an_event("evt_2"), [owed("behind", order="1")])
    for claim in await claim_all(store):
        if claim.delivery.action in actions:
            assert await store.finish(claim.delivery.id, claim.token, actions[claim.delivery.action])

    async def waits() -> dict[str, float]:
        pending = await store.deliveries(DeliveryFilter(states=("pending",)), limit=9)
        now = datetime.fromtimestamp(clock.now / 1000, UTC)
        return {d.action: round((d.next_attempt_at - now).total_seconds(), 1) for d in pending if d.next_attempt_at}

    for version, change in enumerate((WORKING, PAUSED)):
        assert await store.change_connection("shop", version, change) is not None
    assert (await waits())["unreached"] == 3600.7
    assert await store.change_connection("shop", 2, WORKING) is not None
    found = await waits()
    assert (found["unreached"], found["another"], found["row"], found["soon"]) == (0.7, 3600.0, 3600.0, 2.0)
    clock.forward(1)
    (claim,) = await claim_all(store)
    assert (claim.delivery.action, claim.delivery.attempts) == ("unreached", 1)  # the attempt comes early, and is free


async def test_a_connection_that_comes_and_goes_uses_up_no_attempts(store: Store, clock: Clock) -> None:
    await store.add(an_event(), [owed()])
    unreached = replace(later(3600), reason=until_reached("shop"))
    version = 0
    for _ in range(12):
        (claim,) = await claim_all(store)
        assert claim.delivery.attempts == 1
        await store.finish(claim.delivery.id, claim.token, unreached)
        for change in (PAUSED, WORKING, PAUSED, WORKING):  # twice, which is one attempt all the same
            assert await store.change_connection("shop", version, change) is not None
            version += 1
        clock.forward(5)


async def end(store: Store, how: Finish) -> str:
    """Claims the one delivery that is due and ends it so; its id."""
    (claim,) = await claim_all(store)
    assert await store.finish(claim.delivery.id, claim.token, how)
    return claim.delivery.id


async def event_ids(store: Store) -> list[str]:
    return [event.id for event in await store.events(EventFilter(), limit=1000, newest_first=False)]


# -- connections ----------------------------------------------------------------------------------------------


async def test_a_connection_that_never_changed_is_not_listed(store: Store) -> None:
    assert await store.connections() == {}


async def test_a_pause_is_seen_with_its_end_by_the_stores_clock(store: Store, clock: Clock) -> None:
    changed = await store.change_connection("shop", 0, PAUSED)
    assert changed is not None
    assert (changed.version, changed.state, changed.left_seconds) == (1, ConnectionState.PAUSED, 30.0)
    assert (changed.reason, changed.failures, changed.pauses, changed.failed_delivery) == (
        "answered 503",
        5,
        1,
        "dlv_1",
    )
    assert changed.since is not None
    assert changed.until == changed.since + timedelta(seconds=30)
    clock.forward(20)
    (seen,) = (await store.connections()).values()
    assert (seen.name, seen.left_seconds, seen.since) == ("shop", 10.0, changed.since)
    clock.forward(20)
    assert (await store.connections())["shop"].left_seconds == 0


async def test_a_pause_without_end_says_so(store: Store) -> None:
    changed = await store.change_connection("shop", 0, ConnectionChange(ConnectionState.PAUSED, None, "answered 410"))
    assert changed is not None
    assert (changed.until, changed.left_seconds) == (None, None)


async def test_of_two_who_change_the_same_version_one_wins(store: Store) -> None:
    answers = await asyncio.gather(*(store.change_connection("shop", 0, PAUSED) for _ in range(5)))
    assert sum(answer is not None for answer in answers) == 1
    assert await store.change_connection("shop", 0, WORKING) is None
    assert (await store.connections())["shop"].state is ConnectionState.PAUSED
    assert await store.change_connection("shop", 1, WORKING) is not None
    assert (await store.connections())["shop"].version == 2


async def test_since_moves_with_the_state_and_not_with_a_count(store: Store, clock: Clock) -> None:
    one = await store.change_connection("shop", 0, ConnectionChange(ConnectionState.WORKING, failures=1))
    clock.forward(10)
    two = await store.change_connection("shop", 1, ConnectionChange(ConnectionState.WORKING, failures=2))
    clock.forward(10)
    three = await store.change_connection("shop", 2, PAUSED)
    assert one is not None
    assert two is not None
    assert three is not None
    assert one.since == two.since
    assert three.since is not None
    assert two.since == three.since - timedelta(seconds=20)


async def test_a_changed_connection_is_announced_like_new_work(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.store.postgres.queue.POLL_SECONDS", 3600.0)
    await store.wait_for_work(0.01)
    waiting = asyncio.create_task(store.wait_for_work(3600))
    await store.change_connection("shop", 0, WORKING)
    await asyncio.wait_for(waiting, HANG_SECONDS)


# -- rates ----------------------------------------------------------------------------------------------------


async def test_a_rate_is_one_bucket_for_all_its_lanes_and_fills_with_time(store: Store, clock: Clock) -> None:
    for i in range(20):
        await store.add(an_event(f"evt_{i}"), [owed("a"), owed("b"), owed("free")])
    a, b, free = (Lane("acme", "fulfil", name) for name in ("a", "b", "free"))
    rate = SharedRate("shop", frozenset((a, b)), per_second=2.0, burst=4.0)

    async def taken() -> dict[str, int]:
        claims = await store.claim({a: 3, b: 3, free: 1}, lease_seconds=60, rates=[rate])
        names = [claim.delivery.action for claim in claims]
        return {name: names.count(name) for name in sorted(set(names))}

    assert await taken() == {"a": 1, "free": 1}  # a new bucket holds one
    assert await taken() == {"free": 1}
    clock.forward(1)
    assert await taken() == {"a": 2, "free": 1}
    clock.forward(0.75)
    assert await taken() == {"a": 1, "free": 1}
    clock.forward(0.25)
    assert await taken() == {"a": 1, "free": 1}  # the half from before is not lost
    clock.forward(60)
    assert await taken() == {"a": 3, "b": 1, "free": 1}  # never more than the burst


async def test_a_bucket_gives_only_for_what_was_taken(store: Store, clock: Clock) -> None:
    lane = Lane("acme", "fulfil", "save")
    rate = SharedRate("shop", frozenset((lane,)), per_second=1.0, burst=5.0)
    assert await store.claim({lane: 9}, lease_seconds=60, rates=[rate]) == []
    clock.forward(60)
    await store.add(an_event("evt_1"), [owed()])
    assert len(await store.claim({lane: 9}, lease_seconds=60, rates=[rate])) == 1
    for i in range(9):
        await store.add(an_event(f"evt_later_{i}"), [owed()])
    assert len(await store.claim({lane: 9}, lease_seconds=60, rates=[rate])) == 4


# -- purging --------------------------------------------------------------------------------------------------


async def test_a_finished_event_goes_with_its_deliveries_and_attempts(store: Store, clock: Clock) -> None:
    await store.add(an_event("evt_old"), [owed("a")])
    await end(store, later(5))
    clock.forward(5)
    id = await end(store, SUCCEEDED)
    clock.forward(50 * DAY)
    await store.add(an_event("evt_new"), [owed("a")])
    assert await purge(store) == (0, 0, 0)
    clock.forward(50 * DAY)
    assert await purge(store) == (1, 1, 2)
    assert await event_ids(store) == ["evt_new"]
    assert await store.event("evt_old") == []
    assert await store.delivery(id) is None
    assert (await store.counts())["events"] == 1


async def test_what_nobody_wanted_goes_too(store: Store, clock: Clock) -> None:
    await store.add(an_event("evt_1"), [])
    clock.forward(91 * DAY)
    assert await purge(store) == (1, 0, 0)


async def test_an_event_stays_while_one_of_its_deliveries_is_not_finished(store: Store, clock: Clock) -> None:
    await store.add(an_event("evt_pending"), [owed("a", order="1")])
    await store.add(an_event("evt_dead"), [owed("b", order="2"), owed("c", "b")])
    await store.add(an_event("evt_running"), [owed("d", order="3")])
    for claim in await claim_all(store):
        ending = {"a": later(200 * DAY), "b": DEAD}.get(claim.delivery.action)
        if ending is not None:
            await store.finish(claim.delivery.id, claim.token, ending)
    clock.forward(120 * DAY)
    assert await purge(store) == (0, 0, 0)
    assert len(await event_ids(store)) == 3


async def test_retention_begins_when_the_last_delivery_ended(store: Store, clock: Clock) -> None:
    await store.add(an_event("evt_1"), [owed()])
    dead = await end(store, DEAD)
    clock.forward(100 * DAY)
    await store.retry([dead])
    await end(store, SKIPPED)
    clock.forward(89 * DAY)
    assert await purge(store) == (0, 0, 0)
    clock.forward(2 * DAY)
    assert await purge(store) == (1, 1, 2)


async def test_a_cancelled_dead_letter_no_longer_keeps_its_event(store: Store, clock: Clock) -> None:
    await store.add(an_event("evt_1"), [owed("a"), owed("b", "a")])
    dead = await end(store, DEAD)
    clock.forward(100 * DAY)
    await store.cancel([dead], "not wanted")
    clock.forward(91 * DAY)
    assert await purge(store) == (1, 2, 1)


async def test_dead_letters_go_after_their_own_retention_with_what_waits_for_them(store: Store, clock: Clock) -> None:
    await store.add(an_event("evt_1"), [owed("a"), owed("b", "a")])
    await end(store, DEAD)
    clock.forward(199 * DAY)
    assert await purge(store, dead_days=200) == (0, 0, 0)
    clock.forward(2 * DAY)
    assert await purge(store, dead_days=200) == (1, 2, 1)


async def test_small_steps_reach_everything_past_what_is_kept(store: Store, clock: Clock) -> None:
    for i in range(25):
        await store.add(an_event(f"evt_{i:02}"), [owed()])
        await end(store, DEAD if i % 5 == 0 else SUCCEEDED)
    clock.forward(91 * DAY)
    assert await purge(store, limit=4) == (20, 20, 20)
    assert await event_ids(store) == ["evt_00", "evt_05", "evt_10", "evt_15", "evt_20"]
    assert await purge(store, limit=4) == (0, 0, 0)


async def test_a_purged_events_id_is_a_duplicate_for_45_days(store: Store, clock: Clock) -> None:
    await store.add(an_event("evt_1"), [owed()])
    await end(store, SUCCEEDED)
    clock.forward(2 * DAY)
    assert await purge(store, days=1) == (1, 1, 1)
    assert await event_ids(store) == []
    assert await store.replay("acme", "evt_1", [owed()]) is None
    clock.forward(42.9 * DAY)
    assert await purge(store, days=1) == (0, 0, 0)
    assert (await store.add(an_event("evt_1"), [owed()])).is_duplicate
    assert not (await store.add(an_event("evt_1", account="other"), [])).is_duplicate
    clock.forward(0.2 * DAY)
    await purge(store, days=1)
    assert not (await store.add(an_event("evt_1"), [owed()])).is_duplicate


async def test_events_that_arrive_while_all_others_are_purged_keep_their_order(store: Store, clock: Clock) -> None:
    for turn in range(3):
        for i in range(3):
            await store.add(an_event(f"evt_{turn}{i}"), [])
        clock.forward(2 * DAY)
        assert await purge(store, days=1) == (3, 0, 0)
    await store.add(an_event("evt_z"), [owed()])
    await store.add(an_event("evt_a"), [owed()])
    assert await event_ids(store) == ["evt_z", "evt_a"]
    assert [claim.event.id for claim in await claim_all(store)] == ["evt_z", "evt_a"]


async def test_a_once_key_that_was_done_is_honoured_after_its_delivery_is_purged(store: Store, clock: Clock) -> None:
    await store.add(an_event("evt_1"), [owed(once="cs_1")])
    holder = await end(store, SUCCEEDED)
    clock.forward(2 * DAY)
    assert await purge(store, days=1) == (1, 1, 1)
    await store.add(an_event("evt_2"), [owed(once="cs_1")])
    assert await claim_all(store) == []
    (skipped,) = await store.deliveries(DeliveryFilter(event_ids=("evt_2",)), limit=1)
    assert skipped.reason == f"once_per: {holder} has done it"
    assert await store.retry([skipped.id]) == {skipped.id: Refusal(f"once_per: {holder} has done it")}
    clock.forward(44 * DAY)
    await purge(store, days=1)
    await store.add(an_event("evt_3"), [owed(once="cs_1")])
    assert len(await claim_all(store)) == 1


async def test_a_purged_skip_leaves_no_once_key_behind(store: Store, clock: Clock) -> None:
    await store.add(an_event("evt_1"), [owed(once="cs_1")])
    await end(store, SKIPPED)
    clock.forward(2 * DAY)
    assert await purge(store, days=1) == (1, 1, 1)
    await store.add(an_event("evt_2"), [owed(once="cs_1")])
    assert len(await claim_all(store)) == 1


async def test_purged_events_are_found_by_no_filter(store: Store, clock: Clock) -> None:
    await store.add(an_event("evt_1"), [])
    clock.forward(2 * DAY)
    await purge(store, days=1)
    for where in (EventFilter(ids=("evt_1",)), EventFilter(object_id="in_1"), EventFilter(states=(EventState.ROUTED,))):
        assert await store.events(where, limit=9) == []


@pytest.mark.parametrize("how", [SUCCEEDED, DEAD])
async def test_a_turn_passes_on_in_order_of_arrival_among_a_thousand_that_wait(store: Store, how: Finish) -> None:
    await asyncio.gather(*(store.add(an_event(f"evt_{i:04}"), [owed(order="sub_1")]) for i in range(1000)))
    order = []
    for _ in range(20):
        (claim,) = await claim_all(store)
        order.append(claim.event.id)
        await store.finish(claim.delivery.id, claim.token, how)
    assert order == [f"evt_{i:04}" for i in range(20)]


async def test_a_number_that_was_purged_is_given_to_no_other_event(store: Store, clock: Clock) -> None:
    for number in range(3):
        await store.add(replace(an_event(f"evt_{number}"), state=EventState.UNMATCHED), [])
    seen = (await store.arrivals(None, limit=9)).cursor
    clock.forward(91 * DAY)
    assert await purge(store) == (3, 0, 0)
    await store.add(an_event("evt_new"), [])
    assert [event.id for event in (await store.arrivals(seen, limit=9)).events] == ["evt_new"]


async def test_a_digest_brings_no_stranger_instead_of_what_was_purged(store: Store, clock: Clock) -> None:
    for number in range(2):
        await store.add(an_event(f"evt_{number}"), [owed(order="digest")])
    (claim,) = await claim_all(store, lease_seconds=200 * DAY)
    held = (claim.delivery.id, claim.token)
    gathered = await store.gather(*held, wait_seconds=0, every_seconds=0, most=9)
    assert isinstance(gathered, Gathered)
    assert [event.id for event in gathered.events] == ["evt_0", "evt_1"]
    clock.forward(91 * DAY)
    assert await purge(store) == (1, 1, 0)
    await store.add(an_event("evt_stranger"), [])
    gathered = await store.gather(*held, wait_seconds=0, every_seconds=0, most=9)
    assert isinstance(gathered, Gathered)
    assert ([event.id for event in gathered.events], gathered.count) == (["evt_0"], 2)


async def test_the_console_sees_nothing_of_what_was_purged(store: Store, clock: Clock) -> None:
    def when() -> datetime:
        return datetime.fromtimestamp(clock() / 1000, UTC)

    filters = (
        EventFilter(),
        EventFilter(accounts=("acme",)),
        EventFilter(types=("invoice.*",)),
        EventFilter(ids=("evt_old_1", "evt_new")),
        EventFilter(object_id="in_1"),
        EventFilter(since=when() - timedelta(days=1)),
        EventFilter(until=when() + timedelta(days=9)),
    )
    for i in range(3):
        await store.add(replace(an_event(f"evt_old_{i}"), object_id="in_1"), [])
    begin = when()
    clock.forward(2 * DAY)
    assert await purge(store, days=1) == (3, 0, 0)
    for where in filters:
        assert (await store.event_page(where, limit=9)).items == []
        assert await store.count_events(where, at_most=9) == 0
    assert (await store.event_page(EventFilter(text="evt"), limit=9)).items == []
    assert await store.last_events() == {}
    assert list(await store.event_kinds()) == []
    arrivals = await store.arrivals(None, limit=9)
    await store.add(replace(an_event("evt_new"), object_id="in_1"), [])
    clock.forward(1)
    for where in filters:
        assert [event.id for event in (await store.event_page(where, limit=9)).items] == ["evt_new"]
        assert [event.id for event in (await store.event_page(where, limit=9, oldest_first=True)).items] == ["evt_new"]
        assert await store.count_events(where, at_most=9) == 1
    assert [event.id for event in (await store.event_page(EventFilter(text="evt"), limit=9)).items] == ["evt_new"]
    assert [event.id for event in (await store.arrivals(arrivals.cursor, limit=9)).events] == ["evt_new"]
    assert list(await store.last_events()) == ["acme"]
    assert [kind.state for kind in await store.event_kinds()] == ["routed"]
    (bucket,) = await store.buckets([begin - timedelta(days=1), when()])
    assert bucket.events == {"routed": 1}
