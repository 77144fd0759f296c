"""Expressions and templates against what Stripe sends: what cannot be there is told before an event comes.

Asked by `gateway check` alone: a gateway that starts or reloads does not load Stripe's objects.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar

from jinja2 import TemplateError, nodes

from gateway.config.checks.stripe_fields import ExpressionFault, item_of
from gateway.config.checks.stripe_guards import assume
from gateway.config.checks.stripe_held import EventCase, Held
from gateway.config.checks.stripe_operations import PRINTED, USES
from gateway.config.checks.stripe_walk import Stretch, Walk
from gateway.templating.analysis import plain_pieces, shape_of
from gateway.templating.references import Key, survey

Parse = Callable[[str, bool], nodes.Node]
"""The syntax tree of a text, or of a bare expression where the second argument says so."""
_NAMES = re.compile(r"\b(?:object|previous|event|item)\b")
_ALL_OF_KIND = frozenset(("stripe-value", "money", "time"))  # told only where it is so for every kind of object
_LONE = re.compile(r"\{\{[^{}]*\}\}")
_MOST_KNOWN = 16  # of one shape
ToldFault = tuple[Stretch, ExpressionFault]
Looked = Mapping[Stretch, str]
T = TypeVar("T")


class StripeCheck:
    """Judges texts. What depends on nothing but the shape of a text, and on some of the words in its quotes, is found
    once for all texts of that shape.
    """

    def __init__(self, parse: Parse) -> None:
        self._parse = parse
        self._trees: dict[tuple[str, bool], nodes.Node | None] = {}
        self._held: dict[Held, Held] = {}
        self._known: dict[int, Held] = {}
        self._kept: list[Held] = []
        self._same: dict[tuple[str, bool, str, int], Sequence[ToldFault]] = {}
        self._told: _Memory[tuple[ToldFault, ...]] = _Memory()
        self._narrowed: _Memory[Held] = _Memory()

    def assuming(self, condition: str | None, held: Held) -> Held:
        """What the events hold for which a condition is true."""
        if condition is None or not _NAMES.search(condition):
            return held
        key = (_shape(condition, True), id(self._one(held)))
        return self._narrowed.get(condition, key, lambda: self._assuming(condition, held))

    def _assuming(self, condition: str, held: Held) -> tuple[Held, Looked]:
        tree = self._tree(condition, True)
        if tree is None:
            return held, {}
        walk = Walk(held, condition, is_quiet=True)
        cases = [assume(tree, True, case, walk) for case in held.cases]
        narrowed = replace(held, cases=tuple(case for case in cases if case is not None))
        return self._one(narrowed), walk.looked_at

    def _one(self, held: Held) -> Held:
        """One record for all that are equal, so that they can be told apart by what they are."""
        known = self._known.get(id(held))
        if known is None:
            known = self._held.setdefault(held, held)
            self._known[id(held)] = known
            self._kept.append(held)  # so that no other gets its id
        return known

    def faults(self, text: str, held: Held, *, is_expression: bool = False, use: str = "") -> Sequence[ToldFault]:
        """What is told of each field that the events of the route cannot have, or have in another form, and where in
        the text it stands.
        """
        held = self._one(held)
        key = (text, is_expression, use, id(held))
        told = self._same.get(key)
        if told is None:
            told = self._same[key] = self._looked_for(text, is_expression, use, held)
        return told

    def _looked_for(self, text: str, is_expression: bool, use: str, held: Held) -> Sequence[ToldFault]:
        if not held.cases or not _NAMES.search(text):
            return ()
        is_one = is_expression or _LONE.fullmatch(text.strip()) is not None
        pieces = None if is_one else plain_pieces(text)
        if pieces is None:
            return self._judged(text, is_expression, use if is_one else _within(use), held)
        return [
            ((start + match.start(), end + match.start()), fault)
            for match in pieces
            for (start, end), fault in self.faults(match[0], held, use=_within(use))
        ]

    def _judged(self, text: str, is_expression: bool, use: str, held: Held) -> tuple[ToldFault, ...]:
        key = (_shape(text, is_expression), is_expression, use, id(held))
        return self._told.get(text, key, lambda: self._judging(text, is_expression, use, held))

    def _judging(self, text: str, is_expression: bool, use: str, held: Held) -> tuple[tuple[ToldFault, ...], Looked]:
        tree = self._tree(text, is_expression)
        if tree is None:
            return (), {}
        tested = survey(tree).tested
        walks = [self._walked(tree, text, tested, use, held, case) for case in held.cases]
        looked_at = {place: word for walk in walks for place, word in walk.looked_at.items()}
        return tuple(_merged(walks, held)), looked_at

    def _tree(self, text: str, is_expression: bool) -> nodes.Node | None:
        key = _shape(text, is_expression), is_expression
        if key not in self._trees:
            try:
                self._trees[key] = self._parse(*key)
            except (TemplateError, RecursionError, ValueError):  # told of elsewhere
                self._trees[key] = None
        return self._trees[key]

    def _walked(
        self, tree: nodes.Node, text: str, tested: frozenset[tuple[Key, ...]], use: str, held: Held, case: EventCase
    ) -> Walk:
        walk = Walk(held, text, use=use, tested=tested)
        if held.for_each:
            each = held.for_each.strip().removeprefix("{{").removesuffix("}}")
            values = Walk(held, each, is_quiet=True).types(self._tree(each, True), case)
            walk.names["item"] = next((item_of(value, ("item",), case) for value in values), None)
        if isinstance(tree, nodes.Template):
            walk.body(tree.body, case)
        else:
            walk.result(tree, case)
        return walk


class _Memory(Generic[T]):
    """What was found of texts, by a key with their shape, and by the words in quotes on which it depends."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], list[tuple[Looked, T]]] = {}

    def get(self, text: str, key: tuple[Any, ...], find: Callable[[], tuple[T, Looked]]) -> T:
        """What is known, or else what `find` brings, with the words that it looked at."""
        known = self._known.setdefault(key, [])
        for looked_at, value in known:
            if all(text[start:end] == word for (start, end), word in looked_at.items()):
                return value
        value, looked_at = find()
        if len(known) < _MOST_KNOWN:
            known.append((looked_at, value))
        return value


