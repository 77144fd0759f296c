"""Rows of any store -> records: the columns that both databases name alike, and values as they are kept."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from gateway.core.later import wait_reason
from gateway.core.model import (
    Attempt,
    AttemptOutcome,
    AuditEntry,
    ConnectionState,
    ConnectionStatus,
    Delivery,
    DeliveryState,
    End,
    Event,
    EventSource,
    EventState,
    Fetched,
    PlannedDelivery,
    RejectedRequest,
)
from gateway.core.model.needs import needs_of, otherwise_of
from gateway.core.model.word import word_of
from gateway.store.answers import Page

PURGED = "purged"  # the state of what a purge leaves of an event, which nobody sees


class EventRow(NamedTuple):
    """The columns EVENT."""

    seq: int
    account: str
    id: str
    type: str
    state: str
    livemode: bool | int | None
    received_at: int
    created_at: int | None
    connected_account: str | None
    object_id: str | None
    api_version: str | None
    source: str
    written_for: str | None
    body: bytes | None
    trace: str | None


class DeliveryRow(NamedTuple):
    """The columns DELIVERY."""

    seq: int
    id: str
    run_id: str
    account: str
    route: str
    action: str
    needs: str
    state: str
    held: bool | int
    due_at: int
    attempts: int
    created_at: int
    finished_at: int | None
    judged: bool | int
    once_key: str | None
    order_key: str | None
    reason: str | None
    last_error: str | None
    waits_until: int | None
    until_key: str | None
    rendered: str | None
    output: str | None
    word: str | None
    event_id: str
    event_type: str


class RejectedRow(NamedTuple):
    """The columns REJECTED."""

    id: str
    received_at: int
    account: str | None
    reason: str
    address: str
    peer: str
    forwarded_for: str | None
    signature: str | None
    size: int
    body: bytes | None


EVENT = ", ".join(EventRow._fields)
EVENT_LISTED = EVENT.replace("body", "NULL AS body")
EVENT_BESIDE = "e.seq AS event_seq, " + ", ".join(f"e.{column}" for column in EventRow._fields[1:])  # beside DELIVERY
_DELIVERY = ", ".join(f"d.{column}" for column in DeliveryRow._fields[:-2])
CLAIMED = f"{_DELIVERY}, e.id AS event_id, e.type AS event_type, {EVENT_BESIDE}"  # of deliveries d beside events e
DELIVERY = _DELIVERY + (
    ", (SELECT id FROM events WHERE seq = d.event_seq) AS event_id"
    ", (SELECT type FROM events WHERE seq = d.event_seq) AS event_type"
)
DELIVERY_LISTED = DELIVERY.replace("d.rendered, d.output", "NULL AS rendered, NULL AS output")
REJECTED = ", ".join(RejectedRow._fields)
REJECTED_LISTED = REJECTED.replace("body", "NULL AS body")
ATTEMPT = "number, started_at, duration_ms, outcome, error, exchanges"
AUDIT = "seq, at, role, who, what, target, count"
CONNECTION = "name, version, state, since, until, reason, failures, pauses, failed_delivery"


def moment(at_ms: int) -> datetime:
    """An aware time from the store's integers."""
    return datetime.fromtimestamp(at_ms / 1000, UTC)


def milliseconds(value: datetime) -> int:
    """The store's integer for an aware time."""
    return int(value.timestamp() * 1000)


def new_ids(count: int, now_ms: int, kind: str = "dlv") -> list[str]:
    """Ids of deliveries or another kind: 48 bits of time and 80 random ones, in hex; those made later sort later."""
    noise = os.urandom(10 * count).hex()
    return [f"{kind}_{now_ms:012x}{noise[i : i + 20]}" for i in range(0, 20 * count, 20)]


def beginning(planned: PlannedDelivery) -> tuple[str, str | None]:
    """The state in which a delivery begins, and why where that is a final one."""
    if planned.skipped is not None:
        return "skipped", planned.skipped
    return ("dead", planned.error) if planned.error is not None else ("blocked" if planned.needs else "pending", None)


def planned_reason(planned: PlannedDelivery) -> str | None:
    """Why a delivery waits that is planned for later."""
    return None if planned.waits_until is None else wait_reason(planned.waits_until, planned.why_later)


def until_reason(event_id: str, event_type: str) -> str:
    """Why a delivery was cancelled whose `until` names an event that has come."""
    return f"until: {event_id} ({event_type}) came first"


def digest_reason(delivery_id: str) -> str:
    """Why a delivery was skipped that another one brings."""
    return f"digest: {delivery_id} brings it"


BURST_WAITS = "debounce: waits for the last of its burst"


def burst_reason(delivery_id: str) -> str:
    """Why a delivery was skipped for which another one of its burst acts."""
    return f"debounce: {delivery_id} stands for it"


