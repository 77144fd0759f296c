"""Intake and deliveries against the number of finished events that are stored, interleaved in one run.

    .venv/bin/python -m bench.table_size [--only SQLite] [--sizes 0 100000 1000000 5000000] [--rounds 3]
        [--folder DIR] [--results FILE] [--plans] [--svg FILE]

Each size has a store of its own, filled by bench/filling.py before the first round; the empty one is made anew.
What a measurement leaves owed is taken away after it. With `--folder` the stores are kept there, and with `--results`
the rounds, so that `--rounds 0` fills and later runs measure or report; about 7 GB for the default sizes of one kind.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.figures import kept, percentile, table
from bench.filling import fill
from bench.intake import silent_sink
from bench.intake_postgres import postgres_server
from bench.latency import measured as latencies
from bench.open_loop import due_times, offer
from bench.plans import reads
from bench.plot import Axis, Panel, Series, chart
from bench.programs import free_port
from bench.stores import POSTGRESQL, SQLITE, gateway_on, select
from bench.traffic import MOST_A_SECOND, signed_requests, write_requests, wrk

SIZES = [0, 100_000, 1_000_000, 5_000_000]
CONNECTIONS = 64
WRK_SECONDS = 4.0
STEADY = [(1000.0, 4.0)]
DELIVERY_RATE, DELIVERY_SECONDS = 100.0, 5.0
FIGURES = {
    "rate": "200s/s, 64 connections",
    "p99_ms": "p99 ms, 64 connections",
    "steady_p50_ms": "p50 ms at 1,000/s",
    "steady_p99_ms": "p99 ms at 1,000/s",
    "arrival_p50_ms": "200 to forward: p50 ms",
    "arrival_p99_ms": "200 to forward: p99 ms",
}
MEBIBYTE = 1 << 20
LEAVE_NOTHING_OWED = "DELETE FROM deliveries WHERE state IN ('blocked', 'pending', 'running')"


class Stores:
    """The stores of one kind, one for each size."""

    def __init__(self, kind: str, folder: Path, server: Any) -> None:
        self.kind = kind
        self.folder = folder
        self.server = server

    def url(self, size: int) -> str:
        """The store of that size, filled if it is not there yet; the empty one is made anew."""
        name = f"size_{size}"
        if self.server is None:
            path = self.folder / f"{name}.db"
            if size == 0:
                for file in self.folder.glob(f"{name}.db*"):
                    file.unlink()
            url, is_there = f"sqlite:///{path.name}", path.exists()
        else:
            url = self.server.get_uri(name)
            if size == 0:
                self.server.psql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE);")
            is_there = name in self.server.psql("SELECT datname FROM pg_database;").split()
            if not is_there:
                self.server.psql(f"CREATE DATABASE {name};")
        if not is_there:
            fill(url, self.folder, size)
        return url

    def tidy(self, url: str) -> None:
        """Takes away what a measurement left owed, and has the disk take all that was written."""
        select(url, self.folder, LEAVE_NOTHING_OWED)
        for statement in ("VACUUM deliveries", "CHECKPOINT") if self.server else ("PRAGMA wal_checkpoint(TRUNCATE)",):
            select(url, self.folder, statement)

    def bytes(self, url: str) -> int:
        """What the store takes on the disk, once it is tidy: SQLite's file, PostgreSQL's tables and indexes."""
        if self.server is None:
            return (self.folder / url.removeprefix("sqlite:///")).stat().st_size
        ((size,),) = select(url, self.folder, "SELECT pg_database_size(current_database())")
        return int(size)


def measure(stores: Stores, size: int, folder: Path) -> dict[str, Any]:
    """All figures of one size."""
    url = stores.url(size)
    sink = free_port()
    with gateway_on(url, stores.folder, stores.server, sink, concurrency=16) as gateway:
        target = f"http://127.0.0.1:{gateway.port}/webhooks/acme"
        _, arrival = asyncio.run(latencies(target, sink, DELIVERY_RATE, DELIVERY_SECONDS))
    warm, timed = folder / "warm", folder / "timed"
    write_requests(warm, 3000)
    write_requests(timed, int(MOST_A_SECOND * WRK_SECONDS))
    due = due_times(STEADY)
    steady = [request for _, request in signed_requests(len(due))]
    with silent_sink() as silent, gateway_on(url, stores.folder, stores.server, silent) as gateway:
        wrk(gateway.port, warm, CONNECTIONS, 1)
        answers = offer(gateway.port, steady, due)
        cpu = gateway.cpu()
        most = wrk(gateway.port, timed, CONNECTIONS, WRK_SECONDS)
        cores = cpu.cores()
    stores.tidy(url)
    waits = [answer.latency_ms for answer in answers if answer.status == 200]
    if len(waits) < len(answers) or most["bad"]:
        raise RuntimeError(f"{stores.kind}, {size}: {len(answers) - len(waits)} and {most['bad']:.0f} not answered 200")
    return {
        "rate": most["rate"],
        "p99_ms": most["p99_ms"],
        "steady_p50_ms": percentile(waits, 0.5),
        "steady_p99_ms": percentile(waits, 0.99),
        "arrival_p50_ms": percentile(arrival, 0.5),
        "arrival_p99_ms": percentile(arrival, 0.99),
        "bytes": stores.bytes(url),
        "cores": cores,
    }


def rounds(stores: Stores, sizes: Sequence[int], count: int) -> Iterator[dict[str, Any]]:
    """Each size in each round, in turn the first."""
    for size in sizes:
        stores.url(size)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        for number in range(count):
            turn = number % len(sizes)
            for size in [*sizes[turn:], *sizes[:turn]]:
                yield {"store": stores.kind, "size": size} | measure(stores, size, Path(folder))


def report(results: Sequence[dict[str, Any]], svg: Path | None) -> None:
    """Tables of medians, ratios to the empty store within each round, and the plot."""
    panels: dict[str, list[Series]] = {"rate": [], "p99_ms": [], "steady_p99_ms": []}
    sizes = sorted({result["size"] for result in results})
    for kind in (SQLITE, POSTGRESQL):
        by_size = {
            size: [result for result in results if result["store"] == kind and result["size"] == size] for size in sizes
        }
        if not by_size[sizes[0]]:
            continue
        rows = []
        for size, group in by_size.items():
            row = [f"{size:,}"]
            for name in FIGURES:
                middle = statistics.median(result[name] for result in group)
                ratios = [result[name] / none[name] for result, none in zip(group, by_size[sizes[0]], strict=False)]
                row.append(f"{middle:,.0f}" if name == "rate" else f"{middle:.1f}")
                if size and "p50" not in name:
                    row[-1] += f" ({statistics.median(ratios):.2f})"
            cores = {name: statistics.median(result["cores"][name] for result in group) for name in group[0]["cores"]}
            row.append(f"{statistics.median(result.get('bytes', 0) for result in group) / MEBIBYTE:,.0f}")
            row.append(", ".join(f"{name} {used:.2f}" for name, used in cores.items() if name != "generator"))
            rows.append(row)
        print(f"\n{kind}, {len(group)} rounds; in brackets the median of the ratios to the empty store of the round\n")
        print(table(["finished events", *FIGURES.values(), "MiB stored", "cores at 64 connections"], rows))
        for name, series in panels.items():
            points = [
                (float(size), statistics.median(result[name] for result in group)) for size, group in by_size.items()
            ]
            series.append(Series(kind, points))
    if svg is not None:
        x = Axis("finished events stored", [0, 100_000, 1_000_000, 10_000_000], is_log=True)
        wait = Axis("ms", [1, 10, 100, 1000], is_log=True)
        rate = Axis("events a second", range(0, 14_001, 2000))
        drawn = [
            Panel("Answered 200, 64 connections", x, rate, panels["rate"]),
            Panel("p99 of the 200s, 64 connections", x, wait, panels["p99_ms"]),
            Panel("p99 of the 200s at 1,000 a second", x, wait, panels["steady_p99_ms"]),
        ]
        svg.write_text(chart(drawn))


def main() -> None:
    """Runs everything and prints Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--only", nargs="+", choices=[SQLITE, POSTGRESQL], default=[SQLITE, POSTGRESQL])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--results", type=Path)
    parser.add_argument("--plans", action="store_true", help="what the hot calls read, with the fewest and the most")
    parser.add_argument("--svg", type=Path)
    options = parser.parse_args()
    results = kept(options.results, everything(options))
    if results:
        report(results, options.svg)


def everything(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The rounds of each kind of store; between them what the hot calls read is printed, where it is asked for."""
    for kind in options.only:
        with contextlib.ExitStack() as stack:
            folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
            server = None
            if kind == POSTGRESQL:
                server = stack.enter_context(postgres_server(folder / "pg", "stop" if options.folder else "delete"))
            stores = Stores(kind, folder, server)
            yield from rounds(stores, options.sizes, options.rounds)
            if options.plans:
                for size in (options.sizes[0], options.sizes[-1]):
                    print(f"\n{kind}, {size:,} finished events\n")
                    for call, what in reads(stores.url(size), folder):
                        print(f"- {call}: {what}")


if __name__ == "__main__":
    main()
