"""YAML files -> plain values with the place of each: ${VARIABLES} filled in, includes merged, nothing twice."""

from __future__ import annotations

import functools
import glob
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from gateway.errors import Where
from gateway.settings.files import TextFile
from gateway.settings.problems import Note, Problem
from gateway.settings.scalars import ScalarMap
from gateway.settings.variables import Filled, Variables
from gateway.settings.yaml_words import yaml_fault

Path_ = tuple[str | int, ...]
MOST_ALIASED = 100_000  # values that a file may gain through its aliases
DEEPEST = 60
INCLUDABLE = ("accounts", "connections", "routes", "vars")

_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_LONGEST_NUMBER = 300
_CONSTANTS: dict[str, Any] = {"": None, "~": None} | dict.fromkeys(("null", "Null", "NULL"))
_CONSTANTS |= dict.fromkeys(("true", "True", "TRUE"), True) | dict.fromkeys(("false", "False", "FALSE"), False)

_PLAIN_TAG = "tag:yaml.org,2002:str"


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc] - libyaml's, where it is there
    """Composes nodes and guesses no types: what a scalar means is decided here, and `yes` stays a text."""

    def descend_resolver(self, current_node: Any, current_index: Any) -> None:
        """Nothing depends on where a node stands."""

    def ascend_resolver(self) -> None:
        """Nothing depends on where a node stands."""

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        """A tag for what has none; `!` for a scalar that is not to be guessed at."""
        return "!" if kind is yaml.ScalarNode and not implicit[0] else _PLAIN_TAG

_Marked = tuple[TextFile, yaml.Node]


