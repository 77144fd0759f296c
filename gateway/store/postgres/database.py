"""The schema on a PostgreSQL server: opened, brought up to date, closed; and one connection for each kind of work."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import asyncpg

from gateway.core.errors import StoreError, StoreMissing, StoreOutdated, StoreUnavailable
from gateway.store.migrations.runner import HEAD, READS_COMPRESSED, refuse_older, upgrade_postgresql
from gateway.store.postgres.connection import BUSY, FAILURES, TRIES, Address, PgConnection, Server, close, reason
from gateway.store.postgres.notify import Announcer

MIGRATION_PAUSE_SECONDS = 1.0
PEOPLE_SECONDS = 60.0  # a listing may look through many rows
CONSOLE_SECONDS = 15.0  # whoever looks at a page has gone by then
REFUSE_OLDER = "UPDATE facts SET value = greatest(value, $1) WHERE name = 'oldest_program'"


class PostgresDatabase:
    """What all parts of `PostgresStore` stand on."""

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
        for row in await self._people.fetch("SELECT value FROM facts WHERE name = 'copying_from'"):
            raise StoreUnavailable(
                f"{self.address.shown} holds an unfinished copy of {row['value']}; run `gateway db copy` again"
            )

    async def takes_compressed(self, *, begin: bool = False) -> bool:
        if begin:
            await self._people.fetch(REFUSE_OLDER, HEAD)
        # intake asks between two commits: not behind a listing of many seconds
        rows = await self._adding.fetch("SELECT value FROM facts WHERE name = 'oldest_program'")
        return bool(rows) and rows[0]["value"] >= READS_COMPRESSED

    async def close(self) -> None:
        announcer, self._announcer = self._announcer, None
        if announcer is not None:
            await announcer.stop()
        connections = (
            self._adding, self._claiming, self._finishing, self._fetching, self._people, self._console, self._purging,
        )  # fmt: skip
        for connection in connections:
            await connection.close()

    async def ping(self) -> None:
        # a standby gives out no transaction id; a server whose disk is full is often set to read only
        asked = "SELECT current_setting('transaction_read_only'), pg_current_xact_id()::text"
        if await self._people.value(asked) == "on":
            raise StoreUnavailable(f"{self.address.shown} only reads now: its transactions are set to read only")

    def _now(self) -> int | None:
        return self._clock() if self._clock is not None else None

    def _id_ms(self) -> int:
        return self._clock() if self._clock is not None else time.time_ns() // 1_000_000

    async def _announce(self) -> None:
        """Tells the worker here at once, and the other gateways: soon, and of a command, which ends at once, now."""
        self._changed.set()
        if self._announcer is not None:
            self._announcer.announce()
        else:
            await self._people.fetch("SELECT pg_notify($1, '')", Announcer.channel(self.address))
