"""A long life at half of saturation, with reloads, faults and purges: is everything flat, and is nothing lost?

    .venv/bin/python -m bench.soak [--seconds 3600] [--rate EVENTS] [--pace 1] [--svg FILE] [--results FILE]

One gateway on SQLite with one route and one forward; what happens to it is in bench/soak_faults.py, and events are
purged two minutes after they ended (what is left of one is its id, for 45 days). With a pace all of that comes so many
times as often, and only the books are judged. First a batch is sent as fast as it is taken: from its first event to its
last forward is saturation, and half of that rate is sent from then on, in windows of ten seconds by an open loop. What
is not answered 200 is sent again in the next window, as Stripe would, and some of what was answered is sent again too.

Ends with 1 where an event that was answered 200 has not arrived, something arrived that nobody owed, a delivery is a
dead letter, or memory, file descriptors or latency (medians of the windows without faults) rose from the first sixth
to the last.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.figures import percentile, table
from bench.memory import resident_mb
from bench.open_loop import due_times, offer
from bench.plot import Axis, Panel, Series, chart
from bench.programs import free_port, program
from bench.soak_faults import Faults, is_calm
from bench.soak_sink import UNOWED_EACH, Books, sink
from bench.traffic import SECRET, signed_requests

WINDOW_SECONDS = 10.0
LEAD_SECONDS = 1.0  # in which a window's requests are signed
AGAIN_EACH = 100  # one of so many that were answered 200 is sent again
BATCH, BATCH_A_SECOND = 24_000, 6_000
MOST_RATE = 3_000
SETTLE_SECONDS = 60.0
RETENTION_SECONDS, PURGE_EACH_SECONDS = 120.0, 20.0
MOST_GROWTH = {"memory MB": 1.1, "file descriptors": 1.1, "200: p99 ms": 1.5, "arrival: p99 ms": 1.5}
CONFIG = """\
version: 1
log: {{level: warning}}
server: {{listen: "127.0.0.1:{port}"}}
admin: {{listen: "127.0.0.1:{admin}"}}
store: {{url: "sqlite:///gateway.db", retention: {retention}s}}
reload: {{watch: true}}
defaults: {{retry: {{attempts: 50, first: 500ms, max: 3s}}, timeout: 2s}}
accounts: {{acme: {{signing_secrets: [{secret}]}}}}
connections:
  sink:
    {{type: http, url: "http://127.0.0.1:{sink}/", allow_private: true, concurrency: 32,
      headers: {{X-Round: "{number}"}}, breaker: {{pause: 1s, max: 2s}}}}
routes:
  fulfil:
    events: [checkout.session.completed]
    if: object.metadata.order_id | int % {unowed} != 0
    actions: {{forward: {{uses: http_forward, with: {{connection: sink}}}}}}
