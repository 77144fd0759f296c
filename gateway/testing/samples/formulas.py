"""What the facts compute: texts that begin with `=`.

=now+30d        a time, from the event's on: s, m, h, d
=id customer    the id of such an object, the same in every sample
=total          another field of the object that holds it; with dots, a field within
=-total         the same, negative
=sum lines.data.amount
=up.price.id    a field of the object around that one
=root.id        a field of the event's object
=text /v1/invoices/{id}/lines
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.testing.samples.catalogue import id_of

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_TIME = re.compile(r"=now(?:([+-]\d+)([smhd]))?$")


@dataclass(frozen=True, slots=True)
class Pending:
    """A value that is known once the others are."""

    formula: str  # without the equals sign
    holders: tuple[Mapping[str, Any], ...]  # the objects with names of their own that it is in, the event's first


class NotYetError(Exception):
    """A formula names a value that is still pending."""


def is_formula(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("=")


def at_once(formula: str, now: int) -> int | str | None:
    """The value of what asks for no other field; None for other formulas."""
    if (time := _TIME.match(formula)) is not None:
        return now + int(time[1] or 0) * _SECONDS[time[2] or "s"]
    return id_of(formula.removeprefix("=id ")) if formula.startswith("=id ") else None


def computed(pending: Pending) -> Any:
    """The value. Raises NotYetError where one that it needs is pending."""
    formula, holders = pending.formula, pending.holders
    if formula.startswith("sum "):
        return sum(_named(formula.removeprefix("sum "), holders))
    if formula.startswith("text "):
        return re.sub(r"\{([\w.]+)\}", lambda match: str(_named(match[1], holders)), formula.removeprefix("text "))
    return -_named(formula[1:], holders) if formula.startswith("-") else _named(formula, holders)


def _named(path: str, holders: tuple[Mapping[str, Any], ...]) -> Any:
    start, _, rest = path.partition(".")
    if path == "root.id":
        return holders[0].get("id")  # an upcoming invoice has none
    if start == "root":
        return _at(holders[0], rest)
    return _at(holders[-2], rest) if start == "up" else _at(holders[-1], path)


def _at(holder: Any, path: str) -> Any:
    """The value at a path; of a list, the values within each item."""
    value, way = holder, path.split(".")
    for position, step in enumerate(way):
        if isinstance(value, list):
            return [_at(item, ".".join(way[position:])) for item in value]
        value = value[step]
        if isinstance(value, Pending):
            raise NotYetError
    return value
