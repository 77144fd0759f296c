"""Stripe's objects as a route would have received them: of each the event that it tells of by its state.

An event so made is no event of Stripe's: its id says so, and is the same whenever it is made again. Its time is that at
which the object was created, and what it holds is the object as it is now.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from gateway.core.errors import EnvelopeError
from gateway.core.model import Account, Event, EventSource, EventState, Route
from gateway.stripe.api import LIVE_PER_SECOND, TEST_PER_SECOND, Asking, Page, StripeApi
from gateway.stripe.keys import is_live_key
from gateway.stripe.object_lists import ObjectList, list_of
from gateway.stripe.object_states import ToldEvent, changed_type, last_happened, told_by_state, types_of
from gateway.stripe.objects import api_version

SEED_ID = "evt_seed_"
"""How the ids of events begin that were made of an object."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Objects of a kind, and the types of event that they may tell a route of."""

    list: ObjectList
    types: tuple[ToldEvent, ...]


@dataclass(frozen=True, slots=True)
class Seedable:
    """What of a route's types can be told from objects, and of the others why not."""

    kinds: tuple[Kind, ...]
    untold: dict[str, str]


def seedable(patterns: Sequence[str], *, takes_changes: bool = False) -> Seedable:
    """Of the types that patterns name. `takes_changes`: also `.updated`, for what only asks how an object is now."""
    by_kind: dict[str, list[ToldEvent]] = {}
    untold: dict[str, str] = {}
    for event_type in types_of(patterns):
        told = changed_type(event_type) if takes_changes else told_by_state(event_type)
        if isinstance(told, str):
            untold[event_type] = told
        elif isinstance(listed := list_of(told.kind), str):
            untold[event_type] = listed
        else:
            by_kind.setdefault(told.kind, []).append(told)
    kinds = [
        Kind(listed, tuple(types)) for kind, types in by_kind.items() if isinstance(listed := list_of(kind), ObjectList)
    ]
    return Seedable(tuple(kinds), untold)


@dataclass(frozen=True, slots=True)
class ObjectListing:
    """The objects of a kind as events for one route. One that tells of no event makes one without a type."""

    account: Account
    route: str
    kind: Kind
    connected_account: str | None = None

    @property
    def is_by_time(self) -> bool:
        """Most lists are."""
        return self.kind.list.is_by_time

    def pages(self, api: StripeApi, since: int, until: int, after: str | None = None) -> AsyncGenerator[Page, None]:
        """See `Listed`."""
        params: dict[str, Any] = dict(self.kind.list.params)
        if self.is_by_time:
            params["created"] = {"gte": since, "lt": until}
        elif after is not None:
            params["starting_after"] = after
        asking = Asking(connected_account=self.connected_account, api_version=version_of(self.account))
        return api.pages(self.kind.list.path, params, asking)

    def event(self, body: bytes, at: datetime) -> Event:
        """See `Listed`. Raises EnvelopeError."""
        try:
            value = msgspec.json.decode(body)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict) or not isinstance(value.get("id"), str):
            raise EnvelopeError(f"an item of {self.kind.list.path} is no object with an id")
        told = last_happened(self.kind.types, value)
        return event_of(value, "" if told is None else told.type, self.account, self.route, self.connected_account, at)


SHARE_OF_RATE = 0.5
"""Of what an account may ask for: `fetch`, and other programs with the same key, need the rest."""


def paced(account: Account, per_second: float) -> Account:
    """The account, asked no faster than that, nor than its share."""
    allowed = account.api_per_second or (LIVE_PER_SECOND if is_live_key(account.api_key) else TEST_PER_SECOND)
    return replace(account, api_per_second=min(per_second, allowed * SHARE_OF_RATE))


def version_of(account: Account) -> str:
    """The version of Stripe's API in which an account's objects are asked for, and so that of events made of them."""
    return account.api_version or api_version()


def event_of(
    value: dict[str, Any],
    event_type: str,
    account: Account,
    route: str,
    connected_account: str | None,
    at: datetime,
    told_at: datetime | None = None,
) -> Event:
    """The event of a type that an object tells a route of, in state `routed`. `told_at`: it tells what is so at that
    time, and is another one each time, instead of what was so when the object was created.
    """
    livemode = value.get("livemode")
    if not isinstance(livemode, bool):  # a refund, a file and others do not say: the key lists those of its mode
        is_live = is_live_key(account.api_key)
        livemode = bool(account.livemode if is_live is None else is_live)
    created = value.get("created")
    told = int(created) if isinstance(created, int) else int(at.timestamp())
    identity = [account.name, connected_account, route, event_type, value["id"]]
    if told_at is not None:
        told = int(told_at.timestamp())
        identity.append(told_at.isoformat())
    envelope = {
        "id": SEED_ID + hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:24],
        "object": "event",
        "type": event_type,
        "created": told,
        "livemode": livemode,
        "api_version": version_of(account),
        "pending_webhooks": 0,
        "request": {"id": None, "idempotency_key": None},
        "data": {"object": value},
        **({} if connected_account is None else {"account": connected_account}),
    }
    return Event(
        account=account.name,
        id=str(envelope["id"]),
        type=event_type,
        state=EventState.ROUTED,
        livemode=livemode,
        received_at=at,
        body=msgspec.json.encode(envelope),
        created_at=datetime.fromtimestamp(told, UTC),
        connected_account=connected_account,
        object_id=value["id"],
        api_version=version_of(account),
        source=EventSource.SEED,
    )


def object_listings(
    account: Account, route: Route, kinds: Sequence[Kind], connected_account: str | None
) -> list[ObjectListing]:
    """What is to be asked for a route, one kind after the other."""
    return [ObjectListing(account, route.name, kind, connected_account) for kind in kinds]
