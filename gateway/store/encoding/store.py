"""A store whose bodies are compressed, and sealed, before they reach it: what `store.compress` and `store.encrypt` put
in front of any store.

So are events' bodies, what `fetch` brought, deliveries' rendered values and outputs, attempts' exchanges, and rejected
requests' bodies. All else stays readable, for the store finds and orders by it: ids, types, states, times, keys,
reasons and errors.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

from gateway.core.errors import StoreDamaged, StoreError, UsageError
from gateway.core.model import (
    Attempt,
    AttemptOutcome,
    Claim,
    Delivery,
    DeliveryState,
    Event,
    EventFilter,
    Fetched,
    Finish,
    Gathered,
    Lane,
    Outcome,
    PlannedDelivery,
    RejectedBounds,
    RejectedRequest,
    SharedRate,
)
from gateway.store.answers import Added, Page
from gateway.store.encoding.codec import BodyCodec, bound_to
from gateway.store.encryption.keyring import Keyring
from gateway.store.keeping import kept_text
from gateway.store.protocol import Store

NOTE = "store.encrypt"  # the ids of the keys that ever sealed anything here
_LEASE_SECONDS = 10.0
_LEASE_PAUSE_SECONDS = 0.05
_ASKED_AGAIN_SECONDS = 60.0
NO_SEARCH = (
    "text: the bodies in this store are encrypted (store.encrypt), and a search cannot look inside them; narrow by "
    "object, type, account, state or time"
)


async def with_codec(store: Store, keyring: Keyring, *, compresses: bool, strict: bool) -> Store:
    """An open store as its users see it. Notes that the first key is in use. `strict`: raises StoreKeyMissing where a
    key that was used is not given; else whoever reads what needs it is told.
    """
    used = await used_keys(store)
    keyring.note_used(used)
    if strict:
        keyring.refuse_unopened()
    if keyring.ids and keyring.ids[0] not in used:
        await note_keys(store, [keyring.ids[0]], forgotten=[])
    encoded = EncodedStore(store, BodyCodec(keyring, compresses=compresses))
    await encoded.ask_whether_to_compress()
    return cast(Store, encoded)  # what it does not define is the inner store's own


async def used_keys(store: Store) -> tuple[str, ...]:
    """The ids of all keys that ever sealed anything in a store."""
    note = await store.note(NOTE)
    return () if note is None else tuple(note.value["keys"])


async def note_keys(store: Store, added: Sequence[str], forgotten: Sequence[str]) -> None:
    """Changes which keys are in use, one gateway at a time."""
    holder = secrets.token_hex(8)
    while not await store.take_lease(NOTE, holder, lease_seconds=_LEASE_SECONDS):  # noqa: ASYNC110 - another process has it
        await asyncio.sleep(_LEASE_PAUSE_SECONDS)
    try:
        ids = dict.fromkeys((*await used_keys(store), *added))
        await store.keep_note(NOTE, {"keys": [key_id for key_id in ids if key_id not in forgotten]})
    finally:
        await store.release_lease(NOTE, holder)


def codec_of(store: Store) -> BodyCodec:
    """What decodes and encodes what a store keeps, as `with_codec` opened it."""
    codec: BodyCodec | None = getattr(store, "codec", None)
    return codec if codec is not None else BodyCodec(Keyring(()), compresses=False)


class _ClaimToken(str):
    """The inner store's token, which knows whose claim it is of."""

    owner: tuple[str, str, str]  # account, event, action

    @classmethod
    def of(cls, token: str, owner: tuple[str, str, str]) -> _ClaimToken:
        bound = cls(token)
        bound.owner = owner
        return bound


