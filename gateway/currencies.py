"""How Stripe counts money: which currencies have no, two or three decimals in the API's amounts.

Source: https://docs.stripe.com/currencies, sections "Zero-decimal currencies", "Three-decimal currencies" and "Special
cases". It is not what ISO 4217 or Babel say: ISK and UGX have no minor unit, but are sent with two decimals.
"""

from __future__ import annotations

from decimal import Decimal

ZERO_DECIMAL = frozenset(
    ("BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF")
)
THREE_DECIMAL = frozenset(["BHD", "JOD", "KWD", "OMR", "TND"])
SENT_WITH_TWO_PRINTED_WITH_NONE = frozenset(("ISK", "UGX"))


def decimals(currency: str) -> int:
    """How many of an amount's last digits are decimals, for a currency in upper case."""
    return 0 if currency in ZERO_DECIMAL else 3 if currency in THREE_DECIMAL else 2


def to_major(amount: int, currency: str) -> Decimal:
    """An amount of the API in the currency's main unit: 1999, `usd` -> 19.99; 500, `jpy` -> 500."""
    return Decimal(amount).scaleb(-decimals(currency.upper()))


def printed_decimals(amount: int, currency: str) -> int:
    """How many decimals a person expects to see."""
    code = currency.upper()
    if code in SENT_WITH_TWO_PRINTED_WITH_NONE and amount % 100 == 0:
        return 0
    return decimals(code)
