"""What happens to the gateway during the soak: reloads, a destination in trouble, a held lock, floods.

All of it is a function of the second since the start, in turns of two minutes: see `TIMETABLE`. Where the soak has a
pace, so many of these seconds pass in one.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.soak_sink import TROUBLES, WELL, Books
from bench.traffic import signed_requests

TURN_SECONDS = 120
RELOAD_EACH_SECONDS = 10
TIMETABLE = """\
every 10 s  a reload; every third configuration is broken
20, 80      for 5 s the destination answers 503, resets, or does not answer, in turn
40, 100     200 events with a bad signature, and 100 connections that say nothing for 15 s
105         another process holds the database's lock for 1.5 s"""
SINK_SECONDS = 5
LOCK_SECONDS = 1.5
IDLE_CONNECTIONS = 100
BAD_SIGNATURES = 200
CALM = (0, 10, 60, 70)  # of each turn: ten seconds from here are without a fault and what follows it


class Faults(threading.Thread):
    """Runs from `start` until `stop`."""

    def __init__(self, folder: Path, port: int, config: Callable[[int], str], books: Books, pace: float) -> None:
        super().__init__(daemon=True)
        self._pace = pace
        self._folder = folder
        self._port = port
        self._config = config
        self._books = books
        self._over = threading.Event()
        self._troubles = itertools.cycle(TROUBLES.values())
        self._idle: list[socket.socket] = []
        self.done: dict[str, int] = {
            "reloads": 0, "broken configurations": 0, "sink in trouble": 0, "lock held": 0, "bad signatures": 0,
            "idle connections": 0,
        }  # fmt: skip
        self.error: BaseException | None = None

    def stop(self) -> None:
        """Ends it, with everything well. Raises what went wrong in it."""
        self._over.set()
        self.join()
        self._books.mode.value = WELL
        self._let_idle_go()
        if self.error is not None:
            raise self.error

    def run(self) -> None:
        start = time.monotonic()
        try:
            for second in itertools.count(1):
                if self._over.wait(max(0.0, start + second / self._pace - time.monotonic())):
                    return
                self._at(second)
        except BaseException as error:
            self.error = error

    def _at(self, second: int) -> None:
        if second % RELOAD_EACH_SECONDS == 5:
            self._write(second // RELOAD_EACH_SECONDS)
        in_half = second % 60
        if in_half == 20:
            self._books.mode.value = next(self._troubles)
            self.done["sink in trouble"] += 1
        elif in_half == 20 + SINK_SECONDS:
            self._books.mode.value = WELL
        elif in_half == 40:
            self._open_idle()
            self._send_bad()
        elif in_half == 55:
            self._let_idle_go()
        if second % TURN_SECONDS == 105:
            self._hold_lock()

    def _write(self, number: int) -> None:
        broken = number % 3 == 2
        fresh = self._folder / "gateway.yaml.new"
        fresh.write_text("routes: [broken" if broken else self._config(number))
        fresh.replace(self._folder / "gateway.yaml")
        self.done["broken configurations" if broken else "reloads"] += 1

    def _hold_lock(self) -> None:
        with contextlib.closing(sqlite3.connect(self._folder / "gateway.db", timeout=10)) as database:
            database.isolation_level = None
            database.execute("BEGIN IMMEDIATE")
            time.sleep(LOCK_SECONDS)
            database.execute("ROLLBACK")
        self.done["lock held"] += 1

    def _open_idle(self) -> None:
        self._idle = [socket.create_connection(("127.0.0.1", self._port)) for _ in range(IDLE_CONNECTIONS)]
        self.done["idle connections"] += len(self._idle)

    def _let_idle_go(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def _send_bad(self) -> None:
        for request in self._badly_signed():
            with contextlib.closing(socket.create_connection(("127.0.0.1", self._port), timeout=20)) as connection:
                connection.sendall(request)
                status = connection.recv(4096).split(b" ", 2)[1]
            if status != b"401":
                raise RuntimeError(f"a bad signature was answered {status!r}")
            self.done["bad signatures"] += 1

    def _badly_signed(self) -> Iterator[bytes]:
        for _, request in signed_requests(BAD_SIGNATURES, secret="whsec_wrong", first=self._books.capacity):
            yield request


def is_calm(second: float) -> bool:
    """Whether the ten seconds from there are without a fault."""
    return int(second) % TURN_SECONDS in CALM
