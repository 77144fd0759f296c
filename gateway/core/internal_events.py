"""The gateway's own events: their types, the fields of each, and how one becomes an event of the inbox."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from gateway.core.model import Account, Event, EventSource, EventState

PREFIX = "gateway."
OWN_ACCOUNT = "gateway"
"""The account of own events that belong to none of gateway.yaml's, such as that a connection was paused."""

DELIVERY_DEAD = "gateway.delivery.dead"
CONNECTION_PAUSED = "gateway.connection.paused"
CONNECTION_RECOVERED = "gateway.connection.recovered"
RELOAD_FAILED = "gateway.reload.failed"
ACCOUNT_SILENT = "gateway.account.silent"
SIGNATURE_FAILING = "gateway.signature.failing"
BACKLOG_GROWING = "gateway.backlog.growing"
AUDIT_DIFFERING = "gateway.audit.differing"

_SUMMARY = {"object": "The object's kind.", "summary": "What happened, in one sentence for a person."}
FIELDS: Mapping[str, Mapping[str, str]] = {
    DELIVERY_DEAD: {
        **_SUMMARY,
        "id": "The delivery's id.",
        "account": "The account whose event it was.",
        "connected_account": "The connected account that the event was of, or null.",
        "event": "The event's id.",
        "event_type": "The event's type.",
        "route": "The route.",
        "action": "The action.",
        "owner": "Who answers for the route, by its `owner`, or null.",
        "connection": "The action's connection, or null.",
        "attempts": "How many attempts it took.",
        "reason": "Why it is dead.",
        "died_at": "When, in Unix time.",
    },
    CONNECTION_PAUSED: {
        **_SUMMARY,
        "connection": "The connection.",
        "reason": "Why it is paused.",
        "failures": "How many attempts had failed in a row.",
        "paused_at": "Since when, in Unix time.",
        "paused_until": "When it is tried again, in Unix time; null: when a person resumes it.",
    },
    CONNECTION_RECOVERED: {
        **_SUMMARY,
        "connection": "The connection.",
        "reason": "Why it had been paused.",
        "recovered_at": "Since when it works, in Unix time.",
    },
    RELOAD_FAILED: {
        **_SUMMARY,
        "asked_by": "What asked for the reload, such as SIGHUP.",
        "version": "The version of the configuration that stays in force.",
        "count": "How many problems there are.",
        "problems": "The first of them, each with where and message.",
        "failed_at": "When, in Unix time.",
    },
    ACCOUNT_SILENT: {
        **_SUMMARY,
        "account": "The account.",
        "last_event_at": "When its last event came, in Unix time; null: none ever did.",
        "silent_seconds": "How long ago that was; where none ever came, how long the gateway has been running.",
        "silent_after_seconds": "Its silent_after.",
    },
    SIGNATURE_FAILING: {
        **_SUMMARY,
        "account": "The account of the path; null: the requests went to /webhooks.",
        "failures": "How many requests were refused in a row.",
        "within_seconds": "In which time.",
        "reasons": "How many for each reason: no_match, too_old, too_new.",
        "last_at": "When the last one came, in Unix time.",
    },
    BACKLOG_GROWING: {
        **_SUMMARY,
        "connection": "The connection.",
        "waiting": "How many deliveries of its routes are not done.",
        "oldest_seconds": "How long the oldest has been due.",
        "after_seconds": "alerts.backlog_after.",
    },
    AUDIT_DIFFERING: {
        **_SUMMARY,
        "account": "The account.",
        "route": "The route.",
        "owner": "Who answers for the route, by its `owner`, or null.",
        "rows": "How many rows were compared.",
        "differences": "How many of them differ.",
        "reasons": "How many for each reason: missed, late, edited.",
        "objects": "The ids of the first objects that differ.",
        "audited_at": "When it began, in Unix time.",
    },
}
"""Every type, and the fields of its `object`."""

TYPES = frozenset(FIELDS)
ABOUT_ACCOUNTS = frozenset((DELIVERY_DEAD, ACCOUNT_SILENT, SIGNATURE_FAILING, AUDIT_DIFFERING))
"""Types whose events belong to the account that they tell of."""

