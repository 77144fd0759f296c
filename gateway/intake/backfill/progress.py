"""A backfill or a seed that a person asked for: its way through time, kept in the store so that it can be broken off
anywhere.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from structlog.typing import FilteringBoundLogger

from gateway.core.model import STRIPE_KEEPS_SECONDS, Account, EventFilter, EventSource
from gateway.delivery.leases import NamedLease
from gateway.intake.backfill.importer import CatchUp, Tally, WantedEvents, listings
from gateway.intake.backfill.listing import Listed, Window, windows
from gateway.intake.webhook import Intake
from gateway.store.protocol import Store
from gateway.stripe.api import StripeApi


@dataclass(frozen=True, slots=True)
class Order:
    """What a person asked for."""

    account: Account
    connected_account: str | None
    types: tuple[str, ...]  # none: what the routes want
    undelivered: bool
    since: int  # Unix times
    until: int
    words: str  # the same for the same command line: what an earlier one left is gone on with


@dataclass(slots=True)
class Place:
    """How far it has come: `listing` is the one at work, of which all before `reached` is in the inbox."""

    since: int
    until: int
    listing: int
    reached: int
    tally: Tally
    after: str | None = None  # the item that it has come to, of a listing that is not by time


class Course:
    """One order's. `place` is where it stands."""

    verb: ClassVar[str] = "backfill"
    keeps_seconds: ClassVar[float] = STRIPE_KEEPS_SECONDS  # how old may be what is asked for

    def __init__(self, store: Store, api: StripeApi, intake: Intake, order: Order, log: FilteringBoundLogger) -> None:
        self.order = order
        self.resumed = False
        self.place = Place(order.since, order.until, 0, order.since, Tally())
        self._store = store
        self._api = api
        self._intake = intake
        self._log = log
        self._wanted = WantedEvents(intake.table, order.account.name, order.types)
        self._listings = self._asked()
        identity = json.dumps([order.words, order.connected_account])
        self.lease = NamedLease(
            store, f"{self.verb} {order.account.name} {hashlib.sha256(identity.encode()).hexdigest()[:16]}"
        )

    def _asked(self) -> Sequence[Listed]:
        order = self.order
        return listings(
            order.account, self._wanted, undelivered=order.undelivered, connected_account=order.connected_account
        )

    def _catch_up(self) -> CatchUp:
        return CatchUp(
            self._store, self._api, self._intake, EventSource.BACKFILL, self._log, still_ours=self.lease.check
        )

    @property
    def listing(self) -> Listed | None:
        """The one at work; None where nothing is left to do."""
        return self._listings[self.place.listing] if self.place.listing < len(self._listings) else None

    @property
    def share(self) -> float:
        """How much is behind, from 0 to 1."""
        place = self.place
        done = place.listing + (place.reached - place.since) / max(1, place.until - place.since)
        return min(1.0, done / max(1, len(self._listings)))

    async def resume(self) -> None:
        """Goes to where an earlier one was broken off, if one was. Its bounds hold, not those of now."""
        note = await self._store.note(self.lease.name)
        if note is None:
            return
        oldest = int(max(0.0, time.time() - self.keeps_seconds))
        if note.value["until"] <= oldest:
            return  # all of it is gone at Stripe
        self.place = Place(**{**note.value, "tally": Tally(**note.value["tally"])})
        self.place.reached = max(self.place.reached, oldest)
        self.resumed = True

    async def run(self, on_progress: Callable[[], None]) -> None:
        """To the end, under its lease; `on_progress` hears each step. Raises StripeApiError, StoreError, LeaseLost."""
        catch_up = self._catch_up()
        catch_up.tally = self.place.tally

        async def reached(window: Window) -> None:
            self.place.reached, self.place.after = window.until, window.after
            await self._store.keep_note(self.lease.name, asdict(self.place))
            on_progress()

        while (listing := self.listing) is not None:
            place = self.place
            await catch_up.run(listing, place.reached, place.until, self._wanted, reached, place.after)
            self.place.listing += 1
            self.place.after = None
            self.place.reached = self.place.since if self.listing is not None else self.place.until
            await self._store.keep_note(self.lease.name, asdict(self.place))
        await self._store.keep_note(self.lease.name, None)

    async def look(self) -> Counter[str]:
        """How many events it would bring, by type. Changes nothing. Raises StripeApiError, StoreError."""
        counts: Counter[str] = Counter()
        for listing in self._listings:
            asked = windows(self._api, listing, self.order.since, self.order.until, still_ours=lambda: None)
            async for window in asked:
                wanted = [event for event in window.events if self._wanted(event)]
                known = await self._known([event.id for event in wanted])
                counts.update(event.type for event in wanted if event.id not in known)
        return counts

    async def _known(self, ids: Sequence[str]) -> set[str]:
        if not ids:
            return set()
        where = EventFilter(ids=ids, accounts=(self.order.account.name,))
        return {event.id for event in await self._store.events(where, limit=len(ids))}

    def as_json(self) -> dict[str, Any]:
        """What `--json` shows of it."""
        return {
            "account": self.order.account.name,
            "connected_account": self.order.connected_account,
            "since": self.place.since,
            "until": self.place.until,
            "resumed": self.resumed,
            **asdict(self.place.tally),
        }
