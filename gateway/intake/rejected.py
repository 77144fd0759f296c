"""Requests that were refused are kept apart, by a writer that no flood can hurry."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from gateway.core.errors import StoreError
from gateway.core.model import RejectedBounds, RejectedRequest
from gateway.core.tasks import within
from gateway.store.protocol import Store

WRITE_SECONDS = 1.0  # between two writes
MOST_IN_A_WRITE = 50
MOST_BYTES_IN_A_WRITE = 1024 * 1024  # or one request, where that is larger
AGE_SECONDS = 600.0  # what is too old goes so often, where nothing is written


class RejectedBatch:
    """What waits for the next write. Where it is full, an address that has more in it makes room for one with less."""

    def __init__(self) -> None:
        self._by_address: dict[str, list[RejectedRequest]] = {}
        self._count = 0
        self._size = 0

    def __bool__(self) -> bool:
        return self._count > 0

    def put(self, request: RejectedRequest) -> bool:
        """Whether there was room for it."""
        while self._count and (self._count >= MOST_IN_A_WRITE or self._size + request.size > MOST_BYTES_IN_A_WRITE):
            most = max(self._by_address.values(), key=len)
            if len(most) <= len(self._by_address.get(request.address, ())) + 1:
                return False
            self._size -= most.pop().size
            self._count -= 1
        self._by_address.setdefault(request.address, []).append(request)
        self._count += 1
        self._size += request.size
        return True

    def take(self) -> list[RejectedRequest]:
        """All of it, in order of arrival; nothing waits afterwards."""
        taken = sorted(
            (one for several in self._by_address.values() for one in several), key=lambda one: one.received_at
        )
        self._by_address, self._count, self._size = {}, 0, 0
        return taken


class Rejections:
    """Keeps rejected requests in the store, at most one small write a second. One a gateway."""

    def __init__(
        self,
        store: Store,
        bounds: Callable[[], RejectedBounds],
        log: FilteringBoundLogger,
        write_seconds: float = WRITE_SECONDS,
    ) -> None:
        self._store = store
        self._bounds = bounds
        self._log = log
        self._write_seconds = write_seconds
        self._waiting = RejectedBatch()
        self._some = asyncio.Event()
        self._stopping = asyncio.Event()
        self.overlooked = 0  # for which there was no room in a write

    def put(self, request: RejectedRequest) -> None:
        """Has a request kept soon. Never waits, and promises nothing: whoever was refused was told so."""
        if self._bounds().requests == 0:
            return
        if self._waiting.put(request):
            self._some.set()
        else:
            self.overlooked += 1

    async def run(self) -> None:
        """Writes until told to stop, and then what still waits."""
        await self._write()
        while not self._stopping.is_set():
            if await within(AGE_SECONDS, self._some):
                await within(self._write_seconds, self._stopping)  # what comes meanwhile shares the write
            await self._write()
        if self._waiting:
            await self._write()

    def stop(self) -> None:
        """Has `run` end soon."""
        self._stopping.set()
        self._some.set()

    async def _write(self) -> None:
        self._some.clear()
        try:
            await self._store.keep_rejected(self._waiting.take(), self._bounds())
        except StoreError as error:  # they are lost, as they were before there was a place to keep them
            self._log.warning("rejected.not_kept", error=str(error))