def _within(use: str) -> str:
    """The use of what is but a part of a text."""
    return use if use in USES else PRINTED


def _shape(text: str, is_expression: bool) -> str:
    """The same for texts that differ in the words in quotes alone. Quotes in plain text are no such."""
    return shape_of(text) if is_expression or (text.startswith("{{") and "{%" not in text) else text


def _merged(walks: Sequence[Walk], held: Held) -> Iterator[ToldFault]:
    """The faults for each kind of object, told once."""
    for place, code in dict.fromkeys(key for walk in walks for key in walk.faults):
        wrong = [case for case, walk in zip(held.cases, walks, strict=True) if (place, code) in walk.faults]
        reached = sum(1 for walk in walks if place in walk.reached)
        fault = next(walk.faults[place, code] for walk in walks if (place, code) in walk.faults)
        if len(wrong) == reached:
            yield place, fault
        elif not held.is_any and code not in _ALL_OF_KIND:
            yield from _in_some(place, fault, wrong)


def _in_some(place: Stretch, fault: ExpressionFault, wrong: Sequence[EventCase]) -> Iterator[ToldFault]:
    """A fault for some of the objects that come."""
    types = sorted(event_type for case in wrong for event_type in case.types)
    shown = ", ".join(types[:3]) + (", ..." if len(types) > 3 else "")
    if fault.name:
        message = f"{fault.name} is missing in {shown}: a dead letter for each"
        hint = f"say `if: event.type == ...`, or write {fault.name} | default(...)"
        yield place, ExpressionFault("stripe-field", message, hint)
    elif fault.code in ("null", "cut-list", "previous"):
        yield place, replace(fault, message=f"in {shown}, {fault.message}")
