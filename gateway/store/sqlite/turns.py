"""Turns and needs inside one SQLite transaction: whose delivery of a key goes next, and who waits for what it needs."""

from __future__ import annotations

import json
import sqlite3

from gateway.core.model import End, Need, was_dry
from gateway.core.model.needs import needs_of, never_runs, otherwise_of, reason_for, settle

REVIVED = ("skipped", "cancelled", "expired")
"""The ends of an action for whose sake others were skipped, who wait again when a person retries it."""


def hold_in_turn(connection: sqlite3.Connection, seq: int, *, once_key: str | None, order_key: str | None) -> None:
    """Puts a delivery that has just become pending in its place among those with the same keys.

    Each statement is one look into an index, however many wait: of a key's pending deliveries all but one are held.
    """
    held = 0
    for column, key in (("order_key", order_key), ("once_key", once_key)):
        if key is None:
            continue
        another = f"EXISTS (SELECT 1 FROM deliveries WHERE {column} = ?1 AND state ="
        (others,) = connection.execute(
            f"SELECT {another} 'running' AND seq <> ?2) OR {another} 'pending' AND held = 0 AND seq < ?2)"
            f" OR {another} 'pending' AND held = 1 AND seq < ?2)",
            (key, seq),
        ).fetchone()
        held = held or others
        connection.execute(
            f"UPDATE deliveries SET held = 1 WHERE {column} = ?1 AND state = 'pending' AND held = 0 AND seq > ?2",
            (key, seq),
        )
    connection.execute("UPDATE deliveries SET held = ? WHERE seq = ?", (held, seq))


def pass_turn(connection: sqlite3.Connection, *, once_key: str | None, order_key: str | None) -> None:
    """Lets the next of those with the same keys go, after one has ended."""
    for column, key in (("order_key", order_key), ("once_key", once_key)):
        if key is None:
            continue
        following = connection.execute(
            "SELECT seq, once_key, order_key FROM deliveries WHERE seq = (SELECT min(seq) FROM ("
            f"SELECT min(seq) AS seq FROM deliveries WHERE {column} = ?1 AND state = 'pending' AND held = 0"
            f" UNION ALL SELECT min(seq) FROM deliveries WHERE {column} = ?1 AND state = 'pending' AND held = 1))",
            (key,),
        ).fetchone()
        if following:
            hold_in_turn(connection, following["seq"], once_key=following["once_key"], order_key=following["order_key"])


def take_turn_anew(connection: sqlite3.Connection, seq: int, *, once_key: str | None, order_key: str | None) -> None:
    """Asks again whose turn it is, after one that ran has become pending: one that came before it may wait now."""
    hold_in_turn(connection, seq, once_key=once_key, order_key=order_key)
    pass_turn(connection, once_key=once_key, order_key=order_key)


def make_due(connection: sqlite3.Connection, row: sqlite3.Row, now_ms: int) -> None:
    """Makes a delivery, of which `row` has seq and keys, pending and due now, or when its time comes, in its turn."""
    connection.execute(
        "UPDATE deliveries SET state = 'pending', due_at = max(?, coalesce(waits_until, 0)) WHERE seq = ?",
        (now_ms, row["seq"]),
    )
    hold_in_turn(connection, row["seq"], once_key=row["once_key"], order_key=row["order_key"])


def settle_dependents(
    connection: sqlite3.Connection, event_seq: int, run_id: str, ended: str | None, now_ms: int
) -> None:
    """Makes pending, or skips, what waited in a run for the action that has ended; see `core.model.needs.settle`."""
    rows = connection.execute(
        "SELECT seq, action, needs, state, once_key, order_key, reason, runs FROM deliveries"
        " WHERE event_seq = ? AND run_id = ?",
        (event_seq, run_id),
    ).fetchall()
    blocked = {row["action"]: row for row in rows if row["state"] == "blocked"}
    if not blocked:
        return
    ends = {row["action"]: _end_of(row) for row in rows}
    settled = settle(ends, {action: needs_of(row["needs"]) for action, row in blocked.items()}, ended)
    for action, reason in settled.skipped.items():
        connection.execute(
            "UPDATE deliveries SET state = 'skipped', reason = ?, finished_at = ? WHERE seq = ?",
            (reason, now_ms, blocked[action]["seq"]),
        )
    for action in settled.released:
        make_due(connection, blocked[action], now_ms)


def _end_of(row: sqlite3.Row) -> End:
    """Where a delivery stands. One that is dead and never ran, since routing failed, has not begun."""
    return End("pending", None) if row["state"] == "dead" and not row["runs"] else End(row["state"], row["reason"])


def revive_dependents(connection: sqlite3.Connection, event_seq: int, run_id: str, action: str) -> None:
    """Blocks again what was skipped only because `action` was skipped, cancelled, expired or a dry run."""
    rows = connection.execute(
        "SELECT seq, action, needs, reason FROM deliveries WHERE event_seq = ? AND run_id = ? AND state = 'skipped'",
        (event_seq, run_id),
    ).fetchall()
    because = [reason_for(action, state) for state in REVIVED]
    revived = [row["seq"] for row in rows if row["reason"] in because]
    dry = {row["action"]: json.loads(row["needs"]) for row in rows if was_dry("skipped", row["reason"])}
    again = {action}
    while more := {name for name, needs in dry.items() if name not in again and again.intersection(needs)}:
        again |= more
    revived += [row["seq"] for row in rows if row["action"] in again and row["action"] in dry]
    connection.executemany(
        "UPDATE deliveries SET state = 'blocked', attempts = 0, reason = NULL, finished_at = NULL WHERE seq = ?",
        [(seq,) for seq in revived],
    )


def why_never(connection: sqlite3.Connection, event_seq: int, run_id: str, needs: str) -> str | None:
    """Why what has these needs could wait for ever: one of them has succeeded, and should have ended otherwise."""
    wanted = otherwise_of(needs_of(needs))
    if not wanted:
        return None
    rows = connection.execute(
        "SELECT action FROM deliveries WHERE event_seq = ? AND run_id = ? AND state = 'succeeded'", (event_seq, run_id)
    )
    done = {row["action"] for row in rows}
    return next(
        (never_runs(name, need) for name, need in wanted.items() if name in done and need is not Need.ANY), None
    )


def done_by(connection: sqlite3.Connection, once_key: str, seq: int) -> str | None:
    """The id of another delivery that succeeded on this once_key, also where it is purged and only that is known."""
    for sql, args in (
        (
            "SELECT id FROM deliveries WHERE once_key = ?1 AND state = 'succeeded' AND seq <> ?2 LIMIT 1",
            (once_key, seq),
        ),
        ("SELECT delivery_id FROM done_once WHERE once_key = ?", (once_key,)),
    ):
        row = connection.execute(sql, args).fetchone()
        if row is not None:
            return str(row[0])
    return None
