"""Where the stores of the model's worlds are: a SQLite file, and a PostgreSQL database that two gateways share."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

import asyncpg

from gateway.store.encoding.codec import BodyCodec
from gateway.store.encoding.store import EncodedStore
from gateway.store.encryption.keyring import Keyring
from gateway.store.postgres.store import PostgresStore
from gateway.store.protocol import Store
from gateway.store.sqlite import writer
from gateway.store.sqlite.store import SqliteStore
from tests.model.whole_world import WholeWorld
from tests.model.world import Clock
from tests.scratch import in_memory
from tests.simulate.machinery import InlineExecutor

GATEWAYS = 2
TABLES = """
SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
WHERE schemaname NOT IN ('pg_catalog', 'information_schema') AND tablename NOT IN ('facts', 'alembic_version')
"""


class Places:
    """PostgreSQL's stores are kept open from one sequence to the next, and emptied between."""

    def __init__(self, folder: Path, url: str | None) -> None:
        """Without a URL, SQLite alone."""
        self.labels: Sequence[str] = ("SQLite",) if url is None else ("SQLite", "PostgreSQL")
        self.compresses = False  # of the next worlds
        self._folder = folder
        self._url = url
        self._runner = asyncio.Runner(loop_factory=_LoopWithoutThreads)
        self._sqlite: SqliteStore | None = None
        self._clock = Clock()  # of PostgreSQL
        self._gateways: list[Store] = []
        self._admin: asyncpg.Connection[Any] | None = None

    def run(self, work: Awaitable[Any]) -> Any:
        """On the stores' loop."""

        async def do() -> Any:
            return await work

        return self._runner.run(do())

    async def fresh(self, label: str) -> WholeWorld:
        """A store of that kind, empty, with its model."""
        return await (self._fresh_sqlite() if label == "SQLite" else self._fresh_postgresql())

    async def _fresh_sqlite(self) -> WholeWorld:
        template, path = self._folder / "template.db", self._folder / "inbox.db"
        clock = Clock()

        async def reopen(_: int) -> Store:
            await self._close_sqlite()
            self._sqlite = SqliteStore(path, clock.told, lambda: clock.steady)
            await self._sqlite.start()
            return self._as_it_is_used(self._sqlite)

        await self._close_sqlite()
        for file in self._folder.glob("inbox.db*"):
            file.unlink()
        if not template.exists():
            store = SqliteStore(template)
            await store.migrate()
            await store.close()
            with contextlib.closing(sqlite3.connect(template)) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copy(template, path)
        return WholeWorld("SQLite", [await reopen(0)], clock, reopen)

    async def _close_sqlite(self) -> None:
        if self._sqlite is not None:
            await self._sqlite.close()
            self._sqlite = None

    async def _fresh_postgresql(self) -> WholeWorld:
        if self._admin is None:
            assert self._url is not None
            self._admin = await asyncpg.connect(self._url)
            for _ in range(GATEWAYS):
                store = PostgresStore(self._url, lambda: self._clock.now)
                await store.start()
                self._gateways.append(store)
        tables = ", ".join(row[0] for row in await self._admin.fetch(TABLES))
        await self._admin.execute(f"TRUNCATE {tables} RESTART IDENTITY")
        self._clock = Clock()
        return WholeWorld("PostgreSQL", [self._as_it_is_used(store) for store in self._gateways], self._clock, None)

    def _as_it_is_used(self, store: Store) -> Store:
        return cast(Store, EncodedStore(store, BodyCodec(Keyring(()), compresses=True))) if self.compresses else store

    def close(self) -> None:
        """Frees everything."""

        async def close() -> None:
            await self._close_sqlite()
            for store in self._gateways:
                await store.close()
            if self._admin is not None:
                await self._admin.close()

        self._runner.run(close())
        self._runner.close()


class _LoopWithoutThreads(asyncio.SelectorEventLoop):
    """What is left to a thread is done at once: a step is one after the other anyway, and twice as fast so."""

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        future: asyncio.Future[Any] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future


class _InlineQueue:
    """What SQLite's writer leaves to its thread."""

    def put(self, work: Callable[[], None] | None) -> None:
        if work is not None:
            work()


@contextlib.contextmanager
def _without_threads() -> Iterator[None]:
    thread = SimpleNamespace(start=lambda: None, join=lambda: None)
    with (
        patch.object(writer, "threading", SimpleNamespace(Thread=lambda **_: thread)),
        patch.object(writer, "queue", SimpleNamespace(SimpleQueue=_InlineQueue)),
        patch.object(writer, "ThreadPoolExecutor", InlineExecutor),
    ):
        yield


@contextlib.contextmanager
def places(url: str | None) -> Iterator[Places]:
    """Opens them; PostgreSQL where it has a URL."""
    folder_in = tempfile.TemporaryDirectory(prefix="model", dir=in_memory())
    with _without_threads(), folder_in as folder:
        opened = Places(Path(folder), url)
        try:
            yield opened
        finally:
            opened.close()
