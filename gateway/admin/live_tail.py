"""The live tail: one look into the store a second while somebody watches, whoever took the events in."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from structlog.typing import FilteringBoundLogger

from gateway.core.errors import StoreError
from gateway.store.answers import Arrivals
from gateway.store.protocol import Store

LOOK_SECONDS = 1.0
MOST_SHOWN = 30  # of one second; the page says how many more there were
MOST_WATCHERS = 50
MOST_WAITING = 10  # looks that a slow watcher may lag behind before it misses some


class Tail:
    """Looks while there are watchers, and not otherwise."""

    def __init__(self, store: Store, log: FilteringBoundLogger) -> None:
        self._store = store
        self._log = log
        self._watchers: set[asyncio.Queue[Arrivals | None]] = set()
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self._told_of: Arrivals | None = None
        self._told: dict[str, asyncio.Future[bytes]] = {}

    @property
    def is_full(self) -> bool:
        """Whether no further watcher is taken."""
        return len(self._watchers) >= MOST_WATCHERS

    async def watch(self) -> AsyncIterator[Arrivals | None]:
        """What comes in from now on; None about every second where nothing came. Ends at `close`."""
        queue: asyncio.Queue[Arrivals | None] = asyncio.Queue(MOST_WAITING)
        self._watchers.add(queue)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._look(), name="gateway-tail")
        try:
            while not self._closed:
                yield await queue.get()
        finally:
            self._watchers.discard(queue)

    async def told(self, arrivals: Arrivals, words: str, tell: Callable[[], Awaitable[bytes]]) -> bytes:
        """What `tell` makes of arrivals: once for all watchers whose filter has these words, however many they are."""
        if self._told_of is not arrivals:
            self._told_of, self._told = arrivals, {}
        if words not in self._told:
            self._told[words] = asyncio.ensure_future(tell())
        return await asyncio.shield(self._told[words])  # whoever asked first may leave before the others have it

    async def _look(self) -> None:
        cursor: str | None = None
        while self._watchers:
            arrivals: Arrivals | None = None
            try:
                arrived = await self._store.arrivals(cursor, limit=MOST_SHOWN)
                cursor = arrived.cursor
                arrivals = arrived if arrived.events else None
            except StoreError as error:
                self._log.warning("tail.store_failed", error=str(error))
            for queue in list(self._watchers):
                with contextlib.suppress(asyncio.QueueFull):
                    queue.put_nowait(arrivals)
            await asyncio.sleep(LOOK_SECONDS)

    async def close(self) -> None:
        """Sends all watchers away."""
        self._closed = True
        for queue in list(self._watchers):
            with contextlib.suppress(asyncio.QueueFull):
                queue.put_nowait(None)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
