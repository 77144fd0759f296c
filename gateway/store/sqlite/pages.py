"""Pages and counts of events and deliveries in a SQLite file, for the console and the API."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import pairwise

from gateway.core.model import Delivery, DeliveryFilter, Event, EventFilter
from gateway.core.routing import names
from gateway.store.answers import Arrivals, Page
from gateway.store.paging import (
    SEARCH_ROWS,
    SEARCH_SECONDS,
    STEP_BACK_MS,
    is_by_delivery_kind,
    is_by_kind,
    names_few,
    names_few_deliveries,
    parse_cursor,
    uncountable,
)
from gateway.store.records import DELIVERY_LISTED, EVENT_LISTED, delivery_of, event_of, milliseconds, moment
from gateway.store.sqlite.filters import delivery_terms, event_terms
from gateway.store.sqlite.skip_scan import Kind, SqliteSkipScanIndex, ends, first_seq

EVENTS = SqliteSkipScanIndex("events", ("account", "type", "state"), "1")
DELIVERIES = SqliteSkipScanIndex("deliveries", ("account", "route", "action", "state"), "state <> 'running'")
EVERYTHING = range(2**62)


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
        return [row["seq"] for row in connection.execute(sql, (*args, span.start, span.stop, limit))]
    kinds = EVENTS.wanted(connection, _wants_event(where))
    return EVENTS.seqs(connection, kinds, span, limit, oldest_first=oldest_first)


def _events(connection: sqlite3.Connection, seqs: Sequence[int]) -> list[tuple[int, Event]]:
    marks = ",".join("?" * len(seqs))
    rows = connection.execute(f"SELECT {EVENT_LISTED} FROM events WHERE seq IN ({marks})", seqs)
    events = {row["seq"]: event_of(row) for row in rows}
    return [(seq, events[seq]) for seq in seqs if seq in events]


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
                return Page(items, str(row["seq"]))
        low, high = (part.stop, high) if oldest_first else (low, part.start)
        if low < high and time.monotonic() > deadline:
            next_seq = part.stop - 1 if oldest_first else part.start
            (at,) = connection.execute(
                "SELECT received_at FROM events WHERE seq >= ? ORDER BY seq LIMIT 1", (next_seq,)
            ).fetchone()
            return Page(items, str(next_seq), moment(at))
    return Page(items, None)


def arrivals(connection: sqlite3.Connection, after: str | None, limit: int) -> Arrivals:
    """See Store.arrivals."""
    _, highest = ends(connection, "events")
    newest = highest or 0
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
        (count,) = connection.execute(sql, (*args, at_most)).fetchone()
        return int(count)
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
    return [row["seq"] for row in connection.execute(sql, (*args, span.start, span.stop))]


def _delivery_seqs(
    connection: sqlite3.Connection, where: DeliveryFilter, span: range, limit: int, oldest_first: bool
) -> list[int]:
    order = "ASC" if oldest_first else "DESC"
    if not is_by_delivery_kind(where):
        seq = "+seq" if names_few_deliveries(where) else "seq"  # as of events
        terms, args = delivery_terms(where)
        sql = f"SELECT seq FROM deliveries d WHERE {terms} AND {seq} >= ? AND {seq} < ? ORDER BY {seq} {order} LIMIT ?"
        return [row["seq"] for row in connection.execute(sql, (*args, span.start, span.stop, limit))]
    kinds = DELIVERIES.wanted(connection, _wants_delivery(where))
    others = DELIVERIES.seqs(connection, kinds, span, limit, oldest_first=oldest_first)
    return sorted({*others, *_running(connection, where, span)}, reverse=not oldest_first)[:limit]


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
        by_seq = {row["seq"]: delivery_of(row) for row in rows}
        for seq in seqs:
            if _in_time(by_seq[seq].created_at, where.since, where.until):
                if len(items) == limit:
                    return Page(items, str(place))
                items.append(by_seq[seq])
            place = seq
        if len(seqs) <= limit:
            return Page(items, None)


def counts_by_time(
    connection: sqlite3.Connection, edges: Sequence[datetime], where: EventFilter | DeliveryFilter
) -> list[dict[Kind, int]]:
    """See Store.counts_by_time."""
    if isinstance(where, EventFilter):
        index, wants, time_column = EVENTS, _wants_event(where), "received_at"
    else:
        index, wants, time_column = DELIVERIES, _wants_delivery(where), "created_at"
    seqs = [first_seq(connection, index.table, time_column, milliseconds(edge)) for edge in edges]
    kinds = index.wanted(connection, wants)
    return [
        {kind: count for kind in kinds if (count := index.count(connection, kind, range(low, high), -1))}
        if low < high
        else {}
        for low, high in pairwise(seqs)
    ]


def count_deliveries(connection: sqlite3.Connection, where: DeliveryFilter, at_most: int) -> int:
    """See Store.count_deliveries."""
    span = _span(connection, "deliveries", "created_at", where.since, where.until, slack_ms=0)
    if names_few_deliveries(where):
        return len(_delivery_seqs(connection, where, span, at_most, True))
    running = len(_running(connection, where, span))
    return min(at_most, running + _count(connection, DELIVERIES, _wants_delivery(where), span, at_most))
