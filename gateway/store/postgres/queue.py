"""What each change asks of PostgreSQL: records -> the columns that the functions of the schema take, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from gateway.core.model import (
    Claim,
    Event,
    Fetched,
    Finish,
    Lane,
    Outcome,
    PlannedDelivery,
    Rekeyed,
    Released,
    SharedRate,
)
from gateway.store.postgres.connection import PgConnection
from gateway.store.records import (
    DELIVERY,
    EVENT_BESIDE,
    asked_prefix,
    delivery_of,
    event_of,
    fetched_json,
    fetched_of,
    kept_json,
    milliseconds,
    new_ids,
)

NOW = "now_ms($1::bigint)"

_PLANNED_TYPES = "text[], text[], text[], text[], text[], bool[], text[], text[], text[], text[]"


def call(function: str, types: str) -> str:
    """The statement that calls a function of the schema; its parameters have these types."""
    marks = ", ".join(f"${i}::{one.strip()}" for i, one in enumerate(types.split(","), 1))
    return f"SELECT {function}({marks})"


ADD = call(
    "add_events",
    "bigint, text[], text[], text[], text[], bool[], bigint[], text[], text[], text[], text[], text[], text[], "
    "bytea[], int[], " + _PLANNED_TYPES + ", text[]",
)
REPLAY = call("replay_event", "bigint, text, text, " + _PLANNED_TYPES)
CLAIM = call("claim_at_rates", "bigint, bigint, text, text[], text[], text[], int[], int[], text[], float8[], float8[]")
RENEW = call("renew_leases", "bigint, bigint, text[], text[]")
FINISH = call(
    "finish_claims",
    "bigint, text[], text[], text[], bigint[], text[], text[], text[], text[], bigint[], bigint[], text[], bool[], "
    "text[], text[]",
)
TAKE_OVER = call("take_over", "bigint, text")
WAITING = """
SELECT account, route, action, count(*) FROM deliveries WHERE state IN ('blocked', 'pending', 'running')
GROUP BY account, route, action
"""
KEEP_FETCHED = call("keep_fetched", "text, text, text")
RETRY = call("retry_afresh", "bigint, text[]")
CANCEL = call("cancel_deliveries", "bigint, text[], text")

DUE = f"""
WITH RECURSIVE lane AS (
  (SELECT account, route, action, due_at FROM deliveries WHERE state = 'pending' AND NOT held
   ORDER BY account, route, action, due_at LIMIT 1)
  UNION ALL
  SELECT following.* FROM lane, LATERAL (
    SELECT d.account, d.route, d.action, d.due_at FROM deliveries d
    WHERE d.state = 'pending' AND NOT d.held
      AND (d.account, d.route, d.action, d.due_at) > (lane.account, lane.route, lane.action, 9223372036854775807)
    ORDER BY d.account, d.route, d.action, d.due_at LIMIT 1
  ) following
)
SELECT account, route, action, due_at - {NOW} AS in_ms FROM lane
UNION ALL
SELECT NULL, NULL, NULL, (SELECT min(lease_until) FROM deliveries WHERE state = 'running') - {NOW}
"""
"""One look into an index for each lane; then, in a row without names, the lease that ends first."""

CLAIMED = f"""
SELECT {DELIVERY}, {EVENT_BESIDE} FROM deliveries d JOIN events e ON e.seq = d.event_seq
WHERE d.seq = ANY ($1::bigint[]) AND d.state = 'running' AND d.token = $2
"""
OUTPUTS = """
SELECT run_id, action, output FROM deliveries
WHERE event_seq = ANY ($1::bigint[]) AND run_id = ANY ($2::text[]) AND state = 'succeeded'
"""
INTERRUPTED = (
    "the gateway did not renew its lease during this attempt (it died, stopped or lost the database); whether it took "
    "effect is not known"
)


def text(value: str | None) -> str | None:
    """Text that PostgreSQL can keep: without NUL and half surrogate pairs, which a destination's answer may hold."""
    if value is None or (value.isascii() and "\0" not in value):
        return value
    return value.replace("\0", "\ufffd").encode(errors="replace").decode()


def planned_columns(planned: Sequence[Sequence[PlannedDelivery]], ids: Sequence[str]) -> list[list[Any]]:
    """Planned deliveries of several events as columns: the event's place (1, 2, ...), then what replay_event takes; the
    last holds the ids of the unjudged alone.
    """
    columns: list[list[Any]] = [[] for _ in range(10)]
    unjudged = []
    made = iter(ids)
    for place, owed in enumerate(planned, 1):
        if not owed:
            continue
        run_ids: dict[str, str] = {}
        needed = {(p.route, need) for p in owed for need in p.needs}
        for p in owed:
            delivery_id = next(made)
            row = (
                place, delivery_id, run_ids.setdefault(p.route, delivery_id), p.route, p.action,
                json.dumps(p.needs) if p.needs else "[]", (p.route, p.action) in needed, p.once_key, p.order_key,
                text(p.error),
            )  # fmt: skip
            for column, cell in zip(columns, row, strict=True):
                column.append(cell)
            if not p.is_judged:
                unjudged.append(delivery_id)
    return [*columns, unjudged]


