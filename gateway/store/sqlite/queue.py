"""Delivery on SQLite: claims, and what becomes of them."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from gateway.core.errors import StoreUnavailable
from gateway.core.model import (
    GATEWAY_DIED,
    WAITS,
    AttemptOutcome,
    Burst,
    Claim,
    Delivery,
    Fetched,
    Finish,
    Gathered,
    HeldForYes,
    Lane,
    Outcome,
    Rekeyed,
    Released,
    SharedRate,
)
from gateway.store.answers import Due
from gateway.store.keeping import kept_json, kept_key, kept_ms, kept_text
from gateway.store.records import (
    BURST_WAITS,
    CLAIMED,
    claimed_of,
    ended_of,
    fetched_json,
    fetched_of,
    milliseconds,
)
from gateway.store.sqlite.approvals import hold
from gateway.store.sqlite.bursts import settle_burst
from gateway.store.sqlite.clock import bring_forward
from gateway.store.sqlite.digests import gather
from gateway.store.sqlite.file import SqliteFile
from gateway.store.sqlite.turns import done_by, pass_turn, settle_dependents, take_turn_anew
from gateway.store.sqlite.waiting import end_left, end_overtaken, first_left

LANES_ON_THE_LOOP = 200  # so many are looked through in about 2 ms; more are left to the reading thread


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
            "SELECT seq, once_key, order_key, event_seq, run_id, action, until_key FROM deliveries WHERE account = ?"
            " AND route = ? AND action = ? AND state = 'pending' AND held = 0 AND due_at <= ? ORDER BY due_at LIMIT ?",
            (lane.account, lane.route, lane.action, now_ms, limit),
        ).fetchall()
        for row in rows:
            if row["until_key"] is not None and end_overtaken(connection, now_ms, "d.seq = ?", row["seq"]):
                continue
            if row["once_key"] is not None and _was_done_once(connection, row, now_ms):
                continue
            taken.append(row["seq"])
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
            "UPDATE deliveries SET state = 'running', token = ?, lease_until = ?, claimed_at = ?, waits_until = NULL,"
            f" attempts = attempts + 1, runs = runs + 1 WHERE seq IN ({marks})",
            (token, now_ms + lease_ms, now_ms, *part),
        )
        rows = connection.execute(
            f"SELECT {CLAIMED} FROM deliveries d JOIN events e ON e.seq = d.event_seq WHERE d.seq IN ({marks})",
            part,
        ).fetchall()
        claimed = {row["seq"]: claimed_of(row) for row in rows}
        for delivery, event, event_seq in (claimed[seq] for seq in part):
            of_run = _ended(connection, event_seq, delivery) if delivery.needs else ()
            claims.append(Claim(delivery, token, event, *ended_of(of_run)))
    return claims


def _tokens(connection: sqlite3.Connection, rate: SharedRate, now_ms: int) -> float:
    """How many claims the bucket of a rate holds now."""
    row = connection.execute("SELECT tokens, filled_at FROM rates WHERE name = ?", (rate.connection,)).fetchone()
    if row is None:
        return 1.0
    tokens, filled_at = row
    return float(min(rate.burst, tokens + max(0, now_ms - filled_at) / 1000 * rate.per_second))


def _was_done_once(connection: sqlite3.Connection, row: sqlite3.Row, now_ms: int) -> bool:
    """Ends a delivery as skipped where another succeeded on its once_key. Whether it did."""
    seq, once_key, order_key, event_seq, run_id, action, _ = row
    holder = done_by(connection, once_key, seq)
    if holder is None:
        return False
    connection.execute(
        "UPDATE deliveries SET state = 'skipped', reason = ?, finished_at = ? WHERE seq = ?",
        (f"once_per: {holder} has done it", now_ms, seq),
    )
    settle_dependents(connection, event_seq, run_id, action, now_ms)
    pass_turn(connection, once_key=once_key, order_key=order_key)
    return True


def _ended(connection: sqlite3.Connection, event_seq: int, delivery: Delivery) -> list[sqlite3.Row]:
    return connection.execute(
        "SELECT action, output, state, reason FROM deliveries WHERE event_seq = ? AND run_id = ?"
        " AND state NOT IN ('blocked', 'pending', 'running')",
        (event_seq, delivery.run_id),
    ).fetchall()


def finish(connection: sqlite3.Connection, ended: Sequence[tuple[str, str, Outcome]], now_ms: int) -> list[bool]:
    """Records what became of claims, each an id, a token and an outcome, and releases whoever waited for them."""
    marks = ",".join("?" * len(ended))
    rows = connection.execute(
        "SELECT id, token, seq, event_seq, run_id, action, has_dependents, once_key, order_key, until_key, runs"
        " FROM deliveries"
        f" WHERE id IN ({marks}) AND state = 'running'",
        [delivery_id for delivery_id, _, _ in ended],
    )
    running = {(id, token): row for id, token, *row in rows}
    claims = [running.pop((delivery_id, token), None) for delivery_id, token, _ in ended]
    alone: list[tuple[int, int, Finish]] = []  # nobody waits for them
    for row, (_, _, ending) in zip(claims, ended, strict=True):
        if row is None:
            continue
        seq, *_, has_dependents, once_key, order_key, until_key, runs = row
        if isinstance(ending, Finish) and not has_dependents and once_key is order_key is until_key is None:
            alone.append((seq, runs, ending))
        else:
            _finish_for_others(connection, row, ending, now_ms)
    _record(connection, alone, now_ms)
    return [row is not None for row in claims]


def _finish_for_others(connection: sqlite3.Connection, row: list[Any], ending: Outcome, now_ms: int) -> None:
    """Records what became of one claim, and lets those go that waited for it."""
    seq, event_seq, run_id, action, has_dependents, once_key, order_key, until_key, runs = row
    if isinstance(ending, (Burst, HeldForYes)):
        if isinstance(ending, Burst):
            _hand_back(connection, seq, Released(BURST_WAITS), now_ms)
            settle_burst(connection, seq, order_key, ending, now_ms)
        else:
            hold(connection, seq, ending, now_ms)
            pass_turn(connection, once_key=once_key, order_key=order_key)
        end_overtaken(connection, now_ms, "d.seq = ?", seq)
        return
    is_pending = not isinstance(ending, Finish) or not ending.state.is_final
    if isinstance(ending, Finish):
        _record(connection, [(seq, runs, ending)], now_ms)
    else:
        released = ending if isinstance(ending, Released) else Released()
        _hand_back(connection, seq, released, now_ms)
        until_key = kept_key(released.until_key) or until_key
    if isinstance(ending, Rekeyed):
        new_keys = kept_key(ending.once_key), kept_key(ending.order_key)
        sql = "UPDATE deliveries SET once_key = ?, order_key = ?, judged = 1 WHERE seq = ?"
        connection.execute(sql, (*new_keys, seq))
        pass_turn(connection, once_key=once_key, order_key=order_key)
        once_key, order_key = new_keys
    if once_key is not None or order_key is not None:
        if is_pending:
            take_turn_anew(connection, seq, once_key=once_key, order_key=order_key)
        else:
            pass_turn(connection, once_key=once_key, order_key=order_key)
    if is_pending and until_key is not None:
        end_overtaken(connection, now_ms, "d.seq = ?", seq)
    if has_dependents and not is_pending:
        settle_dependents(connection, event_seq, run_id, action, now_ms)


def _record(connection: sqlite3.Connection, finished: Sequence[tuple[int, int, Finish]], now_ms: int) -> None:
    """Attempts and their outcomes, each with the delivery's number and its runs."""
    connection.executemany(
        "INSERT INTO attempts (delivery_seq, number, started_at, duration_ms, outcome, error, exchanges)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            (
                seq,
                runs,
                milliseconds(how.attempt.started_at),
                kept_ms(how.attempt.duration_seconds),
                how.attempt.outcome.value,
                kept_text(how.attempt.error),
                kept_json(how.attempt.exchanges),
            )
            for seq, runs, how in finished
        ],
    )
    connection.executemany(
        "UPDATE deliveries SET state = ?1, token = NULL, lease_until = NULL, due_at = ?2, finished_at = ?3,"
        " claimed_at = CASE WHEN ?1 = 'pending' THEN claimed_at END,"
        f" reason = ?4, waits_until = CASE WHEN ?1 = 'pending' AND ?4 GLOB '{WAITS}*' THEN ?2 END,"
        " attempts = attempts - ?5, last_error = COALESCE(?6, last_error), rendered = COALESCE(?7, rendered),"
        " output = COALESCE(?8, output)"
        " WHERE seq = ?9",
        [
            (
                how.state.value,
                now_ms + kept_ms(how.wait_seconds),
                now_ms if how.state.is_final else None,
                kept_text(how.reason),
                how.attempt.outcome is AttemptOutcome.INTERRUPTED,
                kept_text(how.attempt.error),
                kept_json(how.rendered),
                kept_json(how.output),
                seq,
            )
            for seq, _, how in finished
        ],
    )


