"""Events at Stripe, the oldest first, a window at a time.

Stripe lists the newest first (https://docs.stripe.com/api/pagination) and keeps events for 30 days. So time is cut into
windows that hold few enough events to be turned round in memory; the oldest window comes first. How far a listing has
come is a time, and does not hang on an event that Stripe may have delivered or forgotten meanwhile.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from gateway.core.envelope import parse_event
from gateway.core.errors import EnvelopeError
from gateway.core.model import Account, Event
from gateway.stripe.api import Asking, StripeApi

MOST_IN_WINDOW = 500  # events read before the window is made smaller
MOST_TYPES = 20  # that Stripe takes in one question

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True, slots=True)
class Listing:
    """What is listed: the events of one account, or of one that is connected to it."""

    account: Account
    connected_account: str | None = None
    types: tuple[str, ...] = ()  # exact ones, for Stripe to choose by; none: all
    undelivered: bool = False  # those alone that some endpoint has not taken
    thin: bool = False  # thin events, of which Stripe does not say whether they were delivered


@dataclass(frozen=True, slots=True)
class Window:
    """The events created before `until` and not before the window before it, in order."""

    events: tuple[Event, ...]
    until: int  # Unix time
    unreadable: tuple[str, ...] = ()  # what is wrong with those that are no events as we know them


async def oldest_first(
    api: StripeApi,
    listing: Listing,
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
    listing: Listing,
    start: int,
    end: int,
    still_ours: Callable[[], None],
    now: Callable[[], datetime],
) -> tuple[list[Event], list[str], bool]:
    """The events of a window, the newest first, what is wrong with others, and whether these are all. Those of one
    second are always all.
    """
    connected = listing.connected_account
    if listing.thin:
        pages = api.thin_events(since=start, until=end, types=listing.types, asking=Asking(context=connected))
    else:
        asking = Asking(connected_account=connected)
        pages = api.events(since=start, until=end, types=listing.types, undelivered=listing.undelivered, asking=asking)
    events: list[Event] = []
    unreadable: list[str] = []
    still_ours()
    async with aclosing(pages):
        async for page in pages:
            for body in page:
                try:
                    events.append(_event(body, listing, now()))
                except EnvelopeError as error:
                    unreadable.append(str(error))
            if len(events) > MOST_IN_WINDOW and end - start > 1:
                return events, unreadable, False
            still_ours()
    return events, unreadable, True


def _event(body: bytes, listing: Listing, at: datetime) -> Event:
    """The event as Stripe would have posted it: one of a connected account names that account. Raises EnvelopeError."""
    if listing.connected_account is not None:
        name = "context" if listing.thin else "account"
        fields = _fields.decode(body)
        if fields.get(name, b"null") in (b"null", b""):
            fields[name] = msgspec.Raw(msgspec.json.encode(listing.connected_account))
            body = msgspec.json.encode(fields)
    return parse_event(body, listing.account.name, at)
