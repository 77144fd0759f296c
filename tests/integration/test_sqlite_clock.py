"""A clock that is put back while the gateway runs: what waits does not wait for the clock to catch up."""

from __future__ import annotations

from pathlib import Path

from gateway.core.model import ConnectionChange, ConnectionState, PlannedDelivery
from gateway.store.sqlite.store import SqliteStore
from tests.conftest import Clock
from tests.contract.test_store import an_event

HOUR = 3600


async def test_what_arrived_by_the_wrong_time_is_due_when_the_clock_is_put_right(tmp_path: Path, clock: Clock) -> None:
    steady = Clock()
    store = SqliteStore(tmp_path / "inbox.db", clock, steady)
    await store.start()
    clock.forward(HOUR)
    await store.due()
    await store.add(an_event(), [PlannedDelivery("r", "a")])
    await store.change_connection("shop", 0, ConnectionChange(ConnectionState.PAUSED, for_seconds=30.0, reason="down"))
    assert await store.take_lease("reconcile", "somebody", lease_seconds=60)
    clock.forward(-HOUR)
    assert (await store.due()).lanes
    left = (await store.connections())["shop"].left_seconds
    assert left is not None
    assert left <= 30
    clock.forward(61)
    steady.forward(61)
    assert await store.take_lease("reconcile", "another", lease_seconds=60)
    await store.close()


async def test_what_was_written_by_the_wrong_time_is_due_though_nobody_looked_meanwhile(
    tmp_path: Path, clock: Clock
) -> None:
    store = SqliteStore(tmp_path / "inbox.db", clock, Clock())
    await store.start()
    await store.due()
    clock.forward(HOUR)
    await store.add(an_event(), [PlannedDelivery("r", "a")])
    clock.forward(-HOUR)
    assert (await store.due()).lanes
    await store.close()


async def test_a_wait_is_as_long_as_it_was_meant_to_be(tmp_path: Path, clock: Clock) -> None:
    steady = Clock()
    store = SqliteStore(tmp_path / "inbox.db", clock, steady)
    await store.start()
    await store.change_connection("shop", 0, ConnectionChange(ConnectionState.PAUSED, for_seconds=90.0, reason="down"))
    for seconds in (30, -HOUR, 30):
        clock.forward(seconds)
        steady.forward(max(seconds, 0))
        await store.due()
    left = (await store.connections())["shop"].left_seconds
    assert left == 30
    await store.close()
