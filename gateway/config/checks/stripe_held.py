"""What the events of a route hold, and what its conditions say of that: plain records, and the narrowing of them."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gateway.core.model import Fetch
from gateway.stripe import event_types, objects
from gateway.stripe.objects import FieldType
from gateway.templating.references import Key, written

WITHOUT_ID = frozenset(("invoice.upcoming",))  # types whose object has no id yet
_MOST_OBJECTS = 3  # a glob for more different ones is for any: what some of them lack is not told
ROOTS: tuple[tuple[Key, ...], ...] = (("object",), ("previous",), ("event", "data", "object"))


@dataclass(frozen=True, slots=True)
class EventCase:
    """Events that hold the same object, and what is known of it once conditions have held."""

    names: tuple[str, ...]  # of the object
    types: frozenset[str]  # of event
    is_gone: bool = False  # what is fetched was deleted: nothing but its id is left
    there: frozenset[str] = frozenset()  # paths, as written, that are neither missing nor null
    defined: frozenset[str] = frozenset()  # paths that are not missing
    values: tuple[tuple[str, frozenset[Any]], ...] = ()  # what paths may still be

    def known(self, path: str) -> frozenset[Any] | None:
        """The values that a path may still have; None where nothing is known."""
        return dict(self.values).get(path)

    def with_values(self, path: str, values: frozenset[Any]) -> EventCase:
        """The same once a path is known to be one of these values."""
        return replace(self, values=tuple(sorted({**dict(self.values), path: values}.items())))

    def with_path(self, path: Sequence[Key], *, is_null: bool | None) -> EventCase:
        """The same once a path is known to be there; `is_null`: whether it is null; None: nobody knows."""
        steps = [written(path[:length]) for length in range(1, len(path) + 1)]
        there = steps if is_null is False else steps[:-1]
        return replace(self, there=self.there | set(there), defined=self.defined | set(steps))


@dataclass(frozen=True, slots=True)
class Held:
    """What the events of one route hold."""

    cases: tuple[EventCase, ...]
    is_any: bool  # so many kinds of objects come by a glob that none of them is meant
    is_fetched: bool  # every page of its lists is read
    is_asked: bool  # `object` is what Stripe has now
    expanded: frozenset[tuple[str, ...]]  # paths that `fetch.expand` makes objects of
    api_versions: tuple[str | None, ...]  # that the objects may be of; None: nobody has said which
    for_each: str = ""  # the list whose elements are called item
    is_event_read: bool = False  # a thin event itself is read too, so that event.data is there
    is_intake_of_fetch: bool = False  # of a route that fetches, what its own expressions see

    def of_event(self) -> Held:
        """The same at intake, where nothing has been fetched. A thin event holds nothing but the id of its object."""
        if not self.is_fetched:
            return self
        cases = tuple(case for case in self.cases if not any(map(event_types.is_thin, case.types)))
        return replace(
            self, cases=cases, is_fetched=False, is_asked=False, expanded=frozenset(), is_intake_of_fetch=True
        )


@functools.lru_cache(maxsize=256)
def held_by(patterns: tuple[str, ...], fetch: Fetch | None, api_versions: tuple[str | None, ...]) -> Held | None:
    """What the events hold that the patterns of a route want, the same record for all routes that want the same; None
    where nobody can tell: a type that is not known, an event of the gateway's own, a thin event without its object.
    """
    kinds: dict[tuple[tuple[str, ...], bool, bool], set[str]] = {}
    is_asked = fetch is not None and fetch.asks_object
    for pattern in patterns:
        types = event_types.matches(pattern)
        if not types:
            return None
        for event_type in types:
            names = objects.objects_of(event_type)
            if not names or (event_types.is_thin(event_type) and fetch is None):
                return None
            is_gone, has_id = is_asked and _is_gone(event_type, names), event_type not in WITHOUT_ID
            kinds.setdefault((names, is_gone, has_id), set()).add(event_type)
    is_any = len({names for names, *_ in kinds}) > _MOST_OBJECTS and not all(
        pattern in objects.event_types() for pattern in patterns
    )
    expanded = {tuple(path.split(".")) for path in fetch.expand} if fetch is not None else set()
    every = {path[:length] for path in expanded for length in range(1, len(path) + 1)}
    fetched_version = fetch.api_version if fetch is not None else None
    versions = (fetched_version,) if fetched_version else api_versions or (None,)
    in_order = sorted(kinds.items(), key=lambda kind: min(kind[1]))
    cases = tuple(EventCase(names, frozenset(types), is_gone) for (names, is_gone, _), types in in_order)
    is_event_read = fetch is not None and fetch.asks_event
    return Held(cases, is_any, fetch is not None, is_asked, frozenset(every), versions, is_event_read=is_event_read)


def _is_gone(event_type: str, names: Sequence[str]) -> bool:
    """Whether Stripe has no more than the id of an object, of which the event tells the end."""
    return event_type.endswith(".deleted") and all("deleted" in objects.fields(name) for name in names)


@dataclass(frozen=True, slots=True)
class Value:
    """A value of which the type is known: a field of Stripe's, or what stands for the whole object."""

    field: FieldType
    path: tuple[Key, ...]  # as templates write it; empty where it was computed
    plain: tuple[str, ...] = ()  # the way from the event's object without numbers, as `expand` has it
    owner: tuple[str, ...] = ()  # the names of the last object with a name of its own on the way
    owner_path: tuple[Key, ...] = ()
    below: tuple[str, ...] = ()  # the way from there, without numbers and without the `data` of lists
    at: tuple[int, int] | None = None  # where its last name stands in the text
    is_previous: bool = False
    is_null: bool = False  # may be
    is_cut: bool = False  # a list of which Stripe sends ten at most


