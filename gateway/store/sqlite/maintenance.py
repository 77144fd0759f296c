"""Upkeep on SQLite: how connections stand, marks, leases and notes, what is purged, space given back."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import takewhile
from typing import Any

from gateway.core.model import HASTENED_SECONDS, ConnectionChange, ConnectionState, ConnectionStatus, until_reached
from gateway.store.answers import Note, Purged
from gateway.store.keeping import AHEAD_MS, kept_text
from gateway.store.protocol import REMEMBERED_SECONDS
from gateway.store.records import CONNECTION, PURGED, connection_of, moment
from gateway.store.sqlite.file import SqliteFile
from gateway.store.sqlite.writer import pragma

PAGES_A_STEP = 200  # moved to free the file's end: about 2 ms
LEAST_FREE_PAGES = 256  # 1 MiB, and a twentieth of the file: kept for what comes next

# -- connections ----------------------------------------------------------------------------------------------


def _change_connection(
    connection: sqlite3.Connection, name: str, version: int, change: ConnectionChange, now_ms: int
) -> ConnectionStatus | None:
    """Compares the version, then sets."""
    row = connection.execute("SELECT version, state, since FROM connections WHERE name = ?", (name,)).fetchone()
    if (0 if row is None else row["version"]) != version:
        return None
    new = (
        name,
        version + 1,
        change.state.value,
        row["since"] if row is not None and row["state"] == change.state.value else now_ms,
        None if change.for_seconds is None else now_ms + round(change.for_seconds * 1000),
        kept_text(change.reason),
        change.failures,
        change.pauses,
        change.failed_delivery,
    )
    connection.execute(f"INSERT OR REPLACE INTO connections ({CONNECTION}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", new)
    if row is not None and row["state"] != ConnectionState.WORKING and change.state is ConnectionState.WORKING:
        connection.execute(
            "UPDATE deliveries SET due_at = ?1 + (due_at - ?1) % ?2, attempts = max(0, attempts - 1)"
            " WHERE state = 'pending' AND held = 0 AND due_at > ?1 + ?2 AND reason = ?3",
            (now_ms, int(HASTENED_SECONDS * 1000), until_reached(name)),
        )
    return connection_of(new, now_ms)


def mark(connection: sqlite3.Connection, name: str, every_ms: int, now_ms: int) -> int:
    """See Store.mark."""
    marked_at = marked(connection, name)
    if marked_at and now_ms - every_ms < marked_at <= now_ms + AHEAD_MS:
        return marked_at
    connection.execute("INSERT OR REPLACE INTO marks (name, marked_at) VALUES (?, ?)", (name, now_ms))
    return now_ms


def marked(connection: sqlite3.Connection, name: str) -> int:
    """When; 0: never."""
    row = connection.execute("SELECT marked_at FROM marks WHERE name = ?", (name,)).fetchone()
    return 0 if row is None else int(row["marked_at"])


# -- purging --------------------------------------------------------------------------------------------------
#
# What is left of an event that goes before its id may be forgotten is its row without a body, under a negative seq:
# the unique (account, id) goes on refusing duplicates at no cost to intake, and whoever asks for events (seq > 0)
# passes it by, as all that asks by kind passes by the one kind of such rows: no type, and the state PURGED.

_KEPT = """
  SELECT 1 FROM deliveries d WHERE d.event_seq = e.seq AND CASE
    WHEN d.state IN ('pending', 'running') THEN 1
    WHEN d.state = 'blocked' THEN :dead IS NULL
    WHEN d.state = 'dead' THEN :dead IS NULL OR d.finished_at >= :dead
    ELSE d.finished_at >= :ended END
