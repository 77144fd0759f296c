"""Whether a row is as db_upsert would write it, with the types of its columns in mind. Pure.

A database gives back other values than it was given: a decimal in the column's scale, a time without its zone, CHAR
filled up with spaces, 1 for true. None of that is a difference.

Imports SQLAlchemy, which is slow: db_upsert imports this file when it first compares.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import TypeEngine

from actions.column_values import fitted
from actions.database_table import KnownTable

_SINGLE = 1e-6  # of 24 bits, which hold seven digits
_DOUBLE = 1e-12


def differing(known: KnownTable, wanted: Mapping[str, Any], row: Mapping[str, Any], dialect: str) -> list[str]:
    """The columns in which a row is not as it is wanted. Raises Reject where a wanted value does not fit its column."""
    return [
        column
        for column, value in wanted.items()
        if not is_same(fitted(column, value, known.types[column], dialect), row[column], known.types[column], dialect)
    ]


def is_same(wanted: Any, value: Any, kind: TypeEngine[Any], dialect: str) -> bool:
    """Whether a column that was given `wanted`, as its driver takes it, would give back `value`."""
    if wanted is None or isinstance(wanted, type(sa.null())) or value is None:
        return value is None and (wanted is None or isinstance(wanted, type(sa.null())))
    if isinstance(wanted, (dict, list)) or isinstance(kind, sa.JSON):
        return bool(_of_json(wanted) == _of_json(value))
    if isinstance(wanted, bool) or isinstance(value, bool):
        return _truth(wanted) is not None and _truth(wanted) is _truth(value)
    if isinstance(wanted, (datetime, date, time)) or isinstance(kind, (sa.DateTime, sa.Date, sa.Time)):
        return _is_same_moment(wanted, value, kind, dialect)
    if isinstance(wanted, (int, float, Decimal)) or isinstance(value, (int, float, Decimal)):
        return _is_same_number(wanted, value, kind)
    if isinstance(wanted, str) and isinstance(value, str):
        return _is_same_text(wanted, value, kind)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value) == (wanted.encode() if isinstance(wanted, str) else wanted)
    return bool(wanted == value) or str(wanted) == str(value)


def _is_same_text(wanted: str, value: str, kind: TypeEngine[Any]) -> bool:
    if wanted == value:
        return True
    if isinstance(kind, sa.CHAR):  # filled up with spaces, or stripped of them
        return wanted.rstrip(" ") == value.rstrip(" ")
    is_json = wanted.startswith(("{", "[")) and value.lstrip().startswith(("{", "["))  # in a column of texts
    return is_json and bool(_of_json(wanted) == _of_json(value))


def _of_json(value: Any) -> Any:
    if isinstance(value, (bytes, bytearray, memoryview)):
        value = bytes(value).decode(errors="replace")
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            return json.loads(value)
    return value


def _truth(value: Any) -> bool | None:
    """What a value is as a boolean; None where it is none."""
    return {"1": True, "0": False, "true": True, "false": False, "t": True, "f": False}.get(str(value).strip().lower())


def _is_same_number(wanted: Any, value: Any, kind: TypeEngine[Any]) -> bool:
    left, right = _decimal(wanted), _decimal(value)
    if left is None or right is None:
        return str(wanted) == str(value)
    scale = getattr(kind, "scale", None)
    if isinstance(value, float) or isinstance(kind, sa.Float):
        is_double = isinstance(kind, (sa.Double, sa.DOUBLE_PRECISION))
        is_single = isinstance(kind, (sa.REAL, sa.types.FLOAT)) and not is_double
        return math.isclose(float(left), float(right), rel_tol=_SINGLE if is_single else _DOUBLE, abs_tol=1e-15)
    if isinstance(scale, int):
        left = left.quantize(Decimal(1).scaleb(-scale), ROUND_HALF_UP)
    return left == right


def _decimal(value: Any) -> Decimal | None:
    try:
        number = Decimal(repr(value) if isinstance(value, float) else str(value).strip())
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _is_same_moment(wanted: Any, value: Any, kind: TypeEngine[Any], dialect: str) -> bool:
    left, right = _moment(wanted), _moment(value)
    if left is None or right is None or type(left) is not type(right):
        return str(wanted) == str(value)
    if not isinstance(left, datetime) or not isinstance(right, datetime):
        return bool(left == right)
    digits = getattr(kind, "fsp", None) if dialect == "mysql" else getattr(kind, "precision", None)
    digits = 0 if dialect == "mysql" and digits is None else 6 if digits is None else int(digits)
    apart = abs((left - right).total_seconds())
    return apart == 0 or (digits < 6 and apart < 10.0**-digits)


def _moment(value: Any) -> Any:
    """A time of which UTC is said, a date or a time of day; None where it is none of these."""
    if isinstance(value, str):
        for read in (datetime.fromisoformat, date.fromisoformat, time.fromisoformat):
            with contextlib.suppress(ValueError):
                return _moment(read(value.strip()))
        return None
    if isinstance(value, datetime):
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    return value if isinstance(value, (date, time)) else None
