"""docs/reliability.md: no row without a test."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FIGURES = re.compile(r"^## An hour$.*?(?=^## |\Z)", re.DOTALL | re.MULTILINE)  # of one run of a row that has its test
ROWS = [
    line
    for line in _FIGURES.sub("", (ROOT / "docs/reliability.md").read_text()).splitlines()
    if line.startswith("| ") and "---" not in line
]
_ID = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def functions(file: Path) -> set[str]:
    """Every test function of a file."""
    tree = ast.parse(file.read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}


def test_every_row_names_a_test_that_exists() -> None:
    rows = [row for row in ROWS if not row.endswith("| the test |")]
    assert len(rows) > 30
    for row in rows:
        named = _ID.findall(row)
        assert named, f"no test: {row}"
        for file, name in named:
            assert (ROOT / file).is_file(), file
            assert name in functions(ROOT / file), f"{file}::{name}"
            assert name.startswith("test_")


def test_every_attack_that_is_made_has_its_row() -> None:
    named = {name for row in ROWS for _, name in _ID.findall(row)}
    missing = [file.name for file in sorted((ROOT / "tests/attacks").glob("test_*.py")) if not functions(file) & named]
    assert not missing


def test_every_fault_that_is_caused_has_its_row() -> None:
    named = {name for row in ROWS for _, name in _ID.findall(row)}
    for file in sorted((ROOT / "tests/acceptance").glob("test_faults_*.py")):
        made = {name for name in functions(file) if name.startswith("test_")}
        assert not made - named, file.name
