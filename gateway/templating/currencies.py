"""How Stripe counts money: which currencies have no, two or three decimals in the API's amounts.

Source: https://docs.stripe.com/currencies, sections "Zero-decimal currencies", "Three-decimal currencies" and "Special
cases". It is not what ISO 4217 or Babel say: ISK and UGX have no minor unit, but are sent with two decimals, for
backwards compatibility, the last two digits being 00. HUF and TWD are zero-decimal for payouts only: a payout's amount
still has two decimals, and must be divisible by 100. MGA and ALL differ from CLDR.
"""

from __future__ import annotations

from decimal import Decimal

ZERO_DECIMAL = frozenset(
    ["BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"]
)
THREE_DECIMAL = frozenset(["BHD", "JOD", "KWD", "OMR", "TND"])
SENT_WITH_TWO_PRINTED_WITH_NONE = frozenset(("ISK", "UGX"))


def decimals(currency: str) -> int:
    """How many of an amount's last digits are decimals in the API. `currency` in any case."""
    code = currency.upper()
    return 0 if code in ZERO_DECIMAL else 3 if code in THREE_DECIMAL else 2


def to_major(amount: int, currency: str) -> Decimal:
    """An amount of the API in the currency's main unit, exactly: 1999, `usd` -> 19.99; 500, `jpy` -> 500.

    Raises ValueError for an amount that is not an integer.
    """
    if isinstance(amount, bool) or not isinstance(amount, int):
        raise ValueError(f"an amount is an integer in the currency's minor unit, not {amount!r:.40}")
    sign, digits, _ = Decimal(amount).as_tuple()
    return Decimal((sign, digits, -decimals(currency)))


def printed_decimals(amount: int, currency: str) -> int:
    """How many decimals a person expects to see. A fraction that should not be there (25 of an ISK) is never hidden."""
    if currency.upper() in SENT_WITH_TWO_PRINTED_WITH_NONE and amount % 100 == 0:
        return 0
    return decimals(currency)
