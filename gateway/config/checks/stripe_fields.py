"""Fields in expressions and templates against what Stripe sends: what cannot be there is told before an event comes.

Asked by `gateway check` alone: a gateway that starts or reloads does not load Stripe's objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from gateway.config.diagnostics.problem import Problem, Severity
from gateway.core.model import Fetch
from gateway.core.spelling import did_you_mean, nearest
from gateway.stripe import event_types, objects
from gateway.stripe.objects import FieldType, Moved
from gateway.templating.references import Key, Locate, Reference, written

_PYTHON: dict[str, type] = {
    **dict.fromkeys(("string", "enum", "expandable", "decimal", "datetime"), str),
    **dict.fromkeys(("integer", "amount", "time"), int),
    "number": float,
    "boolean": bool,
    "list": dict,
    "object": dict,
    "array": list,
}
_MOST_OBJECTS = 3  # a route for more different ones is for any: what some of them lack is not told
_DEEPEST = 4
WORDS = {"time": "a Unix time in seconds", "amount": "an integer in the currency's minor unit", "enum": "text",
          "string": "text", "integer": "an integer", "boolean": "true or false", "number": "a number",
          "decimal": "a decimal number as text", "datetime": "a time as text"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Held:
    """What the events of one route hold: the fields of `object`, by type."""

    fields: Mapping[str, Mapping[str, FieldType]]
    names: Mapping[str, tuple[str, ...]]  # of the objects, by type
    expanded: frozenset[tuple[str, ...]]  # paths that `fetch.expand` makes objects of
    tells_types_apart: bool  # something in the route asks for the event's type
    api_versions: tuple[str | None, ...]  # that the objects may be of; None: nobody has said which

    @property
    def is_one_kind(self) -> bool:
        """Whether so few kinds of objects come that each is meant."""
        return len({id(fields) for fields in self.fields.values()}) <= _MOST_OBJECTS


def held_by(
    patterns: Sequence[str], fetch: Fetch | None, tells_types_apart: bool, api_versions: Iterable[str | None]
) -> Held | None:
    """What the events hold that the patterns of a route want; None where nobody can tell: a type that is not known, an
    event of the gateway's own, a thin event without its object.
    """
    known: dict[str, Mapping[str, FieldType]] = {}
    named: dict[str, tuple[str, ...]] = {}
    for pattern in patterns:
        types = event_types.matches(pattern)
        if not types:
            return None
        for event_type in sorted(types):
            names = objects.objects_of(event_type)
            if not names or (event_types.is_thin(event_type) and fetch is None):
                return None
            named[event_type], known[event_type] = names, objects.fields_of_any(names)
    expanded = {tuple(path.split(".")) for path in fetch.expand} if fetch is not None else set()
    every = {path[:length] for path in expanded for length in range(1, len(path) + 1)}
    fetched_version = fetch.api_version if fetch is not None else None
    versions = (fetched_version,) if fetched_version else tuple(dict.fromkeys(api_versions)) or (None,)
    return Held(known, named, frozenset(every), tells_types_apart, versions)


def impossible_fields(references: tuple[Reference, ...], held: Held, locate: Locate) -> Iterator[Problem]:
    """A problem for each field that the events of the route cannot have, or that they have in another form."""
    for reference in references:
        skipped = root_length(reference.path)
        if skipped is None or len(reference.path) <= skipped:
            continue
        is_previous = reference.path[0] == "previous"
        fault = _fault(reference, skipped, held, is_previous)
        if fault is not None:
            yield Problem(locate(reference, fault.part), fault.message, fault.hint, fault.severity, fault.code)
        elif is_previous and not reference.is_optional:
            name = f"previous.{reference.path[1]}"
            yield Problem(
                locate(reference, 1),
                f"{name} is there only where this very field has changed: a dead letter for every other update",
                f"write {name} is defined and ..., or {name} | default(...)",
                "warning",
                "previous",
            )


@dataclass(frozen=True, slots=True)
class _Fault:
    part: int  # of the path
    message: str
    hint: str | None
    severity: Severity
    code: str


def root_length(path: tuple[Key, ...]) -> int | None:
    """How much of a path leads to Stripe's object; None where it does not."""
    if path[0] in ("object", "previous"):
        return 1
    if path[:3] == ("event", "data", "object"):
        return 3
    return None


def _fault(reference: Reference, skipped: int, held: Held, is_previous: bool) -> _Fault | None:
    faults = {
        event_type: _walk(reference.path, skipped, held.names[event_type], fields, held)
        for event_type, fields in held.fields.items()
        if not (is_previous and not event_type.endswith(".updated"))
    }
    wrong = {event_type: fault for event_type, fault in faults.items() if fault is not None}
    if not wrong:
        return None
    first = next(iter(wrong.values()))
    if len(wrong) == len(faults):
        if not reference.is_optional:
            return first
        return None if first.code == "moved" else replace(first, severity="warning")  # both versions are provided for
    if reference.is_optional or held.tells_types_apart or not held.is_one_kind:
        return None
    shown = ", ".join(sorted(wrong)[:3]) + (", ..." if len(wrong) > 3 else "")
    name = written(reference.path[: first.part + 1])
    hint = f"say `if: event.type == ...`, or write {name} | default(...)"
    return _Fault(first.part, f"{name} is missing in {shown}: a dead letter for each", hint, "warning", "stripe-field")


