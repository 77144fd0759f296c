"""What rejected requests ask of PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.core.model import RejectedBounds, RejectedRequest
from gateway.store.postgres.connection import PgConnection
from gateway.store.postgres.queue import call, text
from gateway.store.records import milliseconds

KEEP = call(
    "keep_rejected",
    "bigint, bigint, bigint, bigint, text[], bigint[], text[], text[], text[], text[], text[], text[], bigint[], "
    "bytea[]",
)
FORGET = "WITH gone AS (DELETE FROM rejected WHERE id = ANY ($1::text[]) RETURNING 1) SELECT count(*) FROM gone"


async def keep(
    link: PgConnection, requests: Sequence[RejectedRequest], bounds: RejectedBounds, now_ms: int | None
) -> int:
    """Keeps them, then drops what is over the bounds; how many."""
    dropped: int = await link.value(
        KEEP,
        now_ms,
        bounds.requests,
        bounds.size,
        round(bounds.age_seconds * 1000),
        [r.id for r in requests],
        [milliseconds(r.received_at) for r in requests],
        [r.account for r in requests],
        [r.reason for r in requests],
        [r.address for r in requests],
        [r.peer for r in requests],
        [text(r.forwarded_for) for r in requests],
        [text(r.signature) for r in requests],
        [r.size for r in requests],
        [r.body for r in requests],
    )
    return dropped


async def forget(link: PgConnection, rejected_ids: Sequence[str]) -> int:
    """Drops them; how many there were."""
    gone: int = await link.value(FORGET, list(rejected_ids))
    return gone
