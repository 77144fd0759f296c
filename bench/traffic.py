"""The events that the benchmarks send: distinct, signed, in a file; and wrk, which sends them."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from gateway.testing import make_event, make_event_id, signed_request

BENCH = Path(__file__).resolve().parent
SECRET = "whsec_bench"
BODY_BYTES = 3500
FIELDS = (
    "id", "object", "created", "livemode", "amount_subtotal", "amount_total", "client_reference_id", "currency",
    "customer", "customer_details", "metadata", "mode", "payment_intent", "payment_status", "status", "total_details",
)  # fmt: skip
EVENTS_A_SECOND = 5000  # as many are made in one second of Stripe's clock
MOST_A_SECOND = 16_000  # so many requests are made for each second of wrk: one that is sent again costs less


def event_body(order: int, first: int = 0) -> bytes:
    """A distinct checkout.session.completed of 3.5 KB, as Stripe prints it. `first`: the order of the first."""
    created = int(time.time()) - 100 + (order - first) // EVENTS_A_SECOND  # Stripe's ids sort by it
    event = make_event(
        "checkout.session.completed",
        id=make_event_id(created),
        created=created,
        object={"metadata": {"order_id": str(order), "padding": ""}},
    )
    session = event["data"]["object"]
    event["data"]["object"] = {name: session[name] for name in FIELDS}  # whole, it is of more than BODY_BYTES
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
