"""What a person may see of events and deliveries: the same lists and records for the console, the API and the command
line, with what accounts redact hidden.
"""

from __future__ import annotations

import contextlib
import time
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
from gateway.admin.search import (
    MOST_OF_A_GROUP,
    SCAN_SECONDS,
    SHORTEST_TEXT,
    SearchOut,
    mentioning,
    parse_amount,
    rejected_hits,
    telling,
    with_amount,
)
from gateway.admin.waiting import STATES, outcome_of, waits_for
from gateway.config.load import Config
from gateway.core.envelope import parse_json
from gateway.core.errors import EnvelopeError, GatewayError
from gateway.core.model import (
    ConnectionState,
    Delivery,
    DeliveryFilter,
    DeliveryState,
    Event,
    EventFilter,
    EventState,
    route_status_name,
)
from gateway.core.routing import RouteTable
from gateway.privacy.views import Redactions, shown_deliveries, shown_delivery, shown_event
from gateway.store.answers import Page
from gateway.store.protocol import Store

MOST_DELIVERIES_OF_AN_EVENT = 1000
MOST_DELIVERIES_OF_A_PAGE = 5000  # of a page of events, to say what came of each

InForce = Callable[[], tuple[Config, RouteTable]]
"""The configuration in force; read when it is first needed where nothing runs."""


