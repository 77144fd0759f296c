"""The Jinja environment that templates live in: keys before methods, no way to the interpreter, no bombs.

The compiler's syntax tree is rewritten before it becomes code: what is printed, looped over and joined passes through
filters of ours, whose names hold a space so that no template can write them.
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any

import markupsafe
from jinja2 import StrictUndefined, TemplateSyntaxError, Undefined, nodes, pass_eval_context
from jinja2.exceptions import SecurityError, UndefinedError
from jinja2.lexer import TokenStream
from jinja2.runtime import markup_join, str_join
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing
from jinja2.visitor import NodeTransformer

from gateway.bounds import (
    FILTER_CHECKS,
    OPERATOR_CHECKS,
    bounded_join,
    bounded_range,
    check_format,
    check_join,
    check_numbers,
    check_replace,
    guarded,
)
from gateway.filters import FILTERS
from gateway.spots import placed_tokens

MOST_STEPS = 100_000  # turns of loops, and calls, in one rendering

steps_left: ContextVar[list[int] | None] = ContextVar("steps_left", default=None)
"""What the rendering under way may still do; set anew for each by whoever renders."""

_MAPPING_METHODS = frozenset(("get", "items", "keys", "values"))
_PRINT, _LOOP, _JOIN = "gateway print", "gateway loop", "gateway join"
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


class UnknownName(TemplateSyntaxError):  # noqa: N818
    """A filter or a test does not exist."""


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
        self.globals["range"] = bounded_range
        for name in ("attr", "random"):
            del self.filters[name]
        for name, guard in FILTER_CHECKS.items():
            self.filters[name] = guarded(self.filters[name], guard)
        self.filters.update(FILTERS)
        printing = _print if escape is None or self.writes_html else _escaping_print(escape)
        self.filters.update({_PRINT: printing, _LOOP: _loop, _JOIN: _joined})

    def unknown(
        self, filters: Iterable[tuple[str, int]], tests: Iterable[tuple[str, int]]
    ) -> Iterator[TemplateSyntaxError]:
        """A fault for each filter and test that does not exist, of those named with their lines."""
        for word, named, known in (("filter", filters, self.filters), ("test", tests, self.tests)):
            for name, line in named:
                if name not in known:
                    near = difflib.get_close_matches(name, [one for one in known if " " not in one], n=1)
                    guess = f"; did you mean {near[0]}?" if near else ""
                    yield UnknownName(f"there is no {word} {name!r}{guess}", line)

    def prepare(self, tree: nodes.Template) -> nodes.Template:
        """The syntax tree that is compiled. Raises TemplateSyntaxError where a filter or a test does not exist."""
        filters = ((node.name, node.lineno) for node in tree.find_all(nodes.Filter))
        tests = ((node.name, node.lineno) for node in tree.find_all(nodes.Test))
        for fault in self.unknown(filters, tests):
            raise fault
        prepared: nodes.Template = _Rewriter().visit(tree)
        prepared.set_environment(self)
        return prepared

    def _tokenize(
        self, source: str, name: str | None, filename: str | None = None, state: str | None = None
    ) -> TokenStream:
        tokens = placed_tokens(self.lexer, source, name, filename, state)
        return TokenStream(self.lexer.wrap(tokens, name, filename), name, filename)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        return self.prepare(super()._parse(source, name, filename))

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
            return made and guarded(made, lambda *args, **kwargs: check_format(owner))
        if name in _PADDING:
            return guarded(value, check_numbers)
        if name == "replace":
            return guarded(value, lambda *args, **kwargs: check_replace(owner, *args))
        if name == "join":
            return lambda parts: value(check_join(list(parts), len(owner)))
        return None

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        _spend(1)
        return super().call(__context, __obj, *args, **kwargs)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        OPERATOR_CHECKS[operator](left, right)
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
    check_join(parts, 0)
    return markup_join(parts) if context.autoescape else str_join(parts)
