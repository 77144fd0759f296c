"""What the console and the API ask of a SQLite store, on a connection and a thread of their own, which never write."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from gateway.core.errors import StoreUnavailable
from gateway.core.internal_events import is_own
from gateway.core.model import AuditEntry, Delivery, DeliveryFilter, Event, EventFilter, Lane
from gateway.core.routing import names
from gateway.store.answers import Arrivals, Bucket, DeadCause, EventKind, LaneState, Page
from gateway.store.paging import (
    SEARCH_ROWS,
    SEARCH_SECONDS,
    STEP_BACK_MS,
    dead_causes,
    is_by_delivery_kind,
    is_by_kind,
    names_few,
    parse_cursor,
    uncountable,
)
from gateway.store.records import DELIVERY_LISTED, EVENT_LISTED, delivery_of, event_of, milliseconds, moment
from gateway.store.sqlite.filters import delivery_terms, event_terms
from gateway.store.sqlite.skip_scan import Kind, SqliteSkipScanIndex, ends, first_seq
from gateway.store.sqlite.writer import connect

T = TypeVar("T")

EVENTS = SqliteSkipScanIndex("events", ("account", "type", "state"), "1")
DELIVERIES = SqliteSkipScanIndex("deliveries", ("account", "route", "action", "state"), "state <> 'running'")
EVERYTHING = range(2**62)


class ReadConnection:
    """A read-only connection and the one thread that uses it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="gateway-store-console")
        self._connection: sqlite3.Connection | None = None

    async def run(self, what: Callable[[sqlite3.Connection], T]) -> T:
        """What `what` returned, from one unchanging state of the store. Raises StoreUnavailable."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, what)
        except sqlite3.Error as error:
            raise StoreUnavailable(f"cannot read {self._path.name}: {error}") from None

    def _run(self, what: Callable[[sqlite3.Connection], T]) -> T:
        if self._connection is None:
            self._connection = connect(self._path)
            self._connection.execute("PRAGMA query_only=1")
        self._connection.execute("BEGIN")
        try:
            return what(self._connection)
        finally:
            self._connection.execute("ROLLBACK")

    async def close(self) -> None:
        """Frees everything."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, connection.close)
        self._thread.shutdown(wait=False)


def _span(
    connection: sqlite3.Connection,
    table: str,
    column: str,
    since: datetime | None,
    until: datetime | None,
    slack_ms: int = STEP_BACK_MS,
) -> range:
    """The seqs among which everything from a stretch of time lies, and what came up to `slack_ms` before or after."""
    low, high = EVERYTHING.start, EVERYTHING.stop
    if since is not None:
        low = first_seq(connection, table, column, milliseconds(since) - slack_ms)
    if until is not None:
        high = first_seq(connection, table, column, milliseconds(until) + slack_ms)
    return range(low, max(low, high))


def _beyond(span: range, after: int | None, oldest_first: bool) -> range:
    if after is None:
        return span
    return range(max(span.start, after + 1), span.stop) if oldest_first else range(span.start, min(span.stop, after))


# -- events ---------------------------------------------------------------------------------------------------


def _wants_event(where: EventFilter) -> Callable[[Kind], bool]:
    def wants(kind: Kind) -> bool:
        account, type_, state = kind
        return (
            (not where.accounts or account in where.accounts)
            and (not where.states or state in where.states)
            and (not where.types or any(names(pattern, type_) for pattern in where.types))
        )

    return wants


def _event_seqs(
    connection: sqlite3.Connection, where: EventFilter, span: range, limit: int, oldest_first: bool
) -> list[int]:
    """The first seqs that a filter wants. Times are exact: the span is only where to look."""
    if not is_by_kind(where):
        order = "ASC" if oldest_first else "DESC"
        seq = "+seq" if names_few(where) else "seq"  # with the + SQLite finds the few first, and does not walk the span
        terms, args = event_terms(where)
        sql = f"SELECT seq FROM events WHERE {terms} AND {seq} >= ? AND {seq} < ? ORDER BY {seq} {order} LIMIT ?"
        return [row[0] for row in connection.execute(sql, (*args, span.start, span.stop, limit))]
    kinds = EVENTS.wanted(connection, _wants_event(where))
    return EVENTS.seqs(connection, kinds, span, limit, oldest_first=oldest_first)


def _events(connection: sqlite3.Connection, seqs: Sequence[int]) -> list[tuple[int, Event]]:
    marks = ",".join("?" * len(seqs))
    rows = connection.execute(f"SELECT {EVENT_LISTED} FROM events WHERE seq IN ({marks})", seqs)
    found = {row[0]: event_of(row) for row in rows}
    return [(seq, found[seq]) for seq in seqs if seq in found]


def _in_time(at: datetime, since: datetime | None, until: datetime | None) -> bool:
    return (since is None or at >= since) and (until is None or at < until)


