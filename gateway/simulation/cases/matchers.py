"""What was expected and what was found: partial, exact, or by a matcher such as `{$matches: '^Thank you'}`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.config.yaml.nodes import Path_
from gateway.core.spelling import did_you_mean


class Absent:
    """Stands for what is not there."""

    def __repr__(self) -> str:
        return "nothing"


ABSENT = Absent()


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where they differ. `at` leads to the expectation, `name` to the value found."""

    at: Path_
    name: Path_
    message: str
    expected: Any
    actual: Any


def _matches(wanted: Any, actual: Any) -> bool:
    return isinstance(actual, str) and re.search(wanted, actual) is not None


def _contains(wanted: Any, actual: Any) -> bool:
    if isinstance(actual, str):
        return isinstance(wanted, str) and wanted in actual
    return isinstance(actual, list) and any(_same(wanted, item) for item in actual)


_KINDS: dict[str, tuple[type, ...]] = {
    "text": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "list": (list,),
    "mapping": (dict,),
}


def _is_type(wanted: Any, actual: Any) -> bool:
    if isinstance(actual, bool):
        return bool(wanted == "boolean")
    return actual is not ABSENT and isinstance(actual, _KINDS[wanted])


_MATCHERS: dict[str, Callable[[Any, Any], bool]] = {
    "$absent": lambda wanted, actual: bool(wanted) is (actual is ABSENT),
    "$contains": _contains,
    "$exactly": lambda wanted, actual: actual is not ABSENT and _same(wanted, actual),
    "$matches": _matches,
    "$one_of": lambda wanted, actual: any(_same(choice, actual) for choice in wanted),
    "$type": _is_type,
}


def is_matcher(value: Any) -> bool:
    """Whether a value of a test file is a matcher."""
    return isinstance(value, Mapping) and len(value) == 1 and str(next(iter(value))).startswith("$")


def lint(value: Any, at: Path_ = ()) -> Iterator[tuple[Path_, str, str | None]]:
    """What is wrong with the matchers inside an expected value: path, message, hint."""
    if is_matcher(value):
        name, wanted = next(iter(value.items()))
        if name not in _MATCHERS:
            yield (*at, name), f"there is no matcher {name}", did_you_mean(name, _MATCHERS)
        elif name == "$matches":
            try:
                re.compile(wanted)
            except (re.error, TypeError) as error:
                yield (*at, name), f"is no regular expression: {error}", None
        elif name == "$absent" and not isinstance(wanted, bool):
            yield (*at, name), "expected true or false", None
        elif name == "$one_of" and not isinstance(wanted, list):
            yield (*at, name), "expected a list", None
        elif name == "$type" and (not isinstance(wanted, str) or wanted not in _KINDS):
            yield (*at, name), f"expected one of {', '.join(_KINDS)}", None
        elif name in ("$contains", "$exactly", "$one_of"):
            yield from lint(wanted, (*at, name))
        return
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from lint(item, (*at, key))


def differences(expected: Any, actual: Any, at: Path_, name: Path_, *, exact: bool = False) -> Iterator[Difference]:
    """Where they differ. A mapping need not name every key unless `exact`; a list must have every element."""
    if is_matcher(expected):
        matcher, wanted = next(iter(expected.items()))
        if not _MATCHERS[matcher](wanted, actual):
            yield Difference(at, name, "differs", expected, actual)
    elif isinstance(expected, Mapping) and isinstance(actual, Mapping):
        for key, value in expected.items():
            yield from differences(value, actual.get(key, ABSENT), (*at, key), (*name, key), exact=exact)
        for key in actual if exact else ():
            if key not in expected:
                yield Difference(at, (*name, key), "is there too", ABSENT, actual[key])
    elif isinstance(expected, list) and isinstance(actual, list):
        if len(expected) != len(actual):
            yield Difference(at, name, "differs", expected, actual)
            return
        for i, (item, other) in enumerate(zip(expected, actual, strict=True)):
            yield from differences(item, other, (*at, i), (*name, i), exact=exact)
    elif actual is ABSENT:
        yield Difference(at, name, "is missing", expected, actual)
    elif not _same(expected, actual):
        yield Difference(at, name, "differs", expected, actual)


def text_difference(expected: Any, actual: str | None, at: Path_, name: Path_) -> Iterator[Difference]:
    """For reasons and errors: true, a part of the text, or a matcher."""
    if expected is True:
        return
    wanted = expected if is_matcher(expected) else {"$contains": expected}
    for difference in differences(wanted, actual or "", at, name):
        yield Difference(difference.at, difference.name, difference.message, expected, actual)


def _same(first: Any, second: Any) -> bool:
    """Equal, and both or neither boolean: 1 is not true. Matchers count inside."""
    if is_matcher(first) or isinstance(first, (Mapping, list)):
        return type(first) is type(second) and not any(differences(first, second, (), (), exact=True))
    return first == second and isinstance(first, bool) == isinstance(second, bool)
