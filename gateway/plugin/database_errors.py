"""What a database's errors mean for a delivery, and what may be told of them: never a value, a statement or a password.

Imports SQLAlchemy, which is slow; `gateway.plugin.database` has what is public of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import exc

from gateway.core.masking import MASK
from gateway.core.url_credentials import without_credentials
from gateway.plugin.quoting import quoted

_DRIVERS = ("asyncpg", "asyncmy", "aiosqlite", "sqlite3")
_ERROR_CHARACTERS = 400
_SHORTEST_VALUE = 3  # a shorter one would hide parts of words
# connection lost or refused, logins, deadlocks, serialization, resources, locks, shutdown, system errors; 26000 and
# 42P05: a pooler has lent the session of somebody else, whose prepared statements are others
_PG_RETRY = ("08", "28", "3D", "40", "53", "55006", "55P03", "57", "58", "XX", "25006", "26000", "42P05")
_MYSQL_RETRY = frozenset(
    {1020, 1021, 1028, 1040, 1041, 1042, 1043, 1044, 1045, 1049, 1053, 1129, 1130, 1152, 1153, 1158, 1159, 1160, 1161}
    | {1203, 1205, 1213, 1226, 1290, 1317, 1614, 1689, 1836, 1969, 2002, 2003, 2005, 2006, 2013, 2055, 3024}
)
# connections, shutdown, too many sessions; not MySQL's 2006 and 2013: so it answers a packet that is too large as well
_PG_AWAY = ("08", "57P", "53300")
_MYSQL_AWAY = frozenset({1040, 1053, 1203, 2002, 2003, 2005})
_SQLITE_REJECT = frozenset({1, 18, 19, 20, 23, 25, 26})  # ERROR, TOOBIG, CONSTRAINT, MISMATCH, AUTH, RANGE, NOTADB
_SQLITE_READ_ONLY = 8
_SQLITE_FOREIGN_KEY = 787  # SQLITE_CONSTRAINT_FOREIGNKEY
# a standby or a server that is being switched over: MySQL's --read-only and --super-read-only, InnoDB read-only
_READ_ONLY: frozenset[Any] = frozenset({"25006", 1290, 1836})
_MISSING_PARENT: frozenset[Any] = frozenset({"23503", 1216, 1452})
_ARGUMENT = re.compile(r"invalid input for query argument \$(\d+)")  # asyncpg's, before anything is sent
_MYSQL_VALUES = (  # MySQL and MariaDB put values, and the driver's statement, into these places of their messages
    (re.compile(r"Duplicate entry '.*' for key", re.DOTALL), "Duplicate entry for key"),
    (re.compile(r": '.*'(?= for )", re.DOTALL), ""),
    (re.compile(r": '.*'(?= at row|$)", re.DOTALL), ""),
    (re.compile(r" (near|in) ['\"(].*?(?= at (?:line|row) \d+$|$)", re.DOTALL), ""),
)
_ARGUMENT_NOTE = "argument: "


@dataclass(frozen=True, slots=True)
class DatabaseFailure:
    """What a failure of the database means for the delivery. The text has no statement, no values and no password."""

    may_pass: bool  # worth another try: away, locked, full, shutting down, a deadlock; else the database refuses it
    text: str
    is_away: bool = False  # for everybody: not reached, shutting down, full of sessions, or taking no writes now
    is_read_only: bool = False  # it takes no writes now: a standby, or one that is being switched over
    is_missing_parent: bool = False  # a foreign key leads to a row that is not there (yet)


def failure_of(error: Exception, url: str, values: Iterable[Any] = ()) -> DatabaseFailure | None:
    """What an engine of `open_engine` raised, or None where it is no failure of a database. `values` are those that
    were bound, which a trigger's or a driver's own text may hold.
    """
    known = (exc.SQLAlchemyError, OSError, ValueError, OverflowError)  # drivers raise the last two about a value
    if not isinstance(error, known) and type(error).__module__.partition(".")[0] not in _DRIVERS:
        return None
    code, sqlite_code = code_of(error), getattr(_cause(error), "sqlite_errorcode", None) or 0
    is_read_only = code in _READ_ONLY or sqlite_code & 0xFF == _SQLITE_READ_ONLY
    return DatabaseFailure(
        _may_pass(error, _cause(error)),
        told(error, url, values),
        is_away=is_read_only or _is_away(error, _cause(error), code),
        is_read_only=is_read_only,
        is_missing_parent=code in _MISSING_PARENT or sqlite_code == _SQLITE_FOREIGN_KEY,
    )


def told(error: Exception, url: str, values: Iterable[Any] = ()) -> str:
    """What a database or its driver says, without statement, values and password."""
    return quoted(without_credentials(_said(error, values), url), _ERROR_CHARACTERS)


def is_read_only(error: BaseException | None) -> bool:
    """Whether a database says that it takes no writes now."""
    return error is not None and code_of(error) in _READ_ONLY


def note_argument(error: BaseException, statement: Any) -> None:
    """Keeps with asyncpg's complaint about the n-th argument what that is called in the statement, a compiled one."""
    match = _ARGUMENT.search(str(error))
    names = getattr(statement, "positiontup", None) or ()
    if match is not None and 0 < int(match[1]) <= len(names):
        error.add_note(f"{_ARGUMENT_NOTE}{names[int(match[1]) - 1]}")


