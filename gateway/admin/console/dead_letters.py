"""Dead letters by cause: what to look at, and what to retry or cancel together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from aiohttp import web

from gateway.admin.api.schemas import DeliveriesQuery, DeliveryOut
from gateway.admin.console.render import page
from gateway.admin.reports.dead_causes import cause_of
from gateway.admin.request import parts
from gateway.core.model import DeliveryState

LOOKED_AT = 200  # the newest


@dataclass(slots=True)
class DeadGroup:
    """Dead letters of one action for one cause, the newest first."""

    route: str
    action: str
    cause: str
    deliveries: list[DeliveryOut] = field(default_factory=list)


def groups_of(dead: Sequence[DeliveryOut]) -> list[DeadGroup]:
    """By action and cause, the largest group first."""
    groups: dict[tuple[str, str, str], DeadGroup] = {}
    for delivery in dead:
        cause = cause_of(delivery.reason or delivery.last_error or "no reason was kept")
        key = (delivery.route, delivery.action, cause)
        groups.setdefault(key, DeadGroup(*key)).deliveries.append(delivery)
    return sorted(groups.values(), key=lambda group: -len(group.deliveries))


async def listed(request: web.Request) -> web.StreamResponse:
    """The newest, in groups."""
    query = DeliveriesQuery(state=[DeliveryState.DEAD], limit=LOOKED_AT)
    dead = await parts(request).operations.deliveries(query)
    context = {"groups": groups_of(dead.items), "count": len(dead.items), "is_cut": dead.next is not None}
    return page(request, "dead_letters.html", context)
