"""A newer gateway brings the schema up to date while older ones work on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from gateway.core.errors import StoreUnavailable
from gateway.core.model import EventFilter
from gateway.store.migrations import runner as migrations
from gateway.store.postgres import database
from gateway.store.postgres.statements import call
from gateway.store.postgres.store import PostgresStore
from tests.conftest import database_url
from tests.contract.test_store import an_event, owed
from tests.integration.test_postgres_turns import stores
from tests.integration.test_upgrade import VERSION_0_1
from tests.waiting import HANG_SECONDS, until

ADD_0009 = call(
    "add_events",
    "bigint, text[], text[], text[], text[], bool[], bigint[], text[], text[], text[], text[], text[], text[], "
    "bytea[], int[], text[], text[], text[], text[], text[], bool[], text[], text[], text[], text[], text[]",
)


async def add_as_0009(connection: asyncpg.Connection[asyncpg.Record], event_id: str) -> Any:
    """What a gateway of schema 0009 asks for a new event; whether it was new."""
    event = [
        ["acme"],
        [event_id],
        ["invoice.paid"],
        ["routed"],
        [False],
        [None],
        [None],
        [None],
        [None],
        ["webhook"],
        [None],
        [None],
        [b"{}"],
    ]
    delivery = [[1], [f"dlv_{event_id}"], [f"dlv_{event_id}"], ["r"], ["a"], ["[]"], [False], [None], [None], [None]]
    more: list[list[str | None]] = [[], [None]]
    return await connection.fetchval(ADD_0009, None, *event, *delivery, *more)


@pytest.fixture
async def older(postgresql_server: str) -> AsyncIterator[tuple[str, asyncpg.Connection[asyncpg.Record]]]:
    """The URL of a database of schema 0009 with one event, and the connection of an older gateway to it."""
    admin = await asyncpg.connect(postgresql_server)
    await admin.execute("CREATE DATABASE older")
    url = database_url(postgresql_server, "older")
    connection = await asyncpg.connect(url, server_settings={"search_path": "gateway"})
    await connection.execute("CREATE SCHEMA gateway")
    await connection.execute((VERSION_0_1 / "postgresql.sql").read_text())
    assert await add_as_0009(connection, "evt_before") == [True]
    yield url, connection
    await connection.close()
    await admin.execute("DROP DATABASE older WITH (FORCE)")
    await admin.close()


async def test_an_older_gateway_works_on_after_the_schema_is_newer(
    older: tuple[str, asyncpg.Connection[asyncpg.Record]],
) -> None:
    url, old = older
    async with stores(url, 1) as (new,):
        assert await add_as_0009(old, "evt_after") == [True]
        assert await add_as_0009(old, "evt_after") == [False]
        assert not (await new.add(an_event("evt_new"), [owed()])).is_duplicate
        assert (await new.add(an_event("evt_after"), [owed()])).is_duplicate
        found = await new.events(EventFilter(), limit=9, newest_first=False)
        assert [event.id for event in found] == ["evt_before", "evt_after", "evt_new"]


@pytest.fixture
def altering(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that changes a table goes with the upgrade, before the functions."""
    script = migrations.schema_script
    step = "ALTER TABLE events ADD COLUMN later text; "
    monkeypatch.setattr(migrations, "schema_script", lambda name: step + script(name))


@pytest.mark.usefixtures("altering")
async def test_a_step_that_finds_a_table_busy_lets_gateways_go_first_and_tries_again(
    older: tuple[str, asyncpg.Connection[asyncpg.Record]],
) -> None:
    url, old = older
    reader = await asyncpg.connect(url, server_settings={"search_path": "gateway"})
    listing = reader.transaction()
    await listing.start()
    await reader.execute("SELECT count(*) FROM events")  # and its lock stays until the end
    upgrading = asyncio.create_task(PostgresStore(url).migrate())
    waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ~ 'ADD COLUMN|DROP INDEX'"
    await until(lambda: old.fetchval(waits))
    async with asyncio.timeout(HANG_SECONDS):
        assert await add_as_0009(old, "evt_meanwhile") == [True]  # behind the step, which gives way
    assert not upgrading.done()
    await listing.rollback()
    await reader.close()
    assert await upgrading == "0009"
    assert await old.fetchval("SELECT version_num FROM alembic_version") == migrations.HEAD


@pytest.mark.usefixtures("altering")
async def test_a_step_that_never_gets_its_table_says_so(
    older: tuple[str, asyncpg.Connection[asyncpg.Record]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, old = older
    monkeypatch.setattr(database, "TRIES", 2)
    monkeypatch.setattr(database, "MIGRATION_PAUSE_SECONDS", 0.0)
    async with old.transaction():
        await old.execute("SELECT count(*) FROM events")
        with pytest.raises(
            StoreUnavailable, match=f"to schema {migrations.HEAD}: canceling statement due to lock timeout"
        ):
            await PostgresStore(url).migrate()
    assert await old.fetchval("SELECT version_num FROM alembic_version") == "0009"
