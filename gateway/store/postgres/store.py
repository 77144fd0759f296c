"""The store for many gateways on one PostgreSQL: group commits, claims under leases, work announced by NOTIFY."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import asyncpg

from gateway.core.errors import StoreError, StoreMissing, StoreOutdated, StoreUnavailable
from gateway.core.model import (
    DONE,
    Attempt,
    ChangeResult,
    Claim,
    ConnectionChange,
    ConnectionStatus,
    Delivery,
    DeliveryFilter,
    Event,
    EventFilter,
    Fetched,
    Gathered,
    Lane,
    Outcome,
    PlannedDelivery,
    Refusal,
    RejectedBounds,
    RejectedFilter,
    RejectedRequest,
    SharedRate,
)
from gateway.store.answers import Added, Due, Note, Purged, Status
from gateway.store.group_commit import GroupCommit
from gateway.store.migrations.runner import HEAD, refuse_older, upgrade_postgresql
from gateway.store.postgres import digests as digests
from gateway.store.postgres import leases_and_notes as notes
from gateway.store.postgres import maintenance as upkeep
from gateway.store.postgres import queue as work
from gateway.store.postgres import rejected as postgres_rejected
from gateway.store.postgres import sweep as sweeps
from gateway.store.postgres.connection import BUSY, FAILURES, TRIES, Address, PgConnection, Server, close, reason
from gateway.store.postgres.filters import delivery_terms, event_terms, rejected_terms
from gateway.store.postgres.notify import Announcer
from gateway.store.postgres.reports import SIZE, PostgresReports
from gateway.store.records import (
    DELIVERY,
    DELIVERY_LISTED,
    EVENT,
    EVENT_LISTED,
    REJECTED,
    REJECTED_LISTED,
    attempt_of,
    delivery_of,
    event_of,
    moment,
    rejected_of,
)
from gateway.store.sweep import ContentsPage, EventContents

MOST_ADDED = 1024  # events in one commit: in an overload few would get through otherwise
MOST_FINISHED = 256
MOST_CHANGED = 500  # deliveries that one statement of a person changes
POLL_SECONDS = 5.0  # how late the work of a gateway that died before it could announce it is seen
MIGRATION_PAUSE_SECONDS = 1.0
PEOPLE_SECONDS = 60.0  # a listing may look through many rows
CONSOLE_SECONDS = 15.0  # whoever looks at a page has gone by then


class PostgresStore(PostgresReports):
    """See `gateway.store.protocol.Store` for what each method promises."""

    is_shared = True

    def __init__(self, url: str, now_ms: Callable[[], int] | None = None) -> None:
        """`now_ms` is for tests; without it, the database's clock holds. Raises UsageError."""
        self.address = Address.parse(url)
        self._clock = now_ms
        self._server = Server(self.address)
        self._adding = PgConnection(self._server)  # a connection for each kind of work: none waits behind another kind
        self._claiming = PgConnection(self._server)
        self._finishing = PgConnection(self._server)
        self._fetching = PgConnection(self._server)
        self._people = PgConnection(self._server, statement_seconds=PEOPLE_SECONDS)
        self._console = PgConnection(self._server, statement_seconds=CONSOLE_SECONDS)
        self._purging = PgConnection(self._server)
        self._announcer: Announcer | None = None
        self._changed = asyncio.Event()
        self._adds = GroupCommit(self._add_batch, MOST_ADDED)
        self._finishes = GroupCommit(self._finish_batch, MOST_FINISHED)

    # -- opening and closing ----------------------------------------------------------------------------------

    async def start(self) -> None:
        try:
            await self._server.refuse_transaction_pooling()
            await self.migrate()
            await self._refuse_half_a_copy()
            self._announcer = Announcer(self._server, self._changed.set)
            await self._announcer.start()
        except BaseException:
            await self.close()
            raise
        self._changed.set()

    async def attach(self) -> None:
        revision = await self._revision()
        if revision is None:
            raise StoreMissing(f"there is no inbox at {self.address.shown} yet; `gateway serve` makes it")
        if revision < HEAD:
            raise StoreOutdated(
                f"{self.address.shown} has schema {revision}, this program knows {HEAD}; `gateway db migrate` mends it"
            )
        await self._refuse_half_a_copy()

    async def migrate(self) -> str | None:
        before = await self._revision()
        if before is None or before < HEAD:

            async def connect() -> asyncpg.Connection[asyncpg.Record]:
                return await Server(self.address).open()

            for tried in range(TRIES):
                try:
                    await asyncio.to_thread(upgrade_postgresql, connect, self.address.schema)
                    break
                except StoreError:
                    raise
                except Exception as error:
                    cause = getattr(error, "orig", None) or error
                    if getattr(cause, "sqlstate", None) in BUSY and tried + 1 < TRIES:
                        await asyncio.sleep(MIGRATION_PAUSE_SECONDS)  # gateways at work go first meanwhile
                        continue
                    told = f"cannot bring {self.address.shown} to schema {HEAD}: {reason(cause)}"
                    raise StoreUnavailable(told) from None
        return before

    async def _revision(self) -> str | None:
        """The schema's revision, None where there is none yet. Raises StoreOutdated (too new, too old)."""
        connection = await self._server.open()
        try:
            if await connection.fetchval("SELECT to_regclass($1)", f"{self.address.schema}.facts") is None:
                return None
            revision: str | None = await connection.fetchval("SELECT version_num FROM alembic_version")
            facts = {row["name"]: row["value"] for row in await connection.fetch("SELECT name, value FROM facts")}
        except FAILURES as error:
            raise StoreUnavailable(f"cannot read {self.address.shown}: {reason(error)}") from None
        finally:
            await close(connection)
        if revision is not None and revision > HEAD and facts.get("oldest_program", revision) > HEAD:
            raise StoreOutdated(
                f"{self.address.shown} was brought to schema {revision} by a newer gateway, and this one "
                f"(schema {HEAD}) cannot work on it; install the newer one here too"
            )
        refuse_older(self.address.shown, revision)
        return revision

    async def _refuse_half_a_copy(self) -> None:
        for (source,) in await self._people.fetch("SELECT value FROM facts WHERE name = 'copying_from'"):
            raise StoreUnavailable(
                f"{self.address.shown} holds an unfinished copy of {source}; run `gateway db copy` again"
            )

    async def close(self) -> None:
        await self._adds.stop()
        await self._finishes.stop()
        announcer, self._announcer = self._announcer, None
        if announcer is not None:
            await announcer.stop()
        links = (
            self._adding, self._claiming, self._finishing, self._fetching, self._people, self._console, self._purging,
        )  # fmt: skip
        for link in links:
            await link.close()

    async def ping(self) -> None:
        # a standby gives out no transaction id; a server whose disk is full is often set to read only
        asked = "SELECT current_setting('transaction_read_only'), pg_current_xact_id()::text"
        if await self._people.value(asked) == "on":
            raise StoreUnavailable(f"{self.address.shown} only reads now: its transactions are set to read only")

    def _now(self) -> int | None:
        return self._clock() if self._clock is not None else None

    def _id_ms(self) -> int:
        return self._clock() if self._clock is not None else time.time_ns() // 1_000_000

    def _work_made(self) -> None:
        """Tells the worker here at once, and the other gateways."""
        self._changed.set()
        if self._announcer is not None:
            self._announcer.announce()

    # -- intake -----------------------------------------------------------------------------------------------

    async def add(self, event: Event, planned: Sequence[PlannedDelivery]) -> Added:
        return Added(is_duplicate=not await self._adds.put((event, planned)))

    async def _add_batch(self, arrivals: Sequence[tuple[Event, Sequence[PlannedDelivery]]]) -> Sequence[bool]:
        news = await work.add(self._adding, arrivals, self._now(), self._id_ms())
        if any(new and planned for new, (_, planned) in zip(news, arrivals, strict=True)):
            if self._announcer is None:  # a command, which ends at once
                await self._announce_now()
            else:
                self._work_made()
        return news

    async def replay(
        self, account: str, event_id: str, planned: Sequence[PlannedDelivery], *, force: bool = False
    ) -> list[str] | None:
        made = await work.replay(self._people, account, event_id, planned, self._now(), self._id_ms(), force)
        if made:
            await self._announce_now()
        return made

    async def keep_rejected(self, requests: Sequence[RejectedRequest], bounds: RejectedBounds) -> int:
        return await postgres_rejected.keep(self._people, requests, bounds, self._now())

    # -- delivery ---------------------------------------------------------------------------------------------

    async def due(self) -> Due:
        found = await self._look()
        if found.lease_in_seconds is not None and found.lease_in_seconds < 0:
            if await self._claiming.value(work.TAKE_OVER, self._now(), work.INTERRUPTED):
                self._work_made()
            found = await self._look()
        return found.due

    async def _look(self) -> _Looked:
        rows = await self._claiming.fetch(work.DUE, self._now())
        lanes = [(in_ms, Lane(account, route, action)) for account, route, action, in_ms in rows if account is not None]
        lease = next((in_ms / 1000 for account, *_, in_ms in rows if account is None and in_ms is not None), None)
        later = [in_ms / 1000 for in_ms, _ in lanes if in_ms > 0]
        if lease is not None:
            later.append(max(lease + 0.001, 0.05))  # not at once where another gateway is just taking it over
        now = sorted(pair for pair in lanes if pair[0] <= 0)
        late_seconds = [-in_ms / 1000 for in_ms, _ in now]
        return _Looked(Due([lane for _, lane in now], min(later, default=None), late_seconds), lease)

    async def claim(
        self, wanted: Mapping[Lane, int], *, lease_seconds: float, rates: Sequence[SharedRate] = ()
    ) -> list[Claim]:
        lanes = {lane: count for lane, count in wanted.items() if count > 0}
        if not lanes:
            return []
        token = secrets.token_hex(8)
        return await work.claim(self._claiming, lanes, rates, token, int(lease_seconds * 1000), self._now())

    async def fetched(self, run_id: str) -> Fetched | None:
        return await work.fetched(self._fetching, run_id)

    async def keep_fetched(self, run_id: str, fetched: Fetched) -> Fetched:
        return await work.keep_fetched(self._fetching, run_id, fetched)

    async def gather(
        self, delivery_id: str, token: str, *, wait_seconds: float, every_seconds: float, most: int
    ) -> Gathered | float | None:
        wait_ms, every_ms = int(wait_seconds * 1000), int(every_seconds * 1000)
        return await digests.gather(self._fetching, delivery_id, token, wait_ms, every_ms, most, self._now())

    async def renew(self, claims: Sequence[tuple[str, str]], *, lease_seconds: float) -> set[str]:
        ids, tokens = [one for one, _ in claims], [token for _, token in claims]
        return set(await self._finishing.value(work.RENEW, self._now(), int(lease_seconds * 1000), ids, tokens))

    async def finish(self, delivery_id: str, token: str, ending: Outcome) -> bool:
        return await self._finishes.put((delivery_id, token, ending))

    async def _finish_batch(self, ended: Sequence[tuple[str, str, Outcome]]) -> Sequence[bool]:
        recorded, made_work = await work.finish(self._finishing, ended, self._now())
        if made_work:
            self._work_made()
        return recorded

    async def wait_for_work(self, timeout_seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(timeout_seconds, POLL_SECONDS)):
                await self._changed.wait()
        self._changed.clear()

    # -- connections and upkeep -------------------------------------------------------------------------------

    async def connections(self) -> Mapping[str, ConnectionStatus]:
        return await upkeep.connections(self._claiming, self._now())

    async def change_connection(self, name: str, version: int, change: ConnectionChange) -> ConnectionStatus | None:
        changed = await upkeep.change_connection(self._claiming, name, version, change, self._now())
        if changed is not None:
            if self._announcer is None:
                await self._announce_now()
            else:
                self._work_made()
        return changed

    async def mark(self, name: str, every_seconds: float) -> datetime:
        return moment(await digests.mark(self._fetching, name, int(every_seconds * 1000), self._now()))

    async def purge(
        self,
        *,
        retention_seconds: float,
        dead_retention_seconds: float | None,
        cursor: int = 0,
        limit: int = 100,
    ) -> Purged:
        return await upkeep.purge(self._purging, cursor, limit, retention_seconds, dead_retention_seconds, self._now())

    # -- sweeps through what is kept --------------------------------------------------------------------------

    async def contents(self, after: int, *, limit: int) -> ContentsPage:
        return await sweeps.contents(self._purging, after, limit)

    async def replace_contents(self, before: EventContents, after: EventContents) -> bool:
        return await sweeps.replace_contents(self._purging, before, after)

    async def replace_rejected(self, rejected_id: str, body: bytes) -> bool:
        return await sweeps.replace_rejected(self._purging, rejected_id, body)

    async def scrub(self) -> str | None:
        return sweeps.LEFT_TO_DO

    # -- gateways among themselves ----------------------------------------------------------------------------

    async def take_lease(self, name: str, holder: str, *, lease_seconds: float) -> bool:
        return await notes.take_lease(self._fetching, name, holder, int(lease_seconds * 1000), self._now())

    async def release_lease(self, name: str, holder: str) -> None:
        await notes.release_lease(self._fetching, name, holder)

    async def note(self, name: str) -> Note | None:
        return await notes.note(self._fetching, name, self._now())

    async def keep_note(self, name: str, value: Mapping[str, Any] | None) -> None:
        await notes.keep_note(self._fetching, name, value, self._now())

    # -- people -----------------------------------------------------------------------------------------------

    async def events(self, where: EventFilter, *, limit: int, newest_first: bool = True) -> list[Event]:
        terms = event_terms(where)
        order = "DESC" if newest_first else "ASC"
        sql = f"SELECT {EVENT_LISTED} FROM events WHERE {terms} ORDER BY seq {order} LIMIT {terms.mark(limit)}"
        return [event_of(row) for row in await self._people.fetch(sql, *terms.values)]

    async def event(self, event_id: str, account: str | None = None) -> list[Event]:
        terms = event_terms(EventFilter(ids=(event_id,), accounts=(account,) if account else ()))
        sql = f"SELECT {EVENT} FROM events WHERE {terms} ORDER BY seq"
        return [event_of(row) for row in await self._people.fetch(sql, *terms.values)]

    async def deliveries(self, where: DeliveryFilter, *, limit: int, newest_first: bool = True) -> list[Delivery]:
        terms = delivery_terms(where)
        order = "DESC" if newest_first else "ASC"
        sql = (
            f"SELECT {DELIVERY_LISTED} FROM deliveries d WHERE {terms} ORDER BY d.seq {order} LIMIT {terms.mark(limit)}"
        )
        return [delivery_of(row) for row in await self._people.fetch(sql, *terms.values)]

    async def delivery(self, delivery_id: str) -> tuple[Delivery, list[Attempt]] | None:
        rows = await self._people.fetch(f"SELECT {DELIVERY} FROM deliveries d WHERE d.id = $1", delivery_id)
        if not rows:
            return None
        attempts = await self._people.fetch(
            "SELECT number, started_at, duration_ms, outcome, error FROM attempts"
            " WHERE delivery_seq = $1 ORDER BY number",
            rows[0][0],
        )
        return delivery_of(rows[0]), [attempt_of(row) for row in attempts]

    async def retry(self, delivery_ids: Sequence[str]) -> Mapping[str, ChangeResult]:
        return await self._each(work.RETRY, delivery_ids)

    async def cancel(self, delivery_ids: Sequence[str], reason: str) -> Mapping[str, ChangeResult]:
        return await self._each(work.CANCEL, delivery_ids, work.text(reason))

    async def _each(self, sql: str, delivery_ids: Sequence[str], *more: str | None) -> dict[str, ChangeResult]:
        """A change by delivery; in parts, so that none holds its locks for long."""
        answers: dict[str, ChangeResult] = {}
        wanted = list(dict.fromkeys(delivery_ids))
        for start in range(0, len(wanted), MOST_CHANGED):
            part = wanted[start : start + MOST_CHANGED]
            reasons: list[str | None] = await self._people.value(sql, self._now(), part, *more)
            results = (DONE if reason is None else Refusal(reason) for reason in reasons)
            answers.update(zip(part, results, strict=True))
        await self._announce_now()
        return answers

    async def _announce_now(self) -> None:
        """For commands, which end at once."""
        self._changed.set()
        await self._people.fetch("SELECT pg_notify($1, '')", Announcer.channel(self.address))

    async def rejected(self, where: RejectedFilter, *, limit: int, newest_first: bool = True) -> list[RejectedRequest]:
        terms = rejected_terms(where)
        order = "DESC" if newest_first else "ASC"
        sql = f"SELECT {REJECTED_LISTED} FROM rejected WHERE {terms} ORDER BY seq {order} LIMIT {terms.mark(limit)}"
        return [rejected_of(row) for row in await self._people.fetch(sql, *terms.values)]

    async def rejected_request(self, rejected_id: str) -> RejectedRequest | None:
        rows = await self._people.fetch(f"SELECT {REJECTED} FROM rejected WHERE id = $1", rejected_id)
        return rejected_of(rows[0]) if rows else None

    async def forget_rejected(self, rejected_ids: Sequence[str]) -> int:
        return await postgres_rejected.forget(self._people, rejected_ids)

    async def waiting(self) -> Mapping[Lane, int]:
        rows = await self._people.fetch(work.WAITING)
        return {Lane(row[0], row[1], row[2]): row[3] for row in rows}

    async def counts(self) -> Mapping[str, int]:
        rows = await self._people.fetch(
            "SELECT state, count(*) FROM deliveries GROUP BY state"
            " UNION ALL SELECT 'events', count(*) FROM events WHERE seq > 0"
        )
        return {row[0]: row[1] for row in rows}

    async def status(self) -> Status:
        row = (
            await self._people.fetch(
                "SELECT (SELECT version_num FROM alembic_version),"
                " (SELECT min(created_at) FROM deliveries WHERE state = 'pending'),"
                f" ({SIZE})",
                self.address.schema,
            )
        )[0]
        return Status(self.address.shown, row[0], None if row[1] is None else moment(row[1]), row[2])


class _Looked:
    """What one look at the lanes found."""

    def __init__(self, due: Due, lease_in_seconds: float | None) -> None:
        self.due = due
        self.lease_in_seconds = lease_in_seconds  # until the first lease ends: negative where it has