def _walk(
    path: tuple[Key, ...], skipped: int, names: tuple[str, ...], fields: Mapping[str, FieldType], held: Held
) -> _Fault | None:
    """Follows a path through one object."""
    field: FieldType | None = None
    inside: Mapping[str, FieldType] | None = fields
    plain: list[str] = []  # the path without the numbers, as `expand` has it
    holder = _Holder(names, skipped, fields)
    for part in range(skipped, len(path)):
        key = path[part]
        if isinstance(key, int):
            if field is None or field.kind not in ("array", "list"):
                return None
            field = field.item
            holder = holder.below(field, part)
            inside = None if field is None else objects.fields_in(field, is_expanded=tuple(plain) in held.expanded)
            continue
        if inside is None:
            return _no_fields(path, part, field, plain)
        if key not in inside:
            return None if _is_method(field or FieldType("object"), key) else _unknown(path, part, inside, holder, held)
        field = inside[key]
        plain.append(key)
        holder = holder.below(field, part)
        inside = objects.fields_in(field, is_expanded=tuple(plain) in held.expanded)
    return None


def _no_fields(path: tuple[Key, ...], part: int, field: FieldType | None, plain: Sequence[str]) -> _Fault | None:
    """A name below a value that has none: an id, a text, a number."""
    key = path[part]
    if field is None or field.kind in ("map", "any") or _is_method(field, str(key)):
        return None
    before = written(path[:part])
    if field.kind == "expandable":
        below = objects.fields_in(field, is_expanded=True) or {}
        if key not in below:
            return _Fault(part, f"{before} is an id, and what it names has no {key}", did_you_mean(str(key), below),
                          "error", "stripe-field")  # fmt: skip
        hint = f"fetch: {{expand: [{'.'.join(plain)}]}} makes it the whole {field.objects[0] if field.objects else key}"
        return _Fault(part, f"{before} is an id here: it has no {key}", hint, "error", "not-expanded")
    if field.kind == "array":
        return _Fault(part, f"{before} is a list: it has no {key}", f"{before}[0].{key}, or for_each", "error",
                      "stripe-field")  # fmt: skip
    return _Fault(
        part, f"{before} is {WORDS.get(field.kind, field.kind)}: it has no {key}", None, "error", "stripe-field"
    )


@dataclass(frozen=True, slots=True)
class _Holder:
    """The last object with a name of its own on the way, and how much of the path leads to it."""

    names: tuple[str, ...]
    length: int
    fields: Mapping[str, FieldType]

    def below(self, field: FieldType | None, part: int) -> _Holder:
        """The holder once the way has gone through a field."""
        if field is None or not field.objects or field.kind not in ("object", "expandable"):
            return self
        return _Holder(field.objects, part + 1, objects.fields_in(field, is_expanded=True) or {})


def _unknown(
    path: tuple[Key, ...], part: int, inside: Mapping[str, FieldType], holder: _Holder, held: Held
) -> _Fault | None:
    """A name that an object has not: it moved, or never was."""
    key = str(path[part])
    below = ".".join(step for step in path[holder.length : part + 1] if isinstance(step, str) and step != "data")
    moves = [objects.moved(name).get(below) for name in holder.names]
    before = written(path[:part])
    for move in moves:
        if move is not None:
            return _moved(path, part, move, written(path[: holder.length]), held)
    near = nearest(key, inside)
    deeper = None if near is not None and _is_typo(key, near) else _deeper(key, holder.fields)
    hint = f"did you mean {written(path[: holder.length])}.{deeper}?" if deeper else did_you_mean(key, inside)
    message = f"{before} has no {key} in Stripe's API {objects.api_version()}"
    is_old = any(version is not None and version < objects.OLDEST for version in held.api_versions)
    return _Fault(part, message, hint, "warning" if is_old else "error", "stripe-field")


def _moved(path: tuple[Key, ...], part: int, move: Moved, holder: str, held: Held) -> _Fault | None:
    """A field that newer versions of Stripe's API have elsewhere, or no more."""
    versions = held.api_versions
    if all(version is not None and version < move.version for version in versions):
        return None
    is_sure = all(version is not None and version >= move.version for version in versions)
    hint = move.told(holder)
    if not is_sure:
        hint += "; accounts.NAME.api_version says which version an endpoint has"
    message = f"{written(path[: part + 1])} is gone since Stripe's API {move.version}"
    return _Fault(part, message, hint, "error" if is_sure else "warning", "moved")


def _is_typo(key: str, near: str) -> bool:
    """Whether a word is so near to another that it is a slip, rather than a word of its own."""
    return sorted(key) == sorted(near) or (abs(len(key) - len(near)) <= 1 and sum(map(str.__ne__, key, near)) <= 2)


def _deeper(key: str, fields: Mapping[str, FieldType]) -> str | None:
    """The nearest place below an object where a field of that name stands."""
    level: list[tuple[str, Mapping[str, FieldType]]] = [("", fields)]
    for _ in range(_DEEPEST):
        below: list[tuple[str, Mapping[str, FieldType]]] = []
        for before, names in level:
            if before and key in names:
                return before + key
            for name, field in names.items():
                step, holder = f"{before}{name}", field
                if field.kind in ("list", "array") and field.item is not None:
                    step, holder = f"{step}.data[0]" if field.kind == "list" else f"{step}[0]", field.item
                inner = objects.fields_in(holder)
                if inner and name != "payment_method_options" and holder.kind != "expandable":
                    below.append((f"{step}.", inner))
        level = below
    return None


def _is_method(field: FieldType, key: str) -> bool:
    """Whether templates may ask a value for this as Python has it, such as `object.id.startswith('x')`."""
    kind = _PYTHON.get(field.kind)
    return kind is not None and kind is not dict and not key.startswith("_") and hasattr(kind, key)
