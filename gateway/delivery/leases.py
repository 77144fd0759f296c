"""The leases of what this gateway has claimed: renewed in time, and given up before another may run the same."""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass

from gateway.core.model import Claim
from gateway.store.protocol import Store

LEASE_SECONDS = float(os.environ.get("GATEWAY_INTERNAL_LEASE_SECONDS", "60"))  # internal: for fault tests alone
RENEW_SECONDS = LEASE_SECONDS / 3
MARGIN_SECONDS = LEASE_SECONDS / 30  # an attempt whose lease cannot be renewed is cut off so long before it ends


@dataclass(slots=True)
class _Lease:
    token: str
    until: float  # monotonic, counted from before it was asked for; infinitely long ago where it is known to be lost


class Leases:
    """By delivery."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._held: dict[str, _Lease] = {}

    def add(self, claim: Claim, asked_at: float) -> None:
        """A claim that was asked for at that moment."""
        self._held[claim.delivery.id] = _Lease(claim.token, asked_at + LEASE_SECONDS)

    def forget(self, claim: Claim) -> None:
        """It has ended, or was handed back."""
        held = self._held.get(claim.delivery.id)
        if held is not None and held.token == claim.token:  # it may be claimed anew by now
            del self._held[claim.delivery.id]

    async def renew(self) -> set[str]:
        """Renews all. The ids of the deliveries whose lease is lost. Raises StoreError."""
        claims = [(delivery_id, held.token) for delivery_id, held in self._held.items()]
        if not claims:
            return set()
        asked_at = time.monotonic()
        lost = await self._store.renew(claims, lease_seconds=LEASE_SECONDS)
        for delivery_id, token in claims:
            held = self._held.get(delivery_id)
            if held is not None and held.token == token:
                held.until = -math.inf if delivery_id in lost else asked_at + LEASE_SECONDS
        return lost

    def is_lost(self, delivery_id: str) -> bool:
        """Whether another gateway may run it by now, or a person has cancelled it. A store of one gateway gives a claim
        to nobody else.
        """
        held = self._held.get(delivery_id)
        if held is None:
            return False
        return held.until == -math.inf or (self._store.is_shared and time.monotonic() > held.until - MARGIN_SECONDS)
