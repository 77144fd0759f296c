"""What 100,000 deliveries that wait cost: intake, claiming and the console's lists, with them and with none.

python -m bench.waiting [--waiting 100000]. Prints a table for docs/performance.md, of SQLite. In processor time, which
leaves out the disk and what else the machine does.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
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


async def _milliseconds(work: Callable[[int], Awaitable[object]], number: int) -> float:
    began = time.process_time()
    await work(number)
    return (time.process_time() - began) * 1000


def _works(store: SqliteStore) -> dict[str, Callable[[int], Awaitable[object]]]:
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

    async def lanes(number: int) -> None:
        await store.lane_states()

    async def status(number: int) -> None:
        await store.status()

    return {
        f"intake of {BATCH} events": intake,
        f"claiming and finishing {BATCH}": claiming,
        f"intake of {BATCH} events that cancel": cancelling,
        "the list of deliveries": listed,
        "the list of what waits": later,
        "the overview's lanes": lanes,
        "db status": status,
    }


async def _figures(counts: Sequence[int]) -> list[dict[str, float]]:
    """Of each store, the median of rounds that take turns."""
    times: list[dict[str, list[float]]] = [{} for _ in counts]
    async with contextlib.AsyncExitStack() as open_now:
        stores = []
        for count in counts:
            folder = open_now.enter_context(tempfile.TemporaryDirectory())
            stores.append(SqliteStore(Path(folder) / "inbox.db"))
            await stores[-1].start()
            open_now.push_async_callback(stores[-1].close)
            await _fill(stores[-1], count)
        for number in range(ROUNDS):
            for store, of_store in zip(stores, times, strict=True):
                for name, work in _works(store).items():
                    of_store.setdefault(name, []).append(await _milliseconds(work, number))
    return [{name: statistics.median(rounds) for name, rounds in of_store.items()} for of_store in times]


def main() -> None:
    """The command."""
    options = argparse.ArgumentParser(prog="python -m bench.waiting", description=__doc__)
    options.add_argument("--waiting", type=int, default=100_000)
    asked = options.parse_args()
    none, many = asyncio.run(_figures((0, asked.waiting)))
    rows = [[name, f"{none[name]:.1f}", f"{many[name]:.1f}", f"{many[name] / none[name]:.2f}"] for name in none]
    print(table(["milliseconds of processor, the median", "none waits", f"{asked.waiting:,} wait", "ratio"], rows))


if __name__ == "__main__":
    main()
