"""Intake on SQLite: events with what they owe, and replays."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from gateway.core.model import Event, PlannedDelivery
from gateway.core.model.needs import kept_needs
from gateway.store.answers import Added
from gateway.store.keeping import kept_key, kept_text
from gateway.store.records import beginning, milliseconds, new_ids
from gateway.store.sqlite.file import SqliteFile
from gateway.store.sqlite.turns import hold_in_turn
from gateway.store.sqlite.waiting import end_waiting, keep_endings, plan_waits
from gateway.store.sqlite.writer import Arrival

_EVENT_COLUMNS = (
    "seq, account, id, type, state, livemode, received_at, created_at, connected_account, object_id, api_version, "
    "source, written_for, twin, body, trace"
)
_DELIVERY_COLUMNS = (
    "seq, id, event_seq, run_id, account, route, action, needs, has_dependents, state, held, due_at, created_at, "
    "finished_at, judged, once_key, order_key, reason"
)


def _insert(table: str, columns: str, ignore: bool = False) -> str:
    marks = ",".join("?" * (columns.count(",") + 1))
    return f"INSERT {'OR IGNORE ' if ignore else ''}INTO {table} ({columns}) VALUES ({marks})"


_INSERT_EVENT = _insert("events", _EVENT_COLUMNS, ignore=True)
_INSERT_DELIVERY = _insert("deliveries", _DELIVERY_COLUMNS)


def _next_seq(connection: sqlite3.Connection, table: str) -> int:
    """One that was never given. What purging left of an event has a negative one."""
    (highest,) = connection.execute(
        f"SELECT max((SELECT coalesce(max(seq), 0) FROM {table}),"
        f" (SELECT coalesce(max(last), 0) FROM numbers WHERE name = '{table}'))"
    ).fetchone()
    return int(highest) + 1


def _add_events(connection: sqlite3.Connection, arrivals: Sequence[Arrival], now_ms: int) -> list[bool]:
    """Inserts events and deliveries; whether each event was new."""
    first_seq = _next_seq(connection, "events")
    rows: list[tuple[Any, ...]] = [
        (
            first_seq + i, e.account, e.id, e.type, e.state.value, e.livemode, now_ms,
            None if e.created_at is None else milliseconds(e.created_at),
            e.connected_account, e.object_id, e.api_version, e.source, e.written_for, e.twin, e.body,
            e.trace,
        )
        for i, (e, _) in enumerate(arrivals)
    ]  # fmt: skip
    news = [True] * len(rows)
    try:
        count = connection.executemany(_INSERT_EVENT, rows).rowcount
    except UnicodeEncodeError:  # half of a surrogate pair: all are written again, and those that are there stay
        count = -1
        rows = [tuple(kept_text(cell) if isinstance(cell, str) else cell for cell in row) for row in rows]
        connection.executemany(_INSERT_EVENT, rows)
    if count != len(rows):
        stored = connection.execute("SELECT seq FROM events WHERE seq >= ?", (first_seq,))
        written = {row["seq"] for row in stored}
        news = [first_seq + i in written for i in range(len(rows))]
    owed = [
        (first_seq + i, event.account, planned) for i, (event, planned) in enumerate(arrivals) if news[i] and planned
    ]
    ending = [(first_seq + i, event) for i, (event, _) in enumerate(arrivals) if news[i] and event.ends]
    insert_deliveries(connection, owed, now_ms, keep_endings(connection, ending, now_ms))
    return news


def insert_deliveries(
    connection: sqlite3.Connection,
    owed: Sequence[tuple[int, str, Sequence[PlannedDelivery]]],
    now_ms: int,
    ended: frozenset[str] | set[str] = frozenset(),
) -> list[str]:
    """Makes the deliveries of events given as (event seq, account, planned), and cancels what waits by the keys that
    have `ended`. Returns the ids of those that it made.
    """
    total = sum(len(planned) for _, _, planned in owed)
    if not total:
        end_waiting(connection, ended, now_ms)
        return []
    ids = new_ids(total, now_ms)
    seq = _next_seq(connection, "deliveries")
    plain: list[tuple[Any, ...]] = []
    keyed: list[tuple[tuple[Any, ...], str, tuple[str | None, str | None]]] = []
    i = 0
    for event_seq, account, planned in owed:
        run_ids: dict[str, str] = {}
        needed = {(p.route, need) for p in planned for need in p.needs}
        for p in planned:
            state, reason = beginning(p)
            keys = kept_key(p.once_key), kept_key(p.order_key)
            row = (
                seq + i, ids[i], event_seq, run_ids.setdefault(p.route, ids[i]), account, p.route, p.action,
                kept_needs(p.needs, p.otherwise), (p.route, p.action) in needed, state, 0, now_ms, now_ms,
                now_ms if reason is not None else None, p.is_judged and p.error is None, *keys, kept_text(reason),
            )  # fmt: skip
            if keys == (None, None):
                plain.append(row)
            else:
                keyed.append((row, state, keys))
            i += 1
    connection.executemany(_INSERT_DELIVERY, plain)
    for row, state, (once_key, order_key) in keyed:
        connection.execute(_INSERT_DELIVERY, row)
        if state == "pending":
            hold_in_turn(connection, row[0], once_key=once_key, order_key=order_key)
    later = [p for _, _, planned in owed for p in planned]
    if any(p.waits_until is not None or p.until_key is not None for p in later):
        ended = ended | plan_waits(connection, later, ids)
    if ended:
        end_waiting(connection, ended, now_ms)
    return ids


class SqliteIntake(SqliteFile):
    """The methods of `IntakeStore`, but for rejected requests."""

    def _add(self, connection: sqlite3.Connection, arrivals: Sequence[Arrival]) -> list[bool]:
        return _add_events(connection, arrivals, self._now_ms())

    async def add(self, event: Event, planned: Sequence[PlannedDelivery]) -> Added:
        return Added(is_duplicate=not await self._writing().add((event, planned)))

    async def replay(
        self, account: str, event_id: str, planned: Sequence[PlannedDelivery], *, force: bool = False
    ) -> list[str] | None:
        owed = [replace(p, once_key=None) for p in planned] if force else planned

        def make(connection: sqlite3.Connection) -> list[str] | None:
            row = connection.execute(
                "SELECT seq FROM events WHERE account = ? AND id = ? AND seq > 0", (account, event_id)
            ).fetchone()
            if row is None:
                return None
            if owed:
                connection.execute("UPDATE events SET state = 'routed' WHERE seq = ?", (row["seq"],))
            return insert_deliveries(connection, [(row["seq"], account, owed)], self._now_ms())

        return await self._do(make)
