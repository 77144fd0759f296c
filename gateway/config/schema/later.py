"""When an action acts later, within which hours, and what cancels it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from gateway.config.schema.types import Section, within
from gateway.core.later import MOST_SECONDS
from gateway.core.model import Hours
from gateway.plugin import Duration

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_SPAN = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]|24(?=:00)):([0-5]\d)")

After = Annotated[
    Duration, within(f"expected more than 0 and at most {MOST_SECONDS / 86400:.0f}d", above=0, most=MOST_SECONDS)
]


def _as_list(value: object) -> object:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _day(value: str) -> str:
    first, _, last = value.partition("-")
    if first not in DAYS or (last or first) not in DAYS:
        raise ValueError("expected days such as mon-fri or sat")
    return value


def _span(value: object) -> object:
    if isinstance(value, int):  # YAML 1.1 reads 9:00 as a number of minutes
        raise ValueError("expected hours such as 09:00-18:00")
    match = _SPAN.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("expected hours such as 09:00-18:00, or 22:00-06:00 past midnight")
    begins, ends = minutes_of(str(value))
    if begins == ends:
        raise ValueError("these hours never open: they end where they begin; 00:00-24:00 is the whole day")
    return value


def minutes_of(span: str) -> tuple[int, int]:
    """The minutes of the day at which hours begin and end."""
    begins, _, ends = span.partition("-")
    first, last = (int(hour) * 60 + int(minute) for hour, minute in (begins.split(":"), ends.split(":")))
    return first, last


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except Exception:  # a folder, a path outside, an unknown key: each has its own
        raise ValueError("expected a timezone of the IANA database, such as Europe/Berlin or UTC") from None
    return value


_DAY = {"type": "string", "title": "days", "pattern": f"^({'|'.join(DAYS)})(-({'|'.join(DAYS)}))?$"}
_TEXT = {"type": "string", "title": "days", "examples": ["mon-fri", "mon-thu, sat"]}
_HOURS = {"type": "string", "title": "hours", "pattern": r"^\d\d:\d\d-\d\d:\d\d", "examples": ["09:00-18:00"]}


class DuringSettings(Section):
    """The hours in which an action acts, by the clock of a place. What comes outside them waits."""

    days: Annotated[
        list[Annotated[str, AfterValidator(_day)]],
        BeforeValidator(_as_list),
        Field(min_length=1),
        WithJsonSchema({"anyOf": [_TEXT, {"type": "array", "items": _DAY, "minItems": 1}]}),
    ] = Field(
        default=["mon-sun"],
        description="Days, of the beginning where the hours go past midnight.",
        examples=["mon-fri"],
        title="days",
    )
    hours: Annotated[
        list[Annotated[str, BeforeValidator(_span)]],
        BeforeValidator(_as_list),
        Field(min_length=1),
        WithJsonSchema({"anyOf": [_HOURS, {"type": "array", "items": _HOURS, "minItems": 1}]}),
    ] = Field(
        default=["00:00-24:00"],
        description="From and up to, or several; 22:00-06:00 goes past midnight.",
        examples=["09:00-18:00"],
        title="hours",
    )
    timezone: Annotated[str, AfterValidator(_zone)] = Field(
        title="timezone", description="Of the IANA database.", examples=["Europe/Berlin"]
    )

    def rule(self) -> Hours:
        """The same as a plain record."""
        spans = tuple(map(minutes_of, self.hours))
        source = f"{', '.join(self.days)} {', '.join(self.hours)} {self.timezone}"
        return Hours(frozenset(_numbers(self.days)), spans, ZoneInfo(self.timezone), source)


def _numbers(days: list[str]) -> Iterator[int]:
    for part in days:
        first, _, last = part.partition("-")
        begins, ends = DAYS.index(first), DAYS.index(last or first)
        yield from ((begins + step) % 7 for step in range((ends - begins) % 7 + 1))


class UntilSettings(Section):
    """The events that cancel an action which waits, or is to be tried again."""

    events: list[str] = Field(
        min_length=1, description="Types of event; * stands for any characters.", examples=[["invoice.paid"]]
    )
    same: str = Field(
        title="expression",
        description="Only events for which this has the same value as for the one that waits.",
        examples=["object.customer"],
    )
    theirs: str | None = Field(
        None,
        title="expression",
        description="What has that value in the events that cancel, where it is another field there.",
        examples=["object.id"],
    )
