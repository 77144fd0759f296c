"""The corpus of broken configs: each folder of broken/ holds one, and all that `gateway check` says of it.

After a change of words: `python -m tests.unit.config.test_broken` writes every expected.txt anew; read the difference.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from gateway.config.diagnostics.problem import CODES, ConfigError, Problem
from gateway.config.diagnostics.render import report, rows
from gateway.config.load import load

BROKEN = Path(__file__).with_name("broken")
CASES = sorted(folder.name for folder in BROKEN.iterdir() if folder.is_dir())
ENVIRON = {
    "API_KEY": "sk_live_hunter2hunter2",
    "STRAY": "whsec_hunter2hunter2 ",
    "SHOP": "The Shop of the World",
    "EMPTY": "",
}


def problems_of(case: str) -> tuple[Problem, ...]:
    """What loading a case brings, told as from within its folder."""
    before = Path.cwd()
    os.chdir(BROKEN / case)
    try:
        return load(Path("gateway.yaml"), ENVIRON).warnings
    except ConfigError as error:
        return error.problems
    finally:
        os.chdir(before)


def told(case: str) -> str:
    """All that `gateway check` says."""
    return report(problems_of(case), "gateway.yaml") + "\n"


def test_the_corpus_is_large() -> None:
    assert len(CASES) >= 60


@pytest.mark.parametrize("case", CASES)
def test_everything_wrong_is_told_in_exact_words(case: str) -> None:
    assert told(case) == (BROKEN / case / "expected.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("case", CASES)
def test_every_place_is_in_a_file_and_no_secret_is_shown(case: str) -> None:
    problems = problems_of(case)
    assert problems
    for problem in problems:
        where = problem.where
        text = (BROKEN / case / where.file).read_text(encoding="utf-8-sig", errors="replace")
        lines = re.split("\r\n|[\r\n\x85\u2028\u2029]", text)
        assert 1 <= where.line <= len(lines)
        assert 1 <= where.column <= len(lines[where.line - 1]) + 1
        assert where.end_column == 0 or where.column < where.end_column <= len(lines[where.line - 1]) + 1
        assert problem.code in CODES
    assert "hunter2" not in report(problems, "gateway.yaml") + str(rows(problems)) + "".join(map(str, problems))


if __name__ == "__main__":
    for name in CASES:
        (BROKEN / name / "expected.txt").write_text(told(name), encoding="utf-8")
