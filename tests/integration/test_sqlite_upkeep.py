"""A SQLite inbox gives its space back, and looks at no more than it must."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.core.model import EventFilter, EventState
from gateway.store.migrations.runner import upgrade_sqlite
from gateway.store.sqlite.store import SqliteStore
from tests.conftest import Clock
from tests.contract.test_store import an_event, owed

DAY = 86400.0


@contextlib.asynccontextmanager
async def opened(path: Path, clock: Clock) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, clock)
    await store.start()
    try:
        yield store
    finally:
        await store.close()


async def fill(store: SqliteStore, count: int) -> None:
    event = replace(an_event(), state=EventState.UNMATCHED, body=b"x" * 4000)
    await asyncio.gather(*(store.add(replace(event, id=f"evt_{i}"), []) for i in range(count)))


async def purge(store: SqliteStore) -> None:
    cursor: int | None = 0
    while cursor is not None:
        step = await store.purge(retention_seconds=90 * DAY, dead_retention_seconds=None, cursor=cursor)
        cursor = step.cursor


async def test_the_file_shrinks_when_old_events_are_purged(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "inbox.db"
    async with opened(path, clock) as store:
        await fill(store, 3000)
        clock.forward(91 * DAY)
        await store.add(an_event("evt_new"), [owed()])
    full = path.stat().st_size
    async with opened(path, clock) as store:
        await purge(store)
        assert [event.id for event in await store.events(EventFilter(), limit=9)] == ["evt_new"]
    assert full > 12_000_000
    assert path.stat().st_size < 2_500_000  # a MiB or so stays free for what comes next
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_a_file_made_without_shrinking_learns_it_at_its_upgrade(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE kept (a)")
        connection.execute("INSERT INTO kept VALUES (7)")
        connection.commit()
        assert connection.execute("PRAGMA auto_vacuum").fetchone() == (0,)
    upgrade_sqlite(path)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA auto_vacuum").fetchone() == (2,)
        assert connection.execute("SELECT a FROM kept").fetchone() == (7,)


@pytest.mark.parametrize("column", ["order_key", "once_key"])
async def test_every_look_for_a_turn_goes_through_an_index(store: SqliteStore, column: str) -> None:
    """However many wait for the same key: through that of their state, and by `held` where they are pending."""
    statements: list[str] = []
    key = {"order" if column == "order_key" else "once": "sub_1"}
    connection = store._writing()._connection
    await store.add(an_event("evt_1"), [owed(**key)])
    connection.set_trace_callback(statements.append)
    await store.add(an_event("evt_2"), [owed(**key)])
    lane = (await store.due()).lanes[0]
    (claim,) = await store.claim({lane: 5}, lease_seconds=60)
    await store.cancel([claim.delivery.id], "no")
    connection.set_trace_callback(None)
    asked = [one for one in statements if f"{column} = " in one and "FROM done_once" not in one]
    assert len(asked) >= 4
    for statement in asked:
        plan = [row[3] for row in connection.execute("EXPLAIN QUERY PLAN " + statement)]
        looks = [step for step in plan if "deliveries" in step and f"({column}=?" in step]
        assert looks, plan
        assert all(f"USING INDEX deliveries_{column[:-4]}_" in look.replace("COVERING ", "") for look in looks), plan
        assert all("held=?" in look for look in looks if "_pending" in look), plan
        assert not any(step.startswith("SCAN deliveries") for step in plan), plan
