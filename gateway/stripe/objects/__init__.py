"""What Stripe's objects are made of: fields, types, nullability, values, what ids expand into; and what events hold.

Read when first asked for, from objects.json, which `make stripe-objects` makes from the pinned `stripe` library,
and the tables beside it; neither intake nor delivery asks. Stripe's own reference: https://docs.stripe.com/api.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal

Kind = Literal[
    "string", "integer", "amount", "time", "number", "decimal", "datetime", "boolean", "any",
    "enum", "object", "list", "array", "map", "expandable",
]  # fmt: skip
"""`time` is an integer of Unix seconds, `amount` one of a currency's minor unit, `decimal` a text of digits, `datetime`
a text as RFC 3339 writes it (API v2); `expandable` an id that `expand` makes the object it names; `list` a page, which
Stripe cuts at ten; `map` an object whose keys are the user's, such as `metadata`.
"""


@dataclass(frozen=True, slots=True)
class FieldType:
    """The type of a field of one of Stripe's objects."""

    kind: Kind
    is_nullable: bool = False  # null, or left out
    values: tuple[Any, ...] = ()  # of an enum, as far as the library knows them
    objects: tuple[str, ...] = ()  # the names of the objects that it is, or expands into
    inline: Mapping[str, Any] | None = None  # fields of an object without a name of its own, unread
    item: FieldType | None = None  # of a list, an array or a map


def api_version() -> str:
    """The version of Stripe's API that the objects are of, such as 2026-10-28.endive."""
    version: str = _data()["api_version"]
    return version


def library_version() -> str:
    """The version of the `stripe` library that they were read from."""
    version: str = _data()["library"]
    return version


def object_names() -> frozenset[str]:
    """Every object, by the value of its field `object`."""
    return frozenset(_data()["objects"])


@functools.cache
def fields(name: str) -> Mapping[str, FieldType]:
    """The fields of an object. Raises KeyError where Stripe has none of that name."""
    return _read(_data()["objects"][name])


@functools.cache
def objects_of(event_type: str) -> tuple[str, ...]:
    """The objects that `data.object` of a snapshot event may be, or the one that a thin event is about. Empty where the
    type is unknown, or has no object.
    """
    if event_type in _snapshot_events():
        return _snapshot_events()[event_type]
    about = _data()["thin_events"].get(event_type, {}).get("about")
    return (about,) if about else ()


@functools.cache
def event_data(event_type: str) -> FieldType | None:
    """What a thin event's own `data` holds; None where it has none."""
    specs = _data()["thin_events"].get(event_type, {}).get("data")
    return None if specs is None else FieldType("object", inline=specs)


def data_of(event_type: str) -> Mapping[str, FieldType]:
    """The fields of a thin event's own `data`; nothing where it has none."""
    data = event_data(event_type)
    return {} if data is None else fields_in(data) or {}


OLDEST = "2023-10-16"
"""The oldest version of Stripe's API that `moved` tells of."""


@dataclass(frozen=True, slots=True)
class Moved:
    """A field that an object has no more."""

    version: str  # of Stripe's API, the first without it
    where: str | None  # the path, in the same object, of what stands for it now; None: nothing does
    note: str | None  # what to do instead, where that is no path
    new: tuple[str, ...] = ()  # the part of `where`, without indexes and `data`, that older versions have not

    def told(self, holder: str) -> str:
        """What stands for it now, in words; `holder` is the path to the object."""
        return f"it is {holder}.{self.where} now" if self.where else self.note or "nothing stands for it now"


@functools.cache
def moved(name: str) -> Mapping[str, Moved]:
    """The fields that an object had in versions since `OLDEST` and has no more, by path without indexes. Read from the
    differences between the `stripe` library's major versions; what stands for them now, from Stripe's changelog
    (https://docs.stripe.com/changelog). A `+` in the table begins what the versions before have not.
    """
    fields = {}
    for line in _lines("moved.txt"):
        version, owner, path, where = line.split(" ", 3)
        if owner == name:
            note = where[1:].strip() if where.startswith("-") else None
            place = None if where.startswith("-") else where.replace("+", "")
            steps = [step for step in re.sub(r"\[\d+\]", "", where).split(".") if step != "data"]
            first_new = next((i for i, step in enumerate(steps) if step.startswith("+")), None)
            new = () if first_new is None else tuple(step.lstrip("+") for step in steps[: first_new + 1])
            fields[path] = Moved(version, place, note or None, new)
    return fields


@functools.cache
def newer(name: str) -> Mapping[tuple[str, ...], list[tuple[str, Moved]]]:
    """The fields of an object that stand for others since some version, by their path without indexes and `data`: what
    they stand for.
    """
    fields: dict[tuple[str, ...], list[tuple[str, Moved]]] = {}
    for path, move in moved(name).items():
        if move.new:
            fields.setdefault(move.new, []).append((path, move))
    return fields


@functools.cache
def documented_values(name: str) -> Mapping[str, tuple[str, ...]]:
    """The values that Stripe's documentation lists for fields of an object that the library types as any text."""
    rows = (line.split(" ") for line in _lines("values.txt"))
    return {field: tuple(values.split("|")) for owner, field, values in rows if owner == name}


@functools.cache
def on_request(name: str) -> frozenset[str]:
    """The fields of an object that Stripe leaves out of events, and brings where `expand` asks for them.
    https://docs.stripe.com/expand#including-properties
    """
    rows = (line.split(" ") for line in _lines("on_request.txt"))
    return frozenset(field for owner, field in rows if owner == name)


