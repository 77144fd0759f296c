"""What the benchmarks share: free ports, signed requests in a file, started programs, wrk's figures."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gateway.testing import make_event, make_event_id, signed_request

BENCH = Path(__file__).resolve().parent
SECRET = "whsec_bench"
BODY_BYTES = 3500
EVENTS_A_SECOND = 5000  # as many are made in one second of Stripe's clock
MOST_A_SECOND = 16_000  # so many requests are made for each second of wrk: one that is sent again costs less


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def event_body(order: int, first: int = 0) -> bytes:
    """A distinct checkout.session.completed of 3.5 KB, as Stripe prints it. `first`: the order of the first."""
    created = int(time.time()) - 100 + (order - first) // EVENTS_A_SECOND  # Stripe's ids sort by it
    event = make_event(
        "checkout.session.completed",
        id=make_event_id(created),
        created=created,
        object={"metadata": {"order_id": str(order), "padding": ""}},
    )
    body = json.dumps(event, indent=2)
    event["data"]["object"]["metadata"]["padding"] = "x" * (BODY_BYTES - len(body))
    return json.dumps(event, indent=2).encode()


def signed_requests(
    count: int, target: str = "/webhooks/acme", secret: str = SECRET, first: int = 0
) -> Iterator[tuple[str, bytes]]:
    """Ids and signed requests of distinct events, whose `metadata.order_id` counts from `first`."""
    for order in range(first, first + count):
        if (order - first) % EVENTS_A_SECOND == 0:  # the others of that second differ from its first in two places
            pattern, pattern_order = event_body(order, first), b'"order_id": "%d"' % order
            event = json.loads(pattern)
        event_id = make_event_id(event["created"])
        body = pattern.replace(event["id"].encode(), event_id.encode())
        body = body.replace(pattern_order, b'"order_id": "%d"' % order)
        headers = "".join(f"{name}: {value}\r\n" for name, value in signed_request(body, secret).items())
        head = (
            f"POST {target} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: Stripe/1.0\r\n{headers}"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        yield event_id, head.encode() + body


def write_requests(path: Path, count: int, target: str = "/webhooks/acme", secret: str = SECRET) -> None:
    """Signed requests of distinct events, as bench/requests.lua reads them."""
    with path.open("wb") as file:
        for _, request in signed_requests(count, target, secret):
            file.write(b"%010d" % len(request) + request)


@contextlib.contextmanager
def program(
    command: Sequence[str], folder: Path, port: int, path: str = "/", end: signal.Signals = signal.SIGTERM
) -> Iterator[subprocess.Popen[bytes]]:
    """A started program that answers at the port; ended on exit, by that signal."""
    log = folder / f"{Path(command[0]).name}-{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output)
    try:
        wait_ready(process, port, path, log)
        yield process
    finally:
        process.send_signal(end)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_ready(process: subprocess.Popen[bytes], port: int, path: str, log: Path) -> None:
    """Returns once something answers. Raises RuntimeError where the program ends or is silent."""
    for _ in range(3000):
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended: {log.read_text()[-2000:]}")
        with contextlib.suppress(OSError):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5).close()
                return
            except urllib.error.HTTPError:
                return
        time.sleep(0.01)
    raise RuntimeError(f"{process.args!r} does not answer: {log.read_text()[-2000:]}")


def wrk(port: int, requests: Path, connections: int, seconds: float) -> dict[str, float]:
    """One run of wrk: requests, seconds, bad, timeouts, p50_ms, p99_ms and rate (per second)."""
    done = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--timeout", "10s", "-s", str(BENCH / "requests.lua"),
         f"http://127.0.0.1:{port}/webhooks/acme"],
        env={**os.environ, "REQUESTS": str(requests)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    figures["rate"] = figures["requests"] / figures["seconds"]
    return figures


def gateway_command(config: Path) -> list[str]:
    """What starts the gateway of this checkout."""
    return [sys.executable, "-m", "gateway", "--config", str(config), "serve"]


def percentile(values: Sequence[float], share: float) -> float:
    """The value that such a share of the values do not pass; not a number where there are none."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else math.nan


def median_ratio(rounds: Sequence[Mapping[str, Mapping[str, float]]], ours: str, peer: str, figure: str) -> float:
    """The median over rounds of ours / peer."""
    return statistics.median(one[ours][figure] / one[peer][figure] for one in rounds)


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def kept(results: Path | None, measured: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is measured now, each told on stderr and added to the file; before it what the file held already, so that
    rounds can be run one at a time, with pauses.
    """
    found = [json.loads(line) for line in results.read_text().splitlines()] if results and results.exists() else []
    for one in measured:
        line = json.dumps(one)
        print(line, file=sys.stderr, flush=True)
        if results is not None:
            with results.open("a") as file:
                file.write(line + "\n")
        found.append(one)
    return found
