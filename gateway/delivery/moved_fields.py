"""What a dead letter says of a field that Stripe has moved between versions of its API."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from gateway.stripe import objects

_MISSING = re.compile(r"^((?:event\.data\.)?object\b[\w.\[\]]*)\.(\w+): no such field")
_STEP = re.compile(r"\w+")


def moved_note(message: str, scope: Mapping[str, Any]) -> str:
    """What to add to the words for a missing field: since when it is gone, and where it is now. Empty where it did
    not move.
    """
    missing = _MISSING.match(message)
    if missing is None:
        return ""
    value: Any = scope
    holder, owner = "object", ""
    below: list[str] = []  # the steps since that object
    for step in _STEP.finditer(missing[1]):
        value = value[int(step[0])] if isinstance(value, (list, tuple)) else value[step[0]]
        if isinstance(value, Mapping) and isinstance(value.get("object"), str) and value["object"] != "list":
            holder = missing[1][: step.end()] + ("]" if step[0].isdigit() else "")
            owner, below = value["object"], []
        elif not step[0].isdigit() and step[0] != "data":
            below.append(step[0])
    move = objects.moved(owner).get(".".join([*below, missing[2]]))
    if move is None:
        return ""
    version = scope["event"].get("api_version") or "unknown"
    return f"; gone since Stripe's API {move.version}: {move.told(holder)} (this event is of version {version})"
