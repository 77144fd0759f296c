"""Comparisons with values that a field of Stripe's cannot have: they say the same whatever comes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jinja2 import Environment, TemplateError, nodes

from gateway.config.checks.stripe_fields import WORDS, Held, root_length
from gateway.config.diagnostics.problem import Problem, Severity
from gateway.core.errors import Where
from gateway.core.spelling import nearest
from gateway.stripe import objects
from gateway.stripe.objects import FieldType
from gateway.templating.references import Key, written

_COMPARES = re.compile(r"[=!<>]=?|\bin\b")
_PARSER = Environment(autoescape=False)  # noqa: S701  # parses only: nothing is rendered by it
_EQUALITIES = frozenset(("eq", "ne", "in", "notin"))
_MOST_VALUES = 20  # more are not listed


Place = Callable[[int, int], Where]
"""The place of a stretch of a text."""


def impossible_values(text: str, is_expression: bool, held: Held, place: Place) -> Iterator[Problem]:
    """A problem for each comparison of a field with a value that it cannot have."""
    if not _COMPARES.search(text):
        return
    try:
        tree = _PARSER.parse("{{ " + text + " }}" if is_expression else text)
    except (TemplateError, RecursionError):  # told of elsewhere
        return
    for compare in tree.find_all(nodes.Compare):
        operand = compare.ops[0]
        for side, other in ((compare.expr, operand.expr), (operand.expr, compare.expr)):
            path = _path_of(side)
            if path is None:
                continue
            for value in _constants(other):
                fault = _mismatch(path, operand.op, value, held)
                if fault is not None:
                    start = max(text.find(repr(value)), text.find(f'"{value}"'), text.find(str(value)), 0)
                    length = len(str(value)) + (2 if isinstance(value, str) and text[start] in "'\"" else 0)
                    message, hint, severity = fault
                    yield Problem(place(start, start + length), message, hint, severity, "stripe-value")


def _path_of(node: nodes.Node) -> tuple[Key, ...] | None:
    if isinstance(node, nodes.Name):
        return (node.name,)
    if isinstance(node, nodes.Getattr):
        before = _path_of(node.node)
        return None if before is None else (*before, node.attr)
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
        before = _path_of(node.node)
        return None if before is None else (*before, node.arg.value)
    return None


def _constants(node: nodes.Node) -> list[Any]:
    if isinstance(node, nodes.Const):
        return [node.value]
    if isinstance(node, (nodes.List, nodes.Tuple)):
        return [item.value for item in node.items if isinstance(item, nodes.Const)]
    return []


def _field_at(path: tuple[Key, ...], fields: Mapping[str, FieldType], held: Held) -> FieldType | None:
    """The type of the value at the end of a path, as far as it can be told."""
    inside: Mapping[str, FieldType] | None = fields
    field: FieldType | None = None
    plain: list[str] = []
    for key in path:
        if isinstance(key, int):
            field = field.item if field is not None else None
        elif inside is None or key not in inside:
            return None
        else:
            field = inside[key]
            plain.append(key)
        if field is None:
            return None
        inside = objects.fields_in(field, is_expanded=tuple(plain) in held.expanded)
    return field


def _mismatch(path: tuple[Key, ...], operator: str, value: Any, held: Held) -> tuple[str, str | None, Severity] | None:
    """Why a comparison says the same whatever comes; None where it may say either."""
    skipped = root_length(path)
    if skipped is None or value is None:
        return None
    there = [_field_at(path[skipped:], fields, held) for fields in held.fields.values()]
    known = [field for field in there if field is not None]
    if not known:
        return None
    name = written(path)
    if all(field.kind == "enum" for field in known):
        values = sorted({str(option) for field in known for option in field.values})
        if value in {option for field in known for option in field.values} or operator not in _EQUALITIES:
            return None
        near = nearest(str(value), values)
        said = f"{name} is never {value!r} in Stripe's API {objects.api_version()}"
        listed = f"it is one of {', '.join(values)}" if len(values) <= _MOST_VALUES else None
        return (
            said,
            f"did you mean {near!r}? {listed or ''}".rstrip() if near else listed,
            "error" if near else "warning",
        )
    wrong = [field for field in known if not _fits(field, value)]
    if len(wrong) < len(known):
        return None
    kind = wrong[0].kind
    hint = {
        "time": "compare it with a number, or write (x | timestamp)",
        "boolean": "write true or false without quotes",
    }
    return f"{name} is {WORDS[kind]}: it is never {value!r}", hint.get(kind), "error"


def _fits(field: FieldType, value: Any) -> bool:
    """Whether a value may equal, or be ordered with, what a field holds."""
    if field.kind not in WORDS:
        return True
    if isinstance(value, bool):
        return field.kind == "boolean"
    if isinstance(value, (int, float)):
        return field.kind in ("integer", "amount", "time", "number", "boolean")
    return field.kind in ("string", "enum", "decimal", "datetime")
