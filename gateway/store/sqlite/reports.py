"""What the console and the API ask of a SQLite store, on a connection and a thread of their own, which never write."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import pairwise

from gateway.core.internal_events import is_own
from gateway.core.model import AuditEntry, Delivery, DeliveryFilter, Event, EventFilter, Lane
from gateway.store.answers import Arrivals, Bucket, DeadCause, EventKind, LaneState, Page, Status, oldest_pending
from gateway.store.keeping import kept_key, kept_text
from gateway.store.migrations.runner import HEAD
from gateway.store.paging import dead_causes, parse_cursor
from gateway.store.records import AUDIT, audit_page_of, milliseconds, moment
from gateway.store.sqlite import pages
from gateway.store.sqlite.file import SqliteFile
from gateway.store.sqlite.pages import DELIVERIES, EVENTS, EVERYTHING
from gateway.store.sqlite.skip_scan import Kind
from gateway.store.sqlite.turns import done_by


def _buckets(connection: sqlite3.Connection, edges: Sequence[datetime]) -> list[Bucket]:
    times = [milliseconds(edge) for edge in edges]
    stretches = []
    for i, came in enumerate(pages.counts_by_time(connection, edges, EventFilter())):
        events: Counter[str] = Counter()
        for (*_, state), count in came.items():
            events[state] += count
        ended = connection.execute(
            "SELECT state, count(*) FROM deliveries WHERE finished_at >= ? AND finished_at < ? GROUP BY state",
            (times[i], times[i + 1]),
        )
        stretches.append(Bucket(edges[i], events, dict(ended)))
    return stretches


_LOOKED_AT = 200  # of each order, for one of a lane that does not wait until a time
_FIRST = (
    f"SELECT created_at, waits_until FROM deliveries INDEXED BY deliveries_kind WHERE {DELIVERIES.condition}"
    f" AND account = ? AND route = ? AND action = ? AND state = ? ORDER BY seq LIMIT {_LOOKED_AT}"
)
_NEXT = (
    "SELECT created_at, waits_until FROM deliveries INDEXED BY deliveries_due WHERE state = 'pending' AND held = 0"
    f" AND account = ? AND route = ? AND action = ? AND due_at {{}} ? ORDER BY due_at LIMIT {_LOOKED_AT}"
)
_TIME_CAME = (
    "SELECT account, route, action, state, min(waits_until) FROM deliveries INDEXED BY deliveries_waiting"
    " WHERE waits_until IS NOT NULL AND state IN ('blocked', 'pending') AND waits_until <= ? GROUP BY 1, 2, 3, 4"
)


def _oldest(connection: sqlite3.Connection, kind: Kind, now_ms: int) -> int | None:
    """When the oldest pending one of a kind was made that does not wait until a time. Where some hundreds that do were
    there before it: the oldest of those that are due, or will be next.
    """
    number = 0
    for created_at, waits_until in connection.execute(_FIRST, kind):
        if waits_until is None:
            return int(created_at)
        number += 1
    if number < _LOOKED_AT:
        return None
    looks = (connection.execute(_NEXT.format(side), (*kind[:3], now_ms)) for side in ("<=", ">"))
    return min((created_at for rows in looks for created_at, waits_until in rows if waits_until is None), default=None)


def _lane_states(connection: sqlite3.Connection, now_ms: int) -> list[LaneState]:
    counts: dict[Lane, dict[str, int]] = {}
    oldest: dict[Lane, datetime] = {}
    for kind in DELIVERIES.kinds(connection):
        account, route, action, state = kind
        if state not in ("pending", "blocked", "dead"):
            continue
        lane = Lane(account, route, action)
        counts.setdefault(lane, {})[state] = DELIVERIES.count(connection, kind, EVERYTHING, -1)
        if state == "pending" and (made_at := _oldest(connection, kind, now_ms)) is not None:
            oldest[lane] = moment(made_at)
    for account, route, action, state, came_at in connection.execute(_TIME_CAME, (now_ms,)):
        if state == "pending":
            lane = Lane(account, route, action)
            oldest[lane] = min(moment(came_at), oldest.get(lane, moment(came_at)))
    running = connection.execute(
        "SELECT account, route, action, count(*) FROM deliveries WHERE state = 'running' GROUP BY 1, 2, 3"
    )
    for account, route, action, count in running:
        counts.setdefault(Lane(account, route, action), {})["running"] = count
    return [LaneState(lane, by_state, oldest.get(lane)) for lane, by_state in sorted(counts.items())]


def _last_events(connection: sqlite3.Connection) -> dict[str, datetime]:
    newest: dict[str, int] = {}
    for kind in EVENTS.kinds(connection):
        account, type_, _ = kind
        if not is_own(type_):
            (seq,) = EVENTS.seqs(connection, [kind], EVERYTHING, 1, oldest_first=False)
            newest[account] = max(seq, newest.get(account, 0))
    seqs = ",".join(map(str, newest.values()))
    rows = connection.execute(f"SELECT account, received_at FROM events WHERE seq IN ({seqs})")
    return {row["account"]: moment(row["received_at"]) for row in rows}


class SqliteReports(SqliteFile):
    """The methods of `ReportStore`."""

    async def event_page(
        self, where: EventFilter, *, limit: int, after: str | None = None, oldest_first: bool = False
    ) -> Page[Event]:
        return await self._console.run(lambda c: pages.event_page(c, where, limit, after, oldest_first))

    async def delivery_page(
        self, where: DeliveryFilter, *, limit: int, after: str | None = None, oldest_first: bool = False
    ) -> Page[Delivery]:
        return await self._console.run(lambda c: pages.delivery_page(c, where, limit, after, oldest_first))

    async def arrivals(self, after: str | None, *, limit: int) -> Arrivals:
        return await self._console.run(lambda c: pages.arrivals(c, after, limit))

    async def count_events(self, where: EventFilter, *, at_most: int) -> int:
        return await self._console.run(lambda c: pages.count_events(c, where, at_most))

    async def count_deliveries(self, where: DeliveryFilter, *, at_most: int) -> int:
        return await self._console.run(lambda c: pages.count_deliveries(c, where, at_most))

    async def done_once(self, once_keys: Sequence[str]) -> Mapping[str, str]:
        def holders(connection: sqlite3.Connection) -> dict[str, str]:
            held = {key: done_by(connection, kept_key(key) or "", 0) for key in once_keys}
            return {key: delivery_id for key, delivery_id in held.items() if delivery_id is not None}

        return await self._console.run(holders)

    async def buckets(self, edges: Sequence[datetime]) -> Sequence[Bucket]:
        return await self._console.run(lambda c: _buckets(c, edges))

    async def counts_by_time(
        self, edges: Sequence[datetime], where: EventFilter | DeliveryFilter
    ) -> Sequence[Mapping[tuple[str, ...], int]]:
        return await self._console.run(lambda c: pages.counts_by_time(c, edges, where))

    async def latencies(self, edges: Sequence[datetime], *, limit: int) -> Sequence[Sequence[float]]:
        sql = (
            "SELECT finished_at - created_at FROM deliveries"
            " WHERE finished_at >= ? AND finished_at < ? AND state = 'succeeded' ORDER BY finished_at DESC LIMIT ?"
        )

        def took(connection: sqlite3.Connection) -> list[list[float]]:
            stretches = pairwise(map(milliseconds, edges))
            each = [connection.execute(sql, (*stretch, limit)).fetchall() for stretch in stretches]
            return [sorted(max(0, duration) / 1000 for (duration,) in rows) for rows in each]

        return await self._console.run(took)

    async def status(self) -> Status:
        size = await self.size_bytes()
        return Status(f"sqlite:///{self.path}", HEAD, oldest_pending(await self.lane_states()), size)

    async def lane_states(self) -> Sequence[LaneState]:
        return await self._console.run(lambda c: _lane_states(c, self._now_ms()))

    async def dead_causes(self, *, among: int) -> Sequence[DeadCause]:
        columns = "route, action, reason, id, finished_at"
        sql = f"SELECT {columns} FROM deliveries WHERE state = 'dead' ORDER BY seq DESC LIMIT ?"
        return await self._console.run(lambda c: dead_causes(c.execute(sql, (among,))))

    async def last_events(self) -> Mapping[str, datetime]:
        return await self._console.run(_last_events)

    async def event_kinds(self) -> Sequence[EventKind]:
        kinds = await self._console.run(lambda c: EVENTS.wanted(c, lambda kind: True))
        return [EventKind(*kind) for kind in kinds]

    async def size_bytes(self) -> int:
        paths = (self.path, self.path.with_name(self.path.name + "-wal"))
        return sum(path.stat().st_size for path in paths if path.exists())

    async def record(self, entry: AuditEntry) -> None:
        words = map(kept_text, (entry.role, entry.who, entry.what, entry.target))
        values = (milliseconds(entry.at), *words, entry.count)
        sql = "INSERT INTO audit (at, role, who, what, target, count) VALUES (?, ?, ?, ?, ?, ?)"
        await self._do(lambda c: c.execute(sql, values))

    async def audit(self, *, limit: int, after: str | None = None) -> Page[AuditEntry]:
        place = parse_cursor(after)
        sql = f"SELECT {AUDIT} FROM audit WHERE seq < ? ORDER BY seq DESC LIMIT ?"
        values = (EVERYTHING.stop if place is None else place, limit + 1)
        return audit_page_of(await self._console.run(lambda c: c.execute(sql, values).fetchall()), limit)
