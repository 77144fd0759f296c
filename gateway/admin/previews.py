"""What a change to many would do, told before it is asked for, and what became of it after."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gateway.core.model import DeliveryFilter, PlannedDelivery
from gateway.store.protocol import Store

LOOKED_AT = 500  # of all that a filter finds: enough to see what it is about, and quick


@dataclass(slots=True)
class OnceKeys:
    """What `once_per` leaves for a replay to do: what was done before it, and what it has itself come to so far."""

    store: Store
    _taken: dict[str, str] = field(default_factory=dict)

    async def skips(self, event_id: str, planned: Sequence[PlannedDelivery]) -> dict[str, str]:
        """Why deliveries of an event do nothing, by route/action; the others are taken for done from now on."""
        keyed = {
            f"{delivery.route}/{delivery.action}": delivery.once_key
            for delivery in planned
            if delivery.once_key is not None
        }
        done = await self.store.done_once(list(keyed.values())) if keyed else {}
        holders = {name: done.get(key) or self._taken.get(key) for name, key in keyed.items()}
        self._taken.update({key: event_id for name, key in keyed.items() if holders[name] is None})
        return {name: f"once_per: {holder} has done it" for name, holder in holders.items() if holder is not None}


def parts_of_replay(owed: Sequence[tuple[Sequence[str], Mapping[str, str]]]) -> dict[str, int]:
    """How many deliveries of each action events would make, and how many of these do nothing."""
    counts = Counter(
        f"{name}: skipped, once_per has done it" if name in skips else name for names, skips in owed for name in names
    )
    return dict(counts.most_common())


async def states_of(store: Store, ids: Sequence[str]) -> dict[str, int]:
    """How many of these deliveries are in each state now."""
    if not ids:
        return {}
    page = await store.delivery_page(DeliveryFilter(ids=ids), limit=len(ids))
    return dict(Counter(delivery.state.value for delivery in page.items).most_common())