def event_page(
    connection: sqlite3.Connection, where: EventFilter, limit: int, after: str | None, oldest_first: bool
) -> Page[Event]:
    """See Store.event_page."""
    span = _span(connection, "events", "received_at", where.since, where.until)
    place = parse_cursor(after)
    items: list[Event] = []
    if where.text and not names_few(where):
        return _search(connection, where, limit, _beyond(span, place, oldest_first), oldest_first)
    while True:
        seqs = _event_seqs(connection, where, _beyond(span, place, oldest_first), limit + 1, oldest_first)
        for seq, event in _events(connection, seqs):
            if _in_time(event.received_at, where.since, where.until):
                if len(items) == limit:
                    return Page(items, str(place))
                items.append(event)
            place = seq
        if len(seqs) <= limit:
            return Page(items, None)


def _search(
    connection: sqlite3.Connection, where: EventFilter, limit: int, span: range, oldest_first: bool
) -> Page[Event]:
    """Looks through bodies, some rows at a time, until the page is full or time is up."""
    deadline = time.monotonic() + SEARCH_SECONDS
    lowest, highest = ends(connection, "events")
    items: list[Event] = []
    if lowest is None or highest is None:
        return Page(items, None)
    low, high = max(span.start, lowest), min(span.stop, highest + 1)
    terms, args = event_terms(where)
    order = "ASC" if oldest_first else "DESC"
    sql = f"SELECT {EVENT_LISTED} FROM events WHERE seq >= ? AND seq < ? AND {terms} ORDER BY seq {order} LIMIT ?"
    while low < high:
        part = range(low, min(high, low + SEARCH_ROWS)) if oldest_first else range(max(low, high - SEARCH_ROWS), high)
        for row in connection.execute(sql, (part.start, part.stop, *args, limit - len(items))):
            items.append(event_of(row))
            if len(items) == limit:
                return Page(items, str(row[0]))
        low, high = (part.stop, high) if oldest_first else (low, part.start)
        if low < high and time.monotonic() > deadline:
            next_seq = part.stop - 1 if oldest_first else part.start
            at = connection.execute(
                "SELECT received_at FROM events WHERE seq >= ? ORDER BY seq LIMIT 1", (next_seq,)
            ).fetchone()[0]
            return Page(items, str(next_seq), moment(at))
    return Page(items, None)


def arrivals(connection: sqlite3.Connection, after: str | None, limit: int) -> Arrivals:
    """See Store.arrivals."""
    newest = connection.execute("SELECT max(seq) FROM events WHERE seq > 0").fetchone()[0] or 0
    place = parse_cursor(after)
    if place is None or place >= newest:
        return Arrivals((), 0, str(newest))
    rows = connection.execute(
        f"SELECT {EVENT_LISTED} FROM events WHERE seq > ? AND seq <= ? ORDER BY seq DESC LIMIT ?",
        (place, newest, limit),
    ).fetchall()
    return Arrivals([event_of(row) for row in reversed(rows)], max(0, newest - place - len(rows)), str(newest))


def count_events(connection: sqlite3.Connection, where: EventFilter, at_most: int) -> int:
    """See Store.count_events."""
    if where.text:
        raise uncountable()
    span = _span(connection, "events", "received_at", where.since, where.until, slack_ms=0)
    if names_few(where):
        terms, args = event_terms(where)
        sql = f"SELECT count(*) FROM (SELECT 1 FROM events WHERE {terms} LIMIT ?)"
        return int(connection.execute(sql, (*args, at_most)).fetchone()[0])
    return _count(connection, EVENTS, _wants_event(where), span, at_most)


def _count(
    connection: sqlite3.Connection, index: SqliteSkipScanIndex, wants: Callable[[Kind], bool], span: range, at_most: int
) -> int:
    total = 0
    for kind in index.wanted(connection, wants):
        total += index.count(connection, kind, span, at_most - total)
        if total >= at_most:
            break
    return total


# -- deliveries -----------------------------------------------------------------------------------------------


def _wants_delivery(where: DeliveryFilter) -> Callable[[Kind], bool]:
    lanes = None if where.lanes is None else set(where.lanes)

    def wants(kind: Kind) -> bool:
        account, route, action, state = kind
        return (
            (not where.accounts or account in where.accounts)
            and (not where.routes or route in where.routes)
            and (not where.actions or action in where.actions)
            and (not where.states or state in where.states)
            and (lanes is None or (route, action) in lanes)
        )

    return wants


def _running(connection: sqlite3.Connection, where: DeliveryFilter, span: range) -> list[int]:
    """The seqs of running deliveries that a filter wants: they are few."""
    if (where.states and "running" not in where.states) or (where.lanes is not None and not where.lanes):
        return []
    terms, args = delivery_terms(where)
    # The + keeps SQLite from walking all seqs of the span instead of the few that run.
    sql = f"SELECT seq FROM deliveries d WHERE state = 'running' AND {terms} AND +seq >= ? AND +seq < ?"
    return [seq for (seq,) in connection.execute(sql, (*args, span.start, span.stop))]


