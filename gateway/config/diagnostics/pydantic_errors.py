"""pydantic's errors in our users' words."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from gateway.config.diagnostics.problem import Problem
from gateway.config.secrets.names import is_secret, is_url
from gateway.config.yaml.document import Source
from gateway.config.yaml.nodes import Path_
from gateway.core.spelling import did_you_mean, nearest
from gateway.plugin import Deferred
from gateway.plugin.types import NAME_PATTERN

_EXPECTED = {
    "string_type": "text",
    "int_type": "an integer",
    "int_parsing": "an integer",
    "int_parsing_size": "a smaller integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "literal_error": "{expected}",
    "too_short": "at least {min_length} of them",
    "string_pattern_mismatch": "text that matches {pattern}",
    "string_too_short": "a text of at least {min_length} characters",
    "ip_v4_network": "a network such as 10.1.0.0/16",
    "ip_v6_network": "a network such as 10.1.0.0/16",
}
_OF_TYPE = frozenset(kind for kind in _EXPECTED if kind.endswith(("_type", "_parsing")))


@dataclass(frozen=True, slots=True)
class Explained:
    """One of pydantic's errors in our words. `is_of_key`: the place to show is that of the key."""

    path: Path_
    message: str
    hint: str | None
    code: str
    is_of_key: bool


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


Written = Callable[[Path_], str | None]
"""How a value stands in the file, where variables were filled in."""


def explained(
    error: ValidationError, value: Any, model: type[BaseModel] | None = None, written: Written = lambda path: None
) -> Iterator[Explained]:
    """Each error of validating `given`. A union's alternatives are told as one."""
    by_path: dict[Path_, list[ErrorDetails]] = {}
    for details in error.errors(include_url=False):
        by_path.setdefault(_path(details["loc"], value), []).append(details)
    unknown = {path for path, several in by_path.items() if several[0]["type"] == "extra_forbidden"}
    for path, several in by_path.items():
        details = several[0]
        if details["type"] in _OF_TYPE and any(other[: len(path)] == path != other for other in by_path):
            continue  # another alternative of a union got further
        if details["type"] == "missing" and any(
            other[:-1] == path[:-1] and nearest(str(other[-1]), [str(path[-1])]) for other in unknown
        ):
            continue  # it is there, misspelt
        kind = details["type"]
        is_key = details["loc"][-1:] == ("[key]",)
        code = (
            "unknown-key"
            if kind == "extra_forbidden"
            else "missing-key"
            if kind == "missing"
            else "wrong-type"
            if kind in _OF_TYPE and not is_key
            else "invalid-value"
        )
        yield Explained(
            path if kind != "missing" else path[:-1],
            _message(several, path, written),
            _hint(details, path, model),
            code,
            kind in ("extra_forbidden", "missing") or is_key,
        )


def problems_of(
    error: ValidationError, value: Any, model: type[BaseModel], source: Source, at: Path_
) -> Iterator[Problem]:
    """The same as problems, each at its place below `at`."""
    for issue in explained(error, value, model, lambda path: source.written((*at, *path))):
        path = (*at, *issue.path)
        where = source.where_key(path) if issue.is_of_key else source.where(path)
        yield Problem(where, issue.message, issue.hint, code=issue.code)


def _path(loc: tuple[int | str, ...], value: Any) -> Path_:
    """The way in the YAML: without pydantic's names for members of unions and functions."""
    path: list[int | str] = []
    for i, part in enumerate(loc):
        is_there = part in value if isinstance(value, dict) else isinstance(value, list) and part in range(len(value))
        if is_there:
            value = value[part]
        elif i < len(loc) - 1 or not isinstance(value, dict) or str(part).endswith("]"):  # such as list[str]
            continue
        path.append(part)
    return tuple(path)


def _found_at(path: Path_, value: Any, written: Written) -> str:
    """As `found`, but silent about values where a secret may stand."""
    raw = written(path)
    if raw is not None:
        return raw[:80]
    if isinstance(value, (str, int, float)) and (is_secret(path) or is_url(path)):
        return "something else"
    return found(value)


def _message(several: list[ErrorDetails], path: Path_, written: Written) -> str:
    details = several[0]
    kind = details["type"]
    if kind == "extra_forbidden":
        return f"unknown key {path[-1]}"
    if kind == "missing":
        return f"is missing {path[-1]}"
    if kind == "string_pattern_mismatch" and details["ctx"]["pattern"] == NAME_PATTERN:
        return f"{found(details['input'])} is no name: letters, digits, _ . - only, a letter first"
    words = [word for details in several if (word := _expected(details)) is not None]
    if words:
        unique = " or ".join(dict.fromkeys(words))
        return f"expected {unique}, found {_found_at(path, details['input'], written)}"
    if kind == "value_error":
        return str(details["ctx"]["error"])
    return details["msg"][:1].lower() + details["msg"][1:]


def _expected(details: ErrorDetails) -> str | None:
    kind = details["type"]
    if kind == "value_error":
        text = str(details["ctx"]["error"])
        return text.removeprefix("expected ") if text.startswith("expected ") else None
    template = _EXPECTED.get(kind)
    return None if template is None else template.format(**details.get("ctx", {}))


def _hint(details: ErrorDetails, path: Path_, model: type[BaseModel] | None) -> str | None:
    if model is None:
        return None
    if details["type"] == "literal_error" and isinstance(details["input"], str):
        known = re.findall(r"'([^']+)'", details["ctx"]["expected"])
        near = nearest(details["input"], known)
        return None if near is None else f"did you mean {near}?"
    if details["type"] == "list_type" and isinstance(details["input"], str) and not is_secret(path):
        return f"write [{details['input'][:80]}]"
    if details["type"] != "extra_forbidden":
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
    if typing.get_origin(annotation) is Deferred:
        return _options(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [inner for option in typing.get_args(annotation) for inner in _options(option)]
    return [annotation]
