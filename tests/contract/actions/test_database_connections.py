"""How the database actions reach a database: its login, a pooler before it, and a failover."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncmy
import pytest
from pydantic import ValidationError

from actions import database_action
from actions.db_execute import DbExecute
from actions.db_query import DbQuery
from actions.db_upsert import DbUpsert
from gateway.core.model import ConnectionState, DeliveryFilter, DeliveryState, until_reached
from gateway.plugin import DatabaseConnection, Finding
from gateway.store.sqlite.store import SqliteStore
from gateway.testing import make_event, probe_action
from tests.contract.actions.running import opened
from tests.contract.actions.test_db_upsert import ON_MARIADB, ON_POSTGRESQL, connection_to, sql
from tests.integration.live_gateway import SECRET, live_gateway
from tests.integration.test_postgres_faults import pgbouncer, reached
from tests.postgres_server import OwnServer
from tests.waiting import until

HARD = "Xk29/fj?s8#3h@f:K%41+ 9"  # each of them means something in a URL
INTO_T: dict[str, Any] = {"table": "t", "values": {"n": 1}}


def connection(**keys: Any) -> DatabaseConnection:
    return DatabaseConnection.model_validate({"type": "database", **keys})


# -- url, and what stands beside it ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "address"),
    [
        (
            {"url": "postgresql://", "host": "db", "user": "a b", "password": "x#/", "database": "s h"},
            "postgresql://a%20b:x%23%2F@db/s%20h",
        ),
        ({"url": "postgresql://app@db:1/shop?sslmode=require", "password": "p"},
         "postgresql://app:p@db:1/shop?sslmode=require"),
        ({"url": "mysql://", "host": "/run/db.sock", "port": 1}, "mysql://?unix_socket=/run/db.sock&port=1"),
        ({"url": "postgresql:///d", "host": "/run/pg"}, "postgresql:///d?host=/run/pg"),
        ({"url": "postgresql:///d", "host": "a,b", "port": 5433}, "postgresql://a:5433,b:5433/d"),
        ({"url": "postgresql:///d", "host": "::1", "port": 5}, "postgresql://[::1]:5/d"),
        ({"url": "postgresql:///d", "port": 5}, "postgresql://localhost:5/d"),
        ({"url": "postgresql://a:1,b:2/d?target_session_attrs=read-write"},
         "postgresql://a:1,b:2/d?target_session_attrs=read-write"),
    ],
)  # fmt: skip
def test_what_stands_beside_the_url_goes_to_its_place(keys: dict[str, Any], address: str) -> None:
    assert connection(**keys).address() == address


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"url": "postgresql://app:Xk#9@db/shop"}, "has a # where none can be"),
        ({"url": "postgresql://app:Xk/9@db/shop"}, "has a / where none can be"),
        ({"url": "postgresql://app:X@k/9@db/shop"}, "has a / where none can be"),
        ({"url": "mysql://app:Xk?9@db/shop"}, r"has a \? where none can be"),
        ({"url": "mysql://app:X[k@db/shop"}, r"has a \[ where none can be"),
        ({"url": "mysql://app@db:port/shop"}, "has a port that is no number"),
        ({"url": "mysql://app:a@db/shop", "password": "b"}, "stands in url too: leave it out in one"),
        ({"url": "mysql://db/shop", "host": "other"}, "stands in url too: leave it out in one"),
        ({"url": "mysql://db:1/shop", "port": 2}, "stands in url too: leave it out in one"),
        ({"url": "postgresql:///?user=a", "user": "b"}, "stands in url too: leave it out in one"),
        ({"url": "sqlite:///shop.db", "password": "x"}, "is nothing that a file of SQLite has"),
        ({"url": "mysql://"}, "url says neither host nor database"),
        ({"url": "mysql://", "host": "me@db"}, "should match pattern"),
    ],
)
def test_a_url_that_would_be_read_otherwise_and_what_is_said_twice_are_errors_at_load(
    keys: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValidationError, match=told):
        connection(**keys)


@contextlib.asynccontextmanager
async def mariadb_user(socket: Path, database: str, password: str) -> AsyncIterator[str]:
    """A user who may do everything in one database, and nothing beside."""
    name = f"u{database[1:20]}"
    root = await asyncmy.connect(user="root", unix_socket=str(socket))
    async with root.cursor() as cursor:
        await cursor.execute(f"CREATE USER {name}@localhost IDENTIFIED BY %s", (password,))
        await cursor.execute(f"GRANT ALL ON {database}.* TO {name}@localhost")
    try:
        yield name
    finally:
        async with root.cursor() as cursor:
            await cursor.execute(f"DROP USER {name}@localhost")
        await root.ensure_closed()


@ON_MARIADB
async def test_a_password_that_no_url_takes_logs_in(mariadb_url: str, mariadb_socket: Path) -> None:
    database = urlsplit(mariadb_url).path[1:]
    async with mariadb_user(mariadb_socket, database, HARD) as user:
        given = connection(url="mysql://", host=str(mariadb_socket), user=user, password=HARD, database=database)
        async with opened(DbUpsert(), given) as run:
            assert await run({**INTO_T, "key": {"id": 1}, "ensure_table": True}) == {"rows": 1, "changed": 1}


# -- a pooler in transaction mode -----------------------------------------------------------------------------


@ON_POSTGRESQL
async def test_forty_upserts_at_once_through_pgbouncer_succeed_at_their_first_attempt(postgresql_url: str) -> None:
    await sql(postgresql_url, "CREATE TABLE t (id int PRIMARY KEY, n int, tags jsonb, words text[])")
    with pgbouncer(postgresql_url, "transaction") as url:
        await reached(url)
        async with contextlib.AsyncExitStack() as stack:  # as many gateways would: more clients than server sessions
            runs = [await stack.enter_async_context(opened(DbUpsert(), connection_to(url))) for _ in range(5)]
            for _ in range(3):
                done = await asyncio.gather(
                    *(
                        runs[n % 5]({"table": "t", "key": {"id": n}, "values": {"n": n, "tags": [n], "words": ["a"]}})
                        for n in range(40)
                    )
                )
                assert done == [{"rows": 1, "changed": 1}] * 40
        (answer, table) = await probe_action(
            DbUpsert(), {**INTO_T, "key": {"id": 1}, "connection": "it"}, connection=connection_to(url)
        )
    assert answer.text.startswith("answers: PostgreSQL 1")
    assert answer.text.endswith(", behind PgBouncer")
    assert table.verdict == "good"
    assert await sql(postgresql_url, "SELECT count(*) FROM t") == [(40,)]


@ON_POSTGRESQL
@pytest.mark.parametrize(("ignored", "told"), [("", "PgBouncer"), ("gateway.looks", "a pooler")])
async def test_a_pooler_is_told_by_the_name_that_it_gives_itself(postgresql_url: str, ignored: str, told: str) -> None:
    with pgbouncer(postgresql_url, "session", ignored=ignored) as url:
        await reached(url)
        (answer,) = await probe_action(DbUpsert(), connection=connection_to(url))
    assert answer.text.endswith(f", behind {told}")


@ON_POSTGRESQL
async def test_statements_are_compiled_and_queries_run_through_pgbouncer(postgresql_url: str) -> None:
    await sql(postgresql_url, "CREATE TABLE t (id int PRIMARY KEY, n int)")
    with pgbouncer(postgresql_url, "transaction") as url:
        await reached(url)
        uses = [{"statement": "UPDATE t SET n = :n", "params": {"n": 1}}] * 3
        _, *found = await probe_action(DbExecute(), *uses, connection=connection_to(url))
        async with opened(DbQuery(), connection_to(url)) as first, opened(DbQuery(), connection_to(url)) as second:
            queries = [{"statement": f"SELECT {n} + CAST(:n AS int) AS n", "params": {"n": n}} for n in range(30)]
            read = await asyncio.gather(*((first, second)[n % 2](query) for n, query in enumerate(queries)))
    assert [output["rows"] for output in read] == [[{"n": 2 * n}] for n in range(30)]
    assert found == [Finding.good("the statement is taken", use=f"test.{number}") for number in (1, 2, 3)]


# -- failover -------------------------------------------------------------------------------------------------


async def written_after(url: str, connection: DatabaseConnection, *, read_only: str, writable: str) -> int:
    """Forty upserts begin while a database takes no writes; how many rows are there once it does again."""
    async with opened(DbUpsert(), connection) as run:
        await run({**INTO_T, "key": {"id": 0}, "ensure_table": True})
        await sql(url, read_only)
        try:
            async with opened(DbUpsert(), connection) as second:
                begun = [asyncio.ensure_future(second({**INTO_T, "key": {"id": n}})) for n in range(1, 41)]
                await asyncio.wait(begun, timeout=1.5)  # each of its sessions has met the database so by now
                assert not any(task.done() for task in begun)
                await sql(url, writable)
                await asyncio.gather(*begun)  # each within its attempt
        finally:
            await sql(url, writable)
    [(count,)] = await sql(url, "SELECT count(*) FROM t")
    return int(count)


@ON_POSTGRESQL
async def test_all_is_written_within_their_attempts_after_a_read_only_postgresql_takes_writes_again(
    postgresql_url: str,
) -> None:
    above = f"{postgresql_url}&options=-c%20default_transaction_read_only%3Doff"  # of what holds for the database
    alter = f'ALTER DATABASE "{urlsplit(postgresql_url).path[1:]}" SET default_transaction_read_only ='
    given = connection_to(postgresql_url)
    assert await written_after(above, given, read_only=f"{alter} on", writable=f"{alter} off") == 41


QUICK = ", concurrency: 1, breaker: {failures: 2, pause: 500ms, max: 500ms}"
LONG_PAUSE = ", breaker: {pause: 1h, max: 1h}"
ORDERS = """\
version: 1
server: {{listen: "127.0.0.1:0"}}
admin: {{listen: "127.0.0.1:0"}}
defaults: {{retry: {{first: 1h, attempts: 3}}, timeout: 1m}}
accounts:
  acme: {{signing_secrets: [{secret}]}}
