"""Deliveries during whose last attempt the gateway died. It may have died of one of them, and nobody knows of which:
so the last attempt that each may have is made while no other such one is claimed here, and none is dead for another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.config.load import Config
from gateway.core.model import Claim, Released, is_by_death
from gateway.core.routing import RouteTable

WAITS = "its gateway died during its last attempt; one at a time has the attempt that is left"
SHORTEST_SECONDS = 0.1


class Suspects:
    """Those of one gateway."""

    def __init__(self, config: Callable[[], tuple[Config, RouteTable]]) -> None:
        self._config = config
        self._running: str | None = None  # the delivery that has its last attempt

    def apart(
        self, claims: Sequence[Claim], seconds_of: Callable[[Claim], float]
    ) -> tuple[list[Claim], list[tuple[Claim, Released]]]:
        """Those of the claims that may run now, and the others, which are to be handed back first: each so late that
        those before it may have run by then, where one takes `seconds_of`.
        """
        now: list[Claim] = []
        later: list[tuple[Claim, Released]] = []
        for claim in claims:
            if not self._is_last(claim):
                now.append(claim)
            elif self._running is None:
                self._running = claim.delivery.id
                now.append(claim)
            else:
                wait = (len(later) + 1) * max(SHORTEST_SECONDS, seconds_of(claim))
                later.append((claim, Released(WAITS, wait)))
        return now, later

    def _is_last(self, claim: Claim) -> bool:
        delivery = claim.delivery
        if not is_by_death(delivery.last_error):
            return False
        route = self._config()[1].by_name.get(delivery.route)
        action = None if route is None else route.action(delivery.action)
        return action is not None and delivery.attempts == action.retry.attempts

    def ended(self, claim: Claim) -> None:
        """It has ended, or was handed back."""
        if claim.delivery.id == self._running:
            self._running = None
