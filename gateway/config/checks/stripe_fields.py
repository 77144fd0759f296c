"""One step along a path through Stripe's objects: the value there, or what to say of a step that leads nowhere."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from gateway.config.checks.stripe_held import WITHOUT_ID, EventCase, Held, Value, inside, is_nullable
from gateway.config.diagnostics.problem import Problem, Severity
from gateway.core.errors import Where
from gateway.core.spelling import did_you_mean, nearest
from gateway.stripe import objects
from gateway.stripe.objects import FieldType, Moved
from gateway.templating.references import Key, written

_PYTHON: dict[str, type] = {
    **dict.fromkeys(("string", "enum", "expandable", "decimal", "datetime"), str),
    **dict.fromkeys(("integer", "amount", "time"), int),
    "number": float,
    "boolean": bool,
    "list": dict,
    "object": dict,
    "array": list,
}
_DEEPEST = 4
_LEFT = frozenset(("id", "object", "deleted"))  # of an object that is deleted
_SAID = {
    (name, f"failure_{field}"): f"{error}.{field}"
    for name, error in (("payment_intent", "last_payment_error"), ("setup_intent", "last_setup_error"))
    for field in ("code", "message")
}
"""What charges call otherwise than intents do."""
_UNDOCUMENTED = frozenset([("charge", "destination")])  # in every event, and not in the library
WORDS = {"time": "a Unix time in seconds", "amount": "an integer in the currency's minor unit", "enum": "text",
          "string": "text", "integer": "an integer", "boolean": "true or false", "number": "a number",
          "decimal": "a decimal number as text", "datetime": "a time as text", "expandable": "an id"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ExpressionFault:
    """What is wrong with a part of an expression, for one kind of object."""

    code: str
    message: str
    hint: str | None = None
    severity: Severity = "warning"
    name: str = ""  # what is missing, where something is

    def problem(self, where: Where) -> Problem:
        """The same, at its place in a file."""
        return Problem(where, self.message, self.hint, self.severity, self.code)


def step(
    value: Value, key: Key, case: EventCase, held: Held, rest: Sequence[Key] = ()
) -> Value | ExpressionFault | None:
    """What a name or a number leads to; None where nobody can tell. `rest` is the way from there, for the hint."""
    field, path = value.field, (*value.path, key)
    if path == ("object", "id") and case.types <= WITHOUT_ID:
        message = "object.id is not there: an upcoming invoice has no id yet; a dead letter for each invoice.upcoming"
        return ExpressionFault("stripe-field", message, "write event.id, or object.customer", "error", "object.id")
    if isinstance(key, int):
        if field.kind not in ("array", "list") or field.item is None:
            return None
        return _below(replace(value, field=field.item, path=path, is_cut=False), case)
    fields = inside(value, held)
    if fields is None:
        return _no_fields(value, key, held)
    if key not in fields:
        return (
            None
            if _is_method(field, key) or (*value.owner, key) in _UNDOCUMENTED
            else _unknown(value, key, fields, held, rest)
        )
    if case.is_gone and held.is_asked and value.path == ("object",) and key not in _LEFT:
        message = f"object.{key} is not there: of what was deleted, fetch brings the id alone"
        hint = f"write object.{key} | default(none), or do without fetch: the event holds it"
        return ExpressionFault("fetch", message, hint, "error", f"object.{key}")
    below = value.below if key == "data" and field.kind == "list" else (*value.below, key)
    field = _listed(fields[key], below, value)
    reached = replace(value, field=field, path=path, plain=(*value.plain, key), below=below)
    if _must_be_asked_for(reached, held):
        name = written(path)
        message = f"{name} is not in events: Stripe adds it where it is asked for"
        return ExpressionFault("not-expanded", message, _expand_hint(reached, held), "error", name)
    is_cut = key == "data" and value.field.kind == "list" and not held.is_fetched
    return replace(_below(reached, case), is_cut=is_cut)


def _listed(field: FieldType, below: tuple[str, ...], holder: Value) -> FieldType:
    """A field with the values that it can have, where the documentation alone lists them."""
    for name in holder.owner if field.kind == "string" and len(below) == 1 else ():
        values = objects.documented_values(name).get(below[0])
        if values:
            return replace(field, kind="enum", values=values)
    return field


def item_of(value: Value, path: tuple[Key, ...], case: EventCase) -> Value | None:
    """One element of a list, by the name that a loop gives it."""
    if value.field.item is None:
        return None
    return _below(replace(value, field=value.field.item, path=path, is_cut=False), case)


def _below(reached: Value, case: EventCase) -> Value:
    """The same, with the object that it is, where it has a name of its own, and whether it may be null."""
    nullable = is_nullable(reached, case)
    field = reached.field
    if field.objects and field.kind in ("object", "expandable"):
        return replace(reached, owner=field.objects, owner_path=reached.path, below=(), is_null=nullable)
    return replace(reached, is_null=nullable)


def _must_be_asked_for(value: Value, held: Held) -> bool:
    """Whether objects hold a field only where `expand` names it."""
    if value.plain in held.expanded:
        return False
    key = value.path[-1]
    return value.below == (key,) and any(key in objects.on_request(name) for name in value.owner)


def _expand_hint(value: Value, held: Held) -> str:
    if held.is_intake_of_fetch:
        return "what fetch brings is known in the actions: a route's own expressions are judged from the event alone"
    is_id = value.field.kind == "expandable"
    brings = f"makes it the whole {' or '.join(value.field.objects)}" if is_id else "brings it"
    return f"fetch: {{expand: [{'.'.join(value.plain)}]}} {brings}"


def _no_fields(value: Value, key: str, held: Held) -> ExpressionFault | None:
    """A name below a value that has none: an id, a text, a number."""
    field, before = value.field, written(value.path)
    if field.kind in ("map", "any") or _is_method(field, key):
        return None
    name = written((*value.path, key))
    if field.kind == "expandable":
        below = objects.fields_in(field, is_expanded=True) or {}
        if key not in below:
            message = f"{before} is an id, and what it names has no {key}"
            return ExpressionFault("stripe-field", message, did_you_mean(key, below), "error", name)
        message = f"{before} is an id here: it has no {key}"
        hint = f"{before} is the id itself" if key == "id" else _expand_hint(value, held)
        return ExpressionFault("not-expanded", message, hint, "error", name)
    if field.kind == "array":
        message, hint = f"{before} is a list: it has no {key}", f"{before}[0].{key}, or for_each"
        return ExpressionFault("stripe-field", message, hint, "error", name)
    message = f"{before} is {WORDS.get(field.kind, field.kind)}: it has no {key}"
    return ExpressionFault("stripe-field", message, None, "error", name)


def _unknown(
    value: Value, key: str, fields: Mapping[str, FieldType], held: Held, rest: Sequence[Key]
) -> ExpressionFault | None:
    """A name that an object has not: it moved, or never was."""
    path = (*value.path, key)
    holder = written(value.owner_path)
    for owner in value.owner:
        move = objects.moved(owner).get(".".join((*value.below, key)))
        if move is not None:
            return _moved(path, move, holder, held, _also_asked_for(value, owner, move, held))
    hint = _meant(value, key, fields, holder, rest)
    message = f"{written(value.path)} has no {key} in Stripe's API {objects.api_version()}"
    is_old = any(version is not None and version < objects.OLDEST for version in held.api_versions)
    return ExpressionFault("stripe-field", message, hint, "warning" if is_old else "error", written(path))


def _meant(value: Value, key: str, fields: Mapping[str, FieldType], holder: str, rest: Sequence[Key]) -> str | None:
    """What a name that is not there may stand for: a slip, a field with what comes next, a value, a place deeper."""
    before = written(value.path)
    near = nearest(key, fields)
    around = objects.fields_of_any(value.owner) if value.owner else {}
    if rest:
        if (name := _followed(key, fields, rest)) is not None:
            return f"did you mean {name}?"
        for outer, field in around.items():
            if (name := _followed(key, objects.fields_in(field) or {}, rest)) is not None:
                return f"did you mean {holder}.{outer}.{name}?"
    if near is None or not _is_typo(key, near):
        for name, field in fields.items():
            if key in _listed(field, (*value.below, name), value).values:
                return f"{name} says that: {before}.{name} == '{key}'"
        told = next((_SAID[owner, key] for owner in value.owner if (owner, key) in _SAID), None)
        deeper = told or _deeper(key, around, frozenset[str]().union(*map(objects.on_request, value.owner)))
        if deeper:
            return f"did you mean {holder}.{deeper}?"
    longer = next((name for name in sorted(fields) if name.endswith(f"_{key}")), None) if near is None else None
    return did_you_mean(longer or key, fields)


def _followed(key: str, fields: Mapping[str, FieldType], rest: Sequence[Key]) -> str | None:
    """A field with this word in its name that has what a path goes on with."""
    words = (name for name in sorted(fields) if key in name.split("_"))
    return next((name for name in words if rest[0] in (objects.fields_in(fields[name]) or ())), None)


def _also_asked_for(value: Value, owner: str, move: Moved, held: Held) -> str:
    """The `fetch` that a field's new place takes, where Stripe leaves that out of events too; else nothing."""
    first = (move.where or "").split(".")[0].partition("[")[0]
    plain = (*value.plain, first)
    if value.path != value.owner_path or first not in objects.on_request(owner) or plain in held.expanded:
        return ""
    return f", with fetch: {{expand: [{'.'.join(plain)}]}}"


