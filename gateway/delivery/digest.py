"""What a delivery of a route with `digest` brings: events that came close together, gathered once for all attempts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from gateway.core.envelope import is_forgotten, parse_json
from gateway.core.errors import StoreDamaged, StoreError
from gateway.core.model import Claim, Digest, Gathered, Released
from gateway.core.routing import is_digest
from gateway.delivery.attempt_errors import AttemptError
from gateway.store.protocol import Store

MOST_EVENTS = 500  # that templates see; the others are counted
STORE_AWAY_SECONDS = 1.0
KIND = "gateway.digest"


class Gatherer(Protocol):
    """What gathers: the store that all gateways share, or nobody in a simulation."""

    async def gather(self, claim: Claim, digest: Digest) -> Gathered | Released:
        """What the claimed delivery brings, or how it waits for that."""


class StoreGatherer:
    """Gathers what waits in the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def gather(self, claim: Claim, digest: Digest) -> Gathered | Released:
        """See Gatherer. Raises AttemptError where an event that it brings cannot be read: that does not pass."""
        try:
            gathered = await self._store.gather(
                claim.delivery.id,
                claim.token,
                wait_seconds=digest.wait_seconds,
                every_seconds=digest.every_seconds,
                most=MOST_EVENTS,
            )
        except StoreDamaged as error:
            raise AttemptError(str(error), is_final=True) from None
        except StoreError as error:
            return Released(f"digest: {error}", STORE_AWAY_SECONDS)
        if gathered is None:
            return Released()  # which is refused: another gateway has it by now
        if isinstance(gathered, float):
            return Released("digest: gathers what else comes", gathered)
        return gathered


class NobodyElse:
    """Every delivery brings its own event."""

    async def gather(self, claim: Claim, digest: Digest) -> Gathered | Released:
        """See Gatherer."""
        return Gathered([claim.event], 1)


async def gathered_for(claim: Claim, digest: Digest, gatherer: Gatherer) -> Gathered | Released:
    """What a delivery of a route with `digest` brings, without what was forgotten. One that was planned before the
    route had it stays alone.
    """
    gathered = await (gatherer if is_digest(claim.delivery) else NobodyElse()).gather(claim, digest)
    if isinstance(gathered, Released):
        return gathered
    left = [event for event in gathered.events if not is_forgotten(event.body)]
    return Gathered(left, gathered.count - (len(gathered.events) - len(left)))


def digest_scope(gathered: Gathered) -> dict[str, Any]:
    """What templates see of it beside the first event. Raises EnvelopeError."""
    envelopes: list[Mapping[str, Any]] = [parse_json(event.body) for event in gathered.events]
    return {"events": envelopes, "count": gathered.count}


def digest_body(gathered: Gathered) -> bytes:
    """What takes the place of the raw event: all of them, each as it was posted."""
    bodies = b",".join(event.body for event in gathered.events)
    return b'{"object":"%b","count":%d,"events":[%b]}' % (KIND.encode(), gathered.count, bodies)
