"""A corpus of what people write for Stripe's events: what is wrong is told in these very words, of what is right nothing.

stripe_wrong.txt has an expression after its type of event, and below it what `gateway check` says; stripe_right.txt has
expressions of which nothing is said.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit.config.test_stripe_fields import FETCHES, FINE, NULLS, RIGHT, WRONG, problems

_FOLDER = Path(__file__).parent


def _wrong() -> list[tuple[str, str, str]]:
    text = (_FOLDER / "stripe_wrong.txt").read_text(encoding="utf-8")
    entries = re.findall(r"^(\S+) \| (.+)\n((?:    .+\n)+)", text, re.MULTILINE)
    assert len(entries) == sum(1 for line in text.splitlines() if line[0] != " ")
    return entries


def _right() -> list[tuple[str, str]]:
    rows = (_FOLDER / "stripe_right.txt").read_text(encoding="utf-8").splitlines()
    return [(row.split(" | ", 1)[0], row.split(" | ", 1)[1]) for row in rows]


@pytest.mark.parametrize(("event_type", "expression", "told"), _wrong())
def test_what_is_wrong_is_told_in_these_words(tmp_path: Path, event_type: str, expression: str, told: str) -> None:
    lines = []
    for problem in problems(tmp_path, event_type, expression):
        lines.append(f"    {problem.severity}[{problem.code}]: {problem.message}\n")
        lines += [f"    = {problem.hint}\n"] if problem.hint else []
    assert "".join(lines) == told


@pytest.mark.parametrize(("event_type", "expression"), _right())
def test_of_what_is_right_nothing_is_said(tmp_path: Path, event_type: str, expression: str) -> None:
    assert problems(tmp_path, event_type, expression) == []


def test_the_corpus_is_wide() -> None:
    wrong = [(events, expression) for events, expression, _ in _wrong()]
    wrong += [(row[0], row[1]) for row in (*WRONG, *NULLS, *FETCHES)]
    assert len(set(wrong)) >= 120
    assert len({events for events, _ in wrong}) >= 40
    assert len({*_right(), *RIGHT, *FINE}) >= 150
