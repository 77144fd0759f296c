"""How a connection stands, and the rate that gateways share."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from gateway.core.model.deliveries import Lane
from gateway.core.quick import quick


class ConnectionState(StrEnum):
    """Whether deliveries run on a connection."""

    WORKING = "working"
    PAUSED = "paused"  # nothing runs until the pause ends; the backlog is kept
    PROBING = "probing"  # the pause is over: one delivery tries whether it works again


PAUSED_ROUTE = "route "
"""How the name begins under which a store keeps how a route stands, beside connections: no name that ops give has a
space. A route is WORKING, or PAUSED until a person resumes it.
"""


def route_status_name(route: str) -> str:
    """The name under which a store keeps how that route stands."""
    return PAUSED_ROUTE + route


def status_route(name: str) -> str | None:
    """The route of which a status tells that is kept under this name; None: it is a connection's."""
    return name.removeprefix(PAUSED_ROUTE) if name.startswith(PAUSED_ROUTE) else None


@quick
@dataclass(frozen=True, slots=True)
class ConnectionStatus:
    """How a connection stands, or a route, as all gateways on one store see it."""

    name: str
    state: ConnectionState = ConnectionState.WORKING
    version: int = 0  # counts its changes
    since: datetime | None = None  # when it took this state; None: it never had another
    until: datetime | None = None  # of a pause, or of a probe's time; None in a pause: until a person resumes it
    left_seconds: float | None = None  # to `until`, by the store's clock when this was read; 0 once it is past
    reason: str | None = None  # why it is paused
    failures: int = 0  # in a row
    pauses: int = 0  # in a row, without a success between; each is longer than the one before
    failed_delivery: str | None = None  # whose failure was the last


@dataclass(frozen=True, slots=True)
class ConnectionChange:
    """What a connection's status is to become. `for_seconds` is of a pause or a probe; None: without an end."""

    state: ConnectionState
    for_seconds: float | None = None
    reason: str | None = None
    failures: int = 0
    pauses: int = 0
    failed_delivery: str | None = None


@dataclass(frozen=True, slots=True)
class SharedRate:
    """A connection's `rate`, which all gateways on one store keep together: a bucket of claims that fills steadily."""

    connection: str
    lanes: frozenset[Lane]
    per_second: float
    burst: float  # what the bucket holds at most; at first it holds 1