def _delivery_seqs(
    connection: sqlite3.Connection, where: DeliveryFilter, span: range, limit: int, oldest_first: bool
) -> list[int]:
    order = "ASC" if oldest_first else "DESC"
    if not is_by_delivery_kind(where):
        terms, args = delivery_terms(where)
        sql = f"SELECT seq FROM deliveries d WHERE {terms} AND seq >= ? AND seq < ? ORDER BY seq {order} LIMIT ?"
        return [seq for (seq,) in connection.execute(sql, (*args, span.start, span.stop, limit))]
    kinds = DELIVERIES.wanted(connection, _wants_delivery(where))
    found = DELIVERIES.seqs(connection, kinds, span, limit, oldest_first=oldest_first)
    return sorted({*found, *_running(connection, where, span)}, reverse=not oldest_first)[:limit]


def delivery_page(
    connection: sqlite3.Connection, where: DeliveryFilter, limit: int, after: str | None, oldest_first: bool
) -> Page[Delivery]:
    """See Store.delivery_page."""
    span = _span(connection, "deliveries", "created_at", where.since, where.until)
    place = parse_cursor(after)
    items: list[Delivery] = []
    while True:
        seqs = _delivery_seqs(connection, where, _beyond(span, place, oldest_first), limit + 1, oldest_first)
        marks = ",".join("?" * len(seqs))
        rows = connection.execute(f"SELECT {DELIVERY_LISTED} FROM deliveries d WHERE d.seq IN ({marks})", seqs)
        by_seq = {row[0]: delivery_of(row) for row in rows}
        for seq in seqs:
            if _in_time(by_seq[seq].created_at, where.since, where.until):
                if len(items) == limit:
                    return Page(items, str(place))
                items.append(by_seq[seq])
            place = seq
        if len(seqs) <= limit:
            return Page(items, None)


def count_deliveries(connection: sqlite3.Connection, where: DeliveryFilter, at_most: int) -> int:
    """See Store.count_deliveries."""
    span = _span(connection, "deliveries", "created_at", where.since, where.until, slack_ms=0)
    if where.ids or where.event_ids:
        return len(_delivery_seqs(connection, where, span, at_most, True))
    running = len(_running(connection, where, span))
    return min(at_most, running + _count(connection, DELIVERIES, _wants_delivery(where), span, at_most))


# -- the overview ---------------------------------------------------------------------------------------------


def buckets(connection: sqlite3.Connection, edges: Sequence[datetime]) -> list[Bucket]:
    """See Store.buckets."""
    times = [milliseconds(edge) for edge in edges]
    seqs = [first_seq(connection, "events", "received_at", at) for at in times]
    kinds = list(EVENTS.kinds(connection))
    made = []
    for i in range(len(edges) - 1):
        events: dict[str, int] = {}
        if seqs[i] < seqs[i + 1]:
            for kind in kinds:
                count = EVENTS.count(connection, kind, range(seqs[i], seqs[i + 1]), -1)
                if count:
                    events[kind[2]] = events.get(kind[2], 0) + count
        ended = connection.execute(
            "SELECT state, count(*) FROM deliveries WHERE finished_at >= ? AND finished_at < ? GROUP BY state",
            (times[i], times[i + 1]),
        )
        made.append(Bucket(edges[i], events, dict(ended)))
    return made


def latencies(connection: sqlite3.Connection, since_ms: int, limit: int) -> list[float]:
    """See Store.latencies."""
    rows = connection.execute(
        "SELECT finished_at - created_at FROM deliveries WHERE finished_at >= ? AND state = 'succeeded'"
        " ORDER BY finished_at DESC LIMIT ?",
        (since_ms, limit),
    )
    return sorted(max(0, duration) / 1000 for (duration,) in rows)


def lane_states(connection: sqlite3.Connection) -> list[LaneState]:
    """See Store.lane_states."""
    found: dict[Lane, dict[str, int]] = {}
    oldest: dict[Lane, datetime] = {}
    for kind in DELIVERIES.kinds(connection):
        account, route, action, state = kind
        if state not in ("pending", "blocked", "dead"):
            continue
        lane = Lane(account, route, action)
        found.setdefault(lane, {})[state] = DELIVERIES.count(connection, kind, EVERYTHING, -1)
        if state == "pending":
            (seq,) = DELIVERIES.seqs(connection, [kind], EVERYTHING, 1, oldest_first=True)
            row = connection.execute("SELECT created_at FROM deliveries WHERE seq = ?", (seq,)).fetchone()
            oldest[lane] = moment(row[0])
    running = connection.execute(
        "SELECT account, route, action, count(*) FROM deliveries WHERE state = 'running' GROUP BY 1, 2, 3"
    )
    for account, route, action, count in running:
        found.setdefault(Lane(account, route, action), {})["running"] = count
    return [LaneState(lane, counts, oldest.get(lane)) for lane, counts in sorted(found.items())]


