"""The filters that gateway.yaml adds to Jinja's: money, timestamp, datetime, tojson."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from jinja2 import pass_eval_context
from jinja2.nodes import EvalContext
from jinja2.utils import htmlsafe_json_dumps

from gateway.currencies import printed_decimals, to_major


@cache
def _codes() -> frozenset[str]:
    from babel.numbers import list_currencies

    return frozenset(list_currencies())


def money(amount: Any, currency: Any, locale: str = "en_US") -> str:
    """An amount in the currency's minor unit, for people: `4500 | money('eur')` -> €45.00. Raises ValueError."""
    from babel.core import Locale, UnknownLocaleError
    from babel.numbers import NumberPattern, format_currency, parse_pattern

    if isinstance(amount, bool) or not isinstance(amount, int):
        raise ValueError(f"money needs an integer in the currency's minor unit, got {_kind(amount)}")
    if not isinstance(currency, str) or currency.upper() not in _codes():
        raise ValueError(f"money needs a currency such as 'usd', got {currency!r:.20}")
    try:
        language = Locale.parse(locale)
    except (UnknownLocaleError, ValueError):
        raise ValueError(f"money does not know the locale {locale!r:.20}") from None
    digits = printed_decimals(amount, currency)
    standard: NumberPattern = language.currency_formats["standard"]
    pattern = parse_pattern(standard.pattern)
    pattern.frac_prec = (digits, digits)
    text: str = format_currency(
        to_major(amount, currency), currency.upper(), pattern, locale=language, currency_digits=False
    )
    return text


def _kind(value: Any) -> str:
    return {bool: "a boolean", str: "text", float: "a decimal", type(None): "null", Decimal: "a decimal"}.get(
        type(value), type(value).__name__
    )


def timestamp(value: Any) -> datetime:
    """A Unix time in seconds, or an RFC 3339 text as thin events have, as an aware UTC time. Raises ValueError."""
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, str):
        moment = datetime.fromisoformat(value)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"timestamp needs Unix seconds, got {_kind(value)}")
    return datetime.fromtimestamp(value, UTC)


def datetime_text(value: Any, format: str = "%Y-%m-%d %H:%M", tz: str = "UTC") -> str:
    """A Unix time as text: `event.created | datetime('%d %B %Y', 'Europe/Berlin')`. Raises ValueError."""
    try:
        zone = ZoneInfo(tz)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"datetime does not know the time zone {tz!r:.40}") from None
    return timestamp(value).astimezone(zone).strftime(format)


@pass_eval_context
def tojson(context: EvalContext, value: Any, indent: int | None = None) -> str:
    """JSON; inside HTML such that it cannot end the script it stands in."""
    if context.autoescape:
        return htmlsafe_json_dumps(value, default=str, indent=indent)
    return json.dumps(value, default=str, ensure_ascii=False, indent=indent)


FILTERS = {"money": money, "timestamp": timestamp, "datetime": datetime_text, "tojson": tojson}