def event_of(columns: Iterable[Any]) -> Event:
    """An Event from the columns EVENT."""
    row = EventRow._make(columns)
    return Event(
        account=row.account,
        id=row.id,
        type=row.type,
        state=EventState(row.state),
        livemode=None if row.livemode is None else bool(row.livemode),
        received_at=moment(row.received_at),
        created_at=None if row.created_at is None else moment(row.created_at),
        connected_account=row.connected_account,
        object_id=row.object_id,
        api_version=row.api_version,
        source=EventSource(row.source),
        written_for=row.written_for,
        body=row.body or b"",
        trace=row.trace,
    )


def rejected_of(columns: Iterable[Any]) -> RejectedRequest:
    """A RejectedRequest from the columns REJECTED."""
    row = RejectedRow._make(columns)
    return RejectedRequest(**{**row._asdict(), "received_at": moment(row.received_at), "body": row.body or b""})


def delivery_of(columns: Iterable[Any]) -> Delivery:
    """A Delivery from the columns DELIVERY."""
    row = DeliveryRow._make(columns)
    state = DeliveryState(row.state)
    needs = needs_of(row.needs)
    return Delivery(
        id=row.id,
        run_id=row.run_id,
        account=row.account,
        route=row.route,
        action=row.action,
        needs=tuple(needs),
        otherwise=otherwise_of(needs),
        word=word_of(row.word),
        state=state,
        waits_for_turn=bool(row.held) and state is DeliveryState.PENDING,
        next_attempt_at=moment(row.due_at) if state is DeliveryState.PENDING else None,
        attempts=row.attempts,
        created_at=moment(row.created_at),
        finished_at=None if row.finished_at is None else moment(row.finished_at),
        is_judged=bool(row.judged),
        once_key=row.once_key,
        order_key=row.order_key,
        reason=row.reason,
        last_error=row.last_error,
        rendered=None if row.rendered is None else json.loads(row.rendered),
        output=None if row.output is None else json.loads(row.output),
        event_id=row.event_id,
        event_type=row.event_type,
        waits_until=None if row.waits_until is None or state.is_final else moment(row.waits_until),
        until_key=row.until_key,
    )


def claimed_of(columns: Iterable[Any]) -> tuple[Delivery, Event, int]:
    """A claimed delivery, its event and the event's number, from the columns CLAIMED."""
    cells = tuple(columns)
    event = cells[len(DeliveryRow._fields) :]
    return delivery_of(cells[: len(DeliveryRow._fields)]), event_of(event), event[0]


def ended_of(rows: Iterable[Any]) -> tuple[dict[str, Any], dict[str, End]]:
    """What a claim knows of the others of its run, from the columns action, output, state and reason of those that have
    ended: the outputs of what succeeded, and how the others ended.
    """
    outputs: dict[str, Any] = {}
    ends: dict[str, End] = {}
    for row in rows:
        if row["state"] == "succeeded":
            outputs[row["action"]] = json.loads(row["output"]) if row["output"] else None
        else:
            ends[row["action"]] = End(row["state"], row["reason"])
    return outputs, ends


def attempt_of(columns: Iterable[Any]) -> Attempt:
    """An Attempt from the columns ATTEMPT."""
    number, started_at, duration_ms, outcome, error, exchanges = columns
    return Attempt(
        number,
        moment(started_at),
        duration_ms / 1000,
        AttemptOutcome(outcome),
        error,
        None if exchanges is None else json.loads(exchanges),
    )


def audit_page_of(rows: Sequence[Any], limit: int) -> Page[AuditEntry]:
    """A page of the audit log from the columns AUDIT, of which one more than the limit were asked for."""
    entries = [
        AuditEntry(moment(row["at"]), row["role"], row["who"], row["what"], row["target"], row["count"])
        for row in rows[:limit]
    ]
    return Page(entries, str(rows[limit - 1]["seq"]) if len(rows) > limit else None)


def fetched_json(fetched: Fetched) -> str:
    """The text to keep of a Fetched. In ASCII, so that what JSON can name and a database cannot keep does no harm."""
    return json.dumps([fetched.asked, fetched.at.timestamp(), fetched.object])


def asked_prefix(asked: str) -> str:
    """How the text of every answer to that question begins."""
    return json.dumps([asked])[:-1] + ","


def fetched_of(text: str | None) -> Fetched | None:
    """A Fetched from the column `fetched`."""
    if text is None:
        return None
    asked, seconds, value = json.loads(text)
    return Fetched(asked, datetime.fromtimestamp(seconds, UTC), value)


def connection_of(columns: Iterable[Any], now_ms: int) -> ConnectionStatus:
    """A ConnectionStatus from the columns CONNECTION."""
    name, version, state, since, until, reason, failures, pauses, failed_delivery = columns
    return ConnectionStatus(
        name=name,
        state=ConnectionState(state),
        version=version,
        since=moment(since),
        until=None if until is None else moment(until),
        left_seconds=None if until is None else max(0, until - now_ms) / 1000,
        reason=reason,
        failures=failures,
        pauses=pauses,
        failed_delivery=failed_delivery,
    )
