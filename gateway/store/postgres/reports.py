"""What the console and the API ask of PostgreSQL, on a connection of its own. Each page and count is one statement."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from gateway.core.internal_events import PREFIX
from gateway.core.model import AuditEntry, Delivery, DeliveryFilter, Event, EventFilter, Lane
from gateway.store.answers import Arrivals, Bucket, DeadCause, EventKind, LaneState, Page, Status, oldest_pending
from gateway.store.keeping import kept_key, kept_text
from gateway.store.paging import (
    SEARCH_ROWS,
    SEARCH_SECONDS,
    dead_causes,
    is_by_delivery_kind,
    is_by_kind,
    names_few,
    names_few_deliveries,
    parse_cursor,
    uncountable,
    wrong_cursor,
)
from gateway.store.postgres.bars import ENDED_BUCKETS, ENDED_STATES, EVENT_BUCKETS, EVENT_STATES, LATENCIES
from gateway.store.postgres.database import PostgresDatabase
from gateway.store.postgres.filters import (
    EVENT_SEARCHED,
    Terms,
    delivery_kind_terms,
    delivery_terms,
    event_kind_terms,
    event_terms,
    events_holding,
)
from gateway.store.postgres.people import SIZE
from gateway.store.postgres.skip_scan import PostgresSkipScanIndex
from gateway.store.postgres.statements import NOW
from gateway.store.records import (
    AUDIT,
    DELIVERY_LISTED,
    EVENT_LISTED,
    PURGED,
    audit_page_of,
    delivery_of,
    event_of,
    milliseconds,
    moment,
)

EVENTS = PostgresSkipScanIndex("events", ("account", "type", "state"), "true", "received_at")
DELIVERIES = PostgresSkipScanIndex(
    "deliveries", ("account", "route", "action", "state"), "(t.state = 'running') IS NOT TRUE", "created_at"
)
PICKED = "ANY ((SELECT seqs FROM merged ORDER BY place DESC LIMIT 1)::bigint[])"
WINDOW = 10_000  # numbers behind the newest event in which one that is committed late is still an arrival
MOST_MISSING = 500  # numbers that may still be committed, or never: those of duplicates are used up

ARRIVED = """
SELECT seq FROM events WHERE seq > greatest($1::bigint, (SELECT max(seq) FROM events) - $2)
UNION ALL SELECT seq FROM events WHERE seq = ANY ($3::bigint[]) ORDER BY seq
"""
LOOKED_AT = 200  # of each order, for one of a lane that does not wait until a time


def _next(side: str) -> str:
    """When the oldest was made of those on a side of now, by when they are due, that do not wait until a time."""
    return f"""(SELECT min(n.created_at) FROM (
      SELECT o.created_at, o.waits_until FROM deliveries_open o WHERE o.account = kind.account AND o.route = kind.route
      AND o.action = kind.action AND o.state = 'pending' AND NOT o.held AND o.due_at {side.format(NOW=NOW)}
      ORDER BY o.due_at LIMIT {LOOKED_AT}
    ) n WHERE n.waits_until IS NULL)"""


LANES = f"""
WITH RECURSIVE {DELIVERIES.kinds()}
SELECT kind.account, kind.route, kind.action, kind.state,
  (SELECT count(*) FROM deliveries t WHERE {DELIVERIES.of_kind("kind.{}")}),
  CASE WHEN kind.state = 'pending' THEN coalesce(
    (SELECT f.created_at FROM (
      SELECT t.seq, t.created_at, t.waits_until FROM deliveries t WHERE {DELIVERIES.of_kind("kind.{}")}
      ORDER BY t.seq LIMIT {LOOKED_AT}
    ) f WHERE f.waits_until IS NULL ORDER BY f.seq LIMIT 1),
    CASE WHEN (SELECT count(*) FROM (
      SELECT FROM deliveries t WHERE {DELIVERIES.of_kind("kind.{}")} LIMIT {LOOKED_AT}
    ) f) = {LOOKED_AT} THEN least({_next("<= {NOW}")}, {_next("> {NOW}")}) END
  ) END
