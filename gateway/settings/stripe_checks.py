"""What a route asks of Stripe, and whether its accounts can ask it."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.model import Fetch
from gateway.settings.problems import Problem
from gateway.settings.schema import GatewaySettings, RouteSettings
from gateway.settings.source import Path_, Source

_THIN = ("v1.", "v2.")  # how the types of thin events begin, and those of snapshot events never


def fetch_of(route: RouteSettings) -> Fetch | None:
    """A route's `fetch` as a plain record; None where nothing is fetched."""
    if route.fetch is None or not route.fetch.wanted:
        return None
    return Fetch(tuple(dict.fromkeys(route.fetch.expand)), route.fetch.api_version, route.fetch.again)


def stripe_problems(route: RouteSettings, at: Path_, settings: GatewaySettings, source: Source) -> Iterator[Problem]:
    """What is wrong with `fetch`: an account without a key, a thin event without its object."""
    if fetch_of(route) is not None:
        for name in route.accounts or settings.accounts:
            account = settings.accounts.get(name)
            if account is not None and not account.api_key.get_secret_value():
                yield Problem(
                    source.where_key((*at, "fetch")),
                    f"account {name} has no api_key to ask Stripe with",
                    f"set accounts.{name}.api_key to a restricted key that may read what these events are about",
                )
    if route.fetch is None:
        for i, pattern in enumerate(route.events):
            if pattern.startswith(_THIN):
                yield Problem(
                    source.where((*at, "events", i)),
                    f"{pattern} is a thin event: it names its object and does not hold it",
                    "add fetch: true, or fetch: false if the actions need no more than object.id",
                )
