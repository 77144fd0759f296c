"""What finished rows cost on PostgreSQL: intake and claims beside none, beside many, and while many are purged.

    .venv/bin/python -m bench.finished_rows [--finished 0 1000000] [--times 1000]

Each finished event has a delivery with a `once_per` that succeeded, and one attempt. Filling a million takes some 40 s.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import structlog

from bench.figures import table
from bench.intake_postgres import postgres_server
from gateway.config.schema.store import StoreSettings
from gateway.core.model import Attempt, AttemptOutcome, DeliveryState, Event, EventState, Finish, Lane, PlannedDelivery
from gateway.delivery.retention import Retention
from gateway.store.postgres import queue as work
from gateway.store.postgres import statements
from gateway.store.postgres.store import PostgresStore

NOW = datetime.now(UTC)
DONE = Finish(DeliveryState.SUCCEEDED, Attempt(1, NOW, 0.01, AttemptOutcome.SUCCEEDED))
LANE = Lane("acme", "fulfil", "save")
FILL = (
    "INSERT INTO events (seq, account, id, type, state, received_at, source, body)"
    " SELECT i, 'acme', 'evt_old_' || i, 'invoice.paid', 'routed', 1000000000000 + i, 'webhook',"
    " repeat('x', 200)::bytea FROM generate_series(1, {count}) i",
    "INSERT INTO deliveries (seq, id, event_seq, run_id, account, route, action, needs, has_dependents, state, due_at,"
    " created_at, finished_at, attempts, runs, once_key)"
    " SELECT i, 'dlv_old_' || i, i, 'r', 'acme', 'fulfil', 'save', '[]', false, 'succeeded', 1000000000000 + i,"
    " 1000000000000 + i, 1000000000000 + i, 1, 1, 'old ' || i FROM generate_series(1, {count}) i",
    "INSERT INTO attempts SELECT i, 1, 1000000000000 + i, 10, 'succeeded' FROM generate_series(1, {count}) i",
    "SELECT setval('events_seq', {count}), setval('deliveries_seq', {count})",
    "ANALYZE events; ANALYZE deliveries; ANALYZE attempts",
)
PLANS = {  # as the functions of the schema ask
    "is there work": work.DUE.replace(statements.NOW, "now_ms(NULL)"),
    "a lane's due deliveries": (
        "SELECT seq FROM deliveries WHERE account = 'acme' AND route = 'fulfil' AND action = 'save'"
        " AND state = 'pending' AND NOT held AND due_at <= now_ms(NULL) ORDER BY due_at LIMIT 100"
    ),
    "was a once_key done": "SELECT id FROM deliveries WHERE once_key = 'old 7' AND state = 'succeeded' LIMIT 1",
    "is an event known": (
        "INSERT INTO events (seq, account, id, type, state, received_at, source, body)"
        " VALUES (-9, 'acme', 'evt_old_7', 't', 'routed', 0, 'webhook', '') ON CONFLICT DO NOTHING"
    ),
    "a purge's next events": "SELECT seq, received_at FROM events WHERE seq > 7 AND seq > 0 ORDER BY seq LIMIT 40",
    "their deliveries": "SELECT seq FROM deliveries WHERE event_seq = ANY (ARRAY[8, 9, 10]) FOR UPDATE SKIP LOCKED",
}


async def fill(url: str, count: int) -> None:
    """So many finished events."""
    connection = await asyncpg.connect(url)
    await connection.execute("SET search_path TO gateway")
    for statement in FILL if count else ():
        await connection.execute(statement.format(count=count))
    await connection.execute("CHECKPOINT")
    await connection.close()


async def show_plans(url: str) -> None:
    """Prints each plan, with the pages that it touched."""
    connection = await asyncpg.connect(url)
    await connection.execute("SET search_path TO gateway; SET enable_seqscan = off; SET jit = off")
    for name, sql in PLANS.items():
        print(f"\n{name}\n")
        async with connection.transaction():
            for (line,) in await connection.fetch(
                f"EXPLAIN (ANALYZE, BUFFERS, COSTS off, TIMING off, SUMMARY off) {sql}"
            ):
                if not line.strip().startswith("Planning"):
                    print(f"    {line}")
    await connection.close()


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[PostgresStore]:
    store = PostgresStore(url)
    await store.start()
    try:
        yield store
    finally:
        await store.close()


async def costs(store: PostgresStore, times: int) -> dict[str, list[float]]:
    """Milliseconds of each call: taking an event in, and claiming and finishing its delivery."""
    took: dict[str, list[float]] = {"intake": [], "claim and finish": []}
    for _ in range(times):
        id = f"evt_{time.time_ns()}"
        event = Event("acme", id, "invoice.paid", EventState.ROUTED, False, NOW, b"x" * 200)
        start = time.perf_counter()
        await store.add(event, [PlannedDelivery(LANE.route, LANE.action, once_key=id)])
        added = time.perf_counter()
        (claim,) = await store.claim({LANE: 1}, lease_seconds=60)
        await store.finish(claim.delivery.id, claim.token, DONE)
        took["intake"].append((added - start) * 1000)
        took["claim and finish"].append((time.perf_counter() - added) * 1000)
    return took


async def measure(url: str, count: int, times: int) -> list[Sequence[object]]:
    """Rows of the table, of one inbox; where there is something to purge, while that goes on too."""
    rows: list[Sequence[object]] = []

    def row(what: str, took: list[float]) -> None:
        rows.append([what, f"{statistics.median(took):.2f}", f"{statistics.quantiles(took, n=100)[98]:.2f}"])

    async with opened(url) as store:
        await fill(url, count)
        await costs(store, 100)
        for name, took in (await costs(store, times)).items():
            row(f"{name}, beside {count:,} finished", took)
        if not count:
            return rows
        await show_plans(url)
        log = structlog.wrap_logger(structlog.ReturnLogger())
        retention = Retention(store, lambda: StoreSettings(retention="90d"), log)
        purging = asyncio.create_task(retention.purge())
        start, before = time.monotonic(), (await store.counts())["events"]
        for name, took in (await costs(store, times)).items():
            row(f"{name}, while these are purged", took)
        gone = before + times - (await store.counts())["events"]
        rows.append(["events purged a second meanwhile", f"{gone / (time.monotonic() - start):,.0f}", ""])
        purging.cancel()
        await asyncio.gather(purging, return_exceptions=True)
    return rows


def main() -> None:
    """Runs everything and prints the plans and a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--finished", type=int, nargs="+", default=[0, 1_000_000])
    parser.add_argument("--times", type=int, default=1000)
    options = parser.parse_args()
    rows: list[Sequence[object]] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as base, postgres_server(Path(base, "server")) as server:
        for count in options.finished:
            server.psql(f"CREATE DATABASE finished_{count};")
            rows += asyncio.run(measure(server.get_uri(f"finished_{count}"), count, options.times))
    print("\n" + table(["", "ms, median", "ms, p99"], rows))


if __name__ == "__main__":
    main()
