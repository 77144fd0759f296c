"""PUBLIC: how an action reaches a database: an engine for a plain URL, and what each of its errors means.

Imports SQLAlchemy, which is slow: import this module inside of functions, so that `gateway check` does without.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from sqlalchemy import event, exc
from sqlalchemy.engine import URL, ExceptionContext, make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.util import await_only

from gateway.core.url_credentials import without_credentials
from gateway.plugin.action import Reject
from gateway.plugin.database_errors import DatabaseFailure, failure_of, is_read_only, note_argument, told
from gateway.plugin.probe import Finding

__all__ = [
    "DATABASE_FIX",
    "DatabaseFailure",
    "answering",
    "answers",
    "failure_of",
    "missing_file",
    "open_engine",
    "told",
]

DATABASE_FIX = "look at the connection's url, the rights of its user, and whether the database is up"
_CONNECT_SECONDS = 10.0
_SQLITE_BUSY_MS = 5000
_CLIENT_FOUND_ROWS = 2  # of MySQL's protocol
# what tells whether a session could write: PostgreSQL's answer, as libpq's target_session_attrs asks it; MySQL refuses
_WRITABLE = {"postgresql": "SHOW transaction_read_only", "mysql": "START TRANSACTION READ WRITE"}
_NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL", "mysql": "MySQL"}
# libpq's parameters that asyncpg would send to the server, which refuses them
_LIBPQ_ONLY = frozenset(
    {"connect_timeout", "channel_binding", "gssencmode", "keepalives", "keepalives_idle", "keepalives_interval"}
    | {"keepalives_count", "tcp_user_timeout", "requirepeer", "require_auth", "sslcompression", "sslsni"}
    | {"load_balance_hosts", "fallback_application_name"}
)


def _json(value: Any) -> str:
    return json.dumps(value, default=_json_other, ensure_ascii=False, separators=(",", ":"))


def _json_other(value: Any) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def open_engine(
    url: str, base_folder: str, concurrency: int, *, counts_found: bool = False, is_read_only: bool = False
) -> AsyncEngine:
    """An engine for a URL, such as `DatabaseConnection.address()`. Contacts nothing. Raises Reject where the URL cannot
    be used.

    MySQL counts rows that an UPDATE finds as they are already only with `counts_found`; the others always do. With
    `is_read_only` a file of SQLite is neither made nor locked nor written to; on the others it changes nothing. A
    session that finds its database read-only is dropped, with all its pool: another server may take writes by now.
    """
    scheme = url.partition("://")[0]
    common: dict[str, Any] = {"hide_parameters": True, "json_serializer": _json}
    if scheme == "sqlite":
        return _sqlite(url, base_folder, common, is_read_only=is_read_only)
    common |= {"pool_size": concurrency, "max_overflow": 0, "pool_pre_ping": True, "pool_recycle": 1800}
    try:
        is_postgresql = scheme.startswith("postgres")
        engine = _postgresql(url, common) if is_postgresql else _mysql(url, common, counts_found=counts_found)
    except (ValueError, exc.ArgumentError) as error:
        raise Reject(f"the connection's url cannot be read: {without_credentials(str(error), url)}") from None
    event.listen(engine.sync_engine, "handle_error", _weigh)
    return engine


def _weigh(context: ExceptionContext) -> None:
    """For each error of an engine."""
    if is_read_only(context.original_exception):
        context.is_disconnect = True
    note_argument(context.original_exception, getattr(context.execution_context, "compiled", None))


def _sqlite(url: str, base_folder: str, common: dict[str, Any], *, is_read_only: bool) -> AsyncEngine:
    path = Path(base_folder, url.removeprefix("sqlite:///").partition("?")[0])
    # one connection: SQLite has one writer at a time, and a queue here is fairer than its polling
    engine = create_async_engine(
        URL.create("sqlite+aiosqlite", database=str(path)), pool_size=1, max_overflow=0, **common
    )

    @event.listens_for(engine.sync_engine, "do_connect")
    def make_folder(*_: Any) -> None:
        if is_read_only and not path.exists():
            raise Reject(f"there is no file {path.name} yet: nothing was written to that database")
        path.parent.mkdir(parents=True, exist_ok=True)

    @event.listens_for(engine.sync_engine, "connect")
    def configure(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # transactions are begun below, not guessed by the driver
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {_SQLITE_BUSY_MS}")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute(f"PRAGMA query_only = {'ON' if is_read_only else 'OFF'}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Any) -> None:
        # a deferred transaction that reads, then writes, fails where another process wrote in between
        connection.exec_driver_sql("BEGIN" if is_read_only else "BEGIN IMMEDIATE")

    return engine


def _connecting(url: str) -> Callable[..., Awaitable[Any]]:
    """How one of asyncpg's connections is made, with parameters of its startup packet."""
    parts = urlsplit(url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    seconds = next((float(value) for name, value in query if name == "connect_timeout"), 0.0) or _CONNECT_SECONDS
    kept = urlencode([(name, value) for name, value in query if name not in _LIBPQ_ONLY])
    login, _, servers = parts.netloc.rpartition("@")
    user, _, password = map(unquote, login.partition(":"))
    # without its login: the driver's errors show parts of a URL that it cannot read
    dsn = f"postgresql://{servers}{parts.path}" + (f"?{kept}" if kept else "")

    async def connect(**settings: str) -> Any:
        # SQLAlchemy's own reading of the URL refuses sslmode, options, application_name; asyncpg's takes them
        import asyncpg

        # its own cache of prepared statements, which SQLAlchemy does not need, would break behind a pooler
        return await asyncpg.connect(
            dsn, user=user or None, password=password or None, timeout=seconds, statement_cache_size=0,
            server_settings=settings or None,
        )  # fmt: skip

    return connect


def _postgresql(url: str, common: dict[str, Any]) -> AsyncEngine:
    connect = _connecting(url)
    engine = create_async_engine("postgresql+asyncpg://", **common)

    @event.listens_for(engine.sync_engine, "do_connect")
    def connected(dialect: Any, *_: Any) -> Any:
        raw = await_only(connect())
        try:
            is_pooled = await_only(behind_pooler(raw))
        except BaseException:
            raw.terminate()
            raise

        async def opened() -> Any:
            return raw

        # a pooler lends a session for one transaction: a statement prepared there is another's the next time, or taken
        unnamed: dict[str, Any] = {"prepared_statement_cache_size": 0, "prepared_statement_name_func": lambda: ""}
        return dialect.dbapi.connect(async_creator_fn=opened, **(unnamed if is_pooled else {}))

    return engine


async def behind_pooler(connection: Any) -> bool:
    """Whether one of asyncpg's connections leads to a pooler such as PgBouncer, which invents the process number that a
    client is told at its login.
    """
    return bool(connection.get_server_pid() != await connection.fetchval("SELECT pg_backend_pid()"))


def _mysql(url: str, common: dict[str, Any], *, counts_found: bool) -> AsyncEngine:
    parsed = make_url(url)
    query = {name.replace("-", "_"): value for name, value in parsed.query.items()}
    # without CLIENT_FOUND_ROWS, an upsert that changes nothing counts 0, which tells a refused one
    arguments: dict[str, Any] = {
        "client_flag": _CLIENT_FOUND_ROWS if counts_found else 0,
        "connect_timeout": int(_CONNECT_SECONDS),
        # times are bound as UTC; a server that is not strict would cut values short and say nothing
        "init_command": "SET time_zone = '+00:00', sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')",
    }
    context = _mysql_tls({name: str(query.pop(name)) for name in ("ssl_mode", "sslmode", "ssl_ca") if name in query})
    if context:
        arguments["ssl"] = context
    return create_async_engine(
        parsed.set(drivername="mysql+asyncmy", query=query), connect_args=arguments, isolation_level="READ COMMITTED",
        **common,
    )  # fmt: skip


def _mysql_tls(options: Mapping[str, str]) -> ssl.SSLContext | None:
    mode = (options.get("ssl_mode") or options.get("sslmode") or "").lower().replace("-", "_")
    if mode in ("", "disabled", "disable", "preferred", "prefer") and "ssl_ca" not in options:
        return None
    if mode not in ("", "required", "require", "verify_ca", "verify_identity", "verify_full"):
        raise ValueError("ssl_mode is one of disabled, required, verify_ca, verify_identity")
    context = ssl.create_default_context(cafile=options.get("ssl_ca"))
    context.check_hostname = mode not in ("required", "require", "verify_ca")
    if mode in ("required", "require") and "ssl_ca" not in options:
        context.verify_mode = ssl.CERT_NONE
    return context


def missing_file(engine: AsyncEngine) -> Path | None:
    """The file of an SQLite database that is not there yet: connecting would make it. None: there is one to ask."""
    file = Path(engine.url.database) if engine.dialect.name == "sqlite" and engine.url.database else None
    return file if file is not None and not file.exists() else None


async def answers(engine: AsyncEngine, *, is_writing: bool) -> bool:
    """Whether a database gives a session, which could write where `is_writing`. Changes nothing."""
    ask = _WRITABLE.get(engine.dialect.name, "SELECT 1") if is_writing else "SELECT 1"
    try:
        async with engine.connect() as connection:  # SQLite's transaction begins as one that writes
            answer = await connection.exec_driver_sql(ask)
            if is_read_only := answer.returns_rows and answer.scalar() == "on":
                await connection.invalidate()  # the next session may lead to another server
            return not is_read_only
    except Exception:  # a driver may raise anything
        return False


async def answering(engine: AsyncEngine, url: str) -> Finding:
    """For a probe: whether the database answers, and its version."""
    try:
        async with engine.connect() as connection:
            return Finding.good(f"answers: {_version(engine)}{await _pooler(connection, url)}")
    except Exception as error:  # a driver may raise anything; all of it means that the database cannot be used
        return Finding.bad(f"does not answer: {told(error, url)}", DATABASE_FIX)


async def _pooler(connection: AsyncConnection, url: str) -> str:
    """Which pooler stands before PostgreSQL, in words that follow its version; empty: none."""
    if connection.dialect.name != "postgresql":
        return ""
    raw: Any = (await connection.get_raw_connection()).driver_connection
    if not await behind_pooler(raw):
        return ""
    return f", behind {'PgBouncer' if await _is_pgbouncer(url) else 'a pooler'}"


async def _is_pgbouncer(url: str) -> bool:
    """It alone refuses, in words of its own, a parameter that it does not know; a server and other poolers take such a
    one, which only stands in the session: https://www.pgbouncer.org/config.html#ignore_startup_parameters
    """
    try:
        connection = await _connecting(url)(**{"gateway.looks": "on"})
    except Exception as error:  # a driver may raise anything: then it is not known
        return "unsupported startup parameter" in str(error)
    await connection.close()
    return False


def _version(engine: AsyncEngine) -> str:
    is_mariadb = getattr(engine.dialect, "is_mariadb", False)
    name = "MariaDB" if is_mariadb else _NAMES.get(engine.dialect.name, engine.dialect.name)
    numbers = [part for part in getattr(engine.dialect, "server_version_info", None) or () if isinstance(part, int)]
    return f"{name} {'.'.join(map(str, numbers))}" if numbers else name
