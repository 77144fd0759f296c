"""Brings the object of an event as it is at Stripe when a delivery runs: once for all deliveries of a run."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from gateway.core.envelope import THIN, own_object
from gateway.core.errors import StripeMissing, StripeRefused
from gateway.core.model import Account, Claim, Fetch, Fetched
from gateway.store.protocol import Store
from gateway.stripe.api import Asking, path_of
from gateway.stripe.connections import StripeApis


class Fetcher(Protocol):
    """What brings the object: Stripe, or what stands in for it in development."""

    async def fetch(
        self, claim: Claim, envelope: Mapping[str, Any], account: Account, fetch: Fetch
    ) -> Mapping[str, Any]:
        """The object of the claim's event; one that is gone is `{id, object, deleted: true}`. Raises StripeApiError."""


class StripeFetcher:
    """Asks Stripe, and keeps the answer with the run: all its actions and later attempts see the same object."""

    def __init__(self, store: Store, apis: StripeApis, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._store = store
        self._apis = apis
        self._now = now
        self._asking: dict[str, tuple[asyncio.Lock, int]] = {}  # runs that are being asked for, and by how many

    async def fetch(
        self, claim: Claim, envelope: Mapping[str, Any], account: Account, fetch: Fetch
    ) -> Mapping[str, Any]:
        if claim.event.is_test:
            return own_object(envelope)  # it names an object that does not exist
        if fetch.again:
            return await self._ask(envelope, account, fetch)
        asked = json.dumps([fetch.expand, fetch.api_version or account.api_version])
        run_id = claim.delivery.run_id
        async with self._alone(run_id):
            kept = await self._store.fetched(run_id)
            if kept is None or kept.asked != asked:
                at = self._now()
                fetched = await self._ask(envelope, account, fetch)
                kept = await self._store.keep_fetched(run_id, Fetched(asked, at, fetched))
        return kept.object

    @contextlib.asynccontextmanager
    async def _alone(self, run_id: str) -> AsyncIterator[None]:
        """One at a time for each run: the second finds what the first has kept."""
        lock, users = self._asking.get(run_id, (asyncio.Lock(), 0))
        self._asking[run_id] = lock, users + 1
        try:
            async with lock:
                yield
        finally:
            lock, users = self._asking.pop(run_id)
            if users > 1:
                self._asking[run_id] = lock, users - 1

    async def _ask(self, envelope: Mapping[str, Any], account: Account, fetch: Fetch) -> Mapping[str, Any]:
        async with self._apis.of(account) as api:
            if isinstance(envelope.get("livemode"), bool) and envelope["livemode"] != api.is_live:
                modes = ("a live", "a test") if api.is_live else ("a test", "a live")
                raise StripeRefused(
                    f"accounts.{account.name}.api_key is {modes[0]} key, and this is {modes[1]} event: its object "
                    "cannot be fetched"
                )
            path, named, asking = question(envelope, account, fetch)
            try:
                return await api.whole(path, expand=fetch.expand, asking=asking)
            except StripeMissing:
                return {"id": named.get("id"), "object": named.get("object"), "deleted": True}


def question(envelope: Mapping[str, Any], account: Account, fetch: Fetch) -> tuple[str, Mapping[str, Any], Asking]:
    """Where an event's object is at Stripe, what the event calls it (`id`, `object`), and on whose behalf to ask, in
    which version: the pinned one, else the account's, else the event's. Raises StripeRefused where it has no place.
    """
    version = fetch.api_version or account.api_version or envelope.get("api_version")
    if envelope.get("object") == THIN:
        related = envelope.get("related_object")
        asking = Asking(context=envelope.get("context"), api_version=version)
        if isinstance(related, Mapping) and isinstance(related.get("url"), str):
            return related["url"], {"id": related.get("id"), "object": related.get("type")}, asking
        # It names no object: all there is to know is in the event itself, whole.
        return f"/v2/core/events/{envelope.get('id')}", {"id": envelope.get("id"), "object": THIN}, asking
    value = own_object(envelope)
    connected, context = envelope.get("account"), envelope.get("context")
    if connected is not None:
        context = None  # it says the same
    if value.get("object") == "account" and value.get("id") == connected:
        connected = None  # the platform reads an account connected to it by its id
    path = path_of(value)
    if path is None:
        raise StripeRefused(
            f"{value.get('object') or 'this object'} cannot be fetched: it has no place of its own at Stripe; give "
            f"{envelope.get('type')} a route without fetch"
        )
    return path, value, Asking(connected_account=connected, context=context, api_version=version)
