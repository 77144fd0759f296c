"""Leases and notes on PostgreSQL: one statement each, which is a transaction of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gateway.store.answers import Note
from gateway.store.postgres.connection import PgConnection

_NOW = "now_ms($1::bigint)"
_TAKE = f"""
INSERT INTO leases AS l (name, holder, until_at) VALUES ($2, $3, {_NOW} + $4::bigint)
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until_at = excluded.until_at
WHERE l.holder = excluded.holder OR l.until_at <= {_NOW}
RETURNING name
"""
_KEEP = f"""
INSERT INTO notes (name, value, kept_at) VALUES ($2, $3, {_NOW})
ON CONFLICT (name) DO UPDATE SET value = excluded.value, kept_at = excluded.kept_at
"""


async def take_lease(link: PgConnection, name: str, holder: str, lease_ms: int, now_ms: int | None) -> bool:
    """Takes it where nobody else has it, or prolongs it."""
    return bool(await link.fetch(_TAKE, now_ms, name, holder, lease_ms))


async def release_lease(link: PgConnection, name: str, holder: str) -> None:
    """Gives it back where it is still the holder's."""
    await link.fetch("DELETE FROM leases WHERE name = $1 AND holder = $2", name, holder)


async def note(link: PgConnection, name: str, now_ms: int | None) -> Note | None:
    """What is kept under a name."""
    rows = await link.fetch(f"SELECT value, {_NOW} - kept_at FROM notes WHERE name = $2", now_ms, name)
    return Note(json.loads(rows[0][0]), rows[0][1] / 1000) if rows else None


async def keep_note(link: PgConnection, name: str, value: Mapping[str, Any] | None, now_ms: int | None) -> None:
    """Keeps it instead of what was there."""
    if value is None:
        await link.fetch("DELETE FROM notes WHERE name = $1", name)
    else:
        await link.fetch(_KEEP, now_ms, name, json.dumps(value))
