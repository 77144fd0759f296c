"""Brings the object of an event as it is at Stripe when a delivery runs: once for all deliveries of a run."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from gateway.core.envelope import THIN, own_object
from gateway.core.errors import StripeMissing, StripeRefused
from gateway.core.fetch_answer import FetchAnswer, holds_lists
from gateway.core.model import Account, Claim, Fetch, Fetched
from gateway.store.protocol import Store
from gateway.stripe.api import Asking, StripeApi, has_place, path_of
from gateway.stripe.connections import StripeApis
from gateway.stripe.keys import is_organisation_key


class Fetcher(Protocol):
    """What brings the object: Stripe, or what stands in for it in development."""

    async def fetch(
        self, claim: Claim, envelope: Mapping[str, Any], account: Account, fetch: Fetch
    ) -> Mapping[str, Any]:
        """The object of the claim's event, or what `FetchAnswer.kept` makes of that and more; an object that is gone is
        `{id, object, deleted: true}`. Raises StripeApiError.
        """


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
        asked = json.dumps(_asked(fetch, account))
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
            if (told := other_mode(account, envelope, api.is_live)) is not None:
                raise StripeRefused(f"{told}: its object cannot be fetched")
            asked = question(envelope, account, fetch)
            event = None
            if fetch.asks_event and envelope.get("object") == THIN:
                event = await _event(api, envelope, asked.asking)
                if asked.path == event_path(envelope):
                    return FetchAnswer(event, event).kept()
            return replace(await _object(api, asked, fetch), event=event).kept()


@dataclass(frozen=True, slots=True)
class Question:
    """What to ask Stripe for an event."""

    path: str | None  # None: the object is as the event tells it; its lists are brought to their end
    named: Mapping[str, Any]  # what the event says of the object: `id` and `object` at least
    asking: Asking


def _asked(fetch: Fetch, account: Account) -> list[Any]:
    """What makes one question another; as versions before wrote it, where nothing is asked that they did not know."""
    more = [fetch.asks_object, fetch.asks_event] if fetch.asks_event or not fetch.asks_object else []
    return [fetch.expand, fetch.api_version or account.api_version, *more]


async def _object(api: StripeApi, asked: Question, fetch: Fetch) -> FetchAnswer:
    if asked.path is None:
        return FetchAnswer(await api.with_whole_lists(asked.named, asking=asked.asking))
    try:
        return FetchAnswer(await api.whole(asked.path, expand=fetch.expand, asking=asked.asking))
    except StripeMissing as error:
        gone = {"id": asked.named.get("id"), "object": asked.named.get("object"), "deleted": True}
        return FetchAnswer(gone, not_found=str(error))


async def _event(api: StripeApi, envelope: Mapping[str, Any], asking: Asking) -> Mapping[str, Any]:
    try:
        return await api.call("get", event_path(envelope), asking=asking)
    except StripeMissing as error:
        raise StripeRefused(
            f"Stripe has no event {envelope.get('id')} any more: it keeps events for 30 days, in their own mode and "
            f"account ({error})"
        ) from None


def other_mode(account: Account, envelope: Mapping[str, Any], is_live_key: bool | None) -> str | None:
    """That an account's key is of the other mode than an event; None where it is not."""
    if not isinstance(envelope.get("livemode"), bool) or is_live_key in (None, envelope["livemode"]):
        return None
    modes = ("a live", "a test") if is_live_key else ("a test", "a live")
    return f"accounts.{account.name}.api_key is {modes[0]} key, and this is {modes[1]} event"


def on_behalf_of(envelope: Mapping[str, Any], account: Account) -> Asking:
    """On whose behalf something is done that an event leads to, in the account's version, else the event's."""
    version = account.api_version or envelope.get("api_version")
    connected, context = envelope.get("account"), envelope.get("context")
    if connected is not None and not is_organisation_key(account.api_key):
        context = None  # it says the same
    return Asking(connected_account=connected, context=context, api_version=version)


def event_path(envelope: Mapping[str, Any]) -> str:
    """Where a thin event itself is. https://docs.stripe.com/api/v2/core/events/retrieve"""
    return f"/v2/core/events/{envelope.get('id')}"


def question(envelope: Mapping[str, Any], account: Account, fetch: Fetch) -> Question:
    """Where an event's object is at Stripe, what the event calls it, and on whose behalf to ask, in which version: the
    pinned one, else the account's, else the event's. Raises StripeRefused where it has no place.
    """
    version = fetch.api_version or account.api_version or envelope.get("api_version")
    if envelope.get("object") == THIN:
        related = envelope.get("related_object")
        asking = Asking(context=envelope.get("context"), api_version=version)
        if isinstance(related, Mapping) and isinstance(related.get("url"), str):
            named = {"id": related.get("id"), "object": related.get("type")}
            return Question(related["url"] if fetch.asks_object else None, named, asking)
        # It names no object: all there is to know is in the event itself, whole.
        return Question(event_path(envelope), {"id": envelope.get("id"), "object": THIN}, asking)
    value = own_object(envelope)
    connected, context = envelope.get("account"), envelope.get("context")
    if connected is not None and not is_organisation_key(account.api_key):
        context = None  # it says the same
    if value.get("object") == "account" and value.get("id") == connected:
        connected = None  # the platform reads an account connected to it by its id
        context = context and (str(context).rpartition("/")[0] or context)
    asking = Asking(connected_account=connected, context=context, api_version=version)
    if not fetch.asks_object:
        return Question(None, value, asking)
    path = path_of(value)
    if path is None and not has_place(str(value.get("object"))) and holds_lists(value):
        return Question(None, value, asking)
    if path is None:
        raise StripeRefused(_no_place(envelope, value))
    return Question(path, value, asking)


def _no_place(envelope: Mapping[str, Any], value: Mapping[str, Any]) -> str:
    kind, event_type = str(value.get("object") or "this object"), envelope.get("type")
    kind = "an upcoming invoice" if kind == "invoice" else kind
    lists = ", or fetch: {object: false}, which brings no more than its lists" if holds_lists(value) else ""
    cause = f"{kind} cannot be fetched: it has no place of its own at Stripe"
    return f"{cause}; give {event_type} a route without fetch{lists}"