ABOUT_CONNECTIONS = frozenset((CONNECTION_PAUSED, CONNECTION_RECOVERED, BACKLOG_GROWING))
"""Types that no action on the connection that they tell of is asked to bring."""

_KINDS = {
    DELIVERY_DEAD: "delivery",
    CONNECTION_PAUSED: "connection",
    CONNECTION_RECOVERED: "connection",
    RELOAD_FAILED: "reload",
    ACCOUNT_SILENT: "account",
    SIGNATURE_FAILING: "account",
    BACKLOG_GROWING: "connection",
    AUDIT_DIFFERING: "audit",
}
_OUR_OWN = Account(OWN_ACCOUNT, (), None, 0.0)


def is_own(text: str) -> bool:
    """Whether a type, or a pattern, is of own events. A pattern is so only where it says so: `*` is not."""
    return text.startswith(PREFIX)


def account_named(accounts: Mapping[str, Account], name: str) -> Account | None:
    """The account of an event: one of gateway.yaml, or the one of own events; None where it is gone."""
    return _OUR_OWN if name == OWN_ACCOUNT else accounts.get(name)


def usual_account(event_type: str, first: str) -> str:
    """The account that events of a type belong to where nobody says which; `first` is the first of gateway.yaml."""
    return OWN_ACCOUNT if is_own(event_type) and event_type not in ABOUT_ACCOUNTS else first


def excluded_connection(envelope: Mapping[str, Any]) -> str | None:
    """The connection that is not to carry an own event, because the event tells that it does not work."""
    if envelope.get("type") not in ABOUT_CONNECTIONS:
        return None
    data = envelope.get("data")
    value = data.get("object") if isinstance(data, Mapping) else None
    connection = value.get("connection") if isinstance(value, Mapping) else None
    return connection if isinstance(connection, str) else None


def subject_of(envelope: Mapping[str, Any]) -> tuple[str, str] | None:
    """Account and id of the event whose delivery an own event tells of; None for any other event."""
    if envelope.get("type") != DELIVERY_DEAD:
        return None
    data = envelope.get("data")
    value = data.get("object") if isinstance(data, Mapping) else None
    names = (value.get("account"), value.get("event")) if isinstance(value, Mapping) else ()
    return (str(names[0]), str(names[1])) if len(names) == 2 and all(names) else None


@dataclass(frozen=True, slots=True)
class OwnEvent:
    """Something that happened to the gateway. The same key makes the same event, whichever gateway saw it.

    Where `repeated` is set, the key is only that of what lasts, and is told again once so many seconds are over.
    """

    type: str
    account: str
    key: tuple[object, ...]
    at: datetime
    object: Mapping[str, Any]
    repeated_seconds: float | None = None

    @property
    def name(self) -> str:
        """Its key as one text."""
        return json.dumps([self.type, self.account, *self.key])

    def envelope(self, moment: datetime | None = None) -> dict[str, Any]:
        """As JSON. `moment` tells the times apart at which something that lasts is told."""
        told = self.name if moment is None else f"{self.name} {moment.timestamp()}"
        return envelope_of(self.type, hashlib.sha256(told.encode()).hexdigest()[:24], self.at, self.object)

    def event(self, moment: datetime | None = None) -> Event:
        """As it lies in the inbox, in state `routed`."""
        envelope = self.envelope(moment)
        object_id = self.object.get("id")
        return Event(
            account=self.account,
            id=envelope["id"],
            type=self.type,
            state=EventState.ROUTED,
            livemode=None,
            received_at=self.at,
            body=json.dumps(envelope).encode(),
            created_at=self.at,
            object_id=object_id if isinstance(object_id, str) else None,
            source=EventSource.OWN,
        )


def envelope_of(event_type: str, unique: str, at: datetime, fields: Mapping[str, Any]) -> dict[str, Any]:
    """An own event in the shape of Stripe's. It has no mode and no version of Stripe's API."""
    return {
        "id": f"evt_gateway_{unique}",
        "object": "event",
        "type": event_type,
        "created": int(at.timestamp()),
        "livemode": None,
        "api_version": None,
        "data": {"object": {"object": f"gateway.{_KINDS.get(event_type, 'event')}", **fields}},
    }


def unix(moment: datetime) -> int:
    """Unix time in whole seconds."""
    return int(moment.astimezone(UTC).timestamp())
