"""From the table of Stripe's objects and the facts: a whole object, whose ids, amounts, times and lists fit."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.core.spelling import did_you_mean
from gateway.stripe import objects
from gateway.stripe.objects import FieldType
from gateway.testing.samples import plain
from gateway.testing.samples.catalogue import (
    ABSENT,
    Facts,
    facts_of,
    facts_of_object,
    id_of,
    kinds_of,
    merged,
    prefix_of,
)
from gateway.testing.samples.formulas import NotYetError, Pending, at_once, computed, is_formula
from gateway.testing.samples.urls import folder_of

SHOWN_OF_A_LIST = 10
"""So many of a list Stripe puts into an object; `has_more` is true where there are others."""
_A_TOKEN = "token_of_a_sample"  # noqa: S105 - ends an id
_DEEPEST = 8  # objects within objects: what is deeper holds itself

_Holders = tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class SampleObject:
    """What an event of a type holds."""

    object: dict[str, Any]
    previous: dict[str, Any] | None  # previous_attributes


def make_sample(
    event_type: str, scenario: str | None, *, now: int, token: str, livemode: bool = False
) -> SampleObject | None:
    """The object of a snapshot event that happens at `now` (Unix seconds), or the one that a thin event is about. Its
    id ends with `token`. None where the type has no object. Raises UnknownScenarioError.
    """
    text = _sample_text(event_type, scenario, now, livemode)
    return None if text is None else SampleObject(*json.loads(text.replace(_A_TOKEN, token)))


@functools.lru_cache(64)
def _sample_text(event_type: str, scenario: str | None, now: int, livemode: bool) -> str | None:
    """The fields of a SampleObject as JSON: many events of a type are made within a second."""
    names = objects.objects_of(event_type)
    if not names:
        return None
    facts = facts_of(event_type.removeprefix("v1."), scenario)
    sample = make_object(facts.name or names[0], facts.object, now=now, token=_A_TOKEN, livemode=livemode)
    return json.dumps([sample, _previous(facts, sample, now)])


def make_object(
    name: str, facts: Mapping[str, Any] | None = None, *, now: int, token: str, livemode: bool = False
) -> dict[str, Any]:
    """An object of that name. Raises KeyError where Stripe has none."""
    return _Maker(now, token, livemode).whole(name, facts or {})


def make_thin_data(event_type: str, *, now: int) -> dict[str, Any] | None:
    """A thin event's own `data`, as Stripe's API answers it; None where the type has none."""
    fields = objects.data_of(event_type)
    facts = facts_of(event_type).object
    return _Maker(now, "", False).fields(event_type, fields, facts, {}, ()) if fields else None


def _previous(facts: Facts, sample: Mapping[str, Any], now: int) -> dict[str, Any] | None:
    """What the facts say was before."""
    if facts.previous is None:
        return None
    maker = _Maker(now, "", False)
    return {key: maker.settled(value, sample) for key, value in copy.deepcopy(dict(facts.previous)).items()}


class _Maker:
    """Makes one object and all that is in it. `holders` are the objects with names of their own around a value, the
    outermost first.
    """

    def __init__(self, now: int, token: str, livemode: bool) -> None:
        self._now, self._token, self._livemode = now, token, livemode
        self._pending: list[tuple[Any, Any]] = []  # a container and the key of a value in it that is pending

    def whole(self, name: str, facts: Mapping[str, Any]) -> dict[str, Any]:
        prefix = prefix_of(name)
        if self._livemode:
            prefix = prefix.replace("_test_", "_live_")
        own_id = {"id": prefix + self._token} if "id" in objects.fields(name) else {}
        root = self._named(name, {**own_id, **facts}, (), 0)
        while self._pending:
            later = [(container, key) for container, key in self._pending if not _settle(container, key)]
            assert len(later) < len(self._pending), f"{name}: {[container[key].formula for container, key in later]}"
            self._pending = later
        return root

    def settled(self, value: Any, root: Mapping[str, Any]) -> Any:
        """A value outside the object, such as what was before: its formulas are of the object."""
        if is_formula(value):
            soon = at_once(value, self._now)
            return computed(Pending(value[1:], (root,))) if soon is None else soon
        if isinstance(value, dict):
            return {key: self.settled(part, root) for key, part in value.items()}
        return [self.settled(part, root) for part in value] if isinstance(value, list) else value

    def _named(self, name: str, facts: Mapping[str, Any], holders: _Holders, index: int) -> dict[str, Any]:
        """An object with a name of its own; `index` counts those of a list."""
        assert len(holders) < _DEEPEST, f"{name} holds itself"
        fields = objects.fields(name)
        facts = merged(facts_of_object(name), facts)
        start = {"id": _nth(id_of(name), index), "object": name}
        left_out = objects.on_request(name) | {"deleted"}
        fields = {key: field for key, field in fields.items() if key in facts or key not in left_out}
        facts = {key: value for key, value in start.items() if key in fields} | dict(facts)
        into: dict[str, Any] = {}
        return self.fields(name, fields, facts, into, (*holders, into))

    def fields(
        self,
        name: str,
        fields: Mapping[str, FieldType],
        facts: Mapping[str, Any],
        into: dict[str, Any],
        holders: _Holders,
    ) -> dict[str, Any]:
        """Fills `into`: id and object first, the others in the order of the alphabet, as Stripe's reference does."""
        for key in facts:
            if key not in fields:
                raise AssertionError(f"{name} has no field {key}; {did_you_mean(key, fields)}")
        kind = facts.get("type")
        if kind is None and "type" in fields and not fields["type"].is_nullable:
            kind = plain.value("type", fields["type"], self._now)
        left_out = _alternatives(fields, kind, facts) | {key for key, fact in facts.items() if fact == ABSENT}
        for key in sorted(fields.keys() - left_out, key=lambda key: (key != "id", key != "object", key)):
            field = fields[key]
            if key in facts:
                fact = facts[key]
            elif key == "livemode":
                fact = self._livemode
            else:
                fact = None if field.is_nullable and key != kind else plain.UNSAID
            into[key] = self._value(key, field, fact, holders)
            self._note(into, key)
        return into

    def _note(self, container: Any, key: Any) -> None:
        if isinstance(container[key], Pending):
            self._pending.append((container, key))

    def _value(self, key: str, field: FieldType, fact: Any, holders: _Holders, index: int = 0) -> Any:
        if fact is None:
            return None
        if is_formula(fact):
            value = at_once(fact, self._now)
            if value is None:
                return Pending(fact[1:], holders)
            return plain.as_text(value) if field.kind == "datetime" and isinstance(value, int) else value
        is_unsaid = fact is plain.UNSAID
        if field.kind == "list":
            return self._page(key, field, [] if is_unsaid else fact, holders)
        if field.kind == "array":
            return self._items(key, field, [] if is_unsaid else fact, holders)
        if field.kind == "object" or (field.kind == "expandable" and isinstance(fact, dict)):
            return self._object(key, field, {} if is_unsaid else fact, holders, index)
        if field.kind == "expandable" and is_unsaid:
            return id_of(field.objects[0]) if field.objects else f"{key}_1"
        return plain.value(key, field, self._now) if is_unsaid else copy.deepcopy(fact)

    def _object(
        self, key: str, field: FieldType, facts: Mapping[str, Any], holders: _Holders, index: int
    ) -> dict[str, Any]:
        if field.inline is not None:
            return self.fields(key, objects.fields_in(field, is_expanded=True) or {}, facts, {}, holders)
        return self._named(str(facts.get("object", field.objects[0])), facts, holders, index)

    def _page(self, key: str, field: FieldType, fact: Any, holders: _Holders) -> dict[str, Any]:
        """A list as Stripe sends it: the first ten, and whether there are others."""
        written = fact if isinstance(fact, dict) else {"data": fact}
        facts = [written.get("each", {})] * written["count"] if "count" in written else written["data"]
        url = written.get("url") or f"=text {folder_of(holders[-1]['object'])}/{{id}}/{key}"
        page = {
            "object": "list",
            "data": self._items(key, field, facts[:SHOWN_OF_A_LIST], holders),
            "has_more": len(facts) > SHOWN_OF_A_LIST,
            "total_count": len(facts),
            "url": Pending(url[1:], holders) if is_formula(url) else url,
        }
        self._note(page, "url")
        return page

    def _items(self, key: str, field: FieldType, facts: Any, holders: _Holders) -> list[Any]:
        assert field.item is not None
        items: list[Any] = []
        for index, fact in enumerate(facts):
            items.append(self._value(key, field.item, fact, holders, index))
            self._note(items, index)
        return items


def _settle(container: Any, key: Any) -> bool:
    """Puts the value where it was pending; False where it still is."""
    try:
        container[key] = computed(container[key])
    except NotYetError:
        return False
    return True


def _nth(known: str, index: int) -> str:
    """The id of the nth of a list, of the same length."""
    return known if index == 0 else known[: -len(str(index))] + str(index)


def _alternatives(fields: Mapping[str, FieldType], kind: Any, facts: Mapping[str, Any]) -> set[str]:
    """The fields that Stripe leaves out because they are of another `type`, as a card's payment method has no
    `sepa_debit`; and those of a mapping that is nothing but options, such as `payment_method_options`.
    """
    if "type" in fields:
        return kinds_of(fields) - {kind}
    is_all = len(fields) > 1 and all(field.kind == "object" and field.is_nullable for field in fields.values())
    return fields.keys() - facts.keys() if is_all else set()
