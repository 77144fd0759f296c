"""How much a template may make of a little: the longest text, the widest padding, the largest number.

Each check looks at the arguments before the work is done, and raises SecurityError.
"""

from __future__ import annotations

import re
import string
import types
from collections.abc import Callable, Iterable
from functools import update_wrapper, wraps
from typing import Any

from jinja2 import pass_environment
from jinja2.exceptions import SecurityError
from jinja2.filters import FILTERS as JINJAS
from jinja2.filters import make_attrgetter

from gateway.templating.budget import MOST_BITS, budget, check_weight, size_of

LONGEST_TEXT = 1024 * 1024  # characters that one value may render to
LONGEST_RANGE = 10_000
WIDEST = 10_000  # columns that a text may be padded to
_WIDE = re.compile(r"\d{5}|\*")


def bounded_join(parts: Iterable[str]) -> str:
    """Joins what a template, a macro or a block printed. Raises SecurityError past the longest text."""
    size = 0
    kept = []
    for part in parts:
        size += len(part)
        if size > LONGEST_TEXT:
            raise SecurityError("the text is longer than 1 MiB")
        kept.append(part)
    budget().work(size)
    return "".join(kept)


def bounded_range(*args: int) -> range:
    steps = range(*args)
    try:
        if len(steps) <= LONGEST_RANGE:
            return steps
    except OverflowError:
        pass
    raise SecurityError(f"a range has at most {LONGEST_RANGE} steps")


def guarded(function: Callable[..., Any], guard: Callable[..., object]) -> Callable[..., Any]:
    def checked(*args: Any, **kwargs: Any) -> Any:
        guard(*args, **kwargs)
        return function(*args, **kwargs)

    return marked(checked, function)


def marked(wrapper: Callable[..., Any], function: Callable[..., Any]) -> Callable[..., Any]:
    """The wrapper, with the name and with the marks that Jinja puts on its filters."""
    if isinstance(function, types.FunctionType):
        return wraps(function)(wrapper)
    return update_wrapper(wrapper, function, assigned=("__name__",), updated=())


def _too_long(size: int) -> None:
    if size > LONGEST_TEXT:
        raise SecurityError("the text is longer than 1 MiB")


def check_numbers(*args: Any, **kwargs: Any) -> None:
    for value in (*args, *kwargs.values()):
        if isinstance(value, int) and abs(value) > WIDEST:
            raise SecurityError(f"a width or a count is at most {WIDEST}")


def _check_indent(text: Any, width: Any = 4, *args: Any, **kwargs: Any) -> None:
    check_numbers(width)
    _too_long((str(text).count("\n") + 1) * (width if isinstance(width, int) else len(width)))