class Inbox:
    """Reads a store."""

    def __init__(self, store: Store, in_force: InForce, redactions: Callable[[], Redactions] | None = None) -> None:
        """`redactions`, where they may not be asked of the configuration in force: it may not load."""
        self.store = store
        self.everything = store  # to find out what of an answer is to be hidden
        self.in_force = in_force
        self._redactions = redactions or (lambda: self.config.redactions)

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self.in_force()[0]

    async def events(self, query: EventsQuery, ids: Sequence[str] = ()) -> ListOf[EventOut]:
        """A page of the events, of those ids alone where there are any, with what came of each."""
        where, after, following = replace(query.filter(query.text), ids=ids), query.cursor or None, None
        if query.outcome is not None and not ids:
            states = [state.value for state in STATES[query.outcome]]
            listed = await self.store.delivery_page(
                DeliveryFilter(accounts=query.account, states=states), limit=query.limit, after=after,
                oldest_first=query.oldest_first,
            )  # fmt: skip
            where, after = replace(where, ids=list(dict.fromkeys(d.event_id for d in listed.items))), None
            following = listed.next
            if not where.ids:
                return ListOf(items=[], next=following)
        page = await self.store.event_page(where, limit=query.limit, after=after, oldest_first=query.oldest_first)
        if where.text:
            page = await self._telling(where, page, query, where.text)
        items = [EventOut.of(event) for event in page.items]
        await self._judge(items)
        return ListOf(items=items, next=following or page.next, searched_until=page.searched_until)

    async def _judge(self, events: Sequence[EventOut]) -> None:
        """Says of events what came of them."""
        routed = [event for event in events if event.state is EventState.ROUTED]
        if not routed:
            return
        where = DeliveryFilter(event_ids=[event.id for event in routed])
        owed = await self.store.delivery_page(where, limit=MOST_DELIVERIES_OF_A_PAGE)
        states: dict[tuple[str, str], list[DeliveryState]] = {}
        for delivery in owed.items:
            states.setdefault((delivery.account, delivery.event_id), []).append(delivery.state)
        for event in routed:
            event.outcome = outcome_of(states.get((event.account, event.id), ()))

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
        deliveries = await self.deliveries_of(event)
        shown = EventOut.of(event)
        shown.outcome = outcome_of(delivery.state for delivery in deliveries)
        return EventWhole(
            **shown.model_dump(),
            body=body_of(await self.shown(event)),
            deliveries=[DeliveryOut.of(delivery) for delivery in deliveries],
        )

    async def shown(self, event: Event) -> Event:
        """An event with the body that people may see."""
        return await shown_event(self.everything, event, self._redactions())

    async def _telling(self, where: EventFilter, page: Page[Event], query: EventsQuery, text: str) -> Page[Event]:
        """Of a page of events with a text, those that show it; filled up, for who sees a gap knows what is hidden."""
        deadline = time.monotonic() + SCAN_SECONDS
        hits: list[Event] = []
        while True:
            hits += await telling(self.everything, page.items, self._redactions(), text)
            if page.next is None or page.searched_until or len(hits) >= query.limit or time.monotonic() > deadline:
                return replace(page, items=hits)
            page = await self.store.event_page(
                where, limit=query.limit - len(hits), after=page.next, oldest_first=query.oldest_first
            )

    async def deliveries_of(self, event: Event) -> list[Delivery]:
        """An event's deliveries as people may see them, the oldest first."""
        where = DeliveryFilter(event_ids=(event.id,), accounts=(event.account,))
        page = await self.store.delivery_page(where, limit=MOST_DELIVERIES_OF_AN_EVENT, oldest_first=True)
        return await shown_deliveries(self.everything, page.items, self._redactions())

    def _owners(self) -> dict[str, str]:
        """Who answers for each route that says so, where the configuration in force can be read."""
        with contextlib.suppress(GatewayError):
            return {route.name: route.owner for route in self.config.routes if route.owner}
        return {}

    async def _waiting(self, deliveries: Sequence[Delivery]) -> dict[str, str | None]:
        """What each waits for, by id. Connections play a part where the configuration in force can be read."""
        waiting = [d for d in deliveries if d.state in (DeliveryState.PENDING, DeliveryState.BLOCKED)]
        stopped = {
            name: status
            for name, status in (await self.store.connections() if waiting else {}).items()
            if status.state is not ConnectionState.WORKING
        }
        connections: dict[tuple[str, str], str | None] = {}
        if stopped:
            with contextlib.suppress(GatewayError):
                connections = {(r.name, a.name): a.connection for r in self.config.routes for a in r.actions}
        status = {d.id: stopped.get(connections.get((d.route, d.action)) or "") for d in waiting}
        routes = {d.id: stopped.get(route_status_name(d.route)) for d in waiting}
        return {d.id: waits_for(d, status[d.id], d.needs, route=routes[d.id]) for d in waiting}

    async def deliveries(self, query: DeliveriesQuery, ids: Sequence[str] = ()) -> ListOf[DeliveryOut]:
        """A page of the deliveries, of those ids alone where there are any."""
        where = query.filter(lambda: self.config)
        page = await self.store.delivery_page(
            replace(where, ids=ids or where.ids),
            limit=query.limit,
            after=query.cursor or None,
            oldest_first=query.oldest_first,
        )
        deliveries = await shown_deliveries(self.everything, page.items, self._redactions())
        waiting = await self._waiting(page.items)
        items = [DeliveryOut.of(delivery) for delivery in deliveries]
        owners = self._owners()
        for delivery in items:
            delivery.waits_for, delivery.owner = waiting.get(delivery.id), owners.get(delivery.route)
        return ListOf(items=items, next=page.next)

    async def delivery(self, delivery_id: str) -> DeliveryWhole | None:
        """One delivery and its attempts, or None."""
        stored = await self.store.delivery(delivery_id)
        if stored is None:
            return None
        whole = DeliveryWhole.whole(*await shown_delivery(self.everything, *stored, self._redactions()))
        whole.waits_for = (await self._waiting([stored[0]])).get(delivery_id)
        whole.owner = self._owners().get(whole.route)
        return whole

    async def only_delivery(self, delivery_id: str) -> DeliveryWhole:
        """The same. Raises Refused where there is none."""
        delivery = await self.delivery(delivery_id)
        if delivery is None:
            raise Refused(404, "there is no such delivery")
        return delivery

    async def search(self, text: str) -> SearchOut:
        """What a text may name, whatever it is: an id, an e-mail address, an amount of money or words of a body."""
        text = text.strip()
        out = SearchOut(
            query=text, events=[], deliveries=[], rejected=[], of_object=[], amounts=[], mentions=[],
            searched_until=None,
        )  # fmt: skip
        if not text:
            return out
        by_id = await self.store.event(text)
        out.events = [EventOut.of(event) for event in by_id]
        where = DeliveryFilter(event_ids=[text]) if by_id else DeliveryFilter(ids=[text])
        owed = (await self.store.delivery_page(where, limit=MOST_OF_A_GROUP)).items
        out.deliveries = [
            DeliveryOut.of(delivery) for delivery in await shown_deliveries(self.everything, owed, self._redactions())
        ]
        out.rejected = await rejected_hits(self.store, text)
        of_object = await self.store.event_page(EventFilter(object_id=text), limit=MOST_OF_A_GROUP)
        out.of_object = [EventOut.of(event) for event in of_object.items]
        amount = parse_amount(text)
        if not (by_id or owed or out.rejected) and (amount is not None or len(text) >= SHORTEST_TEXT):
            await self._search_bodies(out)
        await self._judge([*out.events, *out.of_object, *out.amounts, *out.mentions])
        return out

    async def _search_bodies(self, out: SearchOut) -> None:
        amount = parse_amount(out.query)
        if amount is not None:
            page = await with_amount(self.store, self.everything, self._redactions(), amount)
            out.amounts = [EventOut.of(event) for event in page.items]
        else:
            page = await mentioning(self.store, self.everything, self._redactions(), out.query, limit=MOST_OF_A_GROUP)
            known = {(event.account, event.id) for event in out.of_object}
            out.mentions = [EventOut.of(event) for event in page.items if (event.account, event.id) not in known]
        out.searched_until = page.searched_until


def body_of(event: Event) -> Any:
    """What Stripe posted, as JSON; as text where it is none."""
    try:
        return parse_json(event.body)
    except EnvelopeError:
        return event.body.decode("utf-8", "replace")
