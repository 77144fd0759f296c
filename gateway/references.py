"""Which names a template takes from its scope, and whether compiling it can fail: read from its syntax tree."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from jinja2 import nodes

from gateway.spots import stretch_of

Key = str | int
_SURE = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.Name,
    nodes.Getattr,
    nodes.Getitem,
    nodes.Const,
    nodes.Filter,
    nodes.Test,
    nodes.Compare,
    nodes.Operand,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.CondExpr,
    nodes.Add,
    nodes.Sub,
    nodes.Mul,
    nodes.Div,
    nodes.Mod,
    nodes.Neg,
    nodes.Concat,
    nodes.Call,
    nodes.Keyword,
    nodes.Pair,
    nodes.List,
    nodes.Dict,
    nodes.If,
)
_DEEPEST = 25
_LARGEST_INTEGER = 10**30


@dataclass(frozen=True, slots=True)
class Reference:
    """One `object.lines.data[0]` of a template, whose first name the template does not make itself."""

    path: tuple[Key, ...]
    stretches: tuple[tuple[int, int], ...]  # where each part of the path stands, in characters of the text
    is_optional: bool  # the template copes without it: `is defined`, `default(...)`
    file: str | None = None  # the template file it stands in; None: the text in the YAML


@dataclass(frozen=True, slots=True)
class TreeNames:
    """What a syntax tree takes and makes."""

    references: tuple[Reference, ...]
    made: frozenset[str]  # names that the template itself gives a value, anywhere


def names_in(tree: nodes.Node, file: str | None = None) -> TreeNames:
    """Every reference of one text, in order. Raises RecursionError for a tree that is nested too deeply."""
    made: set[str] = set()
    tested: set[tuple[Key, ...]] = set()
    found: list[Reference] = []

    def visit(node: nodes.Node, optional: bool) -> None:
        if isinstance(node, (nodes.Getattr, nodes.Getitem, nodes.Name)):
            if isinstance(node, nodes.Name) and node.ctx != "load":
                made.add(node.name)
                return
            chain = _chain(node)
            if chain is not None:
                path, stretches = chain
                found.append(Reference(path, stretches, optional, file))
                return
        elif isinstance(node, nodes.Test) and node.name in ("defined", "undefined"):
            chain = _chain(node.node)
            if chain is not None:
                tested.add(chain[0])
            visit(node.node, True)
            return
        elif isinstance(node, nodes.Filter) and node.name in ("default", "d") and node.node is not None:
            visit(node.node, True)
            for part in (*node.args, *node.kwargs):
                visit(part, False)
            return
        elif isinstance(node, (nodes.Macro, nodes.CallBlock)):
            made.update(("varargs", "kwargs", "caller"))
            if isinstance(node, nodes.Macro):
                made.add(node.name)
        elif isinstance(node, nodes.For):
            made.add("loop")
        elif isinstance(node, nodes.Block):
            made.update(("super", "self"))
        elif isinstance(node, nodes.Import):
            made.add(node.target)
        elif isinstance(node, nodes.FromImport):
            made.update(name if isinstance(name, str) else name[1] for name in node.names)
        for child in node.iter_child_nodes():
            visit(child, False)

    visit(tree, False)
    references = tuple(
        Reference(one.path, one.stretches, True, one.file)
        if not one.is_optional and any(one.path[: len(path)] == path for path in tested)
        else one
        for one in found
    )
    return TreeNames(references, frozenset(made))


def taken(parts: Iterable[TreeNames], given: Collection[str]) -> tuple[Reference, ...]:
    """The references of texts that include each other, without those to names that any of them makes or that are
    `given` by the environment.
    """
    several = list(parts)
    own = frozenset[str]().union(*(part.made for part in several))
    return tuple(
        one for part in several for one in part.references if one.path[0] not in own and one.path[0] not in given
    )


def _chain(node: nodes.Node) -> tuple[tuple[Key, ...], tuple[tuple[int, int], ...]] | None:
    """Path and stretches of a chain of names and constant keys; None for any other node."""
    if isinstance(node, nodes.Name):
        return (node.name,), (stretch_of(node.lineno) or (0, 0),)
    if isinstance(node, nodes.Getattr):
        inner, key = _chain(node.node), node.attr
    elif (
        isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, (str, int))
    ):
        inner, key = _chain(node.node), node.arg.value
    else:
        return None
    if inner is None:
        return None
    start, end = stretch_of(node.lineno) or (0, 0)
    if isinstance(node, nodes.Getattr):  # its place is that of the dot
        start, end = end, end + len(node.attr)
    else:
        start, end = stretch_of(node.arg.lineno) or (start, end)
    return (*inner[0], key), (*inner[1], (start, end))


def compiles_surely(tree: nodes.Node) -> bool:
    """Whether a tree that parsed, and whose filters and tests exist, can be left to compile at its first use: only
    plain expressions and texts, for which no error can come any more.
    """

    def is_sure(node: nodes.Node, depth: int) -> bool:
        if depth > _DEEPEST or not isinstance(node, _SURE):
            return False
        if isinstance(node, nodes.Const) and isinstance(node.value, int) and abs(node.value) > _LARGEST_INTEGER:
            return False
        if isinstance(node, (nodes.Call, nodes.Filter, nodes.Test)):
            names = [keyword.key for keyword in node.kwargs]
            if len(names) != len(set(names)) or node.dyn_args is not None or node.dyn_kwargs is not None:
                return False
        return all(is_sure(child, depth + 1) for child in node.iter_child_nodes())

    return is_sure(tree, 0)