connections:
  shop: {{type: database, url: "{url}"{limits}}}
routes:
  keep:
    events: [invoice.paid]
    actions:
      save: {{uses: db_upsert, with: {{connection: shop, table: t, key: {{id: "{{{{ event.id }}}}"}}}}}}
"""


@pytest.fixture
def short_wait_within_an_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who meets a read-only database waits a second for it and no more, and has a minute for all else."""
    monkeypatch.setattr(database_action, "_READ_ONLY_SHARE", 1 / 60)


@ON_POSTGRESQL
@pytest.mark.usefixtures("short_wait_within_an_attempt")
async def test_after_a_long_failover_what_waits_for_an_hour_is_written_once_the_connection_works_again(
    postgresql_url: str, tmp_path: Path
) -> None:
    above = f"{postgresql_url}&options=-c%20default_transaction_read_only%3Doff"
    alter = f'ALTER DATABASE "{urlsplit(postgresql_url).path[1:]}" SET default_transaction_read_only ='
    await sql(above, "CREATE TABLE t (id text PRIMARY KEY)")
    await sql(above, f"{alter} on")
    async with live_gateway(tmp_path, ORDERS.format(secret=SECRET, url=postgresql_url, limits=QUICK)) as gateway:
        for _ in range(6):
            assert await gateway.post(make_event("invoice.paid")) == 200
        store = SqliteStore(tmp_path / "data/gateway.db")
        await store.attach()

        async def are_waiting() -> bool:
            deliveries = await store.deliveries(DeliveryFilter(states=("pending",)), limit=10)
            return [d.reason for d in deliveries].count(until_reached("shop")) >= 2

        await until(are_waiting)
        await store.close()
        await sql(above, f"{alter} off")
        assert (await gateway.finished())["save"].state is DeliveryState.SUCCEEDED
    assert await sql(above, "SELECT count(*) FROM t") == [(6,)]


