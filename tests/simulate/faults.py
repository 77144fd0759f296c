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

from gateway.core import later as core_later
from gateway.core.model import ActionUse, Claim, Event, PlannedDelivery, Route
from gateway.delivery import attempt
from gateway.delivery.fetch import StripeFetcher
from gateway.delivery.leases import Leases
from gateway.intake.webhook import Intake
from gateway.store.answers import Added
from gateway.store.sqlite import intake as store_intake
from gateway.store.sqlite import maintenance, queue
from gateway.store.sqlite.store import SqliteStore
from gateway.store.sqlite.waiting import plan_waits
from tests.simulate.place import Place, fix_hashes, place
from tests.simulate.scenario import run_seed
from tests.simulate.store import SharedSqlite

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


def _waits_lost_at_start() -> contextlib.AbstractContextManager[Any]:
    recover = queue.recover

    def forgets(connection: sqlite3.Connection, now_ms: int) -> int:
        connection.execute("UPDATE deliveries SET due_at = ? WHERE state = 'pending'", (now_ms,))
        return recover(connection, now_ms)

    return patch.object(queue, "recover", forgets)


def _waits_lost_at_take_over() -> contextlib.AbstractContextManager[Any]:
    take_over = SharedSqlite._take_over

    def forgets(self: SharedSqlite, connection: sqlite3.Connection) -> None:
        connection.execute("UPDATE deliveries SET due_at = ? WHERE state = 'pending'", (self._now_ms(),))
        take_over(self, connection)

    return patch.object(SharedSqlite, "_take_over", forgets)


def _planned_for_now() -> contextlib.AbstractContextManager[Any]:
    return patch.object(core_later, "planned_for", lambda *args: None)


def _without(**changes: Any) -> Fault:
    """An attempt does not know that of its action's `during`, `still_if`."""

    def plant() -> contextlib.AbstractContextManager[Any]:
        find = attempt.find

        def without(claim: Claim, context: attempt.AttemptContext) -> tuple[Route, ActionUse]:
            route, use = find(claim, context)
            return route, use if use.later is None else replace(use, later=replace(use.later, **changes))

        return patch.object(attempt, "find", without)

    return plant


def _until_ignored() -> contextlib.AbstractContextManager[Any]:
    return patch.object(store_intake, "keep_endings", lambda *args: set())


def _until_forgotten() -> contextlib.AbstractContextManager[Any]:
    """An event that comes before what it cancels cancels nothing."""
    return patch.object(store_intake, "plan_waits", lambda *args: plan_waits(*args) and set())


def _not_fetched_again() -> contextlib.AbstractContextManager[Any]:
    """When the time has come, the object is as it was when the event came."""
    fetch = StripeFetcher.fetch

    async def once(self: StripeFetcher, claim: Claim, event: Any, account: Any, asked: Any) -> Any:
        return await fetch(self, claim, event, account, replace(asked, again=False))

    return patch.object(StripeFetcher, "fetch", once)


FAULTS: dict[str, tuple[Fault, str, int]] = {
    "answered before committed": (_answered_before_committed, "was answered 200, and is nowhere", 46),
    "lease not renewed": (_lease_not_renewed, "runs twice at once", 0),
    "needs ignored": (_needs_ignored, "which it needs, is", 0),
    "turn not passed on": (_turn_not_passed_on, r"(save|receipt|ship|count|odd|thank)\) is pending for ever", 0),
    "owed is purged": (_owed_is_purged, "was purged, and its", 19),
    "attempt not counted": (_attempt_not_counted, r"times, and \d are allowed", 0),
    "waits lost at a start": (_waits_lost_at_start, "before its time", 14),
    "waits lost at a take-over": (_waits_lost_at_take_over, "before its time", 1),
    "after and at ignored": (_planned_for_now, "before its time", 0),
    "during ignored": (_without(during=None), "outside its hours", 0),
    "still_if not asked": (_without(still_if=None), "it is no longer so", 7),
    "not fetched again": (_not_fetched_again, "it is no longer so", 7),
    "until ignored": (_until_ignored, "has cancelled it", 2),
    "until forgets what came before": (_until_forgotten, "has cancelled it", 7),
}
"""What is planted, how the simulator tells of it, and a seed that found it."""


@contextlib.contextmanager
def planted(name: str) -> Iterator[re.Pattern[str]]:
    """The gateways have that fault meanwhile."""
    plant, told, _ = FAULTS[name]
    with plant():
        yield re.compile(told)


def first_seed(name: str, seeds: int, at: Place) -> tuple[int, str] | None:
    """A seed that finds a planted fault, and what it says: the one that did before, else the first of so many; None:
    none of them.
    """
    with planted(name) as told:
        for seed in (FAULTS[name][2], *range(seeds)):
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
