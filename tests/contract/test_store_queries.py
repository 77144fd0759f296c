"""What every store promises to the console (gateway.store.protocol, "the console")."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gateway.core.errors import UsageError
from gateway.core.model import (
    Attempt,
    AttemptOutcome,
    AuditEntry,
    DeliveryFilter,
    DeliveryState,
    Event,
    EventFilter,
    EventState,
    Finish,
    Lane,
    PlannedDelivery,
)
from gateway.store.answers import EventKind
from gateway.store.protocol import Store
from tests.conftest import Clock

PLACES = ("sqlite", "postgresql")  # encrypted bodies are not searched: tests/integration/test_encrypted_store.py

NOW = datetime(2026, 11, 24, tzinfo=UTC)
TYPES = ("invoice.paid", "invoice.created", "customer.created")


def an_event(number: int, type: str, account: str = "acme", state: EventState = EventState.ROUTED) -> Event:
    body = f'{{"id": "evt_{number}", "note": "number {number}"}}'.encode()
    return Event(account, f"evt_{number}", type, state, False, NOW, body, object_id=f"in_{number % 3}")


def owed(action: str = "save", *needs: str, route: str = "fulfil") -> PlannedDelivery:
    return PlannedDelivery(route, action, needs)


async def fill(store: Store, clock: Clock, count: int = 30) -> None:
    """So many events, a minute apart, of three types and two accounts; each owes two deliveries."""
    for number in range(count):
        account = "other" if number % 5 == 0 else "acme"
        state = EventState.UNMATCHED if number % 7 == 0 else EventState.ROUTED
        planned = [] if state is EventState.UNMATCHED else [owed("save"), owed("ship", "save")]
        await store.add(an_event(number, TYPES[number % 3], account, state), planned)
        clock.forward(60)


async def finish_all(store: Store, state: DeliveryState, reason: str | None = None) -> None:
    due = await store.due()
    for claim in await store.claim(dict.fromkeys(due.lanes, 100), lease_seconds=60):
        outcome = AttemptOutcome.SUCCEEDED if state is DeliveryState.SUCCEEDED else AttemptOutcome.DEAD
        finish = Finish(state, Attempt(1, NOW, 0.01, outcome, reason), reason=reason)
        await store.finish(claim.delivery.id, claim.token, finish)


async def all_ids(store: Store, where: EventFilter, *, limit: int, oldest_first: bool = False) -> list[str]:
    """Every page of a list, one after the other."""
    found: list[str] = []
    after: str | None = None
    while True:
        page = await store.event_page(where, limit=limit, after=after, oldest_first=oldest_first)
        found += [event.id for event in page.items]
        assert len(page.items) <= limit
        after = page.next
        if after is None:
            return found


@pytest.mark.parametrize("oldest_first", [False, True])
@pytest.mark.parametrize(
    "where",
    [
        EventFilter(),
        EventFilter(types=("invoice.*",)),
        EventFilter(types=("invoice.paid", "customer.created"), accounts=("acme",)),
        EventFilter(states=("unmatched",)),
        EventFilter(accounts=("other",), states=("routed",)),
        EventFilter(object_id="in_2"),
        EventFilter(object_id="in_2", types=("nothing",)),
        EventFilter(ids=("evt_3", "evt_4", "evt_99")),
        EventFilter(types=("[ci]*.[!p]*",)),
        EventFilter(types=("[z-a]*",)),  # a range that holds nothing
        EventFilter(text="number 2"),
        EventFilter(text="number 2", types=("invoice.*",)),
        EventFilter(text="nowhere"),
        EventFilter(text="number 2", object_id="in_2"),
    ],
)
async def test_pages_are_the_whole_list_in_order_without_repeats(
    store: Store, clock: Clock, where: EventFilter, oldest_first: bool
) -> None:
    await fill(store, clock)
    whole = await store.events(where, limit=1000, newest_first=not oldest_first)
    for limit in (1, 4, 1000):
        assert await all_ids(store, where, limit=limit, oldest_first=oldest_first) == [event.id for event in whole]


async def test_times_narrow_to_the_second_and_count_the_same(store: Store, clock: Clock) -> None:
    start = datetime.fromtimestamp(clock() / 1000, UTC)
    await fill(store, clock)
    between = EventFilter(since=start + timedelta(minutes=10), until=start + timedelta(minutes=13))
    assert await all_ids(store, between, limit=2) == ["evt_12", "evt_11", "evt_10"]
    narrowed = EventFilter(since=between.since, until=between.until, types=("invoice.*",))
    assert await all_ids(store, narrowed, limit=2) == ["evt_12", "evt_10"]
    assert await store.count_events(narrowed, at_most=100) == 2
    assert await store.count_events(between, at_most=100) == 3
    made = DeliveryFilter(since=between.since, until=between.until, actions=("save",))
    assert await store.count_deliveries(made, at_most=100) == 3
    assert await store.count_events(EventFilter(types=("invoice.*",)), at_most=1000) == 20
    assert await store.count_events(EventFilter(types=("invoice.*",)), at_most=7) == 7
    assert await store.count_events(EventFilter(object_id="in_1"), at_most=1000) == 10
    with pytest.raises(UsageError, match=r"^a search by text cannot be counted"):
        await store.count_events(EventFilter(text="x"), at_most=10)


async def test_what_arrives_meanwhile_neither_repeats_nor_hides_anything(store: Store, clock: Clock) -> None:
    await fill(store, clock, 10)
    first = await store.event_page(EventFilter(accounts=("acme",)), limit=3)
    await store.add(an_event(50, "invoice.paid"), [])
    rest = await store.event_page(EventFilter(accounts=("acme",)), limit=100, after=first.next)
    assert [e.id for e in (*first.items, *rest.items)] == ["evt_9", "evt_8", "evt_7", "evt_6", "evt_4", "evt_3", "evt_2", "evt_1"]  # fmt: skip  # noqa: E501


async def test_a_wrong_cursor_is_told(store: Store) -> None:
    for cursor in ("x", "-1", "1; DROP TABLE events", "9" * 30):
        with pytest.raises(UsageError, match=r"^the cursor is not one that this list gave out$"):
            await store.event_page(EventFilter(), limit=1, after=cursor)
        with pytest.raises(UsageError):
            await store.delivery_page(DeliveryFilter(), limit=1, after=cursor)


async def test_words_with_a_nul_find_nothing(store: Store, clock: Clock) -> None:
    await fill(store, clock, 3)
    for where in (EventFilter(ids=("evt_1\0",)), EventFilter(object_id="\0"), EventFilter(types=("\0",))):
        assert (await store.event_page(where, limit=5)).items == []
    assert (await store.event_page(EventFilter(text="\0"), limit=5)).items == []
    assert (await store.delivery_page(DeliveryFilter(event_ids=("\0",)), limit=5)).items == []


async def test_pages_of_deliveries_in_every_state(store: Store, clock: Clock) -> None:
    await fill(store, clock, 12)
    due = await store.due()
    running = await store.claim({due.lanes[0]: 2}, lease_seconds=600)
    for where in (
        DeliveryFilter(),
        DeliveryFilter(states=("pending",)),
        DeliveryFilter(states=("running",)),
        DeliveryFilter(states=("running", "blocked")),
        DeliveryFilter(accounts=("acme",)),
        DeliveryFilter(actions=("ship",)),
        DeliveryFilter(lanes=[("fulfil", "save")]),
        DeliveryFilter(lanes=[]),
        DeliveryFilter(routes=("nothing",)),
        DeliveryFilter(event_ids=("evt_4",)),
        DeliveryFilter(ids=(running[0].delivery.id,)),
    ):
        for newest_first in (True, False):
            whole = [one.id for one in await store.deliveries(where, limit=1000, newest_first=newest_first)]
            found: list[str] = []
            after: str | None = None
            while True:
                page = await store.delivery_page(where, limit=3, after=after, oldest_first=not newest_first)
                found += [one.id for one in page.items]
                after = page.next
                if after is None:
                    break
            assert found == whole, where
        assert await store.count_deliveries(where, at_most=1000) == len(whole), where


async def test_arrivals_are_what_came_since(store: Store, clock: Clock) -> None:
    await fill(store, clock, 3)
    nothing = await store.arrivals(None, limit=10)
    assert list(nothing.events) == []
    await store.add(an_event(10, "invoice.paid"), [])
    await store.add(an_event(11, "invoice.paid"), [])
    found = await store.arrivals(nothing.cursor, limit=10)
    assert [event.id for event in found.events] == ["evt_10", "evt_11"]
    assert found.left_out == 0
    one = await store.arrivals(nothing.cursor, limit=1)
    assert ([event.id for event in one.events], one.left_out) == (["evt_11"], 1)
    assert list((await store.arrivals(found.cursor, limit=10)).events) == []


async def test_the_overview_counts_what_happened_and_what_waits(store: Store, clock: Clock) -> None:
    start = datetime.fromtimestamp(clock() / 1000, UTC)
    await fill(store, clock, 10)  # 0 and 7 are unmatched
    await finish_all(store, DeliveryState.SUCCEEDED)
    await finish_all(store, DeliveryState.DEAD, "no such host")
    edges = [start, start + timedelta(minutes=5), start + timedelta(hours=1)]
    early, late = await store.buckets(edges)
    assert (early.start, dict(early.events), dict(early.deliveries)) == (start, {"routed": 4, "unmatched": 1}, {})
    assert (dict(late.events), dict(late.deliveries)) == ({"routed": 4, "unmatched": 1}, {"succeeded": 8, "dead": 8})
    came = await store.counts_by_time(edges, EventFilter(accounts=("acme",)))
    assert {kind[0] for bar in came for kind in bar} == {"acme"}
    assert [sum(count for kind, count in bar.items() if kind[2] == "routed") for bar in came] == [4, 3]
    early_type, _ = await store.counts_by_time(edges, EventFilter(types=(TYPES[1],)))
    assert dict(early_type) == {("acme", TYPES[1], "routed"): 2}
    made = await store.counts_by_time(edges, DeliveryFilter(actions=("ship",), accounts=("acme",)))
    assert [dict(bar) for bar in made] == [{("acme", "fulfil", "ship", "dead"): count} for count in (4, 3)]
    before, after = await store.latencies(edges, limit=5)
    assert (list(before), len(after)) == ([], 5)
    assert list(after) == sorted(after)
    lanes = {state.lane: state for state in await store.lane_states()}
    assert dict(lanes[Lane("acme", "fulfil", "ship")].counts) == {"dead": 7}
    (cause,) = await store.dead_causes(among=100)
    assert (cause.route, cause.action, cause.reason, cause.count) == ("fulfil", "ship", "no such host", 8)
    last = await store.last_events()
    assert last == {"acme": start + timedelta(minutes=9), "other": start + timedelta(minutes=5)}
    assert EventKind("other", "invoice.paid", "unmatched") in await store.event_kinds()
    assert await store.size_bytes() > 4096


async def test_a_lane_says_what_waits_and_since_when(store: Store, clock: Clock) -> None:
    start = datetime.fromtimestamp(clock() / 1000, UTC)
    await store.add(an_event(1, "invoice.paid"), [owed("save"), owed("ship", "save")])
    clock.forward(60)
    await store.add(an_event(2, "invoice.paid"), [owed("save")])
    save, ship = await store.lane_states()
    assert (save.lane.action, dict(save.counts), save.oldest_at) == ("save", {"pending": 2}, start)
    assert (ship.lane.action, dict(ship.counts), ship.oldest_at) == ("ship", {"blocked": 1}, None)
    await store.claim({save.lane: 1}, lease_seconds=60)
    assert dict((await store.lane_states())[0].counts) == {"pending": 1, "running": 1}


async def test_the_audit_log_is_kept_and_paged(store: Store) -> None:
    for number in range(5):
        await store.record(AuditEntry(NOW, "operator", "jenny (::1)", "delivery.retry", f"dlv_{number}", 1))
    first = await store.audit(limit=3)
    rest = await store.audit(limit=3, after=first.next)
    assert [entry.target for entry in (*first.items, *rest.items)] == ["dlv_4", "dlv_3", "dlv_2", "dlv_1", "dlv_0"]
    assert rest.next is None
    assert first.items[0] == AuditEntry(NOW, "operator", "jenny (::1)", "delivery.retry", "dlv_4", 1)


async def test_an_empty_store_answers_everything(store: Store) -> None:
    assert await store.event_page(EventFilter(text="x"), limit=5) == await store.event_page(EventFilter(), limit=5)
    assert (await store.delivery_page(DeliveryFilter(states=("dead",)), limit=5)).items == []
    assert [one.events for one in await store.buckets([NOW, NOW + timedelta(hours=1)])] == [{}]
    assert [list(took) for took in await store.latencies([NOW, NOW + timedelta(hours=1)], limit=5)] == [[]]
    assert list(await store.lane_states()) == []
    assert await store.last_events() == {}
    assert (await store.event_page(EventFilter(since=NOW, until=NOW), limit=5)).items == []


async def test_a_type_with_brackets_in_it_names_itself(store: Store) -> None:
    for number, event_type in enumerate(("v2.core.account[requirements].updated", "v2.core.accountr.updated")):
        await store.add(an_event(number, event_type), [])
    for pattern, ids in (
        ("v2.core.account[requirements].updated", ["evt_0", "evt_1"]),  # as a glob it names the other one as well
        ("v2.core.account[[]*", ["evt_0"]),
    ):
        where = EventFilter(types=(pattern,))
        assert await all_ids(store, where, limit=5, oldest_first=True) == ids
        assert [event.id for event in await store.events(where, limit=5, newest_first=False)] == ids
        assert await store.count_events(where, at_most=5) == len(ids)