"""


class Soak:
    """Sends to one gateway and compares what was answered with what arrived."""

    def __init__(self, folder: Path, port: int, pid: int, books: Books) -> None:
        self._folder = folder
        self._port = port
        self._pid = pid
        self._books = books
        self._next = 1
        self._again: list[tuple[int, bytes]] = []  # for the next window
        self.accepted: set[int] = set()
        self.refused = 0  # answered otherwise, or not at all, and sent again

    def saturation(self) -> float:
        """Events a second, from the first that is sent to the last that arrives."""
        start = time.perf_counter()
        self._send(due_times([(BATCH_A_SECOND, BATCH / BATCH_A_SECOND)]), None)
        while self._again:
            self._send([], None)
        self.settle()
        owed = [order for order in self.accepted if order % UNOWED_EACH]
        last: float = max(self._books.arrived_at[order] for order in owed)
        return len(self.accepted) / (last - start)

    def window(self, rate: float, start: float) -> dict[str, float]:
        """Ten seconds at that rate from `start`, a time of time.perf_counter; what they were like."""
        answered = self._send(due_times([(rate, WINDOW_SECONDS - LEAD_SECONDS)]), start)
        latencies = [(at - due) * 1000 for _, due, at in answered]
        arrivals = [
            (self._books.arrived_at[order] - at) * 1000 for order, _, at in answered if self._books.arrived_at[order]
        ]
        return {
            "200: p50 ms": percentile(latencies, 0.5),
            "200: p99 ms": percentile(latencies, 0.99),
            "arrival: p50 ms": percentile(arrivals, 0.5),
            "arrival: p99 ms": percentile(arrivals, 0.99),
            "memory MB": resident_mb(self._pid),
            "file descriptors": len(list(Path(f"/proc/{self._pid}/fd").iterdir())),
            "database MB": (self._folder / "gateway.db").stat().st_size / 1e6,
            "log MB": (self._folder / "gateway.db-wal").stat().st_size / 1e6,
            "sent again": len(self._again),
        }

    def _send(self, due: Sequence[float], start: float | None) -> list[tuple[int, float, float]]:
        """Sends new events when they are due, before them what is to be sent again. Order, due and answer, by
        time.perf_counter, of the new ones that were answered 200.
        """
        fresh = [
            (order, request)
            for order, (_, request) in enumerate(signed_requests(len(due), first=self._next), self._next)
        ]
        self._next += len(fresh)
        again, self._again = self._again, []
        begun = time.perf_counter() if start is None else start
        sent = again + fresh
        answers = offer(self._port, [request for _, request in sent], [0.0] * len(again) + list(due), begun)
        orders = []
        for place, ((order, request), answer) in enumerate(zip(sent, answers, strict=True)):
            if answer.status != 200:
                self.refused += 1
                self._again.append((order, request))
            elif order not in self.accepted:
                self.accepted.add(order)
                if place >= len(again):
                    orders.append((order, begun + answer.due, begun + answer.answered))
                if order % AGAIN_EACH == 1:
                    self._again.append((order, request))  # a duplicate
        return orders

    def settle(self) -> None:
        """Waits until everything that was answered 200 has arrived. Raises RuntimeError after a minute."""
        end = time.monotonic() + SETTLE_SECONDS
        while missing := self.missing():
            if time.monotonic() > end:
                raise RuntimeError(
                    f"{len(missing)} of {len(self.accepted)} events that were answered 200 have not arrived"
                )
            time.sleep(0.05)

    def missing(self) -> list[int]:
        """Orders that were answered 200, are owed, and have not arrived."""
        return [order for order in self.accepted if order % UNOWED_EACH and not self._books.times[order]]

    def finish(self) -> dict[str, int]:
        """Sends what is left, waits, and counts."""
        while self._again:
            self._send([], None)
        self.settle()
        with contextlib.closing(sqlite3.connect(self._folder / "gateway.db")) as database:
            dead, stored = database.execute(
                "SELECT (SELECT count(*) FROM deliveries WHERE state = 'dead'),"
                " (SELECT count(*) FROM events WHERE seq > 0)"
            ).fetchone()
        owed = [order for order in self.accepted if order % UNOWED_EACH]
        return {
            "answered 200": len(self.accepted),
            "owed": len(owed),
            "missing": len(self.missing()),
            "not owed, and arrived": self._books.unowed.value,
            "arrived as two deliveries": self._books.doubled.value,
            "arrived again": sum(self._books.times[order] - 1 for order in owed),
            "dead letters": dead,
            "refused and sent again": self.refused,
            "events that were purged": len(self.accepted) - stored,
        }


@contextlib.contextmanager
def soaking(folder: Path, capacity: int, pace: float) -> Iterator[tuple[Soak, Faults]]:
    """A gateway, its destination, and what will happen to it; ended at the end of the block."""
    books = Books(capacity)
    port, admin = free_port(), free_port()
    with sink(books) as sink_port:

        def config(number: int) -> str:
            return CONFIG.format(
                port=port, admin=admin, secret=SECRET, sink=sink_port, number=number, unowed=UNOWED_EACH,
                retention=int(RETENTION_SECONDS / pace),
            )  # fmt: skip

        path = folder / "gateway.yaml"
        path.write_text(config(0))
        purge_seconds = str(PURGE_EACH_SECONDS / pace)
        command = [sys.executable, "-m", "bench.soak_gateway", purge_seconds, "--config", str(path), "serve"]
        with program(command, folder, port, "/readyz", end=signal.SIGTERM) as process:
            yield Soak(folder, port, process.pid, books), Faults(folder, port, config, books, pace)


def measure(
    options: argparse.Namespace, tell: Callable[[dict[str, Any]], None]
) -> tuple[list[dict[str, float]], dict[str, int]]:
    """The windows; and what happened, with the books at the end."""
    capacity = BATCH + 1 + int(options.seconds * (options.rate or MOST_RATE))
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as base,
        soaking(Path(base), capacity, options.pace) as (soak, faults),
    ):
        rate = options.rate
        if not rate:
            saturation = soak.saturation()
            rate = min(saturation / 2, MOST_RATE)
            tell({"saturation": saturation})
        tell({"rate": rate})
        windows = []
        faults.start()
        start = time.perf_counter()
        for number in range(int(options.seconds // WINDOW_SECONDS)):
            at = number * WINDOW_SECONDS
            window = {"second": at, "calm": is_calm(at), **soak.window(rate, start + at + LEAD_SECONDS)}
            windows.append(window)
            tell(window)
        faults.stop()
        books = soak.finish()
        tell(faults.done | books)
        return windows, faults.done | books


def medians(windows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Of the windows without faults, where there is one."""
    calm = [window for window in windows if window["calm"]] or windows
    return {name: statistics.median(window[name] for window in calm) for name in windows[0]}


