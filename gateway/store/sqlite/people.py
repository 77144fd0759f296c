"""What people ask of a SQLite store, and what they change; and rejected requests, which they look at."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from gateway.core.model import (
    DONE,
    Attempt,
    ChangedBy,
    ChangeResult,
    Delivery,
    DeliveryFilter,
    DeliveryState,
    Event,
    EventFilter,
    Lane,
    Refusal,
    RejectedBounds,
    RejectedFilter,
    RejectedRequest,
    sources_of,
)
from gateway.core.model.word import now_word, word_after_retry
from gateway.store.keeping import kept_text
from gateway.store.records import (
    ATTEMPT,
    DELIVERY,
    DELIVERY_LISTED,
    EVENT,
    EVENT_LISTED,
    REJECTED,
    REJECTED_LISTED,
    attempt_of,
    delivery_of,
    event_of,
    milliseconds,
    rejected_of,
)
from gateway.store.sqlite.approvals import answer
from gateway.store.sqlite.file import SqliteFile
from gateway.store.sqlite.filters import delivery_terms, event_terms, rejected_terms
from gateway.store.sqlite.turns import (
    done_by,
    make_due,
    pass_turn,
    revive_dependents,
    settle_dependents,
    why_never,
)
from gateway.store.sqlite.waiting import end_overtaken

CANCELLABLE = sources_of(DeliveryState.CANCELLED, ChangedBy.PERSON)
_KEEP_REJECTED = f"INSERT INTO rejected ({REJECTED}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
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


def _keep_rejected(
    connection: sqlite3.Connection, requests: Sequence[RejectedRequest], bounds: RejectedBounds, now_ms: int
) -> int:
    """Inserts, then drops what is over the bounds; how many."""
    connection.executemany(
        _KEEP_REJECTED,
        [
            (r.id, milliseconds(r.received_at), r.account, r.reason, r.address, r.peer, kept_text(r.forwarded_for),
             kept_text(r.signature),
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


def retry(connection: sqlite3.Connection, delivery_id: str, now_ms: int) -> ChangeResult:
    """Revives one delivery."""
    end_overtaken(connection, now_ms, "d.id = ?", delivery_id)  # a person insists: it waits for no event any more
    row = connection.execute(
        "SELECT seq, state, event_seq, run_id, action, needs, once_key, order_key, word, waits_until"
        " FROM deliveries WHERE id = ?",
        (delivery_id,),
    ).fetchone()
    if row is None:
        return Refusal("there is no such delivery")
    seq, state, event_seq, run_id, action, needs, once_key, _, word, waits_until = row
    if state == "pending":
        word = word if waits_until is None else now_word(word)
        sql = "UPDATE deliveries SET due_at = ?, waits_until = NULL, word = ? WHERE seq = ?"
        connection.execute(sql, (now_ms, word, seq))
        return DONE
    if state == "running":
        return Refusal("it is running now")
    if state == "succeeded":
        return Refusal("it has succeeded; `events replay` makes new work")
    if state == "blocked":
        return Refusal(f"it waits for {', '.join(json.loads(needs))}; retry that")
    if once_key is not None:
        holder = done_by(connection, once_key, seq)
        if holder is not None:
            return Refusal(f"once_per: {holder} has done it")
    if (never := why_never(connection, event_seq, run_id, needs)) is not None:
        return Refusal(never)
    connection.execute(
        "UPDATE deliveries SET state = 'blocked', attempts = 0, reason = NULL, finished_at = NULL, word = ?,"
        " waits_until = NULL, until_key = CASE state WHEN 'cancelled' THEN NULL ELSE until_key END WHERE seq = ?",
        (word_after_retry(word, state), seq),
    )
    connection.execute("UPDATE deliveries SET fetched = NULL WHERE id = ? AND fetched IS NOT NULL", (run_id,))
    revive_dependents(connection, event_seq, run_id, action)
    if needs == "[]":
        make_due(connection, row, now_ms)
    else:
        settle_dependents(connection, event_seq, run_id, None, now_ms)
    return DONE


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
        (kept_text(reason), now_ms, seq),
    )
    settle_dependents(connection, event_seq, run_id, action, now_ms)
    pass_turn(connection, once_key=once_key, order_key=order_key)
    return DONE


class SqlitePeople(SqliteFile):
    """The methods of `PeopleStore`, and of `IntakeStore` for rejected requests."""

    async def events(self, where: EventFilter, *, limit: int, newest_first: bool = True) -> list[Event]:
        terms, args = event_terms(where)
        order = "DESC" if newest_first else "ASC"
        sql = f"SELECT {EVENT_LISTED} FROM events WHERE {terms} ORDER BY seq {order} LIMIT ?"
        return await self._read(lambda c: [event_of(row) for row in c.execute(sql, (*args, limit))])

    async def event(self, event_id: str, account: str | None = None) -> list[Event]:
        terms, args = event_terms(EventFilter(ids=(event_id,), accounts=(account,) if account else ()))
        sql = f"SELECT {EVENT} FROM events WHERE {terms} ORDER BY seq"
        return await self._read(lambda c: [event_of(row) for row in c.execute(sql, args)])

    async def gathered(self, delivery_id: str) -> list[Event]:
        digest = "SELECT value FROM json_each((SELECT digest FROM deliveries WHERE id = ?))"
        sql = f"SELECT {EVENT} FROM events WHERE seq IN ({digest}) ORDER BY seq"
        return await self._read(lambda c: [event_of(row) for row in c.execute(sql, (delivery_id,))])

    async def deliveries(self, where: DeliveryFilter, *, limit: int, newest_first: bool = True) -> list[Delivery]:
        terms, args = delivery_terms(where)
        order = "DESC" if newest_first else "ASC"
        sql = f"SELECT {DELIVERY_LISTED} FROM deliveries d WHERE {terms} ORDER BY d.seq {order} LIMIT ?"
        return await self._read(lambda c: [delivery_of(row) for row in c.execute(sql, (*args, limit))])

    async def delivery(self, delivery_id: str) -> tuple[Delivery, list[Attempt]] | None:
        def find(connection: sqlite3.Connection) -> tuple[Delivery, list[Attempt]] | None:
            sql = f"SELECT {DELIVERY} FROM deliveries d WHERE d.id = ?"
            row = connection.execute(sql, (delivery_id,)).fetchone()
            if row is None:
                return None
            sql = f"SELECT {ATTEMPT} FROM attempts WHERE delivery_seq = ? ORDER BY number"
            return delivery_of(row), [attempt_of(attempt) for attempt in connection.execute(sql, (row["seq"],))]

        return await self._read(find)

    async def retry(self, delivery_ids: Sequence[str]) -> Mapping[str, ChangeResult]:
        return await self._each(delivery_ids, partial(retry, now_ms=self._now_ms()))

    async def cancel(self, delivery_ids: Sequence[str], reason: str) -> Mapping[str, ChangeResult]:
        return await self._each(delivery_ids, partial(cancel, reason=reason, now_ms=self._now_ms()))

    async def answer(self, delivery_id: str, who: str, *, is_yes: bool) -> ChangeResult:
        now_ms = self._now_ms()
        refuse = partial(cancel, reason=f"refused by {who}", now_ms=now_ms)
        return await self._do(lambda c: answer(c, delivery_id, who, is_yes=is_yes, cancel=refuse, now_ms=now_ms))

    async def _each(
        self, delivery_ids: Sequence[str], change: Callable[[sqlite3.Connection, str], ChangeResult]
    ) -> dict[str, ChangeResult]:
        return await self._do(lambda c: {delivery_id: change(c, delivery_id) for delivery_id in delivery_ids})

    async def waiting(self) -> Mapping[Lane, int]:
        sql = (
            "SELECT account, route, action, count(*) FROM deliveries"
            " WHERE state IN ('blocked', 'pending', 'running') GROUP BY account, route, action"
        )
        return await self._read(lambda c: {Lane(*lane): count for *lane, count in c.execute(sql)})

    async def counts(self) -> Mapping[str, int]:
        def count(connection: sqlite3.Connection) -> dict[str, int]:
            counts: dict[str, int] = dict(connection.execute("SELECT state, count(*) FROM deliveries GROUP BY state"))
            (counts["events"],) = connection.execute("SELECT count(*) FROM events WHERE seq > 0").fetchone()
            return counts

        return await self._read(count)

    # -- rejected requests ------------------------------------------------------------------------------------

    async def keep_rejected(self, requests: Sequence[RejectedRequest], bounds: RejectedBounds) -> int:
        return await self._do(lambda c: _keep_rejected(c, requests, bounds, self._now_ms()))

    async def rejected(self, where: RejectedFilter, *, limit: int, newest_first: bool = True) -> list[RejectedRequest]:
        terms, args = rejected_terms(where)
        order = "DESC" if newest_first else "ASC"
        sql = f"SELECT {REJECTED_LISTED} FROM rejected WHERE {terms} ORDER BY seq {order} LIMIT ?"
        return await self._read(lambda c: [rejected_of(row) for row in c.execute(sql, (*args, limit))])

    async def count_rejected(self, where: RejectedFilter, *, at_most: int) -> int:
        terms, args = rejected_terms(where)
        sql = f"SELECT count(*) FROM (SELECT 1 FROM rejected WHERE {terms} LIMIT ?)"
        return await self._read(lambda c: int(c.execute(sql, (*args, at_most)).fetchone()[0]))

    async def rejected_request(self, rejected_id: str) -> RejectedRequest | None:
        sql = f"SELECT {REJECTED} FROM rejected WHERE id = ?"
        row = await self._read(lambda c: c.execute(sql, (rejected_id,)).fetchone())
        return None if row is None else rejected_of(row)

    async def forget_rejected(self, rejected_ids: Sequence[str]) -> int:
        sql = "DELETE FROM rejected WHERE id = ?"
        return await self._do(lambda c: sum(c.execute(sql, (rejected_id,)).rowcount for rejected_id in rejected_ids))
