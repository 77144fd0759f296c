"""How long each page and list of the console takes with a million events in the store, on SQLite and on PostgreSQL.

    python -m bench.console [--events 1000000] [--stores sqlite postgresql] [--folder FOLDER]

Fills a store (five gigabytes for a million), starts a gateway on it, and asks for everything seven times. Ends with 1
where an answer took longer than `--most` (300 ms). Beside other work the gateway's own time on the processors, the mean
of the seven, says more: on SQLite it holds the store's.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import sqlite3
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.cpu import processor_seconds
from bench.figures import table
from bench.intake_postgres import postgres_server
from bench.programs import free_port, gateway_command, program
from bench.traffic import event_body
from gateway.store.postgres.connection import Server
from gateway.store.postgres.store import PostgresStore
from gateway.store.sqlite.store import SqliteStore

TOKEN = "token-of-the-benchmark"
DAYS = 30
ROUNDS = 7
TYPES = [
    *(["checkout.session.completed"] * 20),
    *(["invoice.paid", "invoice.created", "invoice.finalized", "charge.succeeded", "payment_intent.succeeded"] * 8),
    *(["customer.created", "customer.updated", "customer.subscription.updated", "customer.subscription.created"] * 5),
    *[f"rare.kind_{i}" for i in range(60)],
]
ACTIONS = [("fulfil", "save"), ("fulfil", "ship"), ("fulfil", "tell")]

CONFIG = """\
version: 1
log: {{level: error, format: json}}
server: {{listen: "127.0.0.1:{port}"}}
admin: {{listen: "127.0.0.1:{admin}", token: {token}}}
store: {{url: "{store}"}}
accounts:
  acme: {{signing_secrets: [whsec_bench]}}
  second: {{signing_secrets: [whsec_bench_2]}}
connections:
  warehouse: {{type: http, url: "http://127.0.0.1:9/hooks", allow_private: true}}
routes:
  fulfil:
    events: [checkout.session.completed]
    actions:
      save: {{uses: http_forward, with: {{connection: warehouse}}}}
      ship: {{uses: http_forward, needs: [save], with: {{connection: warehouse}}}}
      tell: {{uses: http_forward, needs: [save], with: {{connection: warehouse}}}}
"""


EVENT_COLUMNS = (
    "seq", "account", "id", "type", "state", "livemode", "received_at", "created_at", "object_id", "source", "body",
)  # fmt: skip
DELIVERY_COLUMNS = (
    "seq", "id", "event_seq", "run_id", "account", "route", "action", "needs", "has_dependents", "state", "due_at",
    "created_at", "finished_at", "reason", "last_error", "rendered",
)  # fmt: skip


class Rows:
    """Events over thirty days, three deliveries for each fifth of them; one in five hundred is dead."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._rng = random.Random(1)
        self._owed: list[tuple[int, str, int]] = []  # the events that a route wanted

    def events(self) -> Iterator[tuple[Any, ...]]:
        """In the order of EVENT_COLUMNS. To be read before the deliveries."""
        now = time.time_ns() // 1_000_000
        step = DAYS * 86_400_000 / self._count
        bodies = [event_body(i) for i in range(200)]
        for i in range(1, self._count + 1):
            at = int(now - DAYS * 86_400_000 + i * step)
            type_ = TYPES[self._rng.randrange(len(TYPES))]
            account = "acme" if self._rng.random() < 0.8 else "second"
            state = "routed" if type_.startswith("checkout") else "unmatched"
            if state == "routed":
                self._owed.append((i, account, at))
            body = bodies[i % len(bodies)]
            if i % 50_000 == 7:
                body = body[:-3] + b', "needle": "haystack-%d"}' % i
            object_id = f"obj_{i % (self._count // 4):012x}"
            yield i, account, f"evt_{i:016x}", type_, state, False, at, at, object_id, "webhook", body

    def deliveries(self) -> Iterator[tuple[Any, ...]]:
        """In the order of DELIVERY_COLUMNS."""
        seq = 0
        for event_seq, account, at in self._owed:
            dead = self._rng.randrange(500) == 0
            for n, (route, action) in enumerate(ACTIONS):
                seq += 1
                state = "succeeded" if not dead else "dead" if n == 0 else "blocked"
                finished = None if state == "blocked" else at + self._rng.randrange(20, 900)
                reason = f"HTTP 500 from warehouse.example: request {seq}" if state == "dead" else None
                yield (
                    seq, f"dlv_{seq:032x}", event_seq, f"run_{event_seq}", account, route, action, "[]", False, state,
                    at, at, finished, reason, reason, '{"connection": "warehouse"}',
                )  # fmt: skip


def fill_sqlite(path: Path, rows: Rows) -> None:
    """Makes the store and fills it."""

    async def make() -> None:
        store = SqliteStore(path)
        await store.start()
        await store.close()

    asyncio.run(make())
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute("BEGIN")
    for name, columns, records in (
        ("events", EVENT_COLUMNS, rows.events()),
        ("deliveries", DELIVERY_COLUMNS, rows.deliveries()),
    ):
        marks = ", ".join("?" * len(columns))
        connection.executemany(f"INSERT INTO {name} ({', '.join(columns)}) VALUES ({marks})", records)
    connection.execute("COMMIT")
    connection.close()


