"""Rejected requests inside one SQLite transaction: plain functions over a connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from gateway.core.model import RejectedBounds, RejectedRequest
from gateway.store.records import REJECTED, milliseconds

_INSERT = f"INSERT INTO rejected ({REJECTED}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_OVER = """
DELETE FROM rejected WHERE seq IN (
  WITH shared AS (
    SELECT seq, size, sum(max(size * :requests, :size)) OVER (PARTITION BY address ORDER BY seq DESC) AS share
    FROM rejected
  ), placed AS (
    SELECT seq, row_number() OVER place AS requests, sum(size) OVER place AS total FROM shared
    WINDOW place AS (ORDER BY share, seq DESC)
  )
  SELECT seq FROM placed WHERE requests > :requests OR total > :size
)
"""
"""`share` is what an address takes with a request and its newer ones, of the number or of the bytes, whichever is more.
Those with the smallest shares stay, as many as the bounds allow.
"""


def keep(
    connection: sqlite3.Connection, requests: Sequence[RejectedRequest], bounds: RejectedBounds, now_ms: int
) -> int:
    """Inserts, then drops what is over the bounds; how many."""
    connection.executemany(
        _INSERT,
        [
            (r.id, milliseconds(r.received_at), r.account, r.reason, r.address, r.peer, r.forwarded_for, r.signature,
             r.size, r.body)
            for r in requests
        ],
    )  # fmt: skip
    dropped = connection.execute(
        "DELETE FROM rejected WHERE received_at < ?", (now_ms - round(bounds.age_seconds * 1000),)
    ).rowcount
    count, size = connection.execute("SELECT count(*), coalesce(sum(size), 0) FROM rejected").fetchone()
    if count > bounds.requests or size > bounds.size:
        dropped += connection.execute(_OVER, {"requests": bounds.requests, "size": bounds.size}).rowcount
    return dropped


def forget(connection: sqlite3.Connection, rejected_ids: Sequence[str]) -> int:
    """Drops them; how many there were."""
    return sum(connection.execute("DELETE FROM rejected WHERE id = ?", (one,)).rowcount for one in rejected_ids)
