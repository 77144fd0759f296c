"""What a flood of bad signatures costs good intake, with refused requests kept (the default) and without.

    .venv/bin/python -m bench.rejected [--rounds 3] [--seconds 5]

Eight connections post good events while two post signatures of a wrong secret as fast as they are answered.
The load alone, both sides' CPU included, is the same with and without keeping: the difference is what keeping costs.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import statistics
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench.figures import table
from bench.programs import free_port, gateway_command, program
from bench.traffic import SECRET, write_requests, wrk

CONFIG = """\
version: 1
server: {{listen: "127.0.0.1:{port}"}}
admin: {{listen: "127.0.0.1:0"}}
store: {{url: "sqlite:///gateway.db"}}
rejected: {{max_requests: {kept}}}
accounts: {{acme: {{signing_secrets: [{secret}]}}}}
"""
WAYS = {"alone": (False, 1000), "flood, nothing kept": (True, 0), "flood, kept": (True, 1000)}
GOOD_EVENTS = 150_000
COLUMNS = ("", "good/s", "good p99 ms", "refused/s", "kept", "log lines", "answered wrongly")


def measure(way: str, good: Path, bad: Path, seconds: float) -> dict[str, Any]:
    """One run of a fresh gateway."""
    has_flood, kept = WAYS[way]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        port = free_port()
        config = folder / "gateway.yaml"
        config.write_text(CONFIG.format(port=port, secret=SECRET, kept=kept))
        with (
            program(gateway_command(config), folder, port, "/readyz"),
            ThreadPoolExecutor(2) as pool,
        ):
            flood = pool.submit(wrk, port, bad, 2, seconds) if has_flood else None
            figures = wrk(port, good, 8, seconds)
            flooded = flood.result() if flood is not None else None
        with sqlite3.connect(folder / "gateway.db") as database:
            (count,) = database.execute("SELECT count(*) FROM rejected").fetchone()
        database.close()
        log = next(folder.glob("*.log")).read_text().splitlines()
        return {
            "rate": figures["rate"],
            "p99_ms": figures["p99_ms"],
            "refused": flooded["rate"] if flooded is not None else 0.0,
            "kept": count,
            "lines": sum('"request.refused"' in line for line in log),
            "bad": figures["bad"],
        }


def main() -> None:
    """Prints a table and, in the last line, the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5)
    options = parser.parse_args()
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as name:
        good, bad = Path(name, "good"), Path(name, "bad")
        write_requests(good, GOOD_EVENTS)
        write_requests(bad, 1000, secret="whsec_wrong")
        for _ in range(options.rounds):
            for way in WAYS:
                runs[way].append(measure(way, good, bad, options.seconds))
    figures = {
        way: {key: statistics.median(figures[key] for figures in several) for key in several[0]}
        for way, several in runs.items()
    }
    rows = [
        [way, f"{f['rate']:,.0f}", f"{f['p99_ms']:.1f}", f"{f['refused']:,.0f}", f["kept"], f["lines"], f["bad"]]
        for way, f in figures.items()
    ]
    print(table(COLUMNS, rows))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
