"""What disturbs simulated gateways: kills, standstills, reloads, clocks that are set, destinations that change."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from tests.simulate.config import CONNECTIONS
from tests.simulate.destinations import MANNERS, NASTY

if TYPE_CHECKING:
    from tests.simulate.scenario import Scenario

DAY = 86400.0


async def _kill(scenario: Scenario) -> None:
    process = scenario.someone().process
    process.after = scenario.rng.randrange(0, 400)


async def _kill_at_answer(scenario: Scenario) -> None:
    scenario.doomed.add(scenario.someone().name)


async def _freeze(scenario: Scenario) -> None:
    process = scenario.someone().process
    if process.is_frozen or process.is_dead:
        return
    scenario.ledger.tell(f"{process.name} is frozen")
    scenario.ledger.excuse_all()
    process.is_frozen = True
    await asyncio.sleep(scenario.rng.choice((2.0, 30.0, 90.0, 150.0)))
    scenario.ledger.excuse_all()
    scenario.ledger.tell(f"{process.name} goes on")
    scenario.loop.thaw(process)


async def _reload(scenario: Scenario) -> None:
    gateway = scenario.someone()
    if not gateway.process.is_dead:
        scenario.loop.start(gateway.process, gateway.reload(scenario.rng.choice((0, 1, 1, 2))))


async def _manners(scenario: Scenario) -> None:
    connection = scenario.rng.choice(CONNECTIONS)
    manners = (*MANNERS, *NASTY) if scenario.rng.random() < 0.2 else MANNERS
    chosen = tuple(scenario.rng.choices(manners, k=3))
    scenario.destinations.manners[connection] = chosen
    scenario.ledger.tell(f"{connection} from now on: {', '.join(chosen)}")


async def _stripe(scenario: Scenario) -> None:
    scenario.stripe.is_away = not scenario.stripe.is_away


async def _clock(scenario: Scenario) -> None:
    ahead = scenario.rng.choice((-3600.0, -40.0, 40.0, 3600.0, 2 * DAY, 4 * DAY))
    scenario.ledger.tell(f"the store's clock is set by {ahead:g} s")
    scenario.ledger.excuse_all()
    scenario.server_ahead += ahead
    scenario.ledger.later.clock_is_set(scenario.server_ahead)
    if not scenario.is_shared:
        scenario.gateways[0].process.clock_ahead += ahead
    await asyncio.sleep(scenario.rng.choice((20.0, 200.0)))
    scenario.ledger.excuse_all()
    scenario.ledger.tell("the store's clock is set right")
    scenario.server_ahead -= ahead
    scenario.ledger.later.clock_is_set(scenario.server_ahead)
    if not scenario.is_shared:
        scenario.gateways[0].process.clock_ahead = scenario.server_ahead


DISTURBANCES: tuple[Callable[[Scenario], Awaitable[None]], ...] = (
    _kill, _kill_at_answer, _freeze, _reload, _manners, _manners, _manners, _stripe, _clock,
)  # fmt: skip
