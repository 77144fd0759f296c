"""Rows of any store -> records: the columns that both databases name alike, and values as they are kept."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from gateway.core.model import (
    Attempt,
    AttemptOutcome,
    ConnectionState,
    ConnectionStatus,
    Delivery,
    DeliveryState,
    Event,
    EventSource,
    EventState,
    Fetched,
    RejectedRequest,
)

OUTPUT_BYTES = 64 * 1024
PURGED = "purged"  # the state of what a purge leaves of an event, which nobody sees

DELIVERY = (
    "d.seq, d.id, d.run_id, d.account, d.route, d.action, d.needs, d.state, d.held, d.due_at, d.attempts, d.created_at,"
    " d.finished_at, d.judged, d.once_key, d.order_key, d.reason, d.last_error, d.rendered, d.output, d.claimed_at,"
    " d.lease_until, d.runs, d.token, (SELECT id FROM events WHERE seq = d.event_seq),"
    " (SELECT type FROM events WHERE seq = d.event_seq)"
)
DELIVERY_LISTED = DELIVERY.replace("d.rendered, d.output", "NULL, NULL")
EVENT = (
    "seq, account, id, type, state, livemode, received_at, created_at, connected_account, object_id, api_version,"
    " source, written_for, body, trace"
)
EVENT_LISTED = EVENT.replace("body", "NULL")
EVENT_BESIDE = ", ".join(f"e.{column}" for column in EVENT.split(", "))  # in a statement on deliveries d as well
REJECTED = "id, received_at, account, reason, address, peer, forwarded_for, signature, size, body"
REJECTED_LISTED = REJECTED.replace("body", "NULL")
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


class KeptText(str):
    """What `kept_json` made before, and is kept as it is."""


def kept_json(value: Any) -> str | None:
    """JSON of a value to keep, cut and marked past the limit."""
    if value is None or isinstance(value, KeptText):
        return value
    text = json.dumps(value, default=str, ensure_ascii=False)
    if not text.isascii():
        try:
            size = len(text.encode())
        except UnicodeEncodeError:  # half of a surrogate pair, which JSON can name and no database can keep
            text = json.dumps(value, default=str)
            size = len(text)
    else:
        size = len(text)
    if size > OUTPUT_BYTES:
        text = json.dumps({"cut": True, "bytes": size, "begins": text[: OUTPUT_BYTES // 4]})
    return text


def digest_reason(delivery_id: str) -> str:
    """Why a delivery was skipped that another one brings."""
    return f"digest: {delivery_id} brings it"


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
        source=EventSource(row[11]),
        written_for=row[12],
        body=row[13] or b"",
        trace=row[14],
    )


def rejected_of(row: Sequence[Any]) -> RejectedRequest:
    """A RejectedRequest from the columns REJECTED."""
    return RejectedRequest(
        id=row[0],
        received_at=moment(row[1]),
        account=row[2],
        reason=row[3],
        address=row[4],
        peer=row[5],
        forwarded_for=row[6],
        signature=row[7],
        size=row[8],
        body=row[9] or b"",
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


def connection_of(row: Sequence[Any], now_ms: int) -> ConnectionStatus:
    """A ConnectionStatus from the columns CONNECTION."""
    name, version, state, since, until, reason, failures, pauses, failed_delivery = row
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
