"""The Jinja environment that templates live in: keys before methods, no way to the interpreter, no bombs.

Whatever a template does goes through here and is taken from the budget of its rendering: operators, calls, filters, and
by a rewritten syntax tree what is printed, looped over, joined, compared, sliced and put into lists.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import markupsafe
from jinja2 import StrictUndefined, TemplateSyntaxError, Undefined, nodes, pass_eval_context
from jinja2.exceptions import UndefinedError
from jinja2.lexer import TokenStream
from jinja2.runtime import markup_join, str_join
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing

from gateway.core.spelling import nearest
from gateway.templating.budget import CALL, CONTAINER, Notes, budget, size_of
from gateway.templating.filters import FILTERS
from gateway.templating.instrumentation import COMPARED, JOIN, LOOP, MADE, PRINT, SEARCHED, SLICED, TEXT, Rewriter
from gateway.templating.limits import (
    FILTER_CHECKS,
    OPERATOR_CHECKS,
    REPLACED_FILTERS,
    bounded_join,
    bounded_range,
    check_format,
    check_join,
    check_numbers,
    check_replace,
    check_tabs,
    guarded,
    marked,
)
from gateway.templating.positions import placed_tokens

_MAPPING_METHODS = frozenset(("get", "items", "keys", "values"))
_UNSAFE_METHODS = frozenset(("to_bytes", "from_bytes", "translate"))
_PADDING = frozenset(("center", "ljust", "rjust", "zfill"))
_COMPARING_METHODS = frozenset(("index", "count", "changed"))
_COMPARING_FILTERS = frozenset(("dictsort", "groupby", "max", "min", "sort", "unique"))
_COMPARING_TESTS = frozenset(
    ("!=", "<", "<=", "==", ">", ">=", "eq", "equalto", "ge", "greaterthan", "gt", "in", "le", "lessthan", "lt", "ne")
)
_WORK_A_CHARACTER = {"pprint": 32, "urlize": 16}  # 1 for the others


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


class _MissingKey(_Missing):
    """A key that is not there and is named like a method of mappings: undefined as any other, unless it is called."""

    __slots__ = ("method",)
    method: Callable[..., Any]


class UnknownFilter(TemplateSyntaxError):  # noqa: N818
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
        self.globals.update({"range": bounded_range, "namespace": Notes})
        for name in ("attr", "random"):
            del self.filters[name]
        self.filters.update(REPLACED_FILTERS)
        for name, guard in FILTER_CHECKS.items():
            self.filters[name] = guarded(self.filters[name], guard)
        self.filters.update(FILTERS)
        self.filters = {name: _metered(name, function) for name, function in self.filters.items()}
        for name in _COMPARING_TESTS:
            test: Any = self.tests[name]
            self.tests[name] = guarded(test, _compare)
        printing = _print if escape is None or self.writes_html else _escaping_print(escape)
        self.filters.update({PRINT: printing, TEXT: _print, LOOP: _loop, JOIN: _joined})
        self.filters.update({COMPARED: _compared, SEARCHED: _searched, SLICED: _sliced, MADE: _made})

    def unknown(
        self, filters: Iterable[tuple[str, int]], tests: Iterable[tuple[str, int]]
    ) -> Iterator[TemplateSyntaxError]:
        """A fault for each filter and test that does not exist, of those named with their lines."""
        for word, named, known in (("filter", filters, self.filters), ("test", tests, self.tests)):
            for name, line in named:
                if name not in known:
                    near = nearest(name, (candidate for candidate in known if " " not in candidate))
                    guess = f"; did you mean {near}?" if near else ""
                    yield UnknownFilter(f"there is no {word} {name!r}{guess}", line)

    def prepare(self, tree: nodes.Template) -> nodes.Template:
        """The syntax tree that is compiled. Raises TemplateSyntaxError where a filter or a test does not exist."""
        filters = ((node.name, node.lineno) for node in tree.find_all(nodes.Filter))
        tests = ((node.name, node.lineno) for node in tree.find_all(nodes.Test))
        for fault in self.unknown(filters, tests):
            raise fault
        prepared: nodes.Template = Rewriter().visit(tree)
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
            if attribute in _MAPPING_METHODS:
                key = _MissingKey(None, obj, attribute)
                key.method = super().getattr(obj, attribute)
                return key
            if attribute[:1] == "_":
                return self.unsafe_undefined(obj, attribute)
            return self.undefined(None, obj, attribute)
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
            formatting = super().wrap_str_format(value)
            return formatting and guarded(formatting, lambda *args, **kwargs: check_format(owner, *args, **kwargs))
        if name in _PADDING:
            return guarded(value, check_numbers)
        if name == "expandtabs":
            return guarded(value, lambda tabsize=8: check_tabs(owner, tabsize))
        if name == "replace":
            return guarded(value, lambda *args, **kwargs: check_replace(owner, *args))
        if name == "join":
            return lambda parts: value(check_join(list(parts), len(owner)))
        return None

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        if isinstance(__obj, _MissingKey):
            __obj = __obj.method
        left = budget()
        left.step(1)
        left.work(CALL + sum(map(size_of, args)) + sum(map(size_of, kwargs.values())))
        if isinstance(__obj, (types.MethodType, types.BuiltinMethodType)):
            owner = __obj.__self__
            is_comparing = __obj.__name__ in _COMPARING_METHODS
            left.work(sum(map(left.weigh, (owner, *args))) if is_comparing else size_of(owner))
        return left.admit(super().call(__context, __obj, *args, **kwargs))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        OPERATOR_CHECKS[operator](left, right)
        result = self.binop_table[operator](left, right)
        if isinstance(result, (list, tuple)):
            whole = budget()
            whole.work(len(result))  # in full: what is noted is kept until the rendering ends
            if operator == "+":
                whole.note(result, whole.weigh(left) + whole.weigh(right))
            else:
                many, times = (left, right) if isinstance(right, int) else (right, left)
                whole.note(result, CONTAINER + (whole.weigh(many) - CONTAINER) * max(times, 0))
            return result
        return budget().admit(result)


def _metered(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that takes what goes into it and what comes out of it from the budget."""
    factor = _WORK_A_CHARACTER.get(name, 1)
    is_comparing = name in _COMPARING_FILTERS

    def metered(*args: Any, **kwargs: Any) -> Any:
        left = budget()
        left.work(CALL + factor * sum(map(size_of, args)))
        if is_comparing or factor > 1:
            left.work(4 * sum(map(left.weigh, args)))
        return left.admit(function(*args, **kwargs))

    return marked(metered, function)


