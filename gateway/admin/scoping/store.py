"""A store as a scope sees it: every answer holds what is the scope's own, every change is of what is. What is not
defined here is for nobody with a scope.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from gateway.admin.problems import Refused
from gateway.admin.scoping.own_part import OwnPart
from gateway.core.errors import UsageError
from gateway.core.model import (
    Attempt,
    AuditEntry,
    ChangeResult,
    ConnectionChange,
    ConnectionStatus,
    Delivery,
    DeliveryFilter,
    DeliveryState,
    Event,
    EventFilter,
    PlannedDelivery,
    Refusal,
    RejectedFilter,
    RejectedRequest,
    Scope,
    status_route,
)
from gateway.core.routing import is_digest
from gateway.store.answers import Added, Arrivals, Bucket, DeadCause, EventKind, LaneState, Note, Page
from gateway.store.protocol import Store

WALK_SECONDS = 0.15  # for a page of the events of some routes: then it ends, and says how far it came
WALK_STEP = 200
FEW_SECONDS = 1.0  # for the events of one object, of which thousands may be others'
MOST_COUNTED = 10_000  # of deliveries that are walked through to count their events
MOST_ARRIVED = 500  # events of one look of the live tail, among which those of a scope are
CLOCKS_DIFFER = timedelta(minutes=5)  # an event's time is its gateway's, a delivery's the store's
MOST_IDS = 500
LEAST_TIMED = 50  # deliveries of a stretch of time, where there are many stretches
NOT_YOURS = "a token with a scope does not do this: it concerns more than is its own"
NO_SUCH = Refusal("there is no such delivery")
MIXED = "it may bring events of accounts that this token does not see"
SHARED = "it is shared with routes of others"
_ENDED = frozenset(state.value for state in DeliveryState if state.is_final) | {DeliveryState.DEAD.value}


class ScopedStore:
    """See `gateway.store.protocol.Store` for what each method promises. An event is of a scope where its account is,
    and where the scope names routes, only where one of them has a delivery of it.
    """

    def __init__(self, inner: Store, scope: Scope, part: Callable[[], OwnPart]) -> None:
        self._inner = inner
        self._scope = scope
        self._part = part

    def __getattr__(self, name: str) -> Any:
        raise Refused(403, NOT_YOURS)

    # -- what is whose ----------------------------------------------------------------------------------------

    def _deliveries(self, where: DeliveryFilter) -> DeliveryFilter | None:
        """The filter within the scope; None where nothing of it can be."""
        accounts, routes = _within(where.accounts, self._scope.accounts), _within(where.routes, self._scope.routes)
        return None if accounts is None or routes is None else replace(where, accounts=accounts, routes=routes)

    def _events(self, where: EventFilter) -> EventFilter | None:
        accounts = _within(where.accounts, self._scope.accounts)
        return None if accounts is None else replace(where, accounts=accounts)

    def _is_own(self, account: str, route: str) -> bool:
        scope = self._scope
        return (not scope.accounts or account in scope.accounts) and (not scope.routes or route in scope.routes)

    async def _own(self, events: Sequence[Event]) -> list[Event]:
        """Those of events that the scope sees."""
        accounts = self._scope.accounts
        events = [event for event in events if not accounts or event.account in accounts]
        if not self._scope.routes or not events:
            return events
        firsts = await self._firsts([event.id for event in events], oldest_first=False)
        return [event for event in events if (event.account, event.id) in firsts]

    async def _firsts(self, event_ids: Sequence[str], *, oldest_first: bool) -> dict[tuple[str, str], str]:
        """The id of the first of the scope's deliveries of each event, by account and event."""
        ids, firsts = list(dict.fromkeys(event_ids)), dict[tuple[str, str], str]()
        for start in range(0, len(ids), MOST_IDS):
            where, after = self._deliveries(DeliveryFilter(event_ids=ids[start : start + MOST_IDS])), None
            while where is not None:
                page = await self._inner.delivery_page(where, limit=1000, after=after, oldest_first=oldest_first)
                for delivery in page.items:
                    firsts.setdefault((delivery.account, delivery.event_id), delivery.id)
                after = page.next
                if after is None:
                    break
        return firsts

    def _is_mixed(self, delivery: Delivery) -> bool:
        """Whether it may bring events that the scope does not see."""
        return is_digest(delivery) and self._part().mixes_accounts(delivery.route)

    def _veiled(self, delivery: Delivery) -> Delivery:
        if not self._is_mixed(delivery):
            return delivery
        return replace(delivery, rendered=None, output=None, last_error=None, reason=MIXED)

    # -- lists ------------------------------------------------------------------------------------------------

    async def event_page(
        self, where: EventFilter, *, limit: int, after: str | None = None, oldest_first: bool = False
    ) -> Page[Event]:
        own = self._events(where)
        if own is None:
            return Page((), None)
        if not self._scope.routes:
            return await self._inner.event_page(own, limit=limit, after=after, oldest_first=oldest_first)
        pages = self._few if own.ids or own.object_id or own.object_ids else self._walk
        return await pages(own, limit, after, oldest_first=oldest_first)

    async def _few(self, where: EventFilter, limit: int, after: str | None, *, oldest_first: bool) -> Page[Event]:
        """Of what an index finds. More follows only where more of one's own does: else it would tell of others'."""
        deadline = time.monotonic() + FEW_SECONDS
        events: list[Event] = []
        following = after
        while True:
            left = (limit - len(events)) or MOST_IDS
            page = await self._inner.event_page(where, limit=left, after=after, oldest_first=oldest_first)
            own = await self._own(page.items)
            if own and len(events) == limit:
                return Page(events, following)
            after = page.next
            if len(events) < limit:
                events, following = [*events, *own], after
            if after is None:
                return Page(events, None)
            if time.monotonic() > deadline:
                return Page(events, following, page.items[-1].received_at if page.items else page.searched_until)

    async def _walk(self, where: EventFilter, limit: int, after: str | None, *, oldest_first: bool) -> Page[Event]:
        """Events in the order of their deliveries, each where the first of these stands; for a bounded time."""
        deadline = time.monotonic() + WALK_SECONDS
        since = None if where.since is None else where.since - CLOCKS_DIFFER
        lane = self._deliveries(DeliveryFilter(accounts=where.accounts, since=since))
        events: list[Event] = []
        while lane is not None:
            listed = await self._inner.delivery_page(
                lane, limit=min(WALK_STEP, limit - len(events)), after=after, oldest_first=oldest_first
            )
            events += await self._first_here(where, listed.items, oldest_first=oldest_first)
            after = listed.next
            if after is None or len(events) >= limit:
                return Page(events, after)
            if time.monotonic() > deadline:
                return Page(events, after, listed.items[-1].created_at)
        return Page(events, None)

    async def _first_here(
        self, where: EventFilter, deliveries: Sequence[Delivery], *, oldest_first: bool
    ) -> list[Event]:
        """The events of a filter whose first delivery is among these."""
        firsts = await self._firsts([delivery.event_id for delivery in deliveries], oldest_first=oldest_first)
        keys = [key for d in deliveries if firsts.get(key := (d.account, d.event_id)) == d.id]
        if not keys:
            return []
        narrowed = replace(where, ids=[event_id for _, event_id in keys])
        page = await self._inner.event_page(narrowed, limit=MOST_IDS)
        by_key = {(event.account, event.id): event for event in page.items}
        return [by_key[key] for key in keys if key in by_key]

    async def delivery_page(
        self, where: DeliveryFilter, *, limit: int, after: str | None = None, oldest_first: bool = False
    ) -> Page[Delivery]:
        own = self._deliveries(where)
        if own is None:
            return Page((), None)
        page = await self._inner.delivery_page(own, limit=limit, after=after, oldest_first=oldest_first)
        return replace(page, items=[self._veiled(delivery) for delivery in page.items])

    async def deliveries(self, where: DeliveryFilter, *, limit: int, newest_first: bool = True) -> Sequence[Delivery]:
        return (await self.delivery_page(where, limit=limit, oldest_first=not newest_first)).items

    async def arrivals(self, after: str | None, *, limit: int) -> Arrivals:
        arrived = await self._inner.arrivals(after, limit=MOST_ARRIVED)
        own = await self._own(arrived.events)
        return Arrivals(own[-limit:], max(0, len(own) - limit), arrived.cursor)

    async def count_events(self, where: EventFilter, *, at_most: int) -> int:
        own = self._events(where)
        if own is None:
            return 0
        if not self._scope.routes:
            return await self._inner.count_events(own, at_most=at_most)
        count = 0
        async for page in self._pages(own):
            count += len(page)
        return min(count, at_most)

    async def _pages(self, where: EventFilter) -> AsyncIterator[Sequence[Event]]:
        lane = self._deliveries(DeliveryFilter(accounts=where.accounts, since=where.since))
        walked = 0 if lane is None else await self._inner.count_deliveries(lane, at_most=MOST_COUNTED)
        if walked == MOST_COUNTED:
            raise UsageError(f"more than {MOST_COUNTED:,} deliveries to look through; narrow by a time (since)")
        after = None
        while True:
            page = await self.event_page(where, limit=MOST_IDS, after=after, oldest_first=True)
            yield page.items
            after = page.next
            if after is None:
                return

    async def count_deliveries(self, where: DeliveryFilter, *, at_most: int) -> int:
        own = self._deliveries(where)
        return 0 if own is None else await self._inner.count_deliveries(own, at_most=at_most)

    # -- single ones, and changes -----------------------------------------------------------------------------

    async def event(self, event_id: str, account: str | None = None) -> list[Event]:
        return await self._own(await self._inner.event(event_id, account))

    async def delivery(self, delivery_id: str) -> tuple[Delivery, list[Attempt]] | None:
        kept = await self._inner.delivery(delivery_id)
        if kept is None or not self._is_own(kept[0].account, kept[0].route):
            return None
        delivery, attempts = kept
        if self._is_mixed(delivery):
            attempts = [replace(attempt, error=None, exchanges=None) for attempt in attempts]
        return self._veiled(delivery), attempts

    async def retry(self, delivery_ids: Sequence[str]) -> Mapping[str, ChangeResult]:
        return await self._changed(delivery_ids, self._inner.retry)

    async def cancel(self, delivery_ids: Sequence[str], reason: str) -> Mapping[str, ChangeResult]:
        return await self._changed(delivery_ids, lambda own: self._inner.cancel(own, reason))

    async def answer(self, delivery_id: str, who: str, *, is_yes: bool) -> ChangeResult:
        refused = await self._refused([delivery_id])
        return refused.get(delivery_id) or await self._inner.answer(delivery_id, who, is_yes=is_yes)

    async def _changed(self, ids: Sequence[str], change: Callable[[Sequence[str]], Any]) -> Mapping[str, ChangeResult]:
        refused = await self._refused(ids)
        own = [delivery_id for delivery_id in ids if delivery_id not in refused]
        return {**refused, **(await change(own) if own else {})}

    async def _refused(self, ids: Sequence[str]) -> dict[str, ChangeResult]:
        """Of deliveries, those that the scope may not change, and why."""
        seen: dict[str, Delivery] = {}
        for start in range(0, len(ids), MOST_IDS):
            where = self._deliveries(DeliveryFilter(ids=ids[start : start + MOST_IDS]))
            page = Page[Delivery]((), None) if where is None else await self._inner.delivery_page(where, limit=MOST_IDS)
            seen.update({delivery.id: delivery for delivery in page.items})
        refused: dict[str, ChangeResult] = {name: NO_SUCH for name in ids if name not in seen}
        refused.update({name: Refusal(MIXED) for name, delivery in seen.items() if self._is_mixed(delivery)})
        return refused

    async def replay(
        self, account: str, event_id: str, planned: Sequence[PlannedDelivery], *, force: bool = False
    ) -> list[str] | None:
        if not await self.event(event_id, account) or not all(self._is_own(account, each.route) for each in planned):
            return None
        return await self._inner.replay(account, event_id, planned, force=force)

    async def done_once(self, once_keys: Sequence[str]) -> Mapping[str, str]:
        return await self._inner.done_once(once_keys)  # a key is of one account, route and action

    async def record(self, entry: AuditEntry) -> None:
        await self._inner.record(entry)

    async def note(self, name: str) -> Note | None:
        return await self._inner.note(name)  # asked for audits of routes that are seen, by account

    # -- connections and routes -------------------------------------------------------------------------------

    async def connections(self) -> Mapping[str, ConnectionStatus]:
        """Why a connection is paused may tell of others' deliveries, where others go by it."""
        part, seen = self._part(), dict[str, ConnectionStatus]()
        routes = {route.name for route in part.config.routes}
        for name, status in (await self._inner.connections()).items():
            route = status_route(name)
            if name in part.changeable:
                seen[name] = status
            elif name in part.config.connections if route is None else route in routes:
                reason = None if status.reason is None else SHARED
                seen[name] = replace(status, reason=reason, failures=0, failed_delivery=None)
        return seen

    async def change_connection(self, name: str, version: int, change: ConnectionChange) -> ConnectionStatus | None:
        if name not in self._part().changeable:
            raise Refused(403, NOT_YOURS)
        return await self._inner.change_connection(name, version, change)

    # -- rejected requests: of accounts, before anybody knows a route -----------------------------------------

    def _rejected(self, where: RejectedFilter) -> RejectedFilter | None:
        accounts = None if self._scope.routes else _within(where.accounts, self._scope.accounts)
        return None if accounts is None else replace(where, accounts=accounts)

    async def rejected(
        self, where: RejectedFilter, *, limit: int, newest_first: bool = True
    ) -> Sequence[RejectedRequest]:
        own = self._rejected(where)
        return [] if own is None else await self._inner.rejected(own, limit=limit, newest_first=newest_first)

    async def count_rejected(self, where: RejectedFilter, *, at_most: int) -> int:
        own = self._rejected(where)
        return 0 if own is None else await self._inner.count_rejected(own, at_most=at_most)

    async def rejected_request(self, rejected_id: str) -> RejectedRequest | None:
        request = await self._inner.rejected_request(rejected_id)
        is_own = request is not None and not self._scope.routes and request.account in self._scope.accounts
        return request if is_own else None

    async def forget_rejected(self, rejected_ids: Sequence[str]) -> int:
        own = await self.rejected(RejectedFilter(ids=tuple(rejected_ids)), limit=len(rejected_ids))
        return await self._inner.forget_rejected([request.id for request in own])

    async def add(self, event: Event, planned: Sequence[PlannedDelivery]) -> Added:
        """Of a rejected request that is good by now: all routes of an account are planned, for all are seen."""
        if self._scope.routes or event.account not in self._scope.accounts:
            raise Refused(403, NOT_YOURS)
        return await self._inner.add(event, planned)

    # -- figures ----------------------------------------------------------------------------------------------

    async def counts_by_time(
        self, edges: Sequence[datetime], where: EventFilter | DeliveryFilter
    ) -> Sequence[Mapping[tuple[str, ...], int]]:
        """Events are not counted by route: a scope that names routes has bars of deliveries alone."""
        own: EventFilter | DeliveryFilter | None
        if isinstance(where, DeliveryFilter):
            own = self._deliveries(where)
        else:
            own = None if self._scope.routes else self._events(where)
        return [{} for _ in edges[1:]] if own is None else await self._inner.counts_by_time(edges, own)

    async def buckets(self, edges: Sequence[datetime]) -> Sequence[Bucket]:
        """Deliveries stand where they came, not where they ended."""
        events = await self.counts_by_time(edges, EventFilter())
        deliveries = await self.counts_by_time(edges, DeliveryFilter())
        return [
            Bucket(start, _by_state(came), {state: n for state, n in _by_state(owed).items() if state in _ENDED})
            for start, came, owed in zip(edges, events, deliveries, strict=False)
        ]

    async def latencies(self, edges: Sequence[datetime], *, limit: int) -> Sequence[Sequence[float]]:
        """Deliveries stand where they came, not where they ended; of many stretches fewer in each."""
        most, took = max(limit // max(1, len(edges) - 1), LEAST_TIMED), list[list[float]]()
        for since, until in pairwise(edges):
            where = DeliveryFilter(states=(DeliveryState.SUCCEEDED.value,), since=since, until=until)
            ended = [(d.finished_at, d.created_at) for d in (await self.delivery_page(where, limit=most)).items]
            took.append(sorted(max(0.0, (end - start).total_seconds()) for end, start in ended if end is not None))
        return took

    async def lane_states(self) -> Sequence[LaneState]:
        states = await self._inner.lane_states()
        return [state for state in states if self._is_own(state.lane.account, state.lane.route)]

    async def dead_causes(self, *, among: int) -> Sequence[DeadCause]:
        page = await self.delivery_page(DeliveryFilter(states=(DeliveryState.DEAD.value,)), limit=among)
        causes: dict[tuple[str, str, str], DeadCause] = {}
        for dead in page.items:  # the newest first
            key = (dead.route, dead.action, dead.reason or "")
            at = dead.finished_at or dead.created_at
            known = causes.get(key) or DeadCause(*key, 0, dead.id, at)
            causes[key] = replace(known, count=known.count + 1)
        return sorted(causes.values(), key=lambda cause: -cause.count)

    async def last_events(self) -> Mapping[str, datetime]:
        last = await self._inner.last_events()
        accounts = [name for name in last if not self._scope.accounts or name in self._scope.accounts]
        if not self._scope.routes:
            return {name: last[name] for name in accounts}
        newest = {name: await self.delivery_page(DeliveryFilter(accounts=(name,)), limit=1) for name in accounts}
        return {name: page.items[0].created_at for name, page in newest.items() if page.items}

    async def event_kinds(self) -> Sequence[EventKind]:
        if self._scope.routes:
            return []
        return [kind for kind in await self._inner.event_kinds() if kind.account in self._scope.accounts]


def _within(asked: Sequence[str], own: Sequence[str]) -> Sequence[str] | None:
    """What is asked for and one's own, where empty ones do not narrow; None where nothing is both."""
    if not own or not asked:
        return asked or own
    return [name for name in asked if name in own] or None


def _by_state(counts: Mapping[tuple[str, ...], int]) -> dict[str, int]:
    states: Counter[str] = Counter()
    for kind, count in counts.items():
        states[kind[-1]] += count
    return dict(states)