async def add(
    link: PgConnection, arrivals: Sequence[tuple[Event, Sequence[PlannedDelivery]]], now_ms: int | None, id_ms: int
) -> list[bool]:
    """Commits events and deliveries; whether each event was new."""
    planned = [owed for _, owed in arrivals]
    events = [event for event, _ in arrivals]
    found: list[bool] = await link.value(
        ADD,
        now_ms,
        [e.account for e in events],
        [text(e.id) for e in events],
        [text(e.type) for e in events],
        [e.state.value for e in events],
        [e.livemode for e in events],
        [None if e.created_at is None else milliseconds(e.created_at) for e in events],
        [text(e.connected_account) for e in events],
        [text(e.object_id) for e in events],
        [text(e.api_version) for e in events],
        [e.source for e in events],
        [e.written_for for e in events],
        [text(e.twin) for e in events],
        [e.body for e in events],
        *planned_columns(planned, new_ids(sum(map(len, planned)), id_ms)),
        [e.trace for e in events],
    )
    return found


async def replay(
    link: PgConnection,
    account: str,
    event_id: str,
    planned: Sequence[PlannedDelivery],
    now_ms: int | None,
    id_ms: int,
    force: bool,
) -> list[str] | None:
    """Makes new deliveries for a stored event; their ids, or None where there is no such event."""
    if force:
        planned = [replace(p, once_key=None) for p in planned]
    ids = new_ids(len(planned), id_ms)
    _, *columns = planned_columns([planned], ids)
    return ids if await link.value(REPLAY, now_ms, account, event_id, *columns) else None


async def claim(
    link: PgConnection,
    wanted: Mapping[Lane, int],
    rates: Sequence[SharedRate],
    token: str,
    lease_ms: int,
    now_ms: int | None,
) -> list[Claim]:
    """Takes due deliveries of each lane under that token."""
    rate_of = {lane: place for place, rate in enumerate(rates, 1) for lane in rate.lanes}
    seqs: list[int] = await link.value(
        CLAIM,
        now_ms,
        lease_ms,
        token,
        [lane.account for lane in wanted],
        [lane.route for lane in wanted],
        [lane.action for lane in wanted],
        list(wanted.values()),
        [rate_of.get(lane) for lane in wanted],
        [rate.connection for rate in rates],
        [rate.per_second for rate in rates],
        [rate.burst for rate in rates],
    )
    return await _claims_of(link, seqs, token) if seqs else []


async def finish(
    link: PgConnection, ended: Sequence[tuple[str, str, Outcome]], now_ms: int | None
) -> tuple[list[bool], bool]:
    """Records what became of claims; for each, whether its lease still held, and whether there may be work now."""
    columns = map(list, zip(*(_ending_row(*one) for one in ended), strict=True))
    *held, made_work = await link.value(FINISH, now_ms, *columns)
    return held, made_work


def _ending_row(delivery_id: str, token: str, ending: Outcome) -> tuple[Any, ...]:
    """The parameters of finish_claims for one claim."""
    if isinstance(ending, Finish):
        tried = ending.attempt
        return (
            delivery_id, token, ending.state.value, max(0, round(ending.wait_seconds * 1000)), text(ending.reason),
            kept_json(ending.rendered), kept_json(ending.output), tried.outcome.value, milliseconds(tried.started_at),
            round(tried.duration_seconds * 1000), text(tried.error), False, None, None,
        )  # fmt: skip
    wait_ms = reason = None
    if isinstance(ending, Released):
        wait_ms, reason = round(ending.wait_seconds * 1000) or None, text(ending.reason)
    keys = (ending.once_key, ending.order_key) if isinstance(ending, Rekeyed) else (None, None)
    return (
        delivery_id, token, "pending", wait_ms, reason, None, None, None, None, None, None, isinstance(ending, Rekeyed),
        *keys,
    )  # fmt: skip


async def fetched(link: PgConnection, run_id: str) -> Fetched | None:
    """What is kept with a run: it lies with the run's first delivery, whose id the run bears."""
    rows = await link.fetch("SELECT fetched FROM deliveries WHERE id = $1", run_id)
    return fetched_of(rows[0][0]) if rows else None


async def keep_fetched(link: PgConnection, run_id: str, new: Fetched) -> Fetched:
    """Keeps an object with a run, unless the same was asked before."""
    kept = fetched_of(await link.value(KEEP_FETCHED, run_id, asked_prefix(new.asked), fetched_json(new)))
    return kept or new


async def _claims_of(link: PgConnection, seqs: Sequence[int], token: str) -> list[Claim]:
    """What was just claimed, in that order, with events and outputs."""
    rows = {row[0]: row for row in await link.fetch(CLAIMED, seqs, token)}
    found = [(rows[seq], delivery_of(rows[seq])) for seq in seqs if seq in rows]
    needy = [(row[26], delivery.run_id) for row, delivery in found if delivery.needs]
    outputs: dict[str, dict[str, Any]] = {}
    if needy:
        event_seqs, run_ids = zip(*needy, strict=True)
        for run_id, action, output in await link.fetch(OUTPUTS, event_seqs, run_ids):
            outputs.setdefault(run_id, {})[action] = json.loads(output) if output else None
    return [
        Claim(delivery, token, event_of(row[26:]), outputs.get(delivery.run_id, {}) if delivery.needs else {})
        for row, delivery in found
    ]
