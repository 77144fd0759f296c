"""What happens inside one SQLite transaction: plain functions over a connection, called by the writer's thread."""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from gateway.core.model import (
    DONE,
    NEEDED,
    Actor,
    AttemptOutcome,
    ChangeResult,
    Claim,
    Delivery,
    DeliveryState,
    Event,
    Fetched,
    Finish,
    Lane,
    Outcome,
    PlannedDelivery,
    Refusal,
    Rekeyed,
    Released,
    SharedRate,
    sources_of,
    was_dry,
)
from gateway.store.records import (
    DELIVERY,
    EVENT_BESIDE,
    delivery_of,
    event_of,
    fetched_json,
    fetched_of,
    kept_json,
    new_ids,
)

_EVENT_COLUMNS = (
    "seq, account, id, type, state, livemode, received_at, created_at, connected_account, object_id, api_version, "
    "source, written_for, twin, body, trace"
)
_DELIVERY_COLUMNS = (
    "seq, id, event_seq, run_id, account, route, action, needs, has_dependents, state, held, due_at, created_at, "
    "finished_at, judged, once_key, order_key, reason"
)


CANCELLABLE = sources_of(DeliveryState.CANCELLED, Actor.PERSON)


def _insert(table: str, columns: str, ignore: bool = False) -> str:
    marks = ",".join("?" * (columns.count(",") + 1))
    return f"INSERT {'OR IGNORE ' if ignore else ''}INTO {table} ({columns}) VALUES ({marks})"


_INSERT_EVENT = _insert("events", _EVENT_COLUMNS, ignore=True)
_INSERT_DELIVERY = _insert("deliveries", _DELIVERY_COLUMNS)


def _next_seq(connection: sqlite3.Connection, table: str) -> int:
    found = connection.execute(f"SELECT max(seq) FROM {table}").fetchone()[0]
    return max(found or 0, 0) + 1  # what purging left of an event has a negative one


def add(
    connection: sqlite3.Connection, arrivals: Sequence[tuple[Event, Sequence[PlannedDelivery]]], now_ms: int
) -> list[bool]:
    """Inserts events and deliveries; whether each event was new."""
    first_seq = _next_seq(connection, "events")
    rows = [
        (
            first_seq + i, e.account, e.id, e.type, e.state.value, e.livemode, now_ms,
            None if e.created_at is None else int(e.created_at.timestamp() * 1000),
            e.connected_account, e.object_id, e.api_version, e.source, e.written_for, e.twin, e.body,
            e.trace,
        )
        for i, (e, _) in enumerate(arrivals)
    ]  # fmt: skip
    news = [True] * len(rows)
    if connection.executemany(_INSERT_EVENT, rows).rowcount != len(rows):
        stored = connection.execute("SELECT seq FROM events WHERE seq >= ?", (first_seq,))
        written = {seq for (seq,) in stored}
        news = [first_seq + i in written for i in range(len(rows))]
    owed = [
        (first_seq + i, event.account, planned) for i, (event, planned) in enumerate(arrivals) if news[i] and planned
    ]
    insert_deliveries(connection, owed, now_ms)
    return news


def insert_deliveries(
    connection: sqlite3.Connection, owed: Sequence[tuple[int, str, Sequence[PlannedDelivery]]], now_ms: int
) -> list[str]:
    """Makes the deliveries of events given as (event seq, account, planned). Returns their ids."""
    total = sum(len(planned) for _, _, planned in owed)
    if not total:
        return []
    ids = new_ids(total, now_ms)
    seq = _next_seq(connection, "deliveries")
    plain: list[tuple[Any, ...]] = []
    keyed: list[tuple[Any, ...]] = []
    i = 0
    for event_seq, account, planned in owed:
        run_ids: dict[str, str] = {}
        needed = {(p.route, need) for p in planned for need in p.needs}
        for p in planned:
            state = "dead" if p.error is not None else "blocked" if p.needs else "pending"
            row = (
                seq + i, ids[i], event_seq, run_ids.setdefault(p.route, ids[i]), account, p.route, p.action,
                json.dumps(p.needs) if p.needs else "[]", (p.route, p.action) in needed, state, 0, now_ms, now_ms,
                now_ms if p.error is not None else None, p.is_judged and p.error is None, p.once_key,
                p.order_key, p.error,
            )  # fmt: skip
            (plain if p.once_key is None and p.order_key is None else keyed).append(row)
            i += 1
    connection.executemany(_INSERT_DELIVERY, plain)
    for row in keyed:
        connection.execute(_INSERT_DELIVERY, row)
        if row[9] == "pending":
            hold_in_turn(connection, row[0], once_key=row[15], order_key=row[16])
    return ids


