"""YAML files -> plain values with the place of each: ${VARIABLES} filled in, includes merged, nothing twice."""

from __future__ import annotations

import functools
import glob
import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from gateway.config.diagnostics.problem import ProblemNote
from gateway.config.secrets.names import is_hidden, is_secret, is_secret_key
from gateway.config.yaml.nodes import Loader, Marks, Nodes, Path_, Reading, characters_of, dotted, where_of
from gateway.config.yaml.syntax_errors import syntax_error_of
from gateway.config.yaml.textfile import TextFile
from gateway.config.yaml.variables import Filled, Variables
from gateway.core.errors import Where
from gateway.core.masking import MASK

INCLUDABLE = ("accounts", "connections", "routes", "vars")


class Source:
    """All that was read: `value`, the place of each value and key by path, and the problems on the way."""

    def __init__(
        self, path: Path, environ: Mapping[str, str], *, partial: bool = False, folder: Path | None = None
    ) -> None:
        self.path = path
        self.folder = folder or path.resolve().parent
        self.files: set[Path] = set()
        self.texts: dict[str, TextFile] = {}
        self._digest = hashlib.sha256()
        self._marks = Marks()
        self._reading = Reading(self._variables(environ), partial)
        self.problems = self._reading.problems
        self.value: dict[str, Any] = self._load()

    def digest(self, more: Mapping[Path, bytes]) -> str:
        """Twelve characters that change with any file read, or with `more`."""
        digest = self._digest.copy()
        for path, content in sorted(more.items()):
            digest.update(str(path).encode() + b"\0" + content)
        return digest.hexdigest()[:12]

    # -- places -----------------------------------------------------------------------------------------------

    def section(self, name: str) -> Mapping[str, Any]:
        """What stands at the top under that name; empty where it is no mapping."""
        content = self.value.get(name)
        return content if isinstance(content, dict) else {}

    def plugin_folders(self) -> list[Path]:
        """The folders that `plugins` lists, there or not."""
        listed = self.value.get("plugins")
        return [self.folder / name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []

    def where(self, path: Path_) -> Where:
        """The place of a value, or of the nearest thing around it that has one."""
        for length in range(len(path), -1, -1):
            marked = self._marks.values.get(path[:length])
            if marked is not None:
                return where_of(*marked, path)
        return Where(str(self.path), 1, 1, dotted(path))

    @functools.cached_property
    def places(self) -> Callable[[Path_], Where]:
        """The same as `where`, to keep for as long as a configuration is in use: without the files' texts and nodes."""
        marks = {
            path: (file.name, node.start_mark.line + 1, node.start_mark.column + 1)
            for path, (file, node) in self._marks.values.items()
        }

        def where(path: Path_) -> Where:
            length = next(length for length in range(len(path), -1, -1) if path[:length] in marks)
            return Where(*marks[path[:length]], dotted(path))

        return where

    def where_key(self, path: Path_) -> Where:
        """The place of the key that names a value, or of the nearest thing around it that has one."""
        for length in range(len(path), 0, -1):
            marked = self._marks.keys.get(path[:length]) or self._marks.values.get(path[:length])
            if marked is not None:
                return where_of(*marked, path)
        return self.where(path)

    def place(self, path: Path_) -> Callable[[int, int], Where]:
        """The places of stretches of a text value: of its characters after variables are filled in."""
        marked = self._marks.values.get(path)
        if marked is None or not isinstance(marked[1], yaml.ScalarNode):
            return lambda start, end: self.where(path)
        file, node = marked
        filled = self._reading.filled.get(id(node))

        def place(start: int, end: int) -> Where:
            assert isinstance(node, yaml.ScalarNode)
            begin, finish = start, max(start, end - 1)
            if filled is not None:
                begin, finish = _written(begin, filled, False), _written(finish, filled, True)
            characters = characters_of(file, node)
            first, last = characters.offset(begin), characters.offset(finish)
            if first is None or last is None:
                return self.where(path)
            return file.where(first, last + 1 if end > start else first, dotted(path))

        return place

    def first_line(self, path: Path_) -> int:
        """The file's line on which the first line of a text value stands; 0 where lines do not correspond."""
        marked = self._marks.values.get(path)
        if marked is None:
            return 0
        node = marked[1]
        line: int = node.start_mark.line + 1
        if getattr(node, "style", None) == "|":
            return line + 1
        return line if node.end_mark.line == node.start_mark.line else 0

    def written(self, path: Path_) -> str | None:
        """A value as it stands in the file, where variables are filled in or a secret may stand; None elsewhere."""
        marked = self._marks.values.get(path)
        if marked is None or id(marked[1]) not in self._reading.filled:
            return None
        text: str = marked[1].value
        return text

    def scalars(self) -> Iterator[tuple[Path_, TextFile, yaml.ScalarNode, Filled | None]]:
        """Every scalar that has a place."""
        for path, (file, node) in self._marks.values.items():
            if isinstance(node, yaml.ScalarNode):
                yield path, file, node, self._reading.filled.get(id(node))

    def keys_where(self, holds: Callable[[str | int], bool]) -> frozenset[str | int]:
        """The keys, wherever they stand, of which something holds. Paths are many, and their keys few."""
        return frozenset(filter(holds, {path[-1] for path in self._marks.keys}))

    def secrets(self) -> dict[str, str]:
        """What is to be hidden wherever it turns up, and what to show instead: values that variables and files brought,
        by the variable; what stands in the text under a key that says so.
        """
        hidden: dict[str, str] = {}
        keys = self.keys_where(is_secret_key)
        for path, _, node, filled in self.scalars():
            is_named = not keys.isdisjoint(path)
            if filled is None:
                is_text_secret = is_named and is_secret(tuple(key for key in path if key != "headers"))
                if is_text_secret and "{{" not in node.value and is_hidden(node.value, False):
                    hidden.setdefault(node.value, MASK)
                continue
            for brought in filled.brought:
                if is_hidden(brought.value, is_named or brought.is_secret):
                    hidden.setdefault(brought.value, brought.written)
        return hidden

    # -- reading ----------------------------------------------------------------------------------------------

    def _variables(self, environ: Mapping[str, str]) -> Variables:
        return Variables(environ, self.folder, self._digest.update, self.files.add)

    def _read(self, path: Path) -> bytes:
        return path.read_bytes()

    def _load(self) -> dict[str, Any]:
        value = self._file(self.path, str(self.path), self._marks)
        if not isinstance(value, dict):
            if not self.problems:
                place = Where(str(self.path), 1, 1)
                self._reading.problem("wrong-type", place, "expected a mapping: version, accounts, routes, ...")
            return {}
        includes = value.get("include")
        seen = {self.path.resolve()}
        for i, pattern in enumerate(includes if isinstance(includes, list) else ()):
            if isinstance(pattern, str):
                self._include(value, pattern, ("include", i), seen)
        return value

    def _include(self, into: dict[str, Any], pattern: str, at: Path_, seen: set[Path]) -> None:
        names = sorted(glob.glob(pattern, root_dir=self.folder, recursive=True))
        if not names and not glob.has_magic(pattern):
            hint = "paths start at the folder of gateway.yaml"
            self._reading.problem("include", self.where(at), f"there is no file {pattern!r}", hint)
        for name in names:
            path = self.folder / name
            if path.resolve() in seen:
                continue
            seen.add(path.resolve())
            shown = str(self.path.parent / name)
            marks = Marks()
            part = self._file(path, shown, marks)
            if part is None:
                continue
            if not isinstance(part, dict):
                place = Where(shown, 1, 1)
                self._reading.problem("wrong-type", place, "expected a mapping: accounts, connections, routes")
                continue
            refused = self._merge(into, part, marks)
            for ours, theirs in ((self._marks.values, marks.values), (self._marks.keys, marks.keys)):
                for key, marked in theirs.items():
                    if key[:2] not in refused and (len(key) > 1 or key not in ours):
                        ours[key] = marked

    def _merge(self, into: dict[str, Any], part: dict[str, Any], marks: Marks) -> set[Path_]:
        """Adds an included file's sections. Returns the paths that are there already."""
        refused: set[Path_] = set()
        for section, content in part.items():
            if section not in INCLUDABLE:
                place = where_of(*marks.keys[(section,)], (section,))
                self._reading.problem("include", place, f"an included file holds only {', '.join(INCLUDABLE)}")
                continue
            if not isinstance(content, dict):
                if content is not None:
                    place = where_of(*marks.values[(section,)], (section,))
                    self._reading.problem("wrong-type", place, "expected a mapping")
                continue
            target = into.setdefault(section, {})
            if not isinstance(target, dict):
                continue
            for key, item in content.items():
                at = (section, key)
                if key in target:
                    self._reading.twice(where_of(*marks.keys[at], at), key, self.where_key(at))
                    refused.add(at)
                else:
                    target[key] = item
        return refused

    def _file(self, path: Path, shown: str, marks: Marks) -> Any:
        start = Where(shown, 1, 1)
        self.files.add(path.resolve())
        try:
            content = self._read(path)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            hint = "`gateway init` writes one to start from" if isinstance(error, FileNotFoundError) else None
            self._reading.problem("unreadable", start, f"cannot read it: {reason}", hint)
            return None
        self._digest.update(str(path).encode() + b"\0" + content)
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            before = TextFile(shown, content[: error.start].decode("utf-8-sig", errors="replace"))
            place = before.where(len(before.text), len(before.text), "")
            self._reading.problem(
                "unreadable", place, f"it is not UTF-8 (byte {error.start})", "save the file as UTF-8"
            )
            return None
        file = self.texts[shown] = TextFile(shown, text)
        try:
            node = yaml.compose(text, Loader=Loader)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            file.is_yaml = False
            wrong = syntax_error_of(error, text, file.line_starts)
            notes: tuple[ProblemNote, ...] = ()
            if wrong.context is not None:
                word, offset = wrong.context
                notes = (ProblemNote(word, file.where(offset, offset + 1, "")),)
            self._reading.problem("yaml", file.where(wrong.offset, wrong.offset, ""), wrong.message, wrong.hint, notes)
            return None
        if node is None:
            return None
        self._reading.roots.append(node)
        return Nodes(self._reading, file, marks).value(node)


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
