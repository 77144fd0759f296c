"""What a second worker of one gateway adds: `gateway serve --workers 2` beside one process, interleaved rounds.

    python -m bench.workers [--rounds 3] [--count 4000]

On PostgreSQL, to a destination of 20 ms with 8 at once from each worker, as `bench.deliveries` has it: there the
processor does not limit, and what a worker adds can be seen on two cores. Events are stored while the route's
connection is paused and all workers are ready; the rate runs from the first attempt's start to the last one's record.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.cpu import CpuUse
from bench.deliveries import SLOW_CONCURRENCY, Measured, fill, finished_rate, slow_sink
from bench.figures import table
from bench.intake_postgres import POSTGRES_CONFIG, postgres_server
from bench.programs import free_port, gateway_command, program
from bench.traffic import SECRET
from gateway.store import open_store

COUNTS = (1, 2)
LONGEST_SECONDS = 120


def until_all_are_ready(gateway: Sequence[str]) -> None:
    """It answers its commands once they are. Raises RuntimeError where they are not in time."""
    end = time.monotonic() + LONGEST_SECONDS
    while (asked := subprocess.run([*gateway, "diff"], capture_output=True, text=True)).returncode:
        if time.monotonic() > end:
            raise RuntimeError(asked.stderr)


def measured(workers: int, folder: Path, url: str, sink: tuple[int, int], count: int, server_pid: int) -> Measured:
    """Deliveries a second of so many workers, and the cores that each program took."""
    port, config = free_port(), folder / "gateway.yaml"
    config.write_text(
        POSTGRES_CONFIG.format(
            port=port, admin=free_port(), store=url, secret=SECRET, sink=sink[0], concurrency=SLOW_CONCURRENCY
        )
    )
    *gateway, serve = gateway_command(config)
    with program([*gateway, serve, "--workers", str(workers)], folder, port) as process:
        until_all_are_ready(gateway)
        for change in ("pause", "resume"):
            subprocess.run([*gateway, "connections", change, "sink"], check=True, capture_output=True)
            if change == "pause":
                asyncio.run(fill(open_store(url, folder), count))
        cpu = CpuUse({"gateway": process.pid, "destination": sink[1], "PostgreSQL": server_pid})
        rate = asyncio.run(finished_rate(open_store(url, folder), count))
        return Measured(rate, cpu.cores())


def main() -> None:
    """Runs everything and prints Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=4000)
    options = parser.parse_args()
    rounds: list[dict[int, Measured]] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as base, postgres_server(Path(base, "pg")) as server:
        for number in range(options.rounds):
            figures: dict[int, Measured] = {}
            for workers in COUNTS if number % 2 == 0 else COUNTS[::-1]:
                folder = Path(base, f"round{number}_{workers}")
                folder.mkdir()
                server.psql(f"CREATE DATABASE {folder.name};")
                with slow_sink(folder) as sink:
                    url = server.get_uri(folder.name)
                    figures[workers] = measured(workers, folder, url, sink, options.count, server.get_pid())
            rounds.append(figures)
            told = {workers: figure.rate for workers, figure in figures.items()}
            print(json.dumps({"round": number, "load": os.getloadavg()[0], **told}), file=sys.stderr, flush=True)
    report(rounds)


def report(rounds: list[dict[int, Measured]]) -> None:
    """A table of medians: rates, by how much the second worker is more, and cores."""
    rows: list[list[Any]] = []
    for workers in COUNTS:
        ratio = statistics.median(figures[workers].rate / figures[1].rate for figures in rounds)
        used = {
            part: statistics.median(figures[workers].cores[part] for figures in rounds)
            for part in rounds[0][workers].cores
        }
        rate = statistics.median(figures[workers].rate for figures in rounds)
        cores = ", ".join(f"{part} {cores:.2f}" for part, cores in used.items())
        rows.append([workers, f"{rate:,.0f}", f"{ratio:.2f}", cores])
    print(table(["workers", "deliveries/s", "by one", "cores"], rows))


if __name__ == "__main__":
    main()
