"""Leases: of the deliveries that this gateway has claimed, and on what only one gateway or command does at a time. Each
is renewed in time, and given up before another may have it.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from gateway.core.errors import GatewayError, StoreError
from gateway.core.model import Claim
from gateway.core.tasks import background
from gateway.store.protocol import Store

LEASE_SECONDS = float(os.environ.get("GATEWAY_INTERNAL_LEASE_SECONDS", "60"))  # internal: for fault tests alone
RENEW_SECONDS = LEASE_SECONDS / 3
MARGIN_SECONDS = LEASE_SECONDS / 30  # an attempt whose lease cannot be renewed is cut off so long before it ends
NAMED_LEASE_SECONDS = 10.0  # so long others wait for a holder that was killed


class LeaseLost(GatewayError):  # noqa: N818 - reads as what it is
    """Another may have taken over: whoever held the lease was away for longer than it lasts."""


@dataclass(slots=True)
class _Term:
    """How long a lease holds as far as is known here: never longer than the store has it."""

    token: str
    until: float = -math.inf  # monotonic, counted from before it was asked for; -inf: it is known to be lost

    def answered(self, asked_at: float, seconds: float, *, is_ours: bool) -> None:
        """The store said whether it is ours."""
        self.until = asked_at + seconds if is_ours else -math.inf


class Leases:
    """Of deliveries, by their ids."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._terms: dict[str, _Term] = {}

    def add(self, claim: Claim, asked_at: float) -> None:
        """A claim that was asked for at that moment."""
        self._terms[claim.delivery.id] = _Term(claim.token, asked_at + LEASE_SECONDS)

    def forget(self, claim: Claim) -> None:
        """It has ended, or was handed back."""
        if self._term(claim.delivery.id, claim.token) is not None:
            del self._terms[claim.delivery.id]

    def _term(self, delivery_id: str, token: str) -> _Term | None:
        """Of this very claim: it may be claimed anew by now."""
        term = self._terms.get(delivery_id)
        return term if term is not None and term.token == token else None

    async def renew(self) -> set[str]:
        """Renews all. The ids of the deliveries whose lease is lost. Raises StoreError."""
        claims = [(delivery_id, term.token) for delivery_id, term in self._terms.items()]
        if not claims:
            return set()
        asked_at = time.monotonic()
        lost = await self._store.renew(claims, lease_seconds=LEASE_SECONDS)
        for delivery_id, token in claims:
            term = self._term(delivery_id, token)
            if term is not None:
                term.answered(asked_at, LEASE_SECONDS, is_ours=delivery_id not in lost)
        return lost

    def is_lost(self, delivery_id: str) -> bool:
        """Whether another gateway may run it by now, or a person has cancelled it. A store of one gateway gives a claim
        to nobody else.
        """
        term = self._terms.get(delivery_id)
        if term is None:
            return False
        return term.until == -math.inf or (self._store.is_shared and time.monotonic() > term.until - MARGIN_SECONDS)


class NamedLease:
    """One holder's, on what has a name. It is renewed by itself while it is held."""

    def __init__(self, store: Store, name: str) -> None:
        self.name = name
        self._store = store
        self._term = _Term(secrets.token_hex(8))

    @contextlib.asynccontextmanager
    async def held(self) -> AsyncIterator[bool]:
        """Whether it is ours, until the exit. Raises StoreError."""
        if not await self._take():
            yield False
            return
        try:
            async with background(self._renew, "gateway-lease"):
                yield True
        finally:
            with contextlib.suppress(StoreError):  # it ends by itself
                await self._store.release_lease(self.name, self._term.token)

    def check(self) -> None:
        """Raises LeaseLost where it is ours no more."""
        if time.monotonic() >= self._term.until:
            raise LeaseLost(f"the lease {self.name!r} was lost: another gateway or command goes on")

    async def _take(self) -> bool:
        asked_at = time.monotonic()
        is_ours = await self._store.take_lease(self.name, self._term.token, lease_seconds=NAMED_LEASE_SECONDS)
        self._term.answered(asked_at, NAMED_LEASE_SECONDS, is_ours=is_ours)
        return is_ours

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(NAMED_LEASE_SECONDS / 5)
            with contextlib.suppress(StoreError):  # asked again before it ends
                await self._take()
