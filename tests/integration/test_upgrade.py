"""Who comes from version 0.1.0 (revision 0009) is taken over in place, on both stores; who is older is told so."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import asyncpg
import pytest

from gateway.core.errors import StoreOutdated
from gateway.core.model import DeliveryState
from gateway.store.backup import restore
from gateway.store.copy import TABLES, copy_store
from gateway.store.migrations.runner import BASE, HEAD
from gateway.store.postgres.store import PostgresStore
from gateway.store.protocol import Store
from gateway.store.sqlite.store import SqliteStore
from tests.conftest import Clock, database_url
from tests.contract.test_store import SUCCEEDED, an_event, owed

VERSION_0_1 = Path(__file__).parent / "version_0_1"
EVENTS = 1000
HOUR_MS = 3_600_000

Row = dict[str, Any]


NEWER = ("held", "word", "waits_until", "until_key", "until_events", "exchanges")  # not, or not so, in version 0.1.0
OLDER_TABLES = {table.name: table.columns for table in TABLES if table.name not in NEWER}


@dataclass
class Inbox:
    """The rows of an inbox of version 0.1.0, and what of it is still owed."""

    now_ms: int
    tables: dict[str, list[Row]] = field(default_factory=lambda: {name: [] for name in OLDER_TABLES})
    owed: dict[str, str] = field(default_factory=dict)  # delivery id -> how it is to end

    def event(self, seq: int, state: str = "routed") -> None:
        row = {
            "seq": seq, "account": "acme", "id": f"evt_{seq}", "type": "invoice.paid", "state": state,
            "livemode": False, "received_at": self.now_ms - HOUR_MS + seq, "created_at": self.now_ms - HOUR_MS,
            "connected_account": None, "object_id": f"in_{seq}", "api_version": None, "source": "webhook",
            "written_for": None, "twin": None, "body": b'{"id": "evt_%d"}' % seq, "trace": "00-aa-bb-01",
        }  # fmt: skip
        self.tables["events"].append(row)

    def delivery(self, event_seq: int, action: str, state: str, ends: str | None = None, **more: Any) -> str:
        """One more delivery of the event; its id."""
        seq = len(self.tables["deliveries"]) + 1
        id = f"dlv_{seq}"
        is_final = state in ("succeeded", "skipped", "cancelled", "dead")
        first = next((d for d in self.tables["deliveries"][-3:] if d["event_seq"] == event_seq), None)
        row = {
            "seq": seq, "id": id, "event_seq": event_seq, "run_id": id if first is None else first["run_id"],
            "account": "acme", "route": "fulfil", "action": action, "needs": "[]", "has_dependents": False,
            "state": state, "held": False, "due_at": self.now_ms - HOUR_MS + seq, "attempts": 0, "runs": 0,
            "created_at": self.now_ms - HOUR_MS, "finished_at": self.now_ms - HOUR_MS if is_final else None,
            "claimed_at": None, "lease_until": None, "token": None, "judged": True, "once_key": None,
            "order_key": None, "reason": None, "last_error": None, "rendered": None, "output": None, "fetched": None,
            "digest": None,
        }  # fmt: skip
        self.tables["deliveries"].append(row | more)
        if ends is not None:
            self.owed[id] = ends
        return id

    def attempt(self, number: int = 1, outcome: str = "retry", error: str | None = "refused") -> None:
        """One more attempt of the last delivery."""
        last = self.tables["deliveries"][-1]
        last["attempts"] = last["runs"] = number
        self.tables["attempts"].append({
            "delivery_seq": last["seq"], "number": number, "started_at": self.now_ms - HOUR_MS, "duration_ms": 12,
            "outcome": outcome, "error": error,
        })  # fmt: skip


def an_inbox(now_ms: int) -> Inbox:
    """1,000 events whose deliveries are in every state that version 0.1.0 knew."""
    inbox = Inbox(now_ms)
    for seq in range(1, EVENTS + 1):
        inbox.event(seq)
        place, kind = divmod(seq - 1, 11)
        if kind == 0:
            inbox.delivery(seq, "save", "pending", "succeeded")
        elif kind == 1:  # waits for its next attempt
            inbox.delivery(seq, "save", "pending", "succeeded", due_at=now_ms + HOUR_MS, last_error="refused")
            inbox.attempt()
        elif kind == 2:  # ten to a key, one after another
            inbox.delivery(seq, "ship", "pending", "succeeded", order_key=f"o{place // 10}", held=place % 10 > 0)
        elif kind == 3:  # another has done it: one that is kept, or one that was purged
            key = f"n{place}"
            inbox.delivery(seq, "mail", "pending", "skipped", once_key=key)
            if place % 2:
                inbox.delivery(seq, "mail", "succeeded", once_key=key, output='{"sent": 1}')
            else:
                inbox.tables["done_once"].append({"once_key": key, "delivery_id": f"old_{seq}", "done_at": now_ms})
        elif kind == 4:
            inbox.delivery(seq, "save", "pending", "succeeded", has_dependents=True, fetched='["q", 1.0, {}]')
            inbox.delivery(seq, "mail", "blocked", "succeeded", needs='["save"]')
        elif kind == 5:  # its gateway died
            inbox.delivery(
                seq, "save", "running", "succeeded", token="t", lease_until=now_ms - 1, claimed_at=now_ms - HOUR_MS,
                attempts=1, runs=1,
            )  # fmt: skip
        elif kind == 6:
            inbox.delivery(seq, "save", "dead", reason="refused", last_error="refused", has_dependents=True)
            inbox.attempt(outcome="dead")
            inbox.delivery(seq, "mail", "blocked", needs='["save"]')
        elif kind == 7:
            inbox.delivery(seq, "save", "dead", reason="if: no such field", judged=False)
        elif kind == 8:
            inbox.delivery(seq, "save", "succeeded", rendered='{"table": "orders"}', output='{"rows": 1}')
            inbox.attempt(outcome="succeeded", error=None)
            inbox.delivery(seq, "mail", "cancelled", reason="cancelled by a person")
        elif kind == 9:  # a digest that its gateway did not finish, and what it brings
            digest = json.dumps([seq, seq - 1])
            inbox.delivery(
                seq, "tell", "running", "succeeded", order_key=f"d{place}", digest=digest, token="t",
                lease_until=now_ms - 1, claimed_at=now_ms - HOUR_MS, attempts=1, runs=1,
            )  # fmt: skip
            inbox.delivery(seq, "tell", "skipped", order_key=f"d{place}", reason=f"digest: dlv_{seq} brings it")
        else:
            inbox.tables["events"][-1] |= {
                "seq": -seq, "state": "purged", "type": "", "body": b"", "object_id": None
            }  # fmt: skip
    tables = inbox.tables
    tables["audit"].append(
        {"seq": 1, "at": now_ms, "role": "operator", "who": "ann", "what": "retry", "target": "dlv_1", "count": 1}
    )
    tables["rejected"].append({
        "seq": 1, "id": "rej_1", "received_at": now_ms, "account": None, "reason": "no_match", "address": "192.0.2.1",
        "peer": "192.0.2.1", "forwarded_for": None, "signature": "t=1", "size": 2, "body": b"{}",
    })  # fmt: skip
    tables["connections"].append({
        "name": "shop", "version": 3, "state": "paused", "since": now_ms, "until": now_ms + HOUR_MS, "reason": "down",
        "failures": 5, "pauses": 1, "failed_delivery": "dlv_1",
    })  # fmt: skip
    tables["rates"].append({"name": "shop", "tokens": 0.5, "filled_at": now_ms})
    tables["marks"].append({"name": "d1", "marked_at": now_ms - HOUR_MS})
    tables["notes"].append({"name": "reconcile", "value": '{"until": 1}', "kept_at": now_ms})
    return inbox


class Place(Protocol):
    """Where an inbox of version 0.1.0 lies."""

    def store(self) -> Store:
        """The store of today's program on it, not yet started."""

    async def fill(self, inbox: Inbox) -> None:
        """Puts the rows there."""

    async def rows(self, table: str, columns: Sequence[str]) -> list[tuple[Any, ...]]:
        """All rows of a table, in order of their first column."""

    async def set_revision(self, revision: str) -> None:
        """As a program of another version would have left it."""

    async def schema(self) -> list[str]:
        """All that makes up the schema, in words."""

    async def fresh_schema(self) -> list[str]:
        """The same of a new installation."""


