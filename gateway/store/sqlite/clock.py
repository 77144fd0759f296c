"""What becomes of a file's times when the system's clock is put back: what was to come later comes by as much sooner.

Otherwise what waits, and what arrived by the wrong time and has not begun, would wait for the clock to catch up.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable

LEAST_MS = 1000  # less is only waited for


def steady_ms() -> int:
    """Milliseconds by a clock that nobody sets."""
    return time.monotonic_ns() // 1_000_000


class ClockWatch:
    """Compares the clock with one that nobody sets. Of any thread."""

    def __init__(self, clock_ms: Callable[[], int], steady_ms: Callable[[], int]) -> None:
        self._clock_ms = clock_ms
        self._steady_ms = steady_ms
        self._lock = threading.Lock()
        self._most_ahead_ms = clock_ms() - steady_ms()  # that may have been written since the last look

    def now_ms(self) -> int:
        """The clock, for what is written: by its time the clock may have been put back when it is looked at next."""
        with self._lock:
            now = self._clock_ms()
            self._most_ahead_ms = max(self._most_ahead_ms, now - self._steady_ms())
        return now

    def put_back_ms(self) -> int:
        """By how much the clock was put back, until `brought_forward` is called; 0: not so that it matters."""
        with self._lock:
            ahead = self._clock_ms() - self._steady_ms()
            back = self._most_ahead_ms - ahead
            if back < LEAST_MS:
                self._most_ahead_ms = ahead
        return back if back >= LEAST_MS else 0

    def brought_forward(self, by_ms: int) -> None:
        """What was written by the wrong time is right."""
        with self._lock:
            self._most_ahead_ms -= by_ms


def bring_forward(connection: sqlite3.Connection, by_ms: int, now_ms: int) -> None:
    """Deliveries that wait, pauses and leases end so much earlier, though not before now."""
    for table, column, also, which in (
        (
            "deliveries",
            "due_at",
            ", claimed_at = min(claimed_at, ?1)",
            "state = 'pending' AND waits_until IS NULL AND ",  # what waits by the calendar goes on doing so
        ),
        ("connections", "until", ", since = min(since, ?1)", ""),
        ("leases", "until_at", "", ""),
    ):
        connection.execute(
            f"UPDATE {table} SET {column} = max(?1, {column} - ?2){also} WHERE {which}{column} > ?1", (now_ms, by_ms)
        )