def _moved(path: tuple[Key, ...], move: Moved, holder: str, held: Held, also: str) -> ExpressionFault | None:
    """A field that newer versions of Stripe's API have elsewhere, or no more."""
    versions = held.api_versions
    if all(version is not None and version < move.version for version in versions):
        return None
    is_sure = all(version is not None and version >= move.version for version in versions)
    hint = move.told(holder) + also
    if not is_sure:
        hint += "; accounts.NAME.api_version says which version an endpoint has"
    message = f"{written(path)} is gone since Stripe's API {move.version}"
    return ExpressionFault("moved", message, hint, "error" if is_sure else "warning", written(path))


def too_new(
    path: tuple[Key, ...], owners: Sequence[tuple[tuple[str, ...], int]], held: Held
) -> tuple[int, ExpressionFault] | None:
    """A field that stands for another one since a version that some of the events may be older than, with how much of
    the path leads to it. `owners` are the objects with names of their own on the way, and how much leads to each.
    """
    told = [version for version in held.api_versions if version is not None]
    for names, length in owners if told else ():
        steps = [(i, key) for i, key in enumerate(path) if i >= length and isinstance(key, str) and key != "data"]
        for name in names:
            for new, moves in objects.newer(name).items():
                if tuple(key for _, key in steps[: len(new)]) != new or all(
                    told_of >= moves[0][1].version for told_of in told
                ):
                    continue
                old, move = _nearest_move(moves, [str(key) for _, key in steps])
                end = steps[len(new) - 1][0] + 1
                is_sure = len(told) == len(held.api_versions) and all(told_of < move.version for told_of in told)
                message = f"{written(path[:end])} is there since Stripe's API {move.version} only"
                hint = f"in {min(told)} it is {written(path[:length])}.{old}"
                severity: Severity = "error" if is_sure else "warning"
                return end, ExpressionFault("moved", message, hint, severity)
    return None