"""


def _purge(
    connection: sqlite3.Connection, cursor: int, limit: int, ended_before: int, dead_before: int | None, now_ms: int
) -> Purged:
    """Removes those of the next events that are old and done; after the last, forgets ids, then shrinks the file."""
    remembered_since = now_ms - int(REMEMBERED_SECONDS * 1000)
    if cursor == 0:
        _bound_times(connection, now_ms)
    rows = connection.execute(
        "SELECT seq, received_at FROM events WHERE seq > ? ORDER BY seq LIMIT ?", (cursor, limit)
    ).fetchall()
    old = [seq for seq, _ in takewhile(lambda row: row["received_at"] < ended_before, rows)]
    if old:
        deliveries, attempts, events = _remove(connection, old, ended_before, dead_before, remembered_since)
        return Purged(events, deliveries, attempts, old[-1])
    more = _forget(connection, limit, remembered_since) or _shrink(connection)
    return Purged(0, 0, 0, cursor if more else None)


def _bound_times(connection: sqlite3.Connection, now_ms: int) -> None:
    """Takes for now what a clock that was ahead has left in the future: else all that is counted from it would wait for
    the clock to catch up.
    """
    values = {"now": now_ms, "ahead": now_ms + AHEAD_MS}
    connection.execute(
        "UPDATE deliveries SET created_at = min(created_at, :now),"
        " due_at = max(min(due_at, :now), coalesce(waits_until, 0))"
        " WHERE event_seq IN (SELECT seq FROM events WHERE received_at > :ahead) AND state <> 'running'",
        values,
    )
    connection.execute(  # released by the wrong time: none has asked for a wait that a look too early would break
        "UPDATE deliveries SET due_at = max(:now, coalesce(waits_until, 0)) WHERE state = 'pending' AND held = 0"
        " AND attempts = 0 AND due_at > :ahead AND due_at > coalesce(waits_until, 0)",
        values,
    )
    connection.execute(  # tried by the wrong time: it waits as long as it was to wait then
        "UPDATE deliveries SET due_at = :now + due_at - claimed_at, claimed_at = :now"
        " WHERE state = 'pending' AND held = 0 AND due_at > :ahead AND claimed_at > :ahead AND due_at > claimed_at"
        " AND waits_until IS NULL",
        values,
    )
    connection.execute("UPDATE connections SET until = :now + until - since WHERE since > :ahead", values)
    connection.execute(  # by the index: there are many; Stripe's `created` was told by no clock of ours
        "UPDATE until_events SET seen_at = :now, happened_at = CASE WHEN EXISTS (SELECT 1 FROM events"
        " WHERE seq = event_seq AND created_at IS NOT NULL AND source NOT IN ('gateway', 'send')) THEN happened_at"
        " ELSE min(happened_at, :now) END WHERE seen_at > :ahead",
        values,
    )
    for table, column in (
        ("events", "received_at"),
        ("deliveries", "finished_at"),
        ("done_once", "done_at"),
        ("marks", "marked_at"),
        ("notes", "kept_at"),
        ("connections", "since"),
    ):
        connection.execute(f"UPDATE {table} SET {column} = :now WHERE {column} > :ahead", values)


def _remove(
    connection: sqlite3.Connection, seqs: Sequence[int], ended: int, dead: int | None, remembered_since: int
) -> tuple[int, int, int]:
    """Removes what may go among these events: deliveries, attempts, events."""
    going = connection.execute(
        "SELECT e.seq, e.received_at FROM events e WHERE e.seq BETWEEN :first AND :last AND NOT EXISTS (" + _KEPT + ")",
        {"first": seqs[0], "last": seqs[-1], "ended": ended, "dead": dead},
    ).fetchall()
    gone = [(seq,) for seq, _ in going]
    connection.executemany(
        "INSERT OR REPLACE INTO done_once (once_key, delivery_id, done_at) SELECT once_key, id, finished_at"
        " FROM deliveries WHERE event_seq = ? AND state = 'succeeded' AND once_key IS NOT NULL AND finished_at > ?",
        [(seq, remembered_since) for seq, _ in going],
    )
    for table in ("events", "deliveries"):
        connection.execute(
            f"INSERT INTO numbers (name, last) VALUES ('{table}', (SELECT coalesce(max(seq), 0) FROM {table}))"
            " ON CONFLICT (name) DO UPDATE SET last = max(last, excluded.last)"
        )
    attempts = connection.executemany(
        "DELETE FROM attempts WHERE delivery_seq IN (SELECT seq FROM deliveries WHERE event_seq = ?)", gone
    ).rowcount
    deliveries = connection.executemany("DELETE FROM deliveries WHERE event_seq = ?", gone).rowcount
    forgotten = [(seq,) for seq, received_at in going if received_at <= remembered_since]
    connection.executemany("DELETE FROM events WHERE seq = ?", forgotten)
    (lowest,) = connection.execute(
        "SELECT min(seq, 0) FROM (SELECT coalesce(min(seq), 0) AS seq FROM events)"
    ).fetchone()
    kept = [seq for seq, received_at in going if received_at > remembered_since]
    connection.executemany(
        f"UPDATE events SET seq = ?, type = '', state = '{PURGED}', body = x'', object_id = NULL WHERE seq = ?",
        [(lowest - number, seq) for number, seq in enumerate(kept, 1)],
    )
    return max(0, deliveries), max(0, attempts), len(going)


def _forget(connection: sqlite3.Connection, limit: int, remembered_since: int) -> bool:
    """Forgets ids and once keys that are remembered no longer. Whether there may be more."""
    rows = connection.execute("SELECT seq, received_at FROM events WHERE seq < 0 ORDER BY seq DESC LIMIT ?", (limit,))
    old = [(seq,) for seq, _ in takewhile(lambda row: row["received_at"] <= remembered_since, rows.fetchall())]
    connection.executemany("DELETE FROM events WHERE seq = ?", old)
    keys = connection.execute(
        "DELETE FROM done_once WHERE once_key IN (SELECT once_key FROM done_once WHERE done_at <= ? LIMIT ?)",
        (remembered_since, limit),
    ).rowcount
    endings = connection.execute(
        "DELETE FROM until_events WHERE until_key IN (SELECT until_key FROM until_events WHERE seen_at <= ?"
        " AND NOT EXISTS (SELECT 1 FROM notes WHERE name = 'until:' || until_key) LIMIT ?)",
        (remembered_since, limit),
    ).rowcount
    return limit in (len(old), keys, endings)


def _shrink(connection: sqlite3.Connection) -> bool:
    """Gives a little of the file's free space back. Whether there is more; never, in a file without auto_vacuum."""
    free = pragma(connection, "freelist_count")
    spare = free - max(LEAST_FREE_PAGES, pragma(connection, "page_count") // 20)
    if spare <= 0:
        return False
    for _ in range(min(spare, PAGES_A_STEP)):
        connection.execute("PRAGMA incremental_vacuum(1)")  # of more, Python's sqlite3 does only the first
    return pragma(connection, "freelist_count") < free


class SqliteMaintenance(SqliteFile):
    """The methods of `ConnectionStore`, `PurgeStore` and `SharedStore`."""

    async def connections(self) -> Mapping[str, ConnectionStatus]:
        sql = f"SELECT {CONNECTION} FROM connections ORDER BY name"
        return await self._read(lambda c: {row["name"]: connection_of(row, self._now_ms()) for row in c.execute(sql)})

    async def change_connection(self, name: str, version: int, change: ConnectionChange) -> ConnectionStatus | None:
        return await self._do(lambda c: _change_connection(c, name, version, change, self._now_ms()))

    async def mark(self, name: str, every_seconds: float) -> datetime:
        return moment(await self._do(lambda c: mark(c, name, int(every_seconds * 1000), self._now_ms())))

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
            return _purge(connection, cursor, limit, now - int(retention_seconds * 1000), dead, now)

        return await self._do(step)

    async def take_lease(self, name: str, holder: str, *, lease_seconds: float) -> bool:
        def take(connection: sqlite3.Connection) -> bool:
            now = self._now_ms()
            connection.execute(
                "INSERT INTO leases (name, holder, until_at) VALUES (?, ?, ?)"
                " ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until_at = excluded.until_at"
                " WHERE holder = excluded.holder OR until_at NOT BETWEEN ? AND excluded.until_at + ?",
                (name, holder, now + int(lease_seconds * 1000), now + 1, AHEAD_MS),
            )
            (held_by,) = connection.execute("SELECT holder FROM leases WHERE name = ?", (name,)).fetchone()
            return bool(held_by == holder)

        return await self._do(take)

    async def release_lease(self, name: str, holder: str) -> None:
        await self._do(lambda c: c.execute("DELETE FROM leases WHERE name = ? AND holder = ?", (name, holder)))

    async def note(self, name: str) -> Note | None:
        sql = "SELECT value, kept_at FROM notes WHERE name = ?"
        row = await self._read(lambda c: c.execute(sql, (name,)).fetchone())
        if row is None:
            return None
        return Note(json.loads(row["value"]), max(0, self._now_ms() - row["kept_at"]) / 1000)

    async def keep_note(self, name: str, value: Mapping[str, Any] | None) -> None:
        if value is None:
            await self._do(lambda c: c.execute("DELETE FROM notes WHERE name = ?", (name,)))
            return
        sql = "INSERT OR REPLACE INTO notes (name, value, kept_at) VALUES (?, ?, ?)"
        await self._do(lambda c: c.execute(sql, (name, json.dumps(value), self._now_ms())))
