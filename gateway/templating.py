"""Expressions and templates of gateway.yaml: compiled once at load, rendered per delivery.

A value that is one lone `{{ expression }}` keeps its native type; anything else renders to text. Undefined names are
errors. A key wins over a method of the same name, so `object.items.data[0].price.id` works.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, Template, TemplateNotFound, TemplateSyntaxError, nodes
from jinja2.parser import Parser

from gateway.errors import TemplateError, Where
from gateway.faults import compile_words, line_of, render_words, shortened
from gateway.native import native
from gateway.sandbox import MOST_STEPS, Sandbox, bounded_join, path_of, steps_left

_DELIMITER = re.compile(r"\{\{|\{%|\{#")
_WRAPPED = re.compile(r"\s*(\{\{.*\}\}|\{%.*)\s*", re.DOTALL)
_RESULT = "gateway_result"


class Expression:
    """One compiled Jinja expression."""

    __slots__ = ("_is_path", "_template", "source", "where")

    def __init__(self, template: Template, source: str, where: Where, is_path: bool) -> None:
        self._template = template
        self._is_path = is_path
        self.source = source
        self.where = where

    def evaluate(self, scope: Mapping[str, Any]) -> Any:
        """The expression's native value. Raises TemplateError."""
        token = steps_left.set([MOST_STEPS])
        try:
            context = self._template.new_context(dict(scope))
            for _ in self._template.root_render_func(context):
                pass
            return native(context.vars[_RESULT], self._is_path)
        except Exception as error:
            raise _failed(error, self.source, self.where, scope) from None
        finally:
            steps_left.reset(token)


class Leaf:
    """One compiled scalar of a `with`. `is_constant` where it holds no template at all."""

    __slots__ = ("_expression", "_template", "is_constant", "source", "where")

    def __init__(self, source: str, where: Where, compiled: Expression | Template | None) -> None:
        self.source = source
        self.where = where
        self._expression = compiled if isinstance(compiled, Expression) else None
        self._template = compiled if isinstance(compiled, Template) else None
        self.is_constant = compiled is None

    def render(self, scope: Mapping[str, Any]) -> Any:
        """Native value of a lone expression, else text. Raises TemplateError with this leaf's place, naming the
        missing field where one is missing; in a template file, the place is the file's line.
        """
        if self._expression is not None:
            return self._expression.evaluate(scope)
        if self._template is None:
            return self.source
        token = steps_left.set([MOST_STEPS])
        try:
            return bounded_join(self._template.root_render_func(self._template.new_context(dict(scope))))
        except Exception as error:
            raise _failed(error, self.source, self.where, scope) from None
        finally:
            steps_left.reset(token)


