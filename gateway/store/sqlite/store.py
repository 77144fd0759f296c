"""The store for one gateway on one machine: a SQLite file, written in group commits, locked against a second one."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from gateway.core.errors import StoreLocked, StoreMissing, StoreOutdated, StoreUnavailable
from gateway.core.model import (
    Attempt,
    ChangeResult,
    Claim,
    ConnectionChange,
    ConnectionStatus,
    Delivery,
    DeliveryFilter,
    Event,
    EventFilter,
    Fetched,
    Gathered,
    Lane,
    Outcome,
    PlannedDelivery,
    RejectedBounds,
    RejectedFilter,
    RejectedRequest,
    SharedRate,
)
from gateway.store.answers import Added, Due, Note, Purged, Status
from gateway.store.migrations.runner import HEAD, refuse_older, upgrade_sqlite
from gateway.store.records import (
    DELIVERY,
    DELIVERY_LISTED,
    EVENT,
    EVENT_LISTED,
    REJECTED,
    REJECTED_LISTED,
    attempt_of,
    delivery_of,
    event_of,
    moment,
    rejected_of,
)
from gateway.store.sqlite import digests as sqlite_digests
from gateway.store.sqlite import leases_and_notes as notes
from gateway.store.sqlite import maintenance as upkeep
from gateway.store.sqlite import queue as work
from gateway.store.sqlite import rejected as sqlite_rejected
from gateway.store.sqlite import sweep as sweeps
from gateway.store.sqlite.clock import ClockWatch, bring_forward
from gateway.store.sqlite.filters import delivery_terms, event_terms, rejected_terms
from gateway.store.sqlite.reports import SqliteReports
from gateway.store.sqlite.writer import Arrival, Writer, connect, unavailable
from gateway.store.sweep import ContentsPage, EventContents

T = TypeVar("T")

SCRUB_SECONDS = 20.0  # so long a reader of another process may keep the log from being emptied
SCRUB_PAUSE_SECONDS = 0.1
LANES_ON_THE_LOOP = 200  # so many are looked through in about 2 ms; more are left to the reading thread


def clock_ms() -> int:
    """Now, in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class SqliteStore(SqliteReports):
    """See `gateway.store.protocol.Store` for what each method promises."""

    is_shared = False

    def __init__(
        self, path: Path, now_ms: Callable[[], int] = clock_ms, steady_clock_ms: Callable[[], int] | None = None
    ) -> None:
        self.path = path
        super().__init__()
        self._now_ms = now_ms
        self._clock = ClockWatch(now_ms, steady_clock_ms or now_ms)
        self._lock_file: int | None = None
        self._writer: Writer | None = None
        self._reader: sqlite3.Connection | None = None
        self._lane_reader: sqlite3.Connection | None = None
        self._lanes_seen = 0
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="gateway-store-read")
        self._changed = asyncio.Event()
        self.recovered = 0  # deliveries taken over at start

    # -- opening and closing ----------------------------------------------------------------------------------

    async def start(self) -> None:
        try:
            await self.migrate()
            self._open()
            self.recovered = await self._do(lambda connection: work.recover(connection, self._now_ms()))
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
        self._writer = Writer(self.path, lambda c, arrivals: work.add(c, arrivals, self._now_ms()), self._changed.set)
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

    async def ping(self) -> None:
        # Sets what nobody reads: an empty commit writes nothing, and succeeds on a full disk.
        await self._do(lambda connection: connection.execute("PRAGMA user_version = 0"))

    # -- intake -----------------------------------------------------------------------------------------------

    async def add(self, event: Event, planned: Sequence[PlannedDelivery]) -> Added:
        arrival: Arrival = (event, planned)
        return Added(is_duplicate=not await self._writing().add(arrival))

    async def replay(
        self, account: str, event_id: str, planned: Sequence[PlannedDelivery], *, force: bool = False
    ) -> list[str] | None:
        return await self._do(lambda c: work.replay(c, account, event_id, planned, force, self._now_ms()))

    async def keep_rejected(self, requests: Sequence[RejectedRequest], bounds: RejectedBounds) -> int:
        return await self._do(lambda c: sqlite_rejected.keep(c, requests, bounds, self._now_ms()))

    # -- delivery ---------------------------------------------------------------------------------------------

    async def due(self) -> Due:
        reader = self._lane_reader
        if reader is None:
            raise StoreUnavailable("the store is not open")
        if put_back := self._clock.put_back_ms():
            await self._do(lambda c: bring_forward(c, put_back, self._now_ms()))
        self._clock.seen()
        try:
            if self._lanes_seen > LANES_ON_THE_LOOP:
                found = await asyncio.get_running_loop().run_in_executor(self._reading, self._due, reader)
            else:
                found = self._due(reader)
        except sqlite3.Error as error:
            raise self._writing().failed("read", error) from None
        self._lanes_seen = len(found.lanes)
        return found

    def _due(self, connection: sqlite3.Connection) -> Due:
        now = self._now_ms()
        place = ("", "", "")
        lanes: list[tuple[int, Lane]] = []
        later: int | None = None
        while True:  # one look into the index for each lane
            row = connection.execute(
                # With due_at in the comparison SQLite leaps over the lane's other rows; without, it walks them all.
                "SELECT account, route, action, due_at FROM deliveries WHERE state = 'pending' AND held = 0"
                " AND (account, route, action, due_at) > (?, ?, ?, 9223372036854775807)"
                " ORDER BY account, route, action, due_at LIMIT 1",
                place,
            ).fetchone()
            if row is None:
                break
            place = row[:3]
            if row[3] <= now:
                lanes.append((row[3], Lane(*place)))
            else:
                later = row[3] if later is None else min(later, row[3])
        lanes.sort()
        return Due(
            lanes=[lane for _, lane in lanes],
            next_in_seconds=None if later is None else (later - now) / 1000,
            late_seconds=[(now - due_at) / 1000 for due_at, _ in lanes],
        )

    async def claim(
        self, wanted: Mapping[Lane, int], *, lease_seconds: float, rates: Sequence[SharedRate] = ()
    ) -> list[Claim]:
        return await self._do(lambda c: work.claim(c, wanted, rates, int(lease_seconds * 1000), self._now_ms()))

    async def fetched(self, run_id: str) -> Fetched | None:
        return await self._read(lambda c: work.fetched(c, run_id))

    async def keep_fetched(self, run_id: str, fetched: Fetched) -> Fetched:
        return await self._do(lambda c: work.keep_fetched(c, run_id, fetched))

    async def gather(
        self, delivery_id: str, token: str, *, wait_seconds: float, every_seconds: float, most: int
    ) -> Gathered | float | None:
        wait_ms, every_ms = int(wait_seconds * 1000), int(every_seconds * 1000)
        return await self._do(
            lambda c: sqlite_digests.gather(c, delivery_id, token, wait_ms, every_ms, most, self._now_ms())
        )

    async def renew(self, claims: Sequence[tuple[str, str]], *, lease_seconds: float) -> set[str]:
        return await self._do(lambda c: work.renew(c, claims, int(lease_seconds * 1000), self._now_ms()))

    async def finish(self, delivery_id: str, token: str, ending: Outcome) -> bool:
        return await self._do(lambda c: work.finish(c, delivery_id, token, ending, self._now_ms()))

    async def wait_for_work(self, timeout_seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                await self._changed.wait()
        self._changed.clear()

    # -- connections and upkeep -------------------------------------------------------------------------------

    async def connections(self) -> Mapping[str, ConnectionStatus]:
        return await self._read(lambda c: upkeep.connections(c, self._now_ms()))

    async def change_connection(self, name: str, version: int, change: ConnectionChange) -> ConnectionStatus | None:
        return await self._do(lambda c: upkeep.change_connection(c, name, version, change, self._now_ms()))

    async def mark(self, name: str, every_seconds: float) -> datetime:
        return moment(await self._do(lambda c: sqlite_digests.mark(c, name, int(every_seconds * 1000), self._now_ms())))

    async def purge(
        self,
        *,
        retention_seconds: float,
        dead_retention_seconds: float | None,
        cursor: int = 0,
        limit: int = 100,
    ) -> Purged:
        def step(connection: sqlite3.Connection) -> Purged:
            now = self._now_ms()
            dead = None if dead_retention_seconds is None else now - int(dead_retention_seconds * 1000)
            return upkeep.purge(connection, cursor, limit, now - int(retention_seconds * 1000), dead, now)

        return await self._do(step)

    # -- sweeps through what is kept --------------------------------------------------------------------------

    async def contents(self, after: int, *, limit: int) -> ContentsPage:
        return await self._read(lambda c: sweeps.contents(c, after, limit))

    async def replace_contents(self, before: EventContents, after: EventContents) -> bool:
        return await self._do(lambda c: sweeps.replace_contents(c, before, after))

    async def replace_rejected(self, rejected_id: str, body: bytes) -> bool:
        return await self._do(lambda c: sweeps.replace_rejected(c, rejected_id, body))

    async def scrub(self) -> str | None:
        can_give_back = await self._read(sweeps.has_auto_vacuum)
        while can_give_back and await self._do(sweeps.give_back):
            pass
        deadline = time.monotonic() + SCRUB_SECONDS
        while not await asyncio.to_thread(self._empty_log):
            if time.monotonic() > deadline:
                return sweeps.LOG_IN_USE
            await asyncio.sleep(SCRUB_PAUSE_SECONDS)
        return None if can_give_back else sweeps.NO_AUTO_VACUUM

    def _empty_log(self) -> bool:
        with contextlib.closing(connect(self.path)) as connection:
            return sweeps.empty_log(connection)

    # -- gateways among themselves ----------------------------------------------------------------------------

    async def take_lease(self, name: str, holder: str, *, lease_seconds: float) -> bool:
        return await self._do(lambda c: notes.take_lease(c, name, holder, int(lease_seconds * 1000), self._now_ms()))

    async def release_lease(self, name: str, holder: str) -> None:
        await self._do(lambda c: notes.release_lease(c, name, holder))

    async def note(self, name: str) -> Note | None:
        return await self._read(lambda c: notes.note(c, name, self._now_ms()))

    async def keep_note(self, name: str, value: Mapping[str, Any] | None) -> None:
        await self._do(lambda c: notes.keep_note(c, name, value, self._now_ms()))

    # -- people -----------------------------------------------------------------------------------------------

    async def events(self, where: EventFilter, *, limit: int, newest_first: bool = True) -> list[Event]:
        terms, args = event_terms(where)
        order = "DESC" if newest_first else "ASC"
        sql = f"SELECT {EVENT_LISTED} FROM events WHERE {terms} ORDER BY seq {order} LIMIT ?"
        return await self._read(lambda c: [event_of(row) for row in c.execute(sql, (*args, limit))])

    async def event(self, event_id: str, account: str | None = None) -> list[Event]:
        terms, args = event_terms(EventFilter(ids=(event_id,), accounts=(account,) if account else ()))
        sql = f"SELECT {EVENT} FROM events WHERE {terms} ORDER BY seq"
        return await self._read(lambda c: [event_of(row) for row in c.execute(sql, args)])

    async def deliveries(self, where: DeliveryFilter, *, limit: int, newest_first: bool = True) -> list[Delivery]:
        terms, args = delivery_terms(where)
        order = "DESC" if newest_first else "ASC"
        sql = f"SELECT {DELIVERY_LISTED} FROM deliveries d WHERE {terms} ORDER BY d.seq {order} LIMIT ?"
        return await self._read(lambda c: [delivery_of(row) for row in c.execute(sql, (*args, limit))])

    async def delivery(self, delivery_id: str) -> tuple[Delivery, list[Attempt]] | None:
        def find(connection: sqlite3.Connection) -> tuple[Delivery, list[Attempt]] | None:
            sql = f"SELECT {DELIVERY} FROM deliveries d WHERE d.id = ?"
            row = connection.execute(sql, (delivery_id,)).fetchone()
            if row is None:
                return None
            attempts = connection.execute(
                "SELECT number, started_at, duration_ms, outcome, error FROM attempts"
                " WHERE delivery_seq = ? ORDER BY number",
                (row[0],),
            )
            return delivery_of(row), [attempt_of(found) for found in attempts]

        return await self._read(find)

    async def retry(self, delivery_ids: Sequence[str]) -> Mapping[str, ChangeResult]:
        return await self._each(delivery_ids, partial(work.retry, now_ms=self._now_ms()))

    async def cancel(self, delivery_ids: Sequence[str], reason: str) -> Mapping[str, ChangeResult]:
        return await self._each(delivery_ids, partial(work.cancel, reason=reason, now_ms=self._now_ms()))

    async def _each(
        self, delivery_ids: Sequence[str], change: Callable[[sqlite3.Connection, str], ChangeResult]
    ) -> dict[str, ChangeResult]:
        return await self._do(lambda c: {delivery_id: change(c, delivery_id) for delivery_id in delivery_ids})

    async def rejected(self, where: RejectedFilter, *, limit: int, newest_first: bool = True) -> list[RejectedRequest]:
        terms, args = rejected_terms(where)
        order = "DESC" if newest_first else "ASC"
        sql = f"SELECT {REJECTED_LISTED} FROM rejected WHERE {terms} ORDER BY seq {order} LIMIT ?"
        return await self._read(lambda c: [rejected_of(row) for row in c.execute(sql, (*args, limit))])

    async def rejected_request(self, rejected_id: str) -> RejectedRequest | None:
        sql = f"SELECT {REJECTED} FROM rejected WHERE id = ?"
        found = await self._read(lambda c: c.execute(sql, (rejected_id,)).fetchone())
        return None if found is None else rejected_of(found)

    async def forget_rejected(self, rejected_ids: Sequence[str]) -> int:
        return await self._do(lambda c: sqlite_rejected.forget(c, rejected_ids))

    async def waiting(self) -> Mapping[Lane, int]:
        sql = (
            "SELECT account, route, action, count(*) FROM deliveries"
            " WHERE state IN ('blocked', 'pending', 'running') GROUP BY account, route, action"
        )
        return await self._read(lambda c: {Lane(*row[:3]): row[3] for row in c.execute(sql)})

    async def counts(self) -> Mapping[str, int]:
        def count(connection: sqlite3.Connection) -> dict[str, int]:
            found: dict[str, int] = dict(connection.execute("SELECT state, count(*) FROM deliveries GROUP BY state"))
            found["events"] = connection.execute("SELECT count(*) FROM events WHERE seq > 0").fetchone()[0]
            return found

        return await self._read(count)

    async def status(self) -> Status:
        def look(connection: sqlite3.Connection) -> tuple[int | None, int]:
            oldest = connection.execute("SELECT min(created_at) FROM deliveries WHERE state = 'pending'").fetchone()[0]
            pages = connection.execute("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()")
            return oldest, pages.fetchone()[0]

        oldest, size = await self._read(look)
        return Status(f"sqlite:///{self.path}", HEAD, None if oldest is None else moment(oldest), size)