def _nearest_move(moves: list[tuple[str, Moved]], steps: list[str]) -> tuple[str, Moved]:
    """The field that a path stands for, of those that went the same way."""

    def alike(move: tuple[str, Moved]) -> tuple[int, bool]:
        place = [step for step in re.sub(r"\[\d+\]", "", move[1].where or "").split(".") if step != "data"]
        same = sum(1 for step, other in zip(place, steps, strict=False) if step == other)
        return same - abs(len(place) - len(steps)), move[0].endswith(steps[-1])

    return max(moves, key=alike)


def no_number(page: Value, number: Key) -> ExpressionFault:
    """An element of what is no list itself, but a page that has one under `data`."""
    name = written(page.path)
    message = f"{name} is a page of a list: it has no [{number}]"
    return ExpressionFault("stripe-field", message, f"{name}.data[{number}]", "error", f"{name}[{number}]")


def unread(path: tuple[Key, ...]) -> ExpressionFault:
    """A field of a thin event's own data, where the event is as it was posted."""
    message = "event.data is not in thin events: they name their object alone"
    return ExpressionFault(
        "not-expanded", message, "fetch: {event: true} reads the event itself", "error", written(path)
    )


def _is_typo(key: str, near: str) -> bool:
    """Whether a word is so near to another that it is a slip, rather than a word of its own."""
    return (
        sorted(key) == sorted(near)
        or near.startswith(f"{key}_")
        or (abs(len(key) - len(near)) <= 1 and sum(map(str.__ne__, key, near)) <= 2)
    )


def _deeper(key: str, fields: Mapping[str, FieldType], on_request: frozenset[str]) -> str | None:
    """The nearest place below an object where a field of that name stands."""
    left_out = {"payment_method_options", "source", *on_request}  # a source is of the API before payment methods
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
                if inner and name not in left_out and holder.kind != "expandable" and "_error." not in before:
                    below.append((f"{step}.", inner))
        level = below
    return None


def _is_method(field: FieldType, key: str) -> bool:
    """Whether templates may ask a value for this as Python has it, such as `object.id.startswith('x')`."""
    kind = _PYTHON.get(field.kind)
    return kind is not None and kind is not dict and not key.startswith("_") and hasattr(kind, key)
