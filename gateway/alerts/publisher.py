"""Commits own events to the inbox: through the same store, routes and deliveries as Stripe's."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from structlog.typing import FilteringBoundLogger

from gateway.core.errors import StoreError
from gateway.core.internal_events import OwnEvent
from gateway.core.model import Event, EventState, PlannedDelivery
from gateway.core.tasks import until_stored
from gateway.store.protocol import Store

MOST_WAITING = 10_000  # own events that wait for their commit; what comes then is only counted
KNOWN_SECONDS = 60.0  # what another gateway has told is looked at again after so long
MOST_KNOWN = 1000

Plan = Callable[[Event], tuple[Event, Sequence[PlannedDelivery]]]
"""The event in its right state, and what is owed for it by the configuration in force."""

Ask = Callable[[], Awaitable[Sequence[OwnEvent]]]
"""Finds own events in the store. Raises StoreError."""


class Publisher:
    """One a gateway. What several gateways on one store see is committed once: the same key makes the same id."""

    def __init__(
        self,
        store: Store,
        plan: Plan,
        log: FilteringBoundLogger,
        raised: Callable[[Event], None] = lambda event: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`raised` is told of each that was new to the store."""
        self._store = store
        self._plan = plan
        self._log = log
        self._raised = raised
        self._clock = clock
        self._waiting: asyncio.Queue[OwnEvent | Ask | None] = asyncio.Queue()
        self._known: dict[str, float] = {}  # what lasts and is told already: until when, by the clock
        self._stopping = False
        self.overlooked = 0  # for which there was no room

    def put(self, own: OwnEvent | Ask) -> None:
        """Has an own event committed soon. Never waits."""
        if isinstance(own, OwnEvent) and self._known.get(own.name, 0.0) > self._clock():
            return
        if self._waiting.qsize() >= MOST_WAITING:
            self.overlooked += 1
            if self.overlooked % MOST_WAITING == 1:
                self._log.error("alert.overlooked", count=self.overlooked)
            return
        self._waiting.put_nowait(own)

    async def run(self) -> None:
        """Commits until told to stop, and then what still waits."""
        while (own := await self._waiting.get()) is not None:
            with contextlib.suppress(StoreError):  # it is told to the log, and stopping waits no longer
                await until_stored(partial(self._commit_all, own), self._not_kept, lambda: self._stopping)

    def stop(self) -> None:
        """Has `run` end once all that waits is committed, or the store stays away."""
        self._stopping = True
        self._waiting.put_nowait(None)

    async def _commit_all(self, own: OwnEvent | Ask) -> None:
        """Raises StoreError."""
        for event in [own] if isinstance(own, OwnEvent) else await own():
            await self._commit(event)

    def _not_kept(self, error: StoreError) -> None:
        self._log.error("alert.not_kept", error=str(error))

    async def _commit(self, own: OwnEvent) -> None:
        """Raises StoreError."""
        lasts = own.repeated_seconds
        moment = None if lasts is None else await self._store.mark(own.name, lasts)
        event, planned = self._plan(own.event(moment))
        added = await self._store.add(event, planned)
        if lasts is not None:
            self._remember(own.name, min(lasts, KNOWN_SECONDS) if added.is_duplicate else lasts)
        if added.is_duplicate:
            return
        self._raised(event)
        log = self._log.info if event.state is EventState.ROUTED else self._log.warning
        log(f"alert.{event.state.value}", type=event.type, event_id=event.id, deliveries=len(planned))

    def _remember(self, name: str, seconds: float) -> None:
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        self._known[name] = self._clock() + seconds
