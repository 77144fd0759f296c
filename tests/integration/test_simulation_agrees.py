"""A simulation ends each delivery as a real store and real attempts do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import structlog

from gateway.config.load import Config
from gateway.core.envelope import parse_event
from gateway.core.model import Account, Claim, DeliveryFilter, DeliveryState, Fetch, Lane
from gateway.core.routing import RouteTable
from gateway.delivery.attempt import AttemptContext, run_attempt
from gateway.delivery.resources import Resources
from gateway.intake.planning import intake_of, replan
from gateway.plugin import Action, Context, Settings
from gateway.simulation import Assumed, Simulator
from gateway.store.sqlite.store import SqliteStore
from gateway.testing import make_event
from tests.configs import loaded

NAMES = "abcdef"


def random_routes(rng: Random) -> str:
    """One route whose actions need some of those before them; some are skipped, some are dry runs, some cannot
    be rendered.
    """
    once = "\n    once_per: object.metadata.key" if rng.random() < 0.5 else ""
    lines = [f"routes:\n  r{rng.randrange(10**9)}:\n    events: ['*']{once}\n    actions:"]
    for i, name in enumerate(NAMES):
        needs = [other for other in NAMES[:i] if rng.random() < 0.35]
        condition = rng.choice(["", "", ", if: object.metadata.flag == 'up'", ", if: object.nothing"])
        body = rng.choice(["{{ object.id }}", "{{ object.id }}", "{{ object.nothing }}"])
        dry = rng.choice(["", "", "", ", dry_run: true"])
        lines.append(f"      {name}: {{uses: http_forward, needs: [{', '.join(needs)}]{condition}{dry}, with: {{")
        lines.append(f'        connection: warehouse, body: "{body}"}}}}')
    return "\n".join(lines) + "\n"


class Succeeds(Action[Any]):
    """An action that always does."""

    name: ClassVar[str] = "succeeds"
    Settings: ClassVar[type[Settings]] = Settings

    async def run(self, settings: Any, context: Context) -> Mapping[str, Any] | None:
        """Does nothing."""
        return {}


class NoFetcher:
    """Is never asked: these routes fetch nothing."""

    async def fetch(
        self, claim: Claim, envelope: Mapping[str, Any], account: Account, fetch: Fetch
    ) -> Mapping[str, Any]:
        """Fails."""
        raise AssertionError


async def really(config: Config, store: SqliteStore, envelope: dict[str, Any]) -> dict[str, tuple[str, str | None]]:
    """How the store and attempts end an event's deliveries."""
    event = parse_event(json.dumps(envelope).encode(), "acme", datetime.now(UTC))
    await store.add(event, replan(intake_of(config), event))
    log = structlog.get_logger()
    resources = Resources(lambda *_: True, log)
    actions = dict.fromkeys(config.actions, Succeeds())
    context = AttemptContext(
        replace(config, actions=actions), RouteTable(config.routes), resources, NoFetcher(), Random(0), log
    )
    lanes = {Lane("acme", config.routes[0].name, name): 10 for name in NAMES}
    while claims := await store.claim(lanes, lease_seconds=30):
        for claim in claims:
            await store.finish(claim.delivery.id, claim.token, (await run_attempt(claim, context)).ending)
    await resources.close()
    found = await store.deliveries(DeliveryFilter(event_ids=[event.id]), limit=100)
    return {one.action: (one.state.value, told(one.state, one.reason)) for one in found}


def told(state: DeliveryState, reason: str | None) -> str | None:
    """The reason without ids; a store gives none for what is blocked. Which of several skipped needs is named
    depends on which of them ended first.
    """
    if state is DeliveryState.BLOCKED or reason is None:
        return None
    if reason.startswith("needed action ") and reason.endswith(" was skipped"):
        return "needed action"
    return "once_per" if reason.startswith("once_per: ") and reason.endswith(" has done it") else reason


async def test_a_simulation_ends_each_delivery_as_store_and_attempts_do(tmp_path: Path, store: SqliteStore) -> None:
    seen = set()
    for seed in range(60):
        rng = Random(seed)
        config = loaded(tmp_path, random_routes(rng))
        simulator = Simulator(config)
        for _ in range(3):
            flag = rng.choice(["up", "down"])
            envelope = make_event(object={"metadata": {"flag": flag, "key": f"{seed} {rng.choice('xy')}"}})
            result = await simulator.simulate(
                parse_event(json.dumps(envelope).encode(), "acme", datetime.now(UTC)),
                Assumed(outputs={name: {} for name in NAMES}),
            )
            found = {one.action.name: (one.state.value, told(one.state, one.reason)) for one in result.deliveries}
            assert found == await really(config, store, envelope), f"seed {seed}\n{random_routes(Random(seed))}"
            seen |= {(state, reason.partition(" ")[0] if reason else None) for state, reason in found.values()}
    assert {state for state, _ in seen} == {"succeeded", "skipped", "dead", "blocked"}
    assert {("skipped", "once_per"), ("skipped", "needed"), ("skipped", "its"), ("skipped", "dry")} <= seen
