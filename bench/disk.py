"""What a finished event with one forward takes on the disk, on both stores, and what its commit takes of the processor.

    .venv/bin/python -m bench.disk [--events 2000] [--before PYTHON]

Events are checkout sessions of 3.5 KB as Stripe prints them, each with names, ids and amounts of its own; nginx takes
the forwards. The bytes are those that the second half of the events adds to the store's files once nothing is owed: to
SQLite's after a checkpoint, to PostgreSQL's tables and indexes after VACUUM, which runs after every 500. `--before`:
the interpreter of another version's environment, measured beside.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import string
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.figures import table
from bench.intake import nginx_sink
from bench.intake_postgres import POSTGRES_CONFIG, postgres_server
from bench.programs import free_port, program
from bench.stores import is_postgres, select
from bench.traffic import SECRET
from gateway.core.envelope import parse_event
from gateway.store import open_store
from gateway.store.encoding.store import with_codec
from gateway.store.encryption.keyring import Keyring
from gateway.testing import make_event, make_event_id, signed_request

BODY_BYTES = 3500
CONCURRENCY = 16
LONGEST_SECONDS = 300
PART = 500  # events between two vacuums, of which a store at work has one every thousand or so
OFTEN_NULL = ("after_expiration", "consent", "custom_fields", "invoice_creation", "recovered_from", "shipping_options")
"""Fields that are left out, one after another, until a body has its size."""


def letters(noise: random.Random, count: int) -> str:
    return "".join(noise.choices(string.ascii_letters + string.digits, k=count))


def session_event(noise: random.Random) -> bytes:
    """A checkout.session.completed of about BODY_BYTES that resembles no other more than Stripe's do."""
    name = f"{letters(noise, 7).title()} {letters(noise, 9).title()}"
    now = int(time.time()) - noise.randrange(100)
    details: dict[str, Any] = {
        "address": {
            "city": letters(noise, 8).title(), "country": noise.choice(["DE", "FR", "US", "GB", "NL"]),
            "line1": f"{letters(noise, 10)} {noise.randrange(200)}", "line2": None,
            "postal_code": str(noise.randrange(10_000, 99_999)), "state": None,
        },
        "business_name": None, "email": f"{letters(noise, 10).lower()}@{letters(noise, 8).lower()}.example",
        "individual_name": None, "name": name, "phone": f"+49{noise.randrange(10**10)}", "tax_exempt": "none",
        "tax_ids": [],
    }  # fmt: skip
    amount = noise.randrange(100, 99_999)
    changes = {
        "id": f"cs_test_{letters(noise, 58)}", "amount_total": amount, "amount_subtotal": amount,
        "client_reference_id": f"order-{noise.randrange(10**7)}", "customer": f"cus_{letters(noise, 14)}",
        "customer_details": details, "payment_intent": f"pi_3{letters(noise, 23)}",
        "metadata": {"order_id": str(noise.randrange(10**7)), "cart": letters(noise, 24)},
    }  # fmt: skip
    event = make_event(id=make_event_id(now), created=now, object=changes)
    session = event["data"]["object"]
    for field in (*OFTEN_NULL, *(field for field in sorted(session) if session[field] is None)):
        if len(json.dumps(event, indent=2)) <= BODY_BYTES:
            break
        session.pop(field, None)
    event["data"]["object"] = {field: session[field] for field in sorted(session)}
    return json.dumps(event, indent=2).encode()


def stored_bytes(url: str, folder: Path) -> int:
    """What the store's files take, once what is free in them is known."""
    if not is_postgres(url):
        select(url, folder, "PRAGMA wal_checkpoint(TRUNCATE)")
        return (folder / url.removeprefix("sqlite:///")).stat().st_size
    return asyncio.run(_vacuumed_bytes(url))


async def _vacuumed_bytes(url: str) -> int:
    import asyncpg

    connection = await asyncpg.connect(url)
    await connection.execute("SET search_path TO gateway")
    for name in ("events", "deliveries", "attempts"):
        await connection.execute(f"VACUUM {name}")
    size = "SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_class c WHERE c.relkind = 'r'"
    total: int = await connection.fetchval(f"{size} AND c.relnamespace = 'gateway'::regnamespace")
    await connection.close()
    return total