@dataclass(frozen=True, slots=True)
class NullRule:
    """When a field that may be null by its type is null: where one of `when`, fields of the same object with values, is
    possible; or, without `is_possible`, where one of them is certain.
    """

    when: tuple[tuple[str, frozenset[str]], ...]
    is_possible: bool


@functools.cache
def null_rule(owner: str, path: str) -> NullRule | None:
    """What Stripe's documentation says of a nullable field of an object, or of the object of a type of event, by its
    path without indexes; None where it says nothing: then it may be null.
    """
    return _null_rules().get((owner, path))


def is_never_null(event_type: str, path: str) -> bool:
    """Whether a nullable field has a value in every event of a type."""
    rule = null_rule(event_type, path)
    return rule is not None and not rule.when


@functools.cache
def _null_rules() -> Mapping[tuple[str, str], NullRule]:
    rules = {}
    for line in _lines("nulls.txt"):
        owner, path, word, *conditions = line.split(" ")
        pairs = (condition.split("=") for condition in ";".join(conditions).split(";") if condition)
        when = tuple((field, frozenset(values.split("|"))) for field, values in pairs)
        rules[owner, path] = NullRule(when, word == "if")
    return rules


@functools.cache
def _often_null() -> frozenset[tuple[str, str]]:
    return frozenset((owner, path) for owner, path in (line.split(" ") for line in _lines("often_null.txt")))


def is_often_null(owner: str, path: str) -> bool:
    """Whether everyday events hold null in a nullable field of an object: what a shop need not ask for, or what has not
    happened yet.
    """
    return (owner, path) in _often_null()


def event_types() -> frozenset[str]:
    """Every type of event that the library knows: snapshot and thin."""
    return frozenset(_snapshot_events()) | frozenset(_data()["thin_events"])


def fields_in(field: FieldType, *, is_expanded: bool = False) -> Mapping[str, FieldType] | None:
    """What a field's value holds in turn, of all the objects that it may be; None where it holds nothing that is known:
    a plain value, a map, or an id that is not expanded.
    """
    if field.kind == "list":
        return {**_LIST, "data": FieldType("array", item=field.item)}
    if field.kind == "object" or (field.kind == "expandable" and is_expanded):
        if field.inline is not None:
            return _read(field.inline)
        return fields_of_any(field.objects)
    return None


def fields_of_any(names: tuple[str, ...]) -> Mapping[str, FieldType]:
    """The fields of what may be any of these objects; of two of one name, the first object's."""
    return {key: value for name in reversed(names) for key, value in fields(name).items()}


_LIST: Mapping[str, FieldType] = {
    "object": FieldType("enum", values=("list",)),
    "has_more": FieldType("boolean"),
    "total_count": FieldType("integer", is_nullable=True),
    "url": FieldType("string"),
}


@functools.cache
def _data() -> Mapping[str, Any]:
    read: Mapping[str, Any] = json.loads((files(__package__) / "objects.json").read_text(encoding="utf-8"))
    return read


@functools.cache
def _snapshot_events() -> Mapping[str, tuple[str, ...]]:
    rows = (line.split(" ") for line in _lines("events.txt"))
    return {event_type: tuple(names.split("|")) for event_type, names in rows}


def _lines(name: str) -> list[str]:
    return (files(__package__) / name).read_text(encoding="utf-8").splitlines()


def _read(specs: Mapping[str, Any]) -> Mapping[str, FieldType]:
    return {name: _field(spec) for name, spec in specs.items()}


def _field(spec: Any) -> FieldType:
    """One type, as tests/docs/stripe_objects.py writes it."""
    if isinstance(spec, str):
        return FieldType(spec.rstrip("?"), is_nullable=spec.endswith("?"))  # type: ignore[arg-type]  # by the generator
    is_nullable = "null" in spec
    if "values" in spec:
        return FieldType("enum", is_nullable, values=tuple(spec["values"]))
    if "expands" in spec:
        return FieldType("expandable", is_nullable, objects=tuple(spec["expands"]), inline=spec.get("fields"))
    if "fields" in spec:
        return FieldType("object", is_nullable, inline=spec["fields"])
    if "object" in spec or "any_of" in spec:
        return FieldType("object", is_nullable, objects=tuple(spec.get("any_of") or [spec["object"]]))
    (kind,) = {"list", "array", "map"} & set(spec)
    return FieldType(kind, is_nullable, item=_field(spec[kind]))  # type: ignore[arg-type]  # one of these three


@dataclass(frozen=True, slots=True)
class FieldPath:
    """A field and the way to it, as templates write it below `object`, such as `lines.data[0].amount`."""

    path: str
    type: FieldType


def every_path(name: str) -> list[FieldPath]:
    """The fields of an object and of what it holds, in the order of the alphabet, each object before what is in it. Ids
    are not followed into what they name. Raises KeyError where Stripe has no such object.
    """
    return list(_paths("", fields(name), (name,)))


def _paths(before: str, inside: Mapping[str, FieldType], within: tuple[str, ...]) -> Iterator[FieldPath]:
    for key in sorted(inside):
        field = inside[key]
        yield FieldPath(before + key, field)
        step, holder = before + key, field
        while holder.item is not None and holder.kind in ("list", "array"):
            step, holder = step + (".data[0]" if holder.kind == "list" else "[0]"), holder.item
        below = fields_in(holder) if not set(holder.objects) & set(within) else None
        if below is not None:
            yield from _paths(f"{step}.", below, (*within, *holder.objects))
