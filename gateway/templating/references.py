"""Which names a template takes from its scope, and whether compiling it can fail: read from its syntax tree."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from jinja2 import nodes

from gateway.core.errors import Where
from gateway.templating.positions import stretch_of

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


def written(path: Sequence[Key]) -> str:
    """A path as templates write it, such as object.lines.data[0]."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
    return text.removeprefix(".")


Locate = Callable[[Reference, int], Where]
"""The place of one part of a reference's path, counted from 0."""


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A template file that a template includes, imports or extends."""

    name: str
    line: int  # a TokenPosition
    may_be_missing: bool


@dataclass(frozen=True, slots=True)
class Survey:
    """What a syntax tree takes, makes and names."""

    references: tuple[Reference, ...]
    assigned: frozenset[str]  # names that the template itself gives a value, anywhere
    filters: tuple[tuple[str, int], ...]  # name and line, a TokenPosition
    tests: tuple[tuple[str, int], ...]
    files: tuple[NamedFile, ...]
    tested: frozenset[tuple[Key, ...]]  # paths that it asks for with `is defined`
    is_sure: bool  # of plain expressions and texts only: once parsed, with filters and tests that exist, it compiles


def survey(tree: nodes.Node, file: str | None = None) -> Survey:
    """One walk through a syntax tree. Raises RecursionError for one that is nested too deeply."""
    walk = _Walk(file)
    walk.visit(tree, False, 0)
    references = tuple(
        Reference(reference.path, reference.stretches, True, reference.file)
        if not reference.is_optional and any(reference.path[: len(path)] == path for path in walk.tested)
        else reference
        for reference in walk.references
    )
    return Survey(
        references,
        frozenset(walk.assigned),
        tuple(walk.filters),
        tuple(walk.tests),
        tuple(walk.files),
        frozenset(walk.tested),
        walk.is_sure,
    )


class _Walk:
    """What was met on the way."""

    def __init__(self, file: str | None) -> None:
        self.file = file
        self.assigned: set[str] = set()
        self.tested: set[tuple[Key, ...]] = set()
        self.references: list[Reference] = []
        self.filters: list[tuple[str, int]] = []
        self.tests: list[tuple[str, int]] = []
        self.files: list[NamedFile] = []
        self.is_sure = True

    def visit(self, node: nodes.Node, optional: bool, depth: int) -> None:
        """`optional`: the template copes where this node is undefined."""
        if self.is_sure and not _is_sure(node, depth):
            self.is_sure = False
        inner_optional = False
        if isinstance(node, (nodes.Getattr, nodes.Getitem, nodes.Name)):
            if isinstance(node, nodes.Name) and node.ctx != "load":
                self.assigned.add(node.name)
                return
            chain = chain_of(node)
            if chain is not None:
                self.references.append(Reference(*chain, optional, self.file))
                return
        elif isinstance(node, nodes.Test):
            self.tests.append((node.name, node.lineno))
            if node.name in ("defined", "undefined"):
                chain = chain_of(node.node)
                inner_optional = True
                if chain is not None:
                    self.tested.add(chain[0])
        elif isinstance(node, nodes.Filter):
            self.filters.append((node.name, node.lineno))
            if node.name in ("default", "d") and node.node is not None:
                self.visit(node.node, True, depth + 1)
                for part in (*node.args, *node.kwargs):
                    self.visit(part, False, depth + 1)
                return
        elif not isinstance(node, _SURE):
            self._statement(node)
        for child in node.iter_child_nodes():
            self.visit(child, inner_optional, depth + 1)

    def _statement(self, node: nodes.Node) -> None:
        """Names that a statement makes, and files that it names."""
        if isinstance(node, (nodes.Macro, nodes.CallBlock)):
            self.assigned.update(("varargs", "kwargs", "caller"))
            if isinstance(node, nodes.Macro):
                self.assigned.add(node.name)
        elif isinstance(node, nodes.For):
            self.assigned.add("loop")
        elif isinstance(node, nodes.Block):
            self.assigned.update(("super", "self"))
        elif isinstance(node, nodes.Import):
            self.assigned.add(node.target)
        elif isinstance(node, nodes.FromImport):
            self.assigned.update(name if isinstance(name, str) else name[1] for name in node.names)
        if isinstance(node, (nodes.Extends, nodes.Include, nodes.Import, nodes.FromImport)):
            template = node.template
            if isinstance(template, nodes.Const) and isinstance(template.value, str):
                self.files.append(NamedFile(template.value, template.lineno, getattr(node, "ignore_missing", False)))


def _is_sure(node: nodes.Node, depth: int) -> bool:
    """Whether nothing about this node can fail to compile."""
    if depth > _DEEPEST or not isinstance(node, _SURE):
        return False
    if isinstance(node, nodes.Const):
        return not isinstance(node.value, int) or abs(node.value) <= _LARGEST_INTEGER
    if isinstance(node, (nodes.Call, nodes.Filter, nodes.Test)):
        names = [keyword.key for keyword in node.kwargs]
        return len(names) == len(set(names)) and node.dyn_args is None and node.dyn_kwargs is None
    return True


def taken(parts: Iterable[Survey], provided: Collection[str]) -> tuple[Reference, ...]:
    """The references of texts that include each other, without those to names that any of them makes or that are
    `given` by the environment.
    """
    several = list(parts)
    own = frozenset[str]().union(*(part.assigned for part in several))
    return tuple(
        reference
        for part in several
        for reference in part.references
        if reference.path[0] not in own and reference.path[0] not in provided
    )


def chain_of(node: nodes.Node) -> tuple[tuple[Key, ...], tuple[tuple[int, int], ...]] | None:
    """Path and stretches of a chain of names and constant keys; None for any other node."""
    if isinstance(node, nodes.Name):
        return (node.name,), (stretch_of(node.lineno) or (0, 0),)
    key: Key
    if isinstance(node, nodes.Getattr):
        key = node.attr
        _, dot = stretch_of(node.lineno) or (0, 0)
        stretch = (dot, dot + len(key))
    elif (
        isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, (str, int))
    ):
        key = node.arg.value
        stretch = stretch_of(node.arg.lineno) or (0, 0)
    else:
        return None
    inner = chain_of(node.node)
    return None if inner is None else ((*inner[0], key), (*inner[1], stretch))
