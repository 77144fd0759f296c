"""What a seed would do, action by action, with nothing sent or stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.config.load import Config
from gateway.core.masking import Maskers
from gateway.core.model import ActionUse, DeliveryState, Event, Route
from gateway.intake.backfill.seeding import WRITES_ROWS, still_owed
from gateway.intake.planning import intake_of
from gateway.privacy.redaction import hidden_in
from gateway.simulation.engine import Assumed, Simulator
from gateway.simulation.explain import ExplainedRoute, explain
from gateway.store.protocol import Store

SAMPLES = 3
HELD = "held for a yes"
_DOES: Mapping[str, str] = {
    "email": "send {} mails",
    "slack": "post {} Slack messages",
    "notify": "send {} notifications",
    "http_forward": "make {} requests",
    "http_request": "make {} requests",
    "publish": "publish {} messages",
    "stripe_call": "write {} times at Stripe",
    "db_upsert": "write rows {} times",
    "db_execute": "run its statement {} times",
    "db_query": "read {} times",
}


@dataclass(slots=True)
class ActionPreview:
    """How the deliveries of one action would end."""

    action: str
    uses: str
    states: Counter[str] = field(default_factory=Counter)
    dead: str | None = None  # why the first one would be dead

    @property
    def acts(self) -> int:
        """How many would be asked to act, as far as can be told."""
        return self.states[DeliveryState.SUCCEEDED] + self.states[DeliveryState.PENDING]

    @property
    def words(self) -> str:
        """What it would do."""
        return "would " + _DOES.get(self.uses, "run {} times").format(f"{self.acts:,}")


@dataclass(slots=True)
class SeedPreview:
    """What came of all objects together."""

    types: Counter[str] = field(default_factory=Counter)  # of those for which something is owed
    known: int = 0  # all was owed for them before
    unwanted: int = 0  # the route's `if` is false for them
    actions: dict[str, ActionPreview] = field(default_factory=dict)
    samples: list[ExplainedRoute] = field(default_factory=list)
    sampled: list[str] = field(default_factory=list)  # the ids of the objects of the samples


def reaching_out(route: Route) -> list[ActionUse]:
    """The actions of a route that do more than write rows."""
    return [action for action in route.actions if action.uses not in WRITES_ROWS]


class SeedSimulator:
    """Simulates the objects of a seed, one after the other, by a configuration that has the one route."""

    def __init__(self, config: Config, route: Route, store: Store) -> None:
        self._config = replace(config, routes=(route,))
        self._route = route
        self._store = store
        self._intake = intake_of(self._config)
        self._simulator = Simulator(self._config)
        actions = {action.name: ActionPreview(action.name, action.uses) for action in route.actions}
        self.preview = SeedPreview(actions=actions)

    async def take(self, event: Event, done: frozenset[str]) -> None:
        """One event that a seed would bring, and the actions that were owed for it before. Raises StoreError."""
        preview = self.preview
        event, planned = self._intake.route(event)
        if not planned:
            preview.unwanted += 1
            return
        owed = still_owed(self._route, planned, done)
        if not owed:
            preview.known += 1
            return
        preview.types[event.type] += 1
        keys: Sequence[str] = [delivery.once_key for delivery in owed if delivery.once_key is not None]
        assumed = Assumed(done_once=await self._store.done_once(keys) if keys else {})
        if len(preview.samples) < SAMPLES:
            preview.samples += await explain(self._config, event, assumed)
            preview.sampled.append(f"{event.type} of {event.object_id}")
        names = {delivery.action for delivery in owed}
        result = await self._simulator.simulate(event, assumed, delivery_id=f"of {event.id}")
        for delivery in result.deliveries:
            if delivery.action.name in names:
                action = preview.actions[delivery.action.name]
                is_held = delivery.state is DeliveryState.PENDING and delivery.unknown is None
                action.states[HELD if is_held else delivery.state.value] += 1
                if delivery.state is DeliveryState.DEAD and action.dead is None:
                    action.dead = self._masked(event, delivery.reason)

    def _masked(self, event: Event, reason: str | None) -> Any:
        return Maskers(self._config.masker, hidden_in([event], self._config.redactions.paths)).mask(reason)
