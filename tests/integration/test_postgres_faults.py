"""PostgreSQL that stops, crashes and comes back, many gateways that start or idle at once, PgBouncer, and URLs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import asyncpg
import pytest
import structlog

from gateway.core.errors import StoreError, StoreOutdated, StoreUnavailable, UsageError
from gateway.core.model import DeliveryFilter, PlannedDelivery
from gateway.store import open_store
from gateway.store.answers import Due
from gateway.store.migrations.runner import HEAD
from gateway.store.postgres.connection import Address
from gateway.store.postgres.store import PostgresStore
from tests.acceptance.harness import free_port
from tests.conftest import database_url
from tests.contract.test_store import SUCCEEDED, an_event
from tests.integration.test_postgres_turns import stores
from tests.postgres_server import OwnServer
from tests.waiting import HANG_SECONDS, until

OWED = [PlannedDelivery("r", "a")]


@pytest.fixture
def server() -> Iterator[OwnServer]:
    """A server that this test stops and starts."""
    with OwnServer() as made:
        yield made


async def until_added(store: PostgresStore, id: str) -> None:
    """Asks again, as Stripe would, until the event is stored."""

    async def is_added() -> bool:
        with contextlib.suppress(StoreUnavailable):
            await store.add(an_event(id), OWED)
            return True
        return False

    await until(is_added, every=0.05)


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_while_postgresql_is_gone_every_call_says_so_at_once_and_afterwards_all_work(
    server: OwnServer, mode: str
) -> None:
    async with stores(server.url, 1) as (store,):
        await store.add(an_event("evt_1"), OWED)
        (claim,) = await store.claim(dict.fromkeys((await store.due()).lanes, 9), lease_seconds=60)
        await asyncio.to_thread(server.stop, mode)
        start = time.monotonic()
        for _ in range(20):
            with pytest.raises(StoreUnavailable):
                await store.add(an_event("evt_2"), OWED)
            with pytest.raises(StoreUnavailable):
                await store.due()
            with pytest.raises(StoreUnavailable):
                await store.finish(claim.delivery.id, claim.token, SUCCEEDED)
            with pytest.raises(StoreUnavailable):
                await store.ping()
        assert time.monotonic() - start < 60  # less than a second each
        await asyncio.to_thread(server.start)
        await until_added(store, "evt_2")
        assert await store.finish(claim.delivery.id, claim.token, SUCCEEDED) is True
        assert await store.counts() == {"pending": 1, "succeeded": 1, "events": 2}
        await store.ping()


async def test_announcements_are_heard_again_after_a_restart(server: OwnServer) -> None:
    async with stores(server.url, 2) as (first, second):
        await asyncio.to_thread(server.restart)
        await until_added(first, "evt_1")
        async with asyncio.timeout(HANG_SECONDS):
            while not (await seen(second)):
                pass


async def seen(store: PostgresStore) -> bool:
    """Whether there is work, once the store was told so."""
    await store.wait_for_work(5)
    with contextlib.suppress(StoreUnavailable):
        return bool((await store.due()).lanes)
    return False


async def test_work_added_by_one_gateway_wakes_another_at_once(inbox_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.store.postgres.queue.POLL_SECONDS", 3600.0)  # its own look would be later
    async with stores(inbox_url, 2) as (first, second):
        await second.wait_for_work(0.01)
        waiting = asyncio.create_task(second.wait_for_work(3600))
        await first.add(an_event(), OWED)
        await asyncio.wait_for(waiting, HANG_SECONDS)
        assert (await second.due()).lanes


async def test_ten_gateways_that_start_at_once_make_one_schema(postgresql_server: str) -> None:
    connection = await asyncpg.connect(postgresql_server)
    await connection.execute("CREATE DATABASE fresh")
    try:
        async with stores(database_url(postgresql_server, "fresh"), 10) as gateways:
            await gateways[3].add(an_event(), OWED)
            assert await gateways[7].counts() == {"pending": 1, "events": 1}
    finally:
        await connection.execute("DROP DATABASE fresh WITH (FORCE)")
        await connection.close()


async def counted(asked: Counter[PostgresStore], store: PostgresStore, due: Callable[[], Awaitable[Due]]) -> Due:
    """What `due` answers; notes that it has."""
    answer = await due()
    asked[store] += 1
    return answer


async def test_ten_idle_gateways_issue_fewer_than_ten_statements_a_second_together(
    server: OwnServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gateway.config.load import load
    from gateway.core.routing import RouteTable
    from gateway.delivery.fetch import StripeFetcher
    from gateway.delivery.resources import Resources
    from gateway.delivery.worker import Worker
    from gateway.stripe.connections import StripeApis

    (tmp_path / "gateway.yaml").write_text("version: 1\naccounts: {acme: {signing_secrets: [whsec_x]}}\n")
    config, log = load(tmp_path / "gateway.yaml", {}), structlog.get_logger()
    async with stores(server.url, 10) as gateways:
        table = RouteTable(())
        resources, apis = Resources(lambda *_: True, log), StripeApis()
        asked = Counter[PostgresStore]()
        for store in gateways:
            monkeypatch.setattr(store, "due", partial(counted, asked, store, store.due))
        workers = [Worker(s, lambda: (config, table), resources, StripeFetcher(s, apis), log) for s in gateways]
        running = [asyncio.create_task(worker.run()) for worker in workers]
        watcher = await asyncpg.connect(server.url)
        await watcher.execute("ALTER SYSTEM SET log_statement = 'all'")
        await watcher.execute("SELECT pg_reload_conf()")
        await watcher.close()
        await until(lambda: all(asked[store] for store in gateways))
        before, start = server.statements(), time.monotonic()
        await asyncio.sleep(8)  # a rate needs its time
        rate = (server.statements() - before) / (time.monotonic() - start)
        for worker in workers:
            await worker.drain(1)
        await asyncio.gather(*running)
    print(f"{rate:.1f} statements a second")
    assert 0.5 < rate < 10


async def test_a_schema_of_a_newer_gateway_is_refused_only_where_it_does_not_suit(inbox_url: str) -> None:
    connection = await asyncpg.connect(inbox_url, server_settings={"search_path": "gateway"})
    await connection.execute("UPDATE alembic_version SET version_num = '9000'")
    async with stores(inbox_url, 1) as (store,):  # it was only expanded
        await store.add(an_event(), OWED)
    await connection.execute("UPDATE facts SET value = '8999' WHERE name = 'oldest_program'")
    with pytest.raises(StoreOutdated) as caught:
        await PostgresStore(inbox_url).start()
    told = f"was brought to schema 9000 by a newer gateway, and this one (schema {HEAD}) cannot work on it"
    assert told in str(caught.value)
    await connection.close()


async def test_a_command_before_the_first_gateway_says_what_to_do(postgresql_server: str) -> None:
    with pytest.raises(StoreUnavailable, match=r"there is no inbox at .* yet; `gateway serve` makes it"):
        await PostgresStore(f"{postgresql_server}&schema=nobody").attach()


async def test_a_schema_that_an_admin_made_needs_no_right_on_the_database(inbox_url: str) -> None:
    connection = await asyncpg.connect(inbox_url)
    await connection.execute("CREATE ROLE tenant LOGIN; CREATE SCHEMA two AUTHORIZATION tenant")
    try:
        assert await PostgresStore(inbox_url.replace("//postgres:@", "//tenant@") + "&schema=two").migrate() is None
    finally:
        await connection.execute("DROP OWNED BY tenant; DROP ROLE tenant")
        await connection.close()


async def test_a_server_that_is_set_to_read_only_is_not_ready(inbox_url: str) -> None:
    connection = await asyncpg.connect(inbox_url)
    name = await connection.fetchval("SELECT current_database()")
    await connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    await connection.close()
    store = PostgresStore(inbox_url)
    await store.attach()
    with pytest.raises(StoreUnavailable) as caught:
        await store.ping()
    await store.close()
    assert str(caught.value) == (f"{store.address.shown} only reads now: its transactions are set to read only")


async def test_two_inboxes_in_one_database_by_schema(inbox_url: str) -> None:
    joint = "&" if "?" in inbox_url else "?"
    async with stores(f"{inbox_url}{joint}schema=shop_two", 1) as (other,), stores(inbox_url, 1) as (store,):
        await other.add(an_event(), OWED)
        assert await store.deliveries(DeliveryFilter(), limit=9) == []
        assert (await other.status()).schema == (await store.status()).schema


@pytest.mark.parametrize(
    ("url", "shown", "dsn"),
    [
        (
            "postgresql://ann:s3cret@db.example:6432/inbox?sslmode=require",
            "postgresql://ann@db.example:6432/inbox?sslmode=require",
            "postgresql://ann:s3cret@db.example:6432/inbox?sslmode=require",
        ),
        (
            "postgres://ann@/inbox?host=/run/postgresql&connect_timeout=3",
            "postgresql://ann@/inbox?host=/run/postgresql&connect_timeout=3",
            "postgresql://ann@/inbox?host=/run/postgresql",
        ),
        (
            "postgresql://a,b:5433/inbox?target_session_attrs=read-write&schema=two&password=s3cret",
            "postgresql://a,b:5433/inbox?target_session_attrs=read-write&schema=two",
            "postgresql://a,b:5433/inbox?target_session_attrs=read-write&password=s3cret",
        ),
    ],
)
def test_a_url_goes_to_the_driver_whole_and_to_people_without_its_password(url: str, shown: str, dsn: str) -> None:
    address = Address.parse(url)
    assert (address.shown, address.dsn) == (shown, dsn)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (
            "postgresql://h/d?schema=A-b",
            "store.url: schema= takes lower-case letters, digits and _, such as schema=gateway",
        ),
        ("postgresql://h/d?connect_timeout=x", "store.url: connect_timeout= takes a number of seconds"),
        (
            "mysql://h/d",
            "store.url: expected sqlite:///relative.db, sqlite:////absolute.db or postgresql://user@host/database",
        ),
    ],
)
def test_a_url_that_cannot_be_right_is_refused_with_what_would_be(url: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        open_store(url, tmp_path)
    assert str(caught.value) == message


async def test_a_server_that_is_not_there_or_refuses_is_told_without_the_password(postgresql_server: str) -> None:
    with pytest.raises(StoreUnavailable) as caught:
        await PostgresStore(f"postgresql://ann:s3cret@127.0.0.1:{free_port()}/inbox").start()
    assert str(caught.value).startswith("cannot reach PostgreSQL: ")
    assert "s3cret" not in str(caught.value)
    with pytest.raises(StoreUnavailable) as caught:
        await PostgresStore(database_url(postgresql_server, "not_there")).start()
    assert str(caught.value) == 'cannot reach PostgreSQL: database "not_there" does not exist'
    with pytest.raises(UsageError, match=r"store.url: PostgreSQL does not take this URL"):
        await PostgresStore("postgresql://ann:s3cret@127.0.0.1:port/inbox").start()


# -- PgBouncer ------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def pgbouncer(server: str, mode: str, *, ignored: str = "") -> Iterator[str]:
    """PgBouncer before a server, which takes no notice of `ignored` parameters; the URL through it."""
    program = shutil.which("pgbouncer", path=os.environ["PATH"] + ":/usr/sbin")
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail("PgBouncer is not installed, and CI must test it: see .ci/run")
        pytest.skip("PgBouncer is not installed: apt-get install pgbouncer brings it")
    parts = urlsplit(server)
    socket_folder = dict(parse_qsl(parts.query))["host"]
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="pgb") as folder:
        config = Path(folder, "pgbouncer.ini")
        config.write_text(
            f"[databases]\n* = host={socket_folder} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
            f"listen_port = {port}\nauth_type = any\nunix_socket_dir =\npool_mode = {mode}\nmax_client_conn = 200\n"
            f"ignore_startup_parameters = {ignored}\n"
        )
        command = [program, str(config)]
        if os.getuid() == 0:  # it refuses to be root
            os.chmod(folder, 0o755)
            command[1:1] = ["-u", pwd.getpwuid(os.stat(socket_folder).st_uid).pw_name]
        with Path(folder, "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield f"postgresql://postgres@127.0.0.1:{port}{parts.path}"
        finally:
            process.terminate()
            process.wait(HANG_SECONDS)


async def reached(url: str) -> None:
    """Returns once a connection can be made."""

    async def answers() -> bool:
        with contextlib.suppress(OSError, asyncpg.PostgresError):
            connection = await asyncpg.connect(url, statement_cache_size=0)
            await connection.close()
            return True
        return False

    await until(answers)


async def test_it_works_through_pgbouncer_in_session_mode(inbox_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.store.postgres.queue.POLL_SECONDS", 3600.0)
    with pgbouncer(inbox_url, "session") as url:
        await reached(url)
        async with stores(url, 2) as (first, second):
            await second.wait_for_work(0.01)
            waiting = asyncio.create_task(second.wait_for_work(3600))
            await asyncio.gather(*(first.add(an_event(f"evt_{i}"), OWED) for i in range(50)))
            await asyncio.wait_for(waiting, HANG_SECONDS)
            claims = await second.claim(dict.fromkeys((await second.due()).lanes, 99), lease_seconds=60)
            assert len(claims) == 50
            done = await asyncio.gather(*(second.finish(c.delivery.id, c.token, SUCCEEDED) for c in claims))
            assert all(done)


async def test_pgbouncer_in_transaction_mode_is_refused_and_told_why(inbox_url: str) -> None:
    with pgbouncer(inbox_url, "transaction") as url:
        await reached(url)
        store = PostgresStore(url)
        with pytest.raises(StoreError) as caught:
            await store.start()
        assert str(caught.value) == (
            "store.url leads to a pooler in transaction mode, where announcements of work and prepared statements get "
            "lost; use session mode, or PostgreSQL itself"
        )
