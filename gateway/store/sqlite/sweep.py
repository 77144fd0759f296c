"""Sweeps through what a SQLite file keeps."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time

from gateway.store.sqlite.file import SqliteFile
from gateway.store.sqlite.writer import connect, pragma
from gateway.store.sweep import (
    ATTEMPT_SAYS,
    ATTEMPTS,
    CHANGED_COLUMNS,
    DELIVERY_COLUMNS,
    ContentsPage,
    EventContents,
    contents_page,
)

SCRUB_SECONDS = 20.0  # so long a reader of another process may keep the log from being emptied
SCRUB_PAUSE_SECONDS = 0.1
PAGES_A_STEP = 500  # given back in one transaction
NO_AUTO_VACUUM = (
    "the file was made by an early version, whose free space may still hold old copies: stop the gateway and run "
    "`sqlite3 FILE VACUUM` once"
)
LOG_IN_USE = "another process kept the file's log (-wal) open: it is emptied when the gateway next stops"


class _Moved(Exception):  # noqa: N818
    """What was to be replaced has changed meanwhile."""


def _contents(connection: sqlite3.Connection, after: int, limit: int) -> ContentsPage:
    events = connection.execute(
        "SELECT seq, account, id, object_id, body FROM events WHERE seq > ? AND seq > 0 ORDER BY seq LIMIT ?",
        (after, limit),
    ).fetchall()
    marks = ",".join("?" * len(events))
    deliveries = connection.execute(
        f"SELECT {DELIVERY_COLUMNS} FROM deliveries WHERE event_seq IN ({marks}) ORDER BY seq",
        [row["seq"] for row in events],
    ).fetchall()
    attempts = [
        row
        for delivery in deliveries
        for row in connection.execute(f"{ATTEMPTS} WHERE delivery_seq = ? AND {ATTEMPT_SAYS}", (delivery["seq"],))
    ]
    return contents_page(events, deliveries, attempts, limit)


def _replace_contents(connection: sqlite3.Connection, before: EventContents, after: EventContents) -> bool:
    (was,) = connection.execute("PRAGMA secure_delete").fetchone()
    connection.execute("PRAGMA secure_delete=ON")
    connection.execute("SAVEPOINT replacing")
    try:
        _replace(connection, before, after)
    except _Moved:
        connection.execute("ROLLBACK TO replacing")
        return False
    finally:
        connection.execute("RELEASE replacing")
        connection.execute(f"PRAGMA secure_delete={was}")
    return True


def _replace(connection: sqlite3.Connection, before: EventContents, after: EventContents) -> None:
    if not connection.execute(
        "UPDATE events SET object_id = ?, body = ? WHERE seq = ? AND body = ?",
        (after.object_id, after.body, before.seq, before.body),
    ).rowcount:
        raise _Moved
    (count,) = connection.execute("SELECT count(*) FROM deliveries WHERE event_seq = ?", (before.seq,)).fetchone()
    if count != len(before.deliveries):
        raise _Moved
    for old, new in zip(before.deliveries, after.deliveries, strict=True):
        sets = ", ".join(f"{column} = ?" for column in CHANGED_COLUMNS)
        same = " AND ".join(f"{column} IS ?" for column in CHANGED_COLUMNS)
        if not connection.execute(
            f"UPDATE deliveries SET {sets} WHERE seq = ? AND state = ? AND runs = ? AND {same}",
            (
                *(getattr(new, column) for column in CHANGED_COLUMNS),
                old.seq,
                old.state,
                old.runs,
                *(getattr(old, column) for column in CHANGED_COLUMNS),
            ),
        ).rowcount:
            raise _Moved
        if new.attempts != old.attempts:
            connection.executemany(
                "UPDATE attempts SET error = ?, exchanges = ? WHERE delivery_seq = ? AND number = ?",
                [(words.error, words.exchanges, old.seq, words.number) for words in new.attempts],
            )


def _give_back(connection: sqlite3.Connection) -> bool:
    """Cuts free pages, which may hold what was erased, off the file; some at a time. Whether there are more."""
    for _ in range(PAGES_A_STEP):
        connection.execute("PRAGMA incremental_vacuum(1)")  # of more, Python's sqlite3 does only the first
        (free,) = connection.execute("PRAGMA freelist_count").fetchone()
        if not free:
            return False
    return True


class SqliteSweep(SqliteFile):
    """The methods of `SweepStore`."""

    async def contents(self, after: int, *, limit: int) -> ContentsPage:
        return await self._read(lambda c: _contents(c, after, limit))

    async def replace_contents(self, before: EventContents, after: EventContents) -> bool:
        return await self._do(lambda c: _replace_contents(c, before, after))

    async def replace_rejected(self, rejected_id: str, body: bytes) -> bool:
        sql = "UPDATE rejected SET body = ? WHERE id = ?"
        return await self._do(lambda c: c.execute(sql, (body, rejected_id)).rowcount > 0)

    async def scrub(self) -> str | None:
        can_give_back = await self._read(lambda c: pragma(c, "auto_vacuum"))
        while can_give_back and await self._do(_give_back):
            pass
        deadline = time.monotonic() + SCRUB_SECONDS
        while not await asyncio.to_thread(self._empty_log):
            if time.monotonic() > deadline:
                return LOG_IN_USE
            await asyncio.sleep(SCRUB_PAUSE_SECONDS)
        return None if can_give_back else NO_AUTO_VACUUM

    def _empty_log(self) -> bool:
        """Copies the log into the file and cuts it to nothing. False where another process is in the way."""
        with contextlib.closing(connect(self.path)) as connection:
            return not pragma(connection, "wal_checkpoint(TRUNCATE)")
