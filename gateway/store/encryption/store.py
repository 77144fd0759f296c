"""A store whose bodies are sealed before they reach it: what `store.encrypt` puts in front of any store.

Sealed are events' bodies, what `fetch` brought, deliveries' rendered values and outputs, and rejected requests' bodies.
All else stays readable, for the store finds and orders by it: ids, types, states, times, keys, reasons and errors. A
store without keys has nothing of this in its way.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from gateway.core.errors import UsageError
from gateway.core.model import (
    Attempt,
    Claim,
    Delivery,
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
from gateway.store.encryption.keyring import Keyring
from gateway.store.keeping import KeptText, kept_json, kept_text
from gateway.store.protocol import Store

NOTE = "store.encrypt"  # the ids of the keys that ever sealed anything here
_LEASE_SECONDS = 10.0
_LEASE_PAUSE_SECONDS = 0.05
_SEALED = "encrypted"
NO_SEARCH = (
    "text: the bodies in this store are encrypted (store.encrypt), and a search cannot look inside them; narrow by "
    "object, type, account, state or time"
)


async def with_keys(store: Store, keyring: Keyring, *, strict: bool) -> Store:
    """An open store as its users see it: itself where nothing in it is sealed and no key is given. Notes that the first
    key is in use. `strict`: raises StoreKeyMissing where a key that was used is not given; else whoever reads what
    needs it is told.
    """
    used = await used_keys(store)
    if not used and not keyring.ids:
        return store
    keyring.note_used(used)
    if strict:
        keyring.refuse_unopened()
    if keyring.ids and keyring.ids[0] not in used:
        await note_keys(store, [keyring.ids[0]], forgotten=[])
    return cast(Store, EncryptedStore(store, keyring))  # what it does not define is the inner store's own


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


def keyring_of(store: Store) -> Keyring:
    """The keys of a store that `with_keys` gave; none where nothing is sealed."""
    keyring: Keyring | None = getattr(store, "keyring", None)
    return keyring if keyring is not None else Keyring(())


class EncryptedStore:
    """See `gateway.store.protocol.Store` for what each method promises."""

    def __init__(self, inner: Store, keyring: Keyring) -> None:
        self.inner = inner
        self.keyring = keyring

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    # -- intake -----------------------------------------------------------------------------------------------

    async def add(self, event: Event, planned: Sequence[PlannedDelivery]) -> Added:
        body = self.keyring.seal(event.body, "event", event.account, kept_text(event.id) or "")
        return await self.inner.add(replace(event, body=body), planned)

    async def keep_rejected(self, requests: Sequence[RejectedRequest], bounds: RejectedBounds) -> int:
        sealed = [
            replace(request, body=self.keyring.seal(request.body, "rejected request", request.id))
            for request in requests
        ]
        return await self.inner.keep_rejected(sealed, bounds)

    # -- delivery ---------------------------------------------------------------------------------------------
    #
    # A claim's token carries what the end of the attempt is to be bound to: whoever holds it gives it back unread.

    async def claim(
        self, wanted: Mapping[Lane, int], *, lease_seconds: float, rates: Sequence[SharedRate] = ()
    ) -> list[Claim]:
        claims = await self.inner.claim(wanted, lease_seconds=lease_seconds, rates=rates)
        return [self._opened_claim(claim) for claim in claims]

    def _opened_claim(self, claim: Claim) -> Claim:
        delivery, ring = claim.delivery, self.keyring
        outputs = {
            action: open_value(ring, output, *bound_to("output", delivery.account, delivery.event_id, action))
            for action, output in claim.outputs.items()
        }
        return Claim(
            delivery=self._opened(delivery),
            token=json.dumps([claim.token, delivery.account, delivery.event_id, delivery.action]),
            event=self._opened_event(claim.event),
            outputs=outputs,
            ends=claim.ends,
        )

    async def renew(self, claims: Sequence[tuple[str, str]], *, lease_seconds: float) -> set[str]:
        inner = [(delivery_id, _parts_of(token)[0]) for delivery_id, token in claims]
        return await self.inner.renew(inner, lease_seconds=lease_seconds)

    async def finish(self, delivery_id: str, token: str, ending: Outcome) -> bool:
        inner_token, event_and_action = _parts_of(token)
        if isinstance(ending, Finish) and event_and_action:
            rendered = seal_value(self.keyring, ending.rendered, *bound_to("rendered", *event_and_action))
            output = seal_value(self.keyring, ending.output, *bound_to("output", *event_and_action))
            ending = replace(ending, rendered=rendered, output=output)
        return await self.inner.finish(delivery_id, inner_token, ending)

    async def gather(
        self, delivery_id: str, token: str, *, wait_seconds: float, every_seconds: float, most: int
    ) -> Gathered | float | None:
        gathered = await self.inner.gather(
            delivery_id, _parts_of(token)[0], wait_seconds=wait_seconds, every_seconds=every_seconds, most=most
        )
        if not isinstance(gathered, Gathered):
            return gathered
        return replace(gathered, events=[self._opened_event(event) for event in gathered.events])

    async def fetched(self, run_id: str) -> Fetched | None:
        kept = await self.inner.fetched(run_id)
        return None if kept is None else self._opened_fetched(run_id, kept)

    async def keep_fetched(self, run_id: str, fetched: Fetched) -> Fetched:
        sealed = seal_object(self.keyring, fetched.object, "fetched", run_id)
        kept = await self.inner.keep_fetched(run_id, replace(fetched, object=sealed))
        return fetched if kept.object == sealed else self._opened_fetched(run_id, kept)

    def _opened_fetched(self, run_id: str, fetched: Fetched) -> Fetched:
        return replace(fetched, object=open_value(self.keyring, fetched.object, "fetched", run_id))

    # -- people -----------------------------------------------------------------------------------------------

    async def event(self, event_id: str, account: str | None = None) -> list[Event]:
        return [self._opened_event(event) for event in await self.inner.event(event_id, account)]

    async def gathered(self, delivery_id: str) -> list[Event]:
        return [self._opened_event(event) for event in await self.inner.gathered(delivery_id)]

    def _opened_event(self, event: Event) -> Event:
        return replace(event, body=self.keyring.open(event.body, "event", event.account, event.id))

    async def delivery(self, delivery_id: str) -> tuple[Delivery, list[Attempt]] | None:
        kept = await self.inner.delivery(delivery_id)
        return None if kept is None else (self._opened(kept[0]), kept[1])

    def _opened(self, delivery: Delivery) -> Delivery:
        own = (delivery.account, delivery.event_id, delivery.action)
        return replace(
            delivery,
            rendered=open_value(self.keyring, delivery.rendered, *bound_to("rendered", *own)),
            output=open_value(self.keyring, delivery.output, *bound_to("output", *own)),
        )

    async def rejected_request(self, rejected_id: str) -> RejectedRequest | None:
        kept = await self.inner.rejected_request(rejected_id)
        if kept is None:
            return None
        return replace(kept, body=self.keyring.open(kept.body, "rejected request", kept.id))

    async def event_page(
        self, where: EventFilter, *, limit: int, after: str | None = None, oldest_first: bool = False
    ) -> Page[Event]:
        if where.text:
            raise UsageError(NO_SEARCH)
        return await self.inner.event_page(where, limit=limit, after=after, oldest_first=oldest_first)


def _parts_of(token: str) -> tuple[str, list[str]]:
    """The inner store's token, and what the end of the attempt is bound to; a token that no claim gave is only itself,
    and nobody's.
    """
    if not token.startswith("["):
        return token, []
    inner, *bound = json.loads(token)
    return inner, bound


# -- values that are kept as JSON -----------------------------------------------------------------------------


def bound_to(what: str, account: str, event_id: str, action: str) -> tuple[str, ...]:
    """What a delivery's value is sealed with."""
    return (what, account, event_id, action)


