"""Connections to PostgreSQL: where it is, how errors are told, and how soon one is asked again that did not answer."""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import asyncpg

from gateway.core.errors import StoreError, StoreUnavailable, UsageError

CONNECT_SECONDS = 5.0
CALL_SECONDS = 8.0  # longer than the server's own limit, for a network that is silent
STATEMENT_SECONDS = 5.0
LONGEST_BACKOFF_SECONDS = 2.0
TRIES = 10  # of what lost to another transaction

DEFAULT_SCHEMA = "gateway"
_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,62}")
FAILURES = (
    OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what asyncpg says where the server ended a session that was idle
)  # fmt: skip
"""Whatever asking PostgreSQL may raise."""
_AGAIN = ("40001", "40P01")  # serialization failure (a row moved to the other partition), deadlock
BUSY = (*_AGAIN, "55P03")  # for a change of the schema also: others held a table for too long
_PASSING = (  # classes of SQLSTATE that may be over soon, or once a person has mended the server
    "08", "25006", "28", "3D", "53", "54", "55P03", "57", "58", "F0", "XX",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Address:
    """Where the store is. Raises UsageError on what is not a PostgreSQL URL."""

    dsn: str  # as asyncpg takes it
    schema: str
    shown: str  # the URL without a password, for people
    connect_seconds: float

    @property
    def for_libpq(self) -> str:
        """The URL for PostgreSQL's own programs: without a password, and without `schema=`, which they do not know."""
        parts = urlsplit(self.shown)
        pairs = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] != "schema"]
        query = urlencode(pairs, quote_via=quote, safe="/,:")
        return f"postgresql://{parts.netloc}{parts.path}" + (f"?{query}" if query else "")

    @staticmethod
    def parse(url: str) -> Address:
        """From `store.url`: libpq's form, and `schema=` for the schema that holds the tables."""
        parts = urlsplit(url)
        pairs = parse_qsl(parts.query, keep_blank_values=True)
        ours = {name: value for name, value in pairs if name in ("schema", "connect_timeout")}
        schema = ours.get("schema", DEFAULT_SCHEMA)
        if not _SCHEMA.fullmatch(schema):
            raise UsageError("store.url: schema= takes lower-case letters, digits and _, such as schema=gateway")
        try:
            connect_seconds = float(ours.get("connect_timeout", CONNECT_SECONDS))
        except ValueError:
            raise UsageError("store.url: connect_timeout= takes a number of seconds") from None
        kept = [(name, value) for name, value in pairs if name not in ours]
        query = urlencode(kept, quote_via=quote, safe="/,:")
        user, _, hosts = parts.netloc.rpartition("@")
        name = user.partition(":")[0]
        netloc = f"{name}@{hosts}" if name else hosts
        public = [(key, value) for key, value in pairs if "password" not in key]
        return Address(
            dsn=urlunsplit(("postgresql", parts.netloc, parts.path, query, "")),
            schema=schema,
            shown=urlunsplit(("postgresql", netloc, parts.path, urlencode(public, quote_via=quote, safe="/,:"), "")),
            connect_seconds=connect_seconds,
        )


