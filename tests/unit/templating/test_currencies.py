"""Stripe's amounts: what is sent, and what a person sees."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest

from gateway.templating.currencies import THREE_DECIMAL, ZERO_DECIMAL, to_major
from gateway.templating.filters import major_units, money


@pytest.mark.parametrize(
    ("amount", "currency", "major", "printed"),
    [
        (1999, "usd", "19.99", "$19.99"),
        (123456789, "EUR", "1234567.89", "€1,234,567.89"),
        (-5, "usd", "-0.05", "-$0.05"),
        (0, "usd", "0.00", "$0.00"),
        (500, "jpy", "500", "¥500"),
        (500, "mga", "500", "MGA\u00a0500"),
        (5120, "kwd", "5.120", "KWD\u00a05.120"),
        (500, "isk", "5.00", "ISK\u00a05"),
        (500, "ugx", "5.00", "UGX\u00a05"),
        (525, "isk", "5.25", "ISK\u00a05.25"),
        (1045, "huf", "10.45", "HUF\u00a010.45"),
        (80000, "twd", "800.00", "NT$800.00"),
        (1050, "all", "10.50", "ALL\u00a010.50"),
    ],
)
def test_an_amount_is_read_as_stripe_counts_it(amount: int, currency: str, major: str, printed: str) -> None:
    assert str(to_major(amount, currency)) == major
    assert str(major_units(amount, currency)) == major
    assert money(amount, currency) == printed


def test_a_huge_amount_is_not_rounded() -> None:
    assert to_major(10**40 + 1, "usd") == Decimal(f"1{'0' * 37}0.01")
    assert money(10**20 - 1, "usd") == "$999,999,999,999,999,999.99"
    with pytest.raises(ValueError, match="money takes no amount of more than 20 digits"):
        money(10**40, "usd")


def test_no_currency_is_in_two_groups() -> None:
    assert not ZERO_DECIMAL & THREE_DECIMAL


@pytest.mark.parametrize("amount", [True, 1.5, "100", None])
def test_an_amount_that_is_no_integer_is_refused(amount: object) -> None:
    with pytest.raises(ValueError, match="an amount is an integer in the currency's minor unit"):
        to_major(amount, "usd")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("amount", "currency", "why"),
    [
        (19.99, "usd", "an integer in the currency's minor unit (1999 is $19.99), not a decimal number"),
        ("1999", "usd", "an integer in the currency's minor unit (1999 is $19.99), not '1999'"),
        (1999, "dollars", "a currency such as 'usd', not 'dollars'"),
        (10**40, "usd", "no amount of more than 20 digits"),
    ],
)
def test_what_is_no_amount_or_currency_is_refused_by_both_filters(amount: object, currency: str, why: str) -> None:
    for name, convert in (("money", money), ("major_units", major_units)):
        with pytest.raises(ValueError, match=re.escape(f"{name} takes {why}")):
            convert(amount, currency)


def test_money_speaks_other_locales() -> None:
    assert money(123456, "eur", "de_DE") == money(123456, "eur", "de-DE") == "1.234,56\u00a0€"