def code_of(error: BaseException) -> str | int | None:
    """PostgreSQL's SQLSTATE or MySQL's number, where it has one."""
    cause = _cause(error)
    if (number := _mysql_code(cause)) is not None:  # which has a SQLSTATE too, but a coarse one
        return number
    state = getattr(cause, "sqlstate", None)
    return state if isinstance(state, str) else None


def _cause(error: BaseException) -> BaseException:
    """SQLAlchemy wraps its adapter's error, which wraps the driver's: the innermost speaks plainest."""
    if isinstance(error, exc.StatementError) and error.orig is not None:
        error = error.orig
    is_adapters = type(error).__module__.partition(".")[0] == "sqlalchemy"
    return error.__cause__ if is_adapters and error.__cause__ is not None else error


def _said(error: BaseException, values: Iterable[Any]) -> str:
    cause, code = _cause(error), code_of(error)
    if isinstance(code, int) and len(cause.args) > 1:
        text = str(cause.args[1])
        for pattern, instead in _MYSQL_VALUES:
            text = pattern.sub(instead, text)
        text = f"{text} (error {code})"
    elif isinstance(cause, exc.SQLAlchemyError):
        text = str(cause.args[0]) if cause.args else ""  # its str() adds the statement
    else:
        text = str(getattr(cause, "message", None) or cause)  # asyncpg's str() adds the row itself as DETAIL
    if _ARGUMENT.search(text):
        return _of_argument(error)
    if isinstance(code, str) and code.startswith("22"):  # data exceptions: what is quoted is the value
        text = re.sub('".*"', MASK, text, flags=re.DOTALL)
    elif code is None or code in ("P0001", 1644):  # drivers, and triggers in words of their own
        text = _without_values(text, values)
    if isinstance(cause, TimeoutError) and not text:
        text = "no answer in time"
    return text.strip() or type(cause).__name__


def _of_argument(error: BaseException) -> str:
    orig = getattr(error, "orig", None) or error
    names = [note.removeprefix(_ARGUMENT_NOTE) for note in getattr(orig, "__notes__", ())]
    return f"the value for {names[0] if names else 'one of its columns'} is not of the type that is asked for there"


def _without_values(text: str, values: Iterable[Any]) -> str:
    parts = {str(part) for value in values for part in _parts(value)}
    for part in sorted(parts, key=len, reverse=True):
        if len(part) >= _SHORTEST_VALUE:
            text = text.replace(part, MASK)
    return text


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return [part for item in value.values() for part in _parts(item)]
    if isinstance(value, (list, tuple)):
        return [part for item in value for part in _parts(item)]
    return () if value is None or isinstance(value, bool) else (value,)


def _mysql_code(cause: BaseException) -> int | None:
    is_mysql = type(cause).__module__.partition(".")[0] == "asyncmy"
    return cause.args[0] if is_mysql and cause.args and isinstance(cause.args[0], int) else None


def _is_away(error: Exception, cause: BaseException, code: str | int | None) -> bool:
    if isinstance(code, str):
        return code.startswith(_PG_AWAY)
    is_lost = isinstance(error, exc.DBAPIError) and error.connection_invalidated
    return isinstance(cause, OSError) or code in _MYSQL_AWAY or (code is None and is_lost)


def _may_pass(error: Exception, cause: BaseException) -> bool:
    code, sqlite_code = code_of(error), getattr(cause, "sqlite_errorcode", None)
    if isinstance(cause, OSError):
        return True
    if isinstance(code, str):
        return code.startswith(_PG_RETRY)
    if isinstance(sqlite_code, int):
        return sqlite_code & 0xFF not in _SQLITE_REJECT
    if code is not None:
        return code in _MYSQL_RETRY
    if isinstance(error, exc.DBAPIError) and error.connection_invalidated:
        return True
    # what is left are the drivers' own complaints: about a value before anything was sent, or about the connection
    if isinstance(cause, (ValueError, TypeError, OverflowError, AttributeError)):
        return False
    if isinstance(error, exc.StatementError) and not isinstance(error, exc.DBAPIError):
        return False  # a value that SQLAlchemy could not bind
    return not isinstance(error, (exc.ProgrammingError, exc.DataError, exc.IntegrityError, exc.CompileError))