def post(port: int, bodies: Sequence[bytes]) -> None:
    for body in bodies:
        headers = signed_request(body, SECRET)
        request = urllib.request.Request(f"http://127.0.0.1:{port}/webhooks/acme", data=body, headers=headers)
        urllib.request.urlopen(request, timeout=10).close()


def wait_done(url: str, folder: Path, count: int) -> None:
    """Until so many deliveries have succeeded. Raises RuntimeError."""
    deadline = time.monotonic() + LONGEST_SECONDS
    while time.monotonic() < deadline:
        ((done,),) = select(url, folder, "SELECT count(*) FROM deliveries WHERE state = 'succeeded'")
        if done == count:
            return
        time.sleep(0.2)
    raise RuntimeError(f"deliveries are left after {LONGEST_SECONDS} s")


def bytes_an_event(python: str, url: str, folder: Path, count: int) -> float:
    """What the second half of the events adds to the store."""
    noise = random.Random(count)
    bodies = [session_event(noise) for _ in range(count)]
    port = free_port()
    with nginx_sink(folder) as sink:
        config = folder / f"gateway-{port}.yaml"
        config.write_text(
            POSTGRES_CONFIG.format(
                port=port, admin=free_port(), store=url, secret=SECRET, sink=sink, concurrency=CONCURRENCY
            )
        )
        with program([python, "-m", "gateway", "--config", str(config), "serve"], folder, port):
            sizes = [0]
            for first in range(0, count, PART):
                post(port, bodies[first : first + PART])
                wait_done(url, folder, first + PART)
                sizes.append(stored_bytes(url, folder))
    half = len(sizes) // 2
    return (sizes[-1] - sizes[half]) / (PART * (len(sizes) - 1 - half))


async def commit_seconds(url: str, folder: Path, compresses: bool, bodies: Sequence[bytes]) -> float:
    """Seconds of the processor to parse and commit one event, sixteen at a time."""
    opened = open_store(url, folder)
    await opened.start()
    store = await with_codec(opened, Keyring(()), compresses=compresses, strict=True)
    start = time.process_time()
    for first in range(0, len(bodies), CONCURRENCY):
        events = [parse_event(body, "acme", datetime.now(UTC)) for body in bodies[first : first + CONCURRENCY]]
        await asyncio.gather(*(store.add(event, ()) for event in events))
    spent = time.process_time() - start
    await opened.close()
    return spent / len(bodies)


def processor_rows(folder: Path, rounds: int, count: int) -> list[list[Any]]:
    """Microseconds an event on SQLite, with and without, interleaved."""
    noise = random.Random(0)
    took: dict[bool, list[float]] = {False: [], True: []}
    for number in range(rounds):
        for compresses in took:
            bodies = [session_event(noise) for _ in range(count)]
            url = f"sqlite:///{number}-{compresses}.db"
            took[compresses].append(asyncio.run(commit_seconds(url, folder, compresses, bodies)) * 1e6)
    names = {False: "processor time of a commit, as it is", True: "compressed"}
    return [[names[kind], f"{statistics.median(figures):.1f} us"] for kind, figures in took.items()]


def main() -> None:
    """Runs everything and prints Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--before", help="the interpreter of another version's environment")
    options = parser.parse_args()
    versions = {"now": sys.executable} | ({"before": options.before} if options.before else {})
    rows: list[list[Any]] = []
    with ExitStack() as stack:
        base = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        server = stack.enter_context(postgres_server(base / "pg"))
        for name, python in versions.items():
            folder = base / name
            folder.mkdir()
            server.psql(f"CREATE DATABASE {name};")
            for store, url in (("SQLite", "sqlite:///inbox.db"), ("PostgreSQL", server.get_uri(name))):
                size = bytes_an_event(python, url, folder, options.events)
                rows.append([f"bytes a finished event, {store}, {name}", f"{size:,.0f}"])
                print(rows[-1], file=sys.stderr, flush=True)
        rows += processor_rows(base, options.rounds, options.events)
    print(table(["", ""], rows))


if __name__ == "__main__":
    main()
