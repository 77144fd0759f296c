"""What may come after `object.` in a draft: the fields of what the events of some types hold, and those that moved."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gateway.stripe import event_types, objects
from gateway.stripe.objects import FieldType

MOST = 60  # completions of one word
_MOST_TYPES = 40  # of event, that globs may name
_MOST_VALUES = 4  # of a field, that a note names
_TYPED = re.compile(r"(?:event\.data\.object|object|previous)((?:\.\w+|\[\d+\])*)\.(\w*)")
_OF_LISTS = re.compile(r"\.data\b|\[\d+\]")
_DEEPEST = 2
_STEP = re.compile(r"\.(\w+)|\[\d+\]")


@dataclass(frozen=True, slots=True)
class Completion:
    """One way to go on."""

    name: str  # what stands in the place of the word that is being typed
    type: str
    note: str  # that it may be null, what an id expands into, where it is now; may be empty


def complete(patterns: Sequence[str], typed: str) -> list[Completion]:
    """The ways to go on from `object.lines.data[0].am`, in events of these types or globs; none where nobody knows."""
    path = _TYPED.fullmatch(typed)
    types = sorted(set().union(*map(event_types.matches, patterns)))[:_MOST_TYPES] if patterns else []
    names = tuple(dict.fromkeys(name for event_type in types for name in objects.objects_of(event_type)))
    if path is None or not names:
        return []
    inside: Mapping[str, FieldType] | None = objects.fields_of_any(names)
    field: FieldType | None = None
    for step in _STEP.finditer(path[1]):
        field = (inside or {}).get(step[1]) if step[1] else field.item if field is not None else None
        if field is None:
            return []
        names = field.objects if field.kind in ("object", "expandable") else ()
        inside = objects.fields_in(field, is_expanded=True)
    return list(_starting(inside or {}, names, path[2]))[:MOST]


def near_fields(event_type: str) -> list[Completion]:
    """What the events of a type hold, as templates write it, down to the second level below `object`; an invoice has
    seven thousand fields below that. Nothing where nobody knows.
    """
    return [
        Completion(f"object.{place.path}", place.type.kind, _note(place.type))
        for name in objects.objects_of(event_type)
        for place in objects.every_path(name)
        if _OF_LISTS.sub("", place.path).count(".") < _DEEPEST
    ]


def _starting(inside: Mapping[str, FieldType], names: Iterable[str], word: str) -> Iterable[Completion]:
    """Names that begin with the word, then names with the word in them, then what moved."""
    known = sorted((name for name in inside if word in name), key=lambda name: (not name.startswith(word), name))
    for name in known:
        yield Completion(name, inside[name].kind, _note(inside[name]))
    for owner in names:
        for path, move in objects.moved(owner).items():
            if path.startswith(word) and "." not in path and move.where is not None:
                yield Completion(move.where, "moved", f"{path} until Stripe's API {move.version}")


def _note(field: FieldType) -> str:
    notes = ["may be null"] if field.is_nullable else []
    if field.kind == "expandable":
        notes.append(f"an id; fetch expands it to {' or '.join(field.objects)}")
    if field.values:
        more = ", ..." if len(field.values) > _MOST_VALUES else ""
        notes.append(", ".join(map(str, field.values[:_MOST_VALUES])) + more)
    return "; ".join(notes)
