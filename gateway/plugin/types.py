"""The kinds of values that settings are made of: durations, sizes, rates, names, texts, parts rendered later."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar, get_args
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, GetCoreSchemaHandler, StringConstraints, WithJsonSchema
from pydantic_core import CoreSchema, core_schema

_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE_UNITS = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_RATE_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SIZE = re.compile(r"(\d+)(B|KiB|MiB|GiB)")
_STATUS = re.compile(r"([1-5][0-9]{2})(?:-([1-5][0-9]{2}))?")
_RATE = re.compile(r"(\d+(?:\.\d+)?)/(s|m|h)")


def parse_duration(value: object) -> float:
    """Seconds of `200ms 5s 10m 6h 30d`. Raises ValueError."""
    if isinstance(value, float):  # already parsed: defaults and copies of models
        return value
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("expected a duration such as 200ms, 5s, 10m, 6h or 30d")
    return float(match[1]) * _DURATION_UNITS[match[2]]


def parse_size(value: object) -> int:
    """Bytes of `100B 512KiB 1MiB 1GiB`. Raises ValueError."""
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("expected a size such as 512KiB or 1MiB")
    return int(match[1]) * _SIZE_UNITS[match[2]]


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` in every `per_seconds`."""

    count: float
    per_seconds: float

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(parse_rate)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: Any) -> dict[str, Any]:
        return dict(_RATE_SCHEMA)


def parse_rate(value: object) -> Rate:
    """A rate such as `20/s 100/m 1000/h`. Raises ValueError."""
    if isinstance(value, Rate):
        return value
    match = _RATE.fullmatch(value) if isinstance(value, str) else None
    if match is None or float(match[1]) <= 0:
        raise ValueError("expected a rate such as 20/s or 100/m")
    return Rate(float(match[1]), _RATE_UNITS[match[2]])


def duration_text(seconds: float) -> str:
    """As `parse_duration` reads it, in the largest unit that leaves no fraction."""
    milliseconds = round(seconds * 1000)
    for unit in ("d", "h", "m", "s"):
        count, rest = divmod(milliseconds, round(_DURATION_UNITS[unit] * 1000))
        if count and not rest:
            return f"{count}{unit}"
    return f"{milliseconds}ms" if milliseconds else "0s"


def size_text(count: int) -> str:
    """As `parse_size` reads it, in the largest unit that leaves no fraction."""
    unit = next((unit for unit in ("GiB", "MiB", "KiB") if count and count % _SIZE_UNITS[unit] == 0), "B")
    return f"{count // _SIZE_UNITS[unit]}{unit}"


def check_url(value: object) -> str:
    """An absolute http or https URL, as text. Raises ValueError."""
    if isinstance(value, str):
        try:
            parts = urlsplit(value)
            if parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0):
                return value
        except ValueError:
            pass
    raise ValueError("expected an http:// or https:// URL")


