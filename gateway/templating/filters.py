"""The filters that gateway.yaml adds to Jinja's (money, major_units, timestamp, datetime, tojson) or makes strict (int,
float).

Each raises ValueError with a text for the person who wrote the template.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from babel.core import Locale, UnknownLocaleError
from babel.numbers import NumberPattern, format_currency, get_currency_symbol, list_currencies, parse_pattern
from jinja2 import Undefined, pass_context, pass_eval_context
from jinja2.filters import do_float, do_int
from jinja2.nodes import EvalContext
from jinja2.utils import htmlsafe_json_dumps

from gateway.templating.budget import check_weight
from gateway.templating.currencies import printed_decimals, to_major

ENGLISH = "en_US"
LOCALE: ContextVar[str] = ContextVar("locale", default=ENGLISH)
"""For people of which language and country something is rendered, as Babel names it."""

_PATTERNS = {"%a": "EEE", "%A": "EEEE", "%b": "MMM", "%B": "MMMM", "%p": "a"}  # of strftime -> of CLDR
_NAME_DIRECTIVE = re.compile("%%|%[aAbBp]")
LARGEST_AMOUNT = 10**20  # Babel rounds with 28 digits
_WIDE_DIRECTIVE = re.compile(r"%[^A-Za-z%]*\d{3}")  # glibc pads to any width it is asked for
_NO_DEFAULT: Any = object()
_KINDS = {
    bool: "a boolean",
    str: "text",
    int: "an integer",
    float: "a decimal number",
    Decimal: "a decimal number",
    dict: "an object",
    list: "a list",
    datetime: "a datetime",
    type(None): "null",
}


def kind_of(value: Any) -> str:
    """What a value is, in the words of JSON."""
    return _KINDS.get(type(value)) or f"a {type(value).__name__}"


def _show(value: Any) -> str:
    return f"{value!r:.40}" if isinstance(value, str) else kind_of(value)


@lru_cache(maxsize=1)
def _codes() -> frozenset[str]:
    return frozenset(list_currencies())


@lru_cache(maxsize=256)
def _pattern(locale: str, code: str, digits: int) -> tuple[Locale, NumberPattern]:
    language = Locale.parse(locale.replace("-", "_"))
    shape = language.currency_formats["standard"].pattern
    if get_currency_symbol(code, language)[-1:].isalpha():
        shape = shape.replace("¤#", "¤\u00a0#")  # CLDR's rule for letters next to digits, which Babel leaves out
    pattern = parse_pattern(shape)  # our own: Babel's is shared
    pattern.frac_prec = (digits, digits)
    return language, pattern


def money(amount: Any, currency: Any, locale: Any = None) -> str:
    """An amount in the currency's minor unit, for people: `4500 | money('eur')` -> €45.00. Left out, the locale is that
    of what is rendered.
    """
    locale = LOCALE.get() if locale is None else locale
    _defined(locale)
    _check_amount("money", amount, currency)
    try:
        language, pattern = _pattern(locale, currency.upper(), printed_decimals(amount, currency))
    except (UnknownLocaleError, ValueError, TypeError, AttributeError):
        raise ValueError(f"money takes a locale such as 'en_US' or 'de_DE', not {_show(locale)}") from None
    text: str = format_currency(
        to_major(amount, currency), currency.upper(), pattern, locale=language, currency_digits=False
    )
    return text


def major_units(amount: Any, currency: Any) -> Decimal:
    """An amount in the currency's minor unit as an exact decimal in its main unit, for a numeric column or another
    program: `1999 | major_units('usd')` -> 19.99, `500 | major_units('jpy')` -> 500, `5120 | major_units('kwd')` ->
    5.120.
    """
    _check_amount("major_units", amount, currency)
    return to_major(amount, currency)


def _check_amount(name: str, amount: Any, currency: Any) -> None:
    _defined(amount, currency)
    if isinstance(amount, bool) or not isinstance(amount, int):
        raise ValueError(f"{name} takes an integer in the currency's minor unit (1999 is $19.99), not {_show(amount)}")
    if not isinstance(currency, str) or currency.upper() not in _codes():
        raise ValueError(f"{name} takes a currency such as 'usd', not {_show(currency)}")
    if abs(amount) > LARGEST_AMOUNT:
        raise ValueError(f"{name} takes no amount of more than 20 digits")


def timestamp(value: Any) -> datetime:
    """Unix seconds, or an RFC 3339 text as thin events have, as an aware UTC datetime."""
    _defined(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
            if moment.tzinfo is not None:
                return moment.astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return datetime.fromtimestamp(value, UTC)
        except (ValueError, OverflowError, OSError):
            raise ValueError(f"{value:.6g} is no Unix time in seconds (milliseconds are too large)") from None
    raise ValueError(f"a time is Unix seconds, or a text such as '2026-03-01T12:00:00Z', not {_show(value)}")


def date_text(value: Any, style: Any = "medium", tz: Any = "UTC", locale: Any = None) -> str:
    """A day as people of a locale write it: `event.created | date('long', 'Europe/Berlin')`. Takes what `timestamp`
    takes. Left out, the locale is that of what is rendered.
    """
    _defined(value, style, tz, locale)
    if style not in ("short", "medium", "long", "full"):
        raise ValueError(f"date takes short, medium, long or full, not {_show(style)}")
    try:
        language = Locale.parse((LOCALE.get() if locale is None else locale).replace("-", "_"))
    except (UnknownLocaleError, ValueError, TypeError, AttributeError):
        raise ValueError(f"date takes a locale such as 'en_US' or 'de_DE', not {_show(locale)}") from None
    from babel.dates import format_date  # at first use, for `gateway check` needs none of it

    text: str = format_date(_at("date", value, tz).date(), style, locale=language)
    return text


def language_of(wanted: Any) -> str:
    """The locale that comes nearest to what a customer's browser or Stripe says, such as pt-BR; auto is English."""
    words = wanted.replace("-", "_").split("_") if isinstance(wanted, str) else []
    for count in range(len(words), 0, -1):
        name = "_".join(words[:count])
        try:
            Locale.parse(name)
        except (UnknownLocaleError, ValueError):
            continue
        return name
    return ENGLISH


