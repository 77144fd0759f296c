"""What is written out again means the same."""

from __future__ import annotations

import pytest
from jinja2 import Environment, nodes
from jinja2.parser import Parser

from gateway.templating.unparse import unparse

SYNTAX = Environment(autoescape=True)


def parsed(source: str) -> nodes.Expr:
    return Parser(SYNTAX, source, state="variable").parse_expression()


@pytest.mark.parametrize(
    "source",
    [
        "object.payment_status == 'paid'",
        "object.items.data[0].price.id",
        "a and b or not c and (d or e)",
        "not (a and b)",
        "(a or b) and c",
        "not a is defined",
        "a is divisibleby(3) and b is not none",
        "a in ['x', 'y'] and b not in (1, 2)",
        "(1,)",
        "a < b <= c",
        "(a < b) == c",
        "a + b * c - (d - e)",
        "(a + b) * c // d % 7",
        "-x | abs",
        "-(x | abs)",
        "2 ** -3 ** x",
        "(2 ** 3) ** x",
        "a ~ b ~ 'c'",
        "(a ~ b) + c",
        "a if b else c",
        "(a if b else c) if d else (e if f else g)",
        "a if b",
        "(x | first).id",
        "x | default('') | length > 3",
        "(x | default('')) is none",
        "x[1:3]",
        "x[::2]",
        "x[:-1]",
        "object.metadata.get('plan', default=none) == true",
        "f(*args, **kwargs)",
        "{'a': 1, 'b': [1.5, 'it''s', \"it's\"]}",
        "x.y(1).z['a b']",
        "'é\\n' == x",
        "+x",
        "a == (b is none)",
        "(a == b) is sameas(true)",
    ],
)
def test_an_expression_written_out_again_has_the_same_tree(source: str) -> None:
    assert parsed(unparse(parsed(source))) == parsed(source)


def test_an_expression_reads_as_it_was_written() -> None:
    source = "object.amount_total / 100 > 5 and (object.currency in ['eur', 'usd'] or not object.customer)"
    assert unparse(parsed(source)) == source