def _hand_back(connection: sqlite3.Connection, seq: int, how: Released, now_ms: int) -> None:
    due_at = now_ms + kept_ms(how.wait_seconds) if how.wait_seconds > 0 else None
    connection.execute(
        "UPDATE deliveries SET state = 'pending', token = NULL, lease_until = NULL, due_at = COALESCE(?, due_at),"
        " waits_until = ?, until_key = COALESCE(?, until_key), reason = ?, attempts = attempts - 1, runs = runs - 1"
        " WHERE seq = ?",
        (
            due_at,
            due_at if how.reason is not None and how.reason.startswith(WAITS) else None,
            kept_key(how.until_key),
            kept_text(how.reason),
            seq,
        ),
    )


def recover(connection: sqlite3.Connection, now_ms: int) -> int:
    """Takes over what a gateway that is gone left running: each such attempt is recorded as interrupted, and the
    delivery is due now. How many there were.
    """
    rows = connection.execute(
        "SELECT seq, runs, claimed_at, once_key, order_key, until_key FROM deliveries WHERE state = 'running'"
    ).fetchall()
    for seq, runs, claimed_at, _, _, _ in rows:
        connection.execute(
            "INSERT OR IGNORE INTO attempts (delivery_seq, number, started_at, duration_ms, outcome, error)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (seq, runs, claimed_at, max(0, now_ms - claimed_at), AttemptOutcome.INTERRUPTED.value, GATEWAY_DIED),
        )
        connection.execute(
            "UPDATE deliveries SET state = 'pending', held = 0, token = NULL, lease_until = NULL, due_at = ?,"
            " last_error = ? WHERE seq = ?",
            (now_ms, GATEWAY_DIED, seq),
        )
    for row in rows:
        take_turn_anew(connection, row["seq"], once_key=row["once_key"], order_key=row["order_key"])
        end_overtaken(connection, now_ms, "d.seq = ?", row["seq"])
    return len(rows)


