"""gateway db: migrate, status, copy."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from gateway.core.errors import StoreError, StoreLocked
from gateway.core.model import (
    AuditEntry,
    ConnectionChange,
    ConnectionState,
    DeliveryFilter,
    EventFilter,
    PlannedDelivery,
    RejectedFilter,
)
from gateway.store import copy
from gateway.store.copy import copy_store
from gateway.store.migrations.runner import HEAD
from gateway.store.postgres.store import PostgresStore
from gateway.store.protocol import Store
from gateway.store.sqlite.store import SqliteStore
from tests.cli import StoreCommands
from tests.conftest import Clock
from tests.contract.test_rejected import BOUNDS, a_rejected
from tests.contract.test_store import DEAD, SKIPPED, SUCCEEDED, an_event, claim_all, later

ROOT = Path(__file__).parents[2]
LONG = replace(BOUNDS, age_seconds=1e9)


async def fill(store: Store, count: int = 30) -> None:
    """Events whose deliveries are in every state."""
    for number in range(count):
        planned = [
            PlannedDelivery("r", "a", (), f"once {number // 2}", f"order {number % 3}"),
            PlannedDelivery("r", "b", ("a",)),
            PlannedDelivery("s", "c"),
            PlannedDelivery("s", "d", error="no" if number % 7 == 0 else None),
        ]
        body = json.dumps({"id": f"evt_{number}"}).encode()
        await store.add(
            replace(an_event(f"evt_{number}"), body=body, livemode=[None, True, False][number % 3]), planned
        )
    for how in (SUCCEEDED, replace(SUCCEEDED, output={"rows": 1}), DEAD, SKIPPED, later(3600)) * 3:
        due = await store.due()
        for claim in await store.claim(dict.fromkeys(due.lanes, 2), lease_seconds=60):
            await store.finish(claim.delivery.id, claim.token, how)
    (some, *_) = await store.deliveries(DeliveryFilter(states=("pending",)), limit=5)
    await store.cancel([some.id], "not wanted")
    await store.record(AuditEntry(some.created_at, "operator", "jenny", "delivery.cancel", some.id, 1))
    await store.keep_rejected([a_rejected(f"rej_{number}") for number in range(3)], LONG)


async def filled(path: Path) -> SqliteStore:
    """A closed SQLite store with something of everything."""
    store = SqliteStore(path)
    await store.start()
    await fill(store)
    await store.close()
    return SqliteStore(path)


async def test_a_copy_holds_everything_as_it_was(tmp_path: Path, inbox_url: str) -> None:
    source = await filled(tmp_path / "a.db")
    bars: list[tuple[str, int, int]] = []
    counted = await copy_store(source, PostgresStore(inbox_url), lambda *told: bars.append(told))
    assert counted["events"] == 30
    assert counted["deliveries"] == 120
    assert {told[0]: told[1] for told in bars if told[1] == told[2]} == counted
    before, after = SqliteStore(tmp_path / "a.db"), PostgresStore(inbox_url)
    await before.attach()
    await after.start()
    for store in (before, after):
        assert len(await store.events(EventFilter(), limit=99)) == 30
    assert await before.counts() == await after.counts()
    for one in await before.deliveries(DeliveryFilter(), limit=999):
        assert await before.delivery(one.id) == await after.delivery(one.id)
    for event in await before.events(EventFilter(), limit=99):
        assert await before.event(event.id) == await after.event(event.id)
    for request in await before.rejected(RejectedFilter(), limit=9):
        assert await before.rejected_request(request.id) == await after.rejected_request(request.id)
    await after.keep_rejected([a_rejected("rej_new")], LONG)
    assert [one.id for one in await after.rejected(RejectedFilter(), limit=2)] == ["rej_new", "rej_2"]
    assert (await after.add(an_event("evt_3"), [])).is_duplicate
    assert not (await after.add(an_event("evt_new"), [PlannedDelivery("r", "a")])).is_duplicate
    newest = await after.deliveries(DeliveryFilter(), limit=1)
    assert newest[0].event_id == "evt_new"  # numbers go on after the copied ones
    (entry,) = (await before.audit(limit=9)).items
    await after.record(replace(entry, who="joe"))
    assert (await after.audit(limit=9)).items == [replace(entry, who="joe"), entry]
    await before.close()
    await after.close()


async def test_a_copy_that_broke_off_goes_on_and_no_gateway_starts_on_its_half(
    tmp_path: Path, inbox_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copy, "PART", 7)
    source = await filled(tmp_path / "a.db")

    class BrokenOffError(Exception):
        """As Ctrl-C would."""

    def break_off(table: str, done: int, total: int) -> None:
        if table == "deliveries" and done > 50:
            raise BrokenOffError

    with pytest.raises(BrokenOffError):
        await copy_store(source, PostgresStore(inbox_url), break_off)
    with pytest.raises(StoreError, match=r"holds an unfinished copy of .*a.db; run `gateway db copy` again"):
        await PostgresStore(inbox_url).start()
    begun: dict[str, int] = {}

    def begins(table: str, done: int, total: int) -> None:
        begun.setdefault(table, done)

    counted = await copy_store(SqliteStore(tmp_path / "a.db"), PostgresStore(inbox_url), begins)
    assert begun["events"] == 30
    assert begun["deliveries"] > 50
    assert counted["deliveries"] == 120
    again = await copy_store(SqliteStore(tmp_path / "a.db"), PostgresStore(inbox_url), lambda *_: None)
    assert again == counted


async def test_a_copy_brings_pauses_and_what_is_remembered_of_purged_events(
    tmp_path: Path, inbox_url: str, clock: Clock
) -> None:
    async def purge_one(store: Store, id: str) -> None:
        await store.add(an_event(id), [PlannedDelivery("r", "a", (), f"once {id}")])
        (claim,) = await claim_all(store)
        await store.finish(claim.delivery.id, claim.token, SUCCEEDED)
        clock.forward(1)
        assert (await store.purge(retention_seconds=0, dead_retention_seconds=None)).events == 1

    before, after = SqliteStore(tmp_path / "a.db", clock), PostgresStore(inbox_url, clock)
    await before.start()
    await purge_one(before, "evt_1")
    paused = ConnectionChange(ConnectionState.PAUSED, 30.0, "answered 503", failures=5, pauses=1)
    stood = await before.change_connection("shop", 0, paused)
    await before.close()
    counted = await copy_store(SqliteStore(tmp_path / "a.db", clock), after, lambda *_: None)
    assert (counted["events"], counted["done_once"], counted["connections"]) == (1, 1, 1)
    await after.start()
    assert await after.connections() == {"shop": stood}
    assert await after.counts() == {"events": 0}
    assert (await after.add(an_event("evt_1"), [])).is_duplicate
    await purge_one(after, "evt_2")  # numbers go on below the copied ones
    await after.add(an_event("evt_3"), [PlannedDelivery("r", "a", (), "once evt_1")])
    assert await claim_all(after) == []
    await after.close()


async def test_a_target_with_an_inbox_of_its_own_is_refused(tmp_path: Path, inbox_url: str) -> None:
    target = PostgresStore(inbox_url)
    await target.start()
    await target.add(an_event("evt_other"), [])
    await target.close()
    source = await filled(tmp_path / "a.db")
    with pytest.raises(StoreError) as caught:
        await copy_store(source, PostgresStore(inbox_url), lambda *_: None)
    assert str(caught.value) == (
        "the target already holds an inbox of its own: copy to an empty database, or name another schema in the URL "
        "(?schema=...)"
    )


async def test_a_source_with_a_running_gateway_is_refused(tmp_path: Path, inbox_url: str) -> None:
    running = SqliteStore(tmp_path / "a.db")
    await running.start()
    with pytest.raises(StoreLocked, match="already works on"):
        await copy_store(SqliteStore(tmp_path / "a.db"), PostgresStore(inbox_url), lambda *_: None)
    await running.close()


async def test_the_commands_migrate_show_and_copy(run: StoreCommands, tmp_path: Path, inbox_url: str) -> None:
    done = run("sqlite:///a.db", "db", "migrate")
    assert (done.code, done.out) == (0, f"schema none -> {HEAD}\n"), done.err
    done = run("sqlite:///a.db", "db", "migrate")
    assert done.out == f"schema {HEAD}: nothing to do\n"
    await filled(tmp_path / "a.db")
    done = run("sqlite:///a.db", "db", "copy", "--to", inbox_url)
    assert done.code == 0, done.err
    assert "deliveries  120 copied and counted\n" in done.out
    assert "a gateway that is started on it would deliver again" in done.out
    shown = json.loads(run("sqlite:///a.db", "db", "status", "--json").out)
    copied = json.loads(run(inbox_url, "db", "status", "--json").out)
    assert set(copied) == {"url", "schema", "events", "deliveries", "oldest_pending_at", "size_bytes"}
    for same in ("schema", "events", "deliveries", "oldest_pending_at"):
        assert copied[same] == shown[same]
    assert copied["size_bytes"] > 100_000
    done = run(inbox_url, "db", "status")
    assert "events          30\n" in done.out
    listed = json.loads(run(inbox_url, "deliveries", "list", "--state", "dead", "--json").out)
    assert listed
    done = run(inbox_url, "deliveries", "retry", listed[0]["id"])
    assert done.code == 0, done.out + done.err
    assert json.loads(run(inbox_url, "events", "show", "evt_3", "--json").out)["body"] == {"id": "evt_3"}


async def test_copy_asks_for_sqlite_and_postgresql(run: StoreCommands, tmp_path: Path, inbox_url: str) -> None:
    done = run(inbox_url, "db", "copy", "--to", inbox_url)
    assert (done.code, done.err) == (2, "db copy: store.url is no SQLite file; only those are copied\n")
    done = run("sqlite:///a.db", "db", "copy", "--to", "mysql://x")
    assert (done.code, done.err) == (2, "db copy: --to takes postgresql://user@host/database\n")
    done = run("sqlite:///none.db", "db", "copy", "--to", inbox_url)
    assert done.code == 1
    assert done.err.splitlines()[-1] == f"there is no inbox at {tmp_path / 'none.db'}: nothing to copy"


async def test_status_never_shows_a_password(run: StoreCommands, tmp_path: Path, inbox_url: str) -> None:
    joint = inbox_url.replace("postgres:@", "postgres:s3cret@")
    assert "s3cret" in joint
    done = run(joint, "db", "status", "--json")
    assert done.code == 0, done.err
    assert "s3cret" not in done.out + done.err


def test_the_sqlite_file_is_left_as_it_is_by_status(run: StoreCommands, tmp_path: Path) -> None:
    done = run("sqlite:///none.db", "db", "status")
    assert done.code == 1
    assert "there is no inbox at" in done.err
    assert not (tmp_path / "none.db").exists()
    sqlite3.connect(tmp_path / "none.db").close()


async def test_a_status_through_a_lost_server_is_an_error_of_one_line(
    run: StoreCommands, postgresql_server: str
) -> None:
    connection = await asyncpg.connect(postgresql_server)
    await connection.close()
    done = run(postgresql_server.replace("/postgres?", "/nowhere?"), "db", "status")
    assert (done.code, done.err) == (1, 'cannot reach PostgreSQL: database "nowhere" does not exist\n')
