"""What an error says of a field that an event does not have: Stripe has moved it between versions of its API, does not
post it with a thin event, or tells only what has changed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from gateway.core.envelope import THIN
from gateway.stripe import objects

_MISSING = re.compile(r"^((?:event\.data\.)?object\b[\w.\[\]]*)\.(\w+): no such field")
_EVENT_DATA = re.compile(r"^(event|object)\.data: no such field")
_PREVIOUS = re.compile(r"^(previous\.\w+): no such field")
_STEP = re.compile(r"\w+")
_INDEX = re.compile(r"\[\d+\]|\.data\b")
_MOST_NAMED = 3


def missing_note(message: str, scope: Mapping[str, Any]) -> str:
    """What to add to the words for a missing field: since when it is gone and where it is now, or since when it is
    there and in the place of what. Empty where Stripe has not moved it.
    """
    event = scope.get("event")
    if _EVENT_DATA.match(message) and isinstance(event, Mapping) and event.get("object") == THIN:
        return "; a thin event is posted without its data: fetch: {event: true} brings it, as event.data"
    unchanged = _PREVIOUS.match(message)
    if unchanged is not None:
        name = unchanged[1]
        return f"; previous has only what has changed: write {name} is defined and ..., or {name} | default(none)"
    missing = _MISSING.match(message)
    if missing is None or not isinstance(event, Mapping):
        return ""
    try:
        holder, owner, below = _holder(missing[1], scope)
    except (LookupError, TypeError):
        return ""  # a name of the template's own
    path = ".".join([*below, missing[2]])
    moves = objects.moved(owner)
    version = event.get("api_version") or "unknown"
    move = moves.get(path)
    if move is not None:
        return f"; gone since Stripe's API {move.version}: {move.told(holder)} (this event is of version {version})"
    later = {name: move for name, move in moves.items() if version < move.version and _leads_to(path, move.where)}
    if not later:
        return ""
    since = min(move.version for move in later.values())
    before = [f"{holder}.{name}" for name, move in later.items() if move.version == since]
    shown = ", ".join(before[:_MOST_NAMED]) + (", ..." if len(before) > _MOST_NAMED else "")
    return f"; there since Stripe's API {since}, in the place of {shown} (this event is of version {version})"


def _holder(path: str, scope: Mapping[str, Any]) -> tuple[str, str, list[str]]:
    """Of a path that leads somewhere in a scope: the way to the last object with a name of its own, that name, and the
    steps since, without numbers and the `data` of lists.
    """
    value: Any = scope
    holder, owner = "object", ""
    below: list[str] = []
    for step in _STEP.finditer(path):
        value = value[int(step[0])] if isinstance(value, (list, tuple)) else value[step[0]]
        if isinstance(value, Mapping) and isinstance(value.get("object"), str) and value["object"] != "list":
            holder = path[: step.end()] + ("]" if step[0].isdigit() else "")
            owner, below = value["object"], []
        elif not step[0].isdigit() and step[0] != "data":
            below.append(step[0])
    return holder, owner, below


def _leads_to(path: str, where: str | None) -> bool:
    """Whether a path is the way, or its beginning, to where a field is now."""
    return where is not None and f"{_INDEX.sub('', where)}.".startswith(f"{path}.")
