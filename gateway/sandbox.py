"""The Jinja environment that templates live in: keys before methods, no way to the interpreter, no bombs.

The compiler's syntax tree is rewritten before it becomes code: what is printed, looped over and joined passes through
filters of ours, whose names hold a space so that no template can write them.
"""

from __future__ import annotations

import difflib
import re
import string
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from functools import update_wrapper, wraps
from typing import Any

import markupsafe
from jinja2 import StrictUndefined, TemplateSyntaxError, Undefined, nodes, pass_eval_context
from jinja2.exceptions import SecurityError, UndefinedError
from jinja2.runtime import markup_join, str_join
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing
from jinja2.visitor import NodeTransformer

from gateway.filters import FILTERS

LONGEST_TEXT = 1024 * 1024  # characters that one value may render to
LONGEST_RANGE = 10_000
WIDEST = 10_000  # columns that a text may be padded to
MOST_STEPS = 100_000  # turns of loops, and calls, in one rendering
MOST_BITS = 4096  # of an integer

steps_left: ContextVar[list[int] | None] = ContextVar("steps_left", default=None)
"""What the rendering under way may still do; set anew for each by whoever renders."""

_MAPPING_METHODS = frozenset(("get", "items", "keys", "values"))
_PRINT, _LOOP, _JOIN = "gateway print", "gateway loop", "gateway join"
_WIDE = re.compile(r"\d{5}|\*")
_UNSAFE_METHODS = frozenset(("to_bytes", "from_bytes"))
_PADDING = frozenset(("center", "ljust", "rjust", "zfill", "expandtabs"))


class FieldMissing(UndefinedError):  # noqa: N818
    """A name was not found. `holder` is what it was looked for in, or Jinja's `missing` for the scope itself."""

    def __init__(self, holder: Any, name: Any, hint: str | None) -> None:
        super().__init__(hint or f"no such field: {name}")
        self.holder = holder
        self.name = name
        self.hint = hint


class _Missing(StrictUndefined):
    """An undefined value that remembers what it was looked for in."""

    __slots__ = ()

    def __init__(
        self, hint: str | None = None, obj: Any = missing, name: Any = None, exc: Any = UndefinedError
    ) -> None:
        def error(message: str) -> FieldMissing:
            return FieldMissing(obj, name, hint)

        super().__init__(hint, obj, name, error if exc is UndefinedError else exc)  # type: ignore[arg-type]


class NullPrinted(ValueError):  # noqa: N818
    """A null was to be printed inside a text."""


class Sandbox(ImmutableSandboxedEnvironment):
    """One way of escaping, one environment. `escape` is applied to what expressions print, unless it is `| safe`;
    `markupsafe.escape` is HTML.
    """

    intercepted_binops = frozenset(("+", "*", "**", "%"))
    concat = staticmethod(lambda parts: bounded_join(parts))

    def __init__(self, loader: Any, escape: Callable[[str], str] | None) -> None:
        super().__init__(
            undefined=_Missing,
            loader=loader,
            autoescape=escape is not None,  # so that macros and blocks are not escaped twice, whatever the escaping
            keep_trailing_newline=True,
            auto_reload=False,
            cache_size=-1,
        )
        self.writes_html = escape is markupsafe.escape
        for name in ("lipsum", "cycler", "joiner"):
            del self.globals[name]
        self.globals["range"] = _range
        for name in ("attr", "random"):
            del self.filters[name]
        for name, guard in _GUARDS.items():
            self.filters[name] = _guarded(self.filters[name], guard)
        self.filters.update(FILTERS)
        printing = _print if escape is None or self.writes_html else _escaping_print(escape)
        self.filters.update({_PRINT: printing, _LOOP: _loop, _JOIN: _joined})

    def prepare(self, tree: nodes.Template, source: str) -> nodes.Template:
        """The syntax tree that is compiled. Raises TemplateSyntaxError where a filter or a test does not exist."""
        for kind, known in ((nodes.Filter, self.filters), (nodes.Test, self.tests)):
            for node in tree.find_all(kind):
                if node.name not in known:
                    near = difflib.get_close_matches(node.name, [name for name in known if " " not in name], n=1)
                    word = kind.__name__.lower()
                    guess = f"; did you mean {near[0]}?" if near else ""
                    raise TemplateSyntaxError(f"there is no {word} {node.name!r}{guess}", node.lineno)
        prepared: nodes.Template = _Rewriter().visit(tree)
        prepared.set_environment(self)
        return prepared

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        return self.prepare(super()._parse(source, name, filename), source)

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, Mapping):
            try:
                return obj[attribute]
            except KeyError:
                pass
            if attribute not in _MAPPING_METHODS:
                return (
                    self.unsafe_undefined(obj, attribute)
                    if attribute[:1] == "_"
                    else self.undefined(None, obj, attribute)
                )
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        if isinstance(obj, Mapping):
            try:
                return obj[argument]
            except (KeyError, TypeError):
                return self.undefined(None, obj, argument)
        return super().getitem(obj, argument)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return attr not in _UNSAFE_METHODS and super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> Callable[..., Any] | None:
        """Jinja asks this for every attribute found: text's methods that can grow a text come out guarded."""
        if not isinstance(value, (types.MethodType, types.BuiltinMethodType)):
            return None
        owner = value.__self__
        if not isinstance(owner, (str, bytes)):
            return None
        name = value.__name__
        if name in ("format", "format_map"):
            made = super().wrap_str_format(value)
            return made and _guarded(made, lambda *args, **kwargs: _check_format(owner))
        if name in _PADDING:
            return _guarded(value, _check_numbers)
        if name == "replace":
            return _guarded(value, lambda *args, **kwargs: _check_replace(owner, *args))
        if name == "join":
            return lambda parts: value(_check_join(list(parts), len(owner)))
        return None

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        _spend(1)
        return super().call(__context, __obj, *args, **kwargs)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        _CHECKS[operator](left, right)
        return self.binop_table[operator](left, right)