# -- turns and needs ------------------------------------------------------------------------------------------


def hold_in_turn(connection: sqlite3.Connection, seq: int, *, once_key: str | None, order_key: str | None) -> None:
    """Puts a delivery that has just become pending in its place among those with the same keys.

    Each statement is one look into an index, however many wait: of a key's pending deliveries all but one are held.
    """
    held = 0
    for column, key in (("order_key", order_key), ("once_key", once_key)):
        if key is None:
            continue
        one = f"EXISTS (SELECT 1 FROM deliveries WHERE {column} = ?1 AND state ="
        (others,) = connection.execute(
            f"SELECT {one} 'running' AND seq <> ?2) OR {one} 'pending' AND held = 0 AND seq < ?2)"
            f" OR {one} 'pending' AND held = 1 AND seq < ?2)",
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
            hold_in_turn(connection, following[0], once_key=following[1], order_key=following[2])


def release_dependents(connection: sqlite3.Connection, event_seq: int, run_id: str, now_ms: int) -> None:
    """Makes pending the blocked deliveries of a run whose needs have all succeeded, or were dry runs."""
    rows = connection.execute(
        "SELECT seq, action, needs, state, once_key, order_key, reason FROM deliveries"
        " WHERE event_seq = ? AND run_id = ?",
        (event_seq, run_id),
    ).fetchall()
    done = {row[1] for row in rows if row[3] == "succeeded" or was_dry(row[3], row[6])}
    for seq, _, needs, state, once_key, order_key, _ in rows:
        if state == "blocked" and done.issuperset(json.loads(needs)):
            connection.execute("UPDATE deliveries SET state = 'pending', due_at = ? WHERE seq = ?", (now_ms, seq))
            hold_in_turn(connection, seq, once_key=once_key, order_key=order_key)


def skip_dependents(
    connection: sqlite3.Connection, event_seq: int, run_id: str, action: str, what: str, now_ms: int
) -> None:
    """Skips the blocked deliveries of a run that need `action`, directly or through others."""
    rows = connection.execute(
        "SELECT seq, action, needs FROM deliveries WHERE event_seq = ? AND run_id = ? AND state = 'blocked'",
        (event_seq, run_id),
    ).fetchall()
    gone = {action}
    while True:
        more = [row for row in rows if row[1] not in gone and gone.intersection(json.loads(row[2]))]
        if not more:
            return
        for seq, name, _ in more:
            gone.add(name)
            connection.execute(
                "UPDATE deliveries SET state = 'skipped', reason = ?, finished_at = ? WHERE seq = ?",
                (f"{NEEDED}{action} was {what}", now_ms, seq),
            )


# -- claims ---------------------------------------------------------------------------------------------------


def claim(
    connection: sqlite3.Connection,
    wanted: Mapping[Lane, int],
    rates: Sequence[SharedRate],
    lease_ms: int,
    now_ms: int,
) -> list[Claim]:
    """Takes due deliveries of each lane."""
    token = secrets.token_hex(8)
    taken: list[int] = []
    rate_of = {lane: rate.connection for rate in rates for lane in rate.lanes}
    tokens = {rate.connection: _tokens(connection, rate, now_ms) for rate in rates}
    for lane, limit in wanted.items():
        rate = rate_of.get(lane)
        if rate is not None:
            limit = min(limit, int(tokens[rate]))
        rows = connection.execute(
            "SELECT seq, once_key, order_key, id, event_seq, run_id, action FROM deliveries WHERE account = ?"
            " AND route = ? AND action = ? AND state = 'pending' AND held = 0 AND due_at <= ? ORDER BY due_at LIMIT ?",
            (lane.account, lane.route, lane.action, now_ms, limit),
        ).fetchall()
        for row in rows:
            if row[1] is not None and _was_done_once(connection, row, now_ms):
                continue
            taken.append(row[0])
            if rate is not None:
                tokens[rate] -= 1
    for name, left in tokens.items():
        connection.execute(
            "INSERT OR REPLACE INTO rates (name, tokens, filled_at) VALUES (?, ?, ?)", (name, left, now_ms)
        )
    claims: list[Claim] = []
    for start in range(0, len(taken), 500):
        part = taken[start : start + 500]
        marks = ",".join("?" * len(part))
        connection.execute(
            "UPDATE deliveries SET state = 'running', token = ?, lease_until = ?, claimed_at = ?,"
            f" attempts = attempts + 1, runs = runs + 1 WHERE seq IN ({marks})",
            (token, now_ms + lease_ms, now_ms, *part),
        )
        found = connection.execute(
            f"SELECT {DELIVERY}, {EVENT_BESIDE} FROM deliveries d JOIN events e ON e.seq = d.event_seq"
            f" WHERE d.seq IN ({marks})",
            part,
        ).fetchall()
        by_seq = {row[0]: row for row in found}
        for seq in part:
            row = by_seq[seq]
            delivery = delivery_of(row[:26])
            outputs = _outputs(connection, row[26], delivery) if delivery.needs else {}
            claims.append(Claim(delivery, token, event_of(row[26:]), outputs))
    return claims


def _tokens(connection: sqlite3.Connection, rate: SharedRate, now_ms: int) -> float:
    """How many claims the bucket of a rate holds now."""
    row = connection.execute("SELECT tokens, filled_at FROM rates WHERE name = ?", (rate.connection,)).fetchone()
    if row is None:
        return 1.0
    tokens, filled_at = row
    return float(min(rate.burst, tokens + max(0, now_ms - filled_at) / 1000 * rate.per_second))


def _done_by(connection: sqlite3.Connection, once_key: str, seq: int) -> str | None:
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


def _was_done_once(connection: sqlite3.Connection, row: tuple[Any, ...], now_ms: int) -> bool:
    """Ends a delivery as skipped where another succeeded on its once_key. Whether it did."""
    seq, once_key, order_key, _, event_seq, run_id, action = row
    holder = _done_by(connection, once_key, seq)
    if holder is None:
        return False
    connection.execute(
        "UPDATE deliveries SET state = 'skipped', reason = ?, finished_at = ? WHERE seq = ?",
        (f"once_per: {holder} has done it", now_ms, seq),
    )
    skip_dependents(connection, event_seq, run_id, action, "skipped", now_ms)
    pass_turn(connection, once_key=once_key, order_key=order_key)
    return True


def _outputs(connection: sqlite3.Connection, event_seq: int, delivery: Delivery) -> dict[str, Any]:
    rows = connection.execute(
        "SELECT action, output FROM deliveries WHERE event_seq = ? AND run_id = ? AND state = 'succeeded'",
        (event_seq, delivery.run_id),
    )
    return {action: json.loads(output) if output else None for action, output in rows}


def fetched(connection: sqlite3.Connection, run_id: str) -> Fetched | None:
    """What is kept with a run: it lies with the run's first delivery, whose id the run bears."""
    row = connection.execute("SELECT fetched FROM deliveries WHERE id = ?", (run_id,)).fetchone()
    return None if row is None else fetched_of(row[0])


def keep_fetched(connection: sqlite3.Connection, run_id: str, new: Fetched) -> Fetched:
    """Keeps an object with a run, unless the same was asked before."""
    kept = fetched(connection, run_id)
    if kept is not None and kept.asked == new.asked:
        return kept
    connection.execute("UPDATE deliveries SET fetched = ? WHERE id = ?", (fetched_json(new), run_id))
    return new


def renew(connection: sqlite3.Connection, claims: Sequence[tuple[str, str]], lease_ms: int, now_ms: int) -> set[str]:
    """Extends leases; the ids of those lost."""
    lost = set()
    for delivery_id, token in claims:
        cursor = connection.execute(
            "UPDATE deliveries SET lease_until = ? WHERE id = ? AND token = ? AND state = 'running'",
            (now_ms + lease_ms, delivery_id, token),
        )
        if not cursor.rowcount:
            lost.add(delivery_id)
    return lost


def finish(connection: sqlite3.Connection, delivery_id: str, token: str, ending: Outcome, now_ms: int) -> bool:
    """Records what became of a claim and releases whoever waited for it."""
    row = connection.execute(
        "SELECT seq, event_seq, run_id, action, has_dependents, once_key, order_key, runs FROM deliveries"
        " WHERE id = ? AND token = ? AND state = 'running'",
        (delivery_id, token),
    ).fetchone()
    if row is None:
        return False
    seq, event_seq, run_id, action, has_dependents, once_key, order_key, runs = row
    if isinstance(ending, Released):
        _hand_back(connection, seq, ending, now_ms)
        return True
    if isinstance(ending, Rekeyed):
        _hand_back(connection, seq, Released(), now_ms)
        connection.execute(
            "UPDATE deliveries SET once_key = ?, order_key = ?, judged = 1 WHERE seq = ?",
            (ending.once_key, ending.order_key, seq),
        )
        hold_in_turn(connection, seq, once_key=ending.once_key, order_key=ending.order_key)
        return True
    _record(connection, seq, runs, ending, now_ms)
    if ending.state.is_final and (once_key is not None or order_key is not None):
        pass_turn(connection, once_key=once_key, order_key=order_key)
    if has_dependents:
        if ending.state is DeliveryState.SUCCEEDED or was_dry(ending.state, ending.reason):
            release_dependents(connection, event_seq, run_id, now_ms)
        elif ending.state is DeliveryState.SKIPPED:
            skip_dependents(connection, event_seq, run_id, action, "skipped", now_ms)
    return True


def _record(connection: sqlite3.Connection, seq: int, runs: int, how: Finish, now_ms: int) -> None:
    connection.execute(
        "INSERT INTO attempts (delivery_seq, number, started_at, duration_ms, outcome, error)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (
            seq,
            runs,
            int(how.attempt.started_at.timestamp() * 1000),
            round(how.attempt.duration_seconds * 1000),
            how.attempt.outcome.value,
            how.attempt.error,
        ),
    )
    connection.execute(
        "UPDATE deliveries SET state = ?, token = NULL, lease_until = NULL, due_at = ?, finished_at = ?, reason = ?,"
        " last_error = COALESCE(?, last_error), rendered = COALESCE(?, rendered), output = COALESCE(?, output)"
        " WHERE seq = ?",
        (
            how.state.value,
            now_ms + max(0, round(how.wait_seconds * 1000)),
            now_ms if how.state.is_final else None,
            how.reason,
            how.attempt.error,
            kept_json(how.rendered),
            kept_json(how.output),
            seq,
        ),
    )


