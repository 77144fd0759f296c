"""Which part of a condition decided, and what its operands were: `object.payment_status is 'unpaid'`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, nodes
from jinja2.parser import Parser

from gateway.core.errors import TemplateError
from gateway.core.model import Expression
from gateway.templating.compiler import Templates
from gateway.templating.unparse import literal, unparse

_LONGEST_VALUE = 60
_MISSING = object()
_SYNTAX = Environment(autoescape=True)


@dataclass(frozen=True, slots=True)
class Operand:
    """One thing that a part looked at."""

    source: str
    value: Any
    is_missing: bool = False

    def __str__(self) -> str:
        return f"{self.source} is " + ("not there" if self.is_missing else shown(self.value))


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a condition without `and`, `or` or `not` of its own."""

    source: str
    holds: bool
    operands: tuple[Operand, ...]

    def __str__(self) -> str:
        says = f"{self.source} is {str(self.holds).lower()}"
        return f"{says}: {self.seen}"

    @property
    def seen(self) -> str:
        """Its operands and their values."""
        return ", ".join(map(str, self.operands))


def shown(value: Any) -> str:
    """A value in the words of an expression, cut where it is long."""
    if isinstance(value, Mapping):
        return "an empty mapping" if not value else f"a mapping with {', '.join(map(str, value))}"[:_LONGEST_VALUE]
    if isinstance(value, list) and any(isinstance(item, (list, Mapping)) for item in value):
        return f"a list of {len(value)}"
    text = "null" if value is None else literal(value)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 3] + "..."


def decided_by(expression: Expression, scope: Mapping[str, Any]) -> tuple[str, ...]:
    """What made a condition what it is: the values that its deciding parts saw, each in a sentence. Raises
    TemplateError where the whole does not evaluate.
    """
    node = Parser(_SYNTAX, expression.source, state="variable").parse_expression()
    parts = _Judging(expression, scope).parts(node, bool(expression.evaluate(scope)))
    while isinstance(node, nodes.Not):
        node = node.node
    is_one_part = not isinstance(node, (nodes.And, nodes.Or, nodes.CondExpr))
    return tuple(part.seen if is_one_part else str(part) for part in parts if part.operands)


class _Judging:
    def __init__(self, expression: Expression, scope: Mapping[str, Any]) -> None:
        self._expression = expression
        self._scope = scope
        self._templates = Templates(Path())

    def _value(self, node: nodes.Node) -> Any:
        """What a part of the expression is, or `_MISSING` where it does not evaluate."""
        try:
            return self._templates.expression(unparse(node), self._expression.where).evaluate(self._scope)
        except TemplateError:
            return _MISSING

    def parts(self, node: nodes.Node, truth: bool) -> list[Part]:
        """The parts that make `node` be `truth`."""
        if isinstance(node, nodes.Not):
            return self.parts(node.node, not truth)
        if isinstance(node, (nodes.And, nodes.Or)):
            both = truth is isinstance(node, nodes.And)  # a true `and`, a false `or`: each side says so
            sides = []
            for side in (node.left, node.right):
                value = self._value(side)
                if value is not _MISSING and (both or bool(value) is truth):
                    sides += self.parts(side, truth)
            return sides
        if isinstance(node, nodes.CondExpr):
            test = bool(self._value(node.test))
            chosen = node.expr1 if test else node.expr2
            return self.parts(node.test, test) + (self.parts(chosen, truth) if chosen is not None else [])
        return [Part(unparse(node), truth, tuple(self._operands(node)))]

    def _operands(self, node: nodes.Node) -> list[Operand]:
        looked_at: list[nodes.Node]
        if isinstance(node, nodes.Compare):
            looked_at = [node.expr, *(operand.expr for operand in node.ops)]
        elif isinstance(node, nodes.Test):
            looked_at = [node.node, *node.args]
        else:
            looked_at = [node]
        operands = {}
        for part in looked_at:
            if not _is_constant(part):
                value = self._value(part)
                source = unparse(part)
                operands[source] = Operand(source, None if value is _MISSING else value, value is _MISSING)
        return list(operands.values())


def _is_constant(node: nodes.Node) -> bool:
    """Whether it says itself what it is."""
    return isinstance(node, nodes.Const) or (
        isinstance(node, (nodes.List, nodes.Tuple)) and all(_is_constant(item) for item in node.items)
    )
