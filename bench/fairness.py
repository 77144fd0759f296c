"""What a backlog behind a dead connection costs the others: claims, looks for work, a fresh event's way, one turn.

    .venv/bin/python -m bench.fairness [--pending 0,100000,1000000] [--lanes 5000] [--rounds 3]

The inboxes are filled by SQL, the rest goes through the store's own methods, and the last figure through a worker.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import structlog
from aiohttp import web

from bench.common import free_port, table
from gateway.delivery.breaker import paused_by_hand
from gateway.delivery.resources import Resources
from gateway.delivery.worker import Worker
from gateway.model import (
    Attempt,
    AttemptOutcome,
    ConnectionStatus,
    DeliveryState,
    Event,
    EventState,
    Finish,
    Lane,
    PlannedDelivery,
)
from gateway.routing import RouteTable
from gateway.settings.load import load
from gateway.store.sqlite import SqliteStore

CONFIG = """\
version: 1
accounts:
  acme: {{signing_secrets: [whsec_a]}}
connections:
  dead: {{type: http, url: "http://127.0.0.1:{dead}/", allow_private: true}}
  shared: {{type: http, url: "http://127.0.0.1:{port}/", allow_private: true, concurrency: 4}}
  alive: {{type: http, url: "http://127.0.0.1:{port}/", allow_private: true}}
routes:
  dead: {{events: ["*"], actions: {{a: {{uses: http_forward, with: {{connection: dead}}}}}}}}
  flood: {{events: ["*"], actions: {{a: {{uses: http_forward, with: {{connection: shared}}}}}}}}
  beside: {{events: ["*"], actions: {{a: {{uses: http_forward, with: {{connection: shared}}}}}}}}
  fresh: {{events: ["*"], actions: {{a: {{uses: http_forward, with: {{connection: alive}}}}}}}}
"""
NOW = datetime.now(UTC)
DONE = Finish(DeliveryState.SUCCEEDED, Attempt(1, NOW, 0.01, AttemptOutcome.SUCCEEDED))
BODY = b'{"id": "evt_1", "object": "event", "type": "invoice.paid", "data": {"object": {}}}'


def fill(path: Path, count: int, lanes: int, route: str, order_key: str | None = None) -> None:
    """So many pending deliveries of a route, over so many actions (`a` where there is one)."""
    connection = sqlite3.connect(path)
    with connection:
        (first,) = connection.execute("SELECT coalesce(max(seq), 0) + 1 FROM deliveries").fetchone()
        connection.executemany(
            "INSERT INTO events (seq, account, id, type, state, received_at, source, body)"
            " VALUES (?, 'acme', ?, 'invoice.paid', 'routed', ?, 'webhook', ?)",
            ((i, f"evt_bench_{i}", 1_790_000_000_000 + i, BODY) for i in range(first, first + count)),
        )
        connection.executemany(
            "INSERT INTO deliveries (seq, id, event_seq, run_id, account, route, action, needs, has_dependents, state,"
            " held, due_at, created_at, order_key) VALUES (?, ?, ?, 'r', 'acme', ?, ?, '[]', 0, 'pending', ?, ?, ?, ?)",
            (
                (i, f"dlv_bench_{i}", i, route, "a" if lanes == 1 else f"a{i % lanes}",
                 int(order_key is not None and i > first), 1_790_000_000_000 + i, 1_790_000_000_000 + i, order_key)
                for i in range(first, first + count)
            ),
        )  # fmt: skip
    connection.close()


def fresh(i: int, route: str = "fresh") -> tuple[Event, list[PlannedDelivery]]:
    event = Event("acme", f"evt_{route}_{i}_{time.monotonic_ns()}", "invoice.paid", EventState.ROUTED, False, NOW, BODY)
    return event, [PlannedDelivery(route, "a")]


async def median_ms(what: Callable[[int], Awaitable[None]], times: int = 200) -> float:
    """Milliseconds of one call, the median."""
    took = []
    for i in range(times):
        start = time.perf_counter()
        await what(i)
        took.append(time.perf_counter() - start)
    return statistics.median(took) * 1000


async def store_costs(path: Path) -> dict[str, float]:
    """Milliseconds: a look, and add + claim + finish of a fresh event in its own lane."""
    store = SqliteStore(path)
    await store.start()

    async def look(i: int) -> None:
        await store.due()

    async def work(i: int) -> None:
        await store.add(*fresh(i))
        (claim,) = await store.claim({Lane("acme", "fresh", "a"): 8}, lease_seconds=60)
        await store.finish(claim.delivery.id, claim.token, DONE)

    try:
        return {"look": await median_ms(look), "work": await median_ms(work)}
    finally:
        await store.close()


async def turn_cost(path: Path) -> float:
    """Milliseconds to claim and finish one of many that wait for their turn by the same order key."""
    store = SqliteStore(path)
    await store.start()

    async def turn(i: int) -> None:
        (claim,) = await store.claim({Lane("acme", "flood", "a"): 8}, lease_seconds=60)
        await store.finish(claim.delivery.id, claim.token, DONE)

    try:
        return await median_ms(turn, 100)
    finally:
        await store.close()


async def fresh_latency(folder: Path, path: Path, route: str) -> float:
    """Milliseconds from a fresh event's arrival to its forward, the worst of 40, with the whole worker running."""
    arrived: dict[str, asyncio.Future[None]] = {}

    async def take(request: web.BaseRequest) -> web.Response:
        waiting = arrived.pop(request.headers["Idempotency-Key"], None)
        if waiting is not None:
            waiting.set_result(None)
        await asyncio.sleep(0.01)
        return web.Response()

    runner = web.ServerRunner(web.Server(take))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    (folder / "gateway.yaml").write_text(CONFIG.format(port=runner.addresses[0][1], dead=free_port()))
    config = load(folder / "gateway.yaml", {})
    routes = RouteTable(config.routes)
    store = SqliteStore(path)
    await store.start()
    log = structlog.wrap_logger(structlog.ReturnLogger())
    resources = Resources(str(folder), log)
    worker = Worker(store, lambda: (config, routes), resources, log)
    if "dead" not in await store.connections():
        await store.change_connection("dead", 0, paused_by_hand(ConnectionStatus("dead"), "dead"))
    running = asyncio.create_task(worker.run())
    took = []
    try:
        for i in range(40):
            event, owed = fresh(i, route)
            start = time.perf_counter()
            await store.add(event, [])
            (id,) = await store.replay("acme", event.id, owed) or ()
            waiting = arrived[id] = asyncio.get_running_loop().create_future()
            await asyncio.wait_for(waiting, 60)
            took.append(time.perf_counter() - start)
            await asyncio.sleep(0.02)
    finally:
        await worker.drain(5)
        await running
        await resources.close()
        await store.close()
        await runner.cleanup()
    return max(took) * 1000