def _print(value: Any, path: str, is_defaulted: bool = False) -> Any:
    if value is None:
        without = ", and default without true is for what is missing" if is_defaulted else ""
        raise NullPrinted(f"{path or 'the value'} is null{without}; say what to print instead: | default('...', true)")
    for part in value if isinstance(value, (list, tuple)) else (value,):
        if isinstance(part, Undefined):
            str(part)  # raises; within a list, Python would write it as if it were a value
    if not isinstance(value, str):
        budget().weigh(value)
    return value


def _escaping_print(escape: Callable[[str], str]) -> Callable[[Any, str], markupsafe.Markup]:
    def printing(value: Any, path: str, is_defaulted: bool = False) -> markupsafe.Markup:
        if isinstance(value, markupsafe.Markup):
            return value
        return markupsafe.Markup(escape(str(_print(value, path, is_defaulted))))  # noqa: S704 - escaped by its own rules

    return printing


def _loop(value: Any, path: str) -> Any:
    if value is None:
        raise ValueError(f"{path or 'the value'} is null; a loop needs a list, such as | default([], true)")
    try:
        budget().step(len(value))
    except TypeError:
        return _counted(value)
    return value


def _counted(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        budget().step(1)
        yield value


def _compare(*args: Any) -> None:
    left = budget()
    left.work(sum(map(left.weigh, args)) // CALL)


def _compared(value: Any) -> Any:
    left = budget()
    left.work(left.weigh(value) // CALL)
    return value


def _searched(value: Any) -> Any:
    return value if isinstance(value, dict) else _compared(value)


def _sliced(value: Any) -> Any:
    budget().work(size_of(value))
    return value


def _made(value: Any) -> Any:
    budget().weigh(value)
    return value


@pass_eval_context
def _joined(context: nodes.EvalContext, parts: list[Any]) -> str:
    for part in parts:
        if part is None:
            raise ValueError("a null is joined to a text; say what to join instead: | default('...', true)")
    budget().work(sum(map(size_of, check_join(parts, 0))))
    return markup_join(parts) if context.autoescape else str_join(parts)