def _hand_back(connection: sqlite3.Connection, seq: int, how: Released, now_ms: int) -> None:
    due_at = now_ms + round(how.wait_seconds * 1000) if how.wait_seconds > 0 else None
    connection.execute(
        "UPDATE deliveries SET state = 'pending', token = NULL, lease_until = NULL, due_at = COALESCE(?, due_at),"
        " reason = ?, attempts = attempts - 1, runs = runs - 1 WHERE seq = ?",
        (due_at, how.reason, seq),
    )


def recover(connection: sqlite3.Connection, now_ms: int) -> int:
    """Takes over what a gateway that is gone left running: each such attempt is recorded as interrupted, and the
    delivery is due now. How many there were.
    """
    rows = connection.execute("SELECT seq, runs, claimed_at FROM deliveries WHERE state = 'running'").fetchall()
    for seq, runs, claimed_at in rows:
        error = "the gateway died during this attempt; whether it took effect is not known"
        connection.execute(
            "INSERT OR IGNORE INTO attempts (delivery_seq, number, started_at, duration_ms, outcome, error)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (seq, runs, claimed_at, max(0, now_ms - claimed_at), AttemptOutcome.INTERRUPTED.value, error),
        )
        connection.execute(
            "UPDATE deliveries SET state = 'pending', held = 0, token = NULL, lease_until = NULL, due_at = ?,"
            " last_error = ? WHERE seq = ?",
            (now_ms, error, seq),
        )
    return len(rows)


