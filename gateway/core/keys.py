"""Pure: values of an event -> the keys that deliveries share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def key_of(*parts: object) -> str:
    """One text that is equal where all the parts are equal."""
    return json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)


def is_no_key(value: Any) -> bool:
    """Whether a value of `once_per` or `order_by` names nothing that several events could share: null, an empty text,
    and lists and mappings of nothing else. `0` and `false` are keys.
    """
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return all(is_no_key(item) for item in value)
    return value is None or (isinstance(value, str) and not value.strip())
