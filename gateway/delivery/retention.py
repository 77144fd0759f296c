"""Purges old events in steps so small, and so far apart, that neither intake nor deliveries wait for them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from random import Random

from structlog.typing import FilteringBoundLogger

from gateway.errors import StoreError
from gateway.settings.schema import StoreSettings
from gateway.store.base import Store

PERIOD_SECONDS = 3600.0
FIRST_SECONDS = 300.0  # the first run begins within so long of the start, at a random moment: gateways spread
STEP_EVENTS = 40  # with three deliveries each: some 5 ms of the event loop
BUSY_SHARE = 0.1  # a purge takes at most so much of the store's time
SHORTEST_REST_SECONDS = 0.02


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
    ) -> None:
        self._store = store
        self._settings = settings
        self._log = log
        self._rng = rng or Random()  # noqa: S311 - spreads runs, guards nothing
        self._sleep = sleep

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
        start = time.monotonic()
        events = deliveries = attempts = 0
        cursor: int | None = 0
        while cursor is not None:
            asked_at = time.monotonic()
            step = await self._store.purge(
                retention_seconds=settings.retention,
                dead_retention_seconds=settings.dead_retention,
                cursor=cursor,
                limit=STEP_EVENTS,
            )
            events, deliveries, attempts = events + step.events, deliveries + step.deliveries, attempts + step.attempts
            cursor = step.cursor
            if cursor is not None:
                took = time.monotonic() - asked_at
                await self._sleep(max(SHORTEST_REST_SECONDS, took * (1 / BUSY_SHARE - 1)))
        self._log.info(
            "retention.purged",
            events=events,
            deliveries=deliveries,
            attempts=attempts,
            seconds=round(time.monotonic() - start, 1),
        )
