"""One box for any id, e-mail address or amount: what a query may mean, and where it is looked for.

Ids of events, objects, deliveries and rejected requests have indexes and are found however far back. All else stands in
bodies only, which are looked through from the newest back for a bounded time; the answer says how far that came. What
an account redacts is not found: a hit would tell it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import Field

from gateway.admin.api.schemas import DeliveryOut, EventOut, Model, Shown
from gateway.core.envelope import parse_json
from gateway.core.errors import EnvelopeError, UsageError
from gateway.core.model import Event, EventFilter, RejectedFilter
from gateway.privacy.views import Redactions, shown_event
from gateway.store.answers import Page
from gateway.store.protocol import Store
from gateway.templating.currencies import decimals, to_major

MOST_OF_A_GROUP = 25
SHORTEST_TEXT = 3
SCAN_SECONDS = 0.12  # for bodies that the store itself cannot look into
SCAN_STEP = 50
_SYMBOLS = {"€": "eur", "$": "usd", "£": "gbp", "¥": "jpy"}
_UNIT = "[A-Za-z]{3}|[€$£¥]"
_AMOUNT = re.compile(rf"(?P<before>{_UNIT})?\s*(?P<number>\d{{1,12}}(?:[.,]\d{{1,3}})?)\s*(?P<after>{_UNIT})?")
_AMOUNT_KEYS = ("amount", "total", "balance", "price", "fee", "net")


class SearchQuery(Model):
    """What to look for."""

    q: Annotated[str, Field(max_length=200, description="An id, an e-mail address, an amount (`45.00 EUR`) or a text.")]


class RejectedHit(Shown):
    """A rejected request of that id."""

    id: str
    reason: str
    received_at: datetime


class SearchOut(Shown):
    """What was found, by what the query may mean."""

    query: str
    events: list[EventOut] = Field(description="Of that id.")
    deliveries: list[DeliveryOut] = Field(description="Of that id, else those of the event of that id.")
    rejected: list[RejectedHit] = Field(description="Of that id.")
    of_object: list[EventOut] = Field(description="About the object of that id, the newest first.")
    amounts: list[EventOut] = Field(description="With that amount of money, the newest first.")
    mentions: list[EventOut] = Field(description="With that text in their body, the newest first.")
    searched_until: datetime | None = Field(description="Bodies were looked through back to then; null: all of them.")

    @property
    def is_empty(self) -> bool:
        """Whether nothing was found."""
        groups = (self.events, self.deliveries, self.rejected, self.of_object, self.amounts, self.mentions)
        return not any(groups)


@dataclass(frozen=True, slots=True)
class Amount:
    """An amount of money as a person writes it."""

    number: Decimal
    currency: str | None = None

    @property
    def needle(self) -> str:
        """Digits that stand in every body that has it; of a currency that is not said, two decimals are taken."""
        return str(int(self.number.scaleb(decimals(self.currency or "usd"))) if self.is_major else int(self.number))

    @property
    def is_major(self) -> bool:
        """Whether it is in the currency's main unit; else it may also be as the API has it, in the minor one."""
        return self.currency is not None or self.number.as_tuple().exponent != 0

    def fits(self, amount: int, currency: str) -> bool:
        """Whether an amount of the API is this one."""
        if self.currency not in (None, currency.lower()):
            return False
        return to_major(amount, currency) == self.number or (not self.is_major and amount == self.number)


def parse_amount(text: str) -> Amount | None:
    """`45`, `4500`, `45.00`, `45,00 €`, `EUR 45`, `¥500`; None for what is none."""
    match = _AMOUNT.fullmatch(text.strip())
    if match is None or (match["before"] and match["after"]):
        return None
    unit = match["before"] or match["after"]
    return Amount(Decimal(match["number"].replace(",", ".")), _SYMBOLS.get(unit, unit.lower()) if unit else None)


def amounts_in(value: Any, currency: str | None = None) -> Iterator[tuple[int, str]]:
    """The amounts of money in an event's JSON with the currency that each stands beside, or below."""
    if isinstance(value, Mapping):
        own = value.get("currency")
        currency = own if isinstance(own, str) else currency
        for key, item in value.items():
            if isinstance(item, int) and not isinstance(item, bool):
                if currency is not None and any(word in str(key) for word in _AMOUNT_KEYS):
                    yield item, currency
            else:
                yield from amounts_in(item, currency)
    elif isinstance(value, list):
        for item in value:
            yield from amounts_in(item, currency)


async def mentioning(
    store: Store, everything: Store, redactions: Redactions, text: str, *, limit: int, after: str | None = None
) -> Page[Event]:
    """Events with a text in their body as it is shown, the newest first, for a bounded time: by the store, or, where it
    keeps bodies in a form that it cannot look into, by opening one after another. What is to be hidden is found in
    `everything`, of which the store may be a part.
    """
    deadline = time.monotonic() + SCAN_SECONDS
    hits: list[Event] = []
    while True:  # a page may hold none that may be told
        left = limit - len(hits)
        try:
            page = await store.event_page(EventFilter(text=text), limit=left, after=after)
        except UsageError:
            page = await _opened_one_by_one(store, text.encode("utf-8", "replace"), left, after)
        hits += await telling(everything, page.items, redactions, text)
        after, until = page.next, page.searched_until
        if after is None or until is not None or len(hits) == limit or time.monotonic() > deadline:
            return Page(hits, after, until or (page.items[-1].received_at if after and page.items else None))


async def telling(store: Store, events: Sequence[Event], redactions: Redactions, text: str) -> list[Event]:
    """Of events with a text in their body those that have it there also where `redact` has hidden what it hides."""
    if not any(redactions.paths.values()):
        return list(events)
    hits: list[Event] = []
    for event in events:
        for whole in await store.event(event.id, event.account):
            shown = (await shown_event(store, whole, redactions)).body
            if shown is whole.body or text in shown.decode("utf-8", "replace"):
                hits.append(event)
    return hits


async def _opened_one_by_one(store: Store, text: bytes, limit: int, after: str | None) -> Page[Event]:
    deadline = time.monotonic() + SCAN_SECONDS
    hits: list[Event] = []
    while True:
        page = await store.event_page(EventFilter(), limit=min(SCAN_STEP, limit - len(hits)), after=after)
        for event in page.items:
            hits += [whole for whole in await store.event(event.id, event.account) if text in whole.body]
        after = page.next
        if after is None or len(hits) >= limit:
            return Page(hits, after)
        if time.monotonic() > deadline:
            return Page(hits, after, page.items[-1].received_at)


async def with_amount(store: Store, everything: Store, redactions: Redactions, amount: Amount) -> Page[Event]:
    """Events with an amount, the newest first, among those that have its digits somewhere."""
    page = await mentioning(store, everything, redactions, amount.needle, limit=MOST_OF_A_GROUP * 4)
    hits: list[Event] = []
    for event in page.items:
        for whole in await store.event(event.id, event.account):
            try:
                pairs = amounts_in(parse_json((await shown_event(everything, whole, redactions)).body))
                if any(amount.fits(*pair) for pair in pairs):
                    hits.append(event)
            except EnvelopeError:
                continue
        if len(hits) == MOST_OF_A_GROUP:
            break
    return Page(hits, page.next, page.searched_until)


async def rejected_hits(store: Store, text: str) -> list[RejectedHit]:
    """The rejected request of that id."""
    if not text.startswith("rej_"):
        return []
    requests = await store.rejected(RejectedFilter(ids=(text,)), limit=1)
    return [RejectedHit(id=r.id, reason=r.reason, received_at=r.received_at) for r in requests]
