"""Brings what a listing holds into the inbox: in order, through the same routing as what is posted, never twice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from structlog.typing import FilteringBoundLogger

from gateway.core.errors import StripeUnavailable
from gateway.core.model import EVERY_CONNECTED, Account, Event, EventSource
from gateway.core.routing import RouteTable, names, wants_connected
from gateway.intake.backfill.listing import MOST_TYPES, Listed, Listing, Window, windows
from gateway.intake.webhook import Intake
from gateway.store.protocol import Store
from gateway.stripe.api import StripeApi
from gateway.stripe.event_types import is_thin

TRIES = 6  # in a row that bring nothing, before it is given up
FIRST_WAIT_SECONDS = 1.0
MAX_WAIT_SECONDS = 60.0

Sleep = Callable[[float], Awaitable[None]]


@dataclass(slots=True)
class Tally:
    """What came of it so far."""

    seen: int = 0  # listed by Stripe
    new: int = 0  # not in the inbox before
    unwanted: int = 0  # of types that no route wants: left at Stripe


@dataclass(frozen=True, slots=True)
class WantedEvents:
    """Which of the listed events are taken in: those of a type that some route wants, or that a person named."""

    table: RouteTable
    account: str
    types: tuple[str, ...] = ()  # types or globs that a person named

    def __call__(self, event: Event) -> bool:
        if self.types:
            return any(names(pattern, event.type) for pattern in self.types)
        routes = self.table.wanting(self.account, event.type)
        return any(wants_connected(route, event.connected_account) for route in routes)

    def patterns(self) -> tuple[str, ...]:
        """The types and globs, in order."""
        if self.types:
            return self.types
        of_account = (route for route in self.table.routes if route.accounts is None or self.account in route.accounts)
        return tuple(dict.fromkeys(pattern for route in of_account for pattern in route.events))


def listings(
    account: Account, wanted: WantedEvents, *, undelivered: bool, connected_account: str | None = None
) -> list[Listing]:
    """What is to be asked: snapshot events, and thin ones where they are named as such. Stripe chooses by type where
    the types are few and exact enough to be told.
    """
    asked = []
    for thin in (False, True):
        patterns = [pattern for pattern in wanted.patterns() if is_thin(pattern) == thin]
        if patterns:
            asked.append(Listing(account, connected_account, exact(patterns), undelivered and not thin, thin))
    return asked


def exact(patterns: Sequence[str]) -> tuple[str, ...]:
    """The types for Stripe to choose by, where there is no glob and Stripe takes so many; else none, to ask for all."""
    is_exact = len(patterns) <= MOST_TYPES and set("*?[").isdisjoint("".join(patterns))
    return tuple(patterns) if is_exact else ()


async def on_behalf_of(api: StripeApi, asked: Sequence[str]) -> list[str | None]:
    """Whose events are to be listed: the account's own (None), and those of the connected accounts that are asked for.
    An organisation has no events of its own. Raises StripeApiError.
    """
    connected = [owner for owner in await connected_to(api, asked) if owner is not None]
    return [*connected] if api.is_organisation and connected else [None, *connected]


async def connected_to(api: StripeApi, asked: Sequence[str]) -> list[str | None]:
    """The ids of the connected accounts that are asked for, by id or all of them; where none is, the account's own
    objects: None. Raises StripeApiError.
    """
    if not asked:
        return [None]
    if EVERY_CONNECTED not in asked:
        return list(asked)
    return [str(account.get("id")) async for account in api.connected_accounts()]


class CatchUp:
    """Works through listings. Where Stripe does not answer it waits and goes on from where it was."""

    def __init__(
        self,
        store: Store,
        api: StripeApi,
        intake: Intake,
        source: EventSource,
        log: FilteringBoundLogger,
        *,
        still_ours: Callable[[], None],
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """`still_ours` is asked before each request; what it raises ends the work."""
        self._store = store
        self._api = api
        self._intake = intake
        self._source = source
        self._log = log
        self._still_ours = still_ours
        self._sleep = sleep
        self.tally = Tally()

    async def run(
        self,
        listing: Listed,
        since: int,
        until: int,
        wanted: Callable[[Event], bool],
        reached: Callable[[Window], Awaitable[None]] | None = None,
        after: str | None = None,
    ) -> None:
        """Takes in what was created from `since` to before `until`; `reached` hears of each window that is in the
        inbox. `after` is the item that an earlier run has come to, of a listing that is not by time. Raises
        StripeApiError, StoreError, and what `still_ours` raises.
        """
        tries = 0
        while True:
            try:
                asked = windows(self._api, listing, since, until, after, still_ours=self._still_ours)
                async with aclosing(asked):
                    async for window in asked:
                        await self._take_in(window, wanted)
                        since, after, tries = window.until, window.after, 0
                        if reached is not None:
                            await reached(window)
                return
            except StripeUnavailable as error:
                tries += 1
                told = error.after_seconds or 0.0
                if tries >= TRIES or told > MAX_WAIT_SECONDS:
                    raise
                wait = max(told, min(MAX_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2 ** (tries - 1)))
                self._log.warning(
                    f"{self._source.value}.waits",
                    account=listing.account.name,
                    error=str(error),
                    wait_seconds=round(wait, 1),
                )
                self._still_ours()
                await self._sleep(wait)

    async def _take_in(self, window: Window, wanted: Callable[[Event], bool]) -> None:
        """Commits its events together, in their order."""
        for problem in window.unreadable:
            self._log.warning(f"{self._source.value}.unreadable", error=problem)
        adding = []
        for event in window.events:
            self.tally.seen += 1
            if wanted(event):
                adding.append(self._add(event))
            else:
                self.tally.unwanted += 1
        for is_new in await asyncio.gather(*adding):
            self.tally.new += is_new

    async def _add(self, event: Event) -> bool:
        event, planned = self._intake.route(event)
        added = await self._store.add(replace(event, source=self._source), planned)
        if not added.is_duplicate:
            self._log.info(
                f"event.{event.state.value}",
                account=event.account,
                event_id=event.id,
                type=event.type,
                source=self._source.value,
                deliveries=len(planned),
            )
        return not added.is_duplicate
