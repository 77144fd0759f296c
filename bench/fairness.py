"""What a backlog behind a dead connection costs the others: claims, looks for work, a fresh event's way, one turn.

    .venv/bin/python -m bench.fairness [--pending 0,100000,1000000] [--lanes 5000] [--rounds 3]
                                       [--stores sqlite postgresql]

The inboxes are filled by SQL, the rest goes through the store's own methods, and the last figure through a worker.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import asyncpg
import structlog
from aiohttp import web

from bench.figures import table
from bench.intake_postgres import postgres_server
from bench.programs import free_port
from gateway.config.load import load
from gateway.core.model import (
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
from gateway.core.routing import RouteTable
from gateway.delivery.circuit_breaker import paused_by_hand
from gateway.delivery.fetch import StripeFetcher
from gateway.delivery.resources import Resources
from gateway.delivery.worker import Worker
from gateway.store.postgres.store import PostgresStore
from gateway.store.protocol import Store
from gateway.store.sqlite.store import SqliteStore
from gateway.stripe.connections import StripeApis

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
FIRST_MS = 1_790_000_000_000
DONE = Finish(DeliveryState.SUCCEEDED, Attempt(1, NOW, 0.01, AttemptOutcome.SUCCEEDED))
BODY = b'{"id": "evt_1", "object": "event", "type": "invoice.paid", "data": {"object": {}}}'


@dataclass(frozen=True)
class Fill:
    """So many pending deliveries of a route, over so many actions (`a` where there is one); `held` in turn by a key."""

    count: int
    lanes: int
    route: str
    order_key: str | None = None


class Place(Protocol):
    """An inbox to measure."""

    def store(self) -> Store:
        """One more store on it, not started."""

    async def fill(self, fill: Fill) -> None:
        """Fills it, when it was started once."""


@dataclass(frozen=True)
class File:
    """A SQLite inbox."""

    path: Path

    def store(self) -> Store:
        return SqliteStore(self.path)

    async def fill(self, fill: Fill) -> None:
        numbers = range(1, fill.count + 1)
        connection = sqlite3.connect(self.path)
        with connection:
            connection.executemany(
                "INSERT INTO events (seq, account, id, type, state, received_at, source, body)"
                " VALUES (?, 'acme', ?, 'invoice.paid', 'routed', ?, 'webhook', ?)",
                ((i, f"evt_bench_{i}", FIRST_MS + i, BODY) for i in numbers),
            )
            connection.executemany(
                "INSERT INTO deliveries (seq, id, event_seq, run_id, account, route, action, needs, has_dependents,"
                " state, held, due_at, created_at, order_key)"
                " VALUES (?, ?, ?, 'r', 'acme', ?, ?, '[]', 0, 'pending', ?, ?, ?, ?)",
                (
                    (i, f"dlv_bench_{i}", i, fill.route, "a" if fill.lanes == 1 else f"a{i % fill.lanes}",
                     int(fill.order_key is not None and i > 1), FIRST_MS + i, FIRST_MS + i, fill.order_key)
                    for i in numbers
                ),
            )  # fmt: skip
        connection.close()


@dataclass(frozen=True)
class Database:
    """A PostgreSQL inbox."""

    url: str

    def store(self) -> Store:
        return PostgresStore(self.url)

    async def fill(self, fill: Fill) -> None:
        connection = await asyncpg.connect(self.url)
        await connection.execute("SET search_path TO gateway")
        await connection.execute(
            "INSERT INTO events (seq, account, id, type, state, received_at, source, body)"
            " SELECT i, 'acme', 'evt_bench_' || i, 'invoice.paid', 'routed', $2 + i, 'webhook', $3"
            " FROM generate_series(1, $1::bigint) i",
            fill.count, FIRST_MS, BODY,
        )  # fmt: skip
        await connection.execute(
            "INSERT INTO deliveries (seq, id, event_seq, run_id, account, route, action, needs, has_dependents, state,"
            " held, due_at, created_at, order_key)"
            " SELECT i, 'dlv_bench_' || i, i, 'r', 'acme', $2, CASE WHEN $3 = 1 THEN 'a' ELSE 'a' || i % $3 END, '[]',"
            " false, 'pending', $5::text IS NOT NULL AND i > 1, $4 + i, $4 + i, $5"
            " FROM generate_series(1, $1::bigint) i",
            fill.count, fill.route, fill.lanes, FIRST_MS, fill.order_key,
        )  # fmt: skip
        await connection.execute(
            "SELECT setval('events_seq', $1::bigint), setval('deliveries_seq', $1::bigint)", fill.count
        )
        await connection.close()


def fresh(i: int, route: str = "fresh") -> tuple[Event, list[PlannedDelivery]]:
    id = f"evt_{route}_{i}_{time.monotonic_ns()}"
    body = BODY.replace(b"evt_1", id.encode())
    event = Event("acme", id, "invoice.paid", EventState.ROUTED, False, NOW, body)
    return event, [PlannedDelivery(route, "a")]


async def median_ms(what: Callable[[int], Awaitable[None]], times: int = 200) -> float:
    """Milliseconds of one call, the median."""
    took = []
    for i in range(times):
        start = time.perf_counter()
        await what(i)
        took.append(time.perf_counter() - start)
    return statistics.median(took) * 1000


async def store_costs(place: Place) -> dict[str, float]:
    """Milliseconds: a look, and add + claim + finish of a fresh event in its own lane."""
    store = place.store()
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


async def turn_cost(place: Place) -> float:
    """Milliseconds to claim and finish one of many that wait for their turn by the same order key."""
    store = place.store()
    await store.start()

    async def turn(i: int) -> None:
        (claim,) = await store.claim({Lane("acme", "flood", "a"): 8}, lease_seconds=60)
        await store.finish(claim.delivery.id, claim.token, DONE)

    try:
        return await median_ms(turn, 100)
    finally:
        await store.close()


async def fresh_latency(folder: Path, place: Place, route: str) -> float:
    """Milliseconds from a fresh event's arrival to its forward, the worst of 40, with the whole worker running."""
    arrived: dict[str, asyncio.Future[None]] = {}

    async def take(request: web.BaseRequest) -> web.Response:
        waiting = arrived.pop(request.headers["X-Stripe-Event-Id"], None)
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
    store = place.store()
    await store.start()
    log = structlog.wrap_logger(structlog.ReturnLogger())
    resources = Resources(lambda action, name, settings: True, log)
    fetcher = StripeFetcher(store, StripeApis())  # no route here fetches
    worker = Worker(store, lambda: (config, routes), resources, fetcher, log)
    if "dead" not in await store.connections():
        await store.change_connection("dead", 0, paused_by_hand(ConnectionStatus("dead"), "dead"))
    running = asyncio.create_task(worker.run())
    took = []
    try:
        for i in range(40):
            event, owed = fresh(i, route)
            waiting = arrived[event.id] = asyncio.get_running_loop().create_future()
            start = time.perf_counter()
            await store.add(event, owed)
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


