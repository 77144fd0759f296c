"""Brings what is stored into the form that is wanted now: `gateway db encrypt` and `gateway db compact`. Gateways may
run meanwhile; each event is replaced alone, and nothing but its form changes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from gateway.core.errors import StoreDamaged, StoreError
from gateway.core.model import RejectedFilter, RejectedRequest
from gateway.store.encoding.codec import BodyCodec, bound_to
from gateway.store.encoding.store import note_keys, used_keys
from gateway.store.encryption.keyring import Keyring
from gateway.store.protocol import Store
from gateway.store.sweep import DeliveryContents, EventContents

STEP = 50  # events looked at between two looks at others' work
TRIES = 20  # for an event whose deliveries go on meanwhile
COMPACTED = "db compact"  # the note of how far a sweep that was broken off has come

RecodeProgress = Callable[[int], None]  # events looked at


@dataclass(frozen=True, slots=True)
class Recoded:
    """What a sweep did."""

    events: int  # looked at
    changed: int  # events and rejected requests of which something was written anew
    rejected: int  # looked at
    left_to_do: str | None = None  # for a person, until the old form is gone from the store's files
    damaged: tuple[str, ...] = ()  # what of it cannot be read, and was left as it is: why, a row each


async def seal_all(store: Store, keyring: Keyring, told: RecodeProgress) -> Recoded:
    """Seals with the first key whatever is not yet. `store` is one without `EncodedStore` in front. May be broken off
    and run again, and gateways may run meanwhile. After it other keys need not be given any more, unless something is
    damaged. Raises StoreError.
    """
    before = await used_keys(store)
    keyring.note_used(before)
    keyring.refuse_unopened()
    await note_keys(store, keyring.ids[:1], forgotten=[])
    done = await _recode_all(store, BodyCodec(keyring, compresses=False), told, 0)
    if not done.damaged:
        await note_keys(store, [], forgotten=[key_id for key_id in before if key_id != keyring.ids[0]])
    return done


async def compact_all(store: Store, keyring: Keyring, told: RecodeProgress) -> Recoded:
    """Compresses whatever is not yet, or with an older dictionary; what is sealed stays so, with its key, and nothing
    else is sealed: the gateways that run may not know a key that has just been named. `store` as for `seal_all`.
    One that is broken off goes on where it was when it is run again. Programs too old to read it are refused from now
    on. Raises StoreError.
    """
    keyring.note_used(await used_keys(store))
    keyring.refuse_unopened()
    await store.takes_compressed(begin=True)
    note = await store.note(COMPACTED)
    after = int(note.value["after"]) if note is not None else 0

    async def reached(place: int) -> None:
        await store.keep_note(COMPACTED, {"after": place})

    done = await _recode_all(store, BodyCodec(keyring, compresses=True, reseals=False), told, after, reached)
    await store.keep_note(COMPACTED, None)
    return done


async def _recode_all(
    store: Store,
    codec: BodyCodec,
    told: RecodeProgress,
    after: int,
    reached: Callable[[int], Awaitable[None]] | None = None,
) -> Recoded:
    events = changed = 0
    damaged: list[str] = []

    async def recoded(what: Awaitable[bool]) -> bool:
        """Whether it was written anew: one that is damaged holds up no others."""
        try:
            return await what
        except StoreDamaged as error:
            damaged.append(str(error))
            return False

    async def recoded_request(request: RejectedRequest) -> bool:
        renewed = codec.renew(request.body, "rejected request", request.id)
        return renewed != request.body and await store.replace_rejected(request.id, renewed)

    cursor: int | None = after
    while cursor is not None:
        page = await store.contents(cursor, limit=STEP)
        changed += sum(await asyncio.gather(*(recoded(_recode(store, codec, event)) for event in page.items)))
        events += len(page.items)
        told(events)
        cursor = page.next
        if reached is not None and cursor is not None:
            await reached(cursor)
    listed = await store.rejected(RejectedFilter(), limit=100_000)
    for row in listed:
        request = await store.rejected_request(row.id)
        if request is not None:
            changed += await recoded(recoded_request(request))
    return Recoded(events, changed, len(listed), await store.scrub(), tuple(damaged))


async def _recode(store: Store, codec: BodyCodec, event: EventContents) -> bool:
    """Whether there was anything to write anew."""
    for _ in range(TRIES):
        wanted = _recoded_event(codec, event)
        if wanted == event:
            return False
        if await store.replace_contents(event, wanted):
            return True
        again = (await store.contents(event.seq - 1, limit=1)).items
        if not again or again[0].seq != event.seq:
            return False  # purged meanwhile
        event = again[0]
    raise StoreError(f"the deliveries of {event.id} change all the time; run this again")


def _recoded_event(codec: BodyCodec, event: EventContents) -> EventContents:
    body = codec.renew(event.body, "event", event.account, event.id)
    return replace(event, body=body, deliveries=tuple(_recoded_delivery(codec, event, d) for d in event.deliveries))


def _recoded_delivery(codec: BodyCodec, event: EventContents, delivery: DeliveryContents) -> DeliveryContents:
    own = (event.account, event.id, delivery.action)
    fetched = delivery.fetched
    if fetched is not None:
        *asked_and_when, value = json.loads(fetched)
        text = json.dumps(value)
        renewed = codec.renew_text(text, "fetched", delivery.run_id)
        fetched = fetched if renewed == text else json.dumps([*asked_and_when, json.loads(renewed)])
    return replace(
        delivery,
        rendered=delivery.rendered and codec.renew_text(delivery.rendered, *bound_to("rendered", *own)),
        output=delivery.output and codec.renew_text(delivery.output, *bound_to("output", *own)),
        fetched=fetched,
        attempts=tuple(
            replace(said, exchanges=said.exchanges and codec.renew_text(said.exchanges, *bound_to("exchanges", *own)))
            for said in delivery.attempts
        ),
    )
