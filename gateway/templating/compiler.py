"""Expressions and templates of gateway.yaml: compiled at load or at their first use, rendered per delivery.

A value that is one lone `{{ expression }}` keeps its native type; anything else renders to text. Undefined names are
errors. A key wins over a method of the same name, so `object.items.data[0].price.id` works.

Every text is parsed at load, and its filters, tests and files are looked up. What could still fail to compile is
compiled then too; plain expressions wait for their first use: compiling costs ten times as much as parsing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, Template, TemplateNotFound, TemplateSyntaxError, nodes
from jinja2.parser import Parser

from gateway.core.errors import TemplateError, Where
from gateway.core.spelling import nearest
from gateway.templating.analysis import Read, TemplateReader, lone_expression, parsed_expression
from gateway.templating.budget import Budget, under_way
from gateway.templating.environment import Sandbox, UnknownFilter
from gateway.templating.error_messages import GUESS, UNCLOSED, compile_words, line_of, render_words, shortened
from gateway.templating.limits import bounded_join
from gateway.templating.positions import stretch_of, unclosed_block
from gateway.templating.references import NamedFile, Reference, Survey, taken
from gateway.templating.values import native

Place = Callable[[int, int], Where]
"""The place of a stretch of a template's text, given by its first character and the one after its last."""

Note = Callable[[str, Mapping[str, Any]], str]
"""What to add to the words for what did not render in a scope."""

_DELIMITER = re.compile(r"\{\{|\{%|\{#")
_WRAPPED = re.compile(r"\s*(\{\{.*\}\}|\{%.*)\s*", re.DOTALL)
_RESULT = "gateway_result"


class _Code:
    """A template that compiles now, or at its first use."""

    __slots__ = ("_make", "_template")

    def __init__(self, make: Callable[[], Template], is_sure: bool) -> None:
        self._make = make
        self._template = None if is_sure else make()

    def template(self) -> Template:
        if self._template is None:
            self._template = self._make()
        return self._template


@dataclass(frozen=True, slots=True)
class _Text:
    """Where a text stands: the place of its whole, and its first line in the file, 0 where lines do not correspond."""

    source: str
    where: Where
    first_line: int
    note: Note


class CompiledExpression:
    """One compiled Jinja expression. `references` are the names that it takes from its scope."""

    __slots__ = ("_code", "_is_path", "_text", "references", "source", "where")

    def __init__(self, code: _Code, text: _Text, is_path: bool, references: tuple[Reference, ...]) -> None:
        self._code = code
        self._is_path = is_path
        self._text = text
        self.source = text.source
        self.where = text.where
        self.references = references

    def prepare(self) -> None:
        """Compiles it now, so that its first use does not wait for that."""
        self._code.template()

    def evaluate(self, scope: Mapping[str, Any]) -> Any:
        """The expression's native value. Raises TemplateError."""
        token = under_way.set(Budget())
        try:
            template = self._code.template()
            known = {**template.environment.globals, **scope}
            context = template.environment.context_class(template.environment, known, None, {})
            for _ in template.root_render_func(context):
                pass
            return native(context.vars[_RESULT], self._is_path)
        except Exception as error:
            raise _failed(error, self._text, scope) from None
        finally:
            under_way.reset(token)


class Leaf:
    """One compiled scalar of a `with`. `is_constant` where it holds no template at all."""

    __slots__ = ("_compiled", "_text", "is_constant", "references")

    def __init__(
        self, text: _Text, compiled: CompiledExpression | _Code | None, references: tuple[Reference, ...] = ()
    ) -> None:
        self._text = text
        self._compiled = compiled
        self.is_constant = compiled is None
        self.references = references

    @property
    def source(self) -> str:
        """The text as written, or the path of the template file."""
        return self._text.source

    @property
    def where(self) -> Where:
        """Its place in the YAML."""
        return self._text.where

    def render(self, scope: Mapping[str, Any]) -> Any:
        """Native value of a lone expression, else text. Raises TemplateError with this leaf's place, naming the
        missing field where one is missing; in a template file, the place is the file's line.
        """
        if isinstance(self._compiled, CompiledExpression):
            return self._compiled.evaluate(scope)
        if self._compiled is None:
            return self.source
        token = under_way.set(Budget())
        try:
            template = self._compiled.template()
            return bounded_join(template.root_render_func(template.new_context(dict(scope))))
        except Exception as error:
            raise _failed(error, self._text, scope) from None
        finally:
            under_way.reset(token)


