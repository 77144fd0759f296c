"""The typed model of a file in config/tests/."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from gateway.config.schema.types import Section
from gateway.plugin import Name
from gateway.plugin.types import parse_duration


def _as_text(value: object) -> object:
    """An environment holds text: 25 is "25" there."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, (int, float)) else value


_OFFSET = r"\+(\d+(ms|s|m|h|d))+"


def parse_offset(value: object) -> float:
    """Seconds of +3d or +3d5h. Raises ValueError."""
    if isinstance(value, float):
        return value
    if not isinstance(value, str) or not re.fullmatch(_OFFSET, value):
        raise ValueError("expected a time after the event, such as +3d or +3d5h")
    return sum(map(parse_duration, re.findall(r"\d+[a-z]+", value)))


Offset = Annotated[
    float,
    BeforeValidator(parse_offset),
    WithJsonSchema({"type": "string", "pattern": f"^{_OFFSET}$", "examples": ["+3d"]}),
]


def _as_answer(value: object) -> object:
    """YAML takes a bare yes for true."""
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value


Answer = Annotated[Literal["yes", "no", "nobody"], BeforeValidator(_as_answer)]
Environment = dict[str, Annotated[str, BeforeValidator(_as_text)]]


class ExpectedDelivery(Section):
    """What one delivery must be: without one of the words that say otherwise, it must succeed."""

    with_: dict[str, Any] | None = Field(None, alias="with", description="Rendered values; what is left out is free.")
    exactly: dict[str, Any] | None = Field(None, description="All rendered values; nothing more may be there.")
    skipped: Any = Field(None, description="true, or a part of the reason, or a matcher.")
    error: Any = Field(None, description="A dead letter: true, or a part of its error, or a matcher.")
    expired: Any = Field(None, description="Too old: true, or a part of the reason, or a matcher.")
    cancelled: Any = Field(
        None, description="By an event of its until, or nobody said yes: true, or a part of the reason, or a matcher."
    )
    waits: Any = Field(None, description="For a yes: true, or a part of the reason, or a matcher.")
    waits_until: Any = Field(None, description="It waits: true, or until when, as +3d after the event or as a time.")
    blocked: bool = Field(False, description="true: something it needs is dead, so it waits.")
    after: list[Name] | None = Field(None, description="Actions it must wait for, directly or through others.")
    once_per: Any = Field(None, description="The value of the route's once_per.")
    order_by: Any = Field(None, description="The value of the route's order_by.")


class Expected(Section):
    """What must become of the event."""

    state: Literal["routed", "unmatched", "ignored"] | None = Field(None, description="The event's state.")
    routes: Any = Field(None, description="The routes that match: a list, or a mapping to the actions that succeed.")
    deliveries: dict[Name, dict[Name, ExpectedDelivery | None]] = Field(
        default_factory=dict, description="By route and action: what each delivery must be."
    )


class CaseStep(Section):
    """What is so at a later time."""

    at: Offset = Field(description="How long after the event happened.", examples=["+3d"])
    event: Any = Field(None, description="An event that comes then: a file, a type, or a mapping.")
    fetch: Any = Field(None, description="What Stripe brings since the step before.")
    answers: dict[Name, Answer] = Field(
        default_factory=dict, description="What somebody has said by then of actions with `approve`."
    )
    expect: Any = Field(description="What must have become of the case's event: a mapping: state, routes, deliveries.")


class CaseSettings(Section):
    """One case."""

    account: Name | None = Field(None, description="Default: the file's, else the first account.")
    env: Environment = Field(default_factory=dict, description="Variables of gateway.yaml, besides the file's.")
    earlier: list[Any] = Field(default_factory=list, description="Events that came, and were delivered, before.")
    event: Any = Field(description="A file, a type, or a mapping: type or file, object, and fields of the envelope.")
    arrives: Offset = Field(0.0, description="How long after it happened the event came.", examples=["+2d"])
    fetch: Any = Field(None, description="What Stripe brings where the route has fetch: a file, or changed fields.")
    outputs: dict[Name, dict[str, Any]] = Field(default_factory=dict, description="What actions return.")
    answers: dict[Name, Answer] = Field(
        default_factory=dict, description="What people say to actions with `approve`; left out: it still waits."
    )
    failures: dict[Name, str] = Field(default_factory=dict, description="Actions that fail for good, and how.")
    expect: Any = Field(description="nothing, or a mapping: state, routes, deliveries.")
    then: list[CaseStep] = Field(default_factory=list, description="What is so later, one time after the other.")


class CaseFile(Section):
    """A file in config/tests/."""

    account: Name | None = Field(None, description="The account of all cases that do not say otherwise.")
    env: Environment = Field(default_factory=dict, description="Variables of gateway.yaml, for all cases.")
    cases: dict[str, CaseSettings] = Field(min_length=1, description="The cases, by name.")
