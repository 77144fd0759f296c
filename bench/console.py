"""How long each page and list of the console takes with a million events in a SQLite store.

    python -m bench.console [--events 1000000] [--folder FOLDER]

Fills a store (five gigabytes for a million), starts a gateway on it, and asks for everything several times.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sqlite3
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.common import event_body, free_port, gateway_command, program, table
from gateway.store.sqlite import SqliteStore

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
store: {{url: "sqlite:///inbox.db"}}
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


def fill(path: Path, count: int) -> None:
    """Events over thirty days, three deliveries for each fifth of them; one in five hundred is dead."""
    rng = random.Random(1)
    asyncio.run(_made(path))
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute("BEGIN")
    now = time.time_ns() // 1_000_000
    step = DAYS * 86_400_000 / count
    bodies = [event_body(i) for i in range(200)]
    seq = 0

    def events() -> Iterator[tuple[Any, ...]]:
        for i in range(1, count + 1):
            at = int(now - DAYS * 86_400_000 + i * step)
            type_ = TYPES[rng.randrange(len(TYPES))]
            account = "acme" if rng.random() < 0.8 else "second"
            state = "routed" if type_.startswith("checkout") else "unmatched"
            body = bodies[i % len(bodies)]
            if i % 50_000 == 7:
                body = body[:-3] + b', "needle": "haystack-%d"}' % i
            yield (
                i, account, f"evt_{i:016x}", type_, state, 0, at, at, f"obj_{i % (count // 4):012x}", "webhook", body,
            )  # fmt: skip

    connection.executemany(
        "INSERT INTO events (seq, account, id, type, state, livemode, received_at, created_at, object_id, source, body)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        events(),
    )
    rows: list[tuple[Any, ...]] = []
    owed = connection.execute("SELECT seq, account, received_at FROM events WHERE state = 'routed' ORDER BY seq")
    for event_seq, account, at in owed:
        dead = rng.randrange(500) == 0
        for n, (route, action) in enumerate(ACTIONS):
            seq += 1
            state = "succeeded" if not dead else "dead" if n == 0 else "blocked"
            finished = None if state == "blocked" else at + rng.randrange(20, 900)
            reason = f"HTTP 500 from warehouse.example: request {seq}" if state == "dead" else None
            rows.append(
                (seq, f"dlv_{seq:032x}", event_seq, f"run_{event_seq}", account, route, action, "[]", 0, state, at, at,
                 finished, reason, reason, '{"connection": "warehouse"}')
            )  # fmt: skip
    connection.executemany(
        "INSERT INTO deliveries (seq, id, event_seq, run_id, account, route, action, needs, has_dependents, state,"
        " due_at, created_at, finished_at, reason, last_error, rendered)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        rows,
    )
    connection.execute("COMMIT")
    connection.close()


async def _made(path: Path) -> None:
    store = SqliteStore(path)
    await store.start()
    await store.close()


def paths(count: int) -> list[str]:
    """Every page and list, with the filters that could be slow."""
    middle = f"evt_{count // 2:016x}"
    api = "/api/v1"
    return [
        "/",
        "/?range=7d",
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
    parser.add_argument("--folder", type=Path, help="Keep the filled store here and use it again.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-console-") as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(exist_ok=True)
        if not (folder / "inbox.db").exists():
            fill(folder / "inbox.db", given.events)
        port, admin = free_port(), free_port()
        (folder / "gateway.yaml").write_text(CONFIG.format(port=port, admin=admin, token=TOKEN))
        rows = []
        with program(gateway_command(folder / "gateway.yaml"), folder, port, "/readyz"):
            for path in paths(given.events):
                times = [ask(admin, path) for _ in range(ROUNDS)]
                rows.append([path, f"{times[0]:.0f}", f"{statistics.median(times):.0f}", f"{max(times[1:]):.0f}"])
                print(json.dumps(rows[-1]), flush=True)
        print(table(["page or list", "first ms", "median ms", "worst after ms"], rows))


if __name__ == "__main__":
    main()