def away(server: OwnServer) -> Callable[[], Awaitable[None]]:
    """Stops a server; what starts it again."""
    server.stop()
    return partial(asyncio.to_thread, server.start)


def read_only(server: OwnServer) -> Callable[[], Awaitable[None]]:
    """As a standby is, for everybody's new sessions; what has it take writes again."""
    server.restart(options="-c default_transaction_read_only=on")
    return partial(asyncio.to_thread, server.restart)


@ON_POSTGRESQL
@pytest.mark.usefixtures("short_wait_within_an_attempt")
@pytest.mark.parametrize("fault", [away, read_only])
async def test_looks_have_all_written_once_the_database_can_write_again_though_pause_and_retries_last_an_hour(
    tmp_path: Path, fault: Callable[[OwnServer], Callable[[], Awaitable[None]]]
) -> None:
    with OwnServer() as server:
        await sql(server.url, "CREATE TABLE t (id text PRIMARY KEY)")
        end = await asyncio.to_thread(fault, server)
        async with live_gateway(tmp_path, ORDERS.format(secret=SECRET, url=server.url, limits=LONG_PAUSE)) as gateway:
            for _ in range(12):
                assert await gateway.post(make_event("invoice.paid")) == 200
            inbox = SqliteStore(tmp_path / "data/gateway.db")
            await inbox.attach()

            async def is_paused() -> bool:
                status = (await inbox.connections()).get("shop")
                return status is not None and status.state is ConnectionState.PAUSED

            await until(is_paused)
            await inbox.close()
            await end()
            assert (await gateway.finished())["save"].state is DeliveryState.SUCCEEDED
        assert await sql(server.url, "SELECT count(*) FROM t") == [(12,)]


@ON_MARIADB
async def test_all_is_written_within_their_attempts_after_a_read_only_mariadb_takes_writes_again(
    mariadb_url: str, mariadb_socket: Path
) -> None:
    database = urlsplit(mariadb_url).path[1:]
    async with mariadb_user(mariadb_socket, database, "x") as user:
        given = connection(url="mysql://", host=str(mariadb_socket), user=user, password="x", database=database)
        count = await written_after(
            mariadb_url, given, read_only="SET GLOBAL read_only = 1", writable="SET GLOBAL read_only = 0"
        )
    assert count == 41
