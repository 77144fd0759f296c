"""Leases and notes inside one SQLite transaction: plain functions over a connection, called by the writer's thread."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from typing import Any

from gateway.store.answers import Note


def take_lease(connection: sqlite3.Connection, name: str, holder: str, lease_ms: int, now_ms: int) -> bool:
    """Takes it where nobody else has it, or prolongs it."""
    connection.execute(
        "INSERT INTO leases (name, holder, until_at) VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE"
        " SET holder = excluded.holder, until_at = excluded.until_at WHERE holder = excluded.holder OR until_at <= ?",
        (name, holder, now_ms + lease_ms, now_ms),
    )
    (held_by,) = connection.execute("SELECT holder FROM leases WHERE name = ?", (name,)).fetchone()
    return bool(held_by == holder)


def release_lease(connection: sqlite3.Connection, name: str, holder: str) -> None:
    """Gives it back where it is still the holder's."""
    connection.execute("DELETE FROM leases WHERE name = ? AND holder = ?", (name, holder))


def note(connection: sqlite3.Connection, name: str, now_ms: int) -> Note | None:
    """What is kept under a name."""
    row = connection.execute("SELECT value, kept_at FROM notes WHERE name = ?", (name,)).fetchone()
    return Note(json.loads(row[0]), (now_ms - row[1]) / 1000) if row is not None else None


def keep_note(connection: sqlite3.Connection, name: str, value: Mapping[str, Any] | None, now_ms: int) -> None:
    """Keeps it instead of what was there."""
    if value is None:
        connection.execute("DELETE FROM notes WHERE name = ?", (name,))
        return
    connection.execute(
        "INSERT INTO notes (name, value, kept_at) VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE"
        " SET value = excluded.value, kept_at = excluded.kept_at",
        (name, json.dumps(value), now_ms),
    )
