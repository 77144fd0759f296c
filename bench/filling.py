"""A store with many finished events, written by SQL directly: each with one delivery that succeeded and its attempt.

The columns come from the store's own tables. What is not named here is left to its default, or, where the table insists
on a value and has no default, gets an empty one: a column added later needs no change here.

Ids sort by time, as Stripe's and the gateway's do. Bodies have 300 bytes instead of Stripe's 3,500, so that five
million fit on the disk; the rows arrive over the last 60 days.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg

from bench.stores import is_postgres
from gateway.store import open_store
from gateway.store.protocol import Store

PART = 250_000  # rows in one transaction
DAYS = 60
ID = "'evt_1A' || {eight} || 'B' || {noise} || '2eZvK'"
DELIVERY_ID = "'dlv_' || {hex_time} || {noise} || {noise} || '0000'"
BODY = (
    '{body_of}\'{{"id": "\' || '
    + ID
    + ' || \'", "object": "event", "data": "\' || {noise} || \''
    + "x" * 230
    + "\"}}'{end}"
)
VALUES = {
    "events": {
        "seq": "n", "account": "'acme'", "id": ID, "type": "'checkout.session.completed'", "state": "'routed'",
        "livemode": "{no}", "received_at": "{time}", "created_at": "{time}", "object_id": "'cs_test_' || {noise}",
        "api_version": "'2025-10-29.clover'", "source": "'webhook'",
        "body": BODY,
    },
    "deliveries": {
        "seq": "n", "id": DELIVERY_ID, "event_seq": "n", "run_id": DELIVERY_ID, "account": "'acme'",
        "route": "'fulfil'", "action": "'forward'", "needs": "'[]'", "has_dependents": "{no}", "state": "'succeeded'",
        "due_at": "{time}", "attempts": "1", "runs": "1", "created_at": "{time}", "finished_at": "{time}",
        "claimed_at": "{time}", "output": "'{{\"status\": 200}}'",
    },
    "attempts": {
        "delivery_seq": "n", "number": "1", "started_at": "{time}", "duration_ms": "12", "outcome": "'succeeded'",
    },
}  # fmt: skip
NOISE = "(n * 2654435761) % 4294967296"  # looks random, and is the same in every column of a row


def fill(url: str, folder: Path, count: int) -> None:
    """Brings an empty store to so many finished events, ready to be measured."""
    asyncio.run(_make(open_store(url, folder)))
    if is_postgres(url):
        asyncio.run(_fill_postgres(url, count))
    else:
        _fill_sqlite(folder / url.removeprefix("sqlite:///"), count)


async def _make(store: Store) -> None:
    await store.migrate()
    await store.close()


def _time(count: int) -> str:
    start, gap = int((time.time() - DAYS * 86400) * 1000), max(1, DAYS * 86_400_000 // max(count, 1))
    return f"({start} + n * {gap})"


def _insert(table: str, needed: dict[str, str], words: dict[str, str], source: str) -> str:
    """INSERT ... SELECT over n; `needed` are the table's columns and what stands for those that need a value."""
    values = {name: value.format_map(words) for name, value in VALUES[table].items() if name in needed}
    values |= {name: empty for name, empty in needed.items() if empty and name not in values}
    return f"INSERT INTO {table} ({', '.join(values)}) SELECT {', '.join(values.values())} FROM {source}"


def _parts(count: int) -> Iterator[tuple[int, int]]:
    for first in range(1, count + 1, PART):
        yield first, min(count, first + PART - 1)


async def _fill_postgres(url: str, count: int) -> None:
    words = {
        "no": "false", "time": _time(count), "eight": "lpad(n::text, 8, '0')", "body_of": "convert_to(",
        "end": ", 'UTF8')", "noise": f"lpad(to_hex({NOISE}), 8, '0')",
        "hex_time": f"lpad(to_hex({_time(count)}), 12, '0')",
    }  # fmt: skip
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("SET search_path TO gateway; SET synchronous_commit = off")
        for first, last in _parts(count):
            for table in VALUES:
                rows = await connection.fetch(
                    "SELECT column_name, is_nullable = 'NO' AND column_default IS NULL AS needed, data_type"
                    " FROM information_schema.columns WHERE table_schema = 'gateway' AND table_name = $1",
                    table,
                )
                empty = {"boolean": "false", "text": "''", "bytea": "''", "jsonb": "'{}'"}
                needed = {row[0]: empty.get(row[2], "0") if row[1] else "" for row in rows}
                await connection.execute(
                    _insert(table, needed, words, f"generate_series({first}::bigint, {last}::bigint) n")
                )
        for name in ("events_seq", "deliveries_seq"):
            await connection.execute(f"SELECT setval('{name}', {count} + 1)")
        await connection.execute("VACUUM (ANALYZE)")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


def _fill_sqlite(path: Path, count: int) -> None:
    words = {
        "no": "0", "time": _time(count), "eight": "printf('%08d', n)", "body_of": "CAST(", "end": " AS BLOB)",
        "noise": f"printf('%08x', {NOISE})", "hex_time": f"printf('%012x', {_time(count)})",
    }  # fmt: skip
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA synchronous = OFF")
        database.execute("PRAGMA cache_size = -262144")
        for first, last in _parts(count):
            database.execute("BEGIN")
            for table in VALUES:
                rows = database.execute(
                    f"SELECT name, \"notnull\" AND dflt_value IS NULL FROM pragma_table_info('{table}')"
                )
                needed = {name: "''" if is_needed else "" for name, is_needed in rows}
                numbers = f"SELECT {first} UNION ALL SELECT n + 1 FROM s WHERE n < {last}"
                source = f"(WITH RECURSIVE s(n) AS ({numbers}) SELECT n FROM s)"
                database.execute(_insert(table, needed, words, source))
            database.execute("COMMIT")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
