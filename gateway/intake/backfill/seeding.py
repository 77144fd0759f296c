"""Runs Stripe's objects through one route, as if it had been there when they were made: each action once for each
object, whatever of it the inbox knows already.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import ClassVar

from structlog.typing import FilteringBoundLogger

from gateway.core.errors import GatewayError
from gateway.core.model import (
    DISABLED,
    DRY_RUN,
    Delivery,
    DeliveryFilter,
    DeliveryState,
    Event,
    EventFilter,
    EventSource,
    PlannedDelivery,
    Route,
)
from gateway.intake.backfill.importer import CatchUp
from gateway.intake.backfill.listing import Listed, Window, windows
from gateway.intake.backfill.objects import Kind, object_listings
from gateway.intake.backfill.progress import Course, Order
from gateway.intake.webhook import Intake
from gateway.store.protocol import Store
from gateway.stripe.api import StripeApi

MOST_AHEAD = 2000  # deliveries of the route that wait while more is brought: what comes from Stripe waits behind them
LOOK_SECONDS = 0.5
STUCK_SECONDS = 60.0  # without one of them done, before it is given up
_CHUNK = 500  # objects that are looked for in the inbox at a time
_MOST = 100_000

WRITES_ROWS = frozenset({"db_upsert", "db_execute", "db_query"})
"""Actions that reach no one but a database: with them a route may be seeded without further words."""
REPEATED = frozenset({"db_upsert", "db_query"})
"""Actions that may be owed anew because another needs them: a statement may not be one that can run twice."""


class NobodyDelivers(GatewayError):  # noqa: N818 - reads as what it is
    """What was brought is not delivered: there is no point in bringing more."""


@dataclass(frozen=True, slots=True)
class SeedPlan:
    """What a person asked for: a route with the actions that are to run, and the kinds of objects."""

    route: Route
    kinds: tuple[Kind, ...]


def narrowed(route: Route, only: Collection[str]) -> Route:
    """The route with these of its actions; all where none is named."""
    return replace(route, actions=tuple(action for action in route.actions if not only or action.name in only))


class Seeding(CatchUp):
    """A CatchUp of objects. Its intake knows the one route, with the actions that are to run."""

    def __init__(
        self,
        store: Store,
        api: StripeApi,
        intake: Intake,
        log: FilteringBoundLogger,
        *,
        route: Route,
        still_ours: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(store, api, intake, EventSource.SEED, log, still_ours=still_ours)
        self._route = route
        self._clock = clock

    async def _take_in(self, window: Window, wanted: Callable[[Event], bool]) -> None:
        """Commits what is owed for the objects of a window, those that are new together."""
        await self._room()
        for problem in window.unreadable:
            self._log.warning("seed.unreadable", error=problem)
        self.tally.seen += len(window.events)
        events = [event for event in window.events if event.type and wanted(event)]
        self.tally.unwanted += len(window.events) - len(events)
        for start in range(0, len(events), _CHUNK):
            chunk = events[start : start + _CHUNK]
            done = await done_actions(self._store, self._route, chunk)
            self.tally.new += sum(await asyncio.gather(*(self._owe(event, done[event.id]) for event in chunk)))

    async def _owe(self, event: Event, done: frozenset[str]) -> bool:
        """Commits what is owed for an event and was not before; whether that is anything."""
        event, planned = self._intake.route(event)
        if not planned:
            self.tally.unwanted += 1
            return False
        owed = still_owed(self._route, planned, done)
        if not owed:
            return False
        added = await self._store.add(event, owed)
        if not added.is_duplicate:
            return True
        # an earlier seed, of other actions; or one that is at work just now, and came first
        done = (await done_actions(self._store, self._route, [event]))[event.id]
        owed = still_owed(self._route, planned, done)
        return bool(owed and await self._store.replay(event.account, event.id, owed))

    async def _room(self) -> None:
        """Returns once the gateway has done enough of what was brought. Raises NobodyDelivers, LeaseLost."""
        fewest, since = await self._ahead(), self._clock()
        ahead = fewest
        while ahead >= MOST_AHEAD:
            if self._clock() - since > STUCK_SECONDS:
                raise NobodyDelivers(
                    f"{ahead:,} deliveries of {self._route.name} wait, and none was done for {STUCK_SECONDS:g} s: is a "
                    "gateway at work, and are its connections? The same command goes on from here"
                )
            await self._sleep(LOOK_SECONDS)
            self._still_ours()
            ahead = await self._ahead()
            if ahead < fewest:
                fewest, since = ahead, self._clock()

    async def _ahead(self) -> int:
        """How many deliveries of the route wait. What waits for its time, or for a yes, holds nobody up: of a route
        that has such, they count where any is due now.
        """
        where = DeliveryFilter(routes=(self._route.name,), states=("pending", "running"))
        waiting = await self._store.count_deliveries(where, at_most=MOST_AHEAD * 2)
        if waiting < MOST_AHEAD or not _may_wait(self._route):
            return waiting
        return waiting if any(lane.route == self._route.name for lane in (await self._store.due()).lanes) else 0


def _may_wait(route: Route) -> bool:
    """Whether deliveries of a route may rightly wait for longer than a retry."""
    draws_together = route.digest is not None or route.debounce is not None
    return draws_together or any(use.later is not None or use.approve is not None for use in route.actions)


async def done_actions(store: Store, route: Route, events: Sequence[Event]) -> Mapping[str, frozenset[str]]:
    """Which actions of a route were owed before for what each of these events tells of, in whatever state they are: by
    the event that Stripe sent of it, or by one that was made like this one. By the event's id. What was skipped because
    the route was disabled, or in a dry run, was not once it is so no more.
    """
    if not events:
        return {}
    where = EventFilter(
        accounts=(events[0].account,),
        types=sorted({event.type for event in events}),
        object_ids=[event.object_id for event in events if event.object_id is not None],
    )
    known = await store.events(where, limit=_MOST)
    actions: dict[str, set[str]] = {}
    for start in range(0, len(known), _CHUNK):
        ids = [event.id for event in known[start : start + _CHUNK]]
        owed = DeliveryFilter(accounts=where.accounts, routes=(route.name,), event_ids=ids)
        for delivery in await store.deliveries(owed, limit=_MOST):
            if not _was_for_show(route, delivery):
                actions.setdefault(delivery.event_id, set()).add(delivery.action)
    told: dict[tuple[str, str | None, str | None], set[str]] = {}
    for event in known:
        told.setdefault(_subject(event), set()).update(actions.get(event.id, ()))
    return {event.id: frozenset(told.get(_subject(event), ())) for event in events}


def _was_for_show(route: Route, delivery: Delivery) -> bool:
    """Whether a delivery was skipped for what its route, or its action, does not say any more."""
    reason = delivery.reason or ""
    if delivery.state is not DeliveryState.SKIPPED or not reason.startswith((DISABLED, DRY_RUN)):
        return False
    names = {delivery.action, *route.needed_by(delivery.action)}
    is_dry = route.dry_run or any(use.dry_run for use in route.actions if use.name in names)
    return route.is_enabled and not (is_dry and reason.startswith(DRY_RUN))


def _subject(event: Event) -> tuple[str, str | None, str | None]:
    return event.type, event.connected_account, event.object_id


def still_owed(route: Route, planned: Sequence[PlannedDelivery], done: Collection[str]) -> list[PlannedDelivery]:
    """What of a plan was not owed before, with what it needs: rows are written once more for it, and what needs
    something else that was done before is left out.
    """
    uses = {action.name: action.uses for action in route.actions}
    names: set[str] = set()
    for name in {delivery.action for delivery in planned} - set(done):
        needed = route.needed_by(name)
        if all(uses.get(need) in REPEATED for need in needed & set(done)):
            names |= {name, *needed}
    return [delivery for delivery in planned if delivery.action in names]


class SeedCourse(Course):
    """A person's seed of one route, on its way through Stripe's lists."""

    verb: ClassVar[str] = "seed"
    keeps_seconds: ClassVar[float] = float("inf")

    def __init__(
        self, store: Store, api: StripeApi, intake: Intake, order: Order, log: FilteringBoundLogger, plan: SeedPlan
    ) -> None:
        self._plan = plan
        super().__init__(store, api, intake, order, log)

    def _asked(self) -> Sequence[Listed]:
        return object_listings(self.order.account, self._plan.route, self._plan.kinds, self.order.connected_account)

    def _catch_up(self) -> CatchUp:
        return Seeding(
            self._store, self._api, self._intake, self._log, route=self._plan.route, still_ours=self.lease.check
        )

    async def objects(self) -> AsyncIterator[tuple[Event, frozenset[str]]]:
        """What it would bring: each event, and which actions were owed for it before. Changes nothing. Raises
        StripeApiError, StoreError.
        """
        for listing in self._listings:
            asked = windows(self._api, listing, self.order.since, self.order.until, still_ours=lambda: None)
            async with aclosing(asked):
                async for window in asked:
                    told = [event for event in window.events if event.type]
                    for start in range(0, len(told), _CHUNK):
                        chunk = told[start : start + _CHUNK]
                        done = await done_actions(self._store, self._plan.route, chunk)
                        for event in chunk:
                            yield event, done[event.id]
