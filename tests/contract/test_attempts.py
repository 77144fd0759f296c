"""A run counts from its claim, however it ends: on every store."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import structlog

from gateway.core.model import DeliveryFilter, DeliveryState, Lane
from gateway.core.routing import RouteTable
from gateway.delivery.fetch import StripeFetcher
from gateway.delivery.resources import Resources
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
async def working(folder: Path, store: Store, action: Acts, concurrency: int = 1) -> AsyncIterator[None]:
    """A worker whose connection takes so many at once."""
    config = loaded(folder, ROUTES)
    warehouse = config.connections["warehouse"].model_copy(update={"concurrency": concurrency})
    config = replace(config, actions={"http_forward": action}, connections={"warehouse": warehouse})
    table, log = RouteTable(config.routes), structlog.wrap_logger(None, processors=[_drop])
    resources = Resources(lambda *_: True, log)
    worker = Worker(store, lambda: (config, table), resources, StripeFetcher(store, StripeApis()), log)
    task = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        await worker.drain(5)
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
