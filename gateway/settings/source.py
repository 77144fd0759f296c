"""YAML files -> plain values with the place of each: ${VARIABLES} filled in, includes merged, nothing twice."""

from __future__ import annotations

import glob
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from gateway.errors import Where
from gateway.settings.problems import Problem

Path_ = tuple[str | int, ...]
MOST_NODES = 100_000
INCLUDABLE = ("accounts", "connections", "routes", "vars")

_VARIABLE = re.compile(r"\$(\$)?\{([^{}]*)\}")
_NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.S)
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_CONSTANTS: dict[str, Any] = {"": None, "~": None} | dict.fromkeys(("null", "Null", "NULL"))
_CONSTANTS |= dict.fromkeys(("true", "True", "TRUE"), True) | dict.fromkeys(("false", "False", "FALSE"), False)

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Source:
    """All that was read: `value`, the place of each value and key by path, and the problems on the way."""

    def __init__(self, path: Path, environ: Mapping[str, str], *, lenient: bool = False) -> None:
        self.path = path
        self.folder = path.resolve().parent
        self.problems: list[Problem] = []
        self.values: dict[Path_, Where] = {}
        self.keys: dict[Path_, Where] = {}
        self.files: set[Path] = set()
        self._environ = environ
        self._lenient = lenient
        self._digest = hashlib.sha256()
        self._nodes = 0
        self.value: dict[str, Any] = self._load()

    def digest(self, more: Mapping[Path, bytes]) -> str:
        """Twelve characters that change with any file read, or with `more`."""
        digest = self._digest.copy()
        for path, content in sorted(more.items()):
            digest.update(str(path).encode() + b"\0" + content)
        return digest.hexdigest()[:12]

    def where(self, path: Path_) -> Where:
        """The place of a value, or of the nearest thing around it that has one."""
        for length in range(len(path), -1, -1):
            found = self.values.get(path[:length])
            if found is not None:
                return Where(found.file, found.line, found.column, dotted(path))
        return Where(str(self.path), 1, 1, dotted(path))

    def where_key(self, path: Path_) -> Where:
        """The place of the key that names a value."""
        return self.keys.get(path) or self.where(path)

    # -- reading ----------------------------------------------------------------------------------------------

    def _load(self) -> dict[str, Any]:
        value = self._file(self.path, str(self.path), ())
        if not isinstance(value, dict):
            if not self.problems:
                self._problem(Where(str(self.path), 1, 1), "expected a mapping: version, accounts, routes, ...")
            return {}
        includes = value.get("include")
        for i, pattern in enumerate(includes if isinstance(includes, list) else ()):
            if isinstance(pattern, str):
                self._include(value, pattern, self.where(("include", i)))
        return value

    def _include(self, into: dict[str, Any], pattern: str, where: Where) -> None:
        found = sorted(glob.glob(pattern, root_dir=self.folder, recursive=True))
        if not found and not glob.has_magic(pattern):
            self._problem(where, f"there is no file {pattern!r}", "paths start at the folder of gateway.yaml")
        for name in found:
            shown = str(self.path.parent / name)
            marks_before = dict(self.keys)
            values_before = dict(self.values)
            part = self._file(self.folder / name, shown, ())
            if part is None:
                continue
            if not isinstance(part, dict):
                self._problem(Where(shown, 1, 1), "expected a mapping: accounts, connections, routes")
                continue
            self.values[()] = values_before[()]
            for section, content in part.items():
                here = self.keys[(section,)]
                if section not in INCLUDABLE:
                    self._problem(here, f"an included file holds only {', '.join(INCLUDABLE)}")
                    continue
                if not isinstance(content, dict):
                    self._problem(self.where((section,)), "expected a mapping")
                    continue
                target = into.setdefault(section, {})
                if not isinstance(target, dict):
                    continue
                for key, item in content.items():
                    if key in target:
                        first = marks_before[(section, key)]
                        self._problem(
                            self.keys[(section, key)], f"{key} is there twice", f"first at {first.file}:{first.line}"
                        )
                    else:
                        target[key] = item
                self.keys[(section,)] = marks_before.get((section,), here)

    def _file(self, path: Path, shown: str, at: Path_) -> Any:
        start = Where(shown, 1, 1)
        try:
            content = self._read(path)
        except OSError as error:
            self._problem(start, f"cannot read it: {error.strerror}", self._init_hint(error))
            return None
        self.files.add(path.resolve())
        self._digest.update(str(path).encode() + b"\0" + content)
        try:
            text = content.decode("utf-8-sig")
            node = yaml.compose(text, Loader=_LOADER)
        except UnicodeDecodeError as error:
            self._problem(start, f"it is not UTF-8 (byte {error.start})")
            return None
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = Where(shown, mark.line + 1, mark.column + 1) if mark else start
            self._problem(place, f"not YAML: {error.problem or error.context}")
            return None
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            self._problem(start, f"not YAML: {str(error).splitlines()[0]}")
            return None
        return None if node is None else self._value(node, shown, at, ())

    def _read(self, path: Path) -> bytes:
        return path.read_bytes()

    def _init_hint(self, error: OSError) -> str | None:
        return "`gateway init` writes one to start from" if isinstance(error, FileNotFoundError) else None

    # -- nodes ------------------------------------------------------------------------------------------------

    def _value(self, node: yaml.Node, shown: str, at: Path_, around: tuple[int, ...]) -> Any:
        where = Where(shown, node.start_mark.line + 1, node.start_mark.column + 1, dotted(at))
        self.values[at] = where
        self._nodes += 1
        if id(node) in around:
            self._problem(where, "an alias may not contain itself")
            return None
        if self._nodes > MOST_NODES:
            if self._nodes == MOST_NODES + 1:
                self._problem(where, f"the file grows beyond {MOST_NODES} values through its aliases")
            return None
        if len(around) > 60:
            self._problem(where, "nested too deeply")
            return None
        inside = (*around, id(node))
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, shown, (*at, i), inside) for i, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, shown, at, inside)
        assert isinstance(node, yaml.ScalarNode)
        return self._scalar(node, where)

    def _mapping(self, node: yaml.MappingNode, shown: str, at: Path_, inside: tuple[int, ...]) -> dict[str, Any]:
        made: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            mark = key_node.start_mark
            if not isinstance(key_node, yaml.ScalarNode):
                self._problem(Where(shown, mark.line + 1, mark.column + 1, dotted(at)), "a key must be text")
                continue
            key = key_node.value
            here = (*at, key)
            where = Where(shown, mark.line + 1, mark.column + 1, dotted(here))
            if key == "<<" and not key_node.style:
                parts = value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
                for part in parts:
                    value = self._value(part, shown, at, inside)
                    if isinstance(value, dict):
                        merged = value | merged
                    else:
                        self._problem(where, "<< merges mappings only")
                continue
            if key in made:
                first = self.keys[here]
                self._problem(where, f"{key} is there twice", f"first at {first.file}:{first.line}:{first.column}")
                continue
            self.keys[here] = where
            made[key] = self._value(value_node, shown, here, inside)
        return merged | made

    def _scalar(self, node: yaml.ScalarNode, where: Where) -> Any:
        text: str = node.value
        if "${" in text:
            text = _VARIABLE.sub(lambda match: self._variable(match, where), text)
        if node.style or node.tag == "!":
            return text
        if not node.tag.startswith("tag:yaml.org,2002:"):
            self._problem(where, f"the tag {node.tag} means nothing here")
            return text
        if text in _CONSTANTS:
            return _CONSTANTS[text]
        if _INT.fullmatch(text):
            return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
        if _FLOAT.fullmatch(text):
            return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        return text

    def _variable(self, match: re.Match[str], where: Where) -> str:
        if match[1]:
            return "${" + match[2] + "}"
        inner = match[2]
        if inner.startswith("file:"):
            file = Path(inner.removeprefix("file:"))
            path = file if file.is_absolute() else self.folder / file
            try:
                content = path.read_bytes()
                self.files.add(path)
                self._digest.update(content)
                return content.decode().removesuffix("\n")
            except OSError as error:
                self._unset(where, f"cannot read the secret file {file}: {error.strerror}")
            except UnicodeDecodeError:
                self._unset(where, f"the secret file {file} is not text")
            return ""
        named = _NAME.fullmatch(inner)
        if named is None:
            self._problem(
                where, f"${{{inner}}} is no variable", "write ${NAME}, ${NAME:-default}, ${file:/path} or $${"
            )
            return ""
        value = None if named[2] is not None and named[1] not in self._environ else self._environ.get(named[1])
        if value is None or (value == "" and named[2] is not None):
            if named[2] is None:
                self._unset(where, f"the environment variable {named[1]} is not set", named[1])
                return ""
            value = named[2]
        self._digest.update(value.encode())
        return value

    def _unset(self, where: Where, message: str, name: str | None = None) -> None:
        if not self._lenient:
            self._problem(where, message, f"set it, or give a default: ${{{name}:-...}}" if name else None)

    def _problem(self, where: Where, message: str, hint: str | None = None) -> None:
        self.problems.append(Problem(where, message, hint))


def dotted(path: Path_) -> str:
    """`routes.fulfil.events[0]` of a path."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
