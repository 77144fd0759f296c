"""Digests on SQLite: what one delivery takes along."""

from __future__ import annotations

import json
import sqlite3

from gateway.core.model import Gathered
from gateway.store.keeping import AHEAD_MS
from gateway.store.records import EVENT, digest_reason, event_of
from gateway.store.sqlite.maintenance import mark, marked


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
        if created_at > now_ms + AHEAD_MS:
            created_at = now_ms
            connection.execute("UPDATE deliveries SET created_at = ? WHERE seq = ?", (now_ms, seq))
        marked_at = marked(connection, order_key)
        if marked_at > now_ms + AHEAD_MS:
            marked_at = mark(connection, order_key, 0, now_ms)
        opens_at = max(created_at + wait_ms, marked_at + every_ms)
        if opens_at > now_ms:
            return float(opens_at - now_ms) / 1000
        mark(connection, order_key, 0, now_ms)
        others = "order_key = ? AND state = 'pending' AND digest IS NULL"
        taken = connection.execute(f"SELECT event_seq FROM deliveries WHERE {others}", (order_key,))
        digest = json.dumps(sorted({event_seq, *(row["event_seq"] for row in taken)}))  # one that is replayed is one
        connection.execute(
            f"UPDATE deliveries SET state = 'skipped', held = 0, reason = ?, finished_at = ? WHERE {others}",
            (digest_reason(delivery_id), now_ms, order_key),
        )
        connection.execute("UPDATE deliveries SET digest = ? WHERE seq = ?", (digest, seq))
    seqs = json.loads(digest)
    marks = ",".join("?" * len(seqs[:most]))
    events = connection.execute(f"SELECT {EVENT} FROM events WHERE seq IN ({marks}) ORDER BY seq", seqs[:most])
    return Gathered([event_of(row) for row in events], len(seqs))