def growth(windows: Sequence[dict[str, float]]) -> dict[str, float]:
    """The last sixth by the second: the first one fills caches."""
    sixth = len(windows) // 6
    before, after = medians(windows[sixth : 2 * sixth]), medians(windows[-sixth:])
    return {name: after[name] / before[name] for name in MOST_GROWTH}


def report(windows: Sequence[dict[str, float]]) -> None:
    """A table of sixths."""
    sixth = max(1, len(windows) // 6)
    rows = []
    names = [name for name in windows[0] if name not in ("second", "calm", "sent again")]
    for start in range(0, sixth * 6, sixth):
        part = windows[start : start + sixth]
        if part:
            middle = medians(part)
            worst = max(window["200: p99 ms"] for window in part)
            rows.append([f"{part[0]['second'] / 60:.0f}", *(f"{middle[name]:.1f}" for name in names), f"{worst:.0f}"])
    print(table(["from minute", *names, "worst window, 200: p99 ms"], rows))


def plot(windows: Sequence[dict[str, float]]) -> str:
    """Memory, file descriptors and latency by minute."""
    per_minute = int(60 / WINDOW_SECONDS)
    minutes = [windows[at : at + per_minute] for at in range(0, len(windows), per_minute)]
    x = Axis("minute", [*range(0, len(minutes), 10), len(minutes)] if len(minutes) > 10 else [0, len(minutes)])

    def panel(title: str, name: str, y: Axis) -> Panel:
        calm = [(place + 0.5, medians(part)[name]) for place, part in enumerate(minutes)]
        worst = [(place + 0.5, max(window[name] for window in part)) for place, part in enumerate(minutes)]
        return Panel(title, x, y, [Series("windows without faults", calm), Series("the worst window", worst)])

    milliseconds = Axis("ms", [1, 10, 100, 1000, 10_000], is_log=True)
    return chart(
        [
            panel("Memory", "memory MB", Axis("MB", [0, 50, 100, 150, 200])),
            panel("File descriptors", "file descriptors", Axis("open", [1, 10, 100, 1000, 10_000], is_log=True)),
            panel("p99 of the 200s", "200: p99 ms", milliseconds),
            panel("p99 from 200 to arrival", "arrival: p99 ms", milliseconds),
        ]
    )


def main() -> None:
    """Runs everything, prints Markdown, and ends with 1 where something is not as it must be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--rate", type=float, help="events a second; left out: half of saturation")
    parser.add_argument("--svg", type=Path)
    parser.add_argument("--results", type=Path, help="each window as a line of JSON")
    parser.add_argument("--pace", type=float, default=1.0, help="of faults and purges")
    options = parser.parse_args()

    def tell(result: dict[str, Any]) -> None:
        print(json.dumps(result), file=sys.stderr, flush=True)
        if options.results:
            with options.results.open("a") as file:
                file.write(json.dumps(result) + "\n")

    windows, books = measure(options, tell)
    report(windows)
    print("\n" + "\n".join(f"{name}: {count:,}" for name, count in books.items()))
    if options.svg:
        options.svg.write_text(plot(windows))
    wrong = [
        name
        for name in ("missing", "not owed, and arrived", "arrived as two deliveries", "dead letters")
        if books[name]
    ]
    if len(windows) >= 12:
        grown = growth(windows)
        print("\n" + "\n".join(f"{name}: last sixth by the second {ratio:.2f}" for name, ratio in grown.items()))
        if options.pace == 1:
            wrong += [name for name, most in MOST_GROWTH.items() if grown[name] > most]
    if wrong:
        print(f"\nnot as it must be: {', '.join(wrong)}")
        sys.exit(1)


if __name__ == "__main__":
    main()
