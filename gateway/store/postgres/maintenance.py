"""Upkeep on PostgreSQL: how connections stand, and one step of a purge."""

from __future__ import annotations

from gateway.core.model import ConnectionChange, ConnectionStatus
from gateway.store.answers import Purged
from gateway.store.postgres.connection import PgConnection
from gateway.store.postgres.queue import NOW, call, text
from gateway.store.protocol import REMEMBERED_SECONDS
from gateway.store.records import CONNECTION, connection_of

CONNECTIONS = f"SELECT {NOW}, {CONNECTION} FROM connections ORDER BY name"
CHANGE = (
    f"SELECT {NOW}, {CONNECTION} FROM change_connection("
    "$1::bigint, $2::text, $3::bigint, $4::text, $5::bigint, $6::text, $7::int, $8::int, $9::text)"
)
PURGE = call("purge_events", "bigint, bigint, int, bigint, bigint, bigint")


async def connections(link: PgConnection, now_ms: int | None) -> dict[str, ConnectionStatus]:
    """Every connection that was ever changed."""
    found = [connection_of(row[1:], row[0]) for row in await link.fetch(CONNECTIONS, now_ms)]
    return {one.name: one for one in found}


async def change_connection(
    link: PgConnection, name: str, version: int, change: ConnectionChange, now_ms: int | None
) -> ConnectionStatus | None:
    """Sets where the version is still that one."""
    rows = await link.fetch(
        CHANGE,
        now_ms,
        name,
        version,
        change.state.value,
        None if change.for_seconds is None else round(change.for_seconds * 1000),
        text(change.reason),
        change.failures,
        change.pauses,
        change.failed_delivery,
    )
    return connection_of(rows[0][1:], rows[0][0]) if rows else None


async def purge(
    link: PgConnection,
    cursor: int,
    limit: int,
    kept_seconds: float,
    dead_kept_seconds: float | None,
    now_ms: int | None,
) -> Purged:
    """One step."""
    events, deliveries, attempts, going_on = await link.value(
        PURGE,
        now_ms,
        cursor,
        limit,
        int(kept_seconds * 1000),
        None if dead_kept_seconds is None else int(dead_kept_seconds * 1000),
        int(REMEMBERED_SECONDS * 1000),
    )
    return Purged(events, deliveries, attempts, going_on)
