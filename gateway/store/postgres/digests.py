"""Digests on PostgreSQL, and marks of what is done or told only every so often."""

from __future__ import annotations

import json

from gateway.core.model import Gathered
from gateway.store.postgres.connection import PgConnection
from gateway.store.postgres.queue import call
from gateway.store.records import EVENT, digest_reason, event_of

GATHER = call("gather_digest", "bigint, text, text, bigint, bigint, text")
MARK = call("set_mark", "bigint, text, bigint")


async def gather(
    link: PgConnection, delivery_id: str, token: str, wait_ms: int, every_ms: int, most: int, now_ms: int | None
) -> Gathered | float | None:
    """See Store.gather."""
    reason = digest_reason(delivery_id)
    found = await link.value(GATHER, now_ms, delivery_id, token, wait_ms, every_ms, reason)
    if found is None:
        return None
    if not found.startswith("["):
        return int(found) / 1000
    seqs = json.loads(found)
    rows = await link.fetch(f"SELECT {EVENT} FROM events WHERE seq = ANY ($1::bigint[]) ORDER BY seq", seqs[:most])
    return Gathered([event_of(row) for row in rows], len(seqs))


async def mark(link: PgConnection, name: str, every_ms: int, now_ms: int | None) -> int:
    """See Store.mark."""
    return int(await link.value(MARK, now_ms, name, every_ms))
