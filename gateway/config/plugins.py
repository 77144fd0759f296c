"""Finds actions: entry points of the group `gateway.actions`, and files in plugin folders."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

from gateway.plugin import Action, Settings

GROUP = "gateway.actions"
_PREFIX = "_gateway_plugin_"


@dataclass(frozen=True, slots=True)
class Complaint:
    """Why an action cannot be had. `file` is None for an entry point; `line` is 0 where no line is to blame."""

    file: Path | None
    message: str
    line: int = 0
    column: int = 0


def find_actions(
    folders: Sequence[Path], known: Mapping[str, Action[Any]] = MappingProxyType({})
) -> tuple[dict[str, Action[Any]], list[Complaint]]:
    """All actions by name, and what is wrong with those that cannot be had. Those of `known` whose code is the same are
    not made anew, so that what they keep open stays open.
    """
    actions: dict[str, Action[Any]] = {}
    complaints: list[Complaint] = []
    for entry in _installed(tuple((folder, _changed_at(folder or os.curdir)) for folder in sys.path)):
        try:
            _register(actions, entry.load(), entry.value, known)
        except Exception as error:
            complaints.append(Complaint(None, f"action {entry.name} of {entry.value} does not load: {error}"))
    for folder in folders:
        if not folder.is_dir():
            complaints.append(Complaint(folder, "there is no such plugin folder"))
            continue
        for file in sorted(folder.glob("*.py")):
            if file.name.startswith("_"):
                continue
            if any(path.stat().st_mode & 0o002 for path in (folder, file)):
                message = "everybody may write to it; `chmod o-w` the file and its folder"
                complaints.append(Complaint(file, message))
                continue
            complaints += _load_file(actions, file, known)
    return actions, complaints


@lru_cache(maxsize=1)
def _installed(searched: tuple[tuple[str, int], ...]) -> tuple[EntryPoint, ...]:
    """The entry points, in order of their names. Reading them takes a file of every package that there is: that is done
    again only where a `searched` folder has changed, as it does when a package is installed.
    """
    return tuple(sorted(entry_points(group=GROUP), key=lambda entry: entry.name))


def _changed_at(folder: str) -> int:
    """When an entry was added or taken away, in ns; 0 where there is no such folder."""
    try:
        return os.stat(folder).st_mtime_ns
    except OSError:
        return 0


def missing_packages(action: Action[Any]) -> dict[str, str]:
    """The modules that an action requires and that are not installed, each with what `pip install` brings it by."""
    return {module: what for module, what in action.requires.items() if importlib.util.find_spec(module) is None}


def forget_all_but(known: Mapping[str, Action[Any]]) -> None:
    """Drops the modules of plugin files that none of the `known` actions come from: of versions that were replaced."""
    kept = {type(action).__module__ for action in known.values()}
    for name in [name for name in sys.modules if name.startswith(_PREFIX) and name not in kept]:
        del sys.modules[name]


def _load_file(actions: dict[str, Action[Any]], file: Path, known: Mapping[str, Action[Any]]) -> list[Complaint]:
    try:
        module = _import(file)
    except SyntaxError as error:
        if error.filename != str(file):  # of a module that the file imports
            return [Complaint(file, f"does not import: {error.filename}:{error.lineno}: {error.msg}", 1, 1)]
        return [Complaint(file, f"does not import: {error.msg}", error.lineno or 1, error.offset or 1)]
    except (Exception, SystemExit) as error:  # a script that ends itself: not the gateway
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
        message = f"does not import: {type(error).__name__}: {error}"
        return [Complaint(file, message, (lines[-1] if lines else None) or 1, 1)]
    classes = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Action) and value.__module__ == module.__name__
    ]
    if not classes:
        return [Complaint(file, "holds no Action")]
    complaints = []
    for cls in classes:
        try:
            _register(actions, cls, file.name, known)
        except TypeError as error:
            complaints.append(Complaint(file, str(error)))
    return complaints


def _import(file: Path) -> ModuleType:
    """Loads a file under a private name, so that an operator's files shadow nobody's modules. The same content at the
    same path is the same module; changed content is another one beside it, and serves nobody who has the old one.
    """
    content = file.read_bytes()
    digest = hashlib.sha256(str(file.resolve()).encode() + b"\0" + content).hexdigest()[:16]
    name = f"{_PREFIX}{digest}_{file.stem}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        # Not by its loader: that trusts a cache which misses a change of the same length within the same second.
        exec(compile(content, str(file), "exec"), vars(module))  # noqa: S102 - a plugin is code, and meant to run
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _register(actions: dict[str, Action[Any]], cls: Any, source: str, known: Mapping[str, Action[Any]]) -> None:
    if not (isinstance(cls, type) and issubclass(cls, Action)):
        raise TypeError(f"{source} is no Action")
    name, settings = getattr(cls, "name", None), getattr(cls, "Settings", None)
    if not isinstance(name, str) or not name:
        raise TypeError(f"{cls.__name__} has no name")
    if not (isinstance(settings, type) and issubclass(settings, Settings)):
        raise TypeError(f"{cls.__name__} has no Settings that derive from gateway.plugin.Settings")
    if name in actions:
        raise TypeError(
            f"there are two actions named {name}: {type(actions[name]).__qualname__} and {cls.__qualname__}"
        )
    same = known.get(name)
    actions[name] = same if same is not None and type(same) is cls else cls()
