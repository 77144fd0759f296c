"""Fits a value that a template brought to the type of the column that it goes to, or says why it does not fit.

Pure. Drivers differ in what they take (asyncpg refuses an integer for a text column, SQLite takes anything): here the
same `with` means the same everywhere.
"""

from __future__ import annotations

import contextlib
import json
import math
import uuid
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import TypeEngine

from gateway.plugin import Reject

_TEMPORAL = (sa.DateTime, sa.Date, sa.Time)


def type_for(value: Any, dialect: str, *, is_key: bool) -> TypeEngine[Any]:
    """The type of a column that is made to hold such values."""
    if isinstance(value, bool):
        return sa.Boolean()
    if isinstance(value, int):
        return sa.BigInteger()
    if isinstance(value, float):
        return sa.Double()
    if isinstance(value, Decimal):
        return sa.Numeric(38, 12)
    if isinstance(value, datetime):
        if dialect == "mysql":
            from sqlalchemy.dialects.mysql import DATETIME

            return DATETIME(fsp=6)
        return sa.DateTime(timezone=True)
    if isinstance(value, (list, dict)) and not is_key:
        return sa.JSON()
    return sa.String(255) if dialect == "mysql" and is_key else sa.Text()


def fitted(column: str, value: Any, column_type: TypeEngine[Any], dialect: str) -> Any:
    """The value as the driver takes it for that column. Raises Reject, naming the column, the value's type and the
    column's; never the value, which may be personal.
    """
    if value is None:
        return sa.null() if isinstance(column_type, sa.JSON) else None
    try:
        return _fitted(value, column_type, dialect)
    except (ValueError, InvalidOperation, OverflowError) as error:
        hint = _hint(value, column_type)
        kind = _described(column_type)
        raise Reject(f"column {column!r} is {kind} and does not take {_kind(value)}{hint}") from error


def _fitted(value: Any, kind: TypeEngine[Any], dialect: str) -> Any:
    if isinstance(kind, sa.JSON):
        return _of_json_text(value)
    if isinstance(kind, sa.ARRAY):
        return _array(_of_json_text(value), kind, dialect)
    if isinstance(value, (list, dict)):
        if isinstance(kind, (sa.String, sa.types.NullType)):
            return json.dumps(value, default=str, ensure_ascii=False, separators=(",", ":"))
        raise ValueError
    if isinstance(kind, sa.Boolean):
        return _boolean(value)
    if isinstance(kind, sa.Integer):
        return _integer(value)
    if isinstance(kind, sa.types.NumericCommon):  # Numeric and Float: two families since SQLAlchemy 2.1
        return _of_sqlite(_number(value, kind)) if dialect == "sqlite" else _number(value, kind)
    if isinstance(kind, _TEMPORAL):
        return _moment(value, kind, dialect)
    if isinstance(kind, sa.String):  # Text, VARCHAR, Enum
        return _text(value)
    if isinstance(kind, sa.Uuid):
        return uuid.UUID(value) if isinstance(value, str) else _refuse()
    if _is_binary(kind):
        return value.encode() if isinstance(value, str) else value if isinstance(value, bytes) else _refuse()
    return _of_sqlite(value) if dialect == "sqlite" else value


def _of_json_text(value: Any) -> Any:
    """What `| tojson` made of an object or a list is that, and not a text."""
    if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
        with contextlib.suppress(ValueError):
            return json.loads(value)
    return value


def _array(value: Any, kind: sa.ARRAY[Any], dialect: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError
    return [
        _array(item, kind, dialect)
        if isinstance(item, list)
        else None
        if item is None
        else _fitted(item, kind.item_type, dialect)
        for item in value
    ]


def _is_binary(kind: TypeEngine[Any]) -> bool:
    """BLOB, BYTEA, BINARY, VARBINARY, ...: families of their own in each dialect."""
    try:
        return kind.python_type is bytes
    except NotImplementedError:
        return False


def _of_sqlite(value: Any) -> Any:
    """As its driver takes it: SQLite makes of it what the column's affinity asks for. An integer beyond 64 bits would
    be rounded without a word.
    """
    if isinstance(value, Decimal) and value == value.to_integral_value():
        value = int(value)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise OverflowError
    if isinstance(value, Decimal):
        return str(value)
    return _text(value) if isinstance(value, (date, time)) else value


def _refuse() -> Any:
    raise ValueError


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return _utc(value).isoformat()
    return value.isoformat() if isinstance(value, (date, time)) else str(value)


def _boolean(value: Any) -> bool:
    known = {"true": True, "false": False, "1": True, "0": False, "t": True, "f": False}
    text = str(value).strip().lower()
    if text not in known:
        raise ValueError
    return known[text]


def _integer(value: Any) -> int:
    if isinstance(value, (int, str)) and "_" not in str(value):
        return int(value)  # true and false are 1 and 0
    if isinstance(value, (float, Decimal)) and value == int(value):
        return int(value)
    raise ValueError


def _number(value: Any, kind: TypeEngine[Any]) -> Any:
    if isinstance(value, str) and "_" not in value:
        value = Decimal(value.strip())
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        raise ValueError
    if not math.isfinite(value):
        raise ValueError
    if isinstance(kind, sa.Float):
        return float(value)
    return Decimal(repr(value)) if isinstance(value, float) else Decimal(value)


def _utc(value: datetime) -> datetime:
    return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


def _moment(value: Any, kind: TypeEngine[Any], dialect: str) -> Any:
    if isinstance(kind, sa.Time):
        moment: Any = time.fromisoformat(value) if isinstance(value, str) else value
        if not isinstance(moment, time):
            raise ValueError
    else:
        moment = datetime.fromisoformat(value.strip()) if isinstance(value, str) else value
        if isinstance(moment, datetime):
            moment = _utc(moment)
        elif isinstance(moment, date):
            moment = datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
        else:
            raise ValueError
        if isinstance(kind, sa.Date):
            moment = moment.date()
        elif not (dialect == "postgresql" and getattr(kind, "timezone", False)):
            moment = moment.replace(tzinfo=None)
    return moment


def _kind(value: Any) -> str:
    names: list[tuple[type, str]] = [
        (bool, "a boolean"), (int, "an integer"), (float, "a number"), (Decimal, "a number"), (str, "this text"),
        (datetime, "a time"), (date, "a date"), (list, "a list"), (dict, "an object"),
    ]  # fmt: skip
    return next((name for kind, name in names if isinstance(value, kind)), f"a {type(value).__name__}")


def _described(kind: TypeEngine[Any]) -> str:
    try:
        return str(kind).upper()
    except sa.exc.CompileError:
        return type(kind).__name__.upper()


def _hint(value: Any, kind: TypeEngine[Any]) -> str:
    if isinstance(value, (int, float)) and isinstance(kind, (sa.DateTime, sa.Date)):
        return "; a Unix time becomes a time with `| timestamp`"
    if isinstance(value, datetime) and isinstance(kind, sa.Integer):
        return "; give the Unix time itself, without `| timestamp`"
    if isinstance(value, (list, dict)):
        return "; give one of its fields, or make the column JSON or text"
    return ""
