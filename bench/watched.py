"""What it costs intake that somebody watches: events answered a second with the console open and tailing, and without.

    .venv/bin/python -m bench.watched [--rounds 5] [--seconds 5] [--connections 16]

Rounds are interleaved, each on a fresh SQLite store; a watched one has a live list of events (a stream that is read as
fast as it comes) and an overview that loads itself again every ten seconds, as the page in a browser does; browsers
themselves are left out, for they use the processors of whoever watches. Ends with 1 where the median of per-round
ratios is below 0.9.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from bench.figures import median_ratio, table
from bench.intake import CONFIG, check, silent_sink
from bench.programs import free_port, gateway_command, program
from bench.traffic import MOST_A_SECOND, SECRET, write_requests, wrk

LEAST = 0.9
TOKEN = "token-of-the-benchmark"
OVERVIEW_SECONDS = 10.0  # as the page does


def get(admin: int, path: str) -> urllib.request.Request:
    """A request that is allowed to look."""
    return urllib.request.Request(f"http://127.0.0.1:{admin}{path}", headers={"Authorization": f"Bearer {TOKEN}"})


@contextlib.contextmanager
def watching(admin: int, seen: list[int]) -> Iterator[None]:
    """A live list and an overview, from entry to exit. `seen` gets the number of rows that the list showed."""
    over = threading.Event()

    def tail() -> None:
        rows = 0
        with contextlib.suppress(OSError), urllib.request.urlopen(get(admin, "/live/events"), timeout=30) as stream:
            for line in stream:
                rows += line.count(b"<tr>")
                if over.is_set():
                    break
        seen.append(rows)

    def overview() -> None:
        while not over.is_set():
            with contextlib.suppress(OSError), urllib.request.urlopen(get(admin, "/?part=1"), timeout=30) as page:
                page.read()
            over.wait(OVERVIEW_SECONDS)

    threads = [threading.Thread(target=watcher) for watcher in (tail, overview)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def measured(name: str, folder: Path, options: argparse.Namespace, warm: Path, timed: Path) -> dict[str, float]:
    """One run on a fresh gateway."""
    port, admin = free_port(), free_port()
    with silent_sink() as sink:
        config = folder / "gateway.yaml"
        text = CONFIG.format(port=port, admin=admin, store="gateway.db", secret=SECRET, sink=sink, concurrency=1)
        config.write_text(text.replace('admin: {listen: "', f'admin: {{token: {TOKEN}, listen: "'))
        with program(gateway_command(config), folder, port, end=signal.SIGKILL):
            wrk(port, warm, options.connections, 1)
            seen: list[int] = []
            with watching(admin, seen) if name == "watched" else contextlib.nullcontext():
                figures = wrk(port, timed, options.connections, options.seconds)
        if name == "watched" and not seen[0]:
            raise RuntimeError("the live list showed nothing")
    check("gateway", folder, figures["requests"] - figures["bad"])
    return figures


def main() -> None:
    """Runs everything and prints Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--connections", type=int, default=16)
    options = parser.parse_args()
    rounds = []
    with tempfile.TemporaryDirectory(prefix="bench-") as base:
        warm, timed = Path(base, "warm"), Path(base, "timed")
        write_requests(warm, 2000)
        write_requests(timed, int(MOST_A_SECOND * options.seconds))
        for number in range(options.rounds):
            figures = {}
            for name in ("watched", "unwatched") if number % 2 else ("unwatched", "watched"):
                folder = Path(base, f"{name}-{number}")
                folder.mkdir()
                figures[name] = measured(name, folder, options, warm, timed)
                print(json.dumps({"round": number, "name": name, **figures[name]}), file=sys.stderr, flush=True)
            rounds.append(figures)
    rows = [
        [
            number,
            *(f"{figures[name][figure]:,.1f}" for name in ("unwatched", "watched") for figure in ("rate", "p99_ms")),
        ]
        for number, figures in enumerate(rounds)
    ]
    print(table(["round", "unwatched: events/s", "p99 ms", "watched: events/s", "p99 ms"], rows))
    ratio = median_ratio(rounds, "watched", "unwatched", "rate")
    print(f"\nwatched / unwatched, median of {options.rounds} rounds: {ratio:.3f}")
    sys.exit(ratio < LEAST)


if __name__ == "__main__":
    main()
