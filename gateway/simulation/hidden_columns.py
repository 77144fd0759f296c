"""Which columns of an action hold what an account redacts: then a row's value is as secret as the event's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.core.model import ActionUse
from gateway.privacy.redaction import REDACTED, RedactedPath, paths_below, redacted


def hidden_columns(use: ActionUse, envelope: Mapping[str, Any], paths: Sequence[RedactedPath]) -> frozenset[str]:
    """The columns, in lower case, whose template asks for something that is redacted in this event, whatever it makes
    of it; `*` for all of them.
    """
    if not paths:
        return frozenset()
    hides = {
        path: any(_is_hidden(reference.path, envelope, paths) for reference in leaf.references)
        for path, leaf in use.settings.templates()
    }
    items = any(is_hidden for path, is_hidden in hides.items() if path[0] == "for_each")
    hidden = set()
    for path, leaf in use.settings.templates():
        asks_item = items and any(reference.path[0] == "item" for reference in leaf.references)
        if path[0] in ("key", "values") and (hides[path] or asks_item):
            hidden.add(str(path[1]).casefold() if len(path) > 1 else "*")
    return frozenset(hidden)


def without_hidden(columns: Mapping[str, Any], hidden: frozenset[str]) -> dict[str, Any]:
    """The values of columns as people may see them."""
    return {
        column: REDACTED if value is not None and not hidden.isdisjoint(("*", column.casefold())) else value
        for column, value in columns.items()
    }


def _is_hidden(path: Sequence[Any], envelope: Mapping[str, Any], paths: Sequence[RedactedPath]) -> bool:
    """Whether what a template's path leads to is redacted, or holds what is."""
    parts = ("data", "object", *path[1:]) if path[0] == "object" else tuple(path[1:]) if path[0] == "event" else None
    if parts is None:
        return False
    value: Any = envelope
    left: Sequence[RedactedPath] = paths
    for part in parts:
        left = [*left, *paths_below(left, None)] if isinstance(part, int) else paths_below(left, part)
        if any(not each for each in left):
            return True
        try:
            value = value[part]
        except (LookupError, TypeError):
            value = None  # what is redacted may have stood below
    return bool(redacted(value, left) != value)