def root(path: tuple[Key, ...], names: tuple[str, ...]) -> Value:
    """Stripe's object itself."""
    field = FieldType("object", objects=names)
    return Value(field, path, owner=names, owner_path=path, is_previous=path == ("previous",))


def inside(value: Value, held: Held) -> Mapping[str, FieldType] | None:
    """The fields of a value; None where it has none that are known."""
    is_expanded = held.is_fetched and value.plain in held.expanded
    fields = objects.fields_in(value.field, is_expanded=is_expanded)
    if fields is not None and len(value.field.objects) > 1:
        fields = {name: _of_any(name, fields[name], value.field.objects) for name in fields}
    if fields is not None and held.is_asked and value.path in ROOTS and not value.is_previous:
        return {"deleted": FieldType("boolean"), **fields}  # says whether it is gone by now
    return fields


def _of_any(name: str, field: FieldType, owners: tuple[str, ...]) -> FieldType:
    """A field of what may be any of several objects: where they differ in its type, nobody knows."""
    types = [objects.fields(owner)[name] for owner in owners if name in objects.fields(owner)]
    if len({kind.kind for kind in types}) > 1:
        return FieldType("any")
    return replace(field, values=tuple(dict.fromkeys(value for kind in types for value in kind.values)))


def is_nullable(value: Value, case: EventCase) -> bool:
    """Whether a field may be null in these events, as far as its type, Stripe's documentation and conditions tell."""
    if not value.field.is_nullable or written(value.path) in case.there:
        return False
    field = ".".join(value.below)
    if value.owner_path in ROOTS and all(objects.is_never_null(event_type, field) for event_type in case.types):
        return False
    return not any(_is_ruled_out(name, field, value, case) for name in value.owner)


def _is_ruled_out(name: str, field: str, value: Value, case: EventCase) -> bool:
    rule = objects.null_rule(name, field)
    if rule is None:
        return False
    for key, values in rule.when:
        known = case.known(written((*value.owner_path, key)))
        if rule.is_possible and (known is None or known & values):
            return False
        if not rule.is_possible and known is not None and known <= values:
            return False
    return True
