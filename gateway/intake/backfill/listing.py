"""What Stripe lists, the oldest first, a window at a time: events, and objects of which events are made.

Stripe lists the newest first (https://docs.stripe.com/api/pagination) and keeps events for 30 days. So time is cut into
windows that hold few enough events to be turned round in memory; the oldest window comes first. How far a listing has
come is a time, and does not hang on an event that Stripe may have delivered or forgotten meanwhile.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from gateway.core.envelope import parse_event
from gateway.core.errors import EnvelopeError
from gateway.core.model import Account, Event
from gateway.stripe.api import Asking, Page, StripeApi

MOST_IN_WINDOW = 500  # events read before the window is made smaller
MOST_TYPES = 20  # that Stripe takes in one question

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Listed(Protocol):
    """What is listed of one account, and what events it makes."""

    @property
    def account(self) -> Account:
        """Whose it is."""

    @property
    def is_by_time(self) -> bool:
        """Whether Stripe can be asked for what was created in some time. Else it is gone through once, as it comes."""

    def pages(self, api: StripeApi, since: int, until: int, after: str | None = None) -> AsyncGenerator[Page, None]:
        """What was created from `since` to before `until`, as Stripe wrote it, the newest first; what follows the item
        of id `after`.
        """

    def event(self, body: bytes, at: datetime) -> Event:
        """The event that an item is, or makes. Raises EnvelopeError."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The events of one account, or of one that is connected to it."""

    account: Account
    connected_account: str | None = None
    types: tuple[str, ...] = ()  # exact ones, for Stripe to choose by; none: all
    undelivered: bool = False  # those alone that some endpoint has not taken
    thin: bool = False  # thin events, of which Stripe does not say whether they were delivered

    @property
    def is_by_time(self) -> bool:
        """Events are."""
        return True

    def pages(self, api: StripeApi, since: int, until: int, after: str | None = None) -> AsyncGenerator[Page, None]:
        """See `Listed`; `after` is not asked for."""
        connected = self.connected_account
        if self.thin:
            return api.thin_events(since=since, until=until, types=self.types, asking=Asking(context=connected))
        asking = Asking(connected_account=connected)
        return api.events(since=since, until=until, types=self.types, undelivered=self.undelivered, asking=asking)

    def event(self, body: bytes, at: datetime) -> Event:
        """As Stripe would have posted it: one of a connected account names that account. Raises EnvelopeError."""
        if self.connected_account is not None:
            name = "context" if self.thin else "account"
            fields = _fields.decode(body)
            if fields.get(name, b"null") in (b"null", b""):
                fields[name] = msgspec.Raw(msgspec.json.encode(self.connected_account))
                body = msgspec.json.encode(fields)
        return parse_event(body, self.account.name, at)


@dataclass(frozen=True, slots=True)
class Window:
    """The events created before `until` and not before the window before it, in order."""

    events: tuple[Event, ...]
    until: int  # Unix time
    unreadable: tuple[str, ...] = ()  # what is wrong with those that are no events as we know them
    after: str | None = None  # of a listing that is not by time: the id of the last item


async def windows(
    api: StripeApi,
    listing: Listed,
    since: int,
    until: int,
    after: str | None = None,
    *,
    still_ours: Callable[[], None],
) -> AsyncGenerator[Window, None]:
    """The windows of a listing: the oldest first, or as they come where it is not by time."""
    if listing.is_by_time:
        async with aclosing(oldest_first(api, listing, since, until, still_ours=still_ours)) as in_time:
            async for window in in_time:
                yield window
        return
    pages = listing.pages(api, since, until, after)
    still_ours()
    async with aclosing(pages):
        async for page in pages:
            events, unreadable = _events(page, listing, datetime.now(UTC))
            inside = tuple(event for event in events if since <= _created(event) < until)
            yield Window(inside, since, tuple(unreadable), events[-1].object_id if events else after)
            if events and _created(events[-1]) < since:
                break
            still_ours()
    yield Window((), until)


def _created(event: Event) -> int:
    return 0 if event.created_at is None else int(event.created_at.timestamp())


async def oldest_first(
    api: StripeApi,
    listing: Listed,
    since: int,
    until: int,
    *,
    still_ours: Callable[[], None],
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> AsyncGenerator[Window, None]:
    """Every event created from `since` to before `until`. Raises StripeApiError, and what `still_ours` raises, which is
    called before each request.
    """
    start, size = since, until - since
    while start < until:
        end = min(until, start + size)
        events, unreadable, is_whole = await _read(api, listing, start, end, still_ours, now)
        if not is_whole:
            size = smaller(end - start, events)
            continue
        yield Window(tuple(reversed(events)), end, tuple(unreadable))
        start = end
        if len(events) < MOST_IN_WINDOW // 4:
            size *= 2


def smaller(size: int, newest: Sequence[Event]) -> int:
    """The size of a window, in seconds, that should hold few enough events, by how close the newest ones lie."""
    first, last = newest[-1].created_at, newest[0].created_at
    span = int((last - first).total_seconds()) if first is not None and last is not None else 0
    return max(1, min(size // 2, span))


async def _read(
    api: StripeApi,
    listing: Listed,
    start: int,
    end: int,
    still_ours: Callable[[], None],
    now: Callable[[], datetime],
) -> tuple[list[Event], list[str], bool]:
    """The events of a window, the newest first, what is wrong with others, and whether these are all. Those of one
    second are always all.
    """
    pages = listing.pages(api, start, end)
    events: list[Event] = []
    unreadable: list[str] = []
    still_ours()
    async with aclosing(pages):
        async for page in pages:
            more, wrong = _events(page, listing, now())
            events += more
            unreadable += wrong
            if len(events) > MOST_IN_WINDOW and end - start > 1:
                return events, unreadable, False
            still_ours()
    return events, unreadable, True


def _events(page: Page, listing: Listed, at: datetime) -> tuple[list[Event], list[str]]:
    events: list[Event] = []
    unreadable: list[str] = []
    for body in page:
        try:
            events.append(listing.event(body, at))
        except EnvelopeError as error:
            unreadable.append(str(error))
    return events, unreadable