class Source:
    """All that was read: `value`, the place of each value and key by path, and the problems on the way."""

    def __init__(self, path: Path, environ: Mapping[str, str], *, lenient: bool = False) -> None:
        self.path = path
        self.folder = path.resolve().parent
        self.problems: list[Problem] = []
        self.files: set[Path] = set()
        self.texts: dict[str, TextFile] = {}
        self._values: dict[Path_, _Marked] = {}
        self._keys: dict[Path_, _Marked] = {}
        self._filled: dict[int, Filled] = {}  # by the node's id
        self._lenient = lenient
        self._digest = hashlib.sha256()
        self._variables = Variables(environ, self.folder, self._digest.update, self.files.add)
        self.value: dict[str, Any] = self._load()

    def digest(self, more: Mapping[Path, bytes]) -> str:
        """Twelve characters that change with any file read, or with `more`."""
        digest = self._digest.copy()
        for path, content in sorted(more.items()):
            digest.update(str(path).encode() + b"\0" + content)
        return digest.hexdigest()[:12]

    # -- places -----------------------------------------------------------------------------------------------

    def where(self, path: Path_) -> Where:
        """The place of a value, or of the nearest thing around it that has one."""
        for length in range(len(path), -1, -1):
            found = self._values.get(path[:length])
            if found is not None:
                return _where(*found, path)
        return Where(str(self.path), 1, 1, dotted(path))

    def mark(self, path: Path_) -> tuple[int, int] | None:
        """Line and column of a value."""
        found = self._values.get(path)
        return None if found is None else (found[1].start_mark.line + 1, found[1].start_mark.column + 1)

    def where_key(self, path: Path_) -> Where:
        """The place of the key that names a value."""
        found = self._keys.get(path)
        return _where(*found, path) if found is not None else self.where(path)

    def place(self, path: Path_) -> Callable[[int, int], Where]:
        """The places of stretches of a text value: of its characters after variables are filled in."""
        found = self._values.get(path)
        if found is None or not isinstance(found[1], yaml.ScalarNode):
            return lambda start, end: self.where(path)
        file, node = found
        filled = self._filled.get(id(node))

        def offset(index: int, characters: ScalarMap, at_end: bool) -> int | None:
            if filled is not None:
                index = _written(index, filled, at_end)
            return characters.offset(index)

        def place(start: int, end: int) -> Where:
            characters = ScalarMap(file.text, node.start_mark.index, node.end_mark.index, node.style, node.value)
            first, last = offset(start, characters, False), offset(max(start, end - 1), characters, True)
            if first is None or last is None:
                return self.where(path)
            return file.where(first, last + 1 if end > start else first, dotted(path))

        return place

    def first_line(self, path: Path_) -> int:
        """The file's line on which the first line of a text value stands; 0 where lines do not correspond."""
        found = self._values.get(path)
        if found is None:
            return 0
        node = found[1]
        line: int = node.start_mark.line + 1
        if getattr(node, "style", None) == "|":
            return line + 1
        return line if node.end_mark.line == node.start_mark.line else 0

    def written(self, path: Path_) -> str | None:
        """A value as it stands in the file, where variables are filled in or a secret may stand; None elsewhere."""
        found = self._values.get(path)
        if found is None or id(found[1]) not in self._filled:
            return None
        text: str = found[1].value
        return text

    def scalars(self) -> Iterator[tuple[Path_, TextFile, yaml.ScalarNode, Filled | None]]:
        """Every scalar that has a place."""
        for path, (file, node) in self._values.items():
            if isinstance(node, yaml.ScalarNode):
                yield path, file, node, self._filled.get(id(node))

    # -- reading ----------------------------------------------------------------------------------------------

    def _load(self) -> dict[str, Any]:
        value = self._file(self.path, str(self.path), self._values, self._keys)
        if not isinstance(value, dict):
            if not self.problems:
                place = Where(str(self.path), 1, 1)
                self._problem("wrong-type", place, "expected a mapping: version, accounts, routes, ...")
            return {}
        includes = value.get("include")
        seen = {self.path.resolve()}
        for i, pattern in enumerate(includes if isinstance(includes, list) else ()):
            if isinstance(pattern, str):
                self._include(value, pattern, ("include", i), seen)
        return value

    def _include(self, into: dict[str, Any], pattern: str, at: Path_, seen: set[Path]) -> None:
        found = sorted(glob.glob(pattern, root_dir=self.folder, recursive=True))
        if not found and not glob.has_magic(pattern):
            hint = "paths start at the folder of gateway.yaml"
            self._problem("include", self.where(at), f"there is no file {pattern!r}", hint)
        for name in found:
            path = self.folder / name
            if path.resolve() in seen:
                continue
            seen.add(path.resolve())
            shown = str(self.path.parent / name)
            values: dict[Path_, _Marked] = {}
            keys: dict[Path_, _Marked] = {}
            part = self._file(path, shown, values, keys)
            if part is None:
                continue
            if not isinstance(part, dict):
                self._problem("wrong-type", Where(shown, 1, 1), "expected a mapping: accounts, connections, routes")
                continue
            refused = self._merge(into, part, values, keys)
            for ours, theirs in ((self._values, values), (self._keys, keys)):
                for key, marked in theirs.items():
                    if key[:2] not in refused and (len(key) > 1 or key not in ours):
                        ours[key] = marked

    def _merge(
        self, into: dict[str, Any], part: dict[str, Any], values: dict[Path_, _Marked], keys: dict[Path_, _Marked]
    ) -> set[Path_]:
        """Adds an included file's sections. Returns the paths that are there already."""
        refused: set[Path_] = set()
        for section, content in part.items():
            if section not in INCLUDABLE:
                place = _where(*keys[(section,)], (section,))
                self._problem("include", place, f"an included file holds only {', '.join(INCLUDABLE)}")
                continue
            if not isinstance(content, dict):
                if content is not None:
                    place = _where(*values[(section,)], (section,))
                    self._problem("wrong-type", place, "expected a mapping")
                continue
            target = into.setdefault(section, {})
            if not isinstance(target, dict):
                continue
            for key, item in content.items():
                at = (section, key)
                if key in target:
                    self._twice(_where(*keys[at], at), key, self.where_key(at))
                    refused.add(at)
                else:
                    target[key] = item
        return refused

    def _file(self, path: Path, shown: str, values: dict[Path_, _Marked], keys: dict[Path_, _Marked]) -> Any:
        start = Where(shown, 1, 1)
        try:
            content = path.read_bytes()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            hint = "`gateway init` writes one to start from" if isinstance(error, FileNotFoundError) else None
            self._problem("unreadable", start, f"cannot read it: {reason}", hint)
            return None
        self.files.add(path.resolve())
        self._digest.update(str(path).encode() + b"\0" + content)
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            before = TextFile(shown, content[: error.start].decode("utf-8-sig", errors="replace"))
            place = before.where(len(before.text), len(before.text), "")
            self._problem("unreadable", place, f"it is not UTF-8 (byte {error.start})", "save the file as UTF-8")
            return None
        file = self.texts[shown] = TextFile(shown, text)
        try:
            node = yaml.compose(text, Loader=_Loader)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            file.is_yaml = False
            fault = yaml_fault(error, text, file.line_starts)
            notes: tuple[Note, ...] = ()
            if fault.context is not None:
                word, offset = fault.context
                notes = (Note(word, file.where(offset, offset + 1, "")),)
            self._problem("yaml", file.where(fault.offset, fault.offset, ""), fault.message, fault.hint, notes)
            return None
        return None if node is None else _Nodes(self, file, values, keys).value(node, (), 0)

    def _twice(self, where: Where, key: str, first: Where) -> None:
        self._problem("duplicate-key", where, f"{key} is there twice", notes=(Note("first", first),))

    def _problem(
        self, code: str, where: Where, message: str, hint: str | None = None, notes: tuple[Note, ...] = ()
    ) -> None:
        self.problems.append(Problem(where, message, hint, code=code, notes=notes))


