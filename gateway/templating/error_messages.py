"""What went wrong in a template, in words for the person who wrote it."""

from __future__ import annotations

import contextlib
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jinja2 import Environment, TemplateNotFound, TemplateSyntaxError, nodes
from jinja2.exceptions import SecurityError, TemplateError, UndefinedError
from jinja2.utils import missing

from gateway.core.spelling import nearest
from gateway.templating.environment import FieldMissing, NullPrinted
from gateway.templating.filters import kind_of
from gateway.templating.instrumentation import path_of
from gateway.templating.null_messages import null_words
from gateway.templating.unparse import unparse

_MOST_VISITED = 20_000
_LITERALS = {"null": "none", "undefined": "none", "nil": "none", "TRUE": "true", "FALSE": "false", "NULL": "none"}
_OPERATORS = {"&&": "and", "||": "or", "===": "==", "!==": "!="}
_TYPES = {
    "NoneType": "null",
    "str": "text",
    "int": "an integer",
    "float": "a decimal number",
    "bool": "a boolean",
    "dict": "an object",
    "list": "a list",
}
_TYPE = re.compile(r"'(NoneType|str|int|float|bool|dict|list)'(?: object)?|\"(str|int|list)\"|\b(NoneType)\b")
GUESS = "; did you mean "
"""Stands before the nearest name."""
UNCLOSED = re.compile(r"^Unexpected end of template\..* that needs to be closed is '(\w+)'", re.DOTALL)
"""Jinja's words for a block without its end."""
_PLAIN = Environment(autoescape=True)


def shortened(source: str) -> str:
    """A template's source, on one line of at most 80 characters."""
    text = " ".join(source.split())
    return text if len(text) <= 80 else text[:77] + "..."


def compile_words(error: Exception, source: str = "") -> str:
    """Why something did not compile."""
    if isinstance(error, TemplateSyntaxError):
        unclosed = UNCLOSED.search(error.message or "")
        if unclosed is not None:
            return f"{{% {unclosed[1]} %}} is never closed: {{% end{unclosed[1]} %}} is missing"
        if error.message == "unexpected 'end of template'":
            return "it ends too early"
        for wrong, right in _OPERATORS.items():
            if wrong in source:
                return f"{error.message} (Jinja writes {right}, not {wrong})"
        return error.message or "a mistake in the syntax"
    if isinstance(error, (RecursionError, MemoryError)):
        return "it is nested too deeply"
    return _general(error)


def render_words(error: Exception, source: str, scope: Mapping[str, Any]) -> str:
    """Why something did not render. `source` is the template's text, or its file's path."""
    if isinstance(error, FieldMissing):
        words = _missing(error, source, scope)
        if words:
            return words
    if isinstance(error, NullPrinted):
        return str(error)
    if isinstance(error, TemplateNotFound):
        return f"there is no template file {error.name!r}"
    words = _general(error)
    for tree in _trees(source) if "null" in words else ():
        cure = null_words(tree, lambda node: _value_of(node, scope))
        if cure is not None:
            return cure
    return f"{words}, in: {shortened(source)}"


def _trees(source: str) -> Iterator[nodes.Template]:
    """What a source may be read as: a text with templates in it, or a bare expression."""
    for text in (source, "{{" + source + "}}"):
        with contextlib.suppress(Exception):  # a text that is no template holds no path
            yield _PLAIN.parse(text)


def line_of(error: Exception) -> tuple[str | None, int]:
    """The file, None for a text of the YAML, and the line of the template in which an exception was raised."""
    place: tuple[str | None, int] = (None, 1)
    trace = error.__traceback__
    while trace is not None:
        template = trace.tb_frame.f_globals.get("__jinja_template__")
        if template is not None:
            file = None if template.name is None else template.filename
            place = (file, template.get_corresponding_lineno(trace.tb_lineno))
        trace = trace.tb_next
    return place


