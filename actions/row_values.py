"""What a database gave back, as later actions see it: only what JSON has."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

from gateway.plugin import OUTPUT_BYTES, Reject


def plain(value: Any) -> Any:
    """The value as JSON has it. A decimal is a number where a number keeps all its digits, else text; bytes are text,
    or base64 where they are none; times are ISO 8601.
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, (float, Decimal)):
        return _number(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _text(bytes(value))
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else str(value)


def small_enough(output: dict[str, Any]) -> dict[str, Any]:
    """The same output. Raises Reject where it is too large to be kept for later actions."""
    size = len(json.dumps(output, ensure_ascii=False).encode(errors="replace"))
    if size > OUTPUT_BYTES:
        raise Reject(
            f"what was read takes {size:,} bytes, and {OUTPUT_BYTES:,} are kept for later actions: "
            "select fewer columns, or fewer rows"
        )
    return output


def _number(value: float | Decimal) -> Any:
    if not math.isfinite(value):
        return str(value)
    if isinstance(value, float):
        return value
    if value == value.to_integral_value():
        return int(value)
    return float(value) if Decimal(repr(float(value))) == value else str(value)


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return base64.b64encode(value).decode()