def _check_wordwrap(environment: Any, text: Any, width: Any = 79, *args: Any, **kwargs: Any) -> None:
    breaks = [value for value in (*args, *kwargs.values()) if isinstance(value, str)]
    text = str(text)
    _too_long(len(text) * max(map(len, breaks), default=1))
    if isinstance(width, int) and width > 0:  # Python copies the rest of a word for each line that is cut off it
        longest = max(map(len, text.split()), default=0)
        budget().work(len(text) + longest * longest // (64 * width))


def check_replace(text: Any, old: Any = "", new: Any = "", *args: Any, **kwargs: Any) -> None:
    if not isinstance(text, bytes):
        text, old, new = str(text), str(old), str(new)
    _too_long((text.count(old) if len(old) else len(text) + 1) * len(new) + len(text))


def check_tabs(text: Any, columns: Any) -> None:
    check_numbers(columns)
    _too_long(len(text) + text.count("\t" if isinstance(text, str) else b"\t") * columns)


def _check_urlize(context: Any, text: Any, *args: Any, **kwargs: Any) -> None:
    around = sum(len(value) for value in (*args, *kwargs.values()) if isinstance(value, str))
    text = str(text)
    _too_long(len(text) + (text.count(".") + text.count(":") + text.count("@")) * around)


def check_join(parts: list[Any], between: int) -> list[Any]:
    _too_long(sum(len(part) for part in parts if isinstance(part, (str, bytes))) + between * len(parts))
    return parts


def check_format(text: Any, *args: Any, **kwargs: Any) -> None:
    if isinstance(text, str):
        for _, _, spec, _ in string.Formatter().parse(text):
            if spec and ("{" in spec or _WIDE.search(spec)):
                raise SecurityError(f"a width in format() is a number of at most {WIDEST - 1}")
        _check_repeated(text.count("{"), (*args, *kwargs.values()))


def _check_percent(text: Any, *args: Any, **kwargs: Any) -> None:
    if isinstance(text, (str, bytes)):
        shown = text if isinstance(text, str) else text.decode("latin-1")
        if any(_WIDE.search(directive) for directive in re.findall(r"%(?:\([^)]*\))?([^A-Za-z%]*)", shown)):
            raise SecurityError(f"a width in a format is a number of at most {WIDEST - 1}")
        _check_repeated(shown.count("%"), (*args, *kwargs.values()))


def _check_repeated(fields: int, values: Iterable[Any]) -> None:
    """Each field may name the heaviest of the values."""
    check_weight(fields * max(map(budget().weigh, values), default=0))


def _check_plus(left: Any, right: Any) -> None:
    if isinstance(left, (str, bytes, list, tuple)) and isinstance(right, (str, bytes, list, tuple)):
        _too_long(len(left) + len(right))


def _check_times(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int):
        if left.bit_length() + right.bit_length() > MOST_BITS:
            raise SecurityError("the number is too large")
        return
    for sequence, count in ((left, right), (right, left)):
        if isinstance(sequence, (str, bytes, list, tuple)) and isinstance(count, int):
            _too_long(len(sequence) * count)


def _check_power(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() * abs(right) > MOST_BITS:
        raise SecurityError("the number is too large")


_joined: Callable[..., Any] = JINJAS["join"]
_summed: Callable[..., Any] = JINJAS["sum"]


def _join(context: Any, value: Any, d: Any = "", attribute: Any = None) -> Any:
    """Jinja's `join`, of what is weighed before; it would write a null as `None`."""
    listed = list(value)
    if attribute is not None:
        listed = list(map(make_attrgetter(context.environment, attribute), listed))
    if None in listed:
        raise ValueError("a null is in the list to join; | select | join(...) leaves out what is null or empty")
    check_weight(budget().weigh(listed) + len(listed) * len(str(d)))
    return _joined(context, listed, d)


@pass_environment
def _sum(environment: Any, iterable: Any, attribute: Any = None, start: Any = 0) -> Any:
    """Jinja's `sum`; lists are put together without copying what is there again and again."""
    if not isinstance(start, list):
        return _summed(environment, iterable, attribute, start)
    if attribute is not None:
        iterable = map(make_attrgetter(environment, attribute), iterable)
    whole = list(start)
    for part in iterable:
        budget().work(size_of(part))
        whole += part
        check_weight(len(whole))
    return whole


REPLACED_FILTERS: dict[str, Callable[..., Any]] = {"join": marked(_join, _joined), "sum": _sum}
OPERATOR_CHECKS: dict[str, Callable[[Any, Any], None]] = {
    "+": _check_plus,
    "*": _check_times,
    "**": _check_power,
    "%": _check_percent,
}
FILTER_CHECKS: dict[str, Callable[..., object]] = {
    "center": check_numbers,
    "batch": lambda value, *args, **kwargs: check_numbers(*args, **kwargs),
    "slice": lambda value, *args, **kwargs: check_numbers(*args, **kwargs),
    "round": lambda value, *args, **kwargs: check_numbers(*args, **kwargs),
    "indent": _check_indent,
    "wordwrap": _check_wordwrap,
    "replace": lambda context, *args, **kwargs: check_replace(*args, **kwargs),
    "urlize": _check_urlize,
    "format": _check_percent,
}
