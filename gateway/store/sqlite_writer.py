"""One thread writes to one SQLite file, in group commits: all that was asked while the last one ran is the next.

A commit waits for the disk (`synchronous=FULL`); sharing it among everybody who waits is what makes it cheap.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from gateway.errors import StoreError, StoreUnavailable
from gateway.model import Event, PlannedDelivery

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], Any]
Arrival = tuple[Event, Sequence[PlannedDelivery]]

MOST_IN_A_COMMIT = 512  # bounds how long one commit takes, and so how long the first in it waits
POLL_SECONDS = 0.5  # how soon another process's changes are seen


def connect(path: Path) -> sqlite3.Connection:
    """A connection as every part of the store wants it. Raises StoreUnavailable."""
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA wal_autocheckpoint=1000")
        connection.execute("PRAGMA cache_size=-16384")
    except sqlite3.Error as error:
        raise StoreUnavailable(f"cannot open {path}: {error}") from None
    return connection


class Writer:
    """The thread and its queue. Made and used on the event loop's thread."""

    def __init__(
        self,
        path: Path,
        add: Callable[[sqlite3.Connection, Sequence[Arrival]], list[bool]],
        changed: Callable[[], None],
    ) -> None:
        self._connection = connect(path)
        self._path = path
        self._add = add
        self._changed = changed  # called on the loop: something was committed, here or by another process
        self._loop = asyncio.get_running_loop()
        self._arrivals: list[tuple[Arrival, asyncio.Future[bool]]] = []
        self._works: list[tuple[Work, asyncio.Future[Any]]] = []
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._stopping = False
        self.failure: StoreUnavailable | None = None  # of the last commit
        self._thread = threading.Thread(target=self._run, name="gateway-store", daemon=True)
        self._thread.start()

    def add(self, arrival: Arrival) -> asyncio.Future[bool]:
        """Whether the event was new, once that is durable."""
        future: asyncio.Future[bool] = self._loop.create_future()
        with self._lock:
            self._refuse_when_stopped()
            self._arrivals.append((arrival, future))
        self._wake.set()
        return future

    def do(self, work: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """What `work` returned, once it is durable. If it raises, its own changes are undone and nobody else's."""
        future: asyncio.Future[T] = self._loop.create_future()
        with self._lock:
            self._refuse_when_stopped()
            self._works.append((work, future))
        self._wake.set()
        return future

    async def stop(self) -> None:
        """Finishes what was asked, then closes the file."""
        self._stopping = True
        self._wake.set()
        await asyncio.to_thread(self._thread.join)

    def _refuse_when_stopped(self) -> None:
        if self._stopping:
            raise StoreUnavailable("the store is closed")

    # -- on the writer's thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        seen_version = self._data_version()
        while True:
            self._wake.wait(POLL_SECONDS)
            with self._lock:
                self._wake.clear()
                arrivals, self._arrivals = self._arrivals[:MOST_IN_A_COMMIT], self._arrivals[MOST_IN_A_COMMIT:]
                works, self._works = self._works, []
                if self._arrivals:
                    self._wake.set()
                finished = self._stopping and not self._arrivals and not self._works
            if arrivals or works:
                self._commit(arrivals, works)
            version = self._data_version()
            if version != seen_version:
                seen_version = version
                self._tell(self._changed)
            if finished:
                break
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()

    def _data_version(self) -> int:
        """Changes when another connection has committed, and only then."""
        with contextlib.suppress(sqlite3.Error):
            version: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
            return version
        return -1

    def _commit(
        self, arrivals: list[tuple[Arrival, asyncio.Future[bool]]], works: list[tuple[Work, asyncio.Future[Any]]]
    ) -> None:
        answers: list[tuple[asyncio.Future[Any], Any, BaseException | None]] = []
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            if arrivals:
                news = self._add(self._connection, [arrival for arrival, _ in arrivals])
                answers += [(future, new, None) for (_, future), new in zip(arrivals, news, strict=True)]
            for work, future in works:
                answers.append((future, *self._try(work)))
            self._connection.execute("COMMIT")
            self.failure = None
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            failure = StoreUnavailable(f"cannot commit to {self._path.name}: {error}")
            self.failure = failure
            answers = [(future, None, failure) for _, future in (*arrivals, *works)]
        self._tell(lambda: self._answer(answers))

    def _try(self, work: Work) -> tuple[Any, BaseException | None]:
        self._connection.execute("SAVEPOINT work")
        try:
            result = work(self._connection)
        except sqlite3.OperationalError:
            raise  # disk full and the like: the whole commit fails
        except Exception as error:
            self._connection.execute("ROLLBACK TO work")
            self._connection.execute("RELEASE work")
            return None, error if isinstance(error, StoreError) else StoreError(f"{type(error).__name__}: {error}")
        self._connection.execute("RELEASE work")
        return result, None

    def _tell(self, what: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(what)

    def _answer(self, answers: list[tuple[asyncio.Future[Any], Any, BaseException | None]]) -> None:
        for future, result, error in answers:
            if future.done():
                continue
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)
        if answers:
            self._changed()