def seal_value(keyring: Keyring, value: Any, *belongs_to: str) -> KeptText | None:
    """A value as the store is to keep it: cut first where it is too large."""
    text = kept_json(value)
    return None if text is None else seal_text(keyring, text, *belongs_to)


def seal_text(keyring: Keyring, text: str, *belongs_to: str) -> KeptText:
    """JSON, as the JSON of a sealed value."""
    sealed = keyring.seal(text.encode("utf-8", "surrogatepass"), *belongs_to)
    return KeptText(json.dumps({_SEALED: base64.b64encode(sealed).decode()}))


def seal_object(keyring: Keyring, value: Any, *belongs_to: str) -> dict[str, str]:
    """The same as plain data."""
    sealed: dict[str, str] = json.loads(seal_text(keyring, json.dumps(value), *belongs_to))
    return sealed


def sealed_in(keyring: Keyring, value: Any) -> bytes | None:
    """What is sealed in a value that was kept; None where it is clear."""
    if not isinstance(value, dict) or value.keys() != {_SEALED} or not isinstance(value[_SEALED], str):
        return None
    try:
        sealed = base64.b64decode(value[_SEALED], validate=True)
    except (binascii.Error, ValueError):
        return None
    return sealed if keyring.is_sealed(sealed) else None


def open_value(keyring: Keyring, value: Any, *belongs_to: str) -> Any:
    """The value as it was given. Raises StoreKeyMissing."""
    sealed = sealed_in(keyring, value)
    return value if sealed is None else json.loads(keyring.open(sealed, *belongs_to).decode("utf-8", "surrogatepass"))