class _Rewriter(NodeTransformer):
    """Puts our filters where a template prints, loops and joins."""

    def visit_Output(self, node: nodes.Output) -> nodes.Output:  # noqa: N802 - Jinja's name
        self.generic_visit(node)
        node.nodes = [
            part if isinstance(part, nodes.TemplateData) else _filter(part, _PRINT, path_of(part))
            for part in node.nodes
        ]
        return node

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802
        self.generic_visit(node)
        node.iter = _filter(node.iter, _LOOP, path_of(node.iter))
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filter(nodes.List(node.nodes, lineno=node.lineno), _JOIN)


def _filter(node: nodes.Node, name: str, *args: str) -> nodes.Filter:
    return nodes.Filter(node, name, [nodes.Const(arg) for arg in args], [], None, None, lineno=node.lineno)


def path_of(node: nodes.Node) -> str:
    """`object.lines.data[0]` for a node that is such a path, else an empty text."""
    if isinstance(node, nodes.Name):
        return node.name
    if isinstance(node, nodes.Getattr):
        inner = path_of(node.node)
        return inner and f"{inner}.{node.attr}"
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
        inner = path_of(node.node)
        return inner and f"{inner}[{node.arg.value!r}]"
    return ""


def bounded_join(parts: Iterable[str]) -> str:
    """Joins what a template, a macro or a block printed. Raises SecurityError past the longest text."""
    size = 0
    kept = []
    for part in parts:
        size += len(part)
        if size > LONGEST_TEXT:
            raise SecurityError("the text is longer than 1 MiB")
        kept.append(part)
    return "".join(kept)


def _print(value: Any, path: str) -> Any:
    if value is None:
        raise NullPrinted(f"{path or 'the value'} is null; say what to print instead: | default('...', true)")
    for part in value if isinstance(value, (list, tuple)) else (value,):
        if isinstance(part, Undefined):
            str(part)  # raises; within a list, Python would write it as if it were a value
    return value


def _escaping_print(escape: Callable[[str], str]) -> Callable[[Any, str], markupsafe.Markup]:
    def printing(value: Any, path: str) -> markupsafe.Markup:
        if isinstance(value, markupsafe.Markup):
            return value
        return markupsafe.Markup(escape(str(_print(value, path))))  # noqa: S704 - escaped by its own rules

    return printing


def _loop(value: Any, path: str) -> Any:
    if value is None:
        raise ValueError(f"{path or 'the value'} is null; a loop needs a list")
    try:
        _spend(len(value))
    except TypeError:
        return _counted(value)
    return value


