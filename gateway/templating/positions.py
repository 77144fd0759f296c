"""Where in a template's text each token, and so each part of its syntax tree, stands.

Jinja keeps only line numbers. It hands them on untouched from token to tree and to errors, so a number that also knows
its offset arrives wherever one is needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from jinja2 import TemplateSyntaxError
from jinja2.lexer import Lexer

_BREAK = re.compile(r"\r\n|\r")
_UNEXPECTED = re.compile(r"unexpected char (.+) at (\d+)", re.DOTALL)


class TokenPosition(int):
    """A line number that knows from where to where its token stands in the text."""

    start: int
    end: int


def token_position(line: int, start: int, end: int) -> TokenPosition:
    """One token's place; `start` and `end` count characters of the text as Jinja reads it (line breaks are one)."""
    placed = TokenPosition(line)
    placed.start, placed.end = start, end
    return placed


def stretch_of(line: object) -> tuple[int, int] | None:
    """From where to where what has this line number stands; None where that is not known."""
    return (line.start, line.end) if isinstance(line, TokenPosition) else None


def placed_tokens(
    lexer: Lexer, source: str, name: str | None, filename: str | None, state: str | None
) -> Iterator[tuple[int, str, str]]:
    """The lexer's tokens, each with its place. Raises TemplateSyntaxError, which knows its own too."""
    text = _BREAK.sub("\n", source)
    position = 0
    line = 1
    try:
        for line, kind, value in lexer.tokeniter(source, name, filename, state):
            start = text.find(value, position)  # `-` strips white space from tokens: look where this one begins
            position = start + len(value)
            yield token_position(line, start, position), kind, value
    except TemplateSyntaxError as error:
        unexpected = _UNEXPECTED.fullmatch(error.message or "")
        if unexpected is not None:
            position = int(unexpected[2])
            error = TemplateSyntaxError(f"unexpected character {unexpected[1]}", error.lineno, name, filename)
        while position < len(text) - 1 and text[position].isspace():
            position += 1
        raise TemplateSyntaxError(
            error.message or "", token_position(error.lineno, position, min(position + 1, len(text))), name, filename
        ) from None


def unclosed_block(text: str, tag: str) -> tuple[int, int] | None:
    """Where the last `{% tag %}` without its `{% endtag %}` begins and ends."""
    closed = 0
    for match in reversed(list(re.finditer(rf"\{{%[-+]?\s*(end)?{tag}\b(?:[^%]|%(?!\}}))*(?:%\}})?", text))):
        if match[1]:
            closed += 1
        elif closed:
            closed -= 1
        else:
            return match.span()
    return None
