"""Values in a form that every database can keep, whatever an action, a destination or a clock gave."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Set
from typing import Any

OUTPUT_BYTES = 64 * 1024
LONGEST_KEY_BYTES = 2000  # PostgreSQL's indexes take 2,704 bytes with what else is in an entry
DEEPEST = 100
AHEAD_MS = 60_000  # a time further ahead than this is of a clock that was wrong, and is taken for now
_JSON = json.JSONEncoder(default=str, ensure_ascii=False, allow_nan=False)
_LONGEST_SECONDS = 10 * 366 * 86400.0


class KeptText(str):
    """What `kept_json` made before, and is kept as it is."""


def kept_text(value: str | None) -> str | None:
    """Text without NUL and halves of surrogate pairs, which a destination's answer may hold."""
    if value is None or (value.isascii() and "\0" not in value):
        return value
    return value.replace("\0", "\ufffd").encode(errors="replace").decode()


def kept_key(value: str | None) -> str | None:
    """An order key or a once key: one that no index takes as it is, by its hash."""
    if value is None or (value.isascii() and len(value) <= LONGEST_KEY_BYTES and "\0" not in value):
        return value
    as_it_is = value.encode("utf-8", "surrogatepass")
    if len(as_it_is) <= LONGEST_KEY_BYTES and kept_text(value) == value:
        return value
    return f"sha256:{hashlib.sha256(as_it_is).hexdigest()}"


def kept_ms(seconds: float) -> int:
    """A duration or a wait in milliseconds: none below 0, none that would outlive us; 0 of what is no number."""
    return 0 if math.isnan(seconds) else round(1000 * min(max(0.0, seconds), _LONGEST_SECONDS))


def whole_json(value: Any) -> KeptText | None:
    """What `kept_json` makes of a value that is kept whole. Raises ValueError where it would be cut, and whatever comes
    of what JSON cannot say.
    """
    if value is None:
        return None
    text, size = _written(value)
    if size > OUTPUT_BYTES:
        raise ValueError(f"{size} bytes: it is to be cut")
    return KeptText(text)


def _written(value: Any) -> tuple[str, int]:
    """JSON, and its size in bytes."""
    text = _JSON.encode(value)
    return text, len(text) if text.isascii() else len(text.encode())


def kept_json(value: Any) -> str | None:
    """JSON of a value to keep, cut and marked past the limit. What JSON cannot say is said in words."""
    if value is None or isinstance(value, KeptText):
        return value
    try:
        text, size = _written(value)
    except Exception:  # a key that is no text, a loop, `1e999`, half of a surrogate pair, a text that raises, ...
        text = json.dumps(_said(value, 0))
        size = len(text)
    if size > OUTPUT_BYTES:
        text = json.dumps({"cut": True, "bytes": size, "begins": text[: OUTPUT_BYTES // 4]})
    return text


def _said(value: Any, depth: int) -> Any:
    """The same of what JSON has, and words for the rest."""
    if depth > DEEPEST:
        return "..."
    if isinstance(value, Mapping):
        return {_text_of(key): _said(member, depth + 1) for key, member in value.items()}
    if isinstance(value, (list, tuple, Set)):
        return [_said(member, depth + 1) for member in value]
    if value is None or isinstance(value, (bool, str)):
        return value
    if (isinstance(value, int) and value.bit_length() < 1024) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return _text_of(value)


def _text_of(value: Any) -> str:
    try:
        return str(value)
    except Exception:  # whoever wrote its class
        return f"<{type(value).__name__}>"
