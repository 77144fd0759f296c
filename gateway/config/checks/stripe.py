"""What routes and accounts ask of Stripe, and whether they can ask it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet

from gateway.config.diagnostics.problem import Problem
from gateway.config.schema.accounts import ReconcileSettings
from gateway.config.schema.routes import RouteSettings
from gateway.config.yaml.document import Source
from gateway.config.yaml.nodes import Path_
from gateway.core.model import OWN, Account, Fetch, Reconcile
from gateway.stripe import event_types, objects
from gateway.stripe.event_types import is_thin
from gateway.stripe.keys import is_organisation_key


def fetch_of(route: RouteSettings) -> Fetch | None:
    """A route's `fetch` as a plain record; None where nothing is fetched."""
    if route.fetch is None or not route.fetch.wanted:
        return None
    asked = route.fetch
    expand = tuple(dict.fromkeys(asked.expand))
    return Fetch(expand, asked.api_version, asked.again, asks_object=asked.object_, asks_event=asked.event)


def reconcile_of(settings: ReconcileSettings | None) -> Reconcile | None:
    """An account's `reconcile` as a plain record."""
    if settings is None:
        return None
    connected = tuple(dict.fromkeys(settings.connected_accounts))
    return Reconcile(settings.every, settings.look_back, settings.events == "undelivered", connected)


def check_reconcile(accounts: Mapping[str, Account], unfilled: AbstractSet[str], source: Source) -> Iterator[Problem]:
    """An account that is to be reconciled and has no key to ask Stripe with."""
    for name, account in accounts.items():
        at = ("accounts", name)
        key_place = source.where((*at, "api_key")).path
        if account.reconcile is not None and not account.api_key and key_place not in unfilled:
            yield Problem(
                source.where_key((*at, "reconcile")),
                f"account {name} has no api_key to ask Stripe with",
                f"set accounts.{name}.api_key to a restricted key that may read events",
                code="missing-api-key",
            )


def check_fetch(
    at: Path_, route: RouteSettings, accounts: Mapping[str, Account], unfilled: AbstractSet[str], source: Source
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
    if route.fetch is not None and route.fetch.event and not any(map(is_thin, route.events)):
        yield Problem(
            source.where((*at, "fetch", "event")),
            "these events are posted with their data: only thin ones (v1., v2.) have more to read",
            "take event: true out",
            "warning",
            "thin-event",
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


def check_organisation(
    at: Path_, route: RouteSettings, accounts: Mapping[str, Account], source: Source
) -> Iterator[Problem]:
    """A route that takes none of an organisation's events: each is of one of its accounts."""
    names = [name for name in route.accounts or accounts if name in accounts]
    of_organisations = [name for name in names if is_organisation_key(accounts[name].api_key)]
    if of_organisations and of_organisations == names and set(route.connected_accounts) == {OWN}:
        yield Problem(
            source.where_key(at),
            f"account {names[0]} is an organisation, whose events are each of one of its accounts: this route takes "
            "none",
            'say connected_accounts: ["*"], or the ids of accounts',
            "warning",
            "organisation",
        )


def data_fields(patterns: Sequence[str]) -> frozenset[str] | None:
    """The fields of `data` in thin events that the patterns name; None where nobody knows those of one."""
    known = [frozenset(objects.data_of(name)) for pattern in patterns for name in event_types.matches(pattern)]
    return frozenset[str]().union(*known) if known and all(known) else None
