"""Sweeps through what PostgreSQL keeps."""

from __future__ import annotations

from gateway.store.postgres.database import PostgresDatabase
from gateway.store.sweep import (
    ATTEMPT_SAYS,
    ATTEMPTS,
    CHANGED_COLUMNS,
    DELIVERY_COLUMNS,
    ContentsPage,
    EventContents,
    contents_page,
)

EVENTS = "SELECT seq, account, id, object_id, body FROM events WHERE seq > $1 AND seq > 0 ORDER BY seq LIMIT $2"
DELIVERIES = f"SELECT {DELIVERY_COLUMNS} FROM deliveries WHERE event_seq = ANY ($1::bigint[]) ORDER BY seq"
SAID = f"{ATTEMPTS} WHERE delivery_seq = ANY ($1::bigint[]) AND {ATTEMPT_SAYS} ORDER BY delivery_seq, number"
LEFT_TO_DO = (
    "PostgreSQL keeps old versions of rows until it vacuums: run `VACUUM (FULL) events, deliveries, attempts, rejected`"
    " where they must be gone from its files now; its WAL archive, replicas and your backups keep them for as long as"
    " you keep those"
)

_SAME = " AND ".join(f"d.{column} IS NOT DISTINCT FROM w.old_{column}" for column in CHANGED_COLUMNS)
_TEXTS = [f"{age}_{column}" for age in ("old", "new") for column in CHANGED_COLUMNS]
_WANTED = ", ".join(("seq", "state", "runs", *_TEXTS))
_ARRAYS = ", ".join(("$5::bigint[]", "$6::text[]", "$7::int[]", *(f"${8 + i}::text[]" for i in range(len(_TEXTS)))))
_SAID_AT = 8 + len(_TEXTS)
_SAID = ", ".join(f"${_SAID_AT + i}::{kind}[]" for i, kind in enumerate(("bigint", "int", "text", "text")))
REPLACE = f"""
WITH wanted AS MATERIALIZED (SELECT * FROM unnest({_ARRAYS}) AS w ({_WANTED})),
event AS MATERIALIZED (SELECT seq FROM events WHERE seq = $1 AND body = $2 FOR UPDATE),
found AS MATERIALIZED (
  SELECT d.seq FROM deliveries d JOIN wanted w ON w.seq = d.seq AND w.state = d.state AND w.runs = d.runs
  WHERE d.event_seq = $1 AND {_SAME} FOR UPDATE OF d
),
agreed AS MATERIALIZED (
  SELECT (SELECT count(*) FROM event) = 1 AND (SELECT count(*) FROM found) = (SELECT count(*) FROM wanted)
    AND (SELECT count(*) FROM deliveries WHERE event_seq = $1) = (SELECT count(*) FROM wanted) AS holds
),
bodies AS (UPDATE events SET object_id = $3, body = $4 WHERE seq = $1 AND (SELECT holds FROM agreed)),
texts AS (
  UPDATE deliveries d SET {", ".join(f"{column} = w.new_{column}" for column in CHANGED_COLUMNS)}
  FROM wanted w WHERE d.seq = w.seq AND d.state = w.state AND (SELECT holds FROM agreed)
),
said AS (
  UPDATE attempts a SET error = s.error, exchanges = s.exchanges
  FROM unnest({_SAID}) AS s (seq, number, error, exchanges)
  WHERE a.delivery_seq = s.seq AND a.number = s.number AND (SELECT holds FROM agreed)
)
SELECT holds FROM agreed
"""
REPLACE_REJECTED = "WITH done AS (UPDATE rejected SET body = $2 WHERE id = $1 RETURNING 1) SELECT count(*) FROM done"


class PostgresSweep(PostgresDatabase):
    """The methods of `SweepStore`."""

    async def contents(self, after: int, *, limit: int) -> ContentsPage:
        events = await self._purging.fetch(EVENTS, after, limit)
        deliveries = await self._purging.fetch(DELIVERIES, [row["seq"] for row in events])
        attempts = await self._purging.fetch(SAID, [row["seq"] for row in deliveries])
        return contents_page(events, deliveries, attempts, limit)

    async def replace_contents(self, before: EventContents, after: EventContents) -> bool:
        pairs = list(zip(before.deliveries, after.deliveries, strict=True))
        changed = [(old.seq, words) for old, new in pairs if new.attempts != old.attempts for words in new.attempts]
        agreed: bool = await self._purging.value(
            REPLACE,
            before.seq,
            before.body,
            after.object_id,
            after.body,
            [old.seq for old, _ in pairs],
            [old.state for old, _ in pairs],
            [old.runs for old, _ in pairs],
            *([getattr(old, column) for old, _ in pairs] for column in CHANGED_COLUMNS),
            *([getattr(new, column) for _, new in pairs] for column in CHANGED_COLUMNS),
            [seq for seq, _ in changed],
            [words.number for _, words in changed],
            [words.error for _, words in changed],
            [words.exchanges for _, words in changed],
        )
        return agreed

    async def replace_rejected(self, rejected_id: str, body: bytes) -> bool:
        return bool(await self._purging.value(REPLACE_REJECTED, rejected_id, body))

    async def scrub(self) -> str | None:
        return LEFT_TO_DO
