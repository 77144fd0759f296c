"""Start to ready, and memory: idle, and over many events that are all delivered to nginx.

.venv/bin/python -m bench.memory [--events 100000]
"""

from __future__ import annotations

import argparse
import contextlib
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path

from bench.figures import table
from bench.intake import CONFIG, nginx_sink
from bench.programs import free_port, gateway_command, program
from bench.traffic import SECRET, write_requests, wrk


def resident_mb(pid: int) -> float:
    """Resident memory now."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no VmRSS of {pid}")


def wait_delivered(database: sqlite3.Connection) -> int:
    """Waits until nothing is owed; how many events there are. Raises RuntimeError after ten minutes."""
    for _ in range(6000):
        if not database.execute("SELECT 1 FROM deliveries WHERE state IN ('pending', 'running') LIMIT 1").fetchone():
            count: int = database.execute("SELECT count(*) FROM events").fetchone()[0]
            return count
        time.sleep(0.1)
    raise RuntimeError("deliveries do not end")


def main() -> None:
    """Runs everything and prints Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as base, contextlib.ExitStack() as stack:
        folder = Path(base)
        port = free_port()
        sink = stack.enter_context(nginx_sink(folder))
        config = folder / "gateway.yaml"
        config.write_text(
            CONFIG.format(port=port, admin=free_port(), store="x.db", secret=SECRET, sink=sink, concurrency=32)
        )
        starts = []
        for _ in range(5):
            begun = time.perf_counter()
            with program(gateway_command(config), folder, port, "/readyz"):
                starts.append(time.perf_counter() - begun)
        process = stack.enter_context(program(gateway_command(config), folder, port, "/readyz"))
        time.sleep(2)
        rows: list[list[object]] = [[0, f"{resident_mb(process.pid):.1f}"]]
        database = stack.enter_context(contextlib.closing(sqlite3.connect(folder / "x.db")))
        events = 0
        requests = folder / "requests"
        while events < options.events:
            write_requests(requests, 12_000)  # signed afresh: signatures age
            wrk(port, requests, 16, 4)
            events = wait_delivered(database)
            rows.append([f"{events:,}", f"{resident_mb(process.pid):.1f}"])
    print(f"start to ready: {statistics.median(starts):.2f} s (median of {len(starts)})\n")
    print(table(["events delivered", "resident MB"], rows))


if __name__ == "__main__":
    main()
