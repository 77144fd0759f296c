"""Intake and delivery on PostgreSQL: records -> the columns that the functions of the schema take, and back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from gateway.core.model import (
    LEASE_ENDED,
    Burst,
    Claim,
    Event,
    Fetched,
    Finish,
    Gathered,
    HeldForYes,
    Lane,
    Outcome,
    PlannedDelivery,
    Rekeyed,
    Released,
    SharedRate,
)
from gateway.core.model.needs import kept_needs
from gateway.store.answers import Added, Due
from gateway.store.group_commit import GroupCommit
from gateway.store.keeping import kept_json, kept_key, kept_ms, kept_text
from gateway.store.postgres.database import PostgresDatabase
from gateway.store.postgres.statements import NOW, call
from gateway.store.records import (
    BURST_WAITS,
    CLAIMED,
    EVENT,
    asked_prefix,
    beginning,
    claimed_of,
    digest_reason,
    ended_of,
    event_of,
    fetched_json,
    fetched_of,
    milliseconds,
    new_ids,
    planned_reason,
)

MOST_ADDED = 1024  # events in one commit: in an overload few would get through otherwise
MOST_FINISHED = 256
POLL_SECONDS = 5.0  # how late the work of a gateway that died before it could announce it is seen
_PLANNED_TYPES = "text[], text[], text[], text[], text[], bool[], text[], text[], text[], text[]"


ADD = call(
    "add_events",
    "bigint, text[], text[], text[], text[], bool[], bigint[], text[], text[], text[], text[], text[], text[], "
    "bytea[], int[], " + _PLANNED_TYPES + ", text[]",
)
REPLAY = call("replay_event", "bigint, text, text, " + _PLANNED_TYPES)
_WAIT_TYPES = ", text[], bigint[], text[], text[]"
ADD_LATER = call(
    "add_events_later",
    "bigint, text[], text[], text[], text[], bool[], bigint[], text[], text[], text[], text[], text[], text[], "
    "bytea[], int[], " + _PLANNED_TYPES + ", text[]" + _WAIT_TYPES + ", int[], text[]",
)
REPLAY_LATER = call("replay_event_later", "bigint, text, text, " + _PLANNED_TYPES + _WAIT_TYPES)
CLAIM = call("claim_at_rates", "bigint, bigint, text, text[], text[], text[], int[], int[], text[], float8[], float8[]")
RENEW = call("renew_leases", "bigint, bigint, text[], text[]")
_FINISH_TYPES = (
    "bigint, text[], text[], text[], bigint[], text[], text[], text[], text[], bigint[], bigint[], text[], bool[], "
    "text[], text[]"
)
FINISH = call("finish_claims", _FINISH_TYPES)
FINISH_TOLD = call("finish_claims_told", _FINISH_TYPES + ", text[]")
TAKE_OVER = call("take_over", "bigint, text")
END_LEFT = call("end_left", "bigint")
KEEP_FETCHED = call("keep_fetched", "text, text, text")
SETTLE_BURST = call("settle_burst", "bigint, text, text, text, bigint, bigint, text")
HOLD = call("hold_claim", "bigint, text, text, bigint, text")
GATHER = call("gather_digest", "bigint, text, text, bigint, bigint, text")

DUE = f"""
WITH RECURSIVE lane AS (
  (SELECT account, route, action, due_at FROM deliveries WHERE state = 'pending' AND NOT held
   ORDER BY account, route, action, due_at LIMIT 1)
  UNION ALL
  SELECT following.* FROM lane, LATERAL (
    SELECT d.account, d.route, d.action, d.due_at FROM deliveries d
    WHERE d.state = 'pending' AND NOT d.held
      AND (d.account, d.route, d.action, d.due_at) > (lane.account, lane.route, lane.action, 9223372036854775807)
    ORDER BY d.account, d.route, d.action, d.due_at LIMIT 1
  ) following
)
SELECT account, route, action, due_at - {NOW} AS in_ms, false AS is_left FROM lane
UNION ALL
SELECT NULL, NULL, NULL, (
  SELECT CASE WHEN max(lease_until) > {NOW} + 120000 THEN {NOW} - 1 ELSE min(lease_until) END
  FROM deliveries WHERE state = 'running'
) - {NOW}, EXISTS (SELECT FROM notes WHERE name > 'until:' AND name < 'until;')
"""
"""One look into an index for each lane; then, in a row without names, the lease that ends first, and whether end_left
has something to do. A lease that was given while the clock was ahead counts as ended: take_over bounds it.
"""

CLAIMS = f"""
SELECT {CLAIMED} FROM deliveries d JOIN events e ON e.seq = d.event_seq
WHERE d.seq = ANY ($1::bigint[]) AND d.state = 'running' AND d.token = $2
"""
ENDED = """
SELECT run_id, action, output, state, reason FROM deliveries
WHERE event_seq = ANY ($1::bigint[]) AND run_id = ANY ($2::text[]) AND state NOT IN ('blocked', 'pending', 'running')
"""


def planned_columns(planned: Sequence[Sequence[PlannedDelivery]], ids: Sequence[str]) -> list[list[Any]]:
    """Planned deliveries of several events as columns: the event's place (1, 2, ...), then what replay_event takes; the
    last holds the ids of the unjudged alone.
    """
    columns: list[list[Any]] = [[] for _ in range(10)]
    unjudged = []
    remaining_ids = iter(ids)
    for place, owed in enumerate(planned, 1):
        if not owed:
            continue
        run_ids: dict[str, str] = {}
        needed = {(p.route, need) for p in owed for need in p.needs}
        for p in owed:
            delivery_id = next(remaining_ids)
            row = (
                place, delivery_id, run_ids.setdefault(p.route, delivery_id), p.route, p.action,
                kept_needs(p.needs, p.otherwise), (p.route, p.action) in needed, kept_key(p.once_key),
                kept_key(p.order_key),
                kept_text(beginning(p)[1]),
            )  # fmt: skip
            for column, cell in zip(columns, row, strict=True):
                column.append(cell)
            if not p.is_judged:
                unjudged.append(delivery_id)
    return [*columns, unjudged]


def wait_columns(planned: Sequence[PlannedDelivery], ids: Sequence[str]) -> list[list[Any]]:
    """What deliveries wait for as columns, of those that wait or have a key of `until`: what plan_waits takes."""
    rows = [
        (
            delivery_id,
            None if p.waits_until is None else milliseconds(p.waits_until),
            kept_text(planned_reason(p)),
            kept_key(p.until_key),
        )
        for p, delivery_id in zip(planned, ids, strict=True)
        if p.waits_until is not None or p.until_key is not None
    ]
    return [[row[place] for row in rows] for place in range(4)]


def _ending_row(delivery_id: str, token: str, ending: Outcome) -> tuple[Any, ...]:
    """The parameters of finish_claims for one claim."""
    if isinstance(ending, Finish):
        tried = ending.attempt
        return (
            delivery_id, token, ending.state.value, kept_ms(ending.wait_seconds), kept_text(ending.reason),
            kept_json(ending.rendered), kept_json(ending.output), tried.outcome.value, milliseconds(tried.started_at),
            kept_ms(tried.duration_seconds), kept_text(tried.error), False, None, None,
        )  # fmt: skip
    wait_ms = reason = None
    keys: tuple[str | None, str | None] = (None, None)
    if isinstance(ending, Released):
        wait_ms, reason = kept_ms(ending.wait_seconds) or None, kept_text(ending.reason)
        keys = (kept_key(ending.until_key), None)
    elif isinstance(ending, Rekeyed):
        keys = (kept_key(ending.once_key), kept_key(ending.order_key))
    return (
        delivery_id, token, "pending", wait_ms, reason, None, None, None, None, None, None, isinstance(ending, Rekeyed),
        *keys,
    )  # fmt: skip


class PostgresQueue(PostgresDatabase):
    """The methods of `IntakeStore` and `QueueStore`, but for rejected requests."""

    def __init__(self, url: str, now_ms: Callable[[], int] | None = None) -> None:
        super().__init__(url, now_ms)
        self._adds = GroupCommit(self._add_batch, MOST_ADDED)
        self._finishes = GroupCommit(self._finish_batch, MOST_FINISHED)

    async def close(self) -> None:
        await self._adds.stop()
        await self._finishes.stop()
        await super().close()

    # -- intake -----------------------------------------------------------------------------------------------

    async def add(self, event: Event, planned: Sequence[PlannedDelivery]) -> Added:
        return Added(is_duplicate=not await self._adds.put((event, planned)))

    async def _add_batch(self, arrivals: Sequence[tuple[Event, Sequence[PlannedDelivery]]]) -> Sequence[bool]:
        events, planned = [event for event, _ in arrivals], [owed for _, owed in arrivals]
        ids = new_ids(sum(map(len, planned)), self._id_ms())
        waits = wait_columns([p for owed in planned for p in owed], ids)
        endings = [(place, kept_key(key)) for place, event in enumerate(events, 1) for key in event.ends]
        later = [*waits, [place for place, _ in endings], [key for _, key in endings]] if waits[0] or endings else []
        news: list[bool] = await self._adding.value(
            ADD_LATER if later else ADD,
            self._now(),
            [e.account for e in events],
            [kept_text(e.id) for e in events],
            [kept_text(e.type) for e in events],
            [e.state.value for e in events],
            [e.livemode for e in events],
            [None if e.created_at is None else milliseconds(e.created_at) for e in events],
            [kept_text(e.connected_account) for e in events],
            [kept_text(e.object_id) for e in events],
            [kept_text(e.api_version) for e in events],
            [e.source for e in events],
            [e.written_for for e in events],
            [kept_text(e.twin) for e in events],
            [e.body for e in events],
            *planned_columns(planned, ids),
            [e.trace for e in events],
            *later,
        )
        if endings or any(is_new and owed for is_new, owed in zip(news, planned, strict=True)):
            await self._announce()
        return news

    async def replay(
        self, account: str, event_id: str, planned: Sequence[PlannedDelivery], *, force: bool = False
    ) -> list[str] | None:
        if force:
            planned = [replace(p, once_key=None) for p in planned]
        ids = new_ids(len(planned), self._id_ms())
        _, *columns = planned_columns([planned], ids)
        waits = wait_columns(planned, ids)
        sql, columns = (REPLAY_LATER, [*columns, *waits]) if waits[0] else (REPLAY, columns)
        if not await self._people.value(sql, self._now(), account, event_id, *columns):
            return None
        if ids:
            await self._announce()
        return ids

    # -- delivery ---------------------------------------------------------------------------------------------

    async def due(self) -> Due:
        due, lease_in_seconds, is_left = await self._look()
        if is_left:
            left = await self._claiming.value(END_LEFT, self._now())
            is_left = bool(left)
            if left is not None:  # else another gateway takes the step, and announces it
                await self._announce()  # what needed it may be due
        if lease_in_seconds is not None and lease_in_seconds < 0:
            if await self._claiming.value(TAKE_OVER, self._now(), LEASE_ENDED):
                await self._announce()
            due, *_ = await self._look()
        return replace(due, next_in_seconds=0.0) if is_left else due

    async def _look(self) -> tuple[Due, float | None, bool]:
        """What one look at the lanes shows, in how many seconds the first lease ends (negative: it has), and whether
        something is left to cancel.
        """
        rows = await self._claiming.fetch(DUE, self._now())
        lanes = [(row["in_ms"], Lane(row["account"], row["route"], row["action"])) for row in rows if row["account"]]
        lease = next((row["in_ms"] / 1000 for row in rows if not row["account"] and row["in_ms"] is not None), None)
        later = [in_ms / 1000 for in_ms, _ in lanes if in_ms > 0]
        if lease is not None:
            later.append(max(lease + 0.001, 0.05))  # not at once where another gateway is just taking it over
        now = sorted((in_ms, lane) for in_ms, lane in lanes if in_ms <= 0)
        due = Due([lane for _, lane in now], min(later, default=None), [-in_ms / 1000 for in_ms, _ in now])
        return due, lease, rows[-1]["is_left"]

    async def claim(
        self, wanted: Mapping[Lane, int], *, lease_seconds: float, rates: Sequence[SharedRate] = ()
    ) -> list[Claim]:
        lanes = {lane: count for lane, count in wanted.items() if count > 0}
        if not lanes:
            return []
        token = secrets.token_hex(8)
        rate_of = {lane: place for place, rate in enumerate(rates, 1) for lane in rate.lanes}
        seqs: list[int] = await self._claiming.value(
            CLAIM,
            self._now(),
            int(lease_seconds * 1000),
            token,
            [lane.account for lane in lanes],
            [lane.route for lane in lanes],
            [lane.action for lane in lanes],
            list(lanes.values()),
            [rate_of.get(lane) for lane in lanes],
            [rate.connection for rate in rates],
            [rate.per_second for rate in rates],
            [rate.burst for rate in rates],
        )
        return await self._claims_of(seqs, token) if seqs else []

    async def _claims_of(self, seqs: Sequence[int], token: str) -> list[Claim]:
        """What was just claimed, in that order, with events and outputs."""
        rows = {row["seq"]: claimed_of(row) for row in await self._claiming.fetch(CLAIMS, seqs, token)}
        claimed = [rows[seq] for seq in seqs if seq in rows]
        of_run: dict[str, list[Any]] = {}
        if needy := [(event_seq, delivery.run_id) for delivery, _, event_seq in claimed if delivery.needs]:
            event_seqs, run_ids = zip(*needy, strict=True)
            for row in await self._claiming.fetch(ENDED, event_seqs, run_ids):
                of_run.setdefault(row["run_id"], []).append(row)
        return [
            Claim(delivery, token, event, *ended_of(of_run.get(delivery.run_id, ()) if delivery.needs else ()))
            for delivery, event, _ in claimed
        ]

    async def renew(self, claims: Sequence[tuple[str, str]], *, lease_seconds: float) -> set[str]:
        ids, tokens = [delivery_id for delivery_id, _ in claims], [token for _, token in claims]
        return set(await self._finishing.value(RENEW, self._now(), int(lease_seconds * 1000), ids, tokens))

    async def finish(self, delivery_id: str, token: str, ending: Outcome) -> bool:
        if isinstance(ending, Burst):
            waits = kept_ms(ending.wait_seconds), kept_ms(ending.max_seconds)
            held: bool = await self._finishing.value(
                SETTLE_BURST, self._now(), delivery_id, token, kept_key(ending.settled_key), *waits, BURST_WAITS
            )
            await self._announce()
            return held
        if isinstance(ending, HeldForYes):
            held = await self._finishing.value(
                HOLD, self._now(), delivery_id, token, kept_ms(ending.within_seconds), kept_text(ending.reason)
            )
            await self._announce()
            return held
        return await self._finishes.put((delivery_id, token, ending))

    async def _finish_batch(self, ended: Sequence[tuple[str, str, Outcome]]) -> Sequence[bool]:
        columns = list(map(list, zip(*(_ending_row(*claim) for claim in ended), strict=True)))
        exchanges = [kept_json(how.attempt.exchanges) if isinstance(how, Finish) else None for _, _, how in ended]
        sql, columns = (FINISH_TOLD, [*columns, exchanges]) if any(exchanges) else (FINISH, columns)
        answers: list[bool] = await self._finishing.value(sql, self._now(), *columns)
        *recorded, made_work = answers
        if made_work:
            await self._announce()
        return recorded

    async def wait_for_work(self, timeout_seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(timeout_seconds, POLL_SECONDS)):
                await self._changed.wait()
        self._changed.clear()

    async def fetched(self, run_id: str) -> Fetched | None:
        rows = await self._fetching.fetch("SELECT fetched FROM deliveries WHERE id = $1", run_id)
        return fetched_of(rows[0]["fetched"]) if rows else None  # the run bears its first delivery's id

    async def keep_fetched(self, run_id: str, fetched: Fetched) -> Fetched:
        kept = await self._fetching.value(KEEP_FETCHED, run_id, asked_prefix(fetched.asked), fetched_json(fetched))
        return fetched_of(kept) or fetched

    async def gather(
        self, delivery_id: str, token: str, *, wait_seconds: float, every_seconds: float, most: int
    ) -> Gathered | float | None:
        waits = int(wait_seconds * 1000), int(every_seconds * 1000)
        answer: str | None = await self._fetching.value(
            GATHER, self._now(), delivery_id, token, *waits, digest_reason(delivery_id)
        )
        if answer is None:
            return None
        if not answer.startswith("["):
            return int(answer) / 1000
        seqs = json.loads(answer)
        sql = f"SELECT {EVENT} FROM events WHERE seq = ANY ($1::bigint[]) ORDER BY seq"
        return Gathered([event_of(row) for row in await self._fetching.fetch(sql, seqs[:most])], len(seqs))
