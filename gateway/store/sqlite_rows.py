"""SQLite rows -> records, and filters -> SQL."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from gateway.model import (
    Attempt,
    AttemptOutcome,
    Delivery,
    DeliveryFilter,
    DeliveryState,
    Event,
    EventFilter,
    EventState,
)

DELIVERY = (
    "d.seq, d.id, d.run_id, d.account, d.route, d.action, d.needs, d.state, d.held, d.due_at, d.attempts, d.created_at,"
    " d.finished_at, d.judged, d.once_key, d.order_key, d.reason, d.last_error, d.rendered, d.output, d.claimed_at,"
    " d.lease_until, d.runs, d.token, (SELECT id FROM events WHERE seq = d.event_seq),"
    " (SELECT type FROM events WHERE seq = d.event_seq)"
)
DELIVERY_LISTED = DELIVERY.replace("d.rendered, d.output", "NULL, NULL")
EVENT = (
    "seq, account, id, type, state, livemode, received_at, created_at, connected_account, object_id, api_version,"
    " source, body"
)
EVENT_LISTED = EVENT.replace("body", "x''")


def moment(milliseconds: int) -> datetime:
    """An aware time from the store's integers."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def milliseconds(value: datetime) -> int:
    """The store's integer of an aware time."""
    return int(value.timestamp() * 1000)


def event_of(row: Sequence[Any]) -> Event:
    """An Event from the columns EVENT."""
    return Event(
        account=row[1],
        id=row[2],
        type=row[3],
        state=EventState(row[4]),
        livemode=None if row[5] is None else bool(row[5]),
        received_at=moment(row[6]),
        created_at=None if row[7] is None else moment(row[7]),
        connected_account=row[8],
        object_id=row[9],
        api_version=row[10],
        source=row[11],
        body=row[12],
    )


def delivery_of(row: Sequence[Any]) -> Delivery:
    """A Delivery from the columns DELIVERY."""
    state = DeliveryState(row[7])
    return Delivery(
        id=row[1],
        run_id=row[2],
        account=row[3],
        route=row[4],
        action=row[5],
        needs=() if row[6] == "[]" else tuple(json.loads(row[6])),
        state=state,
        waits_for_turn=bool(row[8]) and state is DeliveryState.PENDING,
        next_attempt_at=moment(row[9]) if state is DeliveryState.PENDING else None,
        attempts=row[10],
        created_at=moment(row[11]),
        finished_at=None if row[12] is None else moment(row[12]),
        is_judged=bool(row[13]),
        once_key=row[14],
        order_key=row[15],
        reason=row[16],
        last_error=row[17],
        rendered=None if row[18] is None else json.loads(row[18]),
        output=None if row[19] is None else json.loads(row[19]),
        event_id=row[24],
        event_type=row[25],
    )


def attempt_of(row: Sequence[Any]) -> Attempt:
    """An Attempt from number, started_at, duration_ms, outcome, error."""
    return Attempt(row[0], moment(row[1]), row[2] / 1000, AttemptOutcome(row[3]), row[4])


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
    """The WHERE of a filter on events, and its values."""
    terms: list[str] = ["1"]
    args: list[Any] = []
    _in("id", where.ids, terms, args)
    if where.ids and not where.accounts:
        terms.append(f"account IN {_ACCOUNTS}")
    _in("account", where.accounts, terms, args)
    _in("state", where.states, terms, args)
    if where.types:
        terms.append("(" + " OR ".join(["type GLOB ?"] * len(where.types)) + ")")
        args.extend(where.types)
    if where.object_id is not None:
        terms.append("seq IN (SELECT seq FROM events INDEXED BY events_object WHERE object_id = ?)")
        args.append(where.object_id)
    _between("received_at", where.since, where.until, terms, args)
    if where.text:
        terms.append("instr(body, CAST(? AS BLOB))")
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
    _between("d.created_at", where.since, where.until, terms, args)
    return " AND ".join(terms), args


def _between(column: str, since: datetime | None, until: datetime | None, terms: list[str], args: list[Any]) -> None:
    if since is not None:
        terms.append(f"{column} >= ?")
        args.append(milliseconds(since))
    if until is not None:
        terms.append(f"{column} < ?")
        args.append(milliseconds(until))
