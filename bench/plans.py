"""What the store's hot calls read: run once for real, on a store that may hold millions of finished events.

On PostgreSQL the statements are inside functions, which EXPLAIN does not look into; the server's own counters tell
which indexes were read, how many rows that gave, and how many pages were touched. On SQLite each statement is
explained.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg

from bench.stores import is_postgres
from bench.traffic import event_body
from gateway.core.envelope import parse_event
from gateway.core.model import Attempt, AttemptOutcome, Claim, DeliveryState, Finish, PlannedDelivery
from gateway.store import open_store
from gateway.store.postgres import queue as work
from gateway.store.postgres.statements import NOW
from gateway.store.protocol import Store

BATCH = 16
COUNTERS = """
SELECT indexrelname AS name, idx_scan AS scans, idx_tup_read AS rows, 0 AS pages FROM pg_stat_user_indexes
UNION ALL SELECT 'all of ' || relname, seq_scan, seq_tup_read, 0 FROM pg_stat_user_tables
UNION ALL SELECT 'pages', 0, 0, sum(heap_blks_read + heap_blks_hit + coalesce(idx_blks_read + idx_blks_hit, 0)
  + coalesce(toast_blks_read + toast_blks_hit, 0))::bigint FROM pg_statio_user_tables
"""
FLUSH_SECONDS = 0.5  # a session's counters are the server's once the session has ended


class _Calls:
    """The hot calls in their order; what one finds is the next one's."""

    def __init__(self) -> None:
        self._claims: list[Claim] = []

    async def add(self, store: Store) -> None:
        now = datetime.now(UTC)
        owed = (PlannedDelivery("fulfil", "forward"),)
        await asyncio.gather(*(store.add(parse_event(event_body(i), "acme", now), owed) for i in range(BATCH)))

    async def look(self, store: Store) -> None:
        self._lanes = (await store.due()).lanes

    async def claim(self, store: Store) -> None:
        self._claims = await store.claim({self._lanes[0]: BATCH}, lease_seconds=60)

    async def finish(self, store: Store) -> None:
        done = Attempt(1, datetime.now(UTC), 0.01, AttemptOutcome.SUCCEEDED)
        finish = Finish(DeliveryState.SUCCEEDED, done)
        await asyncio.gather(*(store.finish(claim.delivery.id, claim.token, finish) for claim in self._claims))

    def __iter__(self) -> Iterator[tuple[str, Callable[[Store], Awaitable[None]]]]:
        yield f"add {BATCH} events", self.add
        yield "look for work", self.look
        yield f"claim {BATCH} deliveries", self.claim
        yield f"finish {BATCH} deliveries", self.finish


def reads(url: str, folder: Path) -> list[tuple[str, str]]:
    """What each hot call reads, as (call, what)."""
    return asyncio.run(_postgres_reads(url, folder) if is_postgres(url) else _sqlite_reads(url, folder))


async def _postgres_reads(url: str, folder: Path) -> list[tuple[str, str]]:
    connection = await asyncpg.connect(url)

    async def counters() -> dict[str, tuple[int, int, int]]:
        await asyncio.sleep(FLUSH_SECONDS)
        return {row[0]: (row[1] or 0, row[2] or 0, row[3] or 0) for row in await connection.fetch(COUNTERS)}

    shown = []
    try:
        for name, call in _Calls():
            store = open_store(url, folder)
            await store.attach()
            before = await counters()
            await call(store)
            await store.close()
            after = await counters()
            read = {index: [a - b for a, b in zip(after[index], before[index], strict=True)] for index in after}
            pages = read.pop("pages")[2]
            used = [f"`{index}` {rows:,} rows" for index, (scans, rows, _) in sorted(read.items()) if scans and rows]
            shown.append((name, f"{pages} pages; {', '.join(used) or 'no row'}"))
        await connection.execute("SET search_path TO gateway; SET enable_seqscan = off")
        look = work.DUE.replace(NOW, "now_ms(NULL)")
        plan = await connection.fetch(f"EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF, SUMMARY OFF) {look}")
        shown.append(("the plan of looking for work", "\n".join(row[0] for row in plan)))
    finally:
        await connection.close()
    return shown


async def _sqlite_reads(url: str, folder: Path) -> list[tuple[str, str]]:
    seen: dict[str, list[str]] = {}
    told: list[str] = []
    connect = sqlite3.connect

    def traced(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*args, **kwargs)
        connection.set_trace_callback(told.append)
        return connection

    sqlite3.connect = traced  # type: ignore[assignment]
    try:
        for name, call in _Calls():
            store = open_store(url, folder)
            await store.attach()
            told.clear()
            await call(store)
            seen[name] = [sql for sql in told if sql.split()[0] in ("SELECT", "UPDATE", "DELETE", "WITH")]
            await store.close()
    finally:
        sqlite3.connect = connect
    shown = []
    with closing(sqlite3.connect(folder / url.removeprefix("sqlite:///"))) as database:
        for name, statements in seen.items():
            plans = {row[3] for sql in statements for row in database.execute(f"EXPLAIN QUERY PLAN {sql}")}
            shown.append((name, "; ".join(sorted(plans))))
    return shown
