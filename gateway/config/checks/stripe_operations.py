"""What templates do with Stripe's values, and what cannot come right: amounts, times, null, lists that are cut."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from jinja2 import nodes

from gateway.config.checks.stripe_fields import WORDS, ExpressionFault, step
from gateway.config.checks.stripe_held import EventCase, Held, Value, inside, root
from gateway.config.checks.stripe_values import may_equal, mismatch, never_equal
from gateway.stripe import objects
from gateway.stripe.objects import FieldType
from gateway.templating.references import written

if TYPE_CHECKING:
    from gateway.config.checks.stripe_walk import Types, Walk

_NUMBERS = frozenset(("integer", "amount", "time", "number"))
_ORDERINGS = frozenset(("gt", "lt", "gteq", "lteq"))
_NO_TIME = frozenset(("amount", "boolean", "enum", "expandable", "object", "list", "array", "map"))
_MAPPING_METHODS = frozenset(("get", "items", "keys", "values"))
_SETTLED = ("balance_transaction",)  # in the currency of the balance, whatever the customer has paid in


def shown(value: Value) -> str:
    """A value as messages call it."""
    return written(value.path) if value.path else "the value"


def may_be_null(value: Value, what_then: str, hint: str) -> ExpressionFault | None:
    """A warning where a value may be null."""
    if not value.is_null:
        return None
    return ExpressionFault("null", f"{shown(value)} may be null: {what_then}", hint)


def counted_with(walk: Walk, node: nodes.Node, types: Types) -> None:
    """An operand of arithmetic."""
    for value in types:
        name = shown(value)
        walk.say(node, may_be_null(value, "null cannot be counted with, a dead letter", f"write ({name} or 0)"))


def sum_of(types: Sequence[Types]) -> Types:
    """What arithmetic on these brings: an amount where one of them is an amount."""
    kinds = [value for several in types for value in several]
    if not kinds or not all(value.field.kind in _NUMBERS for value in kinds):
        return ()
    amount = next((value for value in kinds if value.field.kind == "amount"), None)
    return () if amount is None else (replace(amount, is_null=False),)


def compared(walk: Walk, node: nodes.Compare, sides: Sequence[Types]) -> None:
    """A comparison that says the same whatever comes, or that fails on null."""
    for i, operand in enumerate(node.ops):
        left, right = (node.expr if i == 0 else node.ops[i - 1].expr), operand.expr
        is_within = operand.op in ("in", "notin")
        items = tuple(
            replace(value, field=value.field.item) for value in sides[i + 1] if value.field.item and is_within
        )
        pairs = ((left, sides[i], right), (right, items if is_within else sides[i + 1], left))
        for side, types, other in pairs:
            if operand.op in _ORDERINGS:
                for value in types:
                    hint = f"write ({shown(value)} or 0)"
                    walk.say(side, may_be_null(value, "null cannot be compared so, a dead letter", hint))
            if types:
                _constants_compared(walk, operand.op, types, other)
        if sides[i] and sides[i + 1] and not is_within:
            walk.say(left, never_equal(sides[i], sides[i + 1]))


def _constants_compared(walk: Walk, operator: str, types: Types, other: nodes.Node) -> None:
    """A value beside constants: each that it cannot be is told at its own place."""
    items = other.items if isinstance(other, (nodes.List, nodes.Tuple)) else [other]
    for item in items:
        if not isinstance(item, nodes.Const) or may_equal(types, item.value):
            continue
        for constant in walk.constants(item) or ():
            walk.say(item, mismatch(types, operator, constant, walk.held))


# -- lists ----------------------------------------------------------------------------------------------------


def whole(walk: Walk, node: nodes.Node, types: Types, case: EventCase) -> None:
    """A list that is taken as a whole."""
    for value in types:
        if not value.is_cut or case.known(f"{written(value.path[:-1])}.has_more") == frozenset((False,)):
            continue
        path = written(value.path[:-1]) if value.path else "a list"
        fetched = "" if value.is_previous else "fetch: true brings them all"  # what was, fetch does not tell
        more = f"{path}.has_more says whether there are more" if value.path else ""
        walk.say(
            node,
            ExpressionFault(
                "cut-list",
                f"Stripe sends the first ten of {path} at most: the others are not in the event",
                "; ".join(filter(None, (fetched, more))) or None,
            ),
        )


def mapped(walk: Walk, node: nodes.Filter, types: Types, case: EventCase) -> Types:
    """`map(attribute='price.id')`: a list of what that is in each."""
    named = next((keyword.value for keyword in node.kwargs if keyword.key == "attribute"), None)
    attribute = (walk.constants(named) or [None])[0] if named is not None else None
    if not isinstance(attribute, str):
        return ()
    brought: list[Value] = []
    for value in types:
        item: Value | ExpressionFault | None = step(replace(value, is_cut=False), 0, case, walk.held)
        for key in attribute.split("."):
            item = step(item, int(key) if key.isdigit() else key, case, walk.held) if isinstance(item, Value) else item
        if isinstance(item, ExpressionFault):
            walk.say(named or node, item)
        elif item is not None:
            brought.append(replace(item, field=FieldType("array", item=item.field), path=(), is_cut=value.is_cut))
    return tuple(brought)


def called(walk: Walk, node: nodes.Node, case: EventCase) -> Types:
    """`object.get('name', otherwise)`, which copes where the field is missing; of other calls nothing is known."""
    assert isinstance(node, nodes.Call)
    called = node.node
    others = tuple(kind for part in node.args[1:] for kind in walk.types(part, case))
    if not isinstance(called, nodes.Getattr) or called.attr not in _MAPPING_METHODS:
        for part in (called, *node.args[:1]):
            walk.types(part, case)
        return ()
    walk.types(called.node, case)
    key = (walk.constants(node.args[0]) or [None])[0] if called.attr == "get" and node.args else None
    if not isinstance(key, str):
        return ()
    field = nodes.Getitem(called.node, nodes.Const(key), "load", lineno=node.args[0].lineno)
    types = walk.types(field, case, is_optional=True)
    may_miss = len(node.args) == 1
    return (
        *(replace(value, is_null=value.is_null or (may_miss and value.is_previous)) for value in types),
        *others,
    )


# -- money and times ------------------------------------------------------------------------------------------


def _money(walk: Walk, node: nodes.Filter, types: Types, case: EventCase) -> None:
    """`amount | money(currency)`."""
    assert node.node is not None
    for value in types:
        name = shown(value)
        form = f"write {name} | money(...) if {name} is not none else ..."
        walk.say(node.node, may_be_null(value, "money takes no null, a dead letter", form))
        walk.say(node.node, _no_amount(value))
    argument = node.args[0] if node.args else next((word.value for word in node.kwargs if word.key == "currency"), None)
    if argument is None or isinstance(argument, nodes.Const):
        return
    for currency in walk.types(argument, case):
        hint = f"write {shown(currency)} | default('usd', true)"
        walk.say(argument, may_be_null(currency, "money takes no null, a dead letter", hint))
        if currency.field.kind not in ("string", "enum", "any"):
            kind = WORDS.get(currency.field.kind, "no text")
            walk.say(argument, ExpressionFault("money", f"{shown(currency)} is {kind}: no currency", None, "error"))
            continue
        for value in types:
            walk.say(argument, _other_currency(value, currency, case, walk.held))


def _no_amount(value: Value) -> ExpressionFault | None:
    kind = value.field.kind
    if kind in ("amount", "any"):
        return None
    name = shown(value)
    message = f"{name} is {WORDS.get(kind, 'no number')}: no amount in the currency's minor unit"
    amount = name.removesuffix("_decimal") if name.endswith("_decimal") else None
    hint = f"did you mean {amount}?" if amount else None
    return ExpressionFault("money", message, hint, "warning" if kind in ("integer", "number") else "error")


def _other_currency(value: Value, currency: Value, case: EventCase, held: Held) -> ExpressionFault | None:
    """An amount beside the currency of another one: of the presentment, of the merchant, of the settlement."""
    if not value.path or not currency.path or value.field.kind != "amount":
        return None
    right = _currency_of(value, case, held)
    if right is None:
        return None
    if right[-1] == currency.path[-1] and (value.owner == _SETTLED) is (currency.owner == _SETTLED):
        return None
    message = f"{written(value.path)} is in {written(right)}, not in {written(currency.path)}"
    return ExpressionFault("money", message, f"write money({written(right)})")


def _currency_of(value: Value, case: EventCase, held: Held) -> tuple[Any, ...] | None:
    """The path of the currency that an amount is in: beside it, or around it within the same object."""
    prefix = str(value.path[-1]).partition("amount")[0]
    if value.path[: len(value.owner_path)] != value.owner_path:
        return None
    start = root(value.owner_path, value.owner)
    holders, reached = [start], start
    for key in value.path[len(value.owner_path) : -1]:
        following = step(reached, key, case, held)
        if not isinstance(following, Value):
            break
        reached = following
        holders.append(reached)
    for holder in reversed(holders):
        fields = inside(holder, held) or {}
        names = [name for name in fields if name.endswith("currency") and fields[name].kind in ("string", "enum")]
        for name in (f"{prefix}currency", "currency", *(names if len(names) == 1 else ())):
            if name in names:
                return (*holder.path, name)
    return None


def _time(walk: Walk, node: nodes.Filter, types: Types, case: EventCase) -> None:
    """`x | timestamp`, `x | datetime(...)`."""
    assert node.node is not None
    for value in types:
        name = shown(value)
        form = f"write {name} | timestamp if {name} else none"
        if node.name == "datetime":
            form = f"write {name} | datetime(...) if {name} else ''"
        walk.say(node.node, may_be_null(value, f"{node.name} takes no null, a dead letter", form))
        kind = value.field.kind
        if kind in _NO_TIME:
            walk.say(
                node.node,
                ExpressionFault("time", f"{name} is {WORDS.get(kind, 'no number')}: no time", None, "error"),
            )
        elif kind in ("integer", "number"):
            walk.say(node.node, ExpressionFault("time", f"{name} is {WORDS[kind]}: no time as far as Stripe says"))


FILTERS: Mapping[str, Callable[[Walk, nodes.Filter, Types, EventCase], None]] = {
    "money": _money,
    "timestamp": _time,
    "datetime": _time,
}


# -- results --------------------------------------------------------------------------------------------------


PRINTED = "printed"  # the use of what is no value of its own: a part of a longer text
_NULL_IN: Mapping[str, tuple[str, str]] = {
    "to": ("a dead letter, for nobody is written to", "say `if: {0}`"),
    "key": ("a dead letter, for null names no row", "say `if: {0}`, or take an id that is always there"),
    "at": ("a dead letter, for nobody knows when it is to act", "say `if: {0}` on the route"),
    "same": ("no event can cancel the action then", "take a field that is always there"),
    "once_per": ("such an event has no key, and acts whatever others did", "write {0} or object.id"),
    "order_by": ("such an event has no key, and waits for no other", "write {0} or object.id"),
}
USES = frozenset((*_NULL_IN, PRINTED))


def as_result(walk: Walk, node: nodes.Node, types: Types, use: str, case: EventCase) -> None:
    """What an expression brings, where null would be a dead letter, or a key that strangers share. `use` is the key in
    gateway.yaml that it stands under, or PRINTED.
    """
    if use == PRINTED:
        _printed(walk, node, types, case)
        return
    if isinstance(node, (nodes.List, nodes.Tuple, nodes.Concat)):
        is_text = isinstance(node, nodes.Concat)
        then = "null cannot be joined to a text, a dead letter" if is_text else "all events without it share a key"
        for item in node.nodes if isinstance(node, nodes.Concat) else node.items:
            value = walk.resolve(item, case)
            if value is not None:
                walk.say(item, may_be_null(value, then, f"write {shown(value)} or object.id"))
        return
    then, hint = _NULL_IN[use]
    for value in types:
        walk.say(node, may_be_null(value, then, hint.format(shown(value))), value.at)


def _printed(walk: Walk, node: nodes.Node, types: Types, case: EventCase) -> None:
    """What is printed within a text. Told of fields alone that everyday events have null in: most of Stripe's nullable
    ones hold a value in whatever a shop receives.
    """
    parts = node.nodes if isinstance(node, nodes.Concat) else ()
    for value in (*types, *(value for part in parts if (value := walk.resolve(part, case)) is not None)):
        if any(objects.is_often_null(owner, ".".join(value.below)) for owner in value.owner):
            hint = f"write {shown(value)} | default('...', true)"
            walk.say(node, may_be_null(value, "a text cannot print null, a dead letter", hint), value.at)
