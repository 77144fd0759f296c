"""What an expression's value becomes outside the sandbox: plain values, nothing lazy, nothing undefined."""

from __future__ import annotations

from collections.abc import Iterator, KeysView, Mapping, Set, ValuesView
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from jinja2 import Undefined
from markupsafe import Markup

from gateway.templating.limits import LONGEST_TEXT

_SCALARS = (bool, int, float, type(None), datetime, date, Decimal, bytes)
_LISTS = (list, tuple, range, Set, KeysView, ValuesView, Iterator)


def native(value: Any, is_path: bool) -> Any:
    """The value with its JSON type. What a mere path found in the event is given as it is; whatever was made on the
    way is looked through, so that no undefined hides in it. Raises ValueError for what is no value, such as a method.
    """
    if isinstance(value, str):
        if len(value) > LONGEST_TEXT:
            raise ValueError("the text is longer than 1 MiB")
        return str(value) if isinstance(value, Markup) else value
    if isinstance(value, _SCALARS) or (is_path and isinstance(value, (Mapping, list))):
        return value
    if isinstance(value, Undefined):
        str(value)  # raises, naming what is missing; all but what Jinja makes of an `if` without `else`
        raise ValueError("the condition is false and there is no else")
    if isinstance(value, Mapping):
        return {native(key, False): native(item, False) for key, item in value.items()}
    if isinstance(value, _LISTS):
        return [native(item, False) for item in value]
    if callable(value):
        raise ValueError(f"{getattr(value, '__name__', 'this')} is a method, not a value; to call it, add ()")
    raise ValueError(f"a {type(value).__name__} is no value that an action can take")