def _fetched(connection: sqlite3.Connection, run_id: str) -> Fetched | None:
    """What is kept with a run: it lies with the run's first delivery, whose id the run bears."""
    row = connection.execute("SELECT fetched FROM deliveries WHERE id = ?", (run_id,)).fetchone()
    return None if row is None else fetched_of(row["fetched"])


class SqliteQueue(SqliteFile):
    """The methods of `QueueStore`."""

    _lanes_seen = 0

    def _recover(self, connection: sqlite3.Connection) -> int:
        return recover(connection, self._now_ms())

    async def due(self) -> Due:
        reader = self._lane_reader
        if reader is None:
            raise StoreUnavailable("the store is not open")
        if put_back := self._clock.put_back_ms():
            await self._do(lambda c: bring_forward(c, put_back, self._now_ms()))
            self._clock.brought_forward(put_back)
        try:
            if self._lanes_seen > LANES_ON_THE_LOOP:
                due, is_left = await asyncio.get_running_loop().run_in_executor(self._reading, self._due, reader)
            else:
                due, is_left = self._due(reader)
        except sqlite3.Error as error:
            raise self._writing().failed("read", error) from None
        self._lanes_seen = len(due.lanes)
        if is_left and await self._do(lambda c: end_left(c, self._now_ms())):
            return replace(due, next_in_seconds=0.0)
        return due

    def _due(self, connection: sqlite3.Connection) -> tuple[Due, bool]:
        """What one look at the lanes shows, and whether something is left to cancel."""
        now = self._now_ms()
        place = ["", "", ""]
        lanes: list[tuple[int, Lane]] = []
        later: int | None = None
        while True:  # one look into the index for each lane
            row = connection.execute(
                # With due_at in the comparison SQLite leaps over the lane's other rows; without, it walks them all.
                "SELECT account, route, action, due_at FROM deliveries WHERE state = 'pending' AND held = 0"
                " AND (account, route, action, due_at) > (?, ?, ?, 9223372036854775807)"
                " ORDER BY account, route, action, due_at LIMIT 1",
                place,
            ).fetchone()
            if row is None:
                break
            *place, due_at = row
            if due_at <= now:
                lanes.append((due_at, Lane(*place)))
            else:
                later = due_at if later is None else min(later, due_at)
        lanes.sort()
        due = Due(
            lanes=[lane for _, lane in lanes],
            next_in_seconds=None if later is None else (later - now) / 1000,
            late_seconds=[(now - due_at) / 1000 for due_at, _ in lanes],
        )
        return due, first_left(connection) is not None

    async def claim(
        self, wanted: Mapping[Lane, int], *, lease_seconds: float, rates: Sequence[SharedRate] = ()
    ) -> list[Claim]:
        return await self._do(lambda c: claim(c, wanted, rates, int(lease_seconds * 1000), self._now_ms()))

    async def renew(self, claims: Sequence[tuple[str, str]], *, lease_seconds: float) -> set[str]:
        def prolong(connection: sqlite3.Connection) -> set[str]:
            until = self._now_ms() + int(lease_seconds * 1000)
            sql = "UPDATE deliveries SET lease_until = ? WHERE id = ? AND token = ? AND state = 'running'"
            return {id for id, token in claims if not connection.execute(sql, (until, id, token)).rowcount}

        return await self._do(prolong)

    async def finish(self, delivery_id: str, token: str, ending: Outcome) -> bool:
        return await self._writing().do_beside(self._finish, (delivery_id, token, ending))

    def _finish(self, connection: sqlite3.Connection, ended: Sequence[tuple[str, str, Outcome]]) -> list[bool]:
        return finish(connection, ended, self._now_ms())

    async def wait_for_work(self, timeout_seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                await self._changed.wait()
        self._changed.clear()

    async def fetched(self, run_id: str) -> Fetched | None:
        return await self._read(lambda c: _fetched(c, run_id))

    async def keep_fetched(self, run_id: str, fetched: Fetched) -> Fetched:
        def keep(connection: sqlite3.Connection) -> Fetched:
            kept = _fetched(connection, run_id)
            if kept is not None and kept.asked == fetched.asked:
                return kept
            connection.execute("UPDATE deliveries SET fetched = ? WHERE id = ?", (fetched_json(fetched), run_id))
            return fetched

        return await self._do(keep)

    async def gather(
        self, delivery_id: str, token: str, *, wait_seconds: float, every_seconds: float, most: int
    ) -> Gathered | float | None:
        wait_ms, every_ms = int(wait_seconds * 1000), int(every_seconds * 1000)
        return await self._do(lambda c: gather(c, delivery_id, token, wait_ms, every_ms, most, self._now_ms()))