class Templates:
    """Compiles. One per loaded configuration; `folder` is where template files are looked up, and `only` these files
    can be read where it is given.
    """

    def __init__(self, folder: Path, only: Collection[Path] | None = None) -> None:
        self.files_read: set[Path] = set()
        self._folder = folder
        self._loader = _Loader(folder, self.files_read, only)
        self._sandboxes: dict[Callable[[str], str] | None, Sandbox] = {}

    def expression(self, source: str, where: Where) -> Expression:
        """A bare Jinja expression such as `object.amount_total >= 100000`. Raises TemplateError."""
        if _WRAPPED.fullmatch(source):
            raise TemplateError(where, f"{shortened(source)}: write the expression without {{{{ }}}}")
        if not source.strip():
            raise TemplateError(where, "the expression is empty")
        sandbox = self._sandbox(None)
        try:
            parser = Parser(sandbox, source, state="variable")
            body = parser.parse_expression()
            if not parser.stream.eos:
                raise TemplateSyntaxError(f"unexpected {parser.stream.current.value!r}", parser.stream.current.lineno)
            return self._compiled(body, source.strip(), where)
        except Exception as error:
            raise _refused(error, source, where) from None

    def leaf(
        self, source: str, where: Where, *, as_text: bool = False, escape: Callable[[str], str] | None = None
    ) -> Leaf:
        """A template text. `as_text`, or an `escape`: even a lone expression renders to text. `escape` is applied to
        what each expression brings; `markupsafe.escape` turns on autoescaping. Raises TemplateError.
        """
        if not _DELIMITER.search(source):
            return Leaf(source, where, None)
        sandbox = self._sandbox(escape)
        try:
            if not as_text and escape is None:
                body = Parser(sandbox, source.strip()).parse().body
                if len(body) == 1 and isinstance(body[0], nodes.Output) and len(body[0].nodes) == 1:
                    lone = body[0].nodes[0]
                    if not isinstance(lone, nodes.TemplateData):
                        return Leaf(source, where, self._compiled(lone, source.strip(), where))
            template = sandbox.from_string(source)
            self._load_referenced(sandbox, Parser(sandbox, source).parse(), where)
        except TemplateError:
            raise
        except Exception as error:
            raise _refused(error, source, where) from None
        return Leaf(source, where, template)

    def file(self, path: str, where: Where, *, escape: Callable[[str], str] | None = None) -> Leaf:
        """A template file below `folder`, which may include and extend others there. It renders to text.
        Raises TemplateError, also where there is no such file.
        """
        root = os.path.abspath(self._folder)
        full = os.path.normpath(os.path.join(root, path))
        if "\0" in path or os.path.commonpath((root, full)) != root:
            raise TemplateError(where, f"the template file {path!r} lies outside the folder of gateway.yaml")
        template = self._load(self._sandbox(escape), os.path.relpath(full, root).replace(os.sep, "/"), where, set())
        return Leaf(path, where, template)

    def _sandbox(self, escape: Callable[[str], str] | None) -> Sandbox:
        if escape not in self._sandboxes:
            self._sandboxes[escape] = Sandbox(self._loader, escape)
        return self._sandboxes[escape]

    def _compiled(self, body: nodes.Expr, source: str, where: Where) -> Expression:
        sandbox = self._sandbox(None)
        is_path = bool(path_of(body))
        assign = nodes.Assign(nodes.Name(_RESULT, "store"), body, lineno=body.lineno)
        tree = sandbox.prepare(nodes.Template([assign], lineno=1), source)
        return Expression(sandbox.from_string(tree), source, where, is_path)

    def _load(self, sandbox: Sandbox, name: str, where: Where, seen: set[str]) -> Template:
        """Compiles a file and all that it names, so that a fault in any of them is found at load."""
        seen.add(name)
        try:
            template = sandbox.get_template(name)
            text, file, _ = self._loader.get_source(sandbox, name)
        except TemplateNotFound as error:
            raise TemplateError(where, self._not_found(str(error.name or name))) from None
        except TemplateSyntaxError as error:
            place = Where(error.filename or str(self._folder / name), error.lineno, 1, where.path)
            raise TemplateError(place, compile_words(error)) from None
        except UnicodeDecodeError:
            raise TemplateError(where, f"the template file {name!r} is not UTF-8 text") from None
        except OSError as error:
            raise TemplateError(where, f"cannot read the template file {name!r}: {error.strerror}") from None
        except Exception as error:
            place = Where(str(self._folder / name), 1, 1, where.path)
            raise TemplateError(place, f"does not compile: {compile_words(error)}") from None
        self._load_referenced(sandbox, Parser(sandbox, text).parse(), Where(file, 1, 1, where.path), seen)
        return template

    def _load_referenced(
        self, sandbox: Sandbox, tree: nodes.Template, where: Where, seen: set[str] | None = None
    ) -> None:
        seen = set() if seen is None else seen
        for node in tree.find_all((nodes.Extends, nodes.Include, nodes.Import, nodes.FromImport)):
            named = node.template  # type: ignore[attr-defined]
            if isinstance(named, nodes.Const) and isinstance(named.value, str) and named.value not in seen:
                line = where.line + node.lineno - 1
                place = Where(where.file, line, where.column if line == where.line else 1, where.path)
                try:
                    self._load(sandbox, named.value, place, seen)
                except TemplateError:
                    if not getattr(node, "ignore_missing", False) or self._exists(named.value):
                        raise

    def _exists(self, name: str) -> bool:
        return (self._folder / name).is_file()

    def _not_found(self, name: str) -> str:
        try:
            siblings = [file.name for file in (self._folder / name).parent.iterdir() if file.is_file()]
        except (OSError, ValueError):
            siblings = []
        near = difflib.get_close_matches(os.path.basename(name), siblings, n=1)
        return f"there is no template file {name!r}" + (f"; did you mean {near[0]}?" if near else "")


class _Loader(FileSystemLoader):
    """Reads files below a folder, links followed, and notes which."""

    def __init__(self, folder: Path, read: set[Path], only: Collection[Path] | None) -> None:
        super().__init__(folder)
        self._folder = folder
        self._only = None if only is None else {path.resolve() for path in only}
        self._read = read

    def get_source(self, environment: Environment, template: str) -> Any:
        found = super().get_source(environment, template)
        path = Path(found[1])
        if not path.resolve().is_relative_to(self._folder.resolve()):
            raise TemplateNotFound(template, f"the template file {template!r} lies outside the folder of gateway.yaml")
        if self._only is not None and path.resolve() not in self._only:
            raise TemplateNotFound(template, f"the template file {template!r} is not one that gateway.yaml uses")
        self._read.add(path)
        return found


def _refused(error: Exception, source: str, where: Where) -> TemplateError:
    """The TemplateError for what did not compile."""
    line = where.line + (error.lineno - 1 if isinstance(error, TemplateSyntaxError) else 0)
    place = Where(where.file, line, where.column, where.path)
    return TemplateError(place, f"{shortened(source)}: does not compile: {compile_words(error, source)}")


def _failed(error: Exception, source: str, where: Where, scope: Mapping[str, Any]) -> TemplateError:
    """The TemplateError for what did not render."""
    file, line = line_of(error)
    if file is not None:
        place = Where(file, line, 1, where.path)
    else:
        place = Where(where.file, where.line + line - 1, where.column, where.path)
    return TemplateError(place, render_words(error, source, scope))
