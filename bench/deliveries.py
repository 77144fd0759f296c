"""How many deliveries a second are made to nginx, beside pgqueuer and procrastinate on PostgreSQL: interleaved rounds.

    make bench-peers; .venv/bin/python -m bench.deliveries [--rounds 3] [--count 10000] [--concurrency 32]

All begin with their whole backlog stored. The gateway has leases, attempts, limits and outcomes on; its rate runs from
the first attempt's start to the last one's record, on SQLite and on PostgreSQL, there with one and with two. The
peers' runs from the worker's start to its end.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from bench.common import BENCH, SECRET, event_body, free_port, gateway_command, program, table
from bench.intake import nginx_sink
from bench.intake_postgres import POSTGRES_CONFIG, postgres_server
from gateway.envelope import parse_event
from gateway.model import DeliveryFilter, PlannedDelivery
from gateway.store import open_store
from gateway.store.base import Store

OURS = "gateway on PostgreSQL"
LONGEST_SECONDS = 300


async def fill(store: Store, count: int) -> None:
    """An inbox with so many events, each owing one forward."""
    await store.start()
    owed = (PlannedDelivery("fulfil", "forward"),)
    now = datetime.now(UTC)
    await asyncio.gather(*(store.add(parse_event(event_body(i), "acme", now), owed) for i in range(count)))
    await store.close()


def gateway_rate(folder: Path, url: str, sink: int, count: int, concurrency: int, gateways: int = 1) -> float:
    """Deliveries a second. Raises RuntimeError where they do not end."""
    asyncio.run(fill(open_store(url, folder), count))
    with contextlib.ExitStack() as stack:
        for number in range(gateways):
            port = free_port()
            config = folder / f"gateway{number}.yaml"
            config.write_text(
                POSTGRES_CONFIG.format(
                    port=port, admin=free_port(), store=url, secret=SECRET, sink=sink, concurrency=concurrency
                )
            )
            stack.enter_context(program(gateway_command(config), folder, port))
        return asyncio.run(finished_rate(open_store(url, folder), count))


async def finished_rate(store: Store, count: int) -> float:
    """Waits until all has succeeded; deliveries a second, by what is recorded."""
    await store.attach()
    try:
        for _ in range(LONGEST_SECONDS * 5):
            if (await store.counts()).get("succeeded", 0) == count:
                found = await store.deliveries(DeliveryFilter(), limit=count)
                (_, (attempt, *_)) = await store.delivery(found[-1].id) or (None, [])
                last = max(one.finished_at.timestamp() for one in found if one.finished_at is not None)
                return count / (last - attempt.started_at.timestamp())
            await asyncio.sleep(0.2)
    finally:
        await store.close()
    raise RuntimeError(f"deliveries are left after {LONGEST_SECONDS} s")


def peer_rate(name: str, folder: Path, dsn: str, sink: int, count: int, concurrency: int) -> float:
    """A peer's jobs a second."""
    script = str(BENCH / "peers" / f"{name}_jobs.py")
    done = subprocess.run(
        [sys.executable, script, dsn, str(sink), str(count), str(concurrency)],
        cwd=folder, capture_output=True, text=True, check=True, timeout=LONGEST_SECONDS,
    )  # fmt: skip
    return float(done.stdout.split()[-1])


def main() -> None:
    """Runs everything and prints Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--concurrency", type=int, default=32)
    given = parser.parse_args()
    rounds: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as base, postgres_server(Path(base, "pg")) as server:
        for number in range(given.rounds):
            folder = Path(base, f"round-{number}")
            folder.mkdir()
            with nginx_sink(folder) as sink:

                def database(name: str, number: int = number) -> str:
                    server.psql(f"CREATE DATABASE {name}{number};")
                    url: str = server.get_uri(f"{name}{number}")
                    return url

                limits = (sink, given.count, given.concurrency)
                slow = (sink, max(500, given.count // 5), given.concurrency)
                kinds: dict[str, Callable[[], float]] = {
                    "procrastinate": partial(peer_rate, "procrastinate", folder, database("peer"), *slow),
                    "pgqueuer": partial(peer_rate, "pgqueuer", folder, database("pgq"), *limits),
                    "gateway on SQLite": partial(gateway_rate, folder, "sqlite:///gateway.db", *limits),
                    OURS: partial(gateway_rate, folder, database("one"), *limits),
                    "two gateways on PostgreSQL": partial(gateway_rate, folder, database("two"), *limits, 2),
                }
                names = list(kinds)
                turn = number % len(names)
                figures = {name: kinds[name]() for name in names[turn:] + names[:turn]}
            rounds.append(figures)
            print(json.dumps({"round": number, **figures}), file=sys.stderr)
    rows = [
        [
            name,
            f"{statistics.median(one[name] for one in rounds):,.0f}",
            f"{statistics.median(one[OURS] / one[name] for one in rounds):.2f}",
        ]
        for name in rounds[0]
    ]
    print(table(["", "deliveries/s", "one gateway on PostgreSQL by it"], rows))


if __name__ == "__main__":
    main()
