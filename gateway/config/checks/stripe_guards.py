"""What a condition says of Stripe's object where it holds, and where it does not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

from jinja2 import nodes

from gateway.config.checks.stripe_held import EventCase, Value
from gateway.templating.references import Key, written

_FLIPPED = {
    "eq": "ne",
    "ne": "eq",
    "in": "notin",
    "notin": "in",
    "gt": "lteq",
    "lt": "gteq",
    "gteq": "lt",
    "lteq": "gt",
}
_OF_TYPES = {"startswith": str.startswith, "endswith": str.endswith}
_TYPE = ("event", "type")


class Names(Protocol):
    """What the names of a text stand for."""

    def resolve(self, node: nodes.Node, case: EventCase) -> Value | None:
        """The value of a chain of names, without a word on what is wrong with it."""

    def path(self, node: nodes.Node | None) -> tuple[Key, ...] | None:
        """Where a chain of names and constant keys leads; None for anything else."""

    def constants(self, node: nodes.Node) -> list[Any] | None:
        """The values of a constant, or of a list of them; None for anything else."""


def assume(test: nodes.Node, is_true: bool, case: EventCase, names: Names) -> EventCase | None:
    """What is known where a condition is true, or is not; None where it cannot be so."""
    if isinstance(test, nodes.Not):
        return assume(test.node, not is_true, case, names)
    if isinstance(test, (nodes.And, nodes.Or)):
        return _both(test, is_true, case, names)
    if isinstance(test, nodes.Const):
        return case if bool(test.value) is is_true else None
    if isinstance(test, nodes.Compare) and len(test.ops) == 1:
        return _compared(test, is_true, case, names)
    if isinstance(test, nodes.Test):
        return _tested(test, is_true, case, names)
    if isinstance(test, nodes.Call):
        return _of_types(test, is_true, case, names)
    if isinstance(test, nodes.Filter) and test.name in ("default", "d", "length", "count", "trim"):
        return assume(test.node, is_true, case, names) if is_true and test.node is not None else case
    path = names.path(test)
    if path is None:
        return case
    if is_true:
        return case.with_path(path, is_null=False)
    return case.with_values(written(path), frozenset((False,))) if path[-1] == "has_more" else case


def _both(test: nodes.And | nodes.Or, is_true: bool, case: EventCase, names: Names) -> EventCase | None:
    """Of `a and b`, both are true where it is; of `a or b`, both are false where it is not. Elsewhere, either."""
    if isinstance(test, nodes.And) is is_true:
        left = assume(test.left, is_true, case, names)
        return None if left is None else assume(test.right, is_true, left, names)
    left = assume(test.left, is_true, case, names)
    other = assume(test.left, not is_true, case, names)
    right = None if other is None else assume(test.right, is_true, other, names)
    if left is None or right is None:
        return left or right
    values = tuple(
        (path, known | (right.known(path) or frozenset()))
        for path, known in left.values
        if right.known(path) is not None
    )
    return replace(
        left,
        there=left.there & right.there,
        defined=left.defined & right.defined,
        values=values,
        types=left.types | right.types,
    )


def _tested(test: nodes.Test, is_true: bool, case: EventCase, names: Names) -> EventCase | None:
    path = names.path(test.node)
    if path is None:
        return case
    if test.name in ("defined", "undefined"):
        if is_true is not (test.name == "defined"):
            return None if written(path) in case.there else case
        return case.with_path(path, is_null=None)
    if test.name == "none":
        if is_true:
            return None if written(path) in case.there else case
        return case.with_path(path, is_null=False)
    return case.with_path(path, is_null=False) if is_true else case


def _compared(test: nodes.Compare, is_true: bool, case: EventCase, names: Names) -> EventCase | None:
    operand = test.ops[0]
    operator = operand.op if is_true else _FLIPPED[operand.op]
    side, other = test.expr, operand.expr
    if operand.op == "in" and isinstance(side, nodes.Const) and is_true:  # 'items' in previous
        path, key = names.path(other), (names.constants(side) or [None])[0]
        return case.with_path((*path, key), is_null=None) if path is not None and isinstance(key, str) else case
    if not _is_constant(other) and operand.op in ("eq", "ne"):
        side, other = other, side
    path = names.path(side)
    if path is None:
        return case
    if not _is_constant(other):
        return case.with_path(path, is_null=False) if operator in ("gt", "lt", "gteq", "lteq") else case
    is_one = operator in ("eq", "in")
    if path == _TYPE:
        options = names.constants(other) or []
        return _with_types(case, {kind for kind in case.types if (kind in options) is is_one}, operator)
    if operator not in ("eq", "ne", "in", "notin"):
        return case.with_path(path, is_null=False)
    has_null = any(isinstance(item, nodes.Const) and item.value is None for item in (other, *other.iter_child_nodes()))
    there = case.with_path(path, is_null=False) if is_one is not has_null else case
    known = None if has_null else _known(path, case, side, names)
    if known is None:
        return there
    options = names.constants(other) or []
    left = known & set(options) if is_one else known - set(options)
    return there.with_values(written(path), left) if left else None


def _is_constant(node: nodes.Node) -> bool:
    if isinstance(node, (nodes.List, nodes.Tuple)):
        return all(isinstance(item, nodes.Const) for item in node.items)
    return isinstance(node, nodes.Const)


def _known(path: tuple[Key, ...], case: EventCase, node: nodes.Node, names: Names) -> frozenset[Any] | None:
    """What a field may be: what conditions have left, or else all that its type has. None where that is without
    end: what conditions say of it changes nothing.
    """
    known = case.known(written(path))
    if known is not None:
        return known
    value = names.resolve(node, case)
    if value is None or value.field.kind != "enum" or not value.field.values:
        return None
    return frozenset(value.owner) if path[-1] == "object" and len(value.below) == 1 else frozenset(value.field.values)


def _with_types(case: EventCase, types: set[str], operator: str) -> EventCase | None:
    if operator not in ("eq", "in", "ne", "notin"):
        return case
    return replace(case, types=frozenset(types)) if types else None


def _of_types(call: nodes.Call, is_true: bool, case: EventCase, names: Names) -> EventCase | None:
    """`event.type.startswith('...')`."""
    method = names.path(call.node)
    if method is None or method[:-1] != _TYPE or method[-1] not in _OF_TYPES or len(call.args) != 1:
        return case
    begins = names.constants(call.args[0])
    if not begins or not all(isinstance(text, str) for text in begins):
        return case
    test = _OF_TYPES[str(method[-1])]
    return _with_types(case, {kind for kind in case.types if test(kind, tuple(begins)) is is_true}, "in")
