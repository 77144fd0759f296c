"""Upkeep inside one SQLite transaction: how connections stand, what is purged, and space given back."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import takewhile

from gateway.core.model import ConnectionChange, ConnectionStatus
from gateway.store.answers import Purged
from gateway.store.protocol import REMEMBERED_SECONDS
from gateway.store.records import CONNECTION, PURGED, connection_of

PAGES_A_STEP = 200  # moved to free the file's end: about 2 ms
LEAST_FREE_PAGES = 256  # 1 MiB, and a twentieth of the file: kept for what comes next

# -- connections ----------------------------------------------------------------------------------------------


def connections(connection: sqlite3.Connection, now_ms: int) -> dict[str, ConnectionStatus]:
    """Every connection that was ever changed."""
    rows = connection.execute(f"SELECT {CONNECTION} FROM connections ORDER BY name")
    return {row[0]: connection_of(row, now_ms) for row in rows}


def change_connection(
    connection: sqlite3.Connection, name: str, version: int, change: ConnectionChange, now_ms: int
) -> ConnectionStatus | None:
    """Compares the version, then sets."""
    row = connection.execute("SELECT version, state, since FROM connections WHERE name = ?", (name,)).fetchone()
    if (0 if row is None else row[0]) != version:
        return None
    new = (
        name,
        version + 1,
        change.state.value,
        row[2] if row is not None and row[1] == change.state.value else now_ms,
        None if change.for_seconds is None else now_ms + round(change.for_seconds * 1000),
        change.reason,
        change.failures,
        change.pauses,
        change.failed_delivery,
    )
    connection.execute(f"INSERT OR REPLACE INTO connections ({CONNECTION}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", new)
    return connection_of(new, now_ms)


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


def purge(
    connection: sqlite3.Connection, cursor: int, limit: int, ended_before: int, dead_before: int | None, now_ms: int
) -> Purged:
    """Removes those of the next events that are old and done; after the last, forgets ids, then shrinks the file."""
    remembered_since = now_ms - int(REMEMBERED_SECONDS * 1000)
    rows = connection.execute(
        "SELECT seq, received_at FROM events WHERE seq > ? ORDER BY seq LIMIT ?", (cursor, limit)
    ).fetchall()
    old = [seq for seq, _ in takewhile(lambda row: row[1] < ended_before, rows)]
    if old:
        deliveries, attempts, events = _remove(connection, old, ended_before, dead_before, remembered_since)
        return Purged(events, deliveries, attempts, old[-1])
    more = _forget(connection, limit, remembered_since) or _shrink(connection)
    return Purged(0, 0, 0, cursor if more else None)


def _remove(
    connection: sqlite3.Connection, seqs: Sequence[int], ended: int, dead: int | None, remembered_since: int
) -> tuple[int, int, int]:
    """Removes what may go among these events: deliveries, attempts, events."""
    found = connection.execute(
        "SELECT e.seq, e.received_at FROM events e WHERE e.seq BETWEEN :first AND :last AND NOT EXISTS (" + _KEPT + ")",
        {"first": seqs[0], "last": seqs[-1], "ended": ended, "dead": dead},
    ).fetchall()
    gone = [(seq,) for seq, _ in found]
    connection.executemany(
        "INSERT OR REPLACE INTO done_once (once_key, delivery_id, done_at) SELECT once_key, id, finished_at"
        " FROM deliveries WHERE event_seq = ? AND state = 'succeeded' AND once_key IS NOT NULL AND finished_at > ?",
        [(seq, remembered_since) for seq, _ in found],
    )
    attempts = connection.executemany(
        "DELETE FROM attempts WHERE delivery_seq IN (SELECT seq FROM deliveries WHERE event_seq = ?)", gone
    ).rowcount
    deliveries = connection.executemany("DELETE FROM deliveries WHERE event_seq = ?", gone).rowcount
    forgotten = [(seq,) for seq, received_at in found if received_at <= remembered_since]
    connection.executemany("DELETE FROM events WHERE seq = ?", forgotten)
    (lowest,) = connection.execute(
        "SELECT min(seq, 0) FROM (SELECT coalesce(min(seq), 0) AS seq FROM events)"
    ).fetchone()
    kept = [seq for seq, received_at in found if received_at > remembered_since]
    connection.executemany(
        f"UPDATE events SET seq = ?, type = '', state = '{PURGED}', body = x'', object_id = NULL WHERE seq = ?",
        [(lowest - number, seq) for number, seq in enumerate(kept, 1)],
    )
    return max(0, deliveries), max(0, attempts), len(found)


def _forget(connection: sqlite3.Connection, limit: int, remembered_since: int) -> bool:
    """Forgets ids and once keys that are remembered no longer. Whether there may be more."""
    rows = connection.execute("SELECT seq, received_at FROM events WHERE seq < 0 ORDER BY seq DESC LIMIT ?", (limit,))
    old = [(seq,) for seq, _ in takewhile(lambda row: row[1] <= remembered_since, rows.fetchall())]
    connection.executemany("DELETE FROM events WHERE seq = ?", old)
    keys = connection.execute(
        "DELETE FROM done_once WHERE once_key IN (SELECT once_key FROM done_once WHERE done_at <= ? LIMIT ?)",
        (remembered_since, limit),
    ).rowcount
    return len(old) == limit or keys == limit


def _shrink(connection: sqlite3.Connection) -> bool:
    """Gives a little of the file's free space back. Whether there is more; never, in a file without auto_vacuum."""
    free = _pragma(connection, "freelist_count")
    spare = free - max(LEAST_FREE_PAGES, _pragma(connection, "page_count") // 20)
    if spare <= 0:
        return False
    for _ in range(min(spare, PAGES_A_STEP)):
        connection.execute("PRAGMA incremental_vacuum(1)")  # of more, Python's sqlite3 does only the first
    return _pragma(connection, "freelist_count") < free


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    found: int = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return found
