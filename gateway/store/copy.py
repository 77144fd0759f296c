"""From a SQLite file to PostgreSQL: everything as it stands, in parts, so that a broken copy goes on where it ended."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import asyncpg

from gateway.core.errors import StoreError, StoreUnavailable
from gateway.store.keeping import kept_text
from gateway.store.migrations.runner import HEAD
from gateway.store.postgres.connection import FAILURES, Server, close, reason
from gateway.store.postgres.database import REFUSE_OLDER
from gateway.store.postgres.store import PostgresStore
from gateway.store.sqlite.store import SqliteStore

PART = 2000  # rows in one commit


@dataclass(frozen=True, slots=True)
class _Table:
    name: str
    columns: tuple[str, ...]
    booleans: tuple[str, ...] = ()  # integers in SQLite
    place: tuple[str, ...] = ("seq",)  # what rows are in order of
    lowest: tuple[int | str, ...] = (-(2**63),)  # below every place; what a purge leaves of an event has a negative seq


TABLES = (
    _Table(
        "events",
        ("seq", "account", "id", "type", "state", "livemode", "received_at", "created_at", "connected_account",
         "object_id", "api_version", "source", "written_for", "twin", "body", "trace"),
        booleans=("livemode",),
    ),
    _Table(
        "deliveries",
        ("seq", "id", "event_seq", "run_id", "account", "route", "action", "needs", "has_dependents", "state", "held",
         "due_at", "attempts", "runs", "created_at", "finished_at", "claimed_at", "lease_until", "token", "judged",
         "once_key", "order_key", "reason", "last_error", "rendered", "output", "fetched",
         "digest", "word", "waits_until", "until_key"),
        booleans=("has_dependents", "held", "judged"),
    ),
    _Table(
        "attempts",
        ("delivery_seq", "number", "started_at", "duration_ms", "outcome", "error", "exchanges"),
        place=("delivery_seq", "number"),
        lowest=(0, 0),
    ),
    _Table("audit", ("seq", "at", "role", "who", "what", "target", "count")),
    _Table(
        "rejected",
        ("seq", "id", "received_at", "account", "reason", "address", "peer", "forwarded_for", "signature", "size",
         "body"),
    ),
    _Table("done_once", ("once_key", "delivery_id", "done_at"), place=("once_key",), lowest=("",)),
    _Table(
        "until_events",
        ("until_key", "event_seq", "event_id", "event_type", "happened_at", "seen_at"),
        place=("until_key",),
        lowest=("",),
    ),
    _Table(
        "connections",
        ("name", "version", "state", "since", "until", "reason", "failures", "pauses", "failed_delivery"),
        place=("name",),
        lowest=("",),
    ),
    _Table("rates", ("name", "tokens", "filled_at"), place=("name",), lowest=("",)),
    _Table("marks", ("name", "marked_at"), place=("name",), lowest=("",)),
    _Table("notes", ("name", "value", "kept_at"), place=("name",), lowest=("",)),
)  # fmt: skip

CopyProgress = Callable[[str, int, int], None]  # table, rows copied, rows in all


async def copy_store(source: SqliteStore, target: PostgresStore, told: CopyProgress) -> dict[str, int]:
    """Copies all that the source holds; how many rows of each table there are now in both. The source is locked
    meanwhile, and the target refuses gateways until the copy is whole. Raises StoreError: a gateway runs on the source,
    the target holds something else, or the two do not agree at the end.
    """
    if not source.path.exists():
        raise StoreUnavailable(f"there is no inbox at {source.path}: nothing to copy")
    await source.start()  # the lock, today's schema, and what a dead gateway left running taken over
    try:
        await target.migrate()
        connection = await Server(target.address).open()
        try:
            with closing(
                sqlite3.connect(f"{source.path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False)
            ) as reader:
                return await _copy(reader, connection, str(source.path), told)
        except FAILURES as error:
            raise StoreUnavailable(f"the copy broke off: PostgreSQL: {reason(error)}; run it again") from None
        except sqlite3.Error as error:
            raise StoreUnavailable(f"the copy broke off: {source.path}: {error}") from None
        finally:
            await close(connection)
    finally:
        await source.close()


async def _copy(
    reader: sqlite3.Connection, writer: asyncpg.Connection[asyncpg.Record], source: str, told: CopyProgress
) -> dict[str, int]:
    totals = {table.name: reader.execute(f"SELECT count(*) FROM {table.name}").fetchone()[0] for table in TABLES}
    if not await writer.fetchval("SELECT pg_try_advisory_lock(1734440825, 66)"):
        raise StoreError("another `gateway db copy` to this database is under way")
    begun = await _begun(reader, writer)
    if begun == totals and not await _is_copying(writer):
        return totals  # all of it was copied before
    await writer.execute(
        "INSERT INTO facts VALUES ('copying_from', $1) ON CONFLICT (name) DO UPDATE SET value = excluded.value", source
    )
    await writer.execute(REFUSE_OLDER, HEAD)  # what is copied is compressed, also into a schema that version 0.1 made
    for table in TABLES:
        done = begun[table.name]
        told(table.name, done, totals[table.name])
        after = await _last(writer, table)
        while rows := await asyncio.to_thread(_part, reader, table, after):
            await writer.copy_records_to_table(table.name, records=rows, columns=table.columns)
            after = tuple(rows[-1][table.columns.index(column)] for column in table.place)
            done += len(rows)
            told(table.name, done, totals[table.name])
    states = dict(reader.execute("SELECT state, count(*) FROM deliveries GROUP BY 1"))
    if await _counts(writer) != totals or await _states(writer) != states:
        raise StoreError(
            "the copy does not agree with its source, which has changed since the copy began; "
            "drop the target's schema and copy again"
        )
    async with writer.transaction():
        purged = dict(reader.execute("SELECT name, last FROM numbers"))
        for name in ("events", "deliveries", "audit", "rejected"):
            highest = f"(SELECT greatest(max(seq), {purged.get(name, 0)}) + 1 FROM {name})"
            await writer.execute(f"SELECT setval('{name}_seq', {highest}, false)")
        await writer.execute("SELECT setval('remembered_seq', (SELECT 1 - least(min(seq), 0) FROM events), false)")
        await writer.execute("DELETE FROM facts WHERE name = 'copying_from'")
    await writer.execute("ANALYZE events; ANALYZE deliveries; ANALYZE attempts; ANALYZE audit; ANALYZE rejected")
    return totals


async def _begun(reader: sqlite3.Connection, writer: asyncpg.Connection[asyncpg.Record]) -> dict[str, int]:
    """How much an earlier copy brought. Raises StoreError where the target holds anything else."""
    counts = await _counts(writer)
    agrees = True
    for table in TABLES[:2]:
        last = await _last(writer, table)
        below = reader.execute(f"SELECT count(*) FROM {table.name} WHERE seq <= ?", last).fetchone()[0]
        ours = reader.execute(f"SELECT id FROM {table.name} WHERE seq = ?", last).fetchone()
        theirs = await writer.fetchval(f"SELECT id FROM {table.name} WHERE seq = $1", *last)
        agrees = agrees and below == counts[table.name] and (ours[0] if ours else None) == theirs
    whole = {table.name: reader.execute(f"SELECT count(*) FROM {table.name}").fetchone()[0] for table in TABLES}
    if any(counts.values()) and not (agrees and (counts == whole or await _is_copying(writer))):
        raise StoreError(
            "the target already holds an inbox of its own: copy to an empty database, or name another schema in the "
            "URL (?schema=...)"
        )
    return counts


async def _is_copying(writer: asyncpg.Connection[asyncpg.Record]) -> bool:
    is_copying: bool = await writer.fetchval("SELECT EXISTS (SELECT FROM facts WHERE name = 'copying_from')")
    return is_copying


async def _counts(writer: asyncpg.Connection[asyncpg.Record]) -> dict[str, int]:
    return {table.name: await writer.fetchval(f"SELECT count(*) FROM {table.name}") for table in TABLES}


async def _states(writer: asyncpg.Connection[asyncpg.Record]) -> dict[str, int]:
    rows = await writer.fetch("SELECT state, count(*) FROM deliveries GROUP BY state")
    return {row[0]: row[1] for row in rows}


async def _last(writer: asyncpg.Connection[asyncpg.Record], table: _Table) -> tuple[int | str, ...]:
    """The place of the last row that was copied; rows come in order, each part whole or not at all."""
    columns = ", ".join(table.place)
    order = ", ".join(f"{column} DESC" for column in table.place)
    row = await writer.fetchrow(f"SELECT {columns} FROM {table.name} ORDER BY {order} LIMIT 1")
    return tuple(row) if row is not None else table.lowest


def _part(reader: sqlite3.Connection, table: _Table, after: Sequence[int | str]) -> list[tuple[Any, ...]]:
    """The next rows after that place."""
    place = ", ".join(table.place)
    marks = ", ".join("?" * len(table.place))
    rows = reader.execute(
        f"SELECT {', '.join(table.columns)} FROM {table.name} WHERE ({place}) > ({marks}) ORDER BY {place} LIMIT ?",
        (*after, PART),
    )
    booleans = {table.columns.index(column) for column in table.booleans}
    return [tuple(_cell(cell, i in booleans) for i, cell in enumerate(row)) for row in rows]


def _cell(cell: Any, is_boolean: bool) -> Any:
    if is_boolean:
        return None if cell is None else bool(cell)
    return kept_text(cell) if isinstance(cell, str) else cell
