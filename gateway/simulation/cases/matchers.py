"""What was expected and what was found: partial, exact, or by a matcher such as `{$matches: '^Thank you'}`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.config.diagnostics.problem import did_you_mean
from gateway.config.yaml.nodes import Path_


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
    found: Any


def _matches(wanted: Any, found: Any) -> bool:
    return isinstance(found, str) and re.search(wanted, found) is not None


def _contains(wanted: Any, found: Any) -> bool:
    if isinstance(found, str):
        return isinstance(wanted, str) and wanted in found
    return isinstance(found, list) and any(_same(wanted, one) for one in found)


_KINDS: dict[str, tuple[type, ...]] = {
    "text": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "list": (list,),
    "mapping": (dict,),
}


def _is_type(wanted: Any, found: Any) -> bool:
    if isinstance(found, bool):
        return bool(wanted == "boolean")
    return found is not ABSENT and isinstance(found, _KINDS[wanted])


_MATCHERS: dict[str, Callable[[Any, Any], bool]] = {
    "$absent": lambda wanted, found: bool(wanted) is (found is ABSENT),
    "$contains": _contains,
    "$exactly": lambda wanted, found: found is not ABSENT and _same(wanted, found),
    "$matches": _matches,
    "$one_of": lambda wanted, found: any(_same(one, found) for one in wanted),
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


def differences(expected: Any, found: Any, at: Path_, name: Path_, *, exact: bool = False) -> Iterator[Difference]:
    """Where they differ. A mapping need not name every key unless `exact`; a list must have every element."""
    if is_matcher(expected):
        matcher, wanted = next(iter(expected.items()))
        if not _MATCHERS[matcher](wanted, found):
            yield Difference(at, name, "differs", expected, found)
    elif isinstance(expected, Mapping) and isinstance(found, Mapping):
        for key, value in expected.items():
            yield from differences(value, found.get(key, ABSENT), (*at, key), (*name, key), exact=exact)
        for key in found if exact else ():
            if key not in expected:
                yield Difference(at, (*name, key), "is there too", ABSENT, found[key])
    elif isinstance(expected, list) and isinstance(found, list):
        if len(expected) != len(found):
            yield Difference(at, name, "differs", expected, found)
            return
        for i, (one, other) in enumerate(zip(expected, found, strict=True)):
            yield from differences(one, other, (*at, i), (*name, i), exact=exact)
    elif found is ABSENT:
        yield Difference(at, name, "is missing", expected, found)
    elif not _same(expected, found):
        yield Difference(at, name, "differs", expected, found)


def text_difference(expected: Any, found: str | None, at: Path_, name: Path_) -> Iterator[Difference]:
    """For reasons and errors: true, a part of the text, or a matcher."""
    if expected is True:
        return
    wanted = expected if is_matcher(expected) else {"$contains": expected}
    for one in differences(wanted, found or "", at, name):
        yield Difference(one.at, one.name, one.message, expected, found)


def _same(one: Any, other: Any) -> bool:
    """Equal, and both or neither boolean: 1 is not true. Matchers count inside."""
    if is_matcher(one) or isinstance(one, (Mapping, list)):
        return type(one) is type(other) and not any(differences(one, other, (), (), exact=True))
    return one == other and isinstance(one, bool) == isinstance(other, bool)
