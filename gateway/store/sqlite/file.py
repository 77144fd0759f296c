"""A SQLite file: locked against a second gateway, brought up to date, opened for writing and reading, closed."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from gateway.core.errors import StoreLocked, StoreMissing, StoreOutdated, StoreUnavailable
from gateway.store.migrations.runner import HEAD, refuse_older, upgrade_sqlite
from gateway.store.sqlite.clock import ClockWatch
from gateway.store.sqlite.writer import Arrival, Writer, connect, unavailable

T = TypeVar("T")


def clock_ms() -> int:
    """Now, in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class ReadConnection:
    """A read-only connection and the one thread that uses it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="gateway-store-console")
        self._connection: sqlite3.Connection | None = None

    async def run(self, what: Callable[[sqlite3.Connection], T]) -> T:
        """What `what` returned, from one unchanging state of the store. Raises StoreUnavailable."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, what)
        except sqlite3.Error as error:
            raise StoreUnavailable(f"cannot read {self._path.name}: {error}") from None

    def _run(self, what: Callable[[sqlite3.Connection], T]) -> T:
        if self._connection is None:
            self._connection = connect(self._path)
            self._connection.execute("PRAGMA query_only=1")
        self._connection.execute("BEGIN")
        try:
            return what(self._connection)
        finally:
            self._connection.execute("ROLLBACK")

    async def close(self) -> None:
        """Frees everything."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, connection.close)
        self._thread.shutdown(wait=False)


class SqliteFile:
    """What all parts of `SqliteStore` stand on."""

    is_shared = False

    def __init__(
        self, path: Path, now_ms: Callable[[], int] = clock_ms, steady_clock_ms: Callable[[], int] | None = None
    ) -> None:
        self.path = path
        self._clock = ClockWatch(now_ms, steady_clock_ms or now_ms)
        self._now_ms = self._clock.now_ms
        self._lock_file: int | None = None
        self._writer: Writer | None = None
        self._reader: sqlite3.Connection | None = None
        self._lane_reader: sqlite3.Connection | None = None
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="gateway-store-read")
        self._console = ReadConnection(path)
        self._changed = asyncio.Event()
        self.recovered = 0  # deliveries taken over at start

    async def start(self) -> None:
        try:
            await self.migrate()
            self._open()
            self.recovered = await self._do(self._recover)
        except BaseException:
            await self.close()
            raise
        self._changed.set()

    async def migrate(self) -> str | None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._take_lock()
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))  # payloads are nobody else's business
        except OSError as error:
            raise StoreUnavailable(f"cannot open {self.path}: {error.strerror}") from None
        revision = self._revision()
        if revision is not None and revision > HEAD:
            raise StoreOutdated(
                f"{self.path} was written by a newer gateway (schema {revision}, this one knows {HEAD})"
            )
        refuse_older(str(self.path), revision)
        if revision != HEAD:
            await asyncio.to_thread(upgrade_sqlite, self.path)
        return revision

    async def attach(self) -> None:
        if not self.path.exists():
            raise StoreMissing(f"there is no inbox at {self.path} yet; `gateway serve` makes it")
        revision = self._revision()
        refuse_older(str(self.path), revision)
        if revision != HEAD:
            raise StoreOutdated(
                f"{self.path} has schema {revision or 'none'}, this program knows {HEAD}; `gateway serve` mends it"
            )
        self._open()

    async def takes_compressed(self, *, begin: bool = False) -> bool:
        return True  # one program works on the file, and an older one does not open its schema

    async def close(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            await writer.stop()
        readers, self._reader, self._lane_reader = (self._reader, self._lane_reader), None, None
        for reader in readers:
            if reader is not None:
                await asyncio.get_running_loop().run_in_executor(self._reading, reader.close)
        self._reading.shutdown(wait=False)
        await self._console.close()
        self._give_lock_up()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keeps gateways off the file, which need not be there. Raises StoreLocked, StoreUnavailable."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._take_lock()
        except OSError as error:
            raise StoreUnavailable(f"cannot open {self.path}: {error.strerror}") from None
        try:
            yield
        finally:
            self._give_lock_up()

    def _take_lock(self) -> None:
        """Holds a lock beside the file for as long as this process lives, however it ends."""
        lock = os.open(self.path.with_name(self.path.name + ".lock"), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(lock, 20).decode("ascii", "replace").strip()
            os.close(lock)
            raise StoreLocked(
                f"another gateway (process {holder or 'unknown'}) already works on {self.path}; "
                "one SQLite file serves one gateway"
            ) from None
        os.ftruncate(lock, 0)
        os.write(lock, str(os.getpid()).encode())
        self._lock_file = lock

    def _give_lock_up(self) -> None:
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None

    def _revision(self) -> str | None:
        """The schema's revision, or None for an empty file. Without Alembic, which takes long to import."""
        try:
            with contextlib.closing(sqlite3.connect(self.path, timeout=10)) as connection:
                row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
                return str(row[0]) if row else None
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return None
            raise StoreUnavailable(f"cannot open {self.path}: {error}") from None
        except sqlite3.DatabaseError as error:
            raise unavailable("open", self.path, error) from None

    def _open(self) -> None:
        self._writer = Writer(self.path, self._add, self._changed.set)
        self._reader = connect(self.path)
        self._lane_reader = connect(self.path)

    def _writing(self) -> Writer:
        if self._writer is None:
            raise StoreUnavailable("the store is not open")
        return self._writer

    async def _do(self, what: Callable[[sqlite3.Connection], T]) -> T:
        return await self._writing().do(what)

    async def _read(self, what: Callable[[sqlite3.Connection], T]) -> T:
        reader = self._reader
        if reader is None:
            raise StoreUnavailable("the store is not open")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._reading, what, reader)
        except sqlite3.Error as error:
            raise self._writing().failed("read", error) from None

    def _add(self, connection: sqlite3.Connection, arrivals: Sequence[Arrival]) -> list[bool]:
        """Inserts what arrived; whether each event was new."""
        raise NotImplementedError

    def _recover(self, connection: sqlite3.Connection) -> int:
        """Takes over what a gateway that is gone left running; how many deliveries."""
        raise NotImplementedError

    async def ping(self) -> None:
        # Sets what nobody reads: an empty commit writes nothing, and succeeds on a full disk.
        await self._do(lambda connection: connection.execute("PRAGMA user_version = 0"))
