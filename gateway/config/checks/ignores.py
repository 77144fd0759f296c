"""`# gateway: ignore[code]` in a file: on the line of a problem, or alone on the line above it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from gateway.config.diagnostics.problem import CODES, Problem
from gateway.core.errors import Where
from gateway.core.spelling import did_you_mean

_COMMENT = re.compile(r"#\s*gateway:\s*ignore\[(?P<codes>[^\]\n]*)\]")
OF_CHECK = frozenset(
    ("cut-list", "fetch", "money", "moved", "not-expanded", "null", "previous", "stripe-field", "stripe-value", "time")
)
"""What `gateway check` alone looks for: a gateway starts with it, so that errors of these may be ignored too."""


@dataclass(frozen=True, slots=True)
class Ignore:
    """One code of one comment."""

    code: str
    where: Where
    lines: frozenset[int]  # on which it holds


def ignores_in(texts: Mapping[str, str]) -> list[Ignore]:
    """Every code that comments in these files name, by the names of the files."""
    return [ignore for name, text in texts.items() if "gateway:" in text for ignore in _in_file(name, text)]


def _in_file(name: str, text: str) -> Iterator[Ignore]:
    for number, line in enumerate(text.split("\n"), start=1):
        comment = _COMMENT.search(line)
        if comment is None:
            continue
        is_alone = line.strip().startswith(("#", "{#"))
        lines = frozenset((number, number + 1)) if is_alone else frozenset((number,))
        for code in re.finditer(r"[^\s,]+", comment["codes"]):
            start = comment.start("codes") + code.start() + 1
            yield Ignore(code[0], Where(name, number, start, "", start + len(code[0])), lines)


def without_ignored(problems: Sequence[Problem], ignores: Sequence[Ignore], *, tells_unused: bool) -> Iterator[Problem]:
    """The problems that no comment hides, and with `tells_unused` one for each comment that hides none. Errors with
    which a gateway does not start are not hidden.
    """
    used: set[Ignore] = set()
    for problem in problems:
        hiding = [ignore for ignore in ignores if _names(ignore, problem)]
        can_be = problem.severity == "warning" or problem.code in OF_CHECK
        used.update(hiding)
        if not hiding or not can_be:
            yield problem
    for ignore in ignores if tells_unused else ():
        if ignore.code not in CODES:
            hint = did_you_mean(ignore.code, CODES)
            yield Problem(ignore.where, f"there is no code {ignore.code}", hint, "warning", "unknown-code")
        elif ignore not in used:
            message = f"nothing here is told as {ignore.code}"
            hint = "take the comment out, or put it on the line of the problem, or the one above"
            yield Problem(ignore.where, message, hint, "warning", "unused-ignore")


def _names(ignore: Ignore, problem: Problem) -> bool:
    where = problem.where
    return ignore.code == problem.code and ignore.where.file == where.file and where.line in ignore.lines
