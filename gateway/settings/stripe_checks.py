"""What a route asks of Stripe, and whether its accounts can ask it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gateway.event_types import is_thin
from gateway.model import Account, Fetch
from gateway.settings.nodes import Path_
from gateway.settings.problems import Problem
from gateway.settings.schema import RouteSettings
from gateway.settings.source import Source


def fetch_of(route: RouteSettings) -> Fetch | None:
    """A route's `fetch` as a plain record; None where nothing is fetched."""
    if route.fetch is None or not route.fetch.wanted:
        return None
    return Fetch(tuple(dict.fromkeys(route.fetch.expand)), route.fetch.api_version, route.fetch.again)


def check_fetch(
    at: Path_, route: RouteSettings, accounts: Mapping[str, Account], unfilled: set[str], source: Source
) -> Iterator[Problem]:
    """An account without a key to ask Stripe with, a thin event without its object. `unfilled` are the places of
    variables without a value, which is told of by itself.
    """
    if fetch_of(route) is not None:
        for name in route.accounts or accounts:
            key_place = source.where(("accounts", name, "api_key")).path
            if name in accounts and not accounts[name].api_key and key_place not in unfilled:
                yield Problem(
                    source.where_key((*at, "fetch")),
                    f"account {name} has no api_key to ask Stripe with",
                    f"set accounts.{name}.api_key to a restricted key that may read what these events are about",
                    code="missing-api-key",
                )
    if route.fetch is None:
        for i, pattern in enumerate(route.events):
            if is_thin(pattern):
                yield Problem(
                    source.where((*at, "events", i)),
                    f"{pattern} is a thin event: it names its object and does not hold it",
                    "add fetch: true, or fetch: false if the actions need no more than object.id",
                    code="thin-event",
                )
