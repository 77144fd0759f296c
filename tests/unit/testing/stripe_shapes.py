"""Whether a value is what the table of Stripe's objects says it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from gateway.stripe import objects
from gateway.stripe.objects import FieldType

_TEXTS = ("string", "decimal", "datetime")
_WHOLE = ("integer", "amount", "time")


def misfits(value: Any, name: str) -> list[str]:
    """What of an object is not as the table has it, each with its path."""
    return list(_in_object(value, objects.fields(name), name))


def _in_object(value: Any, fields: Mapping[str, FieldType], path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path}: no object: {value!r}"
        return
    for key in value.keys() - fields.keys():
        yield f"{path}.{key}: Stripe has no such field"
    for key, field in fields.items():
        if key in value:
            yield from _of_type(value[key], field, f"{path}.{key}")
        elif not field.is_nullable:
            yield f"{path}.{key}: missing"


def _of_type(value: Any, field: FieldType, path: str) -> Iterator[str]:
    kind = field.kind
    if value is None:
        if not field.is_nullable:
            yield f"{path}: null"
    elif kind in _TEXTS:
        if not isinstance(value, str) or not value:
            yield f"{path}: no text: {value!r}"
        elif kind == "datetime" and datetime.fromisoformat(value).tzinfo is None:
            yield f"{path}: no time: {value!r}"
        elif kind == "decimal" and not value.lstrip("-").replace(".", "", 1).isdecimal():
            yield f"{path}: no decimal: {value!r}"
    elif kind in _WHOLE or kind == "number":
        if isinstance(value, bool) or not isinstance(value, int if kind in _WHOLE else int | float):
            yield f"{path}: no {kind}: {value!r}"
        elif kind == "time" and not 1_000_000_000 < value < 4_000_000_000:
            yield f"{path}: no time: {value!r}"
    elif kind == "boolean":
        if not isinstance(value, bool):
            yield f"{path}: not true or false: {value!r}"
    elif kind == "enum":
        if value not in field.values:
            yield f"{path}: {value!r} is none of {field.values}"
    elif kind == "map":
        if not isinstance(value, dict):
            yield f"{path}: no mapping"
    elif kind == "array":
        yield from _in_items(value, field, path)
    elif kind == "list":
        if not isinstance(value, dict) or value.keys() != {"object", "data", "has_more", "total_count", "url"}:
            yield f"{path}: no list: {value!r}"
        else:
            yield from _in_items(value["data"], field, path)
    elif kind == "object" or (kind == "expandable" and isinstance(value, dict)):
        yield from _in_object(value, _fields_for(value, field), path)
    elif kind == "expandable" and not isinstance(value, str):
        yield f"{path}: no id: {value!r}"


def _in_items(value: Any, field: FieldType, path: str) -> Iterator[str]:
    assert field.item is not None
    for index, item in enumerate(value):
        yield from _of_type(item, field.item, f"{path}[{index}]")


def _fields_for(value: Any, field: FieldType) -> Mapping[str, FieldType]:
    if field.inline is None and isinstance(value, dict) and value.get("object") in field.objects:
        return objects.fields(value["object"])
    return objects.fields_in(field, is_expanded=True) or {}