FROM kind WHERE kind.state IN ('pending', 'blocked', 'dead')
UNION ALL
SELECT account, route, action, state, count(*), NULL FROM deliveries WHERE state = 'running' GROUP BY 1, 2, 3, 4
UNION ALL
SELECT account, route, action, NULL, NULL, min(waits_until) FROM deliveries
WHERE state = 'pending' AND waits_until <= {NOW} GROUP BY 1, 2, 3
"""
DEAD = """
SELECT route, action, reason, id, finished_at FROM deliveries WHERE state = 'dead' ORDER BY seq DESC LIMIT $1
"""
LAST_EVENTS = f"""
WITH RECURSIVE {EVENTS.kinds()}
SELECT kind.account, max((
  SELECT t.received_at FROM events t WHERE {EVENTS.of_kind("kind.{}")} ORDER BY t.seq DESC LIMIT 1
)) FROM kind WHERE kind.state <> '{PURGED}' AND NOT starts_with(kind.type, '{PREFIX}') GROUP BY 1
"""
AUDIT_PAGE = f"SELECT {AUDIT} FROM audit WHERE seq < $1 ORDER BY seq DESC LIMIT $2"
RECORD = "INSERT INTO audit (at, role, who, what, target, count) VALUES ($1, $2, $3, $4, $5, $6)"


def _order(oldest_first: bool) -> str:
    return "ASC" if oldest_first else "DESC"


def _beyond(terms: Terms, column: str, after: str | None, oldest_first: bool) -> None:
    terms.add(f"{column} {'>' if oldest_first else '<'} {{}}", parse_cursor(after))


class PostgresReports(PostgresDatabase):
    """The methods of `ReportStore`."""

    async def event_page(
        self, where: EventFilter, *, limit: int, after: str | None = None, oldest_first: bool = False
    ) -> Page[Event]:
        order, values = _order(oldest_first), list[Any]()
        if where.text and not names_few(where):
            return await self._search(where, limit, after, oldest_first)
        if where.text:
            return await self._search_few(where, limit, after, oldest_first)
        if is_by_kind(where):
            kinds = Terms(values)
            event_kind_terms(where, kinds)
            bounds = EVENTS.bounds(where.since, where.until, values)
            _beyond(bounds, "t.seq", after, oldest_first)
            most = bounds.mark(limit + 1)
            merged = EVENTS.page("k", kinds, bounds, f"{most}::int", oldest_first=oldest_first)
            sql = f"WITH RECURSIVE {merged} SELECT {EVENT_LISTED} FROM events WHERE seq = {PICKED} ORDER BY seq {order}"
        elif names_few(where):
            terms = event_terms(where, values)
            _beyond(terms, "seq", after, oldest_first)
            few = f"(SELECT * FROM events WHERE {terms} OFFSET 0) few"  # found first, then put in order
            sql = f"SELECT {EVENT_LISTED} FROM {few} ORDER BY seq {order} LIMIT {terms.mark(limit + 1)}"
        else:
            bounds = EVENTS.bounds(where.since, where.until, values)
            _beyond(bounds, "t.seq", after, oldest_first)
            most = bounds.mark(limit + 1)
            sql = f"SELECT {EVENT_LISTED} FROM events t WHERE {bounds} ORDER BY seq {order} LIMIT {most}"
        rows = await self._console.fetch(sql, *values)
        return Page([event_of(row) for row in rows[:limit]], str(rows[limit - 1]["seq"]) if len(rows) > limit else None)

    async def _search_few(self, where: EventFilter, limit: int, after: str | None, oldest_first: bool) -> Page[Event]:
        """Looks through the bodies of what an index finds, as `_search` does."""
        deadline = time.monotonic() + SEARCH_SECONDS
        items: list[Event] = []
        while True:
            terms = event_terms(where)
            _beyond(terms, "seq", after, oldest_first)
            few = f"(SELECT * FROM events WHERE {terms} OFFSET 0) few"
            sql = f"SELECT {EVENT_SEARCHED} FROM {few} ORDER BY seq {_order(oldest_first)} LIMIT {SEARCH_ROWS}"
            rows = await self._console.fetch(sql, *terms.values)
            holding = events_holding(rows, where.text or "", limit - len(items))
            items += [event for _, event in holding]
            if len(items) == limit:
                return Page(items, str(holding[-1][0]))
            if len(rows) < SEARCH_ROWS:
                return Page(items, None)
            after = str(rows[-1]["seq"])
            if time.monotonic() > deadline:
                return Page(items, after, moment(rows[-1]["received_at"]))

    async def _search(self, where: EventFilter, limit: int, after: str | None, oldest_first: bool) -> Page[Event]:
        """Looks through bodies, some rows at a time, until the page is full or time is up."""
        deadline = time.monotonic() + SEARCH_SECONDS
        bounds = EVENTS.bounds(where.since, where.until, list[Any]())
        _beyond(bounds, "t.seq", after, oldest_first)
        sql = (
            f"SELECT (SELECT seq FROM events t WHERE {bounds} ORDER BY seq LIMIT 1),"
            f" (SELECT seq + 1 FROM events t WHERE {bounds} ORDER BY seq DESC LIMIT 1)"
        )
        ((low, high),) = await self._console.fetch(sql, *bounds.values)
        terms = event_terms(where)
        span = f"seq >= {terms.mark(0)} AND seq < {terms.mark(0)}"
        sql = f"SELECT {EVENT_SEARCHED} FROM events WHERE {terms} AND {span} ORDER BY seq {_order(oldest_first)}"
        items: list[Event] = []
        while low is not None and low < high:
            part = (low, min(high, low + SEARCH_ROWS)) if oldest_first else (max(low, high - SEARCH_ROWS), high)
            rows = await self._console.fetch(sql, *terms.values[:-2], *part)
            holding = events_holding(rows, where.text or "", limit - len(items))
            items += [event for _, event in holding]
            if len(items) == limit:
                return Page(items, str(holding[-1][0]))
            low, high = (part[1], high) if oldest_first else (low, part[0])
            if low < high and time.monotonic() > deadline:
                place = part[1] - 1 if oldest_first else part[0]
                at = await self._console.fetch(
                    "SELECT received_at FROM events WHERE seq >= $1 ORDER BY seq LIMIT 1", place
                )
                return Page(items, str(place), moment(at[0]["received_at"]) if at else None)
        return Page(items, None)

    async def delivery_page(
        self, where: DeliveryFilter, *, limit: int, after: str | None = None, oldest_first: bool = False
    ) -> Page[Delivery]:
        order, values = _order(oldest_first), list[Any]()
        if is_by_delivery_kind(where):
            kinds = Terms(values)
            delivery_kind_terms(where, kinds)
            bounds = DELIVERIES.bounds(where.since, where.until, values)
            _beyond(bounds, "t.seq", after, oldest_first)
            most = f"{bounds.mark(limit + 1)}::int"
            merged = DELIVERIES.page("d", kinds, bounds, most, oldest_first=oldest_first)
            running = delivery_terms(where, values)
            _beyond(running, "d.seq", after, oldest_first)
            sql = (
                f"WITH RECURSIVE {merged}, picked AS (SELECT d.seq FROM deliveries d WHERE d.seq = {PICKED}"
                f" UNION SELECT d.seq FROM deliveries d WHERE d.state = 'running' AND {running})"
                f" SELECT {DELIVERY_LISTED} FROM deliveries d WHERE d.seq = ANY (ARRAY("
                f"SELECT seq FROM picked ORDER BY seq {order} LIMIT {most})) ORDER BY d.seq {order}"
            )
        elif names_few_deliveries(where):
            terms = delivery_terms(where, values)
            _beyond(terms, "d.seq", after, oldest_first)
            few = f"(SELECT * FROM deliveries d WHERE {terms} OFFSET 0) d"  # found first, then put in order
            sql = f"SELECT {DELIVERY_LISTED} FROM {few} ORDER BY d.seq {order} LIMIT {terms.mark(limit + 1)}"
        else:
            bounds = DELIVERIES.bounds(where.since, where.until, values, "d")
            _beyond(bounds, "d.seq", after, oldest_first)
            most = bounds.mark(limit + 1)
            sql = f"SELECT {DELIVERY_LISTED} FROM deliveries d WHERE {bounds} ORDER BY d.seq {order} LIMIT {most}"
        rows = await self._console.fetch(sql, *values)
        return Page(
            [delivery_of(row) for row in rows[:limit]], str(rows[limit - 1]["seq"]) if len(rows) > limit else None
        )

    async def arrivals(self, after: str | None, *, limit: int) -> Arrivals:
        place, missing = _parse_tail(after)
        if place is None:
            return Arrivals((), 0, str(await self._console.value("SELECT greatest(max(seq), 0) FROM events")))
        seqs = [seq for (seq,) in await self._console.fetch(ARRIVED, place, WINDOW, missing)]
        newest = max(seqs, default=place)
        begin = max(place, newest - WINDOW)
        came = set(seqs)
        late = [seq for seq in (*missing, *range(begin + 1, newest + 1)) if seq > newest - WINDOW and seq not in came]
        shown = seqs[-limit:]
        rows = await self._console.fetch(
            f"SELECT {EVENT_LISTED} FROM events WHERE seq = ANY ($1::bigint[]) ORDER BY seq", shown
        )
        cursor = ".".join(map(str, (max(newest, place), *late[-MOST_MISSING:])))
        return Arrivals([event_of(row) for row in rows], begin - place + len(seqs) - len(shown), cursor)

    async def count_events(self, where: EventFilter, *, at_most: int) -> int:
        if where.text:
            raise uncountable()
        values: list[Any] = []
        if is_by_kind(where):
            kinds = Terms(values)
            event_kind_terms(where, kinds)
            return await self._count_kinds(EVENTS, "k", kinds, where.since, where.until, at_most)
        terms = event_terms(where, values) if names_few(where) else EVENTS.bounds(where.since, where.until, values)
        sql = f"SELECT count(*) FROM (SELECT FROM events t WHERE {terms} LIMIT {terms.mark(at_most)}) c"
        return int(await self._console.value(sql, *values))

    async def count_deliveries(self, where: DeliveryFilter, *, at_most: int) -> int:
        values: list[Any] = []
        if is_by_delivery_kind(where):
            kinds = Terms(values)
            delivery_kind_terms(where, kinds)
            others = await self._count_kinds(DELIVERIES, "d", kinds, where.since, where.until, at_most)
            running = delivery_terms(where)
            sql = f"SELECT count(*) FROM deliveries d WHERE d.state = 'running' AND {running}"
            return min(at_most, others + int(await self._console.value(sql, *running.values)))
        if names_few_deliveries(where):
            terms = delivery_terms(where, values)
        else:
            terms = DELIVERIES.bounds(where.since, where.until, values, "d")
        sql = f"SELECT count(*) FROM (SELECT FROM deliveries d WHERE {terms} LIMIT {terms.mark(at_most)}) c"
        return int(await self._console.value(sql, *values))

    async def done_once(self, once_keys: Sequence[str]) -> Mapping[str, str]:
        sql = "SELECT n - 1, done_by(key, 0) FROM unnest($1::text[]) WITH ORDINALITY AS k(key, n)"
        rows = await self._console.fetch(sql, [kept_key(key) for key in once_keys])
        return {once_keys[place]: delivery_id for place, delivery_id in rows if delivery_id is not None}

    async def _count_kinds(
        self,
        index: PostgresSkipScanIndex,
        alias: str,
        kinds: Terms,
        since: datetime | None,
        until: datetime | None,
        at_most: int,
    ) -> int:
        bounds = index.bounds(since, until, kinds.values)
        each = f"SELECT FROM {index.table} t WHERE {index.of_kind(alias + '.{}')} AND {bounds} OFFSET 0"
        sql = (
            f"WITH RECURSIVE {index.kinds()} SELECT count(*) FROM (SELECT FROM {index.wanted(alias, kinds)},"
            f" LATERAL ({each}) one LIMIT {bounds.mark(at_most)}) c"
        )
        return int(await self._console.value(sql, *kinds.values))

    async def buckets(self, edges: Sequence[datetime]) -> Sequence[Bucket]:
        times = [milliseconds(edge) for edge in edges]
        events, ended = [
            [
                {state: count for state, count in zip(states, counts, strict=True) if count}
                for counts in await self._console.fetch(sql, times[:-1], times[1:])
            ]
            for states, sql in ((EVENT_STATES, EVENT_BUCKETS), (ENDED_STATES, ENDED_BUCKETS))
        ]
        return [Bucket(*bucket) for bucket in zip(edges, events, ended, strict=False)]

    async def counts_by_time(
        self, edges: Sequence[datetime], where: EventFilter | DeliveryFilter
    ) -> Sequence[Mapping[tuple[str, ...], int]]:
        kinds = Terms()
        if isinstance(where, EventFilter):
            index, alias = EVENTS, "k"
            event_kind_terms(where, kinds)
        else:
            index, alias = DELIVERIES, "d"
            delivery_kind_terms(where, kinds)
        bounds = index.bounds(edges[0], edges[-1], kinds.values)
        times = bounds.mark([milliseconds(edge) for edge in edges])
        columns = ", ".join(f"{alias}.{column}" for column in index.columns)
        each = (  # counted kind by kind: sorting all rows by the words of their kind would not fit into work_mem
            f"SELECT width_bucket(t.{index.time}, {times}::bigint[]) AS place, count(*) AS count"
            f" FROM {index.table} t WHERE {index.of_kind(alias + '.{}')} AND {bounds} GROUP BY 1"
        )
        sql = (
            f"WITH RECURSIVE {index.kinds()} SELECT c.place, c.count, {columns}"
            f" FROM {index.wanted(alias, kinds)}, LATERAL ({each}) c"
        )
        counts: list[dict[tuple[str, ...], int]] = [{} for _ in edges[1:]]
        for place, count, *kind in await self._console.fetch(sql, *kinds.values):
            counts[place - 1][tuple(kind)] = count
        return counts

    async def latencies(self, edges: Sequence[datetime], *, limit: int) -> Sequence[Sequence[float]]:
        times = [milliseconds(edge) for edge in edges]
        took: list[list[float]] = [[] for _ in times[1:]]
        for place, duration in await self._console.fetch(LATENCIES, times[:-1], times[1:], limit):
            took[place - 1].append(max(0, duration) / 1000)
        return [sorted(seconds) for seconds in took]

    async def status(self) -> Status:
        schema = str(await self._console.value("SELECT version_num FROM alembic_version"))
        oldest = oldest_pending(await self.lane_states())
        return Status(self.address.shown, schema, oldest, await self.size_bytes())

    async def lane_states(self) -> Sequence[LaneState]:
        counts: dict[Lane, dict[str, int]] = {}
        oldest: dict[Lane, datetime] = {}
        for account, route, action, state, count, oldest_at in await self._console.fetch(LANES, self._now()):
            lane = Lane(account, route, action)
            if state is not None:
                counts.setdefault(lane, {})[state] = count
            if oldest_at is not None:
                oldest[lane] = min(moment(oldest_at), oldest.get(lane, moment(oldest_at)))
        return [LaneState(lane, by_state, oldest.get(lane)) for lane, by_state in sorted(counts.items())]

    async def dead_causes(self, *, among: int) -> Sequence[DeadCause]:
        return dead_causes(await self._console.fetch(DEAD, among))

    async def last_events(self) -> Mapping[str, datetime]:
        return {account: moment(at) for account, at in await self._console.fetch(LAST_EVENTS)}

    async def event_kinds(self) -> Sequence[EventKind]:
        sql = f"WITH RECURSIVE {EVENTS.kinds()} SELECT * FROM {EVENTS.wanted('k', Terms())}"
        return [EventKind(*row) for row in await self._console.fetch(sql)]

    async def size_bytes(self) -> int:
        return int(await self._console.value(SIZE, self.address.schema))

    async def record(self, entry: AuditEntry) -> None:
        words = (entry.role, entry.who, entry.what, entry.target)
        await self._people.fetch(RECORD, milliseconds(entry.at), *map(kept_text, words), entry.count)

    async def audit(self, *, limit: int, after: str | None = None) -> Page[AuditEntry]:
        place = parse_cursor(after)
        rows = await self._console.fetch(AUDIT_PAGE, 2**62 if place is None else place, limit + 1)
        return audit_page_of(rows, limit)


def _parse_tail(cursor: str | None) -> tuple[int | None, list[int]]:
    """The newest number seen, and those before it that may still come. Raises UsageError."""
    if cursor is None:
        return None, []
    if re.fullmatch(r"\d{1,18}(\.\d{1,18})*", cursor, re.ASCII) is None:
        raise wrong_cursor()
    place, *missing = map(int, cursor.split("."))
    return place, missing
