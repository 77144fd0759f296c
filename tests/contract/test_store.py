"""What every store promises (gateway.store.protocol)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.core.errors import StoreLocked, StoreUnavailable
from gateway.core.model import (
    DONE,
    DRY_RUN,
    Attempt,
    AttemptOutcome,
    Claim,
    DeliveryFilter,
    DeliveryState,
    Event,
    EventFilter,
    EventState,
    Fetched,
    Finish,
    Lane,
    PlannedDelivery,
    Refusal,
    Rekeyed,
    Released,
)
from gateway.store.migrations.runner import BASE, HEAD
from gateway.store.protocol import Store
from gateway.store.sqlite.store import SqliteStore
from tests.conftest import Clock
from tests.waiting import HANG_SECONDS

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def an_event(id: str = "evt_1", account: str = "acme", type: str = "invoice.paid") -> Event:
    return Event(account, id, type, EventState.ROUTED, False, NOW, b'{"id": "' + id.encode() + b'"}', object_id="in_1")


def owed(action: str = "save", *needs: str, once: str | None = None, order: str | None = None) -> PlannedDelivery:
    return PlannedDelivery("fulfil", action, needs, once, order)


def attempt(outcome: AttemptOutcome = AttemptOutcome.SUCCEEDED, error: str | None = None) -> Attempt:
    return Attempt(1, NOW, 0.01, outcome, error)


SUCCEEDED = Finish(DeliveryState.SUCCEEDED, attempt())
DEAD = Finish(DeliveryState.DEAD, attempt(AttemptOutcome.DEAD, "no"), reason="no")
EXPIRED = Finish(DeliveryState.EXPIRED, attempt(AttemptOutcome.EXPIRED), reason="expired: 2d old")
SKIPPED = Finish(DeliveryState.SKIPPED, attempt(AttemptOutcome.SKIPPED), reason="its `if` is false")


def later(seconds: float) -> Finish:
    return Finish(DeliveryState.PENDING, attempt(AttemptOutcome.RETRY, "refused"), wait_seconds=seconds)


async def claim_all(store: Store, limit: int = 100, lease_seconds: float = 60) -> list[Claim]:
    due = await store.due()
    return await store.claim(dict.fromkeys(due.lanes, limit), lease_seconds=lease_seconds)


async def states(store: Store) -> dict[str, str]:
    found = await store.deliveries(DeliveryFilter(), limit=100, newest_first=False)
    return {f"{one.event_id}/{one.action}": one.state.value for one in found}


async def test_an_event_and_its_deliveries_survive_reopening(place: Callable[[], Store]) -> None:
    first = place()
    await first.start()
    assert not (await first.add(an_event(), [owed()])).is_duplicate
    await first.close()
    second = place()
    await second.start()
    (event,) = await second.event("evt_1")
    assert event.body == b'{"id": "evt_1"}'
    assert await states(second) == {"evt_1/save": "pending"}
    await second.close()


async def test_a_duplicate_creates_no_delivery_even_at_the_same_instant(store: Store) -> None:
    answers = await asyncio.gather(*(store.add(an_event(), [owed()]) for _ in range(50)))
    assert sorted(answer.is_duplicate for answer in answers) == [False] + [True] * 49
    assert (await store.add(an_event(), [owed()])).is_duplicate
    assert not (await store.add(an_event(account="other"), [owed()])).is_duplicate
    assert len(await store.deliveries(DeliveryFilter(), limit=100)) == 2


async def test_many_events_in_one_commit_keep_their_own_deliveries(store: Store) -> None:
    await asyncio.gather(*(store.add(an_event(f"evt_{i % 90}"), [owed("a"), owed("b", "a")]) for i in range(150)))
    found = await store.deliveries(DeliveryFilter(), limit=1000)
    assert len(found) == 180
    assert len({one.id for one in found}) == 180
    for one in found:
        if one.action == "b":
            assert one.state is DeliveryState.BLOCKED


async def test_a_claim_is_nobody_elses_until_its_lease_is_gone(store: Store) -> None:
    await store.add(an_event(), [owed()])
    (claim,) = await claim_all(store)
    assert claim.event.body == b'{"id": "evt_1"}'
    assert claim.delivery.attempts == 1
    assert await claim_all(store) == []
    assert await store.finish(claim.delivery.id, "wrong token", SUCCEEDED) is False
    assert await store.finish(claim.delivery.id, claim.token, SUCCEEDED) is True
    assert await store.finish(claim.delivery.id, claim.token, DEAD) is False
    assert await states(store) == {"evt_1/save": "succeeded"}


async def test_claims_are_in_order_of_lanes_and_due_times_with_keys_or_without(store: Store, clock: Clock) -> None:
    keys = (None, "k1", None, "k2")
    for number, key in enumerate(keys):
        await store.add(an_event(f"evt_{number}"), [owed(order=key)])
        clock.forward(1)
    claims = await store.claim({Lane("acme", "fulfil", "save"): 9}, lease_seconds=60)
    assert [claim.event.id for claim in claims] == [f"evt_{number}" for number in range(len(keys))]


async def test_a_retry_runs_when_due_and_records_each_attempt(store: Store, clock: Clock) -> None:
    await store.add(an_event(), [owed()])
    (claim,) = await claim_all(store)
    await store.finish(claim.delivery.id, claim.token, later(5))
    due = await store.due()
    assert list(due.lanes) == []
    assert due.next_in_seconds == pytest.approx(5)
    clock.forward(5)
    (again,) = await claim_all(store)
    assert again.delivery.id == claim.delivery.id
    assert again.delivery.attempts == 2
    await store.finish(again.delivery.id, again.token, SUCCEEDED)
    found = await store.delivery(claim.delivery.id)
    assert found is not None
    assert [(one.number, one.outcome.value) for one in found[1]] == [(1, "retry"), (2, "succeeded")]


async def test_handing_back_costs_no_attempt(store: Store) -> None:
    await store.add(an_event(), [owed()])
    (claim,) = await claim_all(store)
    await store.finish(claim.delivery.id, claim.token, Released())
    (again,) = await claim_all(store)
    assert again.delivery.attempts == 1


async def test_what_is_handed_back_keeps_its_place_or_waits_as_asked(store: Store, clock: Clock) -> None:
    await store.add(an_event("evt_1"), [owed()])
    clock.forward(1)
    await store.add(an_event("evt_2"), [owed()])
    (first, second) = await claim_all(store)
    clock.forward(1)
    await store.finish(first.delivery.id, first.token, Released())
    await store.finish(second.delivery.id, second.token, Released("waits for route x", 15))
    (again,) = await claim_all(store)
    assert (again.event.id, again.delivery.next_attempt_at, again.delivery.attempts) == ("evt_1", None, 1)
    (waiting,) = await store.deliveries(DeliveryFilter(states=("pending",)), limit=9)
    assert waiting.reason == "waits for route x"
    assert (await store.due()).next_in_seconds == pytest.approx(15)


async def test_what_ran_when_a_sqlite_gateway_died_runs_again_at_the_next_start(tmp_path: Path) -> None:
    first = SqliteStore(tmp_path / "a.db")
    await first.start()
    await first.add(an_event(), [owed()])
    (claim,) = await claim_all(first)
    await first.close()
    second = SqliteStore(tmp_path / "a.db")
    await second.start()
    assert second.recovered == 1
    (again,) = await claim_all(second)
    assert again.delivery.attempts == 2
    found = await second.delivery(claim.delivery.id)
    assert found is not None
    assert [one.outcome.value for one in found[1]] == ["interrupted"]
    await second.close()


async def test_a_dependent_starts_after_all_it_needs_and_gets_their_outputs(store: Store) -> None:
    await store.add(an_event(), [owed("a"), owed("b"), owed("c", "a", "b")])
    a, b = sorted(await claim_all(store), key=lambda claim: claim.delivery.action)
    await store.finish(a.delivery.id, a.token, replace(SUCCEEDED, output={"rows": 1}))
    assert await claim_all(store) == []
    await store.finish(b.delivery.id, b.token, SUCCEEDED)
    (c,) = await claim_all(store)
    assert c.outputs == {"a": {"rows": 1}, "b": None}


async def test_what_needs_a_skipped_one_is_skipped_and_says_why(store: Store) -> None:
    await store.add(an_event(), [owed("a"), owed("b", "a"), owed("c", "b")])
    (a,) = await claim_all(store)
    await store.finish(a.delivery.id, a.token, SKIPPED)
    assert await states(store) == {"evt_1/a": "skipped", "evt_1/b": "skipped", "evt_1/c": "skipped"}
    (b,) = await store.deliveries(DeliveryFilter(actions=("b",)), limit=1)
    assert b.reason == "needed action a was skipped"


async def test_what_needs_a_dead_one_waits_until_its_retry_succeeds(store: Store) -> None:
    await store.add(an_event(), [owed("a"), owed("b", "a")])
    (a,) = await claim_all(store)
    await store.finish(a.delivery.id, a.token, DEAD)
    assert await states(store) == {"evt_1/a": "dead", "evt_1/b": "blocked"}
    assert await store.retry([a.delivery.id]) == {a.delivery.id: DONE}
    (again,) = await claim_all(store)
    assert (again.delivery.id, again.delivery.attempts) == (a.delivery.id, 1)
    await store.finish(again.delivery.id, again.token, SUCCEEDED)
    (b,) = await claim_all(store)
    assert b.delivery.action == "b"


async def test_cancelling_a_dead_one_skips_what_needs_it_and_retry_brings_both_back(store: Store) -> None:
    await store.add(an_event(), [owed("a"), owed("b", "a")])
    (a,) = await claim_all(store)
    await store.finish(a.delivery.id, a.token, DEAD)
    assert await store.cancel([a.delivery.id], "not wanted") == {a.delivery.id: DONE}
    assert await states(store) == {"evt_1/a": "cancelled", "evt_1/b": "skipped"}
    await store.retry([a.delivery.id])
    assert await states(store) == {"evt_1/a": "pending", "evt_1/b": "blocked"}


async def test_the_record_of_a_cancelled_attempt_is_refused(store: Store) -> None:
    await store.add(an_event(), [owed()])
    (claim,) = await claim_all(store)
    await store.cancel([claim.delivery.id], "not wanted")
    assert await store.finish(claim.delivery.id, claim.token, SUCCEEDED) is False
    assert await states(store) == {"evt_1/save": "cancelled"}


async def test_what_cannot_be_retried_or_cancelled_says_why(store: Store) -> None:
    await store.add(an_event(), [owed()])
    (claim,) = await claim_all(store)
    id = claim.delivery.id
    assert await store.retry([id, "dlv_x"]) == {
        id: Refusal("it is running now"),
        "dlv_x": Refusal("there is no such delivery"),
    }
    await store.finish(id, claim.token, SUCCEEDED)
    assert await store.retry([id]) == {id: Refusal("it has succeeded; `events replay` makes new work")}
    assert await store.cancel([id], "no") == {id: Refusal("it is succeeded")}


def by_key(name: str) -> dict[str, str]:
    """An order key or a once key."""
    return {name: "sub_1"}


@pytest.mark.parametrize("key", ["order", "once"])
async def test_one_that_is_pending_again_takes_its_turn_anew(
    place: Callable[[], Store], store: Store, clock: Clock, key: str
) -> None:
    """Beside one that came before it and was revived meanwhile: for a retry, a release, and a gateway that died."""
    await store.add(an_event("evt_1"), [owed(**by_key(key))])
    await store.add(an_event("evt_2"), [owed(**by_key(key))])
    (first,) = await claim_all(store)
    await store.finish(first.delivery.id, first.token, DEAD)
    for how in (later(0), Released("full"), None):
        (second,) = await claim_all(store)
        assert second.event.id == "evt_2"
        await store.retry([first.delivery.id])
        assert await claim_all(store) == []  # the second runs
        if how is not None:
            assert await store.finish(second.delivery.id, second.token, how)
        elif store.is_shared:
            clock.forward(61)
        else:
            await store.close()
            store = place()
            await store.start()
        (again,) = await claim_all(store)
        assert again.event.id == "evt_1"
        assert await store.finish(again.delivery.id, again.token, DEAD)
    (second,) = await claim_all(store)
    assert second.event.id == "evt_2"
    await store.close()


@pytest.mark.parametrize("key", ["order", "once"])
async def test_who_waited_for_one_that_has_other_keys_now_goes_on(store: Store, key: str) -> None:
    for number in (1, 2):
        await store.add(an_event(f"evt_{number}"), [owed(**by_key(key))])
    (first,) = await claim_all(store)
    await store.finish(first.delivery.id, first.token, Rekeyed(None, None))
    assert {claim.event.id for claim in await claim_all(store)} == {"evt_1", "evt_2"}


async def test_a_sweep_changes_nothing_where_another_attempt_left_the_same_words(store: Store) -> None:
    await store.add(an_event(), [owed()])
    await end_of_one(store)
    (before,) = (await store.contents(0, limit=9)).items
    await end_of_one(store)
    assert not await store.replace_contents(before, before)
    (before,) = (await store.contents(0, limit=9)).items
    assert await store.replace_contents(before, before)


async def end_of_one(store: Store) -> None:
    """An attempt that fails, and may be made again at once."""
    (claim,) = await claim_all(store)
    assert await store.finish(claim.delivery.id, claim.token, later(0))


@pytest.mark.parametrize("key", ["order", "once"])
async def test_nobody_waits_for_ever_for_a_turn(store: Store, key: str) -> None:
    """Three of a key, of which the first and the second are revived while the third runs and then is pending again."""
    for number in (1, 2, 3):
        await store.add(an_event(f"evt_{number}"), [owed(**by_key(key))])
    for _ in (1, 2):
        (claim,) = await claim_all(store)
        await store.finish(claim.delivery.id, claim.token, DEAD)
    (third,) = await claim_all(store)
    dead = await store.deliveries(DeliveryFilter(states=("dead",)), limit=9, newest_first=False)
    await store.retry([dead[0].id])
    await store.finish(third.delivery.id, third.token, later(0))
    await store.retry([dead[1].id])
    ran = []
    while claims := await claim_all(store):
        (claim,) = claims
        ran.append(claim.event.id)
        await store.finish(claim.delivery.id, claim.token, DEAD)
    assert ran == ["evt_1", "evt_2", "evt_3"]


async def test_order_by_runs_one_at_a_time_in_order_of_arrival(store: Store, clock: Clock) -> None:
    for i in range(3):
        await store.add(an_event(f"evt_{i}"), [owed(order="sub_1")])
    await store.add(an_event("evt_other"), [owed(order="sub_2")])
    claims = {claim.event.id: claim for claim in await claim_all(store)}
    assert set(claims) == {"evt_0", "evt_other"}
    first = claims["evt_0"]
    await store.finish(first.delivery.id, first.token, later(10))
    assert await claim_all(store) == []  # it holds its place while it waits
    clock.forward(10)
    (first,) = await claim_all(store)
    await store.finish(first.delivery.id, first.token, DEAD)
    (second,) = await claim_all(store)
    assert second.event.id == "evt_1"
    await store.retry([first.delivery.id])
    assert await claim_all(store) == []  # never two of one key at once
    await store.finish(second.delivery.id, second.token, SUCCEEDED)
    (revived,) = await claim_all(store)
    assert revived.event.id == "evt_0"
    await store.finish(revived.delivery.id, revived.token, SUCCEEDED)
    (third,) = await claim_all(store)
    assert third.event.id == "evt_2"


async def test_once_per_skips_the_later_ones_and_names_the_holder(store: Store) -> None:
    await store.add(an_event("evt_1"), [owed(once="cs_1")])
    await store.add(an_event("evt_2"), [owed("save", once="cs_1"), owed("mail", "save")])
    (holder,) = await claim_all(store)
    await store.finish(holder.delivery.id, holder.token, SUCCEEDED)
    assert await claim_all(store) == []
    assert await states(store) == {"evt_1/save": "succeeded", "evt_2/save": "skipped", "evt_2/mail": "skipped"}
    (skipped,) = await store.deliveries(DeliveryFilter(event_ids=("evt_2",), actions=("save",)), limit=1)
    assert skipped.reason == f"once_per: {holder.delivery.id} has done it"
    longer = "k" * 5000
    await store.add(an_event("evt_3"), [owed(once=longer)])
    (later,) = await claim_all(store)
    assert await store.done_once([longer, "cs_1", "cs_2"]) == {"cs_1": holder.delivery.id}
    await store.finish(later.delivery.id, later.token, SUCCEEDED)
    assert await store.done_once([longer, "cs_2"]) == {longer: later.delivery.id}


@pytest.mark.parametrize("how", [DEAD, SKIPPED])
async def test_once_per_passes_on_when_the_holder_did_nothing(store: Store, how: Finish) -> None:
    await store.add(an_event("evt_1"), [owed(once="cs_1")])
    await store.add(an_event("evt_2"), [owed(once="cs_1")])
    (holder,) = await claim_all(store)
    await store.finish(holder.delivery.id, holder.token, how)
    (following,) = await claim_all(store)
    assert following.event.id == "evt_2"
    await store.finish(following.delivery.id, following.token, SUCCEEDED)
    refused = await store.retry([holder.delivery.id])
    assert refused == {holder.delivery.id: Refusal(f"once_per: {following.delivery.id} has done it")}


async def test_replay_makes_new_deliveries_and_respects_once_per_unless_forced(store: Store) -> None:
    await store.add(an_event(), [owed(once="cs_1")])
    (claim,) = await claim_all(store)
    await store.finish(claim.delivery.id, claim.token, SUCCEEDED)
    assert await store.replay("acme", "evt_none", [owed()]) is None
    made = await store.replay("acme", "evt_1", [owed(once="cs_1")])
    assert made is not None
    assert made[0] != claim.delivery.id
    assert await claim_all(store) == []
    forced = await store.replay("acme", "evt_1", [owed(once="cs_1")], force=True)
    assert [again.delivery.id for again in await claim_all(store)] == forced


async def test_a_routing_error_begins_as_a_dead_letter_that_is_judged_later(store: Store) -> None:
    await store.add(an_event(), [PlannedDelivery("fulfil", "a", error="gateway.yaml:9:5: no"), owed("b", "a")])
    assert await states(store) == {"evt_1/a": "dead", "evt_1/b": "blocked"}
    (dead,) = await store.deliveries(DeliveryFilter(states=("dead",)), limit=1)
    assert (dead.reason, dead.is_judged) == ("gateway.yaml:9:5: no", False)
    await store.retry([dead.id])
    (claim,) = await claim_all(store)
    await store.finish(dead.id, claim.token, Rekeyed("once", None))
    (again,) = await claim_all(store)
    assert again.delivery.is_judged
    assert again.delivery.attempts == 1
    assert again.delivery.once_key == "once"


async def test_what_needs_a_routing_error_is_judged_when_it_runs(store: Store) -> None:
    broken = PlannedDelivery("fulfil", "a", error="gateway.yaml:9:5: no", is_judged=False)
    await store.add(an_event("evt_1"), [broken, PlannedDelivery("fulfil", "b", ("a",), is_judged=False)])
    await store.add(an_event("evt_2"), [owed("b", once="b of cs_1")])
    (taker,) = await claim_all(store)
    await store.finish(taker.delivery.id, taker.token, SUCCEEDED)
    (dead,) = await store.deliveries(DeliveryFilter(states=("dead",)), limit=1)
    await store.retry([dead.id])
    (a,) = await claim_all(store)
    await store.finish(a.delivery.id, a.token, Rekeyed("a of cs_1", None))
    (a,) = await claim_all(store)
    await store.finish(a.delivery.id, a.token, SUCCEEDED)
    (b,) = await claim_all(store)
    assert (b.delivery.action, b.delivery.is_judged) == ("b", False)
    await store.finish(b.delivery.id, b.token, Rekeyed("b of cs_1", None))
    assert await claim_all(store) == []
    assert (await states(store))["evt_1/b"] == "skipped"


async def test_a_large_output_is_kept_cut_and_marked(store: Store) -> None:
    await store.add(an_event(), [owed()])
    (claim,) = await claim_all(store)
    await store.finish(claim.delivery.id, claim.token, replace(SUCCEEDED, output={"body": "x" * 100_000}))
    found = await store.delivery(claim.delivery.id)
    assert found is not None
    assert found[0].output["cut"] is True
    assert len(json.dumps(found[0].output)) < 65536


async def test_a_flood_in_one_lane_leaves_the_others_their_claims(store: Store) -> None:
    for i in range(200):
        await store.add(an_event(f"evt_{i}"), [owed("flood")])
    await store.add(an_event("evt_fresh"), [owed("fresh")])
    claims = await claim_all(store, limit=5)
    assert sum(claim.delivery.action == "flood" for claim in claims) == 5
    assert [claim.event.id for claim in claims if claim.delivery.action == "fresh"] == ["evt_fresh"]
    assert Lane("acme", "fulfil", "flood") in (await store.due()).lanes


async def test_events_are_found_by_every_filter(store: Store) -> None:
    await store.add(an_event("evt_1", type="invoice.paid"), [owed()])
    await store.add(replace(an_event("evt_2", type="customer.created"), state=EventState.UNMATCHED), [])

    async def ids(**where: object) -> list[str]:
        return [event.id for event in await store.events(EventFilter(**where), limit=9)]  # type: ignore[arg-type]

    assert await ids() == ["evt_2", "evt_1"]
    assert await ids(types=("invoice.*",)) == ["evt_1"]
    assert await ids(states=("unmatched",)) == ["evt_2"]
    assert await ids(object_id="in_1", accounts=("acme",)) == ["evt_2", "evt_1"]
    assert await ids(until=datetime(2020, 1, 1, tzinfo=UTC)) == []


async def test_work_is_announced_to_a_waiting_gateway(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.store.postgres.queue.POLL_SECONDS", 3600.0)
    await store.wait_for_work(0.01)
    waiting = asyncio.create_task(store.wait_for_work(3600))
    await store.add(an_event(), [owed()])
    await asyncio.wait_for(waiting, HANG_SECONDS)


async def test_a_commands_change_is_announced_to_a_running_gateway(
    store: Store, place: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.store.postgres.queue.POLL_SECONDS", 3600.0)
    await store.add(an_event(), [owed()])
    (claim,) = await claim_all(store)
    await store.finish(claim.delivery.id, claim.token, DEAD)
    beside = place()
    await beside.attach()
    await store.wait_for_work(0.01)
    waiting = asyncio.create_task(store.wait_for_work(3600))
    await beside.retry([claim.delivery.id])
    await asyncio.wait_for(waiting, HANG_SECONDS)
    await beside.close()


async def test_a_second_gateway_on_the_same_file_is_refused(tmp_path: Path) -> None:
    first, second = SqliteStore(tmp_path / "inbox.db"), SqliteStore(tmp_path / "inbox.db")
    await first.start()
    with pytest.raises(StoreLocked, match=r"another gateway \(process \d+\) already works on .*inbox.db; one SQLite"):
        await second.start()
    await first.close()


async def test_a_damaged_file_and_a_missing_one_are_refused_clearly(tmp_path: Path) -> None:
    (tmp_path / "bad.db").write_bytes(b"this is not a database, not at all" * 100)
    with pytest.raises(StoreUnavailable, match="damaged or not a SQLite file"):
        await SqliteStore(tmp_path / "bad.db").start()
    with pytest.raises(StoreUnavailable, match="there is no inbox at"):
        await SqliteStore(tmp_path / "none.db").attach()


def test_the_base_and_the_head_revision_are_the_oldest_and_the_newest_step() -> None:
    folder = Path(__file__).parents[2] / "gateway/store/migrations/versions"
    revisions = sorted(path.name[1:5] for path in folder.glob("r[0-9]*.py"))
    assert (revisions[0], revisions[-1]) == (BASE, HEAD)


# -- what Stripe adds -----------------------------------------------------------------------------------------


async def test_what_was_fetched_is_kept_with_the_run_and_the_first_answer_stays(store: Store) -> None:
    await store.add(an_event(), [owed("save"), owed("mail"), PlannedDelivery("other", "save")])
    run_id, same, other = [one.run_id for one in await store.deliveries(DeliveryFilter(), limit=9, newest_first=False)]
    assert run_id == same != other
    assert await store.fetched(run_id) is None
    first = Fetched("what", NOW, {"id": "in_1", "amount": 1.5, "paid": None})
    assert await store.keep_fetched(run_id, first) == first
    assert await store.keep_fetched(run_id, replace(first, object={})) == first
    assert await store.fetched(run_id) == first
    assert await store.fetched(other) is None
    another = Fetched("what else", NOW, {"id": "in_1"})
    assert await store.keep_fetched(run_id, another) == another
    assert await store.fetched(run_id) == another


async def test_a_revived_delivery_s_run_forgets_what_was_fetched(store: Store) -> None:
    await store.add(an_event(), [owed("save")])
    (claim,) = await claim_all(store)
    await store.keep_fetched(claim.delivery.run_id, Fetched("what", NOW, {}))
    await store.finish(claim.delivery.id, claim.token, later(60))
    assert await store.retry([claim.delivery.id]) == {claim.delivery.id: DONE}  # it only becomes due
    assert await store.fetched(claim.delivery.run_id) is not None
    (claim,) = await claim_all(store)
    await store.finish(claim.delivery.id, claim.token, DEAD)
    await store.retry([claim.delivery.id])
    assert await store.fetched(claim.delivery.run_id) is None


async def test_an_event_whose_twin_is_there_is_a_duplicate(store: Store) -> None:
    first = replace(an_event("evt_thin"), twin="evt_1")
    assert not (await store.add(first, [owed()])).is_duplicate
    assert (await store.add(replace(an_event("evt_1"), twin="evt_1"), [owed()])).is_duplicate
    assert not (await store.add(replace(an_event("evt_1", account="other"), twin="evt_1"), [owed()])).is_duplicate
    assert not (await store.add(an_event("evt_1"), [owed()])).is_duplicate  # without one: only its id counts
    assert {event.id for event in await store.events(EventFilter(accounts=["acme"]), limit=9)} == {"evt_thin", "evt_1"}


async def test_the_trace_context_of_an_event_is_kept_and_given_to_whoever_claims(store: Store) -> None:
    context = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 vendor=a,other=b"
    await store.add(replace(an_event(), trace=context), [owed()])
    await store.add(an_event("evt_2"), [owed()])
    assert [event.trace for id in ("evt_1", "evt_2") for event in await store.event(id)] == [context, None]
    claims = await claim_all(store)
    assert {one.event.id: one.event.trace for one in claims} == {"evt_1": context, "evt_2": None}


async def test_the_version_that_templates_were_written_for_is_kept(store: Store) -> None:
    await store.add(replace(an_event(), api_version="2020-08-27", written_for="2026-10-28.endive"), [owed()])
    (event,) = await store.event("evt_1")
    assert (event.api_version, event.written_for) == ("2020-08-27", "2026-10-28.endive")
    (claim,) = await claim_all(store)
    assert claim.event.written_for == "2026-10-28.endive"
    assert claim.event.body == b'{"id": "evt_1"}'


async def test_a_lease_has_one_holder_until_it_ends(store: Store, clock: Clock) -> None:
    assert await store.take_lease("reconcile acme", "one", lease_seconds=20)
    assert not await store.take_lease("reconcile acme", "two", lease_seconds=20)
    assert await store.take_lease("reconcile other", "two", lease_seconds=20)
    clock.forward(15)
    assert await store.take_lease("reconcile acme", "one", lease_seconds=20)  # prolonged
    clock.forward(15)
    assert not await store.take_lease("reconcile acme", "two", lease_seconds=20)
    clock.forward(5)
    assert await store.take_lease("reconcile acme", "two", lease_seconds=20)
    assert not await store.take_lease("reconcile acme", "one", lease_seconds=20)


async def test_a_lease_given_back_is_free_and_only_its_holder_gives_it_back(store: Store) -> None:
    assert await store.take_lease("reconcile acme", "one", lease_seconds=20)
    await store.release_lease("reconcile acme", "two")
    assert not await store.take_lease("reconcile acme", "two", lease_seconds=20)
    await store.release_lease("reconcile acme", "one")
    assert await store.take_lease("reconcile acme", "two", lease_seconds=20)


async def test_of_many_that_take_a_lease_at_once_one_has_it(store: Store) -> None:
    taken = await asyncio.gather(*(store.take_lease("x", str(i), lease_seconds=20) for i in range(20)))
    assert sorted(taken) == [False] * 19 + [True]


async def test_a_note_is_kept_replaced_and_forgotten(store: Store, clock: Clock, place: Callable[[], Store]) -> None:
    assert await store.note("backfill acme") is None
    await store.keep_note("backfill acme", {"reached": 1})
    await store.keep_note("backfill acme", {"reached": 2, "tally": {"seen": 3}})
    clock.forward(90)
    await store.close()
    again = place()
    await again.start()
    found = await again.note("backfill acme")
    assert found is not None
    assert (found.value, found.age_seconds) == ({"reached": 2, "tally": {"seen": 3}}, 90.0)
    await again.keep_note("backfill acme", None)
    assert await again.note("backfill acme") is None
    await again.close()


# -- dry runs -------------------------------------------------------------------------------------------------


DRY = Finish(DeliveryState.SKIPPED, attempt(AttemptOutcome.SKIPPED), reason=f"{DRY_RUN}nothing was sent")


async def test_what_needs_a_dry_run_starts_without_its_output(store: Store) -> None:
    await store.add(an_event(), [owed("save"), owed("count"), owed("tell", "save", "count")])
    claims = {claim.delivery.action: claim for claim in await claim_all(store)}
    await store.finish(claims["save"].delivery.id, claims["save"].token, DRY)
    assert (await states(store))["evt_1/tell"] == "blocked"
    await store.finish(claims["count"].delivery.id, claims["count"].token, SUCCEEDED)
    (claim,) = await claim_all(store)
    assert (claim.delivery.action, claim.outputs) == ("tell", {"count": None})


async def test_a_retry_of_a_dry_run_blocks_again_what_was_dry_because_of_it(store: Store) -> None:
    await store.add(an_event(), [owed("save"), owed("tell", "save"), owed("last", "tell"), owed("other")])
    for _ in range(3):
        for claim in await claim_all(store):
            await store.finish(claim.delivery.id, claim.token, DRY)
    assert set((await states(store)).values()) == {"skipped"}
    found = await store.deliveries(DeliveryFilter(actions=("save",)), limit=1)
    assert await store.retry([found[0].id]) == {found[0].id: DONE}
    assert await states(store) == {
        "evt_1/save": "pending", "evt_1/tell": "blocked", "evt_1/last": "blocked", "evt_1/other": "skipped",
    }  # fmt: skip


async def test_a_dry_run_does_not_do_it_once(store: Store) -> None:
    await store.add(an_event("evt_1"), [owed("save", once="k")])
    await store.add(an_event("evt_2"), [owed("save", once="k")])
    (claim,) = await claim_all(store)
    await store.finish(claim.delivery.id, claim.token, DRY)
    (claim,) = await claim_all(store)
    assert claim.delivery.event_id == "evt_2"


async def test_waiting_deliveries_are_counted_by_lane(store: Store) -> None:
    await store.add(an_event("evt_1"), [owed("save"), owed("tell", "save")])
    await store.add(an_event("evt_2"), [owed("save")])
    (claim, other) = await claim_all(store)
    await store.finish(claim.delivery.id, claim.token, DEAD)
    assert await store.waiting() == {Lane("acme", "fulfil", "save"): 1, Lane("acme", "fulfil", "tell"): 1}
    assert other.delivery.event_id == "evt_2"
