"""Faults to plant, each of which the simulator must find: whether it looks at all is tested so."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from gateway.core.model import Claim, Event, PlannedDelivery
from gateway.delivery.leases import Leases
from gateway.intake.webhook import Intake
from gateway.store.answers import Added
from gateway.store.sqlite import maintenance, queue
from gateway.store.sqlite.store import SqliteStore
from tests.simulate.place import Place, fix_hashes, place
from tests.simulate.scenario import run_seed

MOST_SEEDS = 2000  # within which each must be found

Fault = Callable[[], contextlib.AbstractContextManager[Any]]


def _answered_before_committed() -> contextlib.AbstractContextManager[Any]:
    async def add(self: SqliteStore, event: Event, planned: Sequence[PlannedDelivery]) -> Added:
        self._writing().add((event, planned))
        return Added(is_duplicate=False)

    return patch.object(SqliteStore, "add", add)


def _lease_not_renewed() -> contextlib.AbstractContextManager[Any]:
    async def renew(self: Leases) -> set[str]:
        return set()

    return patch.multiple(Leases, renew=renew, is_lost=lambda self, delivery_id: False)


def _needs_ignored() -> contextlib.AbstractContextManager[Any]:
    route = Intake.route

    def without(self: Intake, event: Event) -> tuple[Event, list[PlannedDelivery]]:
        routed, planned = route(self, event)
        return routed, [replace(one, needs=()) for one in planned]

    return patch.object(Intake, "route", without)


def _turn_not_passed_on() -> contextlib.AbstractContextManager[Any]:
    return patch.object(queue, "pass_turn", lambda connection, **keys: None)


def _owed_is_purged() -> contextlib.AbstractContextManager[Any]:
    return patch.object(maintenance, "_KEPT", maintenance._KEPT.replace("('pending', 'running')", "('running')"))


def _attempt_not_counted() -> contextlib.AbstractContextManager[Any]:
    claim = queue.claim

    def uncounted(connection: sqlite3.Connection, *args: Any) -> list[Claim]:
        claims = claim(connection, *args)
        marks = [(one.delivery.id,) for one in claims]
        connection.executemany("UPDATE deliveries SET attempts = 1 WHERE id = ?", marks)
        return [replace(one, delivery=replace(one.delivery, attempts=1)) for one in claims]

    return patch.object(queue, "claim", uncounted)


FAULTS: dict[str, tuple[Fault, str]] = {
    "answered before committed": (_answered_before_committed, "was answered 200, and is nowhere"),
    "lease not renewed": (_lease_not_renewed, "runs twice at once"),
    "needs ignored": (_needs_ignored, "which it needs, is"),
    "turn not passed on": (_turn_not_passed_on, r"(save|receipt|ship|count|odd|thank)\) is pending for ever"),
    "owed is purged": (_owed_is_purged, "was purged, and its"),
    "attempt not counted": (_attempt_not_counted, r"times, and \d are allowed"),
}
"""What is planted, and how the simulator tells of it."""


@contextlib.contextmanager
def planted(name: str) -> Iterator[re.Pattern[str]]:
    """The gateways have that fault meanwhile."""
    plant, told = FAULTS[name]
    with plant():
        yield re.compile(told)


def first_seed(name: str, seeds: int, at: Place) -> tuple[int, str] | None:
    """The first seed that finds a planted fault, and what it says; None: none of so many."""
    with planted(name) as told:
        for seed in range(seeds):
            for finding in run_seed(seed, *at).findings:
                if told.search(finding):
                    return seed, finding
    return None


def main() -> int:
    """python -m tests.simulate.faults: plants each, and tells which seed finds it."""
    missed = 0
    with place() as at:
        for name in FAULTS:
            found_by = first_seed(name, MOST_SEEDS, at)
            missed += found_by is None
            told = f"not found by {MOST_SEEDS} seeds" if found_by is None else f"seed {found_by[0]}: {found_by[1]}"
            print(f"{name}: {told}", flush=True)
    return min(1, missed)


if __name__ == "__main__":
    fix_hashes()
    sys.exit(main())