@dataclass
class SqlitePlace:
    path: Path
    clock: Clock

    def store(self) -> SqliteStore:
        return SqliteStore(self.path, self.clock)

    async def fill(self, inbox: Inbox) -> None:
        with contextlib.closing(sqlite3.connect(self.path)) as connection, connection:
            for name, rows in inbox.tables.items():
                for row in rows:
                    columns, marks = ", ".join(row), ", ".join("?" * len(row))
                    connection.execute(f"INSERT INTO {name} ({columns}) VALUES ({marks})", tuple(row.values()))

    async def rows(self, table: str, columns: Sequence[str]) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            return connection.execute(f"SELECT {', '.join(columns)} FROM {table} ORDER BY 1, 2").fetchall()

    async def set_revision(self, revision: str) -> None:
        with contextlib.closing(sqlite3.connect(self.path)) as connection, connection:
            connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))

    async def schema(self) -> list[str]:
        return _sqlite_schema(self.path)

    async def fresh_schema(self) -> list[str]:
        await SqliteStore(self.path.with_name("fresh.db")).migrate()
        return _sqlite_schema(self.path.with_name("fresh.db"))


def _sqlite_schema(path: Path) -> list[str]:
    """Tables by their columns, for SQLite keeps the words by which each was made; indexes by their own."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        found = []
        for type_, name, sql in connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall():
            if type_ == "table":
                shape = re.findall("WITHOUT ROWID|AUTOINCREMENT|REFERENCES [^,]*", sql)
                for kind in ("table_xinfo", "index_list"):
                    rows = connection.execute(f"PRAGMA {kind}({name})").fetchall()
                    found += [f"{name} {kind} {row[1:] if kind == 'index_list' else row}" for row in rows]
                found.append(f"{name} {shape}")
            else:
                found.append(f"{type_} {name} {' '.join((sql or '').split())}")
        return sorted(found)


@dataclass
class PostgresPlace:
    url: str
    fresh_url: str
    clock: Clock

    def store(self) -> PostgresStore:
        return PostgresStore(self.url, self.clock)

    async def fill(self, inbox: Inbox) -> None:
        async with connected(self.url) as connection:
            for name, rows in inbox.tables.items():
                await connection.copy_records_to_table(
                    name, records=[tuple(row.values()) for row in rows], columns=list(rows[0])
                )
            for name in {"events", "deliveries", "audit", "rejected"} & inbox.tables.keys():
                await connection.execute(f"SELECT setval('{name}_seq', (SELECT max(seq) FROM {name}))")
            await connection.execute("SELECT setval('remembered_seq', 1000)")

    async def rows(self, table: str, columns: Sequence[str]) -> list[tuple[Any, ...]]:
        async with connected(self.url) as connection:
            found = await connection.fetch(f"SELECT {', '.join(columns)} FROM {table} ORDER BY 1, 2")
            return [tuple(row) for row in found]

    async def set_revision(self, revision: str) -> None:
        async with connected(self.url) as connection:
            await connection.execute("UPDATE alembic_version SET version_num = $1", revision)

    async def schema(self) -> list[str]:
        return await _postgres_schema(self.url)

    async def fresh_schema(self) -> list[str]:
        store = PostgresStore(self.fresh_url)
        assert await store.migrate() is None
        await store.close()
        return await _postgres_schema(self.fresh_url)


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    connection = await asyncpg.connect(url, server_settings={"search_path": "gateway"})
    try:
        yield connection
    finally:
        await connection.close()


CATALOG = """
SELECT 'relation ' || c.relname || ' ' || c.relkind::text || ' ' || coalesce(pg_get_expr(c.relpartbound, c.oid), '')
  || coalesce(pg_get_partkeydef(c.oid), '')
  || coalesce((SELECT string_agg(o, ',' ORDER BY o) FROM unnest(c.reloptions) AS o), '')