async def fill_postgres(url: str, rows: Rows) -> None:
    """Makes the store and fills it; then what autovacuum does in the minutes after."""
    store = PostgresStore(url)
    await store.migrate()
    connection = await Server(store.address).open()
    for name, columns, records in (
        ("events", EVENT_COLUMNS, rows.events()),
        ("deliveries", DELIVERY_COLUMNS, rows.deliveries()),
    ):
        await connection.copy_records_to_table(name, records=records, columns=columns)
        await connection.execute(f"SELECT setval('{name}_seq', (SELECT max(seq) FROM {name}))")
    await connection.execute("VACUUM ANALYZE")
    await connection.close()


@contextlib.contextmanager
def filled(store: str, folder: Path, count: int) -> Iterator[str]:
    """A filled store; its URL."""
    if store == "sqlite":
        if not (folder / "inbox.db").exists():
            fill_sqlite(folder / "inbox.db", Rows(count))
        yield "sqlite:///inbox.db"
    else:
        with postgres_server(folder / "pg") as server:
            url: str = server.get_uri()
            asyncio.run(fill_postgres(url, Rows(count)))
            yield url


def paths(count: int) -> list[str]:
    """Every page and list, with the filters that could be slow."""
    middle = f"evt_{count // 2:016x}"
    api = "/api/v1"
    return [
        "/",
        "/?range=1h",
        "/?range=7d",
        "/?part=1",
        "/charts?by=account&range=7d",
        "/charts?by=type&range=7d",
        "/charts?by=route&range=7d",
        "/connections",
        "/connections?range=7d",
        "/routes",
        "/accounts",
        "/rejected",
        "/dead-letters",
        "/search?q=obj_00000000002a",
        "/search?q=jenny@example.com",
        "/search?q=45.00+EUR",
        "/playground",
        "/events",
        "/events?type=rare.kind_7",
        "/events?type=customer.*&account=second",
        "/events?state=ignored",
        "/events?object=obj_00000000002a",
        "/events?until=20d&type=invoice.*",
        "/events?since=2h&state=routed",
        "/events?text=haystack",
        "/events?text=nowhere-to-be-found",
        f"/events/{middle}",
        "/deliveries",
        "/deliveries?state=dead",
        "/deliveries?state=pending",
        "/deliveries?state=blocked&connection=warehouse",
        "/deliveries?route=fulfil&action=tell&until=15d",
        f"/deliveries?event={middle}",
        "/deliveries/many?what=retry",
        "/events/replay?type=invoice.*",
        "/deliveries/dlv_" + f"{5:032x}",
        "/config",
        "/audit",
        "/jobs",
        "/metrics",
        f"{api}/overview",
        f"{api}/events?limit=500",
        f"{api}/events?type=invoice.*&limit=500",
        f"{api}/events?text=haystack",
        f"{api}/events/{middle}",
        f"{api}/deliveries?limit=500&state=dead",
        f"{api}/deliveries?account=second&limit=500",
        f"{api}/connections",
        f"{api}/audit",
    ]


def ask(port: int, path: str) -> float:
    """Milliseconds for one answer, whole. Raises where it is not 200."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Authorization": f"Bearer {TOKEN}"})
    start = time.perf_counter()
    with urllib.request.urlopen(request, timeout=60) as response:
        response.read()
    return (time.perf_counter() - start) * 1000


def main() -> None:
    """Fills, asks, prints Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--stores", nargs="+", choices=["sqlite", "postgresql"], default=["sqlite", "postgresql"])
    parser.add_argument("--folder", type=Path, help="Keep the filled SQLite store here and use it again.")
    parser.add_argument("--most", type=float, default=300, help="Milliseconds that an answer may take.")
    options = parser.parse_args()
    slowest = 0.0
    for store in options.stores:
        with tempfile.TemporaryDirectory(prefix="bench-console-") as temporary:
            folder = options.folder or Path(temporary)
            folder.mkdir(exist_ok=True)
            with filled(store, folder, options.events) as url:
                slowest = max(slowest, measure(store, url, folder, options.events))
    print(f"the slowest answer took {slowest:.0f} ms")
    sys.exit(slowest > options.most)


def measure(store: str, url: str, folder: Path, count: int) -> float:
    """Asks a gateway on this store for everything; the slowest answer in milliseconds."""
    port, admin = free_port(), free_port()
    (folder / "gateway.yaml").write_text(CONFIG.format(port=port, admin=admin, token=TOKEN, store=url))
    rows, slowest = [], 0.0
    with program(gateway_command(folder / "gateway.yaml"), folder, port, "/readyz") as gateway:
        for path in paths(count):
            before = processor_seconds(gateway.pid)
            times = [ask(admin, path) for _ in range(ROUNDS)]
            processor = (processor_seconds(gateway.pid) - before) * 1000 / ROUNDS
            slowest = max(slowest, *times)
            figures = (times[0], statistics.median(times), max(times[1:]), processor)
            rows.append([path, *(f"{figure:.0f}" for figure in figures)])
            print(json.dumps([store, *rows[-1]]), file=sys.stderr, flush=True)
    print(f"\n{store}, {count:,} events\n")
    print(table(["page or list", "first ms", "median ms", "worst after ms", "processor ms"], rows), flush=True)
    return slowest


if __name__ == "__main__":
    main()
