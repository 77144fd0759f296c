"""What people ask of PostgreSQL, and what they change; and rejected requests, which they look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.core.model import (
    DONE,
    Attempt,
    ChangeResult,
    Delivery,
    DeliveryFilter,
    Event,
    EventFilter,
    Lane,
    Refusal,
    RejectedBounds,
    RejectedFilter,
    RejectedRequest,
)
from gateway.store.keeping import kept_text
from gateway.store.postgres.database import PostgresDatabase
from gateway.store.postgres.filters import EVENT_SEARCHED, delivery_terms, event_terms, events_holding, rejected_terms
from gateway.store.postgres.statements import call
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

MOST_CHANGED = 500  # deliveries that one statement of a person changes

RETRY = call("retry_afresh", "bigint, text[]")
CANCEL = call("cancel_deliveries", "bigint, text[], text")
ANSWER = call("answer_delivery", "bigint, text, text, bool, text")
KEEP_REJECTED = call(
    "keep_rejected",
    "bigint, bigint, bigint, bigint, text[], bigint[], text[], text[], text[], text[], text[], text[], bigint[], "
    "bytea[]",
)
FORGET_REJECTED = (
    "WITH gone AS (DELETE FROM rejected WHERE id = ANY ($1::text[]) RETURNING 1) SELECT count(*) FROM gone"
)
WAITING = """
SELECT account, route, action, count(*) FROM deliveries WHERE state IN ('blocked', 'pending', 'running')
GROUP BY account, route, action
"""
COUNTS = """
SELECT state, count(*) FROM deliveries GROUP BY state
UNION ALL SELECT 'events', count(*) FROM events WHERE seq > 0
"""
SIZE = """
SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_class c
WHERE c.relnamespace = $1::regnamespace AND c.relkind IN ('r', 'S')
"""


class PostgresPeople(PostgresDatabase):
    """The methods of `PeopleStore`, and of `IntakeStore` for rejected requests."""

    async def events(self, where: EventFilter, *, limit: int, newest_first: bool = True) -> list[Event]:
        terms = event_terms(where)
        order = "DESC" if newest_first else "ASC"
        if where.text:
            sql = f"SELECT {EVENT_SEARCHED} FROM events WHERE {terms} ORDER BY seq {order}"
            rows = await self._people.fetch(sql, *terms.values)
            return [event for _, event in events_holding(rows, where.text, limit)]
        sql = f"SELECT {EVENT_LISTED} FROM events WHERE {terms} ORDER BY seq {order} LIMIT {terms.mark(limit)}"
        return [event_of(row) for row in await self._people.fetch(sql, *terms.values)]

    async def event(self, event_id: str, account: str | None = None) -> list[Event]:
        terms = event_terms(EventFilter(ids=(event_id,), accounts=(account,) if account else ()))
        sql = f"SELECT {EVENT} FROM events WHERE {terms} ORDER BY seq"
        return [event_of(row) for row in await self._people.fetch(sql, *terms.values)]

    async def gathered(self, delivery_id: str) -> list[Event]:
        digest = "SELECT jsonb_array_elements(digest::jsonb)::bigint FROM deliveries WHERE id = $1"
        sql = f"SELECT {EVENT} FROM events WHERE seq IN ({digest}) ORDER BY seq"
        return [event_of(row) for row in await self._people.fetch(sql, delivery_id)]

    async def deliveries(self, where: DeliveryFilter, *, limit: int, newest_first: bool = True) -> list[Delivery]:
        terms = delivery_terms(where)
        order = "DESC" if newest_first else "ASC"
        sql = (
            f"SELECT {DELIVERY_LISTED} FROM deliveries d WHERE {terms} ORDER BY d.seq {order} LIMIT {terms.mark(limit)}"
        )
        return [delivery_of(row) for row in await self._people.fetch(sql, *terms.values)]

    async def delivery(self, delivery_id: str) -> tuple[Delivery, list[Attempt]] | None:
        rows = await self._people.fetch(f"SELECT {DELIVERY} FROM deliveries d WHERE d.id = $1", delivery_id)
        if not rows:
            return None
        sql = f"SELECT {ATTEMPT} FROM attempts WHERE delivery_seq = $1 ORDER BY number"
        attempts = await self._people.fetch(sql, rows[0]["seq"])
        return delivery_of(rows[0]), [attempt_of(row) for row in attempts]

    async def retry(self, delivery_ids: Sequence[str]) -> Mapping[str, ChangeResult]:
        return await self._each(RETRY, delivery_ids)

    async def answer(self, delivery_id: str, who: str, *, is_yes: bool) -> ChangeResult:
        who = kept_text(who) or ""
        refusal = await self._people.value(ANSWER, self._now(), delivery_id, who, is_yes, f"refused by {who}")
        await self._announce()
        return DONE if refusal is None else Refusal(refusal)

    async def cancel(self, delivery_ids: Sequence[str], reason: str) -> Mapping[str, ChangeResult]:
        return await self._each(CANCEL, delivery_ids, kept_text(reason))

    async def _each(self, sql: str, delivery_ids: Sequence[str], *more: str | None) -> dict[str, ChangeResult]:
        """A change by delivery; in parts, so that none holds its locks for long."""
        answers: dict[str, ChangeResult] = {}
        wanted = list(dict.fromkeys(delivery_ids))
        for start in range(0, len(wanted), MOST_CHANGED):
            part = wanted[start : start + MOST_CHANGED]
            reasons: list[str | None] = await self._people.value(sql, self._now(), part, *more)
            results = (DONE if reason is None else Refusal(reason) for reason in reasons)
            answers.update(zip(part, results, strict=True))
        await self._announce()
        return answers

    async def waiting(self) -> Mapping[Lane, int]:
        return {Lane(*lane): count for *lane, count in await self._people.fetch(WAITING)}

    async def counts(self) -> Mapping[str, int]:
        return {row["state"]: row["count"] for row in await self._people.fetch(COUNTS)}

    # -- rejected requests ------------------------------------------------------------------------------------

    async def keep_rejected(self, requests: Sequence[RejectedRequest], bounds: RejectedBounds) -> int:
        dropped: int = await self._people.value(
            KEEP_REJECTED,
            self._now(),
            bounds.requests,
            bounds.size,
            round(bounds.age_seconds * 1000),
            [r.id for r in requests],
            [milliseconds(r.received_at) for r in requests],
            [r.account for r in requests],
            [r.reason for r in requests],
            [r.address for r in requests],
            [r.peer for r in requests],
            [kept_text(r.forwarded_for) for r in requests],
            [kept_text(r.signature) for r in requests],
            [r.size for r in requests],
            [r.body for r in requests],
        )
        return dropped

    async def rejected(self, where: RejectedFilter, *, limit: int, newest_first: bool = True) -> list[RejectedRequest]:
        terms = rejected_terms(where)
        order = "DESC" if newest_first else "ASC"
        sql = f"SELECT {REJECTED_LISTED} FROM rejected WHERE {terms} ORDER BY seq {order} LIMIT {terms.mark(limit)}"
        return [rejected_of(row) for row in await self._people.fetch(sql, *terms.values)]

    async def count_rejected(self, where: RejectedFilter, *, at_most: int) -> int:
        terms = rejected_terms(where)
        sql = f"SELECT count(*) FROM (SELECT FROM rejected WHERE {terms} LIMIT {terms.mark(at_most)}) c"
        return int(await self._people.value(sql, *terms.values))

    async def rejected_request(self, rejected_id: str) -> RejectedRequest | None:
        rows = await self._people.fetch(f"SELECT {REJECTED} FROM rejected WHERE id = $1", rejected_id)
        return rejected_of(rows[0]) if rows else None

    async def forget_rejected(self, rejected_ids: Sequence[str]) -> int:
        return int(await self._people.value(FORGET_REJECTED, list(rejected_ids)))
