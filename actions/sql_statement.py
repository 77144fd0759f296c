"""Reads one SQL statement as its author wrote it: which names it binds, and what keeps it from being run as one.

Pure. It knows what is quoted and what is a comment, on every database at once, and nothing else of SQL: the database
judges the rest. Where databases differ (a backslash before a quote) the statement is refused, so that no reading of it
is another than this one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_PIECE = re.compile(
    r"""
      (?P<comment> --[^\n]* | /\*.*?\*/ )
    | (?P<quoted> '(?:[^']|'')*' | "(?:[^"]|"")*" | `(?:[^`]|``)*` | \$(?P<tag>[A-Za-z_]\w*|)\$.*?\$(?P=tag)\$ )
    | (?P<open> ['"`] | /\* )
    | (?P<cast> ::+ )
    | (?P<name> (?<![\w\\]):[A-Za-z_]\w* )
    | (?P<end> ; )
    | (?P<other> [^'"`:;$/-]+ | . )
    """,
    re.VERBOSE | re.DOTALL,
)
_TRANSACTION = frozenset(("begin", "start", "commit", "end", "rollback", "savepoint", "release", "abort", "prepare"))
_READING = frozenset(("select", "with", "values", "table"))


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement."""

    text: str  # for sqlalchemy.text(): colons that bind nothing are escaped
    names: tuple[str, ...]  # that it binds, each once
    faults: tuple[str, ...]  # what keeps it from being run


def read_statement(written: str, *, is_reading: bool = False) -> Statement:
    """Reads a statement, with `is_reading` one that may only read. Raises nothing."""
    text: list[str] = []
    code: list[str] = []  # without comments, quoted parts as ''
    names: dict[str, None] = {}
    faults: dict[str, None] = {}
    has_ended = False
    for kind, piece in _pieces(written):
        if kind == "comment":
            text.append(" ")
            continue
        if kind == "end":
            has_ended = True
            continue
        if has_ended and piece.strip():
            faults["holds more than one statement: give one, and needs for what comes after it"] = None
        if kind == "open":
            faults[f"has a {piece} that nothing closes"] = None
        if kind == "quoted" and re.search(r"\\['\"`]", piece):
            faults["has a backslash before a quote, which databases read differently: write '' for a quote"] = None
        if kind == "name":
            names[piece[1:]] = None
        text.append(piece if kind == "name" else piece.replace(":", "\\:"))
        code.append("''" if kind == "quoted" else piece)
    first = re.match(r"\W*(\w+)", "".join(code))
    if first is None:
        faults["holds no statement"] = None
    elif first[1].lower() in _TRANSACTION:
        faults[f"begins with {first[1].upper()}: it runs in a transaction of its own, which it may not end"] = None
    elif is_reading and first[1].lower() not in _READING:
        faults[f"begins with {first[1].upper()}: here it may only read, as SELECT does; db_execute takes others"] = None
    return Statement("".join(text).strip(), tuple(names), tuple(faults))


def _pieces(written: str) -> Iterator[tuple[str, str]]:
    for match in _PIECE.finditer(written):
        kind = match.lastgroup if match.lastgroup != "tag" else "quoted"
        yield kind or "other", match[0]
