"""Comparisons with values that a field of Stripe's cannot have: they say the same whatever comes."""

from __future__ import annotations

from typing import Any

from gateway.config.checks.stripe_fields import WORDS, ExpressionFault
from gateway.config.checks.stripe_held import Held, Value
from gateway.core.spelling import nearest
from gateway.stripe import objects
from gateway.stripe.objects import FieldType
from gateway.templating.references import written

_EQUALITIES = frozenset(("eq", "ne", "in", "notin"))
_MOST_VALUES = 20  # more are not listed
_TEXTS = frozenset(("string", "enum", "decimal", "datetime", "expandable"))
_NUMBERS = frozenset(("integer", "amount", "time", "number"))
_HINTS = {
    "time": "compare it with a number, or write (x | timestamp)",
    "boolean": "write true or false without quotes",
}


def mismatch(types: tuple[Value, ...], operator: str, value: Any, held: Held) -> ExpressionFault | None:
    """Why a comparison with a constant says the same whatever comes; None where it may say either."""
    if value is None:
        return None
    name = written(types[0].path) or "the value"
    if all(known.field.kind == "enum" for known in types):
        options = {option for known in types for option in known.field.values}
        if value in options or operator not in _EQUALITIES:
            return None
        values = sorted(map(str, options))
        near = nearest(str(value), values)
        listed = f"it is one of {', '.join(values)}" if len(values) <= _MOST_VALUES else None
        hint = f"did you mean {near!r}? {listed or ''}".rstrip() if near else listed
        message = f"{name} is never {value!r} in Stripe's API {objects.api_version()}"
        return ExpressionFault("stripe-value", message, hint, "error" if near else "warning")
    if isinstance(value, str) and all(map(_is_currency, types)):
        if value == value.lower():
            return None
        message, hint = f"{name} is never {value!r}: Stripe writes currencies in lower case", f"write {value.lower()!r}"
        return ExpressionFault("stripe-value", message, hint, "error")
    if may_equal(types, value):
        return None
    kind = types[0].field.kind
    return ExpressionFault("stripe-value", f"{name} is {WORDS[kind]}: it is never {value!r}", _HINTS.get(kind), "error")


def may_equal(types: tuple[Value, ...], value: Any) -> bool:
    """Whether the type of a constant alone says that a comparison with it may be true."""
    is_listed = all(known.field.kind == "enum" or _is_currency(known) for known in types) and isinstance(value, str)
    return not is_listed and any(_fits(known.field, value) for known in types)


def _is_currency(value: Value) -> bool:
    """Whether a field is the code of a currency, which Stripe writes in lower case."""
    return value.field.kind == "string" and bool(value.path) and str(value.path[-1]).endswith("currency")


def never_equal(left: tuple[Value, ...], right: tuple[Value, ...]) -> ExpressionFault | None:
    """Why two fields are never the same: one is a text, the other a number."""
    first, second = left[0], right[0]
    kinds = [{_family(known.field) for known in side} for side in (left, right)]
    if kinds[0] & kinds[1] or None in kinds[0] | kinds[1]:
        return None
    words = [
        f"{written(value.path) or 'the value'} is {WORDS.get(value.field.kind, 'no plain value')}"
        for value in (first, second)
    ]
    message = f"{' and '.join(words)}: they are never equal"
    return ExpressionFault("stripe-value", message, None, "error")


def _family(field: FieldType) -> str | None:
    if field.kind == "boolean":
        return "boolean"
    return "text" if field.kind in _TEXTS else "number" if field.kind in _NUMBERS else None


def _fits(field: FieldType, value: Any) -> bool:
    """Whether a value may equal, or be ordered with, what a field holds."""
    if field.kind not in WORDS:
        return True
    if isinstance(value, bool):
        return field.kind == "boolean"
    if isinstance(value, (int, float)):
        return field.kind in _NUMBERS or field.kind == "boolean"
    return field.kind in _TEXTS
