"""Erases what the store keeps of one customer. What stays of an event is what keeps duplicates duplicates and
`once_per` done: its id, type, times and states, and the once keys of what succeeded.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from gateway.core.envelope import FORGOTTEN, parse_json
from gateway.core.errors import EnvelopeError, StoreError, UsageError
from gateway.core.model import DONE, ChangeResult, ConnectionChange, DeliveryState, Refusal, RejectedFilter
from gateway.store.encryption.keyring import Keyring
from gateway.store.encryption.store import bound_to, keyring_of, open_value
from gateway.store.protocol import Store
from gateway.store.sweep import DeliveryContents, EventContents

STEP = 50  # events looked at between two looks at others' work
TRIES = 20  # for an event whose deliveries change meanwhile
MOST_REJECTED = 100_000  # more than rejected.max_requests can keep
_CUSTOMER = re.compile(r"g?cus_[A-Za-z0-9]{1,250}")
_KEPT = ("id", "object", "type", "created", "livemode", "account", "context", "api_version")
_WAITING = frozenset({DeliveryState.BLOCKED, DeliveryState.PENDING, DeliveryState.RUNNING, DeliveryState.DEAD})
ERASED = "forgotten"  # what reasons and errors become


@dataclass(frozen=True, slots=True)
class WaitingDelivery:
    """A delivery that is still owed, or a dead letter, of an event that is to be forgotten."""

    id: str
    event_id: str
    action: str
    state: str


@dataclass(frozen=True, slots=True)
class Found:
    """What the store keeps of a customer."""

    events: tuple[tuple[str, str, int], ...]  # account, id, and the place in the store
    deliveries: int
    waiting: tuple[WaitingDelivery, ...]
    rejected: tuple[str, ...]  # ids of rejected requests that name the customer


Progress = Callable[[int], None]  # events looked at


class Naming:
    """Recognises what names a customer."""

    def __init__(self, customer: str, keyring: Keyring, account: str | None = None) -> None:
        """Raises UsageError where it is no customer's id."""
        if not _CUSTOMER.fullmatch(customer):
            raise UsageError(f"{customer[:60]!r} is no customer's id; expected cus_...")
        self.customer = customer
        self.account = account
        self.keyring = keyring
        self._text = re.compile(rf"(?<![A-Za-z0-9_]){customer}(?![A-Za-z0-9_])")
        self._bytes = re.compile(self._text.pattern.encode())

    def in_event(self, event: EventContents) -> bool:
        """Whether an event, or anything kept of its deliveries, names the customer. Raises StoreKeyMissing."""
        if self.account is not None and event.account != self.account:
            return False
        if event.object_id == self.customer:
            return True
        body = self.keyring.open(event.body, "event", event.account, event.id)
        return self._bytes.search(body) is not None or any(
            self._in_delivery(event, delivery) for delivery in event.deliveries
        )

    def _in_delivery(self, event: EventContents, delivery: DeliveryContents) -> bool:
        own = (event.account, event.id, delivery.action)
        values = (
            self._plain(delivery.rendered, *bound_to("rendered", *own)),
            self._plain(delivery.output, *bound_to("output", *own)),
            self._plain(
                None if delivery.fetched is None else json.dumps(json.loads(delivery.fetched)[2]),
                "fetched",
                delivery.run_id,
            ),
            delivery.reason,
            delivery.last_error,
            *(error for _, error in delivery.errors),
        )
        return any(value is not None and self._text.search(value) is not None for value in values)

    def _plain(self, text: str | None, *belongs_to: str) -> str | None:
        """A stored text as it was before it was sealed."""
        if text is None or not self.keyring.used:
            return text
        return json.dumps(open_value(self.keyring, json.loads(text), *belongs_to), ensure_ascii=False)

    async def rejected(self, store: Store) -> list[str]:
        """The rejected requests that name the customer."""
        ids = []
        for summary in await store.rejected(RejectedFilter(), limit=MOST_REJECTED):
            whole = await store.rejected_request(summary.id)
            if whole is not None and self.account in (None, whole.account) and self._bytes.search(whole.body):
                ids.append(summary.id)
        return ids


def naming(store: Store, customer: str, account: str | None = None) -> Naming:
    """For a store as it was opened. Raises UsageError."""
    return Naming(customer, keyring_of(store), account)


