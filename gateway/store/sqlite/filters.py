"""Filters -> SQLite's SQL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from gateway.core.model import DeliveryFilter, EventFilter, RejectedFilter
from gateway.store.records import milliseconds

PLAIN = "plain"  # the function that decompresses a body: see gateway.store.sqlite.writer.connect


def _in(column: str, values: Sequence[str], terms: list[str], args: list[Any]) -> None:
    if values:
        terms.append(f"{column} IN ({','.join('?' * len(values))})")
        args.extend(values)


# Every account that has events, each by one leap in the index (account, id): so that an id alone finds its rows there.
_ACCOUNTS = (
    "(WITH RECURSIVE found(account) AS (SELECT min(account) FROM events UNION ALL SELECT (SELECT min(account)"
    " FROM events WHERE account > found.account) FROM found WHERE account IS NOT NULL) SELECT account FROM found)"
)


def event_terms(where: EventFilter) -> tuple[str, list[Any]]:
    """The WHERE of a filter on events, and its values. What purging left of an event has a negative seq."""
    terms: list[str] = ["seq > 0"]
    args: list[Any] = []
    _in("id", where.ids, terms, args)
    if where.ids and not where.accounts:
        terms.append(f"account IN {_ACCOUNTS}")
    _in("account", where.accounts, terms, args)
    _in("state", where.states, terms, args)
    if where.types:
        terms.append("(" + " OR ".join(["type = ? OR type GLOB ?"] * len(where.types)) + ")")
        for pattern in where.types:
            args += pattern, pattern.replace("[!", "[^")  # SQLite's way to write it
    for objects in (() if where.object_id is None else (where.object_id,), where.object_ids):
        if objects:
            marks = ",".join("?" * len(objects))
            terms.append(f"seq IN (SELECT seq FROM events INDEXED BY events_object WHERE object_id IN ({marks}))")
            args.extend(objects)
    _between("received_at", where.since, where.until, terms, args)
    if where.text:
        terms.append(f"instr({PLAIN}(body), CAST(? AS BLOB))")
        args.append(where.text)
    return " AND ".join(terms), args


def delivery_terms(where: DeliveryFilter) -> tuple[str, list[Any]]:
    """The WHERE of a filter on deliveries d, and its values."""
    terms: list[str] = ["1"]
    args: list[Any] = []
    _in("d.id", where.ids, terms, args)
    _in("d.account", where.accounts, terms, args)
    _in("d.route", where.routes, terms, args)
    _in("d.action", where.actions, terms, args)
    _in("d.state", where.states, terms, args)
    if where.event_ids:
        marks = ",".join("?" * len(where.event_ids))
        terms.append(f"d.event_seq IN (SELECT seq FROM events WHERE id IN ({marks}) AND account IN {_ACCOUNTS})")
        args.extend(where.event_ids)
    if where.lanes is not None:
        pairs = ["(d.route = ? AND d.action = ?)"] * len(where.lanes)
        terms.append("(" + (" OR ".join(pairs) or "0") + ")")
        args.extend(part for pair in where.lanes for part in pair)
    if where.waiting:
        # A range, so that SQLite takes the index, and does not read all that has ended.
        terms.append(f"d.waits_until > {-(2**62)} AND d.state IN ('blocked', 'pending')")
    _between("d.created_at", where.since, where.until, terms, args)
    return " AND ".join(terms), args


def rejected_terms(where: RejectedFilter) -> tuple[str, list[Any]]:
    """The WHERE of a filter on rejected requests, and its values."""
    terms: list[str] = ["1"]
    args: list[Any] = []
    _in("id", where.ids, terms, args)
    _in("account", where.accounts, terms, args)
    _in("reason", where.reasons, terms, args)
    _between("received_at", where.since, where.until, terms, args)
    return " AND ".join(terms), args


def _between(column: str, since: datetime | None, until: datetime | None, terms: list[str], args: list[Any]) -> None:
    if since is not None:
        terms.append(f"{column} >= ?")
        args.append(milliseconds(since))
    if until is not None:
        terms.append(f"{column} < ?")
        args.append(milliseconds(until))