def _general(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it calls itself without end"
    if isinstance(error, ZeroDivisionError):
        return "a division by zero"
    if isinstance(error, MemoryError):
        return "it needs too much memory"
    text = str(error.args[0]) if error.args else type(error).__name__
    if isinstance(error, (SecurityError, UndefinedError, ValueError, TemplateError)):
        return text
    if isinstance(error, TypeError):
        return "the types do not fit: " + _TYPE.sub(lambda match: _TYPES[match[1] or match[2] or match[3]], text)
    return f"{type(error).__name__}: {text}"


def _missing(error: FieldMissing, source: str, scope: Mapping[str, Any]) -> str | None:
    """`object.custmer_details: no such field; did you mean customer_details?`"""
    holder, name = error.holder, error.name
    if name is None:
        return None
    if holder is missing:
        if name in _LITERALS:
            return f"{name}: no such name (Jinja writes {_LITERALS[name]}), in: {shortened(source)}"
        return f"{name}: no such name{_near(name, scope)}, in: {shortened(source)}"
    if holder is None:
        null = _null_path(name, source, scope)
        if null is None:
            return f"a value is null and has no field {name}, in: {shortened(source)}"
        before, whole = null
        return f"{before} is null and has no field {name}; write {whole} if {before} is not none else none"
    path = _path_to(holder, scope)
    if path is None:
        return f"{name}: no such field of {kind_of(holder)}{_near(name, holder)}, in: {shortened(source)}"
    step = f".{name}" if isinstance(name, str) and name.isidentifier() else f"[{name!r:.80}]"
    if isinstance(holder, Mapping):
        return f"{path}{step}: no such field{_near(name, holder)}"
    if isinstance(holder, Sequence) and not isinstance(holder, str) and isinstance(name, int):
        return f"{path}{step}: no such item; the list has {len(holder)}"
    return f"{path}{step}: no such field; {path} is {kind_of(holder)}"


def _near(name: Any, holder: Any) -> str:
    known = [key for key in holder if isinstance(key, str)] if isinstance(holder, Mapping) else []
    near = nearest(str(name), known)
    return f"{GUESS}{near}?" if near else ""


def _path_to(holder: Any, scope: Mapping[str, Any]) -> str | None:
    """The shortest way from the scope to this very object."""
    queue: deque[tuple[str, Any]] = deque((name, value) for name, value in scope.items())
    visited = 0
    while queue and visited < _MOST_VISITED:
        path, value = queue.popleft()
        visited += 1
        if value is holder:
            return path
        if isinstance(value, Mapping):
            queue.extend((f"{path}.{key}", item) for key, item in value.items())
        elif isinstance(value, (list, tuple)):
            queue.extend((f"{path}[{index}]", item) for index, item in enumerate(value))
    return None


def _null_path(name: Any, source: str, scope: Mapping[str, Any]) -> tuple[str, str] | None:
    """Which path of the source is the null that a field was taken of, and the whole path that goes on from there."""
    for tree in _trees(source):
        chains = [node for node in tree.find_all((nodes.Getattr, nodes.Getitem)) if path_of(node)]
        for node in chains:
            asked = node.attr if isinstance(node, nodes.Getattr) else getattr(node.arg, "value", None)  # type: ignore[attr-defined]
            inner = node.node  # type: ignore[attr-defined]
            if asked == name and _value_of(inner, scope) is None:
                path = path_of(inner)
                return path, max((unparse(chain) for chain in chains if path_of(chain).startswith(path)), key=len)
    return None


def _value_of(node: nodes.Node, scope: Mapping[str, Any]) -> Any:
    """The value at a path, or `missing`."""
    try:
        if isinstance(node, nodes.Name):
            return scope[node.name]
        if isinstance(node, nodes.Getattr):
            return _value_of(node.node, scope)[node.attr]
        if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
            return _value_of(node.node, scope)[node.arg.value]
    except (LookupError, TypeError):
        pass
    return missing
