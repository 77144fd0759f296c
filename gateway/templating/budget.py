"""What one rendering may handle in all, and how heavy one value may become: so that it ends soon and stays small.

A value's weight is about the eighth part of the bytes that it takes, with each part counted as often as it is in it: a
list that holds another one twice, forty times over, is small in memory, but not when it is printed or compared.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, KeysView, ValuesView
from contextvars import ContextVar
from itertools import chain
from types import MappingProxyType
from typing import Any

from jinja2.exceptions import SecurityError
from jinja2.utils import Namespace
from markupsafe import Markup

MOST_STEPS = 100_000  # turns of loops, and calls, in one rendering
MOST_WORK = 16 * 1024 * 1024  # characters and values that go through its filters, calls, comparisons and loops
HEAVIEST = 4 * 1024 * 1024  # weight of one value
DEEPEST = 200  # lists and objects within each other
MOST_BITS = 4096  # of an integer

CONTAINER = 8  # weight of an empty list
CALL = 16  # work of a call or a filter that does next to nothing
_TEXT = 4
_LISTS = (list, tuple, set, frozenset, KeysView, ValuesView, ItemsView)
_SIZED = frozenset((str, Markup, bytes, list, tuple, dict))


def size_of(value: Any) -> int:
    """Characters of a text, values of a list; 0 for what takes the same time whatever it is."""
    return len(value) if type(value) in _SIZED else 0


class Budget:
    """What is left to one rendering. Raises SecurityError where nothing is."""

    __slots__ = ("_known", "_steps", "_work")

    def __init__(self) -> None:
        self._steps = MOST_STEPS
        self._work = MOST_WORK
        self._known: dict[int, tuple[Any, int]] = {}  # weights by id; holds the values, so that no id is used twice

    def step(self, count: int) -> None:
        """Takes turns of loops, or calls."""
        self._steps -= count
        if self._steps < 0:
            raise SecurityError(f"more than {MOST_STEPS} steps: loops within loops?")

    def work(self, amount: int) -> None:
        """Takes characters and values."""
        self._work -= amount
        if self._work < 0:
            raise SecurityError("it handles more than 16 million characters and values: loops within loops?")

    def weigh(self, value: Any, depth: int = 0) -> int:
        """The weight of a value, each of whose parts is looked at once in a rendering."""
        if isinstance(value, str):
            return check_weight(_TEXT + len(value))
        if isinstance(value, int):
            if value.bit_length() > MOST_BITS:
                raise SecurityError("the number is too large")
            return 1
        if isinstance(value, (dict, MappingProxyType)):
            parts: Iterable[Any] = chain(value.keys(), value.values())
            weight = CONTAINER * (1 + len(value))
        elif isinstance(value, _LISTS):
            parts = value
            weight = CONTAINER
        else:
            return 1
        known = self._known.get(id(value))
        if known is not None:
            return known[1]
        if depth > DEEPEST:
            raise SecurityError(f"a value is nested more than {DEEPEST} deep")
        self.work(len(value))
        for part in parts:
            weight = check_weight(weight + self.weigh(part, depth + 1))
        self.note(value, weight)
        return weight

    def note(self, value: Any, weight: int) -> None:
        """Keeps a weight that is known without looking at every part."""
        self._known[id(value)] = (value, check_weight(weight))

    def admit(self, value: Any) -> Any:
        """What a filter or a call has made, weighed; lazy values are weighed as they come."""
        if isinstance(value, (str, bytes)):
            self.work(check_weight(len(value)))
        elif isinstance(value, (int, list, tuple, dict)):
            self.weigh(value)
        elif isinstance(value, Iterator):
            return self._flow(value)
        return value

    def _flow(self, values: Iterator[Any]) -> Iterator[Any]:
        for value in values:
            self.work(CALL + size_of(value))
            yield value


def check_weight(weight: int) -> int:
    if weight > HEAVIEST:
        raise SecurityError("a value is larger than 4 million characters and values")
    return weight


under_way: ContextVar[Budget | None] = ContextVar("under_way", default=None)
"""Of the rendering under way; set anew for each by whoever renders."""


def budget() -> Budget:
    """Of the rendering under way, or where a constant is computed at load, one for that alone."""
    return under_way.get() or Budget()


class Notes(Namespace):
    """Jinja's `namespace`, the one thing that a template can change. It prints as a word: what is in it may grow after
    it was weighed.
    """

    def __repr__(self) -> str:
        return "<namespace>"