class _Nodes:
    """One file's nodes -> values."""

    def __init__(
        self, source: Source, file: TextFile, values: dict[Path_, _Marked], keys: dict[Path_, _Marked]
    ) -> None:
        self._source = source
        self._file = file
        self._values = values
        self._keys = keys
        self._open: set[int] = set()
        self._seen: set[int] = set()
        self._aliased = 0

    def value(self, node: yaml.Node, at: Path_, depth: int) -> Any:
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
        made: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._complex_key(node, key_node, at)
                continue
            key = key_node.value
            if key == "<<" and not key_node.style:
                continue
            here = (*at, key)
            if key in made:
                self._source._twice(_where(self._file, key_node, here), key, _where(*self._keys[here], here))
                continue
            self._keys[here] = (self._file, key_node)
            made[key] = self.value(value_node, here, depth + 1)
        return merged | made

    def _complex_key(self, around: yaml.Node, key: yaml.Node, at: Path_) -> None:
        start = around.start_mark.index
        if self._file.text.startswith("{{", start):
            end = self._file.text.find("}}", start)
            place = self._file.where(start, end + 2 if end > 0 else start, dotted(at))
            message, hint = "a value that begins with {{ must stand in quotes", 'write "{{ ... }}"'
            self._source._problem("yaml", place, message, hint)
        else:
            self._source._problem("yaml", _where(self._file, key, at), "a key must be text")

    def _scalar(self, node: yaml.ScalarNode, at: Path_) -> Any:
        text: str = node.value
        if "${" in text:
            text = self._fill(node, at)
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
        source = self._source
        filled = source._filled.get(id(node))
        if filled is None:
            filled = source._filled[id(node)] = source._variables.fill(node.value)
            characters = (
                ScalarMap(self._file.text, node.start_mark.index, node.end_mark.index, node.style, node.value)
                if filled.complaints
                else None
            )
            for start, end, what in filled.complaints:
                if what.is_unset and source._lenient:
                    continue
                assert characters is not None
                first, last = characters.offset(start), characters.offset(end - 1)
                place = (
                    _where(self._file, node, at)
                    if first is None or last is None
                    else self._file.where(first, last + 1, dotted(at))
                )
                code = "variable" if not what.is_unset else "unset-variable" if what.hint else "secret-file"
                source._problem(code, place, what.message, what.hint)
        return filled.text

    def _problem(self, code: str, at: Path_, message: str, hint: str | None = None) -> None:
        self._source._problem(code, _where(*self._values[at], at), message, hint)


def _where(file: TextFile, node: yaml.Node, path: Path_) -> Where:
    start, end = node.start_mark, node.end_mark
    end_column = end.column + 1 if end.line == start.line and end.column > start.column else 0
    return Where(file.name, start.line + 1, start.column + 1, dotted(path), end_column)


def _written(index: int, filled: Filled, at_end: bool) -> int:
    """The index in the written text of a character of the filled one."""
    moved = 0
    for start, end, filled_start, filled_end in filled.stretches:
        if index < filled_start:
            break
        if index < filled_end:
            return end - 1 if at_end else start
        moved = end - filled_end
    return index + moved


def dotted(path: Path_) -> str:
    """`routes.fulfil.events[0]` of a path."""
    if not path:
        return ""
    around, last = _dotted_around(path[:-1]), path[-1]
    return f"{around}[{last}]" if isinstance(last, int) else f"{around}.{last}" if around else last


_dotted_around = functools.lru_cache(maxsize=1000)(dotted)  # neighbours share it