def made(path: Path, *fills: tuple[int, int, str, str | None]) -> Path:
    """A new inbox, filled."""

    async def make() -> None:
        store = SqliteStore(path)
        await store.start()
        await store.close()

    asyncio.run(make())
    for count, lanes, route, key in fills:
        if count:
            fill(path, count, lanes, route, key)
    return path


def main() -> None:
    """Runs everything and prints Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pending", default="0,100000,1000000")
    parser.add_argument("--lanes", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    sizes = [int(size) for size in given.pending.split(",")]
    with tempfile.TemporaryDirectory(prefix="bench-") as base:
        folder = Path(base)
        inboxes = {size: made(folder / f"{size}.db", (size, 1, "dead", None)) for size in sizes}
        many = made(folder / "lanes.db", (20 * given.lanes, given.lanes, "dead", None))
        keyed = {size: made(folder / f"keyed-{size}.db", (size, 1, "flood", "k")) for size in (1000, 100_000)}
        flood = made(folder / "flood.db", (100_000, 1, "flood", None))
        found: dict[str, list[float]] = {}
        for _ in range(given.rounds):
            for size, path in inboxes.items():
                costs = asyncio.run(store_costs(path))
                found.setdefault(f"look, {size:,} pending in one lane", []).append(costs["look"])
                found.setdefault(f"add + claim + finish beside {size:,}", []).append(costs["work"])
                latency = asyncio.run(fresh_latency(folder, path, "fresh"))
                found.setdefault(f"fresh event beside {size:,} behind a dead connection, worst of 40", []).append(
                    latency
                )
            costs = asyncio.run(store_costs(many))
            found.setdefault(f"look, {given.lanes:,} lanes", []).append(costs["look"])
            latency = asyncio.run(fresh_latency(folder, many, "fresh"))
            found.setdefault(f"fresh event beside {given.lanes:,} lanes, worst of 40", []).append(latency)
            latency = asyncio.run(fresh_latency(folder, flood, "beside"))
            found.setdefault("fresh event on the connection of a flood of 100,000, worst of 40", []).append(latency)
            for size, path in keyed.items():
                found.setdefault(f"one turn among {size:,} of one order key", []).append(asyncio.run(turn_cost(path)))
    print(table(["", "ms, median of the rounds"],
                [[name, f"{statistics.median(values):.2f}"] for name, values in found.items()]))  # fmt: skip


if __name__ == "__main__":
    main()
