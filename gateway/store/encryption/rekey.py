"""Seals what an earlier configuration stored in clear, or with a key that is being rolled: `gateway db encrypt`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace

from gateway.core.errors import StoreError
from gateway.core.model import RejectedFilter
from gateway.store.encryption.keyring import Keyring
from gateway.store.encryption.store import bound_to, note_keys, open_value, seal_text, sealed_in, used_keys
from gateway.store.protocol import Store
from gateway.store.sweep import DeliveryContents, EventContents

STEP = 50  # events looked at between two looks at others' work
TRIES = 20  # for an event whose deliveries go on meanwhile


@dataclass(frozen=True, slots=True)
class Sealed:
    """What a sweep did."""

    events: int  # looked at
    sealed: int  # events and rejected requests of which something was sealed
    rejected: int  # looked at


SealProgress = Callable[[int], None]  # events looked at


async def seal_all(store: Store, keyring: Keyring, told: SealProgress) -> Sealed:
    """Seals with the first key whatever is not yet. `store` is one without `EncryptedStore` in front. May be broken off
    and run again, and gateways may run meanwhile. After it other keys need not be given any more. Raises StoreError.
    """
    before = await used_keys(store)
    keyring.note_used(before)
    keyring.refuse_unopened()
    await note_keys(store, keyring.ids[:1], forgotten=[])
    events = sealed = 0
    cursor: int | None = 0
    while cursor is not None:
        page = await store.contents(cursor, limit=STEP)
        for event in page.items:
            sealed += await _seal(store, keyring, event)
        events += len(page.items)
        told(events)
        cursor = page.next
    listed = await store.rejected(RejectedFilter(), limit=100_000)
    for row in listed:
        request = await store.rejected_request(row.id)
        if request is not None and not keyring.is_current(request.body):
            body = keyring.open(request.body, "rejected request", request.id)
            sealed += await store.replace_rejected(request.id, keyring.seal(body, "rejected request", request.id))
    await store.scrub()
    await note_keys(store, [], forgotten=[key_id for key_id in before if key_id != keyring.ids[0]])
    return Sealed(events, sealed, len(listed))


async def _seal(store: Store, keyring: Keyring, event: EventContents) -> bool:
    """Whether there was anything to seal."""
    for _ in range(TRIES):
        wanted = _sealed_event(keyring, event)
        if wanted == event:
            return False
        if await store.replace_contents(event, wanted):
            return True
        again = (await store.contents(event.seq - 1, limit=1)).items
        if not again or again[0].seq != event.seq:
            return False  # purged meanwhile
        event = again[0]
    raise StoreError(f"the deliveries of {event.id} change all the time; run `gateway db encrypt` again")


def _sealed_event(keyring: Keyring, event: EventContents) -> EventContents:
    body = event.body
    if not keyring.is_current(body):
        body = keyring.seal(keyring.open(body, "event", event.account, event.id), "event", event.account, event.id)
    return replace(event, body=body, deliveries=tuple(_sealed_delivery(keyring, event, d) for d in event.deliveries))


def _sealed_delivery(keyring: Keyring, event: EventContents, delivery: DeliveryContents) -> DeliveryContents:
    own = (event.account, event.id, delivery.action)
    fetched = delivery.fetched
    if fetched is not None:
        *asked_and_when, value = json.loads(fetched)
        new = _sealed_text(keyring, json.dumps(value), "fetched", delivery.run_id)
        fetched = json.dumps([*asked_and_when, json.loads(new)]) if json.loads(new) != value else fetched
    return replace(
        delivery,
        rendered=delivery.rendered and _sealed_text(keyring, delivery.rendered, *bound_to("rendered", *own)),
        output=delivery.output and _sealed_text(keyring, delivery.output, *bound_to("output", *own)),
        fetched=fetched,
    )


def _sealed_text(keyring: Keyring, text: str, *belongs_to: str) -> str:
    value = json.loads(text)
    sealed = sealed_in(keyring, value)
    if sealed is None:
        return str(seal_text(keyring, text, *belongs_to))
    if keyring.is_current(sealed):
        return text
    return str(seal_text(keyring, json.dumps(open_value(keyring, value, *belongs_to)), *belongs_to))
