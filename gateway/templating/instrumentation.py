"""Puts filters of ours where a template prints, loops, joins, compares, slices and makes lists.

Their names hold a space, so that no template can write them.
"""

from __future__ import annotations

from jinja2 import nodes
from jinja2.visitor import NodeTransformer

PRINT, TEXT, LOOP, JOIN = "gateway print", "gateway text", "gateway loop", "gateway join"
COMPARED, SEARCHED, SLICED, MADE = "gateway compared", "gateway searched", "gateway sliced", "gateway made"
_TEXT_FILTERS = frozenset(
    ("capitalize", "center", "e", "escape", "forceescape", "indent", "lower", "replace", "string", "striptags", "title",
     "trim", "truncate", "upper", "urlencode", "urlize", "wordwrap")
)  # fmt: skip
"""Jinja's filters that take whatever they are given for text, and so make a None of null."""


class Rewriter(NodeTransformer):
    """Changes a syntax tree before it becomes code."""

    def visit_Output(self, node: nodes.Output) -> nodes.Output:  # noqa: N802 - Jinja's name
        for part in node.nodes:
            _refuse_null_text(part)
        self.generic_visit(node)
        node.nodes = [part if isinstance(part, nodes.TemplateData) else _printed(part) for part in node.nodes]
        return node

    def visit_Assign(self, node: nodes.Assign) -> nodes.Assign:  # noqa: N802 - of a lone expression too
        _refuse_null_text(node.node)
        self.generic_visit(node)
        return node

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802
        self.generic_visit(node)
        node.iter = _filter(node.iter, LOOP, path_of(node.iter))
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filter(nodes.List(node.nodes, lineno=node.lineno), JOIN)

    def visit_Compare(self, node: nodes.Compare) -> nodes.Compare:  # noqa: N802
        self.generic_visit(node)
        if not any(_is_constant(part) for part in (node.expr, *(operand.expr for operand in node.ops))):
            node.expr = _filter(node.expr, COMPARED)
            for operand in node.ops:
                operand.expr = _filter(operand.expr, SEARCHED if operand.op in ("in", "notin") else COMPARED)
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Getitem:  # noqa: N802
        self.generic_visit(node)
        if isinstance(node.arg, nodes.Slice):
            node.node = _filter(node.node, SLICED)
        return node

    def visit_List(self, node: nodes.List) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return node if _is_constant(node) else _filter(node, MADE)

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return node if node.ctx != "load" or _is_constant(node) else _filter(node, MADE)

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return node if all(_is_constant(pair.value) for pair in node.items) else _filter(node, MADE)


def _printed(part: nodes.Expr) -> nodes.Filter:
    if isinstance(part, nodes.Filter) and part.name in ("default", "d") and part.node is not None:
        return _filter(part, PRINT, path_of(part.node), True)
    return _filter(part, PRINT, path_of(part))


def _refuse_null_text(part: nodes.Node) -> None:
    """Puts a filter that refuses null below filters that would write it as a text."""
    while isinstance(part, nodes.Filter) and part.name in _TEXT_FILTERS and part.node is not None:
        path = path_of(part.node)
        if path:
            part.node = _filter(part.node, TEXT, path)
            return
        part = part.node


def _is_constant(node: nodes.Node) -> bool:
    if isinstance(node, (nodes.List, nodes.Tuple)):
        return all(_is_constant(item) for item in node.items)
    return isinstance(node, nodes.Const)


def _filter(node: nodes.Node, name: str, *args: str | bool) -> nodes.Filter:
    assert isinstance(node, nodes.Expr)
    return nodes.Filter(node, name, [nodes.Const(arg) for arg in args], [], None, None, lineno=node.lineno)


def path_of(node: nodes.Node) -> str:
    """`object.lines.data[0]` for a node that is such a path, else an empty text."""
    if isinstance(node, nodes.Name):
        return node.name
    if isinstance(node, nodes.Getattr):
        inner = path_of(node.node)
        return inner and f"{inner}.{node.attr}"
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
        inner = path_of(node.node)
        return inner and f"{inner}[{node.arg.value!r}]"
    return ""
