"""What a person may see of events and deliveries: the same lists and records for the console, the API and the command
line, with what accounts redact hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from gateway.admin.api.schemas import (
    DeliveriesQuery,
    DeliveryOut,
    DeliveryWhole,
    EventOut,
    EventsQuery,
    EventWhole,
    ListOf,
)
from gateway.admin.problems import Refused
from gateway.config.load import Config
from gateway.core.envelope import parse_json
from gateway.core.errors import EnvelopeError
from gateway.core.model import Delivery, DeliveryFilter, Event
from gateway.core.routing import RouteTable
from gateway.privacy.views import Redactions, shown_deliveries, shown_delivery, shown_event
from gateway.store.protocol import Store

MOST_DELIVERIES_OF_AN_EVENT = 1000

InForce = Callable[[], tuple[Config, RouteTable]]
"""The configuration in force; read when it is first needed where nothing runs."""


class Inbox:
    """Reads a store."""

    def __init__(self, store: Store, in_force: InForce, redactions: Callable[[], Redactions] | None = None) -> None:
        """`redactions`, where they may not be asked of the configuration in force: it may not load."""
        self.store = store
        self.in_force = in_force
        self._redactions = redactions or (lambda: self.config.redactions)

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self.in_force()[0]

    async def events(self, query: EventsQuery, ids: Sequence[str] = ()) -> ListOf[EventOut]:
        """A page of the events, of those ids alone where there are any."""
        page = await self.store.event_page(
            replace(query.filter(query.text), ids=ids),
            limit=query.limit,
            after=query.cursor or None,
            oldest_first=query.oldest_first,
        )
        items = [EventOut.of(event) for event in page.items]
        return ListOf(items=items, next=page.next, searched_until=page.searched_until)

    async def event(self, event_id: str, account: str = "") -> list[EventWhole]:
        """The events of that id with their deliveries: several where several accounts have it."""
        return [await self.whole(event) for event in await self.store.event(event_id, account or None)]

    async def only_event(self, event_id: str, account: str) -> Event:
        """The event of that id, as posted. Raises Refused where there is none, or several accounts have it."""
        events = await self.store.event(event_id, account or None)
        if not events:
            raise Refused(404, "there is no such event in the inbox")
        if len(events) > 1:
            accounts = " or ".join(event.account for event in events)
            raise Refused(409, f"several accounts have it: say account={accounts}")
        return events[0]

    async def whole(self, event: Event) -> EventWhole:
        """An event as people may see it, with its body as JSON and its deliveries."""
        return EventWhole(
            **EventOut.of(event).model_dump(),
            body=body_of(await self.shown(event)),
            deliveries=[DeliveryOut.of(delivery) for delivery in await self.deliveries_of(event)],
        )

    async def shown(self, event: Event) -> Event:
        """An event with the body that people may see."""
        return await shown_event(self.store, event, self._redactions())

    async def deliveries_of(self, event: Event) -> list[Delivery]:
        """An event's deliveries as people may see them, the oldest first."""
        where = DeliveryFilter(event_ids=(event.id,), accounts=(event.account,))
        page = await self.store.delivery_page(where, limit=MOST_DELIVERIES_OF_AN_EVENT, oldest_first=True)
        return await shown_deliveries(self.store, page.items, self._redactions())

    async def deliveries(self, query: DeliveriesQuery, ids: Sequence[str] = ()) -> ListOf[DeliveryOut]:
        """A page of the deliveries, of those ids alone where there are any."""
        page = await self.store.delivery_page(
            replace(query.filter(lambda: self.config), ids=ids),
            limit=query.limit,
            after=query.cursor or None,
            oldest_first=query.oldest_first,
        )
        deliveries = await shown_deliveries(self.store, page.items, self._redactions())
        return ListOf(items=[DeliveryOut.of(delivery) for delivery in deliveries], next=page.next)

    async def delivery(self, delivery_id: str) -> DeliveryWhole | None:
        """One delivery and its attempts, or None."""
        stored = await self.store.delivery(delivery_id)
        if stored is None:
            return None
        return DeliveryWhole.whole(*await shown_delivery(self.store, *stored, self._redactions()))

    async def only_delivery(self, delivery_id: str) -> DeliveryWhole:
        """The same. Raises Refused where there is none."""
        delivery = await self.delivery(delivery_id)
        if delivery is None:
            raise Refused(404, "there is no such delivery")
        return delivery


def body_of(event: Event) -> Any:
    """What Stripe posted, as JSON; as text where it is none."""
    try:
        return parse_json(event.body)
    except EnvelopeError:
        return event.body.decode("utf-8", "replace")
