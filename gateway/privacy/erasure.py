"""Erases what the store keeps of one customer. What stays of an event is what keeps duplicates duplicates and
`once_per` done: its id, type, times and states, and the once keys of what succeeded.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from gateway.core.envelope import FORGOTTEN, is_forgotten, parse_json
from gateway.core.errors import EnvelopeError, StoreError, UsageError
from gateway.core.internal_events import DELIVERY_DEAD, subject_of
from gateway.core.model import DONE, ChangeResult, ConnectionChange, DeliveryState, Refusal, RejectedFilter
from gateway.store.encoding.codec import BodyCodec, bound_to
from gateway.store.encoding.store import codec_of
from gateway.store.protocol import Store
from gateway.store.sweep import AttemptContents, DeliveryContents, EventContents

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
    digests: tuple[int, ...]  # the places of other events, whose digests bring some of these along
    deliveries: int
    waiting: tuple[WaitingDelivery, ...]
    rejected: tuple[str, ...]  # ids of rejected requests that name the customer


Progress = Callable[[int], None]  # events looked at


class Naming:
    """Recognises what names a customer, and remembers it: what was seen of an event tells what brings it along."""

    def __init__(self, customer: str, codec: BodyCodec, account: str | None = None) -> None:
        """Raises UsageError where it is no customer's id."""
        if not _CUSTOMER.fullmatch(customer):
            raise UsageError(f"{customer[:60]!r} is no customer's id; expected cus_...")
        self.customer = customer
        self.account = account
        self.codec = codec
        self._text = re.compile(rf"(?<![A-Za-z0-9_]){customer}(?![A-Za-z0-9_])")
        self._bytes = re.compile(self._text.pattern.encode())
        self._named: dict[int, tuple[str, str]] = {}  # account and id of each event, by its place
        self._erased: set[int] = set()  # events that were forgotten before
        self._digests: dict[int, set[int]] = {}  # what the digests of each event bring, by its place

    def in_event(self, event: EventContents) -> bool:
        """Whether an event, or anything kept of its deliveries, names the customer; so does the gateway's own event
        that tells of such a one. What a digest says of others does not count. Raises StoreKeyMissing.
        """
        for delivery in event.deliveries:
            self._digests.setdefault(event.seq, set()).update(_digest_of(delivery))
        if self.account is not None and event.account != self.account:
            return False
        body = self.codec.decode(event.body, "event", event.account, event.id)
        if is_forgotten(body):
            self._erased.add(event.seq)
        is_named = event.object_id == self.customer or self._in_contents(event, body)
        if is_named:
            self._named[event.seq] = (event.account, event.id)
        return is_named

    @property
    def named(self) -> list[int]:
        """The places of the events seen that name the customer."""
        return sorted(self._named)

    @property
    def digests(self) -> list[int]:
        """The places of the other events seen whose digests bring one of these along."""
        return sorted(seq for seq, brought in self._digests.items() if seq not in self._named and self.is_in(brought))

    def is_in(self, seqs: Iterable[int]) -> bool:
        """Whether one of these events names the customer."""
        return not self._named.keys().isdisjoint(seqs)

    def brings_others(self, delivery: DeliveryContents) -> bool:
        """Whether a digest brings events that do not name the customer, and that there still are."""
        return not self._named.keys() | self._erased >= _digest_of(delivery)

    def _in_contents(self, event: EventContents, body: bytes) -> bool:
        if self._bytes.search(body) is not None or self._is_subject(body):
            return True
        own = (delivery for delivery in event.deliveries if len(_digest_of(delivery)) < 2)
        return any(self._in_delivery(event, delivery) for delivery in own)

    def _is_subject(self, body: bytes) -> bool:
        """Whether the body is that of an own event which tells of an event that names the customer."""
        try:
            subject = subject_of(parse_json(body)) if DELIVERY_DEAD.encode() in body else None
        except EnvelopeError:
            return False
        return subject is not None and subject in self._named.values()

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
            *(said.error for said in delivery.attempts),
            *(self._plain(said.exchanges, *bound_to("exchanges", *own)) for said in delivery.attempts),
        )
        return any(value is not None and self._text.search(value) is not None for value in values)

    def _plain(self, text: str | None, *belongs_to: str) -> str | None:
        """A stored text as it was before it was encoded."""
        if text is None:
            return text
        return json.dumps(self.codec.decode_value(json.loads(text), *belongs_to), ensure_ascii=False)

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
    return Naming(customer, codec_of(store), account)


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
    owed: list[tuple[str, DeliveryContents]] = []
    seen = deliveries = 0
    async for items in pages(store):
        for event in filter(who.in_event, items):
            events.append((event.account, event.id, event.seq))
            deliveries += len(event.deliveries)
            owed += [(event.id, delivery) for delivery in event.deliveries if delivery.state in _WAITING]
        seen += len(items)
        progress(seen)
    waiting = [
        WaitingDelivery(delivery.id, event_id, delivery.action, delivery.state)
        for event_id, delivery in owed
        if delivery.state == DeliveryState.RUNNING or not who.brings_others(delivery)
    ]
    return Found(tuple(events), tuple(who.digests), deliveries, tuple(waiting), tuple(await who.rejected(store)))


