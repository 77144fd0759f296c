"""Pure: the webhook endpoints that an account's routes want, those at Stripe, and what would make them agree.

Of an endpoint, url, events and whether it is disabled can be changed, its API version and whether it is for connected
accounts cannot: https://docs.stripe.com/api/webhook_endpoints. An endpoint of another version is therefore made beside
the old one, disabled, and the two are switched when the templates are ready: https://docs.stripe.com/webhooks/versioning.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from gateway.core.model import OWN, Account, Route
from gateway.stripe.event_types import is_thin, sent_types

EVERY_EVENT = "*"
OURS = "gateway_connect"  # in the metadata of endpoints that we make: Stripe does not show `connect` itself


@dataclass(frozen=True, slots=True)
class WantedEndpoint:
    """An endpoint that the routes want."""

    url: str
    is_connect: bool  # for events of connected accounts
    events: tuple[str, ...]
    api_version: str | None  # None: any

    @property
    def name(self) -> str:
        """How it is called in plans."""
        return "connected accounts" if self.is_connect else "own events"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint at Stripe."""

    id: str
    url: str
    is_connect: bool
    events: tuple[str, ...]
    api_version: str | None  # None: the account's default
    is_enabled: bool
    is_live: bool


class ActionKind(StrEnum):
    """What is to be done."""

    CREATE = "create"
    UPDATE = "update"
    SWITCH = "switch"  # enable the one of the right version, then disable the other


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do. `reasons` say why, in lines for a person."""

    deed: ActionKind
    wanted: WantedEndpoint
    reasons: tuple[str, ...]
    endpoint: Endpoint | None = None  # to update, or to enable
    changes: Mapping[str, Any] = field(default_factory=dict)  # to the endpoint, as Stripe takes them
    instead_of: tuple[Endpoint, ...] = ()  # of another version: a created one begins disabled; a switch disables them


def endpoint_of(answer: Mapping[str, Any]) -> Endpoint:
    """From Stripe's JSON. Endpoints that others made for connected accounts bear the id of their application."""
    metadata = answer.get("metadata") or {}
    connect = metadata.get(OURS)
    return Endpoint(
        id=str(answer.get("id")),
        url=str(answer.get("url")),
        is_connect=connect == "true" if connect is not None else answer.get("application") is not None,
        events=tuple(sorted(answer.get("enabled_events") or ())),
        api_version=answer.get("api_version"),
        is_enabled=answer.get("status") == "enabled",
        is_live=bool(answer.get("livemode")),
    )


def wanted_endpoints(
    account: Account, routes: Iterable[Route], public_url: str
) -> tuple[list[WantedEndpoint], list[str]]:
    """What an account's routes want, and those of their event patterns that no webhook endpoint can bring: thin events
    come from event destinations.
    """
    url = f"{public_url.rstrip('/')}/webhooks/{account.name}"
    taken = [route for route in routes if route.accounts is None or account.name in route.accounts]
    endpoints = []
    for is_connect in (False, True):
        patterns = {
            pattern
            for route in taken
            for pattern in (*route.events, *route.until_events)
            if not is_thin(pattern)
            and (route.connected_accounts - {OWN} if is_connect else OWN in route.connected_accounts)
        }
        if patterns:
            endpoints.append(WantedEndpoint(url, is_connect, enabled_events(patterns), account.api_version))
    thin = sorted({pattern for route in taken for pattern in (*route.events, *route.until_events) if is_thin(pattern)})
    return endpoints, thin


def enabled_events(patterns: Iterable[str]) -> tuple[str, ...]:
    """Exact types, for Stripe knows no globs; or every event."""
    types: set[str] = set()
    for pattern in patterns:
        if pattern == EVERY_EVENT:
            return (EVERY_EVENT,)
        types |= sent_types(pattern)
    return tuple(sorted(types))


def plan(wanted: Sequence[WantedEndpoint], there: Sequence[Endpoint]) -> list[Step]:
    """What would make Stripe's endpoints be what is wanted. Endpoints at other URLs are others' business."""
    steps = []
    for endpoint in wanted:
        alike = [e for e in there if e.url.rstrip("/") == endpoint.url and e.is_connect == endpoint.is_connect]
        right = [e for e in alike if endpoint.api_version in (None, e.api_version)]
        others = tuple(e for e in alike if e not in right and e.is_enabled)
        right.sort(key=lambda e: (not e.is_enabled, e.id))
        if not right:
            versions = ", ".join(e.api_version or "the account's default version" for e in others)
            why = f"the one there is of {versions}, which cannot be changed" if others else "there is none"
            steps.append(Step(ActionKind.CREATE, endpoint, (why,), instead_of=others))
            continue
        best = right[0]
        reasons: list[str] = []
        changes: dict[str, Any] = {}
        if best.events != endpoint.events:
            reasons += differences(best.events, endpoint.events)
            changes["enabled_events"] = list(endpoint.events)
        if not best.is_enabled and not others:
            reasons.append("it is disabled")
            changes["disabled"] = "false"
        if changes:
            steps.append(Step(ActionKind.UPDATE, endpoint, tuple(reasons), best, changes))
        if others:
            ids = " and ".join(e.id for e in others)
            why = f"it is of {best.api_version}; {ids}, of another version, is still enabled"
            steps.append(Step(ActionKind.SWITCH, endpoint, (why,), best, {"disabled": "false"}, others))
    return steps


def differences(has: Sequence[str], wants: Sequence[str]) -> tuple[str, ...]:
    """Which events are to come and to go."""
    more = [f"+ {event}" for event in wants if event not in has]
    return (*more, *(f"- {event}" for event in has if event not in wants))


def lint(account: Account, public_url: str, is_live: bool) -> list[str]:
    """What is wrong before anything is asked: the mode of the key, an address that Stripe cannot reach."""
    warnings = []
    mode = "live" if is_live else "test"
    if account.livemode is not None and account.livemode != is_live:
        warnings.append(
            f"accounts.{account.name}: livemode is {str(account.livemode).lower()}, but api_key is a {mode} key: its "
            f"endpoints would get {mode} events, which are ignored here"
        )
    parts = urlsplit(public_url)
    if is_live and parts.scheme != "https":
        warnings.append(f"{public_url}: in live mode Stripe posts to https:// alone")
    if _is_private(parts.hostname or ""):
        warnings.append(
            f"{public_url}: Stripe cannot reach this address; for your own machine use "
            f"`stripe listen --forward-to localhost:8080/webhooks/{account.name}`"
        )
    return warnings


def _is_private(host: str) -> bool:
    if host == "localhost" or host.endswith((".localhost", ".local", ".internal")):
        return True
    try:
        return not ip_address(host).is_global
    except ValueError:
        return "." not in host
