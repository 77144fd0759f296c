"""One walk through the syntax tree of a text, for events that hold one kind of object: the types of what stands in it,
and what is wrong with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from jinja2 import nodes

from gateway.config.checks import stripe_operations as operations
from gateway.config.checks.stripe_fields import ExpressionFault, item_of, no_number, step, too_new, unread
from gateway.config.checks.stripe_guards import assume
from gateway.config.checks.stripe_held import ROOTS, EventCase, Held, Value, root
from gateway.stripe import objects
from gateway.stripe.event_types import is_thin
from gateway.stripe.objects import FieldType
from gateway.templating.positions import stretch_of
from gateway.templating.references import Key, chain_of, written

Stretch = tuple[int, int]
Types = tuple[Value, ...]
"""What an expression may be; empty where nobody can tell."""
_EVENT = {
    "id": "string", "object": "string", "type": "string", "api_version": "string", "account": "string",
    "created": "time", "livemode": "boolean", "pending_webhooks": "integer",
}  # fmt: skip
_SAME_LIST = frozenset(("list", "reverse", "sort", "unique", "selectattr", "rejectattr", "select", "reject", "batch"))
_ONE_OF_LIST = frozenset(("first", "last", "max", "min", "random"))
_WHOLE_LIST = frozenset(("count", "length", "join", "sum", "tojson", "groupby"))


@dataclass(slots=True)
class Walk:
    """What was met on the way. `reached` are the places that events of this kind come to at all."""

    held: Held
    source: str
    names: dict[str, Value | None] = field(default_factory=dict)  # that loops and `set` made; None: nobody knows what
    use: str = ""  # what becomes of the result; see operations.USES
    tested: frozenset[tuple[Key, ...]] = frozenset()  # paths that the text asks for with `is defined`, anywhere
    faults: dict[tuple[Stretch, str], ExpressionFault] = field(default_factory=dict)
    reached: set[Stretch] = field(default_factory=set)
    looked_at: dict[Stretch, str] = field(default_factory=dict)  # texts in quotes on which it depends
    is_quiet: bool = False

    def say(self, node: nodes.Node, fault: ExpressionFault | None, stretch: Stretch | None = None) -> None:
        """Notes a fault at a node, and that it was looked for."""
        place = stretch or stretch_of_node(node)
        if not self.is_quiet and place is not None:
            self.reached.add(place)
            if fault is not None:
                self.faults.setdefault((place, fault.code), fault)

    def resolve(self, node: nodes.Node, case: EventCase) -> Value | None:
        """The value of a chain of names, without a word on what is wrong with it."""
        was_quiet, self.is_quiet = self.is_quiet, True
        try:
            return next(iter(self.types(node, case)), None)
        finally:
            self.is_quiet = was_quiet

    def path(self, node: nodes.Node | None) -> tuple[Key, ...] | None:
        """Where a chain of names and constant keys leads; None for anything else."""
        names = None if node is None else chain_of(node)
        if names is None:
            return None
        path = names[0]
        meant = self.names.get(str(path[0]))
        return (*meant.path, *path[1:]) if meant is not None and meant.path else path

    def constants(self, node: nodes.Node) -> list[Any] | None:
        """The values of a constant, or of a list of them; None for anything else. Those in quotes are read in the text
        itself: the tree may be of one with other words in them.
        """
        items = node.items if isinstance(node, (nodes.List, nodes.Tuple)) else [node]
        values = []
        for item in items:
            if not isinstance(item, nodes.Const):
                return None
            place = stretch_of(item.lineno)
            if isinstance(item.value, str) and place is not None and place[1] - place[0] == len(item.value) + 2:
                self.looked_at[place] = self.source[slice(*place)]
                values.append(self.looked_at[place][1:-1])
            else:
                values.append(item.value)
        return values

    def assumed(self, test: nodes.Node, is_true: bool, case: EventCase) -> EventCase | None:
        """What is known where a condition is true, or is not; None where it cannot be so."""
        return assume(test, is_true, case, self)

    # -- statements -------------------------------------------------------------------------------------------

    def body(self, parts: Iterable[nodes.Node], case: EventCase | None) -> None:
        """Statements and printed expressions, one after the other; none where no event comes to them."""
        if case is None:
            return
        for part in parts:
            self.statement(part, case)

    def statement(self, node: nodes.Node, case: EventCase) -> None:
        if isinstance(node, nodes.Output):
            for part in node.nodes:
                if not isinstance(part, nodes.TemplateData):
                    self.result(part, case)
        elif isinstance(node, nodes.If):
            self._if(node, case)
        elif isinstance(node, nodes.For):
            self._for(node, case)
        elif isinstance(node, nodes.Assign) and isinstance(node.target, nodes.Name):
            self.names[node.target.name] = next(iter(self.types(node.node, case)), None)
        elif isinstance(node, nodes.Expr):
            self.result(node, case)
        else:
            self._unknown_statement(node, case)

    def result(self, node: nodes.Node, case: EventCase) -> None:
        """An expression that is printed, or is all there is."""
        types = self.types(node, case)
        operations.whole(self, node, types, case)
        if self.use in operations.USES:
            operations.as_result(self, node, types, self.use, case)

    def _if(self, node: nodes.If, case: EventCase) -> None:
        self.types(node.test, case)
        self.body(node.body, self.assumed(node.test, True, case))
        rest = self.assumed(node.test, False, case)
        for branch in node.elif_:
            if rest is None:
                return
            self.types(branch.test, rest)
            self.body(branch.body, self.assumed(branch.test, True, rest))
            rest = self.assumed(branch.test, False, rest)
        self.body(node.else_, rest)

    def _for(self, node: nodes.For, case: EventCase) -> None:
        types = self.types(node.iter, case)
        operations.whole(self, node.iter, types, case)
        before = dict(self.names)
        for target in [node.target] if isinstance(node.target, nodes.Name) else node.target.find_all(nodes.Name):
            name = target.name
            items = (item_of(value, (name,), case) for value in types) if target is node.target else ()
            self.names[name] = next((item for item in items if item is not None), None)
        self.names["loop"] = None
        inner: EventCase | None = case
        if node.test is not None:
            self.types(node.test, case)
            inner = self.assumed(node.test, True, case)
        self.body(node.body, inner)
        self.names = before
        self.body(node.else_, case)

    def _unknown_statement(self, node: nodes.Node, case: EventCase) -> None:
        """Any other: what it makes of names, nobody knows."""
        for name in node.find_all(nodes.Name):
            if name.ctx != "load":
                self.names[name.name] = None
        self.body(node.iter_child_nodes(), case)

    # -- expressions ------------------------------------------------------------------------------------------

    def types(self, node: nodes.Node | None, case: EventCase, *, is_optional: bool = False) -> Types:
        """What an expression may be. `is_optional`: the text copes where it is missing."""
        if node is None:
            return ()
        names = chain_of(node)
        if names is not None:
            return self._chain(node, *names, case, is_optional)
        visit = _VISITS.get(type(node))
        if visit is not None:
            return visit(self, node, case)
        for child in node.iter_child_nodes():
            if isinstance(child, (nodes.Expr, nodes.Pair, nodes.Keyword)):
                self.types(child, case)
        return ()

    def _chain(
        self,
        node: nodes.Node,
        path: tuple[Key, ...],
        stretches: tuple[Stretch, ...],
        case: EventCase,
        is_optional: bool,
    ) -> Types:
        value, length = self._root(path, case)
        if value is None:
            return ()
        owners = [(value.owner, length)]
        for part in range(length, len(path)):
            reached = step(value, path[part], case, self.held, path[part + 1 :])
            if isinstance(path[part], int) and value.field.kind == "list":
                reached = no_number(value, path[part])
            if value.path == ("event", "data") and not self.held.is_event_read:
                reached = unread(path)
            if isinstance(reached, ExpressionFault):
                self.say(node, self._told(reached, path[: part + 1], case, is_optional), stretches[part])
                return ()
            self.say(node, None, stretches[part])
            if reached is None:
                return ()
            value = reached
            if value.owner_path == value.path:
                owners.append((value.owner, part + 1))
        if not is_optional and path not in self.tested and written(path) not in case.defined:
            new = too_new(path, owners, self.held)
            if new is not None:
                self.say(node, new[1], stretches[new[0] - 1])
        self._previous(node, path, stretches, case, is_optional)
        is_null = value.is_null and written(value.path) not in case.there  # a name keeps what it was when it was set
        return (replace(value, at=stretches[-1], is_null=is_null),)

    def _root(self, path: tuple[Key, ...], case: EventCase) -> tuple[Value | None, int]:
        """What a path begins with, and how much of it leads there."""
        first = str(path[0])
        if first in self.names:
            return self.names[first], 1
        for known in ROOTS:
            if path[: len(known)] == known:
                return root(known, case.names), len(known)
        if path[:2] == ("event", "data") and len(path) > 2 and all(map(is_thin, case.types)):
            return self._data(case), 2
        kind = _EVENT.get(str(path[1])) if first == "event" and len(path) == 2 else None
        if kind is None:
            return None, 0
        return Value(FieldType(kind), path), 2  # type: ignore[arg-type]  # one of the table's

    def _data(self, case: EventCase) -> Value | None:
        """A thin event's own data."""
        fields = [objects.event_data(event_type) for event_type in sorted(case.types)]
        if len(fields) != 1 or fields[0] is None:
            return None
        return Value(fields[0], ("event", "data"), owner_path=("event", "data"))

    def _told(
        self, fault: ExpressionFault, path: tuple[Key, ...], case: EventCase, is_optional: bool
    ) -> ExpressionFault | None:
        """A fault as it is told of a path that the text may cope without."""
        if path == ("object", "data") and any(map(is_thin, case.types)):
            fault = replace(fault, hint="what the event says stands in event.data, with fetch: {event: true}")
        if path[0] == "previous" and not any(kind.endswith(".updated") for kind in case.types):
            return None
        if not is_optional and path not in self.tested and written(path) not in case.defined:
            return fault
        return (
            None
            if fault.code in ("moved", "fetch") or fault.name == "object.id"
            else replace(fault, severity="warning", name="")
        )  # provided for both

    def _previous(
        self,
        node: nodes.Node,
        path: tuple[Key, ...],
        stretches: tuple[Stretch, ...],
        case: EventCase,
        is_optional: bool,
    ) -> None:
        """A field of `previous` that most updates do not have."""
        if path[0] != "previous" or len(path) < 2 or is_optional or written(path[:2]) in case.defined:
            return
        if path[:2] in self.tested or path in self.tested or any(asked[:2] == path[:2] for asked in self.tested):
            return
        name = written(path[:2])
        message = f"{name} is there only where this very field has changed: a dead letter for every other update"
        self.say(
            node,
            ExpressionFault("previous", message, f"write {name} is defined and ..., or {name} | default(...)"),
            stretches[1],
        )

    def _getattr(self, node: nodes.Node, case: EventCase) -> Types:
        """A step from what is no plain path, such as `(object.items.data | first).price`."""
        assert isinstance(node, (nodes.Getattr, nodes.Getitem))
        key: Key | None = node.attr if isinstance(node, nodes.Getattr) else None
        before = self.types(node.node, case)
        if isinstance(node, nodes.Getitem):
            self.types(node.arg, case)
            if isinstance(node.arg, nodes.Slice):
                return before
            key = node.arg.value if isinstance(node.arg, nodes.Const) else 0  # any of them
        if not isinstance(key, (str, int)):
            return ()
        reached = [step(value, key, case, self.held) for value in before]
        for fault in reached:
            if isinstance(fault, ExpressionFault):
                self.say(node, fault)
        return tuple(value for value in reached if isinstance(value, Value))

    def _filter(self, node: nodes.Node, case: EventCase) -> Types:
        assert isinstance(node, nodes.Filter)
        if node.name in ("default", "d"):
            return self._default(node, case)
        types = self.types(node.node, case)
        for argument in (*node.args, *(keyword.value for keyword in node.kwargs)):
            self.types(argument, case)
        if node.name in operations.FILTERS:
            operations.FILTERS[node.name](self, node, types, case)
            return ()
        if node.name == "map":
            return operations.mapped(self, node, types, case)
        if node.name in _ONE_OF_LIST:
            items = (item_of(value, (), case) for value in types)
            return tuple(item for item in items if item is not None)
        if node.name in _WHOLE_LIST:
            operations.whole(self, node, types, case)
        return types if node.name in _SAME_LIST else ()

    def _default(self, node: nodes.Filter, case: EventCase) -> Types:
        """What is missing becomes the first argument; with `true` as the second, null and what is empty too."""
        types = self.types(node.node, case, is_optional=True)
        for argument in node.args:
            self.types(argument, case)
        second = [*node.args[1:2], *(keyword.value for keyword in node.kwargs if keyword.key == "boolean")]
        if any(isinstance(part, nodes.Const) and part.value for part in second):
            types = tuple(replace(value, is_null=False) for value in types)
            return (*types, *(self.types(node.args[0], case) if node.args else ()))
        return types

    def _conditional(self, node: nodes.Node, case: EventCase) -> Types:
        assert isinstance(node, nodes.CondExpr)
        self.types(node.test, case)
        holds, fails = self.assumed(node.test, True, case), self.assumed(node.test, False, case)
        return (
            *(self.types(node.expr1, holds) if holds is not None else ()),
            *(self.types(node.expr2, fails) if fails is not None else ()),
        )

    def _and(self, node: nodes.Node, case: EventCase) -> Types:
        assert isinstance(node, nodes.And)
        self.types(node.left, case)
        holds = self.assumed(node.left, True, case)
        return self.types(node.right, holds) if holds is not None else ()

    def _or(self, node: nodes.Node, case: EventCase) -> Types:
        """The first that is something: what it is then is not null."""
        assert isinstance(node, nodes.Or)
        left = tuple(replace(value, is_null=False) for value in self.types(node.left, case))
        fails = self.assumed(node.left, False, case)
        return (*left, *(self.types(node.right, fails) if fails is not None else ()))

    def _test(self, node: nodes.Node, case: EventCase) -> Types:
        assert isinstance(node, nodes.Test)
        self.types(node.node, case, is_optional=node.name in ("defined", "undefined"))
        for argument in node.args:
            self.types(argument, case)
        return ()

    def _compare(self, node: nodes.Node, case: EventCase) -> Types:
        assert isinstance(node, nodes.Compare)
        sides = [self.types(node.expr, case), *(self.types(operand.expr, case) for operand in node.ops)]
        operations.compared(self, node, sides)
        return ()

    def _arithmetic(self, node: nodes.Node, case: EventCase) -> Types:
        operands = (node.node,) if isinstance(node, nodes.UnaryExpr) else (node.left, node.right)  # type: ignore[attr-defined]
        types = [self.types(operand, case) for operand in operands]
        for operand, several in zip(operands, types, strict=True):
            operations.counted_with(self, operand, several)
        return operations.sum_of(types)


def stretch_of_node(node: nodes.Node) -> Stretch | None:
    """Where the last name of a chain, or what stands for any other node, is."""
    names = chain_of(node)
    if names is not None:
        return names[1][-1]
    if isinstance(node, nodes.Filter) and node.node is not None:
        return stretch_of_node(node.node)
    return stretch_of(node.lineno)


_VISITS: Mapping[type[nodes.Node], Callable[[Walk, nodes.Node, EventCase], Types]] = {
    nodes.Getattr: Walk._getattr,
    nodes.Getitem: Walk._getattr,
    nodes.Call: operations.called,
    nodes.Filter: Walk._filter,
    nodes.CondExpr: Walk._conditional,
    nodes.And: Walk._and,
    nodes.Or: Walk._or,
    nodes.Test: Walk._test,
    nodes.Compare: Walk._compare,
    **dict.fromkeys(
        (nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Pow, nodes.Neg, nodes.Pos),
        Walk._arithmetic,
    ),
}
