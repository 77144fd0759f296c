"""Which part of an `if` decided, and with which values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.core.errors import TemplateError, Where
from gateway.templating.compiler import Templates
from gateway.templating.condition_trace import decided_by

SCOPE: dict[str, Any] = {
    "object": {
        "payment_status": "unpaid",
        "amount_total": 4500,
        "currency": "eur",
        "customer": None,
        "metadata": {},
        "items": {"data": [{"id": "si_1"}]},
    },
    "previous": {},
}


def decided(source: str) -> tuple[str, ...]:
    return decided_by(Templates(Path()).expression(source, Where("gateway.yaml", 1, 1)), SCOPE)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("object.payment_status == 'paid'", ("object.payment_status is 'unpaid'",)),
        ("object.payment_status != 'paid'", ("object.payment_status is 'unpaid'",)),
        (
            "object.payment_status == 'paid' and object.amount_total > 100",
            ("object.payment_status == 'paid' is false: object.payment_status is 'unpaid'",),
        ),
        (
            "object.payment_status == 'paid' and object.amount_total > 5000",
            (
                "object.payment_status == 'paid' is false: object.payment_status is 'unpaid'",
                "object.amount_total > 5000 is false: object.amount_total is 4500",
            ),
        ),
        (
            "object.payment_status == 'paid' or object.amount_total > 5000",
            (
                "object.payment_status == 'paid' is false: object.payment_status is 'unpaid'",
                "object.amount_total > 5000 is false: object.amount_total is 4500",
            ),
        ),
        (
            "object.payment_status == 'paid' or object.amount_total > 100",
            ("object.amount_total > 100 is true: object.amount_total is 4500",),
        ),
        ("not object.amount_total > 100", ("object.amount_total is 4500",)),
        (
            "not (object.currency == 'eur' and object.amount_total > 100)",
            (
                "object.currency == 'eur' is true: object.currency is 'eur'",
                "object.amount_total > 100 is true: object.amount_total is 4500",
            ),
        ),
        ("object.currency in ['usd', 'gbp']", ("object.currency is 'eur'",)),
        ("object.customer is not none", ("object.customer is null",)),
        ("object.customer", ("object.customer is null",)),
        ("object.metadata", ("object.metadata is an empty mapping",)),
        ("object.items.data", ("object.items.data is a list of 1",)),
        ("object.email is defined", ("object.email is not there",)),
        ("object.amount_total / 100 > 50", ("object.amount_total / 100 is 45.0",)),
        ("object.amount_total > object.amount_total + 1", (
            "object.amount_total is 4500, object.amount_total + 1 is 4501",
        )),
        ("object.metadata.plan | default('') == 'gold'", ("object.metadata.plan | default('') is ''",)),
        (
            "object.amount_total > 100 if object.customer else object.currency == 'usd'",
            (
                "object.customer is false: object.customer is null",
                "object.currency == 'usd' is false: object.currency is 'eur'",
            ),
        ),
        ("false", ()),
    ],
)  # fmt: skip
def test_the_deciding_values_are_named(source: str, expected: tuple[str, ...]) -> None:
    assert decided(source) == expected


def test_a_side_that_would_fail_and_was_never_looked_at_is_left_out() -> None:
    found = decided("object.payment_status == 'paid' and object.nothing.at.all")
    assert found == ("object.payment_status == 'paid' is false: object.payment_status is 'unpaid'",)


def test_long_values_are_cut() -> None:
    SCOPE["object"]["note"] = "x" * 500
    assert decided("object.note == 'y'") == ("object.note is '" + "x" * 56 + "...",)


def test_what_does_not_evaluate_raises() -> None:
    with pytest.raises(TemplateError, match="no such field"):
        decided("object.nothing == 1")
