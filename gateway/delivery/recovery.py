"""Looks every few seconds whether a destination that was away is there again: then its connection's pause ends."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from structlog.typing import FilteringBoundLogger

from gateway.config.load import Config
from gateway.core.errors import StoreError, place_of
from gateway.core.model import ConnectionState
from gateway.core.routing import RouteTable
from gateway.core.tasks import cancel
from gateway.delivery.circuit_breaker import waits_for_destination, was_unreached
from gateway.delivery.connection_health import Connections
from gateway.delivery.resources import Resources
from gateway.plugin import Action, ConnectionSettings, Reject, Retry, Unreached

LOOK_SECONDS = 3.0  # between two looks at most; a third less at least, so that gateways do not look in step
BOUND_SECONDS = 4.0  # of one look, which stands in Action.is_reached
TICK_SECONDS = 0.5
MOST_DOUBLINGS = 8


class Recovery:
    """One a gateway. Each looks by itself at what it knows to rest: that is one connection every few seconds."""

    def __init__(
        self,
        connections: Connections,
        config: Callable[[], tuple[Config, RouteTable]],
        resources: Resources,
        log: FilteringBoundLogger,
    ) -> None:
        self._connections = connections
        self._config = config
        self._resources = resources
        self._log = log
        self._tasks: dict[str, asyncio.Task[None]] = {}  # by the connection that rests
        self._ended: dict[str, int] = {}  # whose pause was ended by a look, with how many pauses had been by then
        self._doublings: dict[str, int] = {}  # of the time between two looks, where looks have misled
        self._faulty: set[str] = set()  # whose look failed by a fault of the action itself: said once

    async def run(self) -> None:
        """Until it is cancelled."""
        is_first = True
        try:
            while True:
                try:
                    if is_first or self._connections.at_rest():  # where nothing rests, the store is not asked
                        await self._connections.refresh()
                        is_first = False
                except StoreError as error:
                    self._log.error("connection.not_looked_at", error=str(error))
                for name in {status.name for status in self._connections.at_rest()} - self._tasks.keys():
                    self._tasks[name] = task = asyncio.create_task(self._watch(name), name=f"look at {name}")
                    task.add_done_callback(partial(self._gone, name))
                await asyncio.sleep(TICK_SECONDS)
        finally:
            await cancel(*self._tasks.values())

    def _gone(self, name: str, _: asyncio.Task[None]) -> None:
        del self._tasks[name]

    async def _watch(self, name: str) -> None:
        """Looks at one connection until it rests no more."""
        status = self._connections.status(name)
        self._doublings[name] = doublings(status.pauses, self._ended.pop(name, None), self._doublings.get(name, 0))
        was_away = False  # at a look: else what failed may be no matter of reaching it
        refusals = 0  # looks in a row at somebody who is there and refuses, such as a login: ever rarer
        while True:
            rarer = 2 ** min(self._doublings[name] + refusals, MOST_DOUBLINGS)
            await asyncio.sleep(LOOK_SECONDS * random.uniform(2 / 3, 1) * rarer)  # noqa: S311
            status = self._connections.status(name)
            if not waits_for_destination(status):
                if status.state is ConnectionState.WORKING and status.pauses:  # another gateway's look has ended it
                    self._ended[name] = status.pauses
                return
            config, _ = self._config()
            settings = config.connections.get(name)
            actions = _able(config, name)
            if settings is None or settings.breaker is None or not actions:
                continue
            is_reached = await self._is_reached(config, name, settings, actions)
            refusals = 0 if is_reached is not None else refusals + 1
            if is_reached is None:
                continue
            if not is_reached:
                was_away = True
            elif was_away or was_unreached(status):
                try:
                    if await self._connections.reached(status, settings.breaker):
                        self._ended[name] = status.pauses
                        return
                except StoreError as error:
                    self._log.error("connection.not_recorded", connection=name, error=str(error))

    async def _is_reached(
        self, config: Config, name: str, settings: ConnectionSettings, actions: Collection[Action[Any]]
    ) -> bool | None:
        """What each action that works on a connection says; None: it is there, and refuses."""
        try:
            async with asyncio.timeout(BOUND_SECONDS):
                for action in actions:
                    async with self._resources.use(action, name, settings, str(config.folder)) as resource:
                        if not await action.is_reached(settings, resource):
                            return False
        except (Unreached, OSError):
            return False
        except (Retry, Reject):
            return None
        except Exception as error:
            if name not in self._faulty:
                self._faulty.add(name)
                self._log.warning(
                    "connection.look_failed", connection=name, error=type(error).__name__, place=place_of(error)
                )
            return False
        return True


def doublings(pauses: int, ended_at: int | None, before: int) -> int:
    """How often the time between looks is doubled: once more where a look ended a pause, the `ended_at`th in a row, and
    no delivery has got through since, which would have had them counted anew.
    """
    return min(before + 1, MOST_DOUBLINGS) if ended_at is not None and pauses > ended_at else 0


def _able(config: Config, name: str) -> set[Action[Any]]:
    """The actions that routes have on a connection and that can look at it."""
    used = {use.uses for route in config.routes for use in route.actions if use.connection == name}
    actions = {config.actions[uses] for uses in used}
    return {action for action in actions if type(action).is_reached is not Action.is_reached}
