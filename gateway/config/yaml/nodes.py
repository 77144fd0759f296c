"""YAML nodes -> plain values, each with its place: ${VARIABLES} filled in, aliases bounded, nothing twice."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from gateway.config.diagnostics.problem import Problem, ProblemNote
from gateway.config.yaml.scalars import ScalarMap
from gateway.config.yaml.textfile import TextFile
from gateway.config.yaml.variables import Filled, Variables
from gateway.core.errors import Where

Path_ = tuple[str | int, ...]
Marked = tuple[TextFile, yaml.Node]
MOST_ALIASED = 100_000  # values that a file may gain through its aliases
DEEPEST = 60
DEEPEST_COMPOSED = 1000  # past it, nothing of the file is looked at

_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_LONGEST_NUMBER = 300
_CONSTANTS: dict[str, Any] = {"": None, "~": None} | dict.fromkeys(("null", "Null", "NULL"))
_CONSTANTS |= dict.fromkeys(("true", "True", "TRUE"), True) | dict.fromkeys(("false", "False", "FALSE"), False)

_PLAIN_TAG = "tag:yaml.org,2002:str"


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # libyaml's, where it is there
    """Composes nodes and guesses no types: what a scalar means is decided here, and `yes` stays a text."""

    _depth = 0

    def descend_resolver(self, current_node: Any, current_index: Any) -> None:
        """Called at each node, within another one or at the top. libyaml itself would go down until the stack ends."""
        self._depth += 1
        if self._depth > DEEPEST_COMPOSED:
            raise yaml.MarkedYAMLError(problem="nested too deeply", problem_mark=current_node.start_mark)

    def ascend_resolver(self) -> None:
        """Called after each."""
        self._depth -= 1

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        """A tag for what has none; `!` for a scalar that is not to be guessed at."""
        return "!" if kind is yaml.ScalarNode and not implicit[0] else _PLAIN_TAG


@dataclass(slots=True)
class Reading:
    """What the files of one configuration share while they are read."""

    variables: Variables
    is_partial: bool  # variables may be unset
    problems: list[Problem] = field(default_factory=list)
    filled: dict[int, Filled] = field(default_factory=dict)  # by the id of the scalar's node
    roots: list[yaml.Node] = field(default_factory=list)  # kept, so that no id is used twice

    def problem(
        self, code: str, where: Where, message: str, hint: str | None = None, notes: tuple[ProblemNote, ...] = ()
    ) -> None:
        """Notes one."""
        self.problems.append(Problem(where, message, hint, code=code, notes=notes))

    def twice(self, where: Where, key: str, first: Where) -> None:
        """Notes a name that is there twice."""
        self.problem("duplicate-key", where, f"{key} is there twice", notes=(ProblemNote("first", first),))


@dataclass(slots=True)
class Marks:
    """Where values and keys stand, by path."""

    values: dict[Path_, Marked] = field(default_factory=dict)
    keys: dict[Path_, Marked] = field(default_factory=dict)


class Nodes:
    """One file's nodes -> values."""

    def __init__(self, reading: Reading, file: TextFile, marks: Marks) -> None:
        self._reading = reading
        self._file = file
        self._values = marks.values
        self._keys = marks.keys
        self._open: set[int] = set()
        self._seen: set[int] = set()
        self._aliased = 0

    def value(self, node: yaml.Node, at: Path_ = (), depth: int = 0) -> Any:
        """A node's value; None where it cannot be had."""
        self._values[at] = (self._file, node)
        if node.tag[:1] == "!" and node.tag != "!":
            hint = "variables are written ${NAME}, further files stand in include:"
            self._problem("yaml", at, f"the tag {node.tag} means nothing here", hint)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, at)
        here = id(node)
        if here in self._open:
            return self._problem("alias", at, "an alias may not contain itself")
        if here in self._seen:
            self._aliased += len(node.value)
            if self._aliased > MOST_ALIASED:
                if self._aliased - len(node.value) <= MOST_ALIASED:
                    self._problem("alias", at, f"the file grows by more than {MOST_ALIASED} values through its aliases")
                return None
        self._seen.add(here)
        if depth > DEEPEST:
            return self._problem("yaml", at, "nested too deeply")
        self._open.add(here)
        try:
            if isinstance(node, yaml.SequenceNode):
                return [self.value(item, (*at, i), depth + 1) for i, item in enumerate(node.value)]
            assert isinstance(node, yaml.MappingNode)
            return self._mapping(node, at, depth)
        finally:
            self._open.discard(here)

    def _mapping(self, node: yaml.MappingNode, at: Path_, depth: int) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:  # first: what the mapping itself says wins, and keeps its place
            if key_node.value == "<<" and not key_node.style:
                parts = value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
                for part in reversed(parts):
                    if isinstance(part, yaml.MappingNode):
                        value = self.value(part, at, depth + 1)
                        merged |= value if isinstance(value, dict) else {}
                    else:
                        self._values[at] = (self._file, part)
                        self._problem("yaml", at, "<< merges mappings only")
        self._values[at] = (self._file, node)
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._complex_key(node, key_node, at)
                continue
            key = key_node.value
            if key == "<<" and not key_node.style:
                continue
            here = (*at, key)
            if key in values:
                self._reading.twice(where_of(self._file, key_node, here), key, where_of(*self._keys[here], here))
                continue
            self._keys[here] = (self._file, key_node)
            values[key] = self.value(value_node, here, depth + 1)
        return merged | values

    def _complex_key(self, around: yaml.Node, key: yaml.Node, at: Path_) -> None:
        start = around.start_mark.index
        if self._file.text.startswith("{{", start):
            end = self._file.text.find("}}", start)
            place = self._file.where(start, end + 2 if end > 0 else start, dotted(at))
            message, hint = "a value that begins with {{ must stand in quotes", 'write "{{ ... }}"'
            self._reading.problem("yaml", place, message, hint)
        else:
            self._reading.problem("yaml", where_of(self._file, key, at), "a key must be text")

    def _scalar(self, node: yaml.ScalarNode, at: Path_) -> Any:
        text: str = node.value
        if "${" in text:
            text = self._fill(node, at)
            if not text:
                return ""  # `token: ${TOKEN:-}` is an empty text, where nothing written would be null
        if node.style or node.tag == "!":
            return text
        if text in _CONSTANTS:
            return _CONSTANTS[text]
        if _INT.fullmatch(text):
            if len(text) > _LONGEST_NUMBER:
                return self._problem("invalid-value", at, f"a number of {len(text)} digits", "put it in quotes")
            return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
        if _FLOAT.fullmatch(text):
            return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        return text

    def _fill(self, node: yaml.ScalarNode, at: Path_) -> str:
        filled = self._reading.filled.get(id(node))
        if filled is None:
            filled = self._reading.filled[id(node)] = self._reading.variables.fill(node.value)
            for start, end, what in filled.complaints:
                if what.is_unset and self._reading.is_partial:
                    continue
                characters = characters_of(self._file, node)
                first, last = characters.offset(start), characters.offset(end - 1)
                place = where_of(self._file, node, at)
                if first is not None and last is not None:
                    place = self._file.where(first, last + 1, dotted(at))
                code = "variable" if not what.is_unset else "unset-variable" if what.hint else "secret-file"
                self._reading.problem(code, place, what.message, what.hint)
        return filled.text

    def _problem(self, code: str, at: Path_, message: str, hint: str | None = None) -> None:
        self._reading.problem(code, where_of(*self._values[at], at), message, hint)


def characters_of(file: TextFile, node: yaml.ScalarNode) -> ScalarMap:
    """Where each character of a scalar stands in its file."""
    return ScalarMap(file.text, node.start_mark.index, node.end_mark.index, node.style, node.value)


def where_of(file: TextFile, node: yaml.Node, path: Path_) -> Where:
    """The place of a node."""
    start, end = node.start_mark, node.end_mark
    end_column = end.column + 1 if end.line == start.line and end.column > start.column else 0
    return Where(file.name, start.line + 1, start.column + 1, dotted(path), end_column)


def dotted(path: Path_) -> str:
    """`routes.fulfil.events[0]` of a path."""
    if not path:
        return ""
    around, last = _dotted_around(path[:-1]), path[-1]
    return f"{around}[{last}]" if isinstance(last, int) else f"{around}.{last}" if around else last


_dotted_around = functools.lru_cache(maxsize=1000)(dotted)  # neighbours share it
