"""What is expected and what is found."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.simulation.cases.matchers import ABSENT, Difference, differences, lint, text_difference

FOUND = {
    "table": "orders",
    "key": {"id": "cs_1"},
    "values": {"amount": 4500, "paid": True, "note": None, "tags": ["a", "b"]},
}


def differ(expected: Any, found: Any = FOUND, *, exact: bool = False) -> list[Difference]:
    return list(differences(expected, found, ("with",), (), exact=exact))


@pytest.mark.parametrize(
    "expected",
    [
        {},
        {"table": "orders"},
        {"key": {"id": "cs_1"}, "values": {"paid": True}},
        {"values": {"amount": 4500.0, "note": None}},
        {"values": {"tags": ["a", "b"]}},
        {"table": {"$matches": "^ord"}},
        {"table": {"$contains": "rder"}},
        {"table": {"$one_of": ["orders", "refunds"]}},
        {"values": {"tags": {"$contains": "b"}}},
        {"values": {"nothing": {"$absent": True}}},
        {"values": {"note": {"$absent": False}}},
        {"key": {"$exactly": {"id": "cs_1"}}},
        {"values": {"amount": {"$type": "integer"}, "paid": {"$type": "boolean"}, "note": {"$type": "null"}}},
        {"values": {"tags": ["a", {"$type": "text"}]}},
    ],
)
def test_what_fits_makes_no_difference(expected: Any) -> None:
    assert differ(expected) == []


@pytest.mark.parametrize(
    ("expected", "at", "message", "found"),
    [
        ({"table": "refunds"}, ("with", "table"), "differs", "orders"),
        ({"values": {"amount": 4501}}, ("with", "values", "amount"), "differs", 4500),
        ({"values": {"amount": "4500"}}, ("with", "values", "amount"), "differs", 4500),
        ({"values": {"paid": 1}}, ("with", "values", "paid"), "differs", True),
        ({"values": {"note": ""}}, ("with", "values", "note"), "differs", None),
        ({"values": {"amonut": 1}}, ("with", "values", "amonut"), "is missing", ABSENT),
        ({"values": {"tags": ["a"]}}, ("with", "values", "tags"), "differs", ["a", "b"]),
        ({"values": {"tags": ["a", "c"]}}, ("with", "values", "tags", 1), "differs", "b"),
        ({"table": {"$matches": "^x"}}, ("with", "table"), "differs", "orders"),
        ({"table": {"$absent": True}}, ("with", "table"), "differs", "orders"),
        ({"key": {"$exactly": {}}}, ("with", "key"), "differs", {"id": "cs_1"}),
        ({"values": {"amount": {"$contains": "4"}}}, ("with", "values", "amount"), "differs", 4500),
        ({"values": {"paid": {"$type": "integer"}}}, ("with", "values", "paid"), "differs", True),
        ({"x": {"$type": "text"}}, ("with", "x"), "differs", ABSENT),
    ],
)
def test_each_difference_is_told_with_its_place(expected: Any, at: Any, message: str, found: Any) -> None:
    (one,) = differ(expected)
    assert (one.at, one.message, one.actual) == (at, message, found)


def test_exactly_tells_what_is_there_too() -> None:
    (one,) = differ({"table": "orders", "key": {"id": "cs_1"}}, exact=True)
    assert (one.name, one.message, one.expected, one.actual) == (("values",), "is there too", ABSENT, FOUND["values"])
    assert differ(FOUND, exact=True) == []


def test_exactly_holds_below_too() -> None:
    (one,) = differ({**FOUND, "key": {}}, exact=True)
    assert one.name == ("key", "id")


def test_a_reason_is_compared_by_a_part_of_it() -> None:
    assert not list(text_difference("is false", "its `if` is false: x", (), ()))
    assert not list(text_difference(True, "anything", (), ()))
    assert not list(text_difference({"$matches": "^its"}, "its `if` is false: x", (), ()))
    assert [one.actual for one in text_difference("is true", "its `if` is false: x", (), ())] == [
        "its `if` is false: x"
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": {"$match": "x"}}, (("a", "$match"), "there is no matcher $match", "did you mean $matches?")),
        ({"$matches": "("}, (("$matches",), "is no regular expression: missing ), unterminated subpattern at position 0",
                             None)),
        ({"$exactly": {"a": [{"$typ": "text"}]}}, (("$exactly", "a", 0, "$typ"), "there is no matcher $typ",
                                                    "did you mean $type?")),
        ({"$type": ["text"]}, (("$type",), "expected one of text, integer, number, boolean, null, list, mapping", None)),
        ([{"$absent": "yes"}], ((0, "$absent"), "expected true or false", None)),
        ({"$one_of": "a"}, (("$one_of",), "expected a list", None)),
        ({"$type": "int"}, (("$type",), "expected one of text, integer, number, boolean, null, list, mapping", None)),
    ],
)  # fmt: skip
def test_a_wrong_matcher_is_told(value: Any, expected: Any) -> None:
    assert list(lint(value)) == [expected]


def test_a_mapping_with_dollar_keys_among_others_is_no_matcher() -> None:
    assert differ({"$matches": "x", "b": 1}, {"$matches": "x", "b": 1}) == []
    assert list(lint({"$nothing": 1, "b": 1})) == []
