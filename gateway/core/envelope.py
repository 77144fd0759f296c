"""A posted body -> the Event record, or an EnvelopeError: what Stripe calls an event, checked and no more.

Snapshot events: https://docs.stripe.com/api/events/object; thin events: https://docs.stripe.com/api/v2/core/events.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from gateway.core.errors import EnvelopeError
from gateway.core.model import Event, EventState


class _Object(msgspec.Struct):
    id: Any = None


class _Data(msgspec.Struct):
    object: _Object


class _Envelope(msgspec.Struct):
    id: str
    type: str
    object: str
    created: int | str
    livemode: bool | None = None
    account: str | None = None
    context: str | None = None
    api_version: str | None = None
    data: Any = None
    related_object: Any = None
    snapshot_event: str | None = None


class _Snapshot(msgspec.Struct):
    """The usual event, decoded in one pass without building what is not needed."""

    id: str
    type: str
    object: str
    created: int
    livemode: bool
    data: _Data
    account: str | None = None
    context: str | None = None
    api_version: str | None = None


THIN = "v2.core.event"  # what a thin event says that it is
FORGOTTEN = "forgotten"  # in what is left of an event whose customer was forgotten: when that was

_snapshot = msgspec.json.Decoder(_Snapshot)
_envelope = msgspec.json.Decoder(_Envelope)
_anything = msgspec.json.Decoder()


def parse_json(body: bytes) -> dict[str, Any]:
    """The envelope as plain dicts. Raises EnvelopeError."""
    try:
        value = _anything.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EnvelopeError(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise EnvelopeError("a Stripe event is a JSON object")
    return value


def is_forgotten(body: bytes) -> bool:
    """Whether a body is what `gateway forget` has left of an event."""
    return b'"forgotten"' in body and FORGOTTEN in parse_json(body)


def connected_account(account: object, context: object) -> str | None:
    """The connected account that an event belongs to, by its `account` or else its `context`; None: it is the account's
    own. A context may be a path; its last part is the account: https://docs.stripe.com/context
    """
    if isinstance(account, str) and account:
        return account
    return context.rpartition("/")[2] or None if isinstance(context, str) else None


def own_object(envelope: Mapping[str, Any]) -> Mapping[str, Any]:
    """The object as the event itself tells it; empty where it tells none."""
    data = envelope.get("data")
    value = data.get("object") if isinstance(data, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def parse_event(body: bytes, account: str, received_at: datetime) -> Event:
    """The record to store, in state `routed`. Raises EnvelopeError."""
    try:
        snapshot = _snapshot.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _parse_other(body, account, received_at)
    if snapshot.object != "event" or not 0 < len(snapshot.id) <= 255 or not 0 < len(snapshot.type) <= 255:
        return _parse_other(body, account, received_at)
    object_id = snapshot.data.object.id
    return Event(
        account=account,
        id=snapshot.id,
        type=snapshot.type,
        state=EventState.ROUTED,
        livemode=snapshot.livemode,
        received_at=received_at,
        body=body,
        created_at=_from_unix(snapshot.created),
        connected_account=connected_account(snapshot.account, snapshot.context),
        object_id=object_id if isinstance(object_id, str) else None,
        api_version=snapshot.api_version,
    )


def _parse_other(body: bytes, account: str, received_at: datetime) -> Event:
    """Thin events, and the words for what is wrong with anything else."""
    try:
        envelope = _envelope.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EnvelopeError(f"not a Stripe event: {error}") from None
    if not envelope.id or not envelope.type:
        raise EnvelopeError("not a Stripe event: id or type is empty")
    if len(envelope.id) > 255 or len(envelope.type) > 255:
        raise EnvelopeError("not a Stripe event: id or type is too long")
    if envelope.object == "event":
        data = envelope.data
        if not isinstance(data, dict) or not isinstance(data.get("object"), dict):
            raise EnvelopeError("not a Stripe event: data.object is missing")
        if not isinstance(envelope.created, int):
            raise EnvelopeError("not a Stripe event: created is not a Unix time")
        object_id = data["object"].get("id")
        created_at = _from_unix(envelope.created)
    elif envelope.object == THIN:
        object_id = envelope.related_object.get("id") if isinstance(envelope.related_object, dict) else None
        created_at = _from_text(str(envelope.created))
    else:
        raise EnvelopeError(f"not a Stripe event: object is {envelope.object[:40]!r}")
    return Event(
        account=account,
        id=envelope.id,
        type=envelope.type,
        state=EventState.ROUTED,
        livemode=envelope.livemode,
        received_at=received_at,
        body=body,
        created_at=created_at,
        connected_account=connected_account(envelope.account, envelope.context),
        object_id=object_id if isinstance(object_id, str) else None,
        api_version=envelope.api_version,
        snapshot_event=envelope.snapshot_event if envelope.object == THIN else None,
    )


def _from_unix(seconds: int) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        raise EnvelopeError("not a Stripe event: created is out of range") from None


def _from_text(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise EnvelopeError("not a Stripe event: created is not a time") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
