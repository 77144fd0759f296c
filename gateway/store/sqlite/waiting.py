"""Deliveries that wait until a time, and events that cancel them, inside one SQLite transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Sequence
from operator import itemgetter

from gateway.core.model import Event, PlannedDelivery
from gateway.store.keeping import kept_key, kept_text
from gateway.store.records import milliseconds, planned_reason, until_reason
from gateway.store.sqlite.turns import pass_turn, settle_dependents

_PLAN = (
    "UPDATE deliveries SET due_at = max(due_at, ?1), waits_until = ?1, reason = ?2, until_key = ?3"
    " WHERE id = ?4 AND state IN ('blocked', 'pending')"
)
_KEEP = """
INSERT INTO until_events (until_key, event_seq, event_id, event_type, happened_at, seen_at)
SELECT ?1, seq, id, type, coalesce(created_at, received_at), ?2 FROM events WHERE seq = ?3
ON CONFLICT (until_key) DO UPDATE SET event_seq = excluded.event_seq, event_id = excluded.event_id,
  event_type = excluded.event_type, happened_at = excluded.happened_at, seen_at = excluded.seen_at
WHERE (excluded.happened_at, excluded.event_seq) > (happened_at, event_seq)
"""
OVERTAKEN = """
SELECT d.seq, d.event_seq, d.run_id, d.action, d.has_dependents, d.once_key, d.order_key, u.event_id, u.event_type
FROM deliveries d JOIN until_events u ON u.until_key = d.until_key JOIN events e ON e.seq = d.event_seq
WHERE d.state IN ('blocked', 'pending')
  AND (u.happened_at, u.event_seq) > (coalesce(e.created_at, e.received_at), e.seq)
"""
MOST_ENDED = 256  # deliveries in one transaction, in which intake waits: about 5 ms
OF_KEY = "d.until_key = ? ORDER BY d.seq LIMIT ?"
_NOTED = "until:"  # before a key: what the name of a note says of which more is to be cancelled


def plan_waits(connection: sqlite3.Connection, planned: Iterable[PlannedDelivery], ids: Iterable[str]) -> set[str]:
    """Sets what deliveries that were just made wait for. Returns their keys of `until`."""
    keys = set()
    for plan, delivery_id in zip(planned, ids, strict=True):
        key = kept_key(plan.until_key)
        if plan.waits_until is not None:
            row = (milliseconds(plan.waits_until), kept_text(planned_reason(plan)), key, delivery_id)
            connection.execute(_PLAN, row)
        elif key is not None:
            connection.execute("UPDATE deliveries SET until_key = ? WHERE id = ?", (key, delivery_id))
        keys |= set() if key is None else {key}
    return keys


def keep_endings(connection: sqlite3.Connection, arrivals: Sequence[tuple[int, Event]], now_ms: int) -> set[str]:
    """Remembers what events, given with their seqs, cancel. Returns their keys."""
    keys = set()
    for seq, event in arrivals:
        for key in map(kept_key, event.ends):
            assert key is not None
            connection.execute(_KEEP, (key, now_ms, seq))
            keys.add(key)
    return keys


def end_waiting(connection: sqlite3.Connection, keys: Collection[str], now_ms: int) -> None:
    """Cancels what has not been claimed and whose `until`, by one of these keys, names an event that happened after its
    own: that has a later `created`, or in the same second came later. As much as one transaction takes: what is left is
    noted for `end_left`, and whoever claims it meanwhile, or revives it, finds it overtaken.
    """
    rows: list[sqlite3.Row] = []
    for key in sorted(keys):
        rows += connection.execute(f"{OVERTAKEN} AND {OF_KEY}", (key, MOST_ENDED - len(rows))).fetchall()
        if len(rows) < MOST_ENDED:
            connection.execute("DELETE FROM notes WHERE name = ?", (_NOTED + key,))
        else:
            note = (_NOTED + key, "{}", now_ms)
            connection.execute("INSERT OR IGNORE INTO notes (name, value, kept_at) VALUES (?, ?, ?)", note)
    _end(connection, sorted(rows, key=itemgetter("seq")), now_ms)


def end_left(connection: sqlite3.Connection, now_ms: int) -> bool:
    """A step of what `end_waiting` has left of a key. Whether more is left."""
    noted = first_left(connection)
    if noted is not None:
        end_waiting(connection, [noted], now_ms)
    return first_left(connection) is not None


def first_left(connection: sqlite3.Connection) -> str | None:
    """A key of which more is to be cancelled."""
    row = connection.execute(
        "SELECT name FROM notes WHERE name > 'until:' AND name < 'until;' ORDER BY name LIMIT 1"
    ).fetchone()
    return None if row is None else str(row["name"]).removeprefix(_NOTED)


def end_overtaken(connection: sqlite3.Connection, now_ms: int, where: str, *values: object) -> int:
    """Of the deliveries d for which `where` holds, cancels those that such an event has overtaken. How many."""
    rows = connection.execute(f"{OVERTAKEN} AND {where}", values).fetchall()
    _end(connection, rows, now_ms)
    return len(rows)


def _end(connection: sqlite3.Connection, rows: Sequence[sqlite3.Row], now_ms: int) -> None:
    """All are cancelled before what needs one is looked at: it may be among them."""
    connection.executemany(
        "UPDATE deliveries SET state = 'cancelled', held = 0, reason = ?, finished_at = ? WHERE seq = ?",
        [(until_reason(row["event_id"], row["event_type"]), now_ms, row["seq"]) for row in rows],
    )
    for row in rows:
        if row["has_dependents"]:
            settle_dependents(connection, row["event_seq"], row["run_id"], row["action"], now_ms)
        pass_turn(connection, once_key=row["once_key"], order_key=row["order_key"])
