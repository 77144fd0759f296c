"""Problems as people and programs read them: columns, colours, masks, rows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.config.diagnostics.excerpts import _masked
from gateway.config.diagnostics.problem import CODES, ConfigError, Excerpt, Problem, ProblemNote, counted
from gateway.config.diagnostics.render import report, rows
from gateway.config.yaml.scalars import ScalarMap
from gateway.config.yaml.textfile import TextFile
from gateway.core.errors import Where

WHERE = Where("gateway.yaml", 12, 3, "routes.a", 8)
PROBLEM = Problem(
    WHERE, "unknown key tabel", "did you mean table?", code="unknown-key", excerpt=Excerpt("  tabel: 1", 2, 5)
)


def test_a_problem_is_shown_with_its_line_underlined() -> None:
    assert report([PROBLEM], "gateway.yaml") == (
        "error[unknown-key]: unknown key tabel\n"
        "  --> gateway.yaml:12:3 (routes.a)\n"
        "   |\n"
        "12 |   tabel: 1\n"
        "   |   ^^^^^\n"
        "   = did you mean table?\n"
        "\n"
        "1 error in gateway.yaml"
    )


def test_colours_change_nothing_but_colours() -> None:
    coloured = report([PROBLEM], "gateway.yaml", colours=True)
    assert coloured.startswith("\x1b[1;31merror[unknown-key]\x1b[0m\x1b[1m: unknown key tabel\x1b[0m\n")
    for code in ("\x1b[1;31m", "\x1b[34m", "\x1b[1m", "\x1b[0m"):
        coloured = coloured.replace(code, "")
    assert coloured == report([PROBLEM], "gateway.yaml")


def test_nothing_in_a_file_can_move_the_cursor() -> None:
    evil = Problem(Where("a\x1b[2J", 1, 1), "\x1b]0;x\x07\u202e", excerpt=Excerpt("\x1b[31mred", 0, 3))
    assert all(character.isprintable() or character == "\n" for character in report([evil], "\x1b"))


@pytest.mark.parametrize(
    ("text", "start", "width", "shown"),
    [
        ("\tkey: 1", 1, 3, "     key: 1\n  |     ^^^"),
        ("日本: x", 4, 1, " 日本: x\n  |       ^"),
        ("e\u0301: x", 4, 1, " e\u0301: x\n  |    ^"),
        ("x", 1, 1, " x\n  |  ^"),
    ],
)
def test_the_underline_stands_below_its_characters(text: str, start: int, width: int, shown: str) -> None:
    problem = Problem(Where("f", 1, 1), "m", excerpt=Excerpt(text, start, width))
    assert f"1 |{shown}\n" in report([problem], "f")


def test_a_long_line_is_cut_around_what_is_meant() -> None:
    problem = Problem(Where("f", 1, 1), "m", excerpt=Excerpt("a" * 300 + "HERE" + "b" * 300, 300, 4))
    lines = report([problem], "f").splitlines()
    assert lines[3].startswith("1 | ... aaa")
    assert lines[3].endswith("bbb ...")
    assert max(map(len, lines)) < 150
    assert lines[3][lines[4].index("^") :][:4] == "HERE"


def test_two_places_are_both_shown() -> None:
    note = ProblemNote("first", Where("gateway.yaml", 3, 1), Excerpt("tabel: 0", 0, 5))
    text = report([Problem(WHERE, "tabel is there twice", notes=(note,), excerpt=PROBLEM.excerpt)], "gateway.yaml")
    assert " 3 | tabel: 0\n   | ----- first here\n" in text
    assert str(Problem(WHERE, "tabel is there twice", notes=(note,))) == (
        "gateway.yaml:12:3: routes.a: tabel is there twice\n    first at gateway.yaml:3:1"
    )


def test_rows_hold_what_a_ci_system_wants() -> None:
    assert rows([PROBLEM]) == [
        {
            "file": "gateway.yaml",
            "line": 12,
            "column": 3,
            "end_column": 8,
            "path": "routes.a",
            "severity": "error",
            "code": "unknown-key",
            "message": "unknown key tabel",
            "hint": "did you mean table?",
            "notes": [],
        }
    ]


def test_errors_and_warnings_are_counted_apart() -> None:
    warning = Problem(WHERE, "m", severity="warning")
    assert counted([PROBLEM, warning, warning]) == "1 error and 2 warnings"
    assert str(ConfigError("f", [PROBLEM, warning])).splitlines()[:2] == [
        "1 error and 1 warning in f",
        "gateway.yaml:12:3: routes.a: unknown key tabel",
    ]


@pytest.mark.parametrize(
    ("spans", "start", "end", "expected"),
    [
        ([(4, 10)], 4, 10, Excerpt("abc ***klm", 4, 3)),
        ([(4, 10)], 6, 8, Excerpt("abc ***klm", 4, 3)),
        ([(4, 10)], 10, 12, Excerpt("abc ***klm", 7, 2)),
        ([(4, 10)], 0, 3, Excerpt("abc ***klm", 0, 3)),
        ([(0, 13)], 5, 5, Excerpt("***", 0, 3)),
        ([(4, 7), (6, 10), (-5, 0), (20, 30)], 11, 12, Excerpt("abc ***klm", 8, 1)),
    ],
)
def test_a_masked_line_underlines_the_same(
    spans: list[tuple[int, int]], start: int, end: int, expected: Excerpt
) -> None:
    assert _masked("abc defghiklm", spans, start, end) == expected


@pytest.mark.parametrize(
    ("written", "style", "value"),
    [
        ("plain text", None, "plain text"),
        ("plain\n    text\n\n  more", None, "plain text\nmore"),
        ("'it''s'", "'", "it's"),
        (r'"a\tb\u00e9\\"', '"', "a\tb\u00e9\\"),
        ('"a \\\n   b"', '"', "a b"),
        ("|\n  a\n    b\n", "|", "a\n  b\n"),
        ("|2-  # why\n   a\n  b\n", "|", " a\nb"),
        (">\n  a\n  b\n\n  c\n", ">", "a b\nc\n"),
        ("&x !y 'a'", "'", "a"),
    ],
)
def test_each_character_of_a_scalar_is_found_in_the_file(written: str, style: str | None, value: str) -> None:
    characters = ScalarMap(written, 0, len(written), style, value)
    for index, character in enumerate(value):
        offset = characters.offset(index)
        assert offset is not None
        if character.isalpha() and character.isascii():
            assert written[offset] == character


def test_lines_are_counted_as_editors_do() -> None:
    file = TextFile("f", "a\r\nb\rc\nd")
    assert [file.line(number)[1] for number in range(1, 6)] == ["a", "b", "c", "d", ""]
    assert file.where(3, 4, "p") == Where("f", 2, 1, "p")


def test_the_page_of_errors_lists_every_code() -> None:
    page = (Path(__file__).parents[3] / "docs/errors.md").read_text()
    assert re.findall(r"^\| `([a-z-]+)` \| (.+) \|$", page, re.MULTILINE) == sorted(CODES.items())