@contextlib.contextmanager
def places(kind: str, folder: Path) -> Iterator[Callable[[str], Place]]:
    """Makes places of a kind, by name."""
    if kind == "sqlite":
        yield lambda name: File(folder / f"{name}.db")
        return
    with postgres_server(folder / "server") as server:

        def database(name: str) -> Place:
            server.psql(f"CREATE DATABASE {name};")
            return Database(server.get_uri(name))

        yield database


def filled_place(place: Place, fill: Fill) -> Place:
    """A new inbox, filled."""

    async def make() -> None:
        store = place.store()
        await store.start()
        await store.close()
        if fill.count:
            await place.fill(fill)

    asyncio.run(make())
    return place


def measure(new: Callable[[str], Place], folder: Path, sizes: Sequence[int], lanes: int, rounds: int) -> None:
    """Fills the inboxes, measures and prints Markdown. `new` makes an empty inbox of that name."""
    inboxes = {size: filled_place(new(f"pending_{size}"), Fill(size, 1, "dead")) for size in sizes}
    many = filled_place(new("lanes"), Fill(20 * lanes, lanes, "dead"))
    keyed = {size: filled_place(new(f"keyed_{size}"), Fill(size, 1, "flood", "k")) for size in (1000, 100_000)}
    flood = filled_place(new("flood"), Fill(100_000, 1, "flood"))
    figures: dict[str, list[float]] = {}
    for _ in range(rounds):
        for size, place in inboxes.items():
            costs = asyncio.run(store_costs(place))
            figures.setdefault(f"look, {size:,} pending in one lane", []).append(costs["look"])
            figures.setdefault(f"add + claim + finish beside {size:,}", []).append(costs["work"])
            latency = asyncio.run(fresh_latency(folder, place, "fresh"))
            figures.setdefault(f"fresh event beside {size:,} behind a dead connection, worst of 40", []).append(latency)
        costs = asyncio.run(store_costs(many))
        figures.setdefault(f"look, {lanes:,} lanes", []).append(costs["look"])
        latency = asyncio.run(fresh_latency(folder, many, "fresh"))
        figures.setdefault(f"fresh event beside {lanes:,} lanes, worst of 40", []).append(latency)
        latency = asyncio.run(fresh_latency(folder, flood, "beside"))
        figures.setdefault("fresh event on the connection of a flood of 100,000, worst of 40", []).append(latency)
        for size, place in keyed.items():
            figures.setdefault(f"one turn among {size:,} of one order key", []).append(asyncio.run(turn_cost(place)))
    print(table(["", "ms, median of the rounds"],
                [[name, f"{statistics.median(values):.2f}"] for name, values in figures.items()]))  # fmt: skip


def main() -> None:
    """Runs everything for one store or both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pending", default="0,100000,1000000")
    parser.add_argument("--lanes", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--stores", nargs="+", choices=["sqlite", "postgresql"], default=["sqlite", "postgresql"])
    options = parser.parse_args()
    sizes = [int(size) for size in options.pending.split(",")]
    for kind in options.stores:
        print(f"\n{kind}\n", flush=True)
        with tempfile.TemporaryDirectory(prefix="bench-") as base, places(kind, Path(base)) as new:
            measure(new, Path(base), sizes, options.lanes, options.rounds)


if __name__ == "__main__":
    main()
