"""Upkeep on PostgreSQL: how connections stand, marks, one step of a purge, and what gateways keep for each other."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from gateway.core.model import ConnectionChange, ConnectionStatus
from gateway.store.answers import Note, Purged
from gateway.store.keeping import AHEAD_MS, kept_text
from gateway.store.postgres.database import PostgresDatabase
from gateway.store.postgres.statements import NOW, call
from gateway.store.protocol import REMEMBERED_SECONDS
from gateway.store.records import CONNECTION, connection_of, moment

CONNECTIONS = f"SELECT {NOW} AS now_ms, {CONNECTION} FROM connections ORDER BY name"
CHANGE = (
    f"SELECT {NOW} AS now_ms, {CONNECTION} FROM change_connection("
    "$1::bigint, $2::text, $3::bigint, $4::text, $5::bigint, $6::text, $7::int, $8::int, $9::text)"
)
MARK = call("set_mark", "bigint, text, bigint")
PURGE = call("purge_events", "bigint, bigint, int, bigint, bigint, bigint")
_TAKE = f"""
INSERT INTO leases AS l (name, holder, until_at) VALUES ($2, $3, {NOW} + $4::bigint)
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until_at = excluded.until_at
WHERE l.holder = excluded.holder OR l.until_at NOT BETWEEN {NOW} + 1 AND excluded.until_at + {AHEAD_MS}
RETURNING name
"""
_KEEP = f"""
INSERT INTO notes (name, value, kept_at) VALUES ($2, $3, {NOW})
ON CONFLICT (name) DO UPDATE SET value = excluded.value, kept_at = excluded.kept_at
"""


class PostgresMaintenance(PostgresDatabase):
    """The methods of `ConnectionStore`, `PurgeStore` and `SharedStore`."""

    async def connections(self) -> Mapping[str, ConnectionStatus]:
        rows = await self._claiming.fetch(CONNECTIONS, self._now())
        return {name: connection_of((name, *columns), now_ms) for now_ms, name, *columns in rows}

    async def change_connection(self, name: str, version: int, change: ConnectionChange) -> ConnectionStatus | None:
        rows = await self._claiming.fetch(
            CHANGE,
            self._now(),
            name,
            version,
            change.state.value,
            None if change.for_seconds is None else round(change.for_seconds * 1000),
            kept_text(change.reason),
            change.failures,
            change.pauses,
            change.failed_delivery,
        )
        if not rows:
            return None
        await self._announce()
        now_ms, *columns = rows[0]
        return connection_of(columns, now_ms)

    async def mark(self, name: str, every_seconds: float) -> datetime:
        return moment(await self._fetching.value(MARK, self._now(), name, int(every_seconds * 1000)))

    async def purge(
        self,
        *,
        retention_seconds: float,
        dead_retention_seconds: float | None,
        cursor: int = 0,
        limit: int = 100,
    ) -> Purged:
        counts_and_cursor = await self._purging.value(
            PURGE,
            self._now(),
            cursor,
            limit,
            int(retention_seconds * 1000),
            None if dead_retention_seconds is None else int(dead_retention_seconds * 1000),
            int(REMEMBERED_SECONDS * 1000),
        )
        return Purged(*counts_and_cursor)

    async def take_lease(self, name: str, holder: str, *, lease_seconds: float) -> bool:
        return bool(await self._fetching.fetch(_TAKE, self._now(), name, holder, int(lease_seconds * 1000)))

    async def release_lease(self, name: str, holder: str) -> None:
        await self._fetching.fetch("DELETE FROM leases WHERE name = $1 AND holder = $2", name, holder)

    async def note(self, name: str) -> Note | None:
        sql = f"SELECT value, {NOW} - kept_at AS age_ms FROM notes WHERE name = $2"
        rows = await self._fetching.fetch(sql, self._now(), name)
        return Note(json.loads(rows[0]["value"]), max(0, rows[0]["age_ms"]) / 1000) if rows else None

    async def keep_note(self, name: str, value: Mapping[str, Any] | None) -> None:
        if value is None:
            await self._fetching.fetch("DELETE FROM notes WHERE name = $1", name)
        else:
            await self._fetching.fetch(_KEEP, self._now(), name, json.dumps(value))