def find_dead_causes(connection: sqlite3.Connection, among: int) -> list[DeadCause]:
    """See Store.dead_causes."""
    rows = connection.execute(
        "SELECT route, action, reason, id, finished_at FROM deliveries WHERE state = 'dead' ORDER BY seq DESC LIMIT ?",
        (among,),
    )
    return dead_causes(rows)


def last_events(connection: sqlite3.Connection) -> dict[str, datetime]:
    """See Store.last_events."""
    newest: dict[str, int] = {}
    for kind in EVENTS.kinds(connection):
        if is_own(kind[1]):
            continue
        (seq,) = EVENTS.seqs(connection, [kind], EVERYTHING, 1, oldest_first=False)
        newest[kind[0]] = max(seq, newest.get(kind[0], 0))
    sql = "SELECT received_at FROM events WHERE seq = ?"
    return {account: moment(connection.execute(sql, (seq,)).fetchone()[0]) for account, seq in newest.items()}


def audit_page(connection: sqlite3.Connection, limit: int, after: str | None) -> Page[AuditEntry]:
    """See Store.audit."""
    place = parse_cursor(after)
    rows = connection.execute(
        "SELECT at, role, who, what, target, count, seq FROM audit WHERE seq < ? ORDER BY seq DESC LIMIT ?",
        (EVERYTHING.stop if place is None else place, limit + 1),
    ).fetchall()
    entries = [AuditEntry(moment(row[0]), *row[1:6]) for row in rows[:limit]]
    return Page(entries, str(rows[limit - 1][6]) if len(rows) > limit else None)


class SqliteReports:
    """The methods of `Store` under "the console"; `SqliteStore` brings the path and the writer."""

    path: Path

    def __init__(self) -> None:
        self._console = ReadConnection(self.path)

    async def _do(self, what: Callable[[sqlite3.Connection], T]) -> T:
        raise NotImplementedError

    async def event_page(
        self, where: EventFilter, *, limit: int, after: str | None = None, oldest_first: bool = False
    ) -> Page[Event]:
        return await self._console.run(lambda c: event_page(c, where, limit, after, oldest_first))

    async def delivery_page(
        self, where: DeliveryFilter, *, limit: int, after: str | None = None, oldest_first: bool = False
    ) -> Page[Delivery]:
        return await self._console.run(lambda c: delivery_page(c, where, limit, after, oldest_first))

    async def arrivals(self, after: str | None, *, limit: int) -> Arrivals:
        return await self._console.run(lambda c: arrivals(c, after, limit))

    async def count_events(self, where: EventFilter, *, at_most: int) -> int:
        return await self._console.run(lambda c: count_events(c, where, at_most))

    async def count_deliveries(self, where: DeliveryFilter, *, at_most: int) -> int:
        return await self._console.run(lambda c: count_deliveries(c, where, at_most))

    async def buckets(self, edges: Sequence[datetime]) -> Sequence[Bucket]:
        return await self._console.run(lambda c: buckets(c, edges))

    async def latencies(self, since: datetime, *, limit: int) -> Sequence[float]:
        return await self._console.run(lambda c: latencies(c, milliseconds(since), limit))

    async def lane_states(self) -> Sequence[LaneState]:
        return await self._console.run(lane_states)

    async def dead_causes(self, *, among: int) -> Sequence[DeadCause]:
        return await self._console.run(lambda c: find_dead_causes(c, among))

    async def last_events(self) -> Mapping[str, datetime]:
        return await self._console.run(last_events)

    async def event_kinds(self) -> Sequence[EventKind]:
        def find(connection: sqlite3.Connection) -> Iterable[EventKind]:
            return [EventKind(*kind) for kind in EVENTS.wanted(connection, lambda kind: True)]

        return list(await self._console.run(find))

    async def size_bytes(self) -> int:
        paths = (self.path, self.path.with_name(self.path.name + "-wal"))
        return sum(path.stat().st_size for path in paths if path.exists())

    async def record(self, entry: AuditEntry) -> None:
        values = (milliseconds(entry.at), entry.role, entry.who, entry.what, entry.target, entry.count)
        sql = "INSERT INTO audit (at, role, who, what, target, count) VALUES (?, ?, ?, ?, ?, ?)"
        await self._do(lambda c: c.execute(sql, values))

    async def audit(self, *, limit: int, after: str | None = None) -> Page[AuditEntry]:
        return await self._console.run(lambda c: audit_page(c, limit, after))
