"""What 100,000 deliveries that wait cost: intake, claiming and the console's lists, with them and with none.

python -m bench.waiting [--waiting 100000]. Prints a table for docs/performance.md, of SQLite.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.figures import table
from gateway.core.model import (
    Attempt,
    AttemptOutcome,
    DeliveryFilter,
    DeliveryState,
    Event,
    EventState,
    Finish,
    PlannedDelivery,
)
from gateway.store.sqlite.store import SqliteStore

ROUNDS = 9
BATCH = 500
SUCCEEDED = Finish(DeliveryState.SUCCEEDED, Attempt(1, datetime.now(UTC), 0.001, AttemptOutcome.SUCCEEDED))


def _event(number: int, kind: str) -> Event:
    now = datetime.now(UTC)
    return Event("acme", f"evt_{kind}_{number}", "invoice.paid", EventState.ROUTED, False, now, b"{}" * 500)


async def _fill(store: SqliteStore, count: int) -> None:
    until = datetime.now(UTC) + timedelta(days=3)
    for first in range(0, count, BATCH):
        await asyncio.gather(
            *(
                store.add(
                    _event(n, "waits"),
                    [PlannedDelivery("r", "remind", is_judged=False, waits_until=until, until_key=f"cus_{n}")],
                )
                for n in range(first, min(count, first + BATCH))
            )
        )


async def _measured(work: Callable[[int], Awaitable[object]]) -> float:
    """Milliseconds, the median of some rounds."""
    times = []
    for number in range(ROUNDS):
        began = time.perf_counter()
        await work(number)
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)


async def _figures(waiting: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStore(Path(folder) / "inbox.db")
        await store.start()
        await _fill(store, waiting)

        async def intake(number: int) -> None:
            events = (_event(number * BATCH + n, "now") for n in range(BATCH))
            await asyncio.gather(*(store.add(event, [PlannedDelivery("r", "remind")]) for event in events))

        async def cancelling(number: int) -> None:
            events = (replace(_event(number * BATCH + n, "ends"), ends=(f"none_{number}_{n}",)) for n in range(BATCH))
            await asyncio.gather(*(store.add(event, []) for event in events))

        async def claiming(number: int) -> None:
            due = await store.due()
            claims = await store.claim(dict.fromkeys(due.lanes, BATCH), lease_seconds=60)
            await asyncio.gather(*(store.finish(claim.delivery.id, claim.token, SUCCEEDED) for claim in claims))

        async def listed(number: int) -> None:
            await store.delivery_page(DeliveryFilter(), limit=50)

        async def later(number: int) -> None:
            await store.delivery_page(DeliveryFilter(waiting=True), limit=50)

        async def status(number: int) -> None:
            await store.status()

        works = {
            f"intake of {BATCH} events": intake,
            f"claiming and finishing {BATCH}": claiming,
            f"intake of {BATCH} events that cancel": cancelling,
            "the list of deliveries": listed,
            "the list of what waits": later,
            "the oldest that is due": status,
        }
        figures = {name: await _measured(work) for name, work in works.items()}
        await store.close()
        return figures


def main() -> None:
    """The command."""
    options = argparse.ArgumentParser(prog="python -m bench.waiting", description=__doc__)
    options.add_argument("--waiting", type=int, default=100_000)
    asked = options.parse_args()
    none, many = asyncio.run(_figures(0)), asyncio.run(_figures(asked.waiting))
    rows = [[name, f"{none[name]:.1f}", f"{many[name]:.1f}", f"{many[name] / none[name]:.2f}"] for name in none]
    print(table(["milliseconds, the median", "none waits", f"{asked.waiting:,} wait", "ratio"], rows))


if __name__ == "__main__":
    main()