async def pages(store: Store) -> AsyncIterator[Sequence[EventContents]]:
    """Every event, some at a time, the oldest first."""
    cursor: int | None = 0
    while cursor is not None:
        page = await store.contents(cursor, limit=STEP)
        yield page.items
        cursor = page.next


async def find(store: Store, who: Naming, progress: Progress) -> Found:
    """Looks through all that is kept; changes nothing. Raises StoreError."""
    events: list[tuple[str, str, int]] = []
    waiting: list[WaitingDelivery] = []
    seen = deliveries = 0
    async for items in pages(store):
        for event in filter(who.in_event, items):
            events.append((event.account, event.id, event.seq))
            deliveries += len(event.deliveries)
            waiting += [
                WaitingDelivery(d.id, event.id, d.action, d.state) for d in event.deliveries if d.state in _WAITING
            ]
        seen += len(items)
        progress(seen)
    return Found(tuple(events), deliveries, tuple(waiting), tuple(await who.rejected(store)))


async def forget_event(store: Store, who: Naming, seq: int, *, cancel: bool, now: datetime) -> ChangeResult:
    """Erases one event's contents, and overwrites them where the store can. `cancel`: ends for good what is still owed
    for it.
    """
    for _ in range(TRIES):
        contents = (await store.contents(seq - 1, limit=1)).items
        if not contents or contents[0].seq != seq:
            return DONE  # purged meanwhile
        event = contents[0]
        waiting = [delivery for delivery in event.deliveries if delivery.state in _WAITING]
        if any(delivery.state == DeliveryState.RUNNING for delivery in waiting):
            return Refusal(f"{event.id}: a delivery runs just now; forget again once it has ended")
        if waiting and not cancel:
            return Refusal(f"{event.id}: {len(waiting)} of its deliveries are still owed, or dead letters")
        if waiting:
            await store.cancel([delivery.id for delivery in waiting], "the customer was forgotten")
            continue
        if await store.replace_contents(event, _emptied(event, who.keyring, now)):
            await _forget_failures(store, {delivery.id for delivery in event.deliveries})
            return DONE
    raise StoreError(f"the deliveries of event {seq} change all the time; forget again later")


async def forget_rejected(store: Store, who: Naming) -> int:
    """Drops the rejected requests that name the customer; how many."""
    return await store.forget_rejected(await who.rejected(store))


async def _forget_failures(store: Store, deliveries: set[str]) -> None:
    """Takes the words of a forgotten delivery's failure from the connection that it paused."""
    for name, status in (await store.connections()).items():
        if status.failed_delivery in deliveries and status.reason is not None:
            change = ConnectionChange(
                state=status.state,
                for_seconds=status.left_seconds,
                reason=ERASED,
                failures=status.failures,
                pauses=status.pauses,
                failed_delivery=status.failed_delivery,
            )
            await store.change_connection(name, status.version, change)


def _emptied(event: EventContents, keyring: Keyring, now: datetime) -> EventContents:
    body = json.dumps(_stub(event, keyring, now)).encode()
    if keyring.ids:
        body = keyring.seal(body, "event", event.account, event.id)
    return replace(event, object_id=None, body=body, deliveries=tuple(map(_emptied_delivery, event.deliveries)))


def _stub(event: EventContents, keyring: Keyring, now: datetime) -> dict[str, Any]:
    """The event without what it said."""
    try:
        envelope = parse_json(keyring.open(event.body, "event", event.account, event.id))
    except EnvelopeError:
        envelope = {"id": event.id, "object": "event"}
    kept = {key: envelope[key] for key in _KEPT if key in envelope}
    if envelope.get("object") == "event":
        kept["data"] = {"object": {}}
    return {**kept, FORGOTTEN: envelope.get(FORGOTTEN) or now.isoformat(timespec="seconds")}


def _emptied_delivery(delivery: DeliveryContents) -> DeliveryContents:
    return replace(
        delivery,
        once_key=delivery.once_key if delivery.state == DeliveryState.SUCCEEDED else None,
        order_key=None,
        reason=None if delivery.reason is None else ERASED,
        last_error=None if delivery.last_error is None else ERASED,
        rendered=None,
        output=None,
        fetched=None,
        errors=tuple((number, ERASED) for number, _ in delivery.errors),
    )
