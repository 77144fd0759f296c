"""A lease on what only one of several gateways and commands does at a time."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator

from gateway.core.errors import GatewayError, StoreError
from gateway.store.protocol import Store

LEASE_SECONDS = 10.0  # so long others wait for a holder that was killed


class LeaseLost(GatewayError):  # noqa: N818 - reads as what it is
    """Another may have taken over: whoever held the lease was away for longer than it lasts."""


class Lease:
    """One holder's. It is renewed by itself while it is held."""

    def __init__(self, store: Store, name: str) -> None:
        self.name = name
        self._store = store
        self._holder = secrets.token_hex(8)
        self._until = 0.0  # as far as is known here: never later than the store has it

    @contextlib.asynccontextmanager
    async def held(self) -> AsyncIterator[bool]:
        """Whether it is ours, until the exit. Raises StoreError."""
        if not await self._take():
            yield False
            return
        renewing = asyncio.create_task(self._renew(), name="gateway-lease")
        try:
            yield True
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
            with contextlib.suppress(StoreError):  # it ends by itself
                await self._store.release_lease(self.name, self._holder)

    def check(self) -> None:
        """Raises LeaseLost where it is ours no more."""
        if time.monotonic() >= self._until:
            raise LeaseLost(f"the lease {self.name!r} was lost: another gateway or command goes on")

    async def _take(self) -> bool:
        asked = time.monotonic()
        taken = await self._store.take_lease(self.name, self._holder, lease_seconds=LEASE_SECONDS)
        self._until = asked + LEASE_SECONDS if taken else 0.0
        return taken

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(LEASE_SECONDS / 5)
            with contextlib.suppress(StoreError):  # asked again before it ends
                await self._take()
