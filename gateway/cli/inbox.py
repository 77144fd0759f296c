"""The inbox that commands work on: this store, as whoever sits at the terminal may."""

from __future__ import annotations

import functools
import getpass
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from gateway.admin.api.schemas import MOST_LISTED, EventWhole, ListOf, Ordered
from gateway.admin.operations import Operations
from gateway.admin.pausing import Actor
from gateway.cli.main import environment, load_config, options
from gateway.cli.output import fail
from gateway.config.load import Config
from gateway.config.partial import load_redactions
from gateway.core.model import Event
from gateway.core.routing import RouteTable
from gateway.privacy.views import Redactions
from gateway.store.protocol import Store
from gateway.telemetry import logging as logs

T = TypeVar("T")
Q = TypeVar("Q", bound=Ordered)
E = TypeVar("E", Event, EventWhole)


def this_person() -> Actor:
    """The person at this terminal, for the audit log."""
    try:
        return Actor("cli", getpass.getuser())
    except (OSError, KeyError):
        return Actor("cli", "unknown")


def operations_on(store: Store) -> Operations:
    """What can be done on a store without a gateway. The configuration is read where it is needed: most of it may be
    wrong, or unset.
    """

    @functools.cache
    def in_force() -> tuple[Config, RouteTable]:
        config = load_config()
        return config, RouteTable(config.routes)

    @functools.cache
    def redactions() -> Redactions:
        return load_redactions(options.config, environment())

    return Operations(store, in_force, logs.configure("warning"), redactions)


async def listed(pages: Callable[[Q], Awaitable[ListOf[T]]], query: Q, limit: int) -> list[T]:
    """A list, page after page."""
    items: list[T] = []
    while True:
        page = await pages(query.model_copy(update={"limit": min(MOST_LISTED, limit - len(items))}))
        items += page.items
        if page.next is None or len(items) >= limit:
            return items[:limit]
        query = query.model_copy(update={"cursor": page.next})


def only(events: Sequence[E], event_id: str) -> E:
    """The event of that id; fails where there is none, or several accounts have it."""
    if not events:
        raise fail(f"there is no event {event_id} in the inbox")
    if len(events) > 1:
        accounts = " or ".join(event.account for event in events)
        raise fail(f"several accounts have {event_id}: say --account {accounts}", 2)
    return events[0]
