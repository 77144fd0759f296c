"""One connection writes to one SQLite file, in group commits: all that was asked while the last one ran is the next.

A commit waits for the disk (`synchronous=FULL`); sharing it among everybody who waits is what makes it cheap.
Statements run on the event loop's thread, and only the waiting (for a disk that takes long or a commit that several
share, or for another process's lock) on a thread of its own: statements from a second thread hand Python's lock over at
each, which made them seven times slower.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

from gateway.core.errors import StoreError, StoreUnavailable
from gateway.core.model import Event, PlannedDelivery
from gateway.store.encoding.compression import plain_or_nothing
from gateway.store.sqlite.filters import PLAIN

T = TypeVar("T")
Item = TypeVar("Item")
Works = Callable[[sqlite3.Connection, Sequence[Any]], Sequence[Any]]
Asked = tuple[Works, Any, asyncio.Future[Any]]
Arrival = tuple[Event, Sequence[PlannedDelivery]]
Answer = tuple[asyncio.Future[Any], Any, BaseException | None]

CHECKPOINT_AFTER = 400  # events and works committed, about four pages each
MOST_WAL_PAGES = 4000  # 16 MiB; past it a commit empties the log itself
# Bounds how long the loop is busy with a commit. In an overload a turn of the loop takes long, and a commit takes two
# or three turns: it must then hold many events, or few get through.
MOST_ADDED = 1024  # 20 to 35 us each
MOST_DONE = 256
# What is alone is committed on the loop, where the disk is so quick: it would wait for two turns of threads, which take
# as long. Several are not: their statements, and others' requests, go on while the disk works.
QUICK_SECONDS = 0.002
POLL_SECONDS = 0.5  # how soon another process's changes are seen
LOCK_SECONDS = 10.0  # how long another process may hold the file
LOCK_POLL_SECONDS = 0.005
WAY_OUT = "see docs/operations.md, A damaged SQLite file"


def connect(path: Path) -> sqlite3.Connection:
    """A connection as every part of the store wants it. Raises StoreUnavailable."""
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=LOCK_SECONDS)
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint={MOST_WAL_PAGES}")
        connection.execute("PRAGMA cache_size=-16384")
        connection.create_function(PLAIN, 1, plain_or_nothing, deterministic=True)
        if pragma(connection, "secure_delete") == 0:  # many builds of SQLite begin with ON
            connection.execute("PRAGMA secure_delete=FAST")  # so that no page keeps what was overwritten in it
    except sqlite3.Error as error:
        raise StoreUnavailable(f"cannot open {path}: {error}") from None
    return connection


def pragma(connection: sqlite3.Connection, name: str) -> int:
    """The first number that SQLite answers."""
    value, *_ = connection.execute(f"PRAGMA {name}").fetchone()
    return int(value)


def unavailable(verb: str, path: Path, error: Exception) -> StoreUnavailable:
    """What to tell of a failure: of a damaged file also the way out."""
    if _is_damage(error):
        return StoreUnavailable(f"{path} is damaged or not a SQLite file: {error}; {WAY_OUT}")
    return StoreUnavailable(f"cannot {verb} {path.name}: {error}")


class Writer:
    """The connection, what waits for it, and the thread that waits for the disk. Used on the event loop's thread."""

    def __init__(
        self,
        path: Path,
        add: Callable[[sqlite3.Connection, Sequence[Arrival]], list[bool]],
        changed: Callable[[], None],
    ) -> None:
        self._connection = connect(path)
        self._connection.execute("PRAGMA busy_timeout=0")  # the loop never waits for a lock
        self._path = path
        self._add = add
        self._changed = changed  # called on the loop: something was committed, here or by another process
        self._loop = asyncio.get_running_loop()
        self._arrivals: list[tuple[Arrival, asyncio.Future[bool]]] = []
        self._works: list[Asked] = []
        self._busy = False  # a commit is under way, or will begin in this turn of the loop
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopping = False
        self._damage: str | None = None  # what to tell whoever would write on
        self._seen_version = self._data_version()
        self._poll = self._loop.call_later(POLL_SECONDS, self._look)
        self._waits: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._wait, name="gateway-store", daemon=True)
        self._thread.start()
        self._checkpointer = ThreadPoolExecutor(1, thread_name_prefix="gateway-store-checkpoint")
        self._checkpoint: Future[None] | None = None  # the one under way
        self._since_checkpoint = 0
        self._commit_seconds = QUICK_SECONDS  # lately, a slow one counted for longer than a quick one

    def add(self, arrival: Arrival) -> asyncio.Future[bool]:
        """Whether the event was new, once that is durable."""
        self._refuse_when_stopped()
        future: asyncio.Future[bool] = self._loop.create_future()
        self._arrivals.append((arrival, future))
        if not self._busy:
            self._begin_soon()
        return future

    def do(self, work: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """What `work` returned, once it is durable. If it raises, its own changes are undone and nobody else's."""
        return self.do_beside(lambda connection, _: [work(connection)], None)

    def do_beside(
        self, work: Callable[[sqlite3.Connection, Sequence[Item]], Sequence[T]], item: Item
    ) -> asyncio.Future[T]:
        """The same of a work that answers several items in one go, where they are asked one after the other."""
        self._refuse_when_stopped()
        future: asyncio.Future[T] = self._loop.create_future()
        self._works.append((work, item, future))
        if not self._busy:
            self._begin_soon()
        return future

    async def stop(self) -> None:
        """Finishes what was asked, then closes the file."""
        self._stopping = True
        self._poll.cancel()
        await self._idle.wait()
        self._waits.put(None)
        await asyncio.to_thread(self._thread.join)
        await asyncio.to_thread(self._checkpointer.shutdown)
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()

    def failed(self, verb: str, error: Exception) -> StoreUnavailable:
        """What to tell of a failure, here or of a reader. On a damaged file nothing more is written: a writer may go on
        for long from its own memory, and what it commits there is lost.
        """
        told = unavailable(verb, self._path, error)
        if _is_damage(error):
            self._damage = str(told)
        return told

    def _refuse_when_stopped(self) -> None:
        if self._stopping:
            raise StoreUnavailable("the store is closed")
        if self._damage is not None:
            raise StoreUnavailable(self._damage)

    # -- one commit -------------------------------------------------------------------------------------------

    def _begin_soon(self) -> None:
        """At the end of this turn of the loop, so that all requests read in it share the commit."""
        self._busy = True
        self._idle.clear()
        self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error:  # another process writes just now, or the disk does not
            self._waits.put(self._begin_patiently)
        else:
            self._fill()

    def _begin_patiently(self) -> None:
        """On the thread: waits for another process's lock."""
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                return self._tell(self._fill)
            except sqlite3.Error as error:
                if time.monotonic() > deadline or not _is_lock(error):
                    return self._tell(partial(self._fail_next, error))
            time.sleep(LOCK_POLL_SECONDS)

    def _take(self) -> tuple[list[tuple[Arrival, asyncio.Future[bool]]], list[Asked]]:
        arrivals, self._arrivals = self._arrivals[:MOST_ADDED], self._arrivals[MOST_ADDED:]
        works, self._works = self._works[:MOST_DONE], self._works[MOST_DONE:]
        return arrivals, works

    def _fill(self) -> None:
        """Runs the statements, then has the thread commit them."""
        arrivals, works = self._take()
        answers: list[Answer] = []
        try:
            if arrivals:
                news = self._add(self._connection, [arrival for arrival, _ in arrivals])
                answers += [(future, new, None) for (_, future), new in zip(arrivals, news, strict=True)]
            for work, asked in groupby(works, itemgetter(0)):
                answers += self._try(work, list(asked))
        except Exception as error:
            self._fail(error, arrivals, works)
        else:
            commit = partial(self._commit, answers, arrivals, works)
            if len(answers) == 1 and self._commit_seconds < QUICK_SECONDS:
                commit()()
            else:
                self._waits.put(lambda: self._tell(commit()))

    def _commit(
        self,
        answers: list[Answer],
        arrivals: list[tuple[Arrival, asyncio.Future[bool]]],
        works: list[Asked],
    ) -> Callable[[], None]:
        """On the thread, as a rule. What is to be done on the loop then."""
        start = time.monotonic()
        try:
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            return partial(self._fail, error, arrivals, works)
        lasted = time.monotonic() - start
        self._commit_seconds = max(lasted, self._commit_seconds * 0.9 + lasted * 0.1)
        return partial(self._answer, answers)

    def _fail_next(self, error: Exception) -> None:
        self._fail(error, *self._take())

    def _fail(
        self,
        error: Exception,
        arrivals: list[tuple[Arrival, asyncio.Future[bool]]],
        works: list[Asked],
    ) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._connection.execute("ROLLBACK")
        failure = self.failed("commit to", error)
        futures = [future for _, future in arrivals] + [future for *_, future in works]
        self._answer([(future, None, failure) for future in futures])

    def _answer(self, answers: list[Answer]) -> None:
        """Begins the next commit before anybody goes on with this one's results: the disk should not wait."""
        if self._arrivals or self._works:
            self._loop.call_soon(self._begin)
        else:
            self._busy = False
            self._idle.set()
        self._checkpoint_soon(len(answers))
        for future, result, error in answers:
            if future.done():
                continue
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)
        self._changed()

    def _checkpoint_soon(self, committed: int) -> None:
        """Has the log's pages copied into the file now and then, beside the commits and not inside one of them."""
        self._since_checkpoint += committed
        if self._since_checkpoint >= CHECKPOINT_AFTER and (self._checkpoint is None or self._checkpoint.done()):
            self._since_checkpoint = 0
            self._checkpoint = self._checkpointer.submit(_copy_log, self._path)

    def _try(self, work: Works, asked: list[Asked]) -> list[Answer]:
        """What came of it; where it fails for some, each is tried on its own."""
        self._connection.execute("SAVEPOINT work")
        try:
            results = work(self._connection, [item for _, item, _ in asked])
        except sqlite3.OperationalError:
            raise  # disk full and the like: the whole commit fails
        except Exception as error:
            if _is_damage(error):
                raise
            self._connection.execute("ROLLBACK TO work")
            self._connection.execute("RELEASE work")
            if len(asked) > 1:
                return [answer for entry in asked for answer in self._try(work, [entry])]
            told = error if isinstance(error, StoreError) else StoreError(f"{type(error).__name__}: {error}")
            return [(future, None, told) for *_, future in asked]
        self._connection.execute("RELEASE work")
        return [(future, result, None) for (*_, future), result in zip(asked, results, strict=True)]

    # -- other processes --------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Whether another process has committed since the last look."""
        if not self._stopping:
            self._poll = self._loop.call_later(POLL_SECONDS, self._look)
        if self._busy:
            return  # whoever is busy tells of changes anyway
        version = self._data_version()
        if version != self._seen_version:
            self._seen_version = version
            self._changed()

    def _data_version(self) -> int:
        """Changes when another connection has committed, and only then."""
        with contextlib.suppress(sqlite3.Error):
            return pragma(self._connection, "data_version")
        return -1

    # -- the thread -------------------------------------------------------------------------------------------

    def _wait(self) -> None:
        while (wait := self._waits.get()) is not None:
            wait()

    def _tell(self, what: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(what)


def _copy_log(path: Path) -> None:
    """A passive checkpoint (https://sqlite.org/wal.html#ckpt): waits for nobody, and nobody waits for it. What it
    cannot do now, a later one does.
    """
    with contextlib.suppress(sqlite3.Error, StoreUnavailable), contextlib.closing(connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")


def _is_damage(error: Exception) -> bool:
    return getattr(error, "sqlite_errorname", "").startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))


def _is_lock(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorname", "").startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))
