"""How many deliveries a second are made to nginx, beside four queues on PostgreSQL: interleaved rounds.

    make bench-peers; .venv/bin/python -m bench.deliveries [--rounds 3] [--count 10000] [--concurrency 32] [--only NAME]
        [--pgque-sql FILE]

All begin with their whole backlog stored. The gateway has leases, attempts, limits and outcomes on; its rate runs from
the first attempt's start to the last one's record, on SQLite and on PostgreSQL, there with one and with two. The
peers' (`bench/peers/*_jobs.py`, each by its documentation's advice for throughput) runs from the worker's start to its
end. PgQue's client is a package; its schema, `sql/pgque.sql` of its repository, is not, and where it is not given PgQue
is left out. Where the destination takes 20 ms, with 8 at once from each gateway, the
processor does not limit, and what a second gateway adds can be seen on two cores; the cores that each program took
while all ran are told.
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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.cpu import CpuUse
from bench.figures import table
from bench.intake import nginx_sink
from bench.intake_postgres import POSTGRES_CONFIG, postgres_server
from bench.programs import free_port, gateway_command, program
from bench.traffic import BENCH, SECRET, event_body
from gateway.core.envelope import parse_event
from gateway.core.model import DeliveryFilter, PlannedDelivery
from gateway.store import open_store
from gateway.store.protocol import Store

OURS = "gateway on PostgreSQL"
TWO = "two gateways on PostgreSQL"
SLOW_MS = 20
SLOW_CONCURRENCY = 8
SLOW = f"gateway on PostgreSQL, destination of {SLOW_MS} ms"
TWO_SLOW = f"two gateways on PostgreSQL, destination of {SLOW_MS} ms"
PEERS = ["procrastinate", "pgqueuer", "awa", "pgque"]
NAMES = [*PEERS, "gateway on SQLite", OURS, TWO, SLOW, TWO_SLOW]
LONGEST_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Measured:
    """Deliveries a second, and the cores that each program took meanwhile."""

    rate: float
    cores: Mapping[str, float]


@contextlib.contextmanager
def slow_sink(folder: Path) -> Iterator[tuple[int, int]]:
    """A destination that takes its time; its port and process id."""
    port = free_port()
    command = [sys.executable, str(BENCH / "slow_sink.py"), str(port), str(SLOW_MS)]
    with program(command, folder, port) as process:
        yield port, process.pid


async def fill(store: Store, count: int) -> None:
    """An inbox with so many events, each owing one forward."""
    await store.start()
    owed = (PlannedDelivery("fulfil", "forward"),)
    now = datetime.now(UTC)
    await asyncio.gather(*(store.add(parse_event(event_body(i), "acme", now), owed) for i in range(count)))
    await store.close()


def gateway_rate(
    folder: Path, url: str, sink: int, count: int, concurrency: int, gateways: int, programs: Mapping[str, int]
) -> Measured:
    """Deliveries a second, and the cores that the gateways and the other programs took. Raises RuntimeError where they
    do not end.
    """
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
            process = stack.enter_context(program(gateway_command(config), folder, port))
            programs = {**programs, f"gateway {number + 1}": process.pid}
        cpu = CpuUse(programs)
        rate = asyncio.run(finished_rate(open_store(url, folder), count))
        return Measured(rate, cpu.cores())


async def finished_rate(store: Store, count: int) -> float:
    """Waits until all has succeeded; deliveries a second, by what is recorded."""
    await store.attach()
    try:
        for _ in range(LONGEST_SECONDS * 5):
            if (await store.counts()).get("succeeded", 0) == count:
                deliveries = await store.deliveries(DeliveryFilter(), limit=count)
                (_, (attempt, *_)) = await store.delivery(deliveries[-1].id) or (None, [])
                last = max(
                    delivery.finished_at.timestamp() for delivery in deliveries if delivery.finished_at is not None
                )
                return count / (last - attempt.started_at.timestamp())
            await asyncio.sleep(0.2)
    finally:
        await store.close()
    raise RuntimeError(f"deliveries are left after {LONGEST_SECONDS} s")


def peer_rate(name: str, folder: Path, dsn: str, sink: int, count: int, concurrency: int, *more: str) -> Measured:
    """A peer's jobs a second. Raises RuntimeError where it fails."""
    script = str(BENCH / "peers" / f"{name}_jobs.py")
    done = subprocess.run(
        [sys.executable, script, dsn, str(sink), str(count), str(concurrency), *more],
        cwd=folder, capture_output=True, text=True, timeout=LONGEST_SECONDS,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{name} ended with {done.returncode}: {done.stderr[-2000:]}")
    return Measured(float(done.stdout.split()[-1]), {})


def measured(
    name: str, number: int, folder: Path, server: Any, sink: int, slow: tuple[int, int], options: argparse.Namespace
) -> Measured:
    """One kind in one round."""
    count, concurrency = options.count, options.concurrency
    if name == "gateway on SQLite":
        return gateway_rate(folder, "sqlite:///gateway.db", sink, count, concurrency, 1, {})
    database = f"kind{NAMES.index(name)}_{number}"
    server.psql(f"CREATE DATABASE {database};")
    url: str = server.get_uri(database)
    if name in PEERS:
        jobs = max(500, count // 5) if name == "procrastinate" else count  # the slowest gets fewer
        return peer_rate(
            name, folder, url, sink, jobs, concurrency, *([str(options.pgque_sql)] if name == "pgque" else [])
        )
    programs = {"PostgreSQL": server.get_pid()}
    gateways = 2 if name in (TWO, TWO_SLOW) else 1
    if name in (OURS, TWO):
        return gateway_rate(folder, url, sink, count, concurrency, gateways, programs)
    port, pid = slow
    fewer = max(500, count // 3)
    return gateway_rate(folder, url, port, fewer, SLOW_CONCURRENCY, gateways, {"destination": pid, **programs})


def main() -> None:
    """Runs everything and prints Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--pgque-sql", type=Path, metavar="FILE")
    options = parser.parse_args()
    if options.pgque_sql is None:
        options.only = [name for name in options.only if name != "pgque"]
    else:
        options.pgque_sql = options.pgque_sql.resolve(strict=True)
    rounds: list[dict[str, Measured]] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as base, postgres_server(Path(base, "pg")) as server:
        for number in range(options.rounds):
            folder = Path(base, f"round-{number}")
            folder.mkdir()
            turn = number % len(options.only)
            with nginx_sink(folder) as sink, slow_sink(folder) as slow:
                figures = {
                    name: measured(name, number, folder, server, sink, slow, options)
                    for name in options.only[turn:] + options.only[:turn]
                }
            rounds.append(figures)
            told = {name: asdict(figure) for name, figure in figures.items()}
            print(json.dumps({"round": number, **told}), file=sys.stderr, flush=True)
    report(rounds, options.only)


def report(rounds: Sequence[Mapping[str, Measured]], names: Sequence[str]) -> None:
    """A table of medians: rates, what one gateway on PostgreSQL does by each, and cores."""
    rows = []
    for name in names:
        row = [name, f"{statistics.median(figures[name].rate for figures in rounds):,.0f}"]
        ours = SLOW if name == TWO_SLOW else OURS
        if ours in names and name not in (OURS, SLOW):
            row.append(f"{statistics.median(figures[ours].rate / figures[name].rate for figures in rounds):.2f}")
        else:
            row.append("")
        used = {
            part: statistics.median(figures[name].cores[part] for figures in rounds) for part in rounds[0][name].cores
        }
        row.append(", ".join(f"{part} {cores:.2f}" for part, cores in used.items()))
        rows.append(row)
    print(table(["", "deliveries/s", "one gateway by it", "cores"], rows))


if __name__ == "__main__":
    main()
