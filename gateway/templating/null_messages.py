"""What to write where a null made a template fail: found in its syntax tree, and told in the form that it has there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from jinja2 import nodes

from gateway.templating.instrumentation import path_of
from gateway.templating.unparse import unparse

_TAKE_NULL = frozenset(("d", "default", "tojson", "list", "map", "select", "reject"))
_NO_NULL = {
    "timestamp": "none",
    "major_units": "none",
    "int": "0",
    "float": "0",
    "length": "0",
    "count": "0",
    "sum": "0",
    "round": "0",
}
"""What stands for null beside a filter, where it is no text."""
_ARITHMETIC = (nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Pow, nodes.Neg, nodes.Pos)
_ORDER = frozenset(("lt", "lteq", "gt", "gteq", "in", "notin"))


def null_words(tree: nodes.Node, value_of: Callable[[nodes.Node], Any]) -> str | None:
    """`object.trial_end is null; write object.trial_end | timestamp if object.trial_end is not none else none`, for the
    first path in the tree that is null where nothing takes a null. `value_of` gives the value at a path. None where
    there is no such path.
    """
    for node in tree.find_all((nodes.Filter, nodes.BinExpr, nodes.UnaryExpr, nodes.Compare)):
        for operand in _operands(node):
            path = path_of(operand)
            if path and value_of(operand) is None:
                return f"{path} is null; write {_cure(node, path)}"
    return None


def _operands(node: nodes.Node) -> Iterator[nodes.Node]:
    """What of a node must not be null."""
    if isinstance(node, nodes.Filter):
        if node.name not in _TAKE_NULL and node.node is not None:
            yield from (node.node, *node.args)
    elif isinstance(node, _ARITHMETIC):
        yield from node.iter_child_nodes()
    elif isinstance(node, nodes.Compare) and node.ops[0].op in _ORDER:
        yield from (node.expr, *(operand.expr for operand in node.ops))


def _cure(node: nodes.Node, path: str) -> str:
    written = unparse(node)
    if isinstance(node, nodes.Filter):
        return f"{written} if {path} is not none else {_NO_NULL.get(node.name, repr('...'))}"
    if isinstance(node, nodes.Compare):
        return f"{path} is not none and {written}"
    return f"({path} | default(0, true)) for it in {written}"
