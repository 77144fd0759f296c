"""How a gateway does. Made from the API's document by `make generated`."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec


class AccountRecord(msgspec.Struct, frozen=True, kw_only=True):
    """When an account was last heard of."""

    name: str
    last_event_at: datetime | None


class AccountReportRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One account."""

    name: str
    path: str  # Where Stripe posts its events.
    livemode: bool | None  # The mode that is taken; null: both.
    api_version: str | None  # That templates are written for.
    has_api_key: bool
    secrets: int  # Signing secrets; several while one is being rolled.
    secrets_changed_at: tuple[datetime, ...]  # Of those that come from files, the newest first.
    last_event_at: datetime | None
    looked_at: int  # Its newest events, 200 at most, of which the rest tells.
    versions: tuple[VersionSeenRecord, ...]
    unrouted: dict[str, int]  # Types among them that no route wants, with how many there were.


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Who asked for what."""

    at: datetime
    role: str
    who: str
    what: str
    target: str
    count: int


class BarRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One stretch of time."""

    start: datetime
    events: dict[str, int]  # By state.
    deliveries: dict[str, int]  # That ended in it, by final state.
    p50_seconds: float | None  # From event to success, of deliveries that succeeded in it.
    p99_seconds: float | None
    # From request to answer, of events committed in it since this gateway's start. null with a scope.
    answer_p50_seconds: float | None
    answer_p99_seconds: float | None
    waiting: int | None  # Deliveries that waited at its end, for whatever. null with a scope.
    rejected: int  # Requests, among the newest 1000.


class CauseRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Why deliveries are dead."""

    route: str
    action: str
    owner: str | None  # Who answers for the route.
    cause: str
    count: int
    newest_id: str
    newest_at: datetime


class ConfigRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration in force, secrets masked."""

    version: str
    settings: dict[str, Any]


class ConnectionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """How one connection does."""

    name: str
    type: str
    state: Literal["ok", "slow", "paused"]
    paused_seconds: float
    until_resumed: bool
    reason: str | None
    since: datetime | None
    failures: int
    running: int
    mean_seconds: float
    pending: int
    dead: int
    oldest_pending_at: datetime | None


ConnectionStateRecord = Literal["working", "paused", "probing"]
"""Whether deliveries run on a connection."""


class OverviewRecord(msgspec.Struct, frozen=True, kw_only=True):
    """How it goes."""

    range: Literal["1h", "24h", "7d"]
    bars: tuple[BarRecord, ...]
    succeeded: int
    dead: int
    success_rate: float | None  # Of the deliveries that ended; null where none did.
    p50_seconds: float | None  # From event to success, of the newest that succeeded.
    p99_seconds: float | None
    pending: int
    blocked: int
    dead_letters: int
    rejected: int  # Requests that were refused, of those that are kept; 1000 at most.
    oldest_pending_at: datetime | None
    causes: tuple[CauseRecord, ...]  # Among the newest 1000 dead letters.
    connections: tuple[ConnectionRecord, ...]
    routes_paused: tuple[str, ...]
    accounts: tuple[AccountRecord, ...]
    config_version: str
    reload_error: str | None
    store_bytes: int | None  # null for a token with a scope.


class PlaygroundResultRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What would happen, or what is wrong with the draft or the event."""

    problems: tuple[str, ...]
    routes: tuple[TriedRouteRecord, ...]


class RejectedRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A rejected request in a list."""

    id: str
    received_at: datetime
    account: str | None  # Of its path; null: it was posted to /webhooks.
    reason: str
    address: str
    size: int


class RejectedWholeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One rejected request."""

    id: str
    received_at: datetime
    account: str | None  # Of its path; null: it was posted to /webhooks.
    reason: str
    address: str
    size: int
    why: str | None
    peer: str
    forwarded_for: str | None
    signature: str | None
    body: str  # As text, what the account redacts hidden; it is nobody's word for Stripe's.


class RouteRecord(msgspec.Struct, frozen=True, kw_only=True):
    """How one route does."""

    name: str
    description: str
    owner: str  # Who answers for it; empty: nobody is named.
    state: Literal["ok", "paused", "disabled"]
    reason: str | None  # Why it is paused.
    since: datetime | None  # It is paused.
    events: tuple[str, ...]
    actions: tuple[str, ...]
    waiting: int  # Deliveries that are pending, running or blocked.
    dead: int
    audits: tuple[RowAuditRecord, ...]  # The last one of each account.


class RowAuditRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The last audit of a route's rows, for one account."""

    account: str
    at: datetime  # When it ended.
    rows: int  # That were compared.
    differences: dict[str, int]  # Rows that differ, by why: missed, late, edited.


class StandingRecord(msgspec.Struct, frozen=True, kw_only=True):
    """How a connection stands, as all gateways on one store see it."""

    name: str
    state: ConnectionStateRecord
    since: datetime | None
    until: datetime | None
    reason: str | None
    failures: int


class TriedActionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One action as it would run."""

    name: str
    uses: str
    needs: tuple[str, ...]
    rendered: Any
    note: str | None
    error: str | None


class TriedRouteRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One route, and why it matches or not."""

    route: str
    matched: bool
    why: str
    actions: tuple[TriedActionRecord, ...]


class VerifiedRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one."""

    id: str
    outcome: str  # `taken`, `duplicate`, or why it stays rejected.
    event_id: str | None


class VersionSeenRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A version of Stripe's API that events came in."""

    version: str | None  # null: events that name none, such as thin ones.
    count: int
    last_at: datetime
    differs_from: str | None  # The version that templates are written for, where other.
