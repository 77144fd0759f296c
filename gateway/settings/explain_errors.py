"""pydantic's errors in our users' words."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from gateway.settings.problems import did_you_mean
from gateway.settings.source import Path_

_EXPECTED = {
    "string_type": "text",
    "int_type": "an integer",
    "int_parsing": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}


def found(value: Any) -> str:
    """A value's kind, and the value where it is short; used only where no secret can be."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"text {value[:40]!r}"
    if isinstance(value, (int, float)):
        return f"{value}"
    return "a mapping" if isinstance(value, dict) else "a list" if isinstance(value, list) else type(value).__name__


def explained(error: ValidationError, model: type[BaseModel] | None = None) -> Iterator[tuple[Path_, str, str | None]]:
    """Each error as path, message and hint. A union's alternatives are told once."""
    seen: set[Path_] = set()
    for details in error.errors(include_url=False):
        path = _path(details["loc"])
        if path in seen:
            continue
        seen.add(path)
        yield path, _message(details, path), _hint(details, path, model)


def _path(loc: tuple[int | str, ...]) -> Path_:
    """The way in the YAML: without pydantic's names for members of unions and functions."""
    return tuple(part for part in loc if isinstance(part, int) or not _is_internal(part))


def _is_internal(part: str) -> bool:
    return "[" in part or part in ("str", "int", "bool", "float", "none", "list", "dict", "Deferred") or "(" in part


_SECRET = frozenset(
    ("signing_secrets", "signing_secret", "password", "token", "api_key", "url", "webhook_url", "headers")
)


def _found_at(path: Path_, value: Any) -> str:
    """As `found`, but silent about values where a secret may stand."""
    if _SECRET.intersection(map(str, path)) and isinstance(value, (str, int, float)):
        return "something else"
    return found(value)


def _message(details: ErrorDetails, path: Path_) -> str:
    kind = details["type"]
    if kind == "extra_forbidden":
        return f"unknown key {path[-1]}"
    if kind == "missing":
        return f"is missing {path[-1]}"
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind]}, found {_found_at(path, details['input'])}"
    if kind == "literal_error":
        return f"expected {details['ctx']['expected']}, found {_found_at(path, details['input'])}"
    if kind == "value_error":
        return str(details["ctx"]["error"])
    if kind == "string_pattern_mismatch":
        return f"{found(details['input'])} is no name: letters, digits, _ . - only, a letter first"
    return details["msg"][:1].lower() + details["msg"][1:]


def _hint(details: ErrorDetails, path: Path_, model: type[BaseModel] | None) -> str | None:
    if details["type"] != "extra_forbidden" or model is None:
        return None
    inner = _model_at(model, path[:-1])
    if inner is None:
        return None
    return did_you_mean(str(path[-1]), [field.alias or name for name, field in inner.model_fields.items()])


def _model_at(model: type[BaseModel], path: Path_) -> type[BaseModel] | None:
    """The model that describes the mapping at a path."""
    annotation: Any = model
    for step in path:
        models = [option for option in _options(annotation) if _is_model(option)]
        if models:
            fields = {field.alias or name: field for name, field in models[0].model_fields.items()}
            if step not in fields:
                return None
            annotation = fields[str(step)].annotation
            continue
        inner = next((typing.get_args(option)[-1] for option in _options(annotation) if typing.get_args(option)), None)
        if inner is None:
            return None
        annotation = inner
    return next((option for option in _options(annotation) if _is_model(option)), None)


def _is_model(option: Any) -> bool:
    return isinstance(option, type) and issubclass(option, BaseModel)


def _options(annotation: Any) -> list[Any]:
    """The alternatives of a union, unwrapped."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _options(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [inner for option in typing.get_args(annotation) for inner in _options(option)]
    return [annotation]