# -- people ---------------------------------------------------------------------------------------------------


def retry(connection: sqlite3.Connection, delivery_id: str, now_ms: int) -> ChangeResult:
    """Revives one delivery."""
    row = connection.execute(
        "SELECT seq, state, event_seq, run_id, action, needs, once_key, order_key FROM deliveries WHERE id = ?",
        (delivery_id,),
    ).fetchone()
    if row is None:
        return Refusal("there is no such delivery")
    seq, state, event_seq, run_id, action, needs, once_key, order_key = row
    if state == "pending":
        connection.execute("UPDATE deliveries SET due_at = ? WHERE seq = ?", (now_ms, seq))
        return DONE
    if state == "running":
        return Refusal("it is running now")
    if state == "succeeded":
        return Refusal("it has succeeded; `events replay` makes new work")
    if state == "blocked":
        return Refusal(f"it waits for {', '.join(json.loads(needs))}; retry that")
    if once_key is not None:
        holder = _done_by(connection, once_key, seq)
        if holder is not None:
            return Refusal(f"once_per: {holder} has done it")
    connection.execute(
        "UPDATE deliveries SET state = 'blocked', attempts = 0, reason = NULL, finished_at = NULL WHERE seq = ?", (seq,)
    )
    connection.execute("UPDATE deliveries SET fetched = NULL WHERE id = ? AND fetched IS NOT NULL", (run_id,))
    _revive_dependents(connection, event_seq, run_id, action)
    if needs == "[]":
        connection.execute("UPDATE deliveries SET state = 'pending', due_at = ? WHERE seq = ?", (now_ms, seq))
        hold_in_turn(connection, seq, once_key=once_key, order_key=order_key)
    else:
        release_dependents(connection, event_seq, run_id, now_ms)
    return DONE


