"""The Jinja sandbox: expressions and templates of gateway.yaml, compiled once at load, rendered per delivery.

A value that is one lone `{{ expression }}` keeps its native type; anything else renders to text. Undefined names are
errors. A key wins over a method of the same name, so `object.items.data[0].price.id` works.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import markupsafe
from jinja2 import FileSystemLoader, StrictUndefined, Template, TemplateNotFound, TemplateSyntaxError, Undefined, nodes
from jinja2.exceptions import SecurityError, UndefinedError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from gateway.errors import TemplateError, Where
from gateway.filters import FILTERS

LONGEST_TEXT = 1024 * 1024  # characters that one value may render to
LONGEST_RANGE = 10_000
_DELIMITER = re.compile(r"\{\{|\{%|\{#")
_RESULT = "gateway_result"


class _Missing(StrictUndefined):
    """An undefined name that says what it was looked for in."""

    def _message(self) -> str:
        name = self._undefined_name
        holder = self._undefined_obj
        if isinstance(holder, Mapping):
            near = difflib.get_close_matches(str(name), [str(key) for key in holder], n=1)
            return f"no field {name!r}" + (f"; did you mean {near[0]!r}?" if near else "")
        if holder is None:
            return f"cannot take {name!r} of null"
        if self._undefined_hint:
            return self._undefined_hint
        if name is not None and not hasattr(holder, "items"):
            return f"no name {name!r}" if type(holder).__name__ == "MissingType" else f"no field {name!r}"
        return "undefined"

    def _fail(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise UndefinedError(self._message())

    __iter__ = __str__ = __len__ = __eq__ = __ne__ = __bool__ = __hash__ = __contains__ = _fail
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _fail
    __lt__ = __le__ = __gt__ = __ge__ = __int__ = __float__ = __call__ = __getitem__ = _fail

    def __getattr__(self, name: str) -> Any:
        if name[:2] == "__":
            raise AttributeError(name)
        self._fail()


class _Environment(ImmutableSandboxedEnvironment):
    """Keys before attributes; no way to the interpreter; no bombs."""

    intercepted_binops = frozenset(("*", "**", "%"))

    def __init__(self, **options: Any) -> None:
        super().__init__(undefined=_Missing, keep_trailing_newline=True, **options)
        self.filters.pop("attr", None)
        for name in ("lipsum", "cycler", "joiner"):
            self.globals.pop(name, None)
        self.globals["range"] = _range
        self.filters.update(FILTERS)

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, Mapping):
            if attribute in obj:
                return obj[attribute]
            if attribute not in ("get", "items", "keys", "values"):
                return self.undefined(obj=obj, name=attribute)
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        if isinstance(obj, Mapping):
            try:
                return obj[argument]
            except (KeyError, TypeError):
                return self.undefined(obj=obj, name=argument)
        return super().getitem(obj, argument)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        for value in (left, right):
            if operator == "*" and isinstance(value, (str, bytes, list, tuple)):
                other = right if value is left else left
                if isinstance(other, int) and len(value) * other > LONGEST_TEXT:
                    raise SecurityError("the result would be too long")
        if operator == "**" and (abs(left) > 10**6 or abs(right) > 64):
            raise SecurityError("the result would be too large")
        if operator == "%" and isinstance(left, (str, bytes)):
            raise SecurityError("text % values is not offered; use ~ or format()")
        return super().call_binop(context, operator, left, right)

    def call(self, context: Any, obj: Any, *args: Any, **kwargs: Any) -> Any:
        if getattr(obj, "__name__", "") in ("format", "format_map", "center", "ljust", "rjust", "zfill", "expandtabs"):
            raise SecurityError(f"the method {obj.__name__}() is not offered")
        return super().call(context, obj, *args, **kwargs)


def _range(*args: int) -> range:
    made = range(*args)
    if len(made) > LONGEST_RANGE:
        raise SecurityError(f"a range has at most {LONGEST_RANGE} steps")
    return made


def _printed(value: Any) -> Any:
    """What an expression brings into a text."""
    if value is None:
        raise UndefinedError("the value is null; say what to print instead: {{ ... | default('-', true) }}")
    return value


def _words(error: Exception) -> str:
    """An exception of Jinja or of what it called, for the person who wrote the template."""
    if isinstance(error, TemplateNotFound):
        return f"there is no template file {error.name!r}"
    if isinstance(error, (UndefinedError, SecurityError, ValueError, TemplateSyntaxError)):
        return str(error.args[0] if error.args else error)
    if isinstance(error, RecursionError):
        return "it calls itself without end"
    return f"{type(error).__name__}: {error}"


def _short(source: str) -> str:
    text = " ".join(source.split())
    return text if len(text) <= 80 else text[:77] + "..."


class CompiledExpression:
    """One compiled Jinja expression."""

    __slots__ = ("_template", "source", "where")

    def __init__(self, template: Template, source: str, where: Where) -> None:
        self._template = template
        self.source = source
        self.where = where

    def evaluate(self, scope: Mapping[str, Any]) -> Any:
        """The expression's native value. Raises TemplateError."""
        try:
            context = self._template.new_context(dict(scope))
            for _ in self._template.root_render_func(context):
                pass
            value = context.vars[_RESULT]
            if isinstance(value, Undefined):
                str(value)
        except Exception as error:
            raise TemplateError(self.where, f"{_short(self.source)}: {_words(error)}") from None
        if isinstance(value, str) and len(value) > LONGEST_TEXT:
            raise TemplateError(self.where, f"{_short(self.source)}: the text is longer than 1 MiB")
        return value