def _counted(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        _spend(1)
        yield value


def _spend(steps: int) -> None:
    left = steps_left.get()
    if left is not None:
        left[0] -= steps
        if left[0] < 0:
            raise SecurityError(f"more than {MOST_STEPS} steps: loops within loops?")


@pass_eval_context
def _joined(context: nodes.EvalContext, parts: list[Any]) -> str:
    for part in parts:
        if part is None:
            raise ValueError("a null is joined to a text; say what to join instead: | default('...', true)")
    _check_join(parts, 0)
    return markup_join(parts) if context.autoescape else str_join(parts)


def _range(*args: int) -> range:
    made = range(*args)
    try:
        if len(made) <= LONGEST_RANGE:
            return made
    except OverflowError:
        pass
    raise SecurityError(f"a range has at most {LONGEST_RANGE} steps")


def _guarded(function: Callable[..., Any], guard: Callable[..., object]) -> Callable[..., Any]:
    def checked(*args: Any, **kwargs: Any) -> Any:
        guard(*args, **kwargs)
        return function(*args, **kwargs)

    if isinstance(function, types.FunctionType):
        return wraps(function)(checked)  # with the marks that Jinja puts on its filters
    return update_wrapper(checked, function, assigned=("__name__",), updated=())


def _too_long(size: int) -> None:
    if size > LONGEST_TEXT:
        raise SecurityError("the text is longer than 1 MiB")


def _check_numbers(*args: Any, **kwargs: Any) -> None:
    for value in (*args, *kwargs.values()):
        if isinstance(value, int) and abs(value) > WIDEST:
            raise SecurityError(f"a width or a count is at most {WIDEST}")


def _check_indent(text: Any, width: Any = 4, *args: Any, **kwargs: Any) -> None:
    _check_numbers(width)
    _too_long((str(text).count("\n") + 1) * (width if isinstance(width, int) else len(width)))


def _check_wordwrap(environment: Any, text: Any, *args: Any, **kwargs: Any) -> None:
    breaks = [value for value in (*args, *kwargs.values()) if isinstance(value, str)]
    _too_long(len(str(text)) * max(map(len, breaks), default=1))


def _check_replace(text: Any, old: Any = "", new: Any = "", *args: Any, **kwargs: Any) -> None:
    if isinstance(text, (str, bytes)) and isinstance(new, (str, bytes)):
        _too_long((text.count(old) if len(old) else len(text) + 1) * len(new) + len(text))


def _check_join(parts: list[Any], between: int) -> list[Any]:
    _too_long(sum(len(part) for part in parts if isinstance(part, (str, bytes))) + between * len(parts))
    return parts


def _check_joining(context: Any, value: Any, d: Any = "", attribute: Any = None) -> None:
    if isinstance(value, (list, tuple)) and attribute is None:
        _check_join(list(value), len(str(d)))


def _check_format(text: Any, *args: Any, **kwargs: Any) -> None:
    if isinstance(text, str):
        for _, _, spec, _ in string.Formatter().parse(text):
            if spec and ("{" in spec or _WIDE.search(spec)):
                raise SecurityError(f"a width in format() is a number of at most {WIDEST - 1}")


def _check_percent(text: Any, *args: Any, **kwargs: Any) -> None:
    if isinstance(text, (str, bytes)):
        shown = text if isinstance(text, str) else text.decode("latin-1")
        if any(_WIDE.search(found) for found in re.findall(r"%(?:\([^)]*\))?([^A-Za-z%]*)", shown)):
            raise SecurityError(f"a width in a format is a number of at most {WIDEST - 1}")


def _check_plus(left: Any, right: Any) -> None:
    if isinstance(left, (str, bytes, list, tuple)) and isinstance(right, (str, bytes, list, tuple)):
        _too_long(len(left) + len(right))


def _check_times(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int):
        if left.bit_length() + right.bit_length() > MOST_BITS:
            raise SecurityError("the number is too large")
        return
    for sequence, count in ((left, right), (right, left)):
        if isinstance(sequence, (str, bytes, list, tuple)) and isinstance(count, int):
            _too_long(len(sequence) * count)


def _check_power(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() * abs(right) > MOST_BITS:
        raise SecurityError("the number is too large")


_CHECKS: dict[str, Callable[[Any, Any], None]] = {
    "+": _check_plus,
    "*": _check_times,
    "**": _check_power,
    "%": _check_percent,
}
_GUARDS: dict[str, Callable[..., object]] = {
    "center": _check_numbers,
    "batch": lambda value, *args, **kwargs: _check_numbers(*args, **kwargs),
    "slice": lambda value, *args, **kwargs: _check_numbers(*args, **kwargs),
    "round": lambda value, *args, **kwargs: _check_numbers(*args, **kwargs),
    "indent": _check_indent,
    "wordwrap": _check_wordwrap,
    "replace": lambda context, *args, **kwargs: _check_replace(*args, **kwargs),
    "join": _check_joining,
    "format": _check_percent,
}