class EncodedStore:
    """See `gateway.store.protocol.Store` for what each method promises."""

    def __init__(self, inner: Store, codec: BodyCodec) -> None:
        self.inner = inner
        self.codec = codec
        self._is_to_compress = codec.compresses
        self._ask_again_at: float | None = None
        self.on_damaged: Callable[[Claim, Finish], None] | None = None  # told of each claim that ended so

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def ask_whether_to_compress(self) -> None:
        """Compresses from now on, where that is wanted and no older program may read it; else asks again later."""
        self.codec.compresses = self._is_to_compress and await self.inner.takes_compressed()
        is_settled = self.codec.compresses or not self._is_to_compress
        self._ask_again_at = None if is_settled else time.monotonic() + _ASKED_AGAIN_SECONDS

    # -- intake -----------------------------------------------------------------------------------------------

    async def add(self, event: Event, planned: Sequence[PlannedDelivery]) -> Added:
        if self._ask_again_at is not None and time.monotonic() > self._ask_again_at:
            self._ask_again_at = time.monotonic() + _ASKED_AGAIN_SECONDS  # one asks: what comes meanwhile goes on
            await self.ask_whether_to_compress()
        body = self.codec.encode(event.body, "event", event.account, kept_text(event.id) or "")
        return await self.inner.add(event.with_body(body), planned)

    async def keep_rejected(self, requests: Sequence[RejectedRequest], bounds: RejectedBounds) -> int:
        encoded = [
            replace(request, body=self.codec.encode(request.body, "rejected request", request.id))
            for request in requests
        ]
        return await self.inner.keep_rejected(encoded, bounds)

    # -- delivery ---------------------------------------------------------------------------------------------
    #
    # A claim's token knows what the end of the attempt is to be bound to: whoever holds it gives it back as it is.

    async def claim(
        self, wanted: Mapping[Lane, int], *, lease_seconds: float, rates: Sequence[SharedRate] = ()
    ) -> list[Claim]:
        claims = await self.inner.claim(wanted, lease_seconds=lease_seconds, rates=rates)
        decoded = []
        for claim in claims:
            try:
                decoded.append(self._decoded_claim(claim))
            except StoreDamaged as error:  # it alone: the others of its lane go on
                await self._end_unread(claim, _unreadable(claim, str(error)))
        return decoded

    async def _end_unread(self, claim: Claim, ending: Finish) -> None:
        try:
            is_recorded = await self.inner.finish(claim.delivery.id, claim.token, ending)
        except StoreError:
            return  # what was claimed beside it is not lost for that
        if is_recorded and self.on_damaged is not None:
            self.on_damaged(claim, ending)

    def _decoded_claim(self, claim: Claim) -> Claim:
        delivery = claim.delivery
        outputs = {
            action: self.codec.decode_value(output, *bound_to("output", delivery.account, delivery.event_id, action))
            for action, output in claim.outputs.items()
        }
        return Claim(
            delivery=self._decoded(delivery),
            token=_ClaimToken.of(claim.token, (delivery.account, delivery.event_id, delivery.action)),
            event=self._decoded_event(claim.event),
            outputs=outputs,
            ends=claim.ends,
        )

    async def finish(self, delivery_id: str, token: str, ending: Outcome) -> bool:
        if isinstance(ending, Finish):
            if not isinstance(token, _ClaimToken):
                return False  # of no claim of this store: nothing is ever kept as it is for want of an owner
            rendered = self.codec.encode_value(ending.rendered, *bound_to("rendered", *token.owner))
            output = self.codec.encode_value(ending.output, *bound_to("output", *token.owner))
            if rendered is not ending.rendered or output is not ending.output:
                ending = ending.with_values(rendered, output)
            if ending.attempt.exchanges is not None:
                kept = self.codec.encode_value(ending.attempt.exchanges, *bound_to("exchanges", *token.owner))
                ending = replace(ending, attempt=replace(ending.attempt, exchanges=kept))
        return await self.inner.finish(delivery_id, token, ending)

    async def gather(
        self, delivery_id: str, token: str, *, wait_seconds: float, every_seconds: float, most: int
    ) -> Gathered | float | None:
        gathered = await self.inner.gather(
            delivery_id, token, wait_seconds=wait_seconds, every_seconds=every_seconds, most=most
        )
        if not isinstance(gathered, Gathered):
            return gathered
        return replace(gathered, events=[self._decoded_event(event) for event in gathered.events])

    async def fetched(self, run_id: str) -> Fetched | None:
        kept = await self.inner.fetched(run_id)
        return None if kept is None else self._decoded_fetched(run_id, kept)

    async def keep_fetched(self, run_id: str, fetched: Fetched) -> Fetched:
        encoded = self.codec.encode_object(fetched.object, "fetched", run_id)
        kept = await self.inner.keep_fetched(run_id, replace(fetched, object=encoded))
        return fetched if kept.object == encoded else self._decoded_fetched(run_id, kept)

    def _decoded_fetched(self, run_id: str, fetched: Fetched) -> Fetched:
        return replace(fetched, object=self.codec.decode_value(fetched.object, "fetched", run_id))

    # -- people -----------------------------------------------------------------------------------------------

    async def event(self, event_id: str, account: str | None = None) -> list[Event]:
        return [self._decoded_event(event) for event in await self.inner.event(event_id, account)]

    async def gathered(self, delivery_id: str) -> list[Event]:
        return [self._decoded_event(event) for event in await self.inner.gathered(delivery_id)]

    def _decoded_event(self, event: Event) -> Event:
        body = self.codec.decode(event.body, "event", event.account, event.id)
        return event if body is event.body else event.with_body(body)

    async def delivery(self, delivery_id: str) -> tuple[Delivery, list[Attempt]] | None:
        kept = await self.inner.delivery(delivery_id)
        if kept is None:
            return None
        delivery, attempts = kept
        own = bound_to("exchanges", delivery.account, delivery.event_id, delivery.action)
        decoded = [replace(a, exchanges=self.codec.decode_value(a.exchanges, *own)) for a in attempts]
        return self._decoded(delivery), decoded

    def _decoded(self, delivery: Delivery) -> Delivery:
        if delivery.rendered is None and delivery.output is None:
            return delivery
        own = (delivery.account, delivery.event_id, delivery.action)
        return replace(
            delivery,
            rendered=self.codec.decode_value(delivery.rendered, *bound_to("rendered", *own)),
            output=self.codec.decode_value(delivery.output, *bound_to("output", *own)),
        )

    async def rejected_request(self, rejected_id: str) -> RejectedRequest | None:
        kept = await self.inner.rejected_request(rejected_id)
        if kept is None:
            return None
        return replace(kept, body=self.codec.decode(kept.body, "rejected request", kept.id))

    async def event_page(
        self, where: EventFilter, *, limit: int, after: str | None = None, oldest_first: bool = False
    ) -> Page[Event]:
        if where.text and self.codec.keyring.used:
            raise UsageError(NO_SEARCH)
        return await self.inner.event_page(where, limit=limit, after=after, oldest_first=oldest_first)


def _unreadable(claim: Claim, why: str) -> Finish:
    """The end of a claim of which something is damaged."""
    attempt = Attempt(claim.delivery.attempts, datetime.now(UTC), 0.0, AttemptOutcome.DEAD, why)
    return Finish(DeliveryState.DEAD, attempt, reason=why)