FROM pg_class c WHERE c.relnamespace = 'gateway'::regnamespace
UNION ALL
SELECT 'column ' || c.relname || ' ' || a.attnum || ' ' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
  || ' ' || a.attnotnull || ' ' || a.attcompression::text || ' ' || coalesce(l.collname, '') || ' '
  || coalesce(pg_get_expr(d.adbin, d.adrelid), '')
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
LEFT JOIN pg_collation l ON l.oid = a.attcollation
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE c.relnamespace = 'gateway'::regnamespace AND c.relkind IN ('r', 'p')
UNION ALL SELECT pg_get_indexdef(i.indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE c.relnamespace = 'gateway'::regnamespace
UNION ALL SELECT 'constraint ' || conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
WHERE connamespace = 'gateway'::regnamespace
UNION ALL SELECT 'sequence ' || sequencename || ' ' || data_type || ' ' || cache_size FROM pg_sequences
WHERE schemaname = 'gateway'
UNION ALL SELECT 'trigger ' || tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
WHERE c.relnamespace = 'gateway'::regnamespace
UNION ALL SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'gateway'::regnamespace
ORDER BY 1
"""


async def _postgres_schema(url: str) -> list[str]:
    async with connected(url) as connection:
        return [row[0] for row in await connection.fetch(CATALOG)]


@pytest.fixture(params=["sqlite", "postgresql"])
async def older(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> AsyncIterator[Place]:
    """An empty inbox that version 0.1.0 has made."""
    made = (VERSION_0_1 / f"{request.param}.sql").read_text()
    if request.param == "sqlite":
        with contextlib.closing(sqlite3.connect(tmp_path / "inbox.db")) as connection:
            connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
            connection.executescript(made)
        yield SqlitePlace(tmp_path / "inbox.db", clock)
        return
    server: str = request.getfixturevalue("postgresql_server")
    async with connected(server) as admin:
        await admin.execute("CREATE DATABASE version_0_1")
        await admin.execute("CREATE DATABASE fresh")
        url = database_url(server, "version_0_1")
        async with connected(url) as connection:
            await connection.execute("CREATE SCHEMA gateway")
            await connection.execute(made)
        yield PostgresPlace(url, database_url(server, "fresh"), clock)
        await admin.execute("DROP DATABASE fresh WITH (FORCE)")
        await admin.execute("DROP DATABASE version_0_1 WITH (FORCE)")


async def test_the_schema_is_brought_to_that_of_a_new_installation(older: Place) -> None:
    for revision in (BASE, HEAD):
        store = older.store()
        assert await store.migrate() == revision
        await store.close()
    assert await older.schema() == await older.fresh_schema()


async def test_of_a_thousand_events_nothing_is_lost_and_nothing_runs_twice(older: Place, clock: Clock) -> None:
    inbox = an_inbox(clock())
    await older.fill(inbox)
    columns = {name: [column for column in OLDER_TABLES[name] if column not in NEWER] for name in OLDER_TABLES}
    before = {name: await older.rows(name, columns[name]) for name in columns}
    assert {row[9] for row in before["deliveries"]} == {state.value for state in DeliveryState} - {"expired"}
    store = older.store()
    await store.start()
    ran: Counter[str] = Counter()
    in_order: dict[str, list[int]] = {}
    await store.due()  # what a dead gateway left is taken over
    clock.forward(2 * HOUR_MS / 1000)
    while lanes := (await store.due()).lanes:
        for claim in await store.claim(dict.fromkeys(lanes, 100), lease_seconds=60):
            ran[claim.delivery.id] += 1
            if claim.delivery.action == "ship":
                in_order.setdefault(claim.delivery.order_key or "", []).append(int(claim.event.id[4:]))
            assert await store.finish(claim.delivery.id, claim.token, SUCCEEDED)
    assert ran == Counter(id for id, ends in inbox.owed.items() if ends == "succeeded")
    assert all(arrived == sorted(arrived) for arrived in in_order.values())
    assert sum(map(len, in_order.values())) == 91
    added = [await store.add(an_event(f"evt_{seq}"), [owed()]) for seq in range(1, EVENTS + 1, 7)]
    assert all(answer.is_duplicate for answer in added)  # what was purged included
    await store.close()
    id_at = columns["deliveries"].index("id")
    state_at = columns["deliveries"].index("state")
    after = {name: await older.rows(name, columns[name]) for name in columns}
    found = {row[id_at]: row for row in after["deliveries"]}
    for row in before["deliveries"]:
        if row[id_at] in inbox.owed:
            assert found[row[id_at]][state_at] == inbox.owed[row[id_at]]
        else:
            assert found[row[id_at]] == row
    assert set(before["attempts"]) <= set(after["attempts"])
    for name in columns.keys() - {"deliveries", "attempts", "rates"}:
        assert after[name] == before[name]


async def test_keys_that_no_index_takes_are_kept_as_new_ones_are(older: Place, clock: Clock) -> None:
    """PostgreSQL took those that its compression made short enough; SQLite took all."""
    long = "k" * (2001 if isinstance(older, PostgresPlace) else 5000)
    inbox = Inbox(clock())
    inbox.event(1)
    inbox.delivery(1, "save", "pending", order_key=long)
    inbox.delivery(1, "mail", "succeeded", once_key=long)
    inbox.delivery(1, "ship", "pending", order_key="straße")
    inbox.tables["done_once"].append({"once_key": long + "k", "delivery_id": "dlv_old", "done_at": clock()})
    inbox.tables = {name: rows for name, rows in inbox.tables.items() if rows}
    await older.fill(inbox)
    store = older.store()
    await store.start()
    await store.add(an_event("evt_2"), [owed(order=long), owed("mail", once=long), owed("tell", once=long + "k")])
    claims = [claim for lane in (await store.due()).lanes for claim in await store.claim({lane: 9}, lease_seconds=60)]
    assert sorted(claim.delivery.id for claim in claims) == ["dlv_1", "dlv_3"]
    assert (await store.counts())["skipped"] == 2
    await store.close()
    keys = {key for (key, _) in await older.rows("deliveries", ("order_key", "id")) if key}
    assert {key for key in keys if len(key) < 99} == keys
    assert "straße" in keys


async def test_an_inbox_with_long_keys_and_purged_numbers_is_copied(
    tmp_path: Path, inbox_url: str, clock: Clock
) -> None:
    source = SqliteStore(tmp_path / "inbox.db", clock)
    await source.start()
    await source.add(an_event("evt_1"), [])
    clock.forward(10)
    assert (await source.purge(retention_seconds=1, dead_retention_seconds=None)).events == 1
    await source.add(an_event("evt_2"), [owed(order="".join(map(str, range(3000))))])
    await source.close()
    with contextlib.closing(sqlite3.connect(source.path)) as connection, connection:
        connection.execute("UPDATE numbers SET last = 70 WHERE name = 'events'")
    target = PostgresStore(inbox_url, clock)
    await copy_store(SqliteStore(source.path, clock), target, lambda table, copied, rows: None)
    await target.add(an_event("evt_3"), [])
    await target.close()
    async with connected(inbox_url) as reader:
        rows = await reader.fetch("SELECT id, seq FROM events ORDER BY id")
    assert [tuple(row) for row in rows] == [("evt_1", -1), ("evt_2", 2), ("evt_3", 71)]


async def test_who_comes_from_before_is_told_which_version_to_step_through(older: Place, tmp_path: Path) -> None:
    await older.set_revision("0008")
    told = (
        "has schema 0008, of a version before 0.1.0, which this one does not know any more: start version 0.1.0 on it "
        "once, which brings it to 0009, and then this one"
    )
    for ask in ("start", "attach", "migrate"):
        store = older.store()
        with pytest.raises(StoreOutdated, match=told):
            await getattr(store, ask)()
        await store.close()
    if isinstance(older, SqlitePlace):
        with pytest.raises(StoreOutdated, match=told):
            restore(older.path, tmp_path / "restored.db")
        assert not (tmp_path / "restored.db").exists()