def datetime_text(value: Any, format: Any = "%Y-%m-%d %H:%M", tz: Any = "UTC") -> str:
    """A time as text: `event.created | datetime('%d %B %Y', 'Europe/Berlin')`. Takes what `timestamp` takes. Names of
    months and days are in the language of what is rendered.
    """
    _defined(value, format, tz)
    if not isinstance(format, str) or _WIDE_DIRECTIVE.search(format):
        raise ValueError(f"datetime takes a format such as '%d %B %Y', not {_show(format)}")
    moment = _at("datetime", value, tz)
    if LOCALE.get() != ENGLISH:
        format = _NAME_DIRECTIVE.sub(lambda found: _named(found[0], moment), format)
    return moment.strftime(format)


def _at(name: str, value: Any, tz: Any) -> datetime:
    """A time in a time zone. Raises ValueError."""
    try:
        zone = ZoneInfo(tz)
    except (ValueError, OSError, KeyError, TypeError, AttributeError):  # ZoneInfoNotFoundError is a KeyError
        raise ValueError(f"{name} takes a time zone such as 'Europe/Berlin', not {_show(tz)}") from None
    try:
        return timestamp(value).astimezone(zone)
    except OverflowError:
        raise ValueError(f"the time does not fit the time zone {tz!r}") from None


def _named(directive: str, moment: datetime) -> str:
    """What a directive such as %B stands for, in the language of what is rendered, with its % doubled for strftime."""
    if directive == "%%":
        return directive
    from babel.dates import format_datetime  # as above

    text: str = format_datetime(moment, _PATTERNS[directive], locale=LOCALE.get())
    return text.replace("%", "%%")


@pass_eval_context
def tojson(context: EvalContext, value: Any, indent: Any = None) -> str:
    """Plain JSON; inside HTML such that it cannot end the script or the attribute that it stands in."""
    _defined(value, indent)
    if indent is not None and (not isinstance(indent, int) or not 0 <= indent <= 16):
        raise ValueError("tojson takes an indent from 0 to 16")
    if getattr(context.environment, "writes_html", context.autoescape):
        return htmlsafe_json_dumps(value, dumps=_dumps, indent=indent)
    return _dumps(value, indent=indent)


def _dumps(value: Any, *, indent: int | None = None) -> str:
    try:
        if indent is None:
            return json.dumps(value, default=_jsonable, ensure_ascii=False, allow_nan=False)
        size, parts = 0, []
        for part in json.JSONEncoder(default=_jsonable, ensure_ascii=False, allow_nan=False, indent=indent).iterencode(
            value
        ):
            size = check_weight(size + len(part))  # far more than what is written is the space before it
            parts.append(part)
        return "".join(parts)
    except TypeError as error:
        raise ValueError(f"tojson: {error}") from None


def _jsonable(value: Any) -> Any:
    _defined(value)
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Iterable):
        return list(value)
    raise ValueError(f"tojson cannot write {kind_of(value)}")


def to_int(value: Any, default: Any = _NO_DEFAULT, base: Any = 10) -> Any:
    """Jinja's `int`, but that what is no number becomes a default only where one is written, and not 0 in silence."""
    return _number("int", "a whole number", value, do_int(value, default, base))


def to_float(value: Any, default: Any = _NO_DEFAULT) -> Any:
    """Jinja's `float`, as `to_int` is its `int`."""
    return _number("float", "a number", value, do_float(value, default))


def _number(name: str, kind: str, value: Any, number: Any) -> Any:
    _defined(value)
    if number is _NO_DEFAULT:
        raise ValueError(f"{name} takes {kind} or its text, not {_show(value)}; {name}(0) would take 0 instead")
    return number


def _defined(*values: Any) -> None:
    """Lets a missing field speak for itself, before any word about its type."""
    for value in values:
        if isinstance(value, Undefined):
            str(value)


# With the context, which they do not look at: others Jinja computes once where all is constant, not for each locale.
FILTERS = {
    "money": pass_context(lambda context, *args, **kwargs: money(*args, **kwargs)),
    "major_units": major_units,
    "timestamp": timestamp,
    "date": pass_context(lambda context, *args, **kwargs: date_text(*args, **kwargs)),
    "datetime": pass_context(lambda context, *args, **kwargs: datetime_text(*args, **kwargs)),
    "tojson": tojson,
    "int": to_int,
    "float": to_float,
}