def _revive_dependents(connection: sqlite3.Connection, event_seq: int, run_id: str, action: str) -> None:
    """Blocks again what was skipped only because `action` was skipped, cancelled or a dry run."""
    rows = connection.execute(
        "SELECT seq, action, needs, reason FROM deliveries WHERE event_seq = ? AND run_id = ? AND state = 'skipped'",
        (event_seq, run_id),
    ).fetchall()
    because = (f"{NEEDED}{action} was skipped", f"{NEEDED}{action} was cancelled")
    revived = [row[0] for row in rows if row[3] in because]
    dry = {row[1]: json.loads(row[2]) for row in rows if was_dry("skipped", row[3])}
    again = {action}
    while more := {name for name, needs in dry.items() if name not in again and again.intersection(needs)}:
        again |= more
    revived += [row[0] for row in rows if row[1] in again and row[1] in dry]
    connection.executemany(
        "UPDATE deliveries SET state = 'blocked', attempts = 0, reason = NULL, finished_at = NULL WHERE seq = ?",
        [(seq,) for seq in revived],
    )


def cancel(connection: sqlite3.Connection, delivery_id: str, reason: str, now_ms: int) -> ChangeResult:
    """Ends one delivery for good."""
    row = connection.execute(
        "SELECT seq, state, event_seq, run_id, action, once_key, order_key FROM deliveries WHERE id = ?", (delivery_id,)
    ).fetchone()
    if row is None:
        return Refusal("there is no such delivery")
    seq, state, event_seq, run_id, action, once_key, order_key = row
    if state not in CANCELLABLE:
        return Refusal(f"it is {state}")
    connection.execute(
        "UPDATE deliveries SET state = 'cancelled', reason = ?, finished_at = ?, token = NULL, lease_until = NULL"
        " WHERE seq = ?",
        (reason, now_ms, seq),
    )
    skip_dependents(connection, event_seq, run_id, action, "cancelled", now_ms)
    pass_turn(connection, once_key=once_key, order_key=order_key)
    return DONE


def replay(
    connection: sqlite3.Connection,
    account: str,
    event_id: str,
    planned: Sequence[PlannedDelivery],
    force: bool,
    now_ms: int,
) -> list[str] | None:
    """Makes new deliveries for a stored event; their ids, or None where there is no such event."""
    row = connection.execute(
        "SELECT seq FROM events WHERE account = ? AND id = ? AND seq > 0", (account, event_id)
    ).fetchone()
    if row is None:
        return None
    if force:
        planned = [replace(p, once_key=None) for p in planned]
    if planned:
        connection.execute("UPDATE events SET state = 'routed' WHERE seq = ?", row)
    return insert_deliveries(connection, [(row[0], account, planned)], now_ms)
