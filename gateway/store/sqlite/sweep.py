"""Sweeps through what a SQLite file keeps: plain functions over a connection, called by the writer's thread."""

from __future__ import annotations

import sqlite3

from gateway.store.sweep import CHANGED_COLUMNS, DELIVERY_COLUMNS, ContentsPage, EventContents, put_together

PAGES_A_STEP = 500  # given back in one transaction
NO_AUTO_VACUUM = (
    "the file was made by an early version, whose free space may still hold old copies: stop the gateway and run "
    "`sqlite3 FILE VACUUM` once"
)
LOG_IN_USE = "another process kept the file's log (-wal) open: it is emptied when the gateway next stops"


class _Moved(Exception):  # noqa: N818
    """What was to be replaced has changed meanwhile."""


def contents(connection: sqlite3.Connection, after: int, limit: int) -> ContentsPage:
    """See Store.contents."""
    events = connection.execute(
        "SELECT seq, account, id, object_id, body FROM events WHERE seq > ? AND seq > 0 ORDER BY seq LIMIT ?",
        (after, limit),
    ).fetchall()
    marks = ",".join("?" * len(events))
    deliveries = connection.execute(
        f"SELECT {DELIVERY_COLUMNS} FROM deliveries WHERE event_seq IN ({marks}) ORDER BY seq",
        [row[0] for row in events],
    ).fetchall()
    errors = [
        row
        for delivery in deliveries
        for row in connection.execute(
            "SELECT delivery_seq, number, error FROM attempts WHERE delivery_seq = ? AND error IS NOT NULL",
            (delivery[1],),
        )
    ]
    return ContentsPage(put_together(events, deliveries, errors), events[-1][0] if len(events) == limit else None)


def replace_contents(connection: sqlite3.Connection, before: EventContents, after: EventContents) -> bool:
    """See Store.replace_contents."""
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
            f"UPDATE deliveries SET {sets} WHERE seq = ? AND state = ? AND {same}",
            (
                *(getattr(new, column) for column in CHANGED_COLUMNS),
                old.seq,
                old.state,
                *(getattr(old, column) for column in CHANGED_COLUMNS),
            ),
        ).rowcount:
            raise _Moved
        if new.errors != old.errors:
            connection.executemany(
                "UPDATE attempts SET error = ? WHERE delivery_seq = ? AND number = ?",
                [(error, old.seq, number) for number, error in new.errors],
            )


def replace_rejected(connection: sqlite3.Connection, rejected_id: str, body: bytes) -> bool:
    """See Store.replace_rejected."""
    return connection.execute("UPDATE rejected SET body = ? WHERE id = ?", (body, rejected_id)).rowcount > 0


def give_back(connection: sqlite3.Connection) -> bool:
    """Cuts free pages, which may hold what was erased, off the file; some at a time. Whether there are more."""
    for _ in range(PAGES_A_STEP):
        connection.execute("PRAGMA incremental_vacuum(1)")  # of more, Python's sqlite3 does only the first
        (free,) = connection.execute("PRAGMA freelist_count").fetchone()
        if not free:
            return False
    return True


def has_auto_vacuum(connection: sqlite3.Connection) -> bool:
    """Whether the file can give pages back."""
    mode: int = connection.execute("PRAGMA auto_vacuum").fetchone()[0]
    return mode != 0


def empty_log(connection: sqlite3.Connection) -> bool:
    """Copies the log into the file and cuts it to nothing. False where another process is in the way."""
    is_busy: int = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    return not is_busy