class Templates:
    """Compiles. One per loaded configuration; `folder` is where template files are looked up, and `only` these files
    can be read where it is given. `note` is asked of whatever does not render.

    Texts that are the same are read and compiled once. `place` says where a stretch of a text stands in its file, for
    errors of compiling; without it, a text is taken to begin at `where` and to go on line by line.
    """

    def __init__(
        self, folder: Path, only: Collection[Path] | None = None, note: Note = lambda message, scope: ""
    ) -> None:
        self._note = note
        self.files_read: set[Path] = set()
        self._folder = folder
        self._loader = _Loader(folder, self.files_read, only)
        self._sandboxes: dict[Callable[[str], str] | None, Sandbox] = {}
        self.file_texts: dict[str, str] = {}  # of template files that were read
        self.reader = TemplateReader(self._sandbox(None))
        self._files: dict[tuple[str, Callable[[str], str] | None], tuple[_Code, tuple[Reference, ...]]] = {}
        self._codes: dict[tuple[str, Callable[[str], str] | None, bool], _Code] = {}

    def expression(
        self, source: str, where: Where, *, place: Place | None = None, first_line: int | None = None
    ) -> CompiledExpression:
        """A bare Jinja expression such as `object.amount_total >= 100000`. Raises TemplateError."""
        if _WRAPPED.fullmatch(source):
            raise TemplateError(where, f"{shortened(source)}: write the expression without {{{{ }}}}")
        if not source.strip():
            raise TemplateError(where, "the expression is empty")
        place = place or _following(source, where)
        try:
            read = self.reader.expression(source)
            if not read.errors:
                code = self._code((source, None, True), lambda: self._assigned(self._expression(source)), read)
        except Exception as error:
            raise _refused(error, source, place) from None
        if read.errors:
            raise _all_refused(read.errors, source, place)
        text = _Text(source.strip(), where, where.line if first_line is None else first_line, self._note)
        return CompiledExpression(code, text, read.is_path, read.references)

    def leaf(
        self,
        source: str,
        where: Where,
        *,
        as_text: bool = False,
        escape: Callable[[str], str] | None = None,
        keeps_lone: bool = False,
        place: Place | None = None,
        first_line: int | None = None,
    ) -> Leaf:
        """A template text. `as_text`, or an `escape`: even a lone expression renders to text. `escape` is applied to
        what each expression brings, but for a lone one with `keeps_lone`; `markupsafe.escape` turns on autoescaping.
        Raises TemplateError.
        """
        text = _Text(source, where, where.line if first_line is None else first_line, self._note)
        if not _DELIMITER.search(source):
            return Leaf(text, None)
        place = place or _following(source, where)
        sandbox = self._sandbox(escape)
        try:
            read = self.reader.text(source)
        except Exception as error:
            raise _refused(error, source, place) from None
        if read.errors:
            raise _all_refused(read.errors, source, place)
        seen: dict[str, Survey] = {}
        self._load_named(sandbox, read.survey.files, place, seen)
        is_lone = read.is_lone and not as_text and (escape is None or keeps_lone)
        try:
            if is_lone:
                code = self._code((source, None, True), lambda: self._assigned(self._lone(source)), read)
            else:
                code = self._code((source, escape, False), lambda: sandbox.from_string(source), read)
        except Exception as error:
            raise _refused(error, source, place) from None
        references = taken([read.survey, *seen.values()], sandbox.globals) if seen else read.references
        if is_lone:
            bare = text if source == source.strip() else replace(text, source=source.strip())
            lone = CompiledExpression(code, bare, read.is_path, references)
            return Leaf(text, lone, references)
        return Leaf(text, code, references)

    def file(self, path: str, where: Where, *, escape: Callable[[str], str] | None = None) -> Leaf:
        """A template file below `folder`, which may include and extend others there. It renders to text.
        Raises TemplateError, also where there is no such file.
        """
        root = os.path.abspath(self._folder)
        full = os.path.normpath(os.path.join(root, path))
        if "\0" in path or os.path.commonpath((root, full)) != root:
            raise TemplateError(
                where, f"the template file {path!r} lies outside the folder of gateway.yaml", "template-file"
            )
        name = os.path.relpath(full, root).replace(os.sep, "/")
        if (name, escape) not in self._files:
            seen: dict[str, Survey] = {}
            sandbox = self._sandbox(escape)
            template = self._load(sandbox, name, where, seen)
            references = taken(seen.values(), sandbox.globals)
            self._files[name, escape] = _Code(lambda: template, False), references
        return Leaf(_Text(path, where, where.line, self._note), *self._files[name, escape])

    def in_file(self, file: str, stretch: tuple[int, int], path: str) -> Where:
        """The place of a stretch of a template file."""
        return _following(self.file_texts[file], Where(file, 1, 1, path))(*stretch)

    # -- reading ----------------------------------------------------------------------------------------------

    def _sandbox(self, escape: Callable[[str], str] | None) -> Sandbox:
        if escape not in self._sandboxes:
            self._sandboxes[escape] = Sandbox(self._loader, escape)
        return self._sandboxes[escape]

    def _code(
        self, key: tuple[str, Callable[[str], str] | None, bool], make: Callable[[], Template], read: Read
    ) -> _Code:
        code = self._codes.get(key)
        if code is None:
            code = self._codes[key] = _Code(make, read.survey.is_sure)
        return code

    def _expression(self, source: str) -> nodes.Expr:
        return parsed_expression(self._sandbox(None), source)

    def _lone(self, source: str) -> nodes.Expr:
        body = lone_expression(Parser(self._sandbox(None), source.strip()).parse())
        assert body is not None
        return body

    def _assigned(self, body: nodes.Expr) -> Template:
        """An expression as a template that leaves its value in a variable."""
        sandbox = self._sandbox(None)
        assign = nodes.Assign(nodes.Name(_RESULT, "store"), body, lineno=body.lineno)
        return sandbox.from_string(sandbox.prepare(nodes.Template([assign], lineno=1)))

    def _load(self, sandbox: Sandbox, name: str, where: Where, seen: dict[str, Survey]) -> Template:
        """Compiles a file and all that it names, so that a fault in any of them is found at load."""
        text = ""
        place: Place = lambda start, end: where  # noqa: E731 - until the file is read
        try:
            text, file, _ = self._loader.get_source(sandbox, name)
            self.file_texts[file] = text
            place = _following(text, Where(file, 1, 1, where.path))
            read = self.reader.of_tree(Parser(sandbox, text, name, file).parse(), file)
            seen[name] = read.survey
            if read.errors:
                raise _all_refused(read.errors, text, place)
            template = sandbox.get_template(name)
        except TemplateError:
            raise
        except TemplateNotFound as error:
            raise TemplateError(where, self._not_found(str(error.name or name)), "template-file") from None
        except UnicodeDecodeError:
            raise TemplateError(where, f"the template file {name!r} is not UTF-8 text", "template-file") from None
        except OSError as error:
            message = f"cannot read the template file {name!r}: {error.strerror}"
            raise TemplateError(where, message, "template-file") from None
        except Exception as error:
            raise _refused(error, text, place) from None
        self._load_named(sandbox, read.survey.files, place, seen)
        return template

    def _load_named(self, sandbox: Sandbox, named: Iterable[NamedFile], place: Place, seen: dict[str, Survey]) -> None:
        for file in named:
            if file.name not in seen:
                try:
                    self._load(sandbox, file.name, place(*(stretch_of(file.line) or (0, 0))), seen)
                except TemplateError:
                    if not file.may_be_missing or self._loader.may_read(self._folder / file.name):
                        raise

    def _not_found(self, name: str) -> str:
        try:
            files = (self._folder / name).parent.iterdir()
            siblings = [file.name for file in files if self._loader.may_read(file)]
        except (OSError, ValueError):
            siblings = []
        near = nearest(os.path.basename(name), siblings)
        return f"there is no template file {name!r}" + (f"; did you mean {near}?" if near else "")


