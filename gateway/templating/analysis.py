"""What the text of a template says of itself: names, files, faults. Parsed once; the syntax tree is not kept."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from jinja2 import TemplateSyntaxError, nodes
from jinja2.parser import Parser

from gateway.templating.environment import Sandbox
from gateway.templating.instrumentation import path_of
from gateway.templating.references import Reference, Survey, survey, taken

_PIECE = re.compile(r"""(?<!\{)\{\{(?![-+])(?:[^{}'"]|'[^'{}\\]*'|"[^"{}\\]*")*(?<![-+])\}\}""")
_QUOTED = re.compile(r"""'[^'\\]*(?:\\.[^'\\]*)*'|"[^"\\]*(?:\\.[^"\\]*)*\"""", re.DOTALL)  # as Jinja's lexer has it
_OTHER = re.compile(r"\{[{%#]")


@dataclass(frozen=True, slots=True)
class Read:
    """One text, read."""

    is_lone: bool  # one {{ expression }} and nothing else but white space around it
    is_path: bool  # such as object.lines.data[0]
    survey: Survey
    references: tuple[Reference, ...]  # what it takes from its scope, as far as this text alone tells
    errors: tuple[TemplateSyntaxError, ...]  # filters and tests that do not exist


class TemplateReader:
    """Reads. Texts and parts of texts that are the same are read once."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._texts: dict[str, Read] = {}
        self._expressions: dict[str, Read] = {}
        self._pieces: dict[str, Read | None] = {}

    def text(self, source: str) -> Read:
        """A text with templates in it. Raises what parsing raises."""
        read = self._texts.get(source)
        if read is None:
            read = self._texts[source] = self._in_pieces(source) or self._whole(source)
        return read

    def expression(self, source: str) -> Read:
        """A bare expression. Raises what parsing raises."""
        shape = shape_of(source)
        read = self._expressions.get(shape)
        if read is None:
            read = self._expressions[shape] = self.of_tree(parsed_expression(self._sandbox, shape))
        return read

    def tree(self, source: str, is_expression: bool) -> nodes.Node:
        """The syntax tree of a text, or of a bare expression. Each part knows its place. Raises what parsing raises."""
        return parsed_expression(self._sandbox, source) if is_expression else Parser(self._sandbox, source).parse()

    def of_tree(self, tree: nodes.Node, file: str | None = None) -> Read:
        """What a syntax tree says. Raises RecursionError for one that is nested too deeply."""
        lone = lone_expression(tree)
        surveyed = survey(tree, file)
        return Read(
            is_lone=lone is not None,
            is_path=lone is not None and bool(path_of(lone)),
            survey=surveyed,
            references=taken([surveyed], self._sandbox.globals),
            errors=tuple(self._sandbox.unknown(surveyed.filters, surveyed.tests)),
        )

    def _whole(self, source: str) -> Read:
        read = self.of_tree(Parser(self._sandbox, source).parse())
        stripped = source.strip()
        if stripped == source or not stripped:
            return read
        lone = lone_expression(Parser(self._sandbox, stripped).parse())
        return replace(read, is_lone=lone is not None, is_path=lone is not None and bool(path_of(lone)))

    def _in_pieces(self, source: str) -> Read | None:
        """A text that holds only plain `{{ ... }}`, from what is known of each of them; None for any other text, and
        where a piece is at fault.
        """
        pieces = plain_pieces(source)
        if pieces is None:
            return None
        reads = [(match.start(), self._piece(match[0])) for match in pieces]
        references: list[Reference] = []
        for start, read in reads:
            if read is None:
                return None
            references += _moved(read.references, start)
        first = reads[0][1]
        assert first is not None
        is_lone = len(pieces) == 1 and pieces[0][0] == source.strip()
        is_sure = all(read is not None and read.survey.is_sure for _, read in reads)
        return Read(
            is_lone=is_lone,
            is_path=is_lone and first.is_path,
            survey=Survey(tuple(references), frozenset(), (), (), (), frozenset(), is_sure),
            references=tuple(references),
            errors=(),
        )

    def _piece(self, piece: str) -> Read | None:
        """One `{{ ... }}`, or None where it is at fault: then the whole text says why, and where."""
        shape = shape_of(piece)
        if shape not in self._pieces:
            try:
                read: Read | None = self.of_tree(Parser(self._sandbox, shape).parse())
            except (TemplateSyntaxError, RecursionError, ValueError):
                read = None
            self._pieces[shape] = None if read is None or read.errors or read.survey.assigned else read
        return self._pieces[shape]


def plain_pieces(source: str) -> list[re.Match[str]] | None:
    """Each `{{ ... }}` of a text that holds nothing else of Jinja's; None for any other text."""
    pieces = list(_PIECE.finditer(source))
    return None if not pieces or "\r" in source or _OTHER.search(_PIECE.sub("", source)) else pieces


def shape_of(source: str) -> str:
    """The same with other words in its quotes: unless they are keys in [ ], they change nothing of what is read."""
    return source if "[" in source or not ("'" in source or '"' in source) else _QUOTED.sub(_crossed_out, source)


def _crossed_out(quoted: re.Match[str]) -> str:
    text = quoted[0]
    return text if "\\" in text or "\n" in text else f"{text[0]}{'x' * (len(text) - 2)}{text[0]}"


def _moved(references: tuple[Reference, ...], by: int) -> Iterator[Reference]:
    for reference in references:
        stretches = tuple((start + by, end + by) for start, end in reference.stretches)
        yield Reference(reference.path, stretches, reference.is_optional, reference.file) if by else reference


def parsed_expression(sandbox: Sandbox, source: str) -> nodes.Expr:
    """The syntax tree of a bare expression. Raises what parsing raises."""
    parser = Parser(sandbox, source, state="variable")
    body = parser.parse_expression()
    if not parser.stream.eos:
        raise TemplateSyntaxError(f"unexpected {parser.stream.current.value!r}", parser.stream.current.lineno)
    return body


def lone_expression(tree: nodes.Node) -> nodes.Expr | None:
    """The expression of a text that is one `{{ expression }}`; an expression itself."""
    if isinstance(tree, nodes.Expr):
        return tree
    body = tree.body if isinstance(tree, nodes.Template) else []
    if len(body) != 1 or not isinstance(body[0], nodes.Output):
        return None
    parts = body[0].nodes
    return parts[0] if len(parts) == 1 and not isinstance(parts[0], nodes.TemplateData) else None
