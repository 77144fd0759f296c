"""A run counts from its claim, however it ends: on every store."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import structlog

from gateway.core.model import (
    ConnectionChange,
    ConnectionState,
    DeliveryFilter,
    DeliveryState,
    Lane,
    route_status_name,
)
from gateway.core.routing import RouteTable
from gateway.delivery.fetch import StripeFetcher
from gateway.delivery.resources import Resources
from gateway.delivery.suspects import WAITS
from gateway.delivery.worker import Worker
from gateway.plugin import Action, Context, Settings
from gateway.store.protocol import Store
from gateway.stripe.connections import StripeApis
from tests.configs import loaded
from tests.conftest import Clock
from tests.contract.test_store import an_event, owed
from tests.waiting import until

PLACES = ("sqlite", "postgresql")
ROUTES = """\
defaults: {retry: {attempts: 2, first: 10s, factor: 1}}
routes:
  fulfil: {events: ["*"], actions: {save: {uses: http_forward, with: {connection: warehouse}}}}
"""
LANES = {Lane("acme", "fulfil", "save"): 10}


class Acts(Action[Any]):
    """Does as it is told with each event, and counts."""

    name: ClassVar[str] = "acts"
    Settings: ClassVar[type[Settings]] = Settings

    def __init__(self, act: Callable[[str], Awaitable[None]]) -> None:
        self.act = act
        self.runs: Counter[str] = Counter()

    async def run(self, settings: Any, context: Context) -> Mapping[str, Any] | None:
        event_id = str(context.event["id"])
        self.runs[event_id] += 1
        await self.act(event_id)
        return None


@asynccontextmanager
async def working(
    folder: Path, store: Store, action: Acts, concurrency: int = 1, stop_seconds: float = 5
) -> AsyncIterator[Worker]:
    """A worker whose connection takes so many at once; at the end, attempts have so long."""
    config = loaded(folder, ROUTES)
    warehouse = config.connections["warehouse"].model_copy(update={"concurrency": concurrency})
    config = replace(config, actions={"http_forward": action}, connections={"warehouse": warehouse})
    table, log = RouteTable(config.routes), structlog.wrap_logger(None, processors=[_drop])
    resources = Resources(lambda *_: True, log)
    worker = Worker(store, lambda: (config, table), resources, StripeFetcher(store, StripeApis()), log)
    task = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        await worker.drain(stop_seconds)
        await task
        await resources.close()


def _drop(logger: Any, method: str, entry: Any) -> Any:
    raise structlog.DropEvent


async def state_of(store: Store, event_id: str) -> DeliveryState:
    (delivery,) = await store.deliveries(DeliveryFilter(event_ids=(event_id,)), limit=1)
    return delivery.state


def body(event_id: str) -> bytes:
    return b'{"id": "%s", "object": "event"}' % event_id.encode()


async def test_an_attempt_that_its_action_cancels_is_counted_waits_and_gives_its_slot_back(
    tmp_path: Path, store: Store, clock: Clock
) -> None:
    async def act(event_id: str) -> None:
        task = asyncio.current_task()
        assert task is not None
        if event_id == "evt_raises":
            raise asyncio.CancelledError
        if event_id == "evt_asks":
            task.cancel()
            await asyncio.sleep(60)
        if event_id == "evt_asks_late":
            task.cancel()

    action, names = Acts(act), ("evt_raises", "evt_asks", "evt_asks_late", "evt_good")
    for name in names:
        await store.add(replace(an_event(name), body=body(name)), [owed()])
    async with working(tmp_path, store, action):
        await until(lambda: state_is(store, "evt_good", DeliveryState.SUCCEEDED))
        assert action.runs == dict.fromkeys(names, 1)  # the clock stands: nothing is due again
        assert await state_of(store, "evt_asks_late") is DeliveryState.SUCCEEDED
        clock.forward(60)
        for name in ("evt_raises", "evt_asks"):
            await until(lambda name=name: state_is(store, name, DeliveryState.DEAD))  # type: ignore[misc]
            assert action.runs[name] == 2


async def state_is(store: Store, event_id: str, state: DeliveryState) -> bool:
    return await state_of(store, event_id) is state


async def test_what_its_gateway_dies_of_at_each_attempt_is_dead_says_so_and_stops_nobody(
    tmp_path: Path, place: Callable[[], Store], clock: Clock
) -> None:
    store = place()
    await store.start()
    for name in ("evt_kills", "evt_next"):
        await store.add(replace(an_event(name), body=body(name)), [replace(owed(), order_key="k")])
    for number in (1, 2):
        (claim,) = await store.claim(LANES, lease_seconds=30)
        assert (claim.event.id, claim.delivery.attempts) == ("evt_kills", number)
        await store.close()  # it died
        clock.forward(60)
        store = place()
        await store.start()
        await store.due()

    async def act(event_id: str) -> None:
        assert event_id != "evt_kills"

    action = Acts(act)
    try:
        async with working(tmp_path, store, action):
            await until(lambda: state_is(store, "evt_next", DeliveryState.SUCCEEDED))
        (dead,) = await store.deliveries(DeliveryFilter(event_ids=("evt_kills",)), limit=1)
        assert (dead.state, action.runs["evt_kills"]) == (DeliveryState.DEAD, 0)
        assert dead.reason is not None
        assert dead.reason.startswith("no attempt is left: 2 have begun, and `retry` allows 2; the last: the gateway d")
        whole = await store.delivery(dead.id)
        assert whole is not None
        assert [attempt.outcome.value for attempt in whole[1]] == ["interrupted", "interrupted", "dead"]
        await store.retry([dead.id])  # a person may: its attempts are counted afresh
        (again,) = await store.claim(LANES, lease_seconds=30)
        assert (again.event.id, again.delivery.attempts) == ("evt_kills", 1)
    finally:
        await store.close()


async def started(place: Callable[[], Store], clock: Clock) -> Store:
    """A gateway's store after the one before has died: what that held is due again."""
    clock.forward(61)
    store = place()
    await store.start()
    await store.due()
    return store


