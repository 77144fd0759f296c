"""Purges old events in steps so small, and so far apart, that neither intake nor deliveries wait for them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from random import Random

from structlog.typing import FilteringBoundLogger

from gateway.config.schema.store import StoreSettings
from gateway.core.errors import StoreError
from gateway.store.answers import Purged
from gateway.store.protocol import Store

PERIOD_SECONDS = 3600.0
FIRST_SECONDS = 300.0  # the first run begins within so long of the start, at a random moment: gateways spread
STEP_ROWS = 280  # events, deliveries and attempts of one step: some 5 ms of the event loop
FEWEST_EVENTS, FIRST_EVENTS, MOST_EVENTS = 20, 40, 100  # of one step
REST_SECONDS = 0.03  # between steps: more than a thousand events a second go, so that a purge keeps up with what comes
QUICK_SECONDS = 0.05  # what a step takes beyond that is a store in trouble, which is let alone for ...
PATIENCE = 9  # times as long, ...
LONGEST_REST_SECONDS = 1.0  # but no longer than that


class Retention:
    """One a gateway. `run` until cancelled."""

    def __init__(
        self,
        store: Store,
        settings: Callable[[], StoreSettings],
        log: FilteringBoundLogger,
        *,
        rng: Random | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._settings = settings
        self._log = log
        self._rng = rng or Random()  # noqa: S311 - spreads runs, guards nothing
        self._sleep = sleep
        self._monotonic = monotonic

    async def run(self) -> None:
        """Purges once an hour. A store that is away is told to the log; the next run begins where it can."""
        await self._sleep(self._rng.uniform(0, FIRST_SECONDS))
        while True:
            try:
                await self.purge()
            except StoreError as error:
                self._log.error("retention.failed", error=str(error))
            await self._sleep(PERIOD_SECONDS * self._rng.uniform(0.9, 1.1))

    async def purge(self) -> None:
        """One whole run, told in one line of the log. Raises StoreError."""
        settings = self._settings()
        start = self._monotonic()
        events = deliveries = attempts = 0
        cursor: int | None = 0
        limit = FIRST_EVENTS
        while cursor is not None:
            asked_at = self._monotonic()
            step = await self._store.purge(
                retention_seconds=settings.retention,
                dead_retention_seconds=settings.dead_retention,
                cursor=cursor,
                limit=limit,
            )
            events, deliveries, attempts = events + step.events, deliveries + step.deliveries, attempts + step.attempts
            cursor = step.cursor
            limit = next_limit(step)
            if cursor is not None:
                took = self._monotonic() - asked_at
                await self._sleep(min(LONGEST_REST_SECONDS, max(REST_SECONDS, (took - QUICK_SECONDS) * PATIENCE)))
        self._log.info(
            "retention.purged",
            events=events,
            deliveries=deliveries,
            attempts=attempts,
            seconds=round(self._monotonic() - start, 1),
        )


def next_limit(step: Purged) -> int:
    """How many events the next step may look at, for as many rows as a step may have."""
    if not step.events:
        return FIRST_EVENTS
    rows_an_event = (step.events + step.deliveries + step.attempts) / step.events
    return max(FEWEST_EVENTS, min(MOST_EVENTS, int(STEP_ROWS / rows_an_event)))