class _Loader(FileSystemLoader):
    """Reads files below a folder, links followed, and notes which."""

    def __init__(self, folder: Path, read: set[Path], only: Collection[Path] | None) -> None:
        super().__init__(folder)
        self._folder = folder
        self._only = None if only is None else {path.resolve() for path in only}
        self._read = read

    def may_read(self, path: Path) -> bool:
        """Whether there is such a file for templates."""
        return path.is_file() if self._only is None else path.resolve() in self._only

    def get_source(self, environment: Environment, template: str) -> Any:
        self._read.add(self._folder / template)  # also where it is missing: that it turns up is a change
        if self._only is not None and not self.may_read(self._folder / template):
            raise TemplateNotFound(template)  # before anything is read: it does not tell what files there are
        source = super().get_source(environment, template)
        path = Path(source[1])
        if not path.resolve().is_relative_to(self._folder.resolve()):
            raise TemplateNotFound(template, f"the template file {template!r} lies outside the folder of gateway.yaml")
        return source


def _following(source: str, where: Where) -> Place:
    """Places in a text that begins at `where` and goes on line by line."""

    def place(start: int, end: int) -> Where:
        line_start = source.rfind("\n", 0, start) + 1
        below = source.count("\n", 0, start)
        left = where.column if below == 0 else 1
        column, end_column = left + start - line_start, left + end - line_start
        return Where(where.file, where.line + below, column, where.path, end_column if end > start else 0)

    return place


def _refused(error: Exception, source: str, place: Place) -> TemplateError:
    """The TemplateError for what did not compile."""
    if isinstance(error, TemplateError):
        return error
    stretch = None
    if isinstance(error, TemplateSyntaxError):
        unclosed = UNCLOSED.search(error.message or "")
        stretch = unclosed_block(source, unclosed[1]) if unclosed else stretch_of(error.lineno)
    code = "unknown-filter" if isinstance(error, UnknownFilter) else "template"
    return TemplateError(place(*(stretch or (0, 0))), f"does not compile: {compile_words(error, source)}", code)


def _all_refused(errors: Iterable[Exception], source: str, place: Place) -> TemplateError:
    """The first of several faults as TemplateError, with the others."""
    first, *others = (_refused(error, source, place) for error in errors)
    first.others = tuple(others)
    return first


def _failed(error: Exception, text: _Text, scope: Mapping[str, Any]) -> TemplateError:
    """The TemplateError for what did not render."""
    file, line = line_of(error)
    where = text.where
    if file is not None:
        place = Where(file, line, 1, where.path)
    elif not text.first_line or (line == 1 and text.first_line == where.line):
        place = where
    else:
        place = Where(where.file, text.first_line + line - 1, 1, where.path)
    words = render_words(error, text.source, scope)
    note = text.note(words, scope)
    return TemplateError(place, f"{words.partition(GUESS)[0]}{note}" if note else words)