class Server:
    """Opens connections, and after one could not be opened waits a little longer each time before it tries again:
    meanwhile whoever asks is told at once.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._failures = 0
        self._closed_until = 0.0
        self._why = ""

    async def connect(self, *, statement_seconds: float = STATEMENT_SECONDS) -> asyncpg.Connection[asyncpg.Record]:
        """A connection that works on the schema. Raises StoreUnavailable, UsageError (a URL that cannot be right)."""
        if time.monotonic() < self._closed_until:
            raise StoreUnavailable(self._why)
        try:
            connection = await self.open(statement_seconds)
        except StoreUnavailable as error:
            self._failures += 1
            self._why = str(error)
            self._closed_until = time.monotonic() + min(LONGEST_BACKOFF_SECONDS, 0.05 * 2**self._failures)
            raise
        self._failures = 0
        return connection

    async def open(self, statement_seconds: float = 0) -> asyncpg.Connection[asyncpg.Record]:
        """A connection, without regard to earlier failures. 0 seconds: statements may take as long as they need."""
        try:
            connection = await asyncpg.connect(self.address.dsn, timeout=self.address.connect_seconds)
        except (asyncpg.ClientConfigurationError, ssl.SSLError, ValueError) as error:
            if isinstance(error, ssl.SSLError):
                raise StoreUnavailable(f"cannot reach PostgreSQL: TLS: {error.reason}") from None
            raise UsageError("store.url: PostgreSQL does not take this URL; see its documentation, 34.1.1.2") from None
        except FAILURES as error:
            raise StoreUnavailable(f"cannot reach PostgreSQL: {reason(error)}") from None
        # Not given at connecting: PgBouncer refuses start-up parameters that it does not know.
        # An empty table that fills fast looks small to the planner until it is analysed: indexes are always right here.
        try:
            await connection.execute(
                f'SET search_path TO "{self.address.schema}"; SET statement_timeout = {int(statement_seconds * 1000)};'
                " SET enable_seqscan = off; SET jit = off; SET idle_in_transaction_session_timeout = 60000;"
                " SELECT set_config('synchronous_commit', 'on', false)"
                " WHERE current_setting('synchronous_commit') = 'off'",
                timeout=self.address.connect_seconds,
            )
        except BaseException as error:  # a cancelled one too: nobody else knows of the connection
            connection.terminate()
            if isinstance(error, FAILURES):
                raise StoreUnavailable(f"cannot reach PostgreSQL: {reason(error)}") from None
            raise
        return connection

    async def refuse_transaction_pooling(self) -> None:
        """Raises StoreError where a pooler lends one server session to several clients in turn: what a session keeps
        (what it listens to, its prepared statements, its search path) gets lost there.
        """
        first = await self.open()
        try:
            mine = await first.fetchval("SELECT pg_backend_pid()")
            second = await self.open()
            try:
                theirs = await second.fetchval("SELECT pg_backend_pid()")
            finally:
                await close(second)
        except FAILURES as error:
            raise StoreUnavailable(f"cannot reach PostgreSQL: {reason(error)}") from None
        finally:
            await close(first)
        if mine == theirs:
            raise StoreError(
                "store.url leads to a pooler in transaction mode, where announcements of work and prepared statements "
                "get lost; use session mode, or PostgreSQL itself"
            )


class PgConnection:
    """One connection, opened when it is first needed and again after it was lost; one statement at a time."""

    def __init__(self, server: Server, *, statement_seconds: float = STATEMENT_SECONDS) -> None:
        self._server = server
        self._statement_seconds = statement_seconds
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._lock = asyncio.Lock()
        self._closed = False

    async def fetch(self, sql: str, *args: Any) -> list[asyncpg.Record]:
        """The rows of one statement, which is a transaction of its own. Raises StoreUnavailable, StoreError."""
        async with self._lock:
            for tried in range(TRIES):
                if self._closed:
                    raise StoreUnavailable("the store is closed")
                connection = self._connection
                if connection is None or connection.is_closed():
                    connection = self._connection = await self._server.connect(
                        statement_seconds=self._statement_seconds
                    )
                try:
                    timeout = self._statement_seconds + CALL_SECONDS - STATEMENT_SECONDS
                    return await connection.fetch(sql, *args, timeout=timeout)
                except asyncpg.PostgresError as error:
                    if error.sqlstate in _AGAIN and tried + 1 < TRIES:
                        continue
                    raise self._told(error) from None
                except FAILURES as error:
                    if isinstance(error, ValueError):  # asyncpg's own: a value that it cannot send
                        raise StoreError(f"PostgreSQL: {type(error).__name__}") from None
                    self._drop()
                    raise StoreUnavailable(f"PostgreSQL: {reason(error)}") from None
                except asyncio.CancelledError:
                    self._drop()  # what it was doing is not known
                    raise
        raise AssertionError("unreachable")

    async def value(self, sql: str, *args: Any) -> Any:
        """The first column of the first row."""
        return (await self.fetch(sql, *args))[0][0]

    def _told(self, error: asyncpg.PostgresError) -> StoreError:
        """The error as ours; a server that cannot write now, or ends the session, gets a new connection next."""
        state = error.sqlstate or "XX"
        if state[:2] in ("08", "57", "58", "XX") or state == "25006":
            if state != "57014":  # a statement that took too long has ended alone
                self._drop()
            return StoreUnavailable(f"PostgreSQL: {reason(error)}")
        if state.startswith(_PASSING) or state in _AGAIN:
            return StoreUnavailable(f"PostgreSQL: {reason(error)}")
        return StoreError(f"PostgreSQL: {reason(error)}")

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):  # it is given up, whatever state it is in
                connection.terminate()

    async def close(self) -> None:
        """Lets a statement under way end, then closes. May be called twice."""
        async with self._lock:
            self._closed = True
            connection, self._connection = self._connection, None
            if connection is not None:
                await close(connection)


async def close(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """Closes, politely where the server answers."""
    try:
        await connection.close(timeout=2)
    except FAILURES:
        connection.terminate()


def reason(error: BaseException) -> str:
    """What PostgreSQL or the network said: the message alone, for details could hold values."""
    if isinstance(error, TimeoutError):
        return "it does not answer"
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    return str(error.args[0]) if error.args else type(error).__name__
