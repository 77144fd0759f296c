"""How it goes: what the first page shows, gathered from the store and the running gateway."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from pydantic import Field

from gateway.admin.api.schemas import Model, Shown
from gateway.admin.gateway_view import ConnectionWord
from gateway.admin.reports.dead_causes import cause_of
from gateway.admin.reports.history import percentile
from gateway.admin.reports.queues import queues
from gateway.admin.reports.ranges import RANGES, Range, bar_width
from gateway.admin.reports.samples import SampledBar
from gateway.admin.request import AdminParts
from gateway.core.model import (
    ConnectionState,
    ConnectionStatus,
    RejectedFilter,
    RejectedRequest,
    route_status_name,
)
from gateway.store.answers import Bucket, LaneState
from gateway.telemetry.metrics import INTAKE_BOUNDS, Scrape, quantile

DEAD_LOOKED_AT = 1000
MOST_REJECTED = 1000
LATENCIES_LOOKED_AT = 2000
_WORKS = ConnectionStatus("")


class OverviewQuery(Model):
    """How far back."""

    range: Range = "24h"


class Bar(Shown):
    """One stretch of time."""

    start: datetime
    events: dict[str, int] = Field(description="By state.")
    deliveries: dict[str, int] = Field(description="That ended in it, by final state.")
    p50_seconds: float | None = Field(description="From event to success, of deliveries that succeeded in it.")
    p99_seconds: float | None
    answer_p50_seconds: float | None = Field(
        description="From request to answer, of events committed in it since this gateway's start. null with a scope."
    )
    answer_p99_seconds: float | None
    waiting: int | None = Field(description="Deliveries that waited at its end, for whatever. null with a scope.")
    rejected: int = Field(description=f"Requests, among the newest {MOST_REJECTED}.")


class ConnectionOut(Shown):
    """How one connection does."""

    name: str
    type: str
    state: ConnectionWord
    paused_seconds: float  # until it is tried again; 0 in a pause: a delivery is trying it now
    until_resumed: bool  # paused without an end
    reason: str | None  # of a pause
    since: datetime | None  # it stands so
    failures: int  # in a row
    running: int
    mean_seconds: float
    pending: int
    dead: int
    oldest_pending_at: datetime | None


class AccountOut(Shown):
    """When an account was last heard of."""

    name: str
    last_event_at: datetime | None


class Cause(Shown):
    """Why deliveries are dead."""

    route: str
    action: str
    owner: str | None = Field(description="Who answers for the route.")
    cause: str
    count: int
    newest_id: str
    newest_at: datetime


class Overview(Shown):
    """How it goes."""

    range: Range
    bars: list[Bar]
    succeeded: int
    dead: int
    success_rate: float | None = Field(description="Of the deliveries that ended; null where none did.")
    p50_seconds: float | None = Field(description="From event to success, of the newest that succeeded.")
    p99_seconds: float | None
    pending: int
    blocked: int
    dead_letters: int
    rejected: int = Field(description=f"Requests that were refused, of those that are kept; {MOST_REJECTED} at most.")
    oldest_pending_at: datetime | None
    causes: list[Cause] = Field(description=f"Among the newest {DEAD_LOOKED_AT} dead letters.")
    connections: list[ConnectionOut]
    routes_paused: list[str]
    accounts: list[AccountOut]
    config_version: str
    reload_error: str | None
    store_bytes: int | None = Field(description="null for a token with a scope.")


async def look(parts: AdminParts, range_: Range) -> Overview:
    """Everything at once."""
    store = parts.store
    now, (span, _) = datetime.now(UTC), RANGES[range_]
    buckets = await parts.history.buckets(range_, now)
    (latencies,) = await store.latencies([now - span, now + bar_width(range_)], limit=LATENCIES_LOOKED_AT)
    lanes = await store.lane_states()
    rejected = await store.rejected(RejectedFilter(since=buckets[0].start), limit=MOST_REJECTED)
    statuses = await store.connections()
    last = await store.last_events()
    succeeded = sum(bucket.deliveries.get("succeeded", 0) for bucket in buckets)
    dead = sum(bucket.deliveries.get("dead", 0) for bucket in buckets)
    waiting = [lane.oldest_at for lane in lanes if lane.oldest_at is not None]
    return Overview(
        range=range_,
        bars=await _bars(parts, range_, now, buckets, lanes, rejected),
        succeeded=succeeded,
        dead=dead,
        success_rate=succeeded / (succeeded + dead) if succeeded + dead else None,
        p50_seconds=percentile(latencies, 50),
        p99_seconds=percentile(latencies, 99),
        pending=_sum(lanes, "pending") + _sum(lanes, "running"),
        blocked=_sum(lanes, "blocked"),
        dead_letters=_sum(lanes, "dead"),
        rejected=sum(request.received_at >= now - span for request in rejected),
        oldest_pending_at=min(waiting, default=None),
        causes=await _causes(parts),
        connections=_connections(parts, lanes, statuses),
        routes_paused=[
            route.name
            for route in parts.gateway.config.routes
            if statuses.get(route_status_name(route.name), _WORKS).state is not ConnectionState.WORKING
        ],
        accounts=[AccountOut(name=name, last_event_at=last.get(name)) for name in parts.gateway.config.accounts],
        config_version=parts.gateway.config.version,
        reload_error=parts.gateway.reload_error,
        store_bytes=None if parts.scope is not None else await store.size_bytes(),
    )


async def _bars(
    parts: AdminParts,
    range_: Range,
    now: datetime,
    buckets: Sequence[Bucket],
    lanes: Sequence[LaneState],
    rejected: Sequence[RejectedRequest],
) -> list[Bar]:
    """What is timed, and how much waits, is told to who sees all: a scope's deliveries stand where they came."""
    took = await parts.history.latencies(range_, now)
    waiting: Sequence[int | None] = [None] * len(buckets)
    sampled: Mapping[datetime, SampledBar] = {}
    if parts.scope is None:
        await parts.samples.take(lanes, now)
        sampled = parts.samples.bars(range_)
        made = await parts.history.made(range_, now)
        waiting = waiting_at_ends(buckets, made, _sum(lanes, "pending") + _sum(lanes, "blocked"))
    width = bar_width(range_)
    refused = Counter((request.received_at - buckets[0].start) // width for request in rejected)
    bars = []
    for i, bucket in enumerate(buckets):
        answered = sampled.get(bucket.start, SampledBar()).answered
        bars.append(
            Bar(
                start=bucket.start,
                events=dict(bucket.events),
                deliveries=dict(bucket.deliveries),
                p50_seconds=took[i].half,
                p99_seconds=took[i].most,
                answer_p50_seconds=quantile(INTAKE_BOUNDS, answered, 0.5),
                answer_p99_seconds=quantile(INTAKE_BOUNDS, answered, 0.99),
                waiting=waiting[i],
                rejected=refused[i],
            )
        )
    return bars


def waiting_at_ends(buckets: Sequence[Bucket], made: Sequence[int], now: int) -> list[int]:
    """How many were not done at the end of each bar: of those now, less what was made since, more what ended since."""
    counts, left = [], now
    for bucket, count in zip(reversed(buckets), reversed(made), strict=True):
        counts.append(max(0, left))
        left += sum(bucket.deliveries.values()) - count
    return counts[::-1]


def _sum(lanes: Sequence[LaneState], state: str) -> int:
    return sum(lane.counts.get(state, 0) for lane in lanes)


async def _causes(parts: AdminParts) -> list[Cause]:
    """Reasons that differ in ids and numbers only are one cause."""
    merged: dict[tuple[str, str, str], Cause] = {}
    owners = {route.name: route.owner or None for route in parts.gateway.config.routes}
    for dead in await parts.store.dead_causes(among=DEAD_LOOKED_AT):
        key = (dead.route, dead.action, cause_of(dead.reason))
        known = merged.get(key)
        if known is None:
            merged[key] = Cause(
                route=dead.route,
                action=dead.action,
                owner=owners.get(dead.route),
                cause=key[2],
                count=dead.count,
                newest_id=dead.newest_id,
                newest_at=dead.newest_at,
            )
        else:
            known.count += dead.count
            if dead.newest_at > known.newest_at:
                known.newest_id, known.newest_at = dead.newest_id, dead.newest_at
    return sorted(merged.values(), key=lambda cause: -cause.count)[:20]


async def connections(parts: AdminParts) -> list[ConnectionOut]:
    """Every connection of the configuration."""
    return _connections(parts, await parts.store.lane_states(), await parts.store.connections())


def _connections(
    parts: AdminParts, lanes: Sequence[LaneState], statuses: Mapping[str, ConnectionStatus]
) -> list[ConnectionOut]:
    """By what the store says now: the worker hears of a change a moment later."""
    now = datetime.now(UTC)
    config = parts.gateway.config
    waiting = queues(config, lanes, now)
    views, masker = [], config.masker
    for name, settings in config.connections.items():
        queue, figures = waiting[name], parts.gateway.figures(name)
        status = statuses.get(name, ConnectionStatus(name))
        is_paused = status.state is ConnectionState.PAUSED
        views.append(
            ConnectionOut(
                name=name,
                type=settings.type,
                state=parts.gateway.connection_word(name, status),
                paused_seconds=(status.left_seconds or 0.0) if is_paused else 0.0,
                until_resumed=is_paused and status.left_seconds is None,
                reason=masker.mask(status.reason),
                since=status.since,
                failures=status.failures,
                running=figures.running if figures else 0,
                mean_seconds=figures.mean_seconds if figures else 0.0,
                pending=queue.counts["pending"],
                dead=queue.counts["dead"],
                oldest_pending_at=now - timedelta(seconds=queue.oldest_seconds) if queue.oldest_seconds else None,
            )
        )
    return views


async def scrape(parts: AdminParts) -> Scrape:
    """What Prometheus is told beside the counters."""
    return Scrape(
        queues=queues(parts.gateway.config, await parts.store.lane_states(), datetime.now(UTC)),
        connection_states={name: parts.gateway.connection_state(name) for name in parts.gateway.config.connections},
        last_events=await parts.store.last_events(),
        store_bytes=await parts.store.size_bytes(),
        config_version=parts.gateway.config.version,
        last_reload_failed=bool(parts.gateway.reload_error),
    )