async def test_who_was_only_beside_one_that_its_gateway_dies_of_is_no_dead_letter(
    tmp_path: Path, place: Callable[[], Store], clock: Clock
) -> None:
    """The last attempt that is left to each is made one at a time; what never was beside goes on meanwhile."""
    suspects = ("evt_kills", "evt_beside", "evt_beside_too")
    store = await started(place, clock)
    for name in suspects:
        await store.add(replace(an_event(name), body=body(name)), [owed()])
    assert len(await store.claim(LANES, lease_seconds=60)) == len(suspects)
    await store.close()  # it died of one of them

    running: set[str] = set()
    together: set[frozenset[str]] = set()
    kills = asyncio.Event()

    async def act(event_id: str) -> None:
        running.add(event_id)
        together.add(frozenset(running & set(suspects)))
        if event_id == "evt_kills":
            kills.set()
            await asyncio.sleep(3600)
        running.discard(event_id)

    store = await started(place, clock)
    async with working(tmp_path, store, Acts(act), 3, stop_seconds=0):
        await kills.wait()
        await store.add(replace(an_event("evt_fresh"), body=body("evt_fresh")), [owed()])
        await until(lambda: state_is(store, "evt_fresh", DeliveryState.SUCCEEDED))
        (beside,) = await store.deliveries(DeliveryFilter(event_ids=("evt_beside",)), limit=1)
        assert (beside.state, beside.attempts, beside.reason) == (DeliveryState.PENDING, 1, WAITS)
        await store.close()  # it dies again

    running.clear()
    store = await started(place, clock)

    async def is_done(event_id: str) -> bool:
        clock.forward(1)
        return await state_is(store, event_id, DeliveryState.SUCCEEDED)

    async with working(tmp_path, store, Acts(act), 3):
        for name in suspects[1:]:
            await until(lambda name=name: is_done(name))  # type: ignore[misc]
    assert await state_of(store, "evt_kills") is DeliveryState.DEAD
    assert max(map(len, together)) == 1
    await store.close()