def parse_status(value: object) -> str:
    """A status such as `409`, or a range such as `200-299`, as text. Raises ValueError."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    match = _STATUS.fullmatch(text) if isinstance(text, str) else None
    if match is None or int(match[1]) > int(match[2] or match[1]):
        raise ValueError("expected a status such as 409, or a range such as 200-299")
    return match[0]


def has_status(statuses: Iterable[str], status: int) -> bool:
    """Whether a status is among some, each as `parse_status` returns it."""
    return any(int(text[:3]) <= status <= int(text[-3:]) for text in statuses)


def _schema(title: str, pattern: str, *examples: str) -> dict[str, Any]:
    """For an editor: text of such a form."""
    return {"title": title, "type": "string", "pattern": pattern, "examples": list(examples)}


_DURATION_SCHEMA = _schema("duration", f"^{_DURATION.pattern}$", "5s", "10m", "30d")
_SIZE_SCHEMA = _schema("size", f"^{_SIZE.pattern}$", "512KiB", "1MiB")
_RATE_SCHEMA = _schema("rate", f"^{_RATE.pattern}$", "20/s", "100/m")
_URL_SCHEMA = _schema("URL", "^https?://", "https://host.example/path")
_STATUS_SCHEMA = {
    "title": "status or range",
    "anyOf": [{"type": "integer"}, {"type": "string", "pattern": f"^{_STATUS.pattern}$"}],
    "examples": ["200-299", 409],
}

Duration = Annotated[float, BeforeValidator(parse_duration), WithJsonSchema(_DURATION_SCHEMA)]
"""Seconds, written `200ms 5s 10m 6h 30d`."""

Size = Annotated[int, BeforeValidator(parse_size), WithJsonSchema(_SIZE_SCHEMA)]
"""Bytes, written `512KiB 1MiB`."""

Url = Annotated[str, BeforeValidator(check_url), WithJsonSchema(_URL_SCHEMA)]
"""An absolute http or https URL."""

Status = Annotated[str, BeforeValidator(parse_status), WithJsonSchema(_STATUS_SCHEMA)]
"""A status of HTTP, or a range of them, written `409` or `200-299`."""

NAME_PATTERN = r"^[A-Za-z_][A-Za-z0-9_.-]{0,63}$"
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN), Field(title="name")]
"""A name that ops give to an account, a connection, a route or an action."""


@dataclass(frozen=True, slots=True)
class Connection:
    """Marks the field of an action's `with` that names a connection, and says of which type.

        connection: Annotated[str, Connection(HttpConnection)]

    The gateway checks at load that such a connection exists, opens it once, and gives it to `run`.
    """

    type: type[Any]  # a subclass of ConnectionSettings


@dataclass(frozen=True, slots=True)
class Text:
    """Marks a field of `with` as text: it renders to text even where it is one lone expression, and may be given
    as `{template: path/to/file.j2}` as well.

    `escape` is applied to what each expression brings, never to what ops wrote. `markupsafe.escape` turns on
    Jinja's HTML autoescaping. With `keeps_lone`, one lone expression keeps its type, is not escaped, and there is no
    `template`.
    """

    escape: Callable[[str], str] | None = None
    keeps_lone: bool = False


@dataclass(frozen=True, slots=True)
class Offers:
    """Marks a `Deferred` field: the names that the action gives to `render`, so that templates which use them are known
    to be right at load. With `where`, only where `with` holds that field.

        values: Annotated[Deferred[dict[str, Any]], Offers("item", where="for_each")]
    """

    names: tuple[str, ...]
    where: str | None

    def __init__(self, *names: str, where: str | None = None) -> None:
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "where", where)


@dataclass(frozen=True, slots=True)
class Constant:
    """Marks a field of `with` that is taken as it is written: a template in it is a problem at load, with this hint.

    statement: Annotated[str, Constant("bind the value under params")]
    """

    hint: str = ""


@dataclass(frozen=True, slots=True)
class SetsLocale:
    """Marks the field of `with` that says for people of which locale `money`, `date` and `datetime` write in the
    others, such as de_DE, or what a customer's browser says. It is rendered first; null, and what is no locale, is
    English.

    locale: Annotated[str | None, SetsLocale()] = None
    """


@dataclass(frozen=True, slots=True)
class CallsStripe:
    """Marks the field of `with` that names a method of Stripe's API that writes, such as refunds.create, and says in
    which other fields its ids and its parameters are.

    method: Annotated[str, Constant("write the method out"), CallsStripe(ids="id", params="params")]

    The gateway checks at load that there is such a method, that the `may` of every account of the route names it, and
    that there are as many ids as it takes; `context.stripe` calls it.
    """

    ids: str
    params: str


T = TypeVar("T")


class Deferred(Generic[T]):
    """A part of `with` that the action renders itself, maybe several times with other names in scope.

        values: Deferred[dict[str, Any]]
        ...
        row = settings.values.render(item=item)

    `render` raises what rendering `with` raises (the gateway turns it into a dead letter that names the YAML
    line): an action lets it pass. A field declared `Deferred[...]` is checked at load as if it were its inner type.
    """

    __slots__ = ("_render",)

    def __init__(self, render: Callable[[Mapping[str, Any]], T]) -> None:
        self._render = render

    def render(self, **names: Any) -> T:
        """The value, with `names` in scope beside the usual ones."""
        return self._render(names)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        inner = handler.generate_schema((get_args(source) or (Any,))[0])

        def accept(value: Any, validate: core_schema.ValidatorFunctionWrapHandler) -> Deferred[Any]:
            if isinstance(value, Deferred):
                return value
            constant = validate(value)
            return Deferred(lambda names: constant)

        return core_schema.no_info_wrap_validator_function(accept, inner)
