"""Digests on SQLite, and marks of what is done or told only every so often. Plain functions over a connection."""

from __future__ import annotations

import json
import sqlite3

from gateway.core.model import Gathered
from gateway.store.records import EVENT, digest_reason, event_of


def gather(
    connection: sqlite3.Connection,
    delivery_id: str,
    token: str,
    wait_ms: int,
    every_ms: int,
    most: int,
    now_ms: int,
) -> Gathered | float | None:
    """See Store.gather."""
    row = connection.execute(
        "SELECT seq, event_seq, order_key, created_at, digest FROM deliveries"
        " WHERE id = ? AND token = ? AND state = 'running'",
        (delivery_id, token),
    ).fetchone()
    if row is None:
        return None
    seq, event_seq, order_key, created_at, digest = row
    if digest is None:
        opens_at = max(created_at + wait_ms, _marked(connection, order_key) + every_ms)
        if opens_at > now_ms:
            return float(opens_at - now_ms) / 1000
        mark(connection, order_key, 0, now_ms)
        others = "order_key = ? AND state = 'pending' AND digest IS NULL"
        taken = connection.execute(f"SELECT event_seq FROM deliveries WHERE {others} ORDER BY seq", (order_key,))
        digest = json.dumps([event_seq, *(one for (one,) in taken)])
        connection.execute(
            f"UPDATE deliveries SET state = 'skipped', held = 0, reason = ?, finished_at = ? WHERE {others}",
            (digest_reason(delivery_id), now_ms, order_key),
        )
        connection.execute("UPDATE deliveries SET digest = ? WHERE seq = ?", (digest, seq))
    seqs = json.loads(digest)
    marks = ",".join("?" * len(seqs[:most]))
    events = connection.execute(f"SELECT {EVENT} FROM events WHERE seq IN ({marks}) ORDER BY seq", seqs[:most])
    return Gathered([event_of(one) for one in events], len(seqs))


def mark(connection: sqlite3.Connection, name: str, every_ms: int, now_ms: int) -> int:
    """See Store.mark."""
    marked_at = _marked(connection, name)
    if marked_at and marked_at + every_ms > now_ms:
        return marked_at
    connection.execute("INSERT OR REPLACE INTO marks (name, marked_at) VALUES (?, ?)", (name, now_ms))
    return now_ms


def _marked(connection: sqlite3.Connection, name: str) -> int:
    """When; 0: never."""
    row = connection.execute("SELECT marked_at FROM marks WHERE name = ?", (name,)).fetchone()
    return 0 if row is None else int(row[0])
