"""The store of the simulated gateways: SQLite by its real code, on a file in memory, watched at every call.

Alone, it lives and dies with its gateway. Shared, it is a server of its own beside several gateways, and gives what a
gateway held to others once its lease has ended, as PostgreSQL does.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, cast

from gateway.core.errors import StoreUnavailable
from gateway.core.tasks import within
from gateway.store.answers import Due
from gateway.store.sqlite import turns
from gateway.store.sqlite.store import SqliteStore
from tests.simulate.loop import Process, SimulatedLoop

AWAY = 0.002  # of all calls fail, before or after they did their work
NETWORK_SECONDS = 0.003
POLL_SECONDS = 5.0
ENDED = "state = 'running' AND lease_until < ?"
AHEAD = "state = 'running' AND lease_until > ?"  # it was given while the clock was ahead
WORK = (
    "SELECT seq, due_at FROM deliveries WHERE state = 'pending' AND held = 0"
    " UNION ALL SELECT name, version FROM connections"
)
LEASE_MS = 60_000
LONGEST_LEASE_MS = 2 * LEASE_MS
EXPIRED = "its gateway did not renew its lease; whether it took effect is not known"


class _Bells:
    """What rings at every gateway once there is work, or a connection has changed, in place of the store's one event:
    as PostgreSQL's gateways announce it to each other, and not at each commit.
    """

    def __init__(self, look: Callable[[], frozenset[Any]]) -> None:
        self.events: list[asyncio.Event] = []
        self._look = look
        self._seen: frozenset[Any] = frozenset()

    def set(self) -> None:
        """After a commit."""
        seen, self._seen = self._seen, self._look()
        if self._seen - seen:
            for event in self.events:
                event.set()


class SharedSqlite(SqliteStore):
    """SQLite as a server for several gateways."""

    is_shared = True

    def __init__(self, path: Path, now_ms: Callable[[], int], steady_clock_ms: Callable[[], int]) -> None:
        super().__init__(path, now_ms, steady_clock_ms)
        self.bells = _Bells(self._work)
        self._changed = cast(asyncio.Event, self.bells)

    async def due(self) -> Due:
        expired = f"SELECT 1 FROM deliveries WHERE {ENDED} OR {AHEAD}"
        if await self._read(lambda connection: connection.execute(expired, self._bounds()).fetchone()):
            await self._do(self._take_over)
        return await super().due()

    def _work(self) -> frozenset[Any]:
        assert self._reader is not None
        return frozenset(map(tuple, self._reader.execute(WORK)))

    def _bounds(self) -> tuple[int, int]:
        now = self._now_ms()
        return now, now + LONGEST_LEASE_MS

    def _take_over(self, connection: sqlite3.Connection) -> None:
        now = self._now_ms()
        rows = connection.execute(
            f"SELECT seq, runs, claimed_at, once_key, order_key FROM deliveries WHERE {ENDED}", (now,)
        ).fetchall()
        for seq, runs, claimed_at, once_key, order_key in rows:
            connection.execute(
                "INSERT OR IGNORE INTO attempts (delivery_seq, number, started_at, duration_ms, outcome, error)"
                " VALUES (?, ?, ?, ?, 'interrupted', ?)",
                (seq, runs, claimed_at, max(0, now - claimed_at), EXPIRED),
            )
            connection.execute(
                "UPDATE deliveries SET state = 'pending', held = 0, token = NULL, lease_until = NULL, due_at = ?,"
                " last_error = ? WHERE seq = ?",
                (now, EXPIRED, seq),
            )
            turns.hold_in_turn(connection, seq, once_key=once_key, order_key=order_key)
            turns.pass_turn(connection, once_key=once_key, order_key=order_key)
        bounded = f"UPDATE deliveries SET lease_until = ? WHERE {AHEAD}"
        connection.execute(bounded, (now + LEASE_MS, now + LONGEST_LEASE_MS))


def abandon(store: SqliteStore) -> None:
    """Its process died: what was not committed is gone, its files are closed."""
    writer = store._writer
    connections = [store._reader, store._lane_reader, store._console._connection]
    if writer is not None:
        writer._poll.cancel()
        connections.append(writer._connection)
    for connection in connections:
        if connection is not None:
            connection.close()
    store._give_lock_up()


class Watched:
    """A store as a gateway holds it. Each call is told to `before` and `after`; one to a server may get lost."""

    def __init__(
        self,
        store: SqliteStore,
        rng: Random,
        server: Process | None,
        before: Callable[[str, tuple[Any, ...], dict[str, Any]], None],
        after: Callable[[str, tuple[Any, ...], Any], None],
    ) -> None:
        self._store = store
        self._rng = rng
        self._server = server
        self._before = before
        self._after = after
        self._bell = asyncio.Event()
        if isinstance(store, SharedSqlite):
            store.bells.events.append(self._bell)

    @property
    def is_shared(self) -> bool:
        return self._store.is_shared

    async def wait_for_work(self, timeout_seconds: float) -> None:
        """As PostgreSQL's: each gateway hears of work."""
        if not self._store.is_shared:
            return await self._store.wait_for_work(timeout_seconds)
        await within(min(timeout_seconds, POLL_SECONDS), self._bell)
        self._bell.clear()
        return None

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        async def call(*args: Any, **options: Any) -> Any:
            async def work() -> Any:
                self._before(name, args, options)
                answer = await method(*args, **options)
                self._after(name, args, answer)
                return answer

            if self._server is None:
                return await work()
            return await self._over_network(work)

        return call

    async def _over_network(self, work: Callable[[], Any]) -> Any:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimulatedLoop)
        assert self._server is not None
        await asyncio.sleep(self._rng.uniform(0, NETWORK_SECONDS))
        if self._rng.random() < AWAY / 2:
            raise StoreUnavailable("the network lost the question")
        task = loop.start(self._server, work())
        task.add_done_callback(lambda done: done.cancelled() or done.exception())  # who asked may be gone
        answer = await asyncio.shield(task)
        await asyncio.sleep(self._rng.uniform(0, NETWORK_SECONDS))
        if self._rng.random() < AWAY / 2:
            raise StoreUnavailable("the network lost the answer")
        return answer


def open_file(path: Path, now_ms: Callable[[], int], steady_ms: Callable[[], int], *, is_shared: bool) -> SqliteStore:
    """Not yet started."""
    return (SharedSqlite if is_shared else SqliteStore)(path, now_ms, steady_ms)
