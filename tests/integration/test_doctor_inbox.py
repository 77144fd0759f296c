"""What `gateway doctor` says of the inbox: a SQLite file and PostgreSQL, there or not yet, and what keeps them away."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from gateway.cli.doctor.store import inbox_findings
from gateway.config.load import load
from gateway.core.model import PlannedDelivery
from gateway.plugin import Finding
from gateway.store.migrations.runner import HEAD
from gateway.store.postgres.store import PostgresStore
from gateway.store.sqlite.store import SqliteStore
from tests.acceptance.harness import free_port
from tests.conftest import Clock, database_url
from tests.contract.test_store import an_event
from tests.integration.test_postgres_faults import pgbouncer, reached

FIX = "look at store.url, whether it can be reached, and the rights of its user"


async def told(folder: Path, url: str) -> list[Finding]:
    """The findings for a config whose store is at that URL."""
    path = folder / "gateway.yaml"
    path.write_text(f'version: 1\nstore: {{url: "{url}"}}\naccounts: {{acme: {{signing_secrets: [whsec_0123abcd]}}}}\n')
    return [finding async for finding in inbox_findings(load(path, {}))]


def shown(url: str) -> str:
    return PostgresStore(url).address.shown


async def execute(url: str, *statements: str) -> None:
    """Changes a PostgreSQL store as another program would."""
    connection = await asyncpg.connect(url, server_settings={"search_path": "gateway"})
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


@pytest.fixture
async def stranger(inbox_url: str) -> AsyncIterator[str]:
    """The database with an inbox, for a role that has no rights there."""
    role = f"stranger_{os.urandom(4).hex()}"
    await execute(inbox_url, f"CREATE ROLE {role} LOGIN")
    yield inbox_url.replace("//postgres:@", f"//{role}@")
    await execute(inbox_url, f"DROP OWNED BY {role}; DROP ROLE {role}")


# -- a SQLite file --------------------------------------------------------------------------------------------


async def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    first, room = await told(tmp_path, "sqlite:///data/gateway.db")
    assert first == Finding.good("there is no gateway.db yet; `gateway serve` makes it")
    assert room.text.endswith("GiB are free on its disk")
    assert [path.name for path in tmp_path.iterdir()] == ["gateway.yaml"]


async def test_the_inbox_is_opened_beside_a_gateway_that_runs(tmp_path: Path, clock: Clock) -> None:
    file = tmp_path / "data" / "gateway.db"
    store = SqliteStore(file, clock)
    await store.start()
    try:
        planned = [PlannedDelivery("r", "a"), PlannedDelivery("r", "b", error="no such field")]
        await store.add(an_event(), planned)
        first, room = await told(tmp_path, "sqlite:///data/gateway.db")
        oldest = (await store.status()).oldest_pending_at
    finally:
        await store.close()
    assert oldest is not None
    assert first.verdict == "good"
    assert first.text.startswith(
        f"sqlite:///{file} opens and can commit: schema {HEAD}, 1 events, 1 dead letters, "
        f"the oldest pending delivery of {oldest:%Y-%m-%d %H:%M:%S} UTC, "
    )
    assert first.text.endswith(" MiB")
    assert room.text.endswith("GiB are free on its disk")


async def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "gateway.db").write_text("no database, but long enough to be looked at" * 100)
    (found,) = await told(tmp_path, "sqlite:///gateway.db")
    assert found.verdict == "bad"
    assert "damaged or not a SQLite file" in found.text
    assert found.fix == FIX


# -- PostgreSQL -----------------------------------------------------------------------------------------------


async def test_postgresql_is_told_as_db_status_tells_it(tmp_path: Path, inbox_url: str) -> None:
    store = PostgresStore(inbox_url)
    await store.start()
    try:
        await store.add(an_event(), [PlannedDelivery("r", "a", error="no such field")])
        (found,) = await told(tmp_path, inbox_url)
    finally:
        await store.close()
    assert found.verdict == "good"
    assert found.text.startswith(
        f"{shown(inbox_url)} opens and can commit: schema {HEAD}, 1 events, 1 dead letters, nothing pending, "
    )


async def test_a_schema_that_is_not_there_is_not_made(tmp_path: Path, inbox_url: str) -> None:
    url = f"{inbox_url}&schema=two"
    assert await told(tmp_path, url) == [
        Finding.good(f"there is no inbox at {shown(url)} yet; `gateway serve` makes it")
    ]
    assert await told(tmp_path, url) == await told(tmp_path, url)  # looking did not make it


async def test_a_role_that_may_not_make_the_schema_is_told_the_grant(tmp_path: Path, stranger: str) -> None:
    url = f"{stranger}&schema=two"
    assert await told(tmp_path, url) == [
        Finding.bad(
            f"cannot be made: the user of store.url has no right to create in the database of {shown(url)}",
            "GRANT CREATE ON DATABASE ... TO its user",
        )
    ]


async def test_a_role_that_may_not_make_tables_in_the_schema_is_told_the_grant(
    tmp_path: Path, inbox_url: str, stranger: str
) -> None:
    await execute(inbox_url, "CREATE SCHEMA two", "GRANT USAGE ON SCHEMA two TO PUBLIC")
    url = f"{stranger}&schema=two"
    assert await told(tmp_path, url) == [
        Finding.bad(
            f"cannot be made: the user of store.url has no right to create in the schema two of {shown(url)}",
            "GRANT CREATE ON SCHEMA ... TO its user",
        )
    ]


async def test_a_schema_that_was_made_for_its_user_is_enough(tmp_path: Path, inbox_url: str, stranger: str) -> None:
    role = stranger.partition("//")[2].partition("@")[0]
    await execute(inbox_url, f"CREATE SCHEMA two AUTHORIZATION {role}")
    url = f"{stranger}&schema=two"
    assert await told(tmp_path, url) == [
        Finding.good(f"there is no inbox at {shown(url)} yet; `gateway serve` makes it")
    ]
    assert await PostgresStore(url).migrate() is None
    (found,) = await told(tmp_path, url)
    assert found.verdict == "good"
    assert "opens and can commit" in found.text


async def test_an_inbox_that_its_user_may_not_read_is_told(tmp_path: Path, stranger: str) -> None:
    assert await told(tmp_path, stranger) == [
        Finding.bad(f"cannot read {shown(stranger)}: permission denied for schema gateway", FIX)
    ]


async def test_an_older_schema_is_told_with_what_mends_it(tmp_path: Path, inbox_url: str) -> None:
    await execute(inbox_url, "UPDATE alembic_version SET version_num = '0009'")
    assert await told(tmp_path, inbox_url) == [
        Finding.bad(
            f"{shown(inbox_url)} has schema 0009, this program knows {HEAD}; `gateway db migrate` mends it",
            "bring the store and this program to one version",
        )
    ]


async def test_a_newer_schema_that_this_program_can_work_on_is_noted(tmp_path: Path, inbox_url: str) -> None:
    await execute(inbox_url, "UPDATE alembic_version SET version_num = '9000'")
    first, second = await told(tmp_path, inbox_url)
    assert first.verdict == "good"
    assert second == Finding.note(
        f"a newer gateway brought it to schema 9000; this one knows {HEAD}, and can work on it",
        "install the newer one here too",
    )


async def test_a_server_that_only_reads_is_told(tmp_path: Path, inbox_url: str) -> None:
    name = inbox_url.partition("?")[0].rpartition("/")[2]
    await execute(inbox_url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    assert await told(tmp_path, inbox_url) == [
        Finding.bad(f"{shown(inbox_url)} only reads now: its transactions are set to read only", FIX)
    ]


async def test_a_server_that_is_away_is_told_without_the_password(tmp_path: Path, postgresql_server: str) -> None:
    (away,) = await told(tmp_path, f"postgresql://ann:s3cret@127.0.0.1:{free_port()}/inbox")
    assert (away.verdict, away.fix) == ("bad", FIX)
    assert away.text.startswith("cannot reach PostgreSQL: ")
    assert "s3cret" not in away.text
    assert await told(tmp_path, database_url(postgresql_server, "not_there")) == [
        Finding.bad('cannot reach PostgreSQL: database "not_there" does not exist', FIX)
    ]


async def test_a_pooler_in_transaction_mode_is_told(tmp_path: Path, inbox_url: str) -> None:
    with pgbouncer(inbox_url, "transaction") as url:
        await reached(url)
        (found,) = await told(tmp_path, url)
    assert found.verdict == "bad"
    assert found.text.startswith("store.url leads to a pooler in transaction mode")


async def test_a_url_of_no_store_is_told(tmp_path: Path) -> None:
    assert await told(tmp_path, "mysql://h/d") == [
        Finding.bad(
            "store.url: expected sqlite:///relative.db, sqlite:////absolute.db or postgresql://user@host/database",
            "see docs/configuration.md, store",
        )
    ]