async def forget_event(store: Store, who: Naming, seq: int, *, cancel: bool, now: datetime) -> ChangeResult:
    """Erases one event's contents, and overwrites them where the store can; of an event that `who` has not seen to name
    the customer, what its digests said. `cancel`: ends for good what is still owed for it. A digest that brings others
    along is not ended: from now on it goes without this event.
    """
    for _ in range(TRIES):
        contents = (await store.contents(seq - 1, limit=1)).items
        if not contents or contents[0].seq != seq:
            return DONE  # purged meanwhile
        event = contents[0]
        is_named = who.is_in([seq])
        concerned = [d for d in event.deliveries if d.state in _WAITING and (is_named or who.is_in(_digest_of(d)))]
        if any(delivery.state == DeliveryState.RUNNING for delivery in concerned):
            return Refusal(f"{event.id}: a delivery runs just now; forget again once it has ended")
        waiting = [delivery for delivery in concerned if not who.brings_others(delivery)]
        if waiting and not cancel:
            return Refusal(f"{event.id}: {len(waiting)} of its deliveries are still owed, or dead letters")
        if waiting:
            await store.cancel([delivery.id for delivery in waiting], "the customer was forgotten")
            continue
        emptied = _emptied(event, who, now) if is_named else _without_lines(event, who)
        if await store.replace_contents(event, emptied):
            pairs = zip(event.deliveries, emptied.deliveries, strict=True)
            await _forget_failures(store, {old.id for old, new in pairs if is_named or new != old})
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


def _emptied(event: EventContents, who: Naming, now: datetime) -> EventContents:
    stub = json.dumps(_stub(event, who.codec, now)).encode()
    body = who.codec.encode(stub, "event", event.account, event.id)
    deliveries = (_emptied_delivery(delivery, who.brings_others(delivery)) for delivery in event.deliveries)
    return replace(event, object_id=None, body=body, deliveries=tuple(deliveries))


def _without_lines(event: EventContents, who: Naming) -> EventContents:
    """Another's event without what its digests said of the customer."""
    deliveries = (
        _emptied_delivery(delivery, True) if who.is_in(_digest_of(delivery)) else delivery
        for delivery in event.deliveries
    )
    return replace(event, deliveries=tuple(deliveries))


def _digest_of(delivery: DeliveryContents) -> set[int]:
    """The places of the events that a delivery has gathered."""
    return set() if delivery.digest is None else set(json.loads(delivery.digest))


def _stub(event: EventContents, codec: BodyCodec, now: datetime) -> dict[str, Any]:
    """The event without what it said."""
    try:
        envelope = parse_json(codec.decode(event.body, "event", event.account, event.id))
    except EnvelopeError:
        envelope = {"id": event.id, "object": "event"}
    kept = {key: envelope[key] for key in _KEPT if key in envelope}
    if envelope.get("object") == "event":
        kept["data"] = {"object": {}}
    return {**kept, FORGOTTEN: envelope.get(FORGOTTEN) or now.isoformat(timespec="seconds")}


def _emptied_delivery(delivery: DeliveryContents, is_others_too: bool) -> DeliveryContents:
    return replace(
        delivery,
        once_key=delivery.once_key if delivery.state == DeliveryState.SUCCEEDED else None,
        order_key=delivery.order_key if is_others_too else None,  # by which it knows what it has gathered
        reason=None if delivery.reason is None else ERASED,
        last_error=None if delivery.last_error is None else ERASED,
        rendered=None,
        output=None,
        fetched=None,
        attempts=tuple(
            AttemptContents(said.number, None if said.error is None else ERASED, None) for said in delivery.attempts
        ),
    )
