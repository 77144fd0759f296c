"""The facts of *.yaml in this folder: what the generated table cannot know of Stripe's objects, events and scenarios.

    ids:        an object's name: an id of its own; what stands before its last underline is the prefix
    objects:    an object's name: values of its fields; where none is said, null or the plainest of its type stands
    events:     a type of event: what is so when it happens. `object`, `previous` (previous_attributes), `is` (the one
                of several objects)
    scenarios:  types of event, with commas and globs: scenarios by name, each with `about`, its `object`, which is laid
                over the event's, and `previous`, which stands for the event's. An object of many kinds, such as a
                payment method, has one for each besides

A key with dots steps into objects. A text that begins with `=` is computed: see `gateway.testing.samples.formulas`.
Of a list, Stripe sends ten: `{count: 60, each: {...}}` makes the first ten of sixty. `{$absent: true}` leaves a field
out.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from importlib.resources import files
from typing import Any

from gateway.stripe import objects
from gateway.stripe.objects import FieldType
from gateway.testing.samples import plain

ABSENT = {"$absent": True}
_MANY = 4  # kinds, of which Stripe writes the details of one alone; of fewer, it writes null for the others
_SECTIONS = ("ids", "objects", "events", "scenarios")


class UnknownScenarioError(ValueError):
    """An event's type has no scenario of that name. The text names those that it has."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is so when something happens."""

    object: Mapping[str, Any] = field(default_factory=dict)
    previous: Mapping[str, Any] | None = None  # previous_attributes
    name: str | None = None  # of the object, where the type allows several


def scenarios(event_type: str) -> dict[str, str]:
    """The scenarios of a type of event, snapshot or thin, and what each is about."""
    return {name: str(facts["about"]) for name, facts in _scenarios(event_type).items()}


def facts_of(event_type: str, scenario: str | None = None) -> Facts:
    """What is so when an event of the type happens, in the scenario. Raises UnknownScenarioError."""
    known = _scenarios(event_type)
    if scenario is not None and scenario not in known:
        raise UnknownScenarioError(
            f"{event_type} has no scenario {scenario!r}; it has: {', '.join(known)}"
            if known
            else f"{event_type} has no scenarios"
        )
    usual, special = _facts()["events"].get(event_type, {}), known[scenario] if scenario is not None else {}
    return Facts(
        merged(usual.get("object", {}), special.get("object", {})),
        special.get("previous", usual.get("previous")),
        usual.get("is"),
    )


def facts_of_object(name: str) -> Mapping[str, Any]:
    """The values of an object's fields, as written."""
    facts: Mapping[str, Any] = _facts()["objects"].get(name, {})
    return facts


def id_of(name: str) -> str:
    """An id of an object, always the same."""
    import hashlib

    known: str | None = _facts()["ids"].get(name)
    return known or f"{name.rpartition('.')[2]}_{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def prefix_of(name: str) -> str:
    """What the ids of an object begin with, such as `in_`."""
    return id_of(name).rpartition("_")[0] + "_"


def merged(base: Any, over: Any) -> Any:
    """Both, key by key; where both have a value, `over`'s. Neither is changed."""
    if not isinstance(base, Mapping) or not isinstance(over, Mapping) or over == ABSENT:
        return over
    whole = dict(base)
    for key, value in over.items():
        whole[key] = merged(whole[key], value) if key in whole else value
    return whole


def nested(written: Any) -> Any:
    """The same with each key's dots as steps: {a.b: 1} is {a: {b: 1}}."""
    if isinstance(written, list):
        return [nested(part) for part in written]
    if not isinstance(written, dict):
        return written
    whole: dict[str, Any] = {}
    for key, value in written.items():
        part: Any = nested(value)
        for step in reversed(str(key).split(".")):
            part = {step: part}
        whole = merged(whole, part)
    return whole


def kinds_of(fields: Mapping[str, FieldType]) -> set[str]:
    """The kinds that `type` tells apart and that have a field of details each, as a payment method has `card` and
    `sepa_debit`: Stripe sends that of its own kind alone. Empty where there are few, and all are sent.
    """
    if "type" not in fields:
        return set()
    details = {key for key, field in fields.items() if field.kind == "object" and field.is_nullable}
    if fields["type"].values:
        details &= set(fields["type"].values)
    return details if len(details) >= _MANY else set()


@functools.cache
def _scenarios(event_type: str) -> Mapping[str, Mapping[str, Any]]:
    event_type = event_type.removeprefix("v1.")
    known: dict[str, Mapping[str, Any]] = {}
    for pattern, named in _facts()["scenarios"].items():
        if any(fnmatchcase(event_type, part) for part in pattern.split(", ")):
            known |= named
    for kind in _other_kinds(event_type):
        known.setdefault(kind.replace("_", "-"), {"about": f"of type {kind}", "object": {"type": kind}})
    return known


def _other_kinds(event_type: str) -> list[str]:
    """The kinds that the object may be of besides that of the plain sample; none where the event is of one kind alone,
    as a change of the card's own details is.
    """
    names = objects.objects_of(event_type)
    kinds = kinds_of(objects.fields(names[0])) if names else set()
    if not kinds or kinds & (_facts()["events"].get(event_type, {}).get("previous") or {}).keys():
        return []
    usual = facts_of_object(names[0]).get("type") or plain.value("type", objects.fields(names[0])["type"], 0)
    return sorted(kinds - {usual})


@functools.cache
def _facts() -> Mapping[str, Any]:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's, where it is there
    facts: dict[str, Any] = {section: {} for section in _SECTIONS}
    for file in sorted(files(__package__).iterdir(), key=lambda file: file.name):
        if file.name.endswith(".yaml"):
            for section, entries in yaml.load(file.read_text(encoding="utf-8"), loader).items():  # noqa: S506
                for name, entry in entries.items():
                    assert name not in facts[section], f"{file.name}: {section}.{name} stands twice"
                    facts[section][name] = entry
    for section in ("objects", "events"):
        facts[section] = {name: nested(entry) for name, entry in facts[section].items()}
    facts["scenarios"] = {
        pattern: {name: nested(entry) for name, entry in named.items()} for pattern, named in facts["scenarios"].items()
    }
    return facts
