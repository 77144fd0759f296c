"""What another configuration would have done with the events that are stored: hindsight, before a reload.

Only routes that differ are judged, each event by both configurations, and their actions that are the same are rendered
once; nothing is sent. `fetch` is answered by samples, and what an action returns is not known, as everywhere in a
simulation.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.config.diff import compare
from gateway.config.load import Config
from gateway.core.errors import EnvelopeError
from gateway.core.masking import Maskers
from gateway.core.model import Event, EventFilter
from gateway.core.routing import names
from gateway.privacy.redaction import hidden_in
from gateway.simulation.engine import SimulatedDelivery, Simulator
from gateway.store.protocol import Store

PAGE = 200
SAMPLES = 3  # of each difference of an action


@dataclass(frozen=True, slots=True)
class Judged:
    """What one configuration would do for an event by one action."""

    state: str  # `none`: it owes nothing
    reason: str | None = None
    rendered: Any = None


@dataclass(frozen=True, slots=True)
class DifferenceSample:
    """One event of a difference, as both judge it; masked and redacted."""

    event_id: str
    account: str
    before: Judged
    after: Judged


@dataclass(slots=True)
class ActionDifference:
    """An action of a route, and how its deliveries differ."""

    route: str
    action: str
    same: int = 0
    changes: dict[str, int] = field(default_factory=dict)  # such as `none -> succeeded`, `rendered otherwise`
    samples: dict[str, list[DifferenceSample]] = field(default_factory=dict)


@dataclass(slots=True)
class Hindsight:
    """What came of all events together."""

    routes: tuple[str, ...]  # that differ, and were judged
    events: int = 0  # looked at
    judged: int = 0  # of these, of types that such a route takes before or after
    unreadable: int = 0
    actions: dict[tuple[str, str], ActionDifference] = field(default_factory=dict)

    @property
    def differs(self) -> bool:
        """Whether any delivery does."""
        return any(action.changes for action in self.actions.values())


NONE = Judged("none")
_MATCHING = frozenset({"accounts", "description", "events", "if", "owner"})
"""Keys of a route that say whether it takes an event, and nothing of what becomes of it then."""


def changed_routes(before: Config, after: Config) -> tuple[str, ...]:
    """The routes that may act otherwise: their own text differs, or something that every template may see."""
    changes = compare(before, after)
    every = any(change.kind in ("account", "file") for change in changes) or before.vars != after.vars
    touched = {change.name.partition(".")[0] for change in changes if change.kind in ("route", "action")}
    known = dict.fromkeys(route.name for config in (before, after) for route in config.routes)
    return tuple(name for name in known if every or name in touched)


def alike_actions(before: Config, after: Config) -> frozenset[tuple[str, str]]:
    """The actions, by route and name, that do the same for an event wherever both configurations have it done."""
    changes = compare(before, after)
    is_of_routes = all(change.kind in ("route", "action") for change in changes)
    if not is_of_routes or before.vars != after.vars or before.folder != after.folder:
        return frozenset()
    touched = {change.name for change in changes if change.kind == "action" or not _MATCHING.issuperset(change.keys)}
    return frozenset(
        (route.name, use.name)
        for route in after.routes
        if route.name not in touched
        for use in route.actions
        if f"{route.name}.{use.name}" not in touched
    )


async def look_back(store: Store, before: Config, after: Config, where: EventFilter) -> AsyncIterator[Hindsight]:
    """What has been seen so far, after each page of events, the oldest first. Raises StoreError."""
    routes = changed_routes(before, after)
    sides = [_only(config, routes) for config in (before, after)]
    patterns = {pattern for side in sides for route in side.routes for pattern in route.events}
    simulators = [Simulator(side) for side in sides]
    alike = alike_actions(before, after)
    result = Hindsight(routes)
    cursor: str | None = None
    while True:
        page = await store.event_page(where, limit=PAGE, after=cursor, oldest_first=True)
        result.events += len(page.items)
        wanted = [listed for listed in page.items if any(names(pattern, listed.type) for pattern in patterns)]
        for whole in await asyncio.gather(*(store.event(listed.id, listed.account) for listed in wanted)):
            for event in whole:
                await _judge(event, sides, simulators, alike, result)
        yield result
        if page.next is None:
            return
        cursor = page.next


def _only(config: Config, routes: tuple[str, ...]) -> Config:
    return replace(config, routes=tuple(route for route in config.routes if route.name in routes))


async def _judge(
    event: Event,
    sides: list[Config],
    simulators: list[Simulator],
    alike: Collection[tuple[str, str]],
    result: Hindsight,
) -> None:
    known: dict[tuple[str, str], SimulatedDelivery] = {}
    judged: list[dict[tuple[str, str], Judged]] = []
    for side, simulator in zip(sides, simulators, strict=True):
        if side.account(event.account) is None:
            judged.append({})
            continue
        try:
            simulated = await simulator.simulate(event, delivery_id=f"of {event.id}", alike=known)
        except EnvelopeError:  # such as what was forgotten
            result.unreadable += 1
            return
        deliveries = {(each.route, each.action.name): each for each in simulated.deliveries}
        known = {key: each for key, each in deliveries.items() if key in alike}
        judged.append({key: _judged(each) for key, each in deliveries.items()})
    result.judged += 1
    before, after = judged
    for key in before.keys() | after.keys():
        _compare(event, key, before.get(key, NONE), after.get(key, NONE), sides, result)


def _judged(delivery: SimulatedDelivery) -> Judged:
    return Judged(delivery.state.value, delivery.reason, delivery.rendered)


def _compare(
    event: Event, key: tuple[str, str], before: Judged, after: Judged, sides: list[Config], result: Hindsight
) -> None:
    difference = result.actions.setdefault(key, ActionDifference(*key))
    if before.state != after.state:
        change = f"{before.state} -> {after.state}"
    elif before.rendered != after.rendered:
        change = "rendered otherwise"
    else:
        difference.same += 1
        return
    difference.changes[change] = difference.changes.get(change, 0) + 1
    samples = difference.samples.setdefault(change, [])
    if len(samples) < SAMPLES:
        masked = [_masked(event, judged, side) for judged, side in zip((before, after), sides, strict=True)]
        samples.append(DifferenceSample(event.id, event.account, *masked))


def _masked(event: Event, judged: Judged, config: Config) -> Judged:
    masker = Maskers(config.masker, hidden_in([event], config.redactions.paths))
    reason, rendered = masker.mask(judged.reason), masker.mask(judged.rendered)
    return Judged(judged.state, reason, rendered)


def rows(hindsight: Hindsight) -> list[Mapping[str, Any]]:
    """A row for each action and change, those that differ most first."""
    changes = [
        {"route": action.route, "action": action.action, "change": change, "deliveries": count,
         "samples": [sample.event_id for sample in action.samples[change]]}
        for action in hindsight.actions.values()
        for change, count in action.changes.items()
    ]  # fmt: skip
    return sorted(changes, key=lambda row: (-int(str(row["deliveries"])), str(row["route"]), str(row["action"])))
