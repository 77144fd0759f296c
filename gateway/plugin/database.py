"""PUBLIC: how an action reaches a database: an engine for a plain URL, and what each of its errors means.

Imports SQLAlchemy, which is slow: import this module inside of functions, so that `gateway check` does without.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from sqlalchemy import event, exc
from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from gateway.core.masking import MASK, url_secrets
from gateway.plugin.action import Reject
from gateway.plugin.probe import Finding

__all__ = [
    "DATABASE_FIX",
    "DatabaseFailure",
    "answering",
    "failure_of",
    "missing_file",
    "open_engine",
    "redacted",
    "told",
]

DATABASE_FIX = "look at the connection's url, the rights of its user, and whether the database is up"
_CONNECT_SECONDS = 10.0
_SQLITE_BUSY_MS = 5000
_DRIVERS = ("asyncpg", "asyncmy", "aiosqlite", "sqlite3")
_NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL", "mysql": "MySQL"}
_ERROR_CHARACTERS = 400
# libpq's parameters that asyncpg would send to the server, which refuses them
_LIBPQ_ONLY = frozenset(
    {"connect_timeout", "channel_binding", "gssencmode", "keepalives", "keepalives_idle", "keepalives_interval"}
    | {"keepalives_count", "tcp_user_timeout", "requirepeer", "require_auth", "sslcompression", "sslsni"}
    | {"load_balance_hosts", "fallback_application_name"}
)
# connection lost or refused, logins, deadlocks, serialization, resources, locks, shutdown, system errors
_PG_RETRY = ("08", "28", "3D", "40", "53", "55006", "55P03", "57", "58", "XX", "25006")
_MYSQL_RETRY = frozenset(
    {1020, 1021, 1028, 1040, 1041, 1042, 1043, 1044, 1045, 1049, 1053, 1129, 1130, 1152, 1153, 1158, 1159, 1160, 1161}
    | {1203, 1205, 1213, 1226, 1290, 1317, 1614, 1689, 1836, 1969, 2002, 2003, 2005, 2006, 2013, 2055, 3024}
)
_SQLITE_REJECT = frozenset({1, 18, 19, 20, 23, 25, 26})  # ERROR, TOOBIG, CONSTRAINT, MISMATCH, AUTH, RANGE, NOTADB


def _json(value: Any) -> str:
    return json.dumps(value, default=_json_other, ensure_ascii=False, separators=(",", ":"))


def _json_other(value: Any) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def open_engine(url: str, base_folder: str, concurrency: int) -> AsyncEngine:
    """An engine for a URL of a DatabaseConnection. Contacts nothing. Raises Reject where the URL cannot be used."""
    scheme = url.partition("://")[0]
    common: dict[str, Any] = {"hide_parameters": True, "json_serializer": _json}
    if scheme == "sqlite":
        return _sqlite(url, base_folder, common)
    common |= {"pool_size": concurrency, "max_overflow": 0, "pool_pre_ping": True, "pool_recycle": 1800}
    try:
        return _postgresql(url, common) if scheme.startswith("postgres") else _mysql(url, common)
    except (ValueError, exc.ArgumentError) as error:
        raise Reject(f"the connection's url cannot be read: {redacted(str(error), url)}") from None


def _sqlite(url: str, base_folder: str, common: dict[str, Any]) -> AsyncEngine:
    path = Path(base_folder, url.removeprefix("sqlite:///").partition("?")[0])
    # one connection: SQLite has one writer at a time, and a queue here is fairer than its polling
    engine = create_async_engine(
        URL.create("sqlite+aiosqlite", database=str(path)), pool_size=1, max_overflow=0, **common
    )

    @event.listens_for(engine.sync_engine, "do_connect")
    def make_folder(*_: Any) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)

    @event.listens_for(engine.sync_engine, "connect")
    def configure(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # transactions are begun below, not guessed by the driver
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {_SQLITE_BUSY_MS}")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Any) -> None:
        # a deferred transaction that reads, then writes, fails where another process wrote in between
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _postgresql(url: str, common: dict[str, Any]) -> AsyncEngine:
    parts = urlsplit(url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    seconds = next((float(value) for name, value in query if name == "connect_timeout"), 0.0) or _CONNECT_SECONDS
    kept = urlencode([(name, value) for name, value in query if name not in _LIBPQ_ONLY])
    dsn = urlunsplit(("postgresql", parts.netloc, parts.path, kept, ""))
    if not parts.netloc and dsn.startswith("postgresql:/") and not dsn.startswith("postgresql://"):
        dsn = dsn.replace("postgresql:/", "postgresql:///", 1)

    async def connect(*_: Any, **__: Any) -> Any:
        # SQLAlchemy's own reading of the URL refuses sslmode, options, application_name; asyncpg's takes them
        import asyncpg

        return await asyncpg.connect(dsn, timeout=seconds)

    return create_async_engine("postgresql+asyncpg://", async_creator=connect, **common)


def _mysql(url: str, common: dict[str, Any]) -> AsyncEngine:
    parsed = make_url(url)
    query = {name.replace("-", "_"): value for name, value in parsed.query.items()}
    # without CLIENT_FOUND_ROWS, an upsert that changes nothing counts 0, which tells a refused one
    arguments: dict[str, Any] = {
        "client_flag": 0,
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


def redacted(text: str, url: str) -> str:
    """A message without the URL or any password that is in it."""
    for secret in sorted({url, *url_secrets(url)} - {""}, key=len, reverse=True):  # however short
        text = text.replace(secret, MASK)
    return text


@dataclass(frozen=True, slots=True)
class DatabaseFailure:
    """What a failure of the database means for the delivery. The text has no statement, no values and no password."""

    may_pass: bool  # worth another try: away, locked, full, shutting down, a deadlock; else the database refuses it
    text: str


def failure_of(error: Exception, url: str) -> DatabaseFailure | None:
    """What an engine of `open_engine` raised, or None where it is no failure of a database."""
    known = (exc.SQLAlchemyError, OSError, ValueError, OverflowError)  # drivers raise the last two about a value
    if not isinstance(error, known) and type(error).__module__.partition(".")[0] not in _DRIVERS:
        return None
    return DatabaseFailure(_may_pass(error, _cause(error)), told(error, url))


def told(error: Exception, url: str) -> str:
    """What a database or its driver says, without statement, values and password."""
    return redacted(_said(_cause(error)), url)[:_ERROR_CHARACTERS]


def missing_file(engine: AsyncEngine) -> Path | None:
    """The file of an SQLite database that is not there yet: connecting would make it. None: there is one to ask."""
    file = Path(engine.url.database) if engine.dialect.name == "sqlite" and engine.url.database else None
    return file if file is not None and not file.exists() else None


async def answering(engine: AsyncEngine, url: str) -> Finding:
    """For a probe: whether the database answers, and its version."""
    try:
        async with engine.connect():
            return Finding.good(f"answers: {_version(engine)}")
    except Exception as error:  # a driver may raise anything; all of it means that the database cannot be used
        return Finding.bad(f"does not answer: {told(error, url)}", DATABASE_FIX)


def _version(engine: AsyncEngine) -> str:
    is_mariadb = getattr(engine.dialect, "is_mariadb", False)
    name = "MariaDB" if is_mariadb else _NAMES.get(engine.dialect.name, engine.dialect.name)
    numbers = [part for part in getattr(engine.dialect, "server_version_info", None) or () if isinstance(part, int)]
    return f"{name} {'.'.join(map(str, numbers))}" if numbers else name


def _cause(error: Exception) -> BaseException:
    """SQLAlchemy wraps its adapter's error, which wraps the driver's: the innermost speaks plainest."""
    if isinstance(error, exc.DBAPIError) and error.orig is not None:
        return error.orig.__cause__ or error.orig
    return error


def _said(cause: BaseException) -> str:
    code = _mysql_code(cause)
    if code is not None and len(cause.args) > 1:
        text = f"{cause.args[1]} (error {code})"
    else:
        text = str(getattr(cause, "message", None) or cause)  # asyncpg's str() adds the row itself as DETAIL
    if isinstance(cause, TimeoutError) and not text:
        text = "no answer in time"
    return " ".join(text.split()) or type(cause).__name__


def _mysql_code(cause: BaseException) -> int | None:
    is_mysql = type(cause).__module__.partition(".")[0] == "asyncmy"
    return cause.args[0] if is_mysql and cause.args and isinstance(cause.args[0], int) else None


def _may_pass(error: Exception, cause: BaseException) -> bool:
    state, sqlite_code, mysql_code = (
        getattr(cause, "sqlstate", None), getattr(cause, "sqlite_errorcode", None), _mysql_code(cause),
    )  # fmt: skip
    if isinstance(cause, OSError):
        return True
    if isinstance(state, str):
        return state.startswith(_PG_RETRY)
    if isinstance(sqlite_code, int):
        return sqlite_code & 0xFF not in _SQLITE_REJECT
    if mysql_code is not None:
        return mysql_code in _MYSQL_RETRY
    if isinstance(error, exc.DBAPIError) and error.connection_invalidated:
        return True
    # what is left are the drivers' own complaints: about a value before anything was sent, or about the connection
    if isinstance(cause, (ValueError, TypeError, OverflowError)):
        return False
    return not isinstance(error, (exc.ProgrammingError, exc.DataError, exc.IntegrityError, exc.CompileError))
