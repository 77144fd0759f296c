"""Problems in the manner of a good compiler, for a terminal or a log; and as rows for programs."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

from gateway.config.diagnostics.problem import Excerpt, Problem, counted

_TAB = 4
_WIDEST = 140  # columns of an excerpt; the line is cut around what is underlined
_COLOURS = {"error": "\x1b[1;31m", "warning": "\x1b[1;33m", "frame": "\x1b[34m", "bold": "\x1b[1m"}
_PLAIN = "\x1b[0m"


def report(problems: Sequence[Problem], file: str, *, colours: bool = False) -> str:
    """Every problem with its source line, and how many there are."""
    parts = ["\n".join(_lines(problem, colours)) for problem in problems]
    return "\n\n".join([*parts, f"{counted(problems)} in {_shown(file)}"])


def rows(problems: Sequence[Problem]) -> list[dict[str, Any]]:
    """The same for a CI system."""
    return [
        {
            "file": problem.where.file,
            "line": problem.where.line,
            "column": problem.where.column,
            "end_column": problem.where.end_column or problem.where.column + 1,
            "path": problem.where.path,
            "severity": problem.severity,
            "code": problem.code,
            "message": problem.message,
            "hint": problem.hint,
            "notes": [
                {
                    "text": note.text,
                    "file": note.where.file,
                    "line": note.where.line,
                    "column": note.where.column,
                }
                for note in problem.notes
            ],
        }
        for problem in problems
    ]


def _lines(problem: Problem, colours: bool) -> Iterator[str]:
    def painted(text: str, colour: str) -> str:
        return f"{_COLOURS[colour]}{text}{_PLAIN}" if colours else text

    head, *more = _shown(problem.message).split("\n")
    yield painted(f"{problem.severity}[{problem.code}]", problem.severity) + painted(f": {head}", "bold")
    yield from more
    numbers = [problem.where.line, *(note.where.line for note in problem.notes)]
    margin = " " * len(str(max(numbers)))

    def place(where: Any, arrow: str) -> str:
        path = f" ({_shown(where.path)})" if where.path else ""
        return painted(f"{margin}{arrow}", "frame") + f" {_shown(where.file)}:{where.line}:{where.column}{path}"

    def excerpt(line: int, shown: Excerpt, mark: str, label: str, colour: str) -> Iterator[str]:
        text, pad, width = _in_cells(shown)
        yield painted(f"{margin} |", "frame")
        yield painted(f"{line:>{len(margin)}} |", "frame") + (f" {text}" if text else "")
        underline = painted(f"{mark * width}{f' {label}' if label else ''}", colour)
        yield painted(f"{margin} |", "frame") + f" {' ' * pad}{underline}"

    yield place(problem.where, "-->")
    if problem.excerpt is not None:
        yield from excerpt(problem.where.line, problem.excerpt, "^", "", problem.severity)
    for note in problem.notes:
        if note.excerpt is None or note.where.file != problem.where.file:
            yield place(note.where, ":::")
        if note.excerpt is not None:
            yield from excerpt(note.where.line, note.excerpt, "-", f"{note.text} here", "frame")
    if problem.hint:
        yield painted(f"{margin} =", "frame") + f" {_shown(problem.hint)}"


def _in_cells(excerpt: Excerpt) -> tuple[str, int, int]:
    """The line as a terminal shows it, how many of its columns stand before the underline, and how many are in it."""
    before, inside = excerpt.text[: excerpt.start], excerpt.text[excerpt.start : excerpt.start + excerpt.width]
    after = excerpt.text[excerpt.start + excerpt.width :]
    left, middle, right = (_shown(part.replace("\t", " " * _TAB)) for part in (before, inside, after))
    pad, width = _cells(left), max(_cells(middle), 1)
    if pad + width + _cells(right) > _WIDEST:
        if pad > _WIDEST // 2:
            left = "... " + _last_cells(left, _WIDEST // 2 - 4)
            pad = _cells(left)
        middle = _first_cells(middle, _WIDEST - pad)
        width = max(min(width, _WIDEST - pad), 1)
        rest = _WIDEST - pad - width
        right = right if _cells(right) <= rest else _first_cells(right, max(rest - 4, 0)) + " ..."
    return (left + middle + right).rstrip(), pad, width


def _cells(text: str) -> int:
    return sum(_width(character) for character in text)


def _width(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


def _first_cells(text: str, most: int) -> str:
    kept = ""
    for character in text:
        most -= _width(character)
        if most < 0:
            break
        kept += character
    return kept


def _last_cells(text: str, most: int) -> str:
    return _first_cells(text[::-1], most)[::-1]


def _shown(text: str) -> str:
    """Nothing in it can move the cursor or colour the screen."""
    return "".join(
        character if character.isprintable() or character == "\n" or unicodedata.category(character) == "Mn" else " "
        for character in text
    )
