"""Bursts on SQLite: of the deliveries of a `debounce` that come close together, the last one acts."""

from __future__ import annotations

import sqlite3

from gateway.core.model import Burst
from gateway.store.keeping import AHEAD_MS, kept_key, kept_ms
from gateway.store.records import burst_reason
from gateway.store.sqlite.turns import hold_in_turn, pass_turn, settle_dependents, take_turn_anew
from gateway.store.sqlite.waiting import end_overtaken

OTHERS = "d.state = 'pending' AND d.order_key = ? AND d.seq <> ?"


def settle_burst(connection: sqlite3.Connection, seq: int, order_key: str | None, burst: Burst, now_ms: int) -> None:
    """Of the pending deliveries of a key, to which `seq` has just been given back, has it wait, or ends all but one."""
    end_overtaken(connection, now_ms, OTHERS, order_key, seq)  # it would stand for the others, and then be cancelled
    rows = connection.execute(
        "SELECT d.seq, d.id, d.created_at, d.event_seq, d.run_id, d.action, d.has_dependents, d.once_key, d.order_key,"
        " coalesce(e.created_at, e.received_at) AS happened_at FROM deliveries d JOIN events e ON e.seq = d.event_seq"
        " WHERE d.state = 'pending' AND (d.order_key = ? OR d.seq = ?) ORDER BY d.seq",
        (order_key, seq),
    ).fetchall()
    own = next(row for row in rows if row["seq"] == seq)
    came = [now_ms if row["created_at"] > now_ms + AHEAD_MS else row["created_at"] for row in rows]
    opens_at = min(max(came) + kept_ms(burst.wait_seconds), min(came) + kept_ms(burst.max_seconds))
    if opens_at > now_ms:
        connection.execute("UPDATE deliveries SET due_at = ? WHERE seq = ?", (opens_at, seq))
        take_turn_anew(connection, seq, once_key=own["once_key"], order_key=order_key)
        return
    last = max(rows, key=lambda row: (row["happened_at"], row["seq"]))
    settled_key = kept_key(burst.settled_key)
    connection.execute(
        "UPDATE deliveries SET order_key = ?, due_at = ?, reason = NULL WHERE seq = ?",
        (settled_key, now_ms, last["seq"]),
    )
    for row in rows:
        if row is last:
            continue
        connection.execute(
            "UPDATE deliveries SET state = 'skipped', held = 0, reason = ?, finished_at = ? WHERE seq = ?",
            (burst_reason(last["id"]), now_ms, row["seq"]),
        )
        if row["has_dependents"]:
            settle_dependents(connection, row["event_seq"], row["run_id"], row["action"], now_ms)
    hold_in_turn(connection, last["seq"], once_key=last["once_key"], order_key=settled_key)
    for row in rows:
        pass_turn(connection, once_key=row["once_key"], order_key=row["order_key"])
    pass_turn(connection, once_key=None, order_key=settled_key)
