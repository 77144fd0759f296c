"""Fetches that cannot be: objects without a place of their own at Stripe, and paths that do not expand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from gateway.config.checks.stripe_fields import ExpressionFault, step
from gateway.config.checks.stripe_held import EventCase, Held, Value, root
from gateway.config.diagnostics.problem import Problem
from gateway.config.yaml.document import Source
from gateway.config.yaml.nodes import Path_
from gateway.core.model import Fetch
from gateway.stripe import event_types, objects

WITHOUT_PLACE = frozenset(
    [
        "application",
        "billing.alert_triggered",
        "cash_balance",
        "customer_cash_balance_transaction",
        "discount",
        "financial_connections.authorization",
        "reserve.hold",
        "reserve.plan",
        "reserve.release",
        "source_mandate_notification",
        "source_transaction",
    ]
)
"""Objects of snapshot events that the `stripe` library cannot retrieve, and that hold no list which could be."""
_UPCOMING = "invoice.upcoming"
_NO_OBJECTS = frozenset(("string", "integer", "amount", "time", "number", "decimal", "datetime", "boolean", "enum"))


def check_fetchable(at: Path_, held: Held, fetch: Fetch, source: Source) -> Iterator[Problem]:
    """What the events of a route bring that cannot be fetched, or not so. `held` is what its condition lets through."""
    if fetch.asks_object:
        yield from _places(at, held, source)
    for i, path in enumerate(fetch.expand):
        where = source.where((*at, "fetch", "expand", i))
        faults = [_expand_fault(path.split("."), case, held) for case in held.cases]
        wrong = [fault for fault in faults if fault is not None]
        if wrong and len(wrong) == len(faults):
            yield Problem(where, wrong[0].message, wrong[0].hint, wrong[0].severity, wrong[0].code)


def _places(at: Path_, held: Held, source: Source) -> Iterator[Problem]:
    kinds = {
        event_type: "an upcoming invoice" if event_type == _UPCOMING else case.names[0]
        for case in held.cases
        for event_type in case.types
        if event_type == _UPCOMING or (WITHOUT_PLACE & set(case.names) and not event_types.is_thin(event_type))
    }
    if not kinds:
        return
    every = {event_type for case in held.cases for event_type in case.types}
    shown = ", ".join(sorted(kinds)[:3]) + (", ..." if len(kinds) > 3 else "")
    names = ", ".join(sorted(set(kinds.values())))
    is_sure = every == set(kinds)
    message = f"{names} cannot be fetched: it has no place of its own at Stripe; a dead letter for each {shown}"
    hint = "take fetch out: the event holds it" if is_sure else f"give {shown} a route without fetch"
    yield Problem(source.where_key((*at, "fetch")), message, hint, "error" if is_sure else "warning", "fetch")


def _expand_fault(path: Sequence[str], case: EventCase, held: Held) -> ExpressionFault | None:
    """Why Stripe would refuse to expand a path of one kind of object."""
    if case.names[0].startswith("v2."):
        return None  # API v2 includes fields; the library does not say which
    every = frozenset(tuple(path[:length]) for length in range(1, len(path) + 1))
    whole = replace(held, expanded=every)
    value: Value | ExpressionFault | None = root(("object",), case.names)
    for key in path:
        if isinstance(value, Value) and value.field.kind == "array":
            value = step(value, 0, case, whole)
        value = step(value, key, case, whole) if isinstance(value, Value) else value
    if isinstance(value, ExpressionFault):
        return value
    if value is None or _expands(value):
        return None
    message = f"{'.'.join(path)} cannot be expanded: it is no id, and there without that"
    return ExpressionFault("fetch", message, "take it out of expand: Stripe refuses the whole fetch", "error")


def _expands(value: Value) -> bool:
    field = value.field.item if value.field.kind == "array" and value.field.item else value.field
    if any(value.path[-1] in objects.on_request(name) for name in value.owner):
        return True
    if field.kind in ("list", "object"):
        return field.is_nullable  # perhaps left out where nobody asks for it
    return field.kind not in _NO_OBJECTS
