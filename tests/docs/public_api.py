"""The public API as a page: each name of the SDK with its signature, so that a change of it shows in a commit."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from collections.abc import Iterator
from enum import Enum
from typing import Any

from pydantic import BaseModel

MODULES = ("gateway.plugin", "gateway.plugin.database", "gateway.testing")
_HEAD = """\
<!-- Made from the code by `make generated`. -->

# The public API

All that an action may rely on, with its signatures; [write-an-action.md](write-an-action.md) says how it is used and
what its versions promise. A test compares this page with the code: whoever changes the one has to look at the other.
"""


def public_api() -> str:
    """The whole page."""
    parts = [_HEAD]
    for name in MODULES:
        module = importlib.import_module(name)
        shown = "\n\n".join(_shown(module, one) for one in module.__all__)
        parts.append(f"## {name}\n\n```python\n{shown}\n```\n")
    return "\n".join(parts)


def _shown(module: Any, name: str) -> str:
    value = getattr(module, name)
    if inspect.isclass(value) and value.__module__.startswith("gateway."):
        return "\n".join(_class(name, value))
    if inspect.isfunction(value):
        return _function(value, name)
    return f"{name} = {value!r}" if isinstance(value, (str, int, float)) else name


def _class(name: str, cls: type[Any]) -> Iterator[str]:
    bases = ", ".join(base.__name__ for base in cls.__bases__ if base is not object)
    yield f"class {name}({bases}):" if bases else f"class {name}:"
    lines = [*_fields(cls)]
    if "__init__" in vars(cls) and not dataclasses.is_dataclass(cls):
        lines.append(_function(cls.__init__, "__init__"))
    for key, value in vars(cls).items():
        inner = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
        if key.startswith("_") and key not in ("__aenter__", "__aexit__", "__call__"):
            continue
        if isinstance(value, property):
            lines.append(f"{key}: {_annotation(value.fget, 'return')}  # read only")
        elif inspect.isfunction(inner) and inner.__module__.startswith("gateway."):
            lines.append(_function(inner, key))
    yield "\n".join(f"    {line}" for line in lines or ["..."])


def _fields(cls: type[Any]) -> Iterator[str]:
    written = vars(cls).get("__annotations__") or inspect.get_annotations(cls)
    if issubclass(cls, Enum):
        yield from (f"{one.name} = {one.value!r}" for one in cls)
    for key, annotation in written.items():
        if key.startswith("_") or key == "model_config":
            continue
        is_needed = not hasattr(cls, key)
        if dataclasses.is_dataclass(cls):
            own = {one.name: one for one in dataclasses.fields(cls)}.get(key)
            is_needed = own is not None and own.default is own.default_factory is dataclasses.MISSING
        if issubclass(cls, BaseModel) and key in cls.model_fields:
            is_needed = cls.model_fields[key].is_required()
        yield f"{key}: {annotation}" + ("" if is_needed else " = ...")


def _function(function: Any, name: str) -> str:
    shown = [_parameter(one) for one in inspect.signature(function).parameters.values()]
    kinds = [one.kind for one in inspect.signature(function).parameters.values()]
    if inspect.Parameter.KEYWORD_ONLY in kinds and inspect.Parameter.VAR_POSITIONAL not in kinds:
        shown.insert(kinds.index(inspect.Parameter.KEYWORD_ONLY), "*")
    word = "async def" if inspect.iscoroutinefunction(function) else "def"
    return f"{word} {name}({', '.join(shown)}) -> {_annotation(function, 'return')}"


def _parameter(one: inspect.Parameter) -> str:
    star = "*" if one.kind is one.VAR_POSITIONAL else "**" if one.kind is one.VAR_KEYWORD else ""
    annotation = "" if one.annotation is one.empty else f": {one.annotation}"
    return f"{star}{one.name}{annotation}" + ("" if one.default is one.empty else " = ...")


def _annotation(function: Any, name: str) -> str:
    return str(inspect.get_annotations(function).get(name, "Any"))