async def test_an_attempt_that_a_stop_cuts_off_is_told_and_costs_none(
    tmp_path: Path, store: Store, clock: Clock
) -> None:
    """So that a route with `attempts: 1` is no dead letter for a deployment."""
    begun = asyncio.Event()

    async def act(event_id: str) -> None:
        if not begun.is_set():
            begun.set()
            await asyncio.sleep(3600)

    await store.add(replace(an_event("evt_1"), body=body("evt_1")), [owed()])
    async with working(tmp_path, store, Acts(act), stop_seconds=0):
        await begun.wait()
    (delivery,) = await store.deliveries(DeliveryFilter(), limit=1)
    assert (delivery.state, delivery.attempts) == (DeliveryState.PENDING, 0)
    async with working(tmp_path, store, Acts(act)):
        await until(lambda: state_is(store, "evt_1", DeliveryState.SUCCEEDED))
    whole = await store.delivery(delivery.id)
    assert whole is not None
    assert [(attempt.number, attempt.outcome.value) for attempt in whole[1]] == [(1, "interrupted"), (2, "succeeded")]
    assert whole[0].attempts == 1


async def test_what_is_cut_off_before_it_begins_keeps_no_slot(tmp_path: Path, store: Store) -> None:
    async def act(event_id: str) -> None:
        pass

    await store.add(replace(an_event("evt_1"), body=body("evt_1")), [owed()])
    claims = await store.claim(LANES, lease_seconds=60)
    assert len(claims) == 1
    async with working(tmp_path, store, Acts(act)) as worker:
        worker._take(LANES, claims, time.monotonic())
        for task in worker._attempts.values():  # as where its lease is lost just now
            task.cancel()
        await until(lambda: not worker._tasks)
        figures = worker.figures("warehouse")
        assert figures is not None
        assert (figures.running, figures.ready) == (0, 0)


async def test_a_probe_that_is_handed_back_because_its_route_is_paused_leaves_the_right_to_the_next(
    tmp_path: Path, store: Store
) -> None:
    goes_on = asyncio.Event()

    async def act(event_id: str) -> None:
        if event_id == "evt_hangs":
            await goes_on.wait()

    async def is_claimed_ahead() -> bool:
        counts = await store.counts()
        probed = (await store.connections())["warehouse"].state is ConnectionState.PROBING
        return probed and (counts.get("running"), counts.get("pending")) == (2, 1)

    action, route = Acts(act), route_status_name("fulfil")
    async with working(tmp_path, store, action):
        await store.add(replace(an_event("evt_hangs"), body=body("evt_hangs")), [owed()])
        await until(lambda: action.runs["evt_hangs"])
        await store.change_connection("warehouse", 0, ConnectionChange(ConnectionState.PAUSED, 0.0))
        for name in ("evt_1", "evt_2"):
            await store.add(replace(an_event(name), body=body(name)), [owed()])
        await until(is_claimed_ahead)
        await store.change_connection(route, 0, ConnectionChange(ConnectionState.PAUSED))
        await until(lambda: counted(store, "pending", 2))
        await store.change_connection(route, 1, ConnectionChange(ConnectionState.WORKING))
        await until(lambda: counted(store, "running", 2))  # another probe is claimed
        goes_on.set()
        await until(lambda: counted(store, "succeeded", 3))


async def counted(store: Store, state: str, count: int) -> bool:
    return (await store.counts()).get(state) == count


async def test_what_was_claimed_ahead_goes_back_where_its_route_is_paused_though_nothing_else_is_due(
    tmp_path: Path, store: Store
) -> None:
    goes_on = asyncio.Event()

    async def act(event_id: str) -> None:
        await goes_on.wait()

    action = Acts(act)
    async with working(tmp_path, store, action):
        for name in ("evt_1", "evt_2"):
            await store.add(replace(an_event(name), body=body(name)), [owed()])
        await until(lambda: counted(store, "running", 2))
        route = route_status_name("fulfil")
        await store.change_connection(route, 0, ConnectionChange(ConnectionState.PAUSED))
        await until(lambda: counted(store, "pending", 1))
        assert action.runs.total() == 1
        goes_on.set()
