"""The books of what acts later: nothing acts before its time, outside its hours, when it is no longer so, or once it is
cancelled; and what is said to be cancelled or no longer so is.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tests.simulate.config import AFTER_SECONDS, AT, CANCELLED_BY_UNTIL, HOURS, JUDGED_AGAIN
from tests.simulate.loop import Process, SimulatedLoop
from tests.simulate.machinery import EPOCH

ATTEMPT_SECONDS = 25.0  # from the beginning of an attempt to its action's, at most, and a little


@dataclass(frozen=True)
class Dunned:
    """An event that waits, as it was sent."""

    account: str
    number: str  # what cancels it has the same
    happened_at: int  # Unix seconds, as all times here
    call_at: int | None
    object_id: str
    sent_at: float


@dataclass(frozen=True)
class Ending:
    """An event that cancels what waits."""

    account: str
    number: str
    happened_at: int


class LaterBooks:
    """One a scenario. `inbox` asks the store's file, `finds` is told what must not be."""

    def __init__(
        self, loop: SimulatedLoop, inbox: Callable[..., Sequence[sqlite3.Row]], finds: Callable[[str], None]
    ) -> None:
        self._loop = loop
        self._inbox = inbox
        self._finds = finds
        self.waiting: dict[str, Dunned] = {}
        self.endings: dict[str, Ending] = {}
        self.closed_at: dict[str, float] = {}  # by object: when it is no longer open
        self.versions = {0}  # of the configuration, of all that were in force
        self.skew_seconds = 0.0  # between clocks, at most
        self._was_ahead_until = -math.inf  # a clock, by the world's time
        self._claims_at_end: dict[str, Mapping[str, str]] = {}  # by ending, at its 200: who ran, by which claim

    def _now(self) -> float:
        return EPOCH + self._loop.now

    def clock_is_set(self, ahead: float) -> None:
        """The store's, or set right with 0."""
        if ahead > 0:
            self._was_ahead_until = math.inf
        elif self._was_ahead_until == math.inf:
            self._was_ahead_until = self._now()

    def answered(self, event_id: str) -> None:
        """An event got its first 200."""
        if event_id in self.endings:
            rows = self._inbox("SELECT id, token FROM deliveries WHERE state = 'running'")
            self._claims_at_end[event_id] = {row["id"]: row["token"] for row in rows}

    def is_closed(self, object_id: str, seconds_ago: float = 0.0) -> bool:
        """Whether an object is no longer open, and was not then."""
        return self.closed_at.get(object_id, self._now()) < self._now() - seconds_ago

    def begins(self, delivery_id: str, action: str, process: Process) -> None:
        """An action runs that nobody has revived or excused."""
        sql = "SELECT e.id, d.token FROM deliveries d JOIN events e ON e.seq = d.event_seq WHERE d.id = ?"
        for row in self._inbox(sql, delivery_id):
            what, event = f"{delivery_id} ({action})", self.waiting.get(row["id"])
            if event is not None:
                self._check_time(what, action, event, process)
                if action == JUDGED_AGAIN and self.is_closed(event.object_id, ATTEMPT_SECONDS):
                    self._finds(f"{what} runs, and it is no longer so")
                if action in CANCELLED_BY_UNTIL:
                    self._check_until(what, delivery_id, event, row["token"])

    def _check_time(self, what: str, action: str, event: Dunned, process: Process) -> None:
        if self._was_ahead_until >= event.sent_at:
            return
        earliest: float = (event.call_at or 0) if action == AT else event.happened_at
        if action in AFTER_SECONDS:
            earliest += min(
                seconds for version, seconds in enumerate(AFTER_SECONDS[action]) if version in self.versions
            )
        if self._now() < earliest - self.skew_seconds:
            self._finds(f"{what} runs {earliest - self._now():.3f} s before its time")
        versions = process.followed(self._loop.now - ATTEMPT_SECONDS)
        if action == AT and versions == {0}:
            moments = [self._now() + ahead for ahead in (process.clock_ahead, process.was_ahead)]
            if not any(_is_within_hours(now - ATTEMPT_SECONDS) or _is_within_hours(now) for now in moments):
                self._finds(f"{what} runs outside its hours")

    def _check_until(self, what: str, delivery_id: str, event: Dunned, token: str | None) -> None:
        for event_id, claims in self._claims_at_end.items():
            ending = self.endings[event_id]
            is_cancelled = _cancels(ending, event) and ending.happened_at > event.happened_at
            if is_cancelled and (token is None or claims.get(delivery_id) != token):
                self._finds(f"{what} runs, though {event_id} has cancelled it")

    def check_cancelled(self, what: str, reason: str, event_id: str) -> None:
        """At the end, of what is cancelled for an event of its `until`."""
        event, ending = self.waiting.get(event_id), self.endings.get(reason.split()[1])
        if event is None or ending is None or not _cancels(ending, event):
            self._finds(f"{what} is cancelled by what has nothing to do with it: {reason}")
        elif ending.happened_at < event.happened_at:
            self._finds(f"{what} is cancelled by what happened before it: {reason}")

    def check_no_longer(self, what: str, event_id: str) -> None:
        """At the end, of what is skipped for its `still_if`."""
        event = self.waiting.get(event_id)
        if event is None or not self.is_closed(event.object_id):
            self._finds(f"{what} is no longer so, and it is")


def _cancels(ending: Ending, event: Dunned) -> bool:
    return (ending.account, ending.number) == (event.account, event.number)


def _is_within_hours(moment: float) -> bool:
    minute = int(moment % 86_400 // 60)
    return any(begins <= minute < ends for begins, ends in HOURS)
