"""What the cases reach: of each route and action, what can happen to it, and which cases make it happen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from gateway.config.action_fields import listed_by
from gateway.config.load import Config
from gateway.core.envelope import parse_json
from gateway.core.errors import TemplateError, Where
from gateway.core.model import NEEDED, DeliveryState, Event, EventState, Expression, Route
from gateway.core.routing import Scope, matching_pattern, scope_of, wants_connected
from gateway.delivery.attempt import NO_LONGER
from gateway.delivery.expiry import EXPIRED
from gateway.simulation.engine import ONCE_PER, REFUSED, UNTIL, SimulatedDelivery, SimulationResult

Kind = Literal["route", "action", "branch"]
WORDS = {
    "matches": "no event reaches it",
    "if true": "its `if` is never true",
    "if false": "its `if` is never false",
    "once_per": "nothing is ever skipped by its once_per",
    "runs": "it never runs",
    "needs": "what it needs never ends otherwise",
    "for_each empty": "its for_each is never empty",
    "for_each": "its for_each never has an element",
    "expires": "it never expires",
    "still_if": "its `still_if` is never false",
    "until": "none of its `until` ever cancels it",
    "refused": "nobody ever refuses it",
    "unanswered": "it never waits for a yes in vain",
}
"""What can happen, and what to say where it never does."""


@dataclass(frozen=True, slots=True)
class Point:
    """One thing that can happen to a route, or to one of its actions."""

    route: str
    action: str | None
    what: str  # one of WORDS
    where: Where

    @property
    def kind(self) -> Kind:
        """What it counts as."""
        return "route" if self.what == "matches" else "action" if self.what == "runs" else "branch"


@dataclass(frozen=True, slots=True)
class Coverage:
    """Every point, in the order of the file, and the cases that reach it."""

    reached: Mapping[Point, tuple[str, ...]]
    disabled: tuple[str, ...] = ()  # routes of which nothing can happen

    @property
    def percent(self) -> float:
        """Of all points, how many are reached; 100 where there are none."""
        return 100.0 * sum(map(bool, self.reached.values())) / len(self.reached) if self.reached else 100.0

    def counted(self, kind: Kind) -> tuple[int, int]:
        """How many of a kind are reached, and how many there are."""
        cases = [names for point, names in self.reached.items() if point.kind == kind]
        return sum(map(bool, cases)), len(cases)


@dataclass(slots=True)
class Seen:
    """What the cases so far have made happen: the names of the cases, by route, action and what."""

    cases: dict[tuple[str, str | None, str], list[str]] = field(default_factory=dict)

    def add(self, name: str, config: Config, results: Sequence[SimulationResult]) -> None:
        """Notes what came of a case's events, the earlier ones too."""
        for result in results:
            for key in _happened(config, result):
                names = self.cases.setdefault(key, [])
                if name not in names:
                    names.append(name)

    def coverage(self, config: Config) -> Coverage:
        """What that is of all that can happen."""
        points = [point for route in config.routes if route.is_enabled for point in points_of(route, config)]
        return Coverage(
            {point: tuple(self.cases.get((point.route, point.action, point.what), ())) for point in points},
            tuple(route.name for route in config.routes if not route.is_enabled),
        )


def points_of(route: Route, config: Config) -> Iterator[Point]:
    """All that can happen to a route and its actions."""
    yield Point(route.name, None, "matches", route.where)
    yield from (Point(route.name, None, what, route.where) for what in _branches_of_if(route.condition))
    if route.once_per is not None and route.digest is None:
        yield Point(route.name, None, "once_per", route.once_per.where)
    for action in route.actions:
        whats = ["runs", *_branches_of_if(action.condition)]
        if action.needs:
            whats.append("needs")
        if _lists(action.uses, config) & set(action.settings.known()):
            whats += ["for_each", "for_each empty"]
        if action.expires_seconds is not None:
            whats.append("expires")
        if action.later is not None and action.later.still_if is not None:
            whats.append("still_if")
        if action.later is not None and action.later.until is not None:
            whats.append("until")
        if action.approve is not None:
            whats += ["refused"] if action.approve.runs_otherwise else ["refused", "unanswered"]
        yield from (Point(route.name, action.name, what, action.where) for what in whats)


def _branches_of_if(condition: Expression | None) -> Sequence[str]:
    return () if condition is None else ("if true", "if false")


def _lists(uses: str, config: Config) -> frozenset[str]:
    return listed_by(config.actions[uses].Settings)


def _happened(config: Config, result: SimulationResult) -> Iterator[tuple[str, str | None, str]]:
    for route in config.routes:
        if route.name in result.routes:
            yield route.name, None, "matches"
        if (holds := _judged(route, config, result.event)) is not None:
            yield route.name, None, f"if {str(holds).lower()}"
    for delivery in result.deliveries:
        for what in _ended(delivery, config):
            yield delivery.route, None if what == "once_per" else delivery.action.name, what


def _judged(route: Route, config: Config, event: Event) -> bool | None:
    """What a route's `if` says of an event; None where it is not asked, or fails."""
    account = config.account(event.account)
    is_asked = (
        account is not None
        and event.state is not EventState.IGNORED
        and (route.accounts is None or account.name in route.accounts)
        and matching_pattern(route, event.type) is not None
        and wants_connected(route, event.connected_account)
    )
    if not is_asked or account is None:
        return None
    return _value(route.condition, scope_of(parse_json(event.body), account, config.vars))


def _value(condition: Expression | None, scope: Scope) -> bool | None:
    try:
        return None if condition is None else bool(condition.evaluate(scope))
    except TemplateError:
        return None


def _ended(delivery: SimulatedDelivery, config: Config) -> Iterator[str]:
    reason = delivery.reason or ""
    is_skipped = delivery.state is DeliveryState.SKIPPED
    if delivery.state is DeliveryState.BLOCKED or (is_skipped and reason.startswith(NEEDED)):
        yield "needs"
    elif is_skipped and reason.startswith(ONCE_PER):
        yield "once_per"
    elif delivery.state is DeliveryState.EXPIRED or reason.startswith(EXPIRED):
        yield "expires"
    elif is_skipped and reason.startswith(NO_LONGER):
        yield "still_if"
    elif delivery.state is DeliveryState.CANCELLED:
        yield "until" if reason.startswith(UNTIL) else "refused" if reason == REFUSED else "unanswered"
    elif delivery.had_attempt:
        if (holds := _value(delivery.action.condition, delivery.scope)) is not None:
            yield f"if {str(holds).lower()}"
        if isinstance(delivery.rendered, Mapping) and delivery.state in (
            DeliveryState.SUCCEEDED,
            DeliveryState.SKIPPED,
        ):
            yield "runs"  # in a dry run too: what would go out is compared all the same
            for name in _lists(delivery.action.uses, config) & delivery.rendered.keys():
                yield "for_each" if delivery.rendered[name] else "for_each empty"