class Leaf:
    """One compiled scalar of a `with`. `is_constant` where it holds no template at all."""

    __slots__ = ("_expression", "_template", "is_constant", "source", "where")

    def __init__(
        self, source: str, where: Where, expression: CompiledExpression | None, template: Template | None
    ) -> None:
        self.source = source
        self.where = where
        self._expression = expression
        self._template = template
        self.is_constant = expression is None and template is None

    def render(self, scope: Mapping[str, Any]) -> Any:
        """Native value of a lone expression, else text. Raises TemplateError with this leaf's place, naming the
        missing field where one is missing.
        """
        if self._expression is not None:
            return self._expression.evaluate(scope)
        if self._template is None:
            return self.source
        parts: list[str] = []
        size = 0
        try:
            for part in self._template.generate(dict(scope)):
                size += len(part)
                if size > LONGEST_TEXT:
                    raise SecurityError("the text is longer than 1 MiB")
                parts.append(part)
        except Exception as error:
            raise TemplateError(self.where, f"{_short(self.source)}: {_words(error)}") from None
        return "".join(parts)


class Templates:
    """Compiles. One per loaded configuration; `folder` is where template files are looked up."""

    def __init__(self, folder: Path) -> None:
        self.files_read: set[Path] = set()
        self._folder = folder.resolve()
        self._plain = self._environment(None)
        self._environments: dict[Any, _Environment] = {None: self._plain}

    def _environment(self, escape: Callable[[str], str] | None) -> _Environment:
        read = self.files_read

        class Loader(FileSystemLoader):
            def get_source(self, environment: Any, template: str) -> Any:
                found = super().get_source(environment, template)
                read.add(Path(found[1]))
                return found

        if escape is markupsafe.escape:
            return _Environment(loader=Loader(self._folder), autoescape=True, finalize=_printed)
        if escape is None:
            return _Environment(loader=Loader(self._folder), finalize=_printed)
        return _Environment(
            loader=Loader(self._folder),
            finalize=lambda value: value if isinstance(value, markupsafe.Markup) else escape(str(_printed(value))),
        )

    def _escaping(self, escape: Callable[[str], str] | None) -> _Environment:
        if escape not in self._environments:
            self._environments[escape] = self._environment(escape)
        return self._environments[escape]

    def expression(self, source: str, where: Where) -> CompiledExpression:
        """A bare Jinja expression such as `object.amount_total >= 100000`. Raises TemplateError."""
        if _DELIMITER.search(source):
            raise TemplateError(where, "write the expression without {{ }}")
        return self._expression(source, where)

    def _expression(self, source: str, where: Where) -> CompiledExpression:
        from jinja2.parser import Parser

        try:
            parser = Parser(self._plain, source, state="variable")
            body = parser.parse_expression()
            if not parser.stream.eos:
                raise TemplateSyntaxError(f"unexpected {parser.stream.current.value!r}", 1)
            body.set_environment(self._plain)
            assign = nodes.Assign(nodes.Name(_RESULT, "store"), body, lineno=1)
            template = self._plain.from_string(nodes.Template([assign], lineno=1))
        except (TemplateSyntaxError, SyntaxError, RecursionError, ValueError, OverflowError, MemoryError) as error:
            raise TemplateError(where, f"{_short(source)}: does not compile: {_words(error)}") from None
        except Exception as error:  # constant folding runs filters on literals at compile time
            raise TemplateError(where, f"{_short(source)}: {_words(error)}") from None
        return CompiledExpression(template, source.strip(), where)

    def leaf(
        self, source: str, where: Where, *, as_text: bool = False, escape: Callable[[str], str] | None = None
    ) -> Leaf:
        """A template text. `as_text`: even a lone expression renders to text. `escape` is applied to what each
        expression brings; `markupsafe.escape` turns on autoescaping. Raises TemplateError.
        """
        if not _DELIMITER.search(source):
            return Leaf(source, where, None, None)
        if not as_text and (inner := self._lone_expression(source)) is not None:
            return Leaf(source, where, self._expression(inner, where), None)
        environment = self._escaping(escape)
        try:
            template = environment.from_string(source)
        except TemplateSyntaxError as error:
            place = Where(where.file, where.line + error.lineno - 1, where.column, where.path)
            raise TemplateError(place, f"does not compile: {_words(error)}") from None
        except Exception as error:
            raise TemplateError(where, f"{_short(source)}: {_words(error)}") from None
        return Leaf(source, where, None, template)

    def _lone_expression(self, source: str) -> str | None:
        """The inside of a text that is one `{{ expression }}` and nothing else, else None."""
        text = source.strip()
        if not (text.startswith("{{") and text.endswith("}}")):
            return None
        try:
            body = self._plain.parse(text).body
        except TemplateSyntaxError:
            return None
        if len(body) == 1 and isinstance(body[0], nodes.Output) and len(body[0].nodes) == 1:
            return text[2:-2].strip("-+ \t\n") if text[2:3] in "-+" or text[-3:-2] in "-+" else text[2:-2]
        return None

    def file(self, path: str, where: Where, *, escape: Callable[[str], str] | None = None) -> Leaf:
        """A template file below `folder`, which may include and extend others there. Raises TemplateError, also
        where there is no such file.
        """
        full = (self._folder / path).resolve()
        if not full.is_relative_to(self._folder):
            raise TemplateError(where, f"the template file {path!r} lies outside the folder of gateway.yaml")
        name = full.relative_to(self._folder).as_posix()
        try:
            template = self._escaping(escape).get_template(name)
        except TemplateNotFound:
            raise TemplateError(where, f"there is no template file {path!r}") from None
        except TemplateSyntaxError as error:
            raise TemplateError(Where(error.name or name, error.lineno, 1, where.path), _words(error)) from None
        except (OSError, UnicodeDecodeError) as error:
            raise TemplateError(where, f"cannot read {path!r}: {error}") from None
        return Leaf(f"{{template: {path}}}", where, None, template)
