"""What a template's text says of itself: where its names stand, and that what is put off compiles in the end."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import TemplateSyntaxError
from jinja2.parser import Parser

from gateway.templating.analysis import Read, TemplateReader, parsed_expression
from gateway.templating.environment import Sandbox

SANDBOX = Sandbox(None, None)
WORDS = [
    "{{",
    "}}",
    "{{{",
    "{%",
    "%}",
    "{#",
    "#}",
    "{{-",
    "-}}",
    "object",
    ".",
    "id",
    "vars",
    "[0]",
    "(",
    ")",
    "|",
    "default('a')",
    "default",
    "'a'",
    '"b}}"',
    "'{{'",
    "3",
    "~",
    "+",
    "*",
    "**",
    "-",
    "if",
    "for\nendfor",
    "x",
    "endif",
    "else",
    "set",
    "=",
    "money",
    "upper",
    "tojson",
    "is",
    "defined",
    "in",
    "not",
    "none",
    "{",
    "}",
    ":",
    ",",
    "%}x",
    "<",
    "==",
    "loop",
    "\n",
    "a:",
    "-x",
    "é",
    "日",
    "{{object.id}}",
    "text",
]
SOURCES = st.lists(st.sampled_from(WORDS), max_size=12).map("".join) | st.lists(
    st.sampled_from(WORDS), max_size=12
).map(" ".join)


def named(source: str) -> list[tuple[str, list[str]]]:
    """Each reference's path, and what stands in the text where its parts are said to stand."""
    read = TemplateReader(SANDBOX).text(source)
    return [
        (".".join(map(str, one.path)), [source[start:end] for start, end in one.stretches]) for one in read.references
    ]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("Order {{ object.id }}", [("object.id", ["object", "id"])]),
        ("{{ a }} and {{ b.c }}{{a}}", [("a", ["a"]), ("b.c", ["b", "c"]), ("a", ["a"])]),
        ("{{ object['id'][0].x }}", [("object.id.0.x", ["object", "'id'", "0", "x"])]),
        ("{{- object.id -}}  {{ x }}", [("object.id", ["object", "id"]), ("x", ["x"])]),
        ("{% if a.b %}\n {{ c }}{% endif %}", [("a.b", ["a", "b"]), ("c", ["c"])]),
        ("{% for i in a.b %}{{ i.x }}{{ loop.index }}{{ y }}{% endfor %}", [("a.b", ["a", "b"]), ("y", ["y"])]),
        ("{% set n = o.x %}{{ n }}", [("o.x", ["o", "x"])]),
        ("{% macro m(p) %}{{ p }}{{ varargs }}{{ q }}{% endmacro %}{{ m(1) }}", [("q", ["q"])]),
        ("{{ range(3) }} {{ dict(a=b) }}", [("b", ["b"])]),
        ("{{ a | money(b.c) }}", [("a", ["a"]), ("b.c", ["b", "c"])]),
        ("{# {{ not }} #}{{ '{{ x }}' ~ y }}", [("y", ["y"])]),
    ],
)  # fmt: skip
def test_names_are_found_where_they_stand(source: str, expected: list[tuple[str, list[str]]]) -> None:
    assert named(source) == expected


@pytest.mark.parametrize(
    ("source", "optional"),
    [
        ("{{ a }}", [False]),
        ("{{ a.b | default(c) }}", [True, False]),
        ("{% if a.b is defined %}{{ a.b.c }}{% endif %}{{ a.d }}", [True, True, False]),
        ("{{ a | upper | default('') }}", [False]),
    ],
)
def test_names_that_a_template_can_do_without_are_told_apart(source: str, optional: list[bool]) -> None:
    assert [one.is_optional for one in TemplateReader(SANDBOX).text(source).references] == optional


@given(source=SOURCES)
@settings(max_examples=400, deadline=None)
def test_a_text_read_in_pieces_says_what_the_whole_text_says(source: str) -> None:
    reader = TemplateReader(SANDBOX)
    pieces = reader._in_pieces(source)
    if pieces is not None:
        whole = reader._whole(source)
        assert shape(pieces) == shape(whole)


def shape(read: Read) -> object:
    return read.is_lone, read.is_path, read.references, read.survey.is_sure, read.survey.files, read.errors


@pytest.mark.parametrize(
    "source", ["'a\"b' ~ c ~ 'd'", "a == 'x' and b['y'] == \"it's\"", "'a\\'b' ~ c", "a[('k')]", "'a' 'b' ~ c"]
)
def test_what_stands_in_quotes_is_not_taken_for_names(source: str) -> None:
    reader = TemplateReader(SANDBOX)
    reader.expression(source.replace("x", "z"))
    assert shape(reader.expression(source)) == shape(reader.of_tree(parsed_expression(SANDBOX, source)))


@given(source=SOURCES)
@settings(max_examples=400, deadline=None)
def test_what_is_said_to_compile_surely_compiles(source: str) -> None:
    with contextlib.suppress(TemplateSyntaxError):
        read = TemplateReader(SANDBOX).text(source)
        if read.survey.is_sure and not read.errors:
            SANDBOX.from_string(source)


@pytest.mark.parametrize(
    ("source", "line", "found"),
    [
        ("a {{ b c }}", 1, "c"),
        ("a\n  {{ b | }}", 2, "}}"),
        ("a {{ b & c }}", 1, "&"),
        ("a {{ (b] }}", 1, "]"),
        ("a\n{% nonsense %}", 2, "nonsense"),
    ],
)
def test_a_mistake_is_told_where_it_is(source: str, line: int, found: str) -> None:
    with pytest.raises(TemplateSyntaxError) as caught:
        Parser(SANDBOX, source).parse()
    spot = caught.value.lineno
    assert spot == line
    assert source[spot.start : spot.end] == found  # type: ignore[attr-defined]
