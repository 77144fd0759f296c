"""What loads and yet cannot be meant: secrets of the wrong kind, events that do not exist, things that nobody uses."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet

from gateway.config.diagnostics.problem import Problem
from gateway.config.yaml.document import Source
from gateway.config.yaml.nodes import Path_
from gateway.core.errors import Where
from gateway.core.internal_events import is_own
from gateway.core.model import Account, Route
from gateway.plugin import ConnectionSettings
from gateway.stripe import event_types

_PATTERN = re.compile(r"[A-Za-z0-9_.*?\[\]!-]+")
_SIGNING_SECRET = re.compile(r"whsec_[A-Za-z0-9+/=_-]+")
_API_KEY = re.compile(r"(sk|rk)_(?:org_)?(live|test)_[A-Za-z0-9_]+|[sr]k_org_[A-Za-z0-9_]+")
_NOWHERE = Where("", 1, 1)
_WHERE_SECRETS_ARE = "the whsec_... of the webhook endpoint, in Stripe's dashboard"


def check_accounts(accounts: Mapping[str, Account], source: Source) -> Iterator[Problem]:
    """Signing secrets and API keys that do not look like such, and secrets that two accounts have."""
    owners: dict[str, str] = {}
    for name, account in accounts.items():
        for i, secret in enumerate(account.signing_secrets):
            where = source.where(("accounts", name, "signing_secrets", i))
            if not secret:
                yield Problem(where, "it is empty", _WHERE_SECRETS_ARE, code="signing-secret")
            elif owners.setdefault(secret, name) != name:
                message = f"account {owners[secret]} has the same secret: an event must belong to one account"
                yield Problem(where, message, code="same-secret")
            elif secret[:3] in ("sk_", "pk_", "rk_"):
                message = "this is an API key, not a signing secret: no event could be verified"
                yield Problem(where, message, _WHERE_SECRETS_ARE, code="signing-secret")
            elif secret != secret.strip():
                message = "there is white space around it: no event could be verified"
                yield Problem(where, message, "take out spaces and line breaks", code="signing-secret")
            elif not _SIGNING_SECRET.fullmatch(secret):
                message = "this does not look like a signing secret, which begins with whsec_"
                yield Problem(where, message, _WHERE_SECRETS_ARE, "warning", "signing-secret")
        yield from _check_api_key(account, source)


def _check_api_key(account: Account, source: Source) -> Iterator[Problem]:
    where = source.where(("accounts", account.name, "api_key"))
    key = account.api_key
    parts = _API_KEY.fullmatch(key)
    if not key:
        return
    if key.startswith(("whsec_", "pk_")):
        kind = "a signing secret" if key.startswith("whsec_") else "a publishable key"
        yield Problem(
            where, f"this is {kind}: Stripe answers it nothing", "an API key begins with rk_ or sk_", code="api-key"
        )
    elif parts is None:
        message = "this does not look like an API key, which begins with rk_ or sk_"
        yield Problem(where, message, "a restricted key, rk_..., that may read what routes fetch", "warning", "api-key")
    elif parts[2] and account.livemode is not None and account.livemode != (parts[2] == "live"):
        mode = "live" if account.livemode else "test"
        message = f"this is a {parts[2]} key, but the account takes {mode} events only: it cannot see their objects"
        hint = f"livemode: {str(not account.livemode).lower()}, or a {mode} key"
        yield Problem(where, message, hint, "warning", "api-key")


def check_patterns(at: Path_, patterns: Sequence[str], source: Source) -> Iterator[Problem]:
    """Patterns that are none, that match no type Stripe has, or the one event that cannot wait in a queue."""
    for i, pattern in enumerate(patterns):
        problem = _event_fault(pattern)
        if problem is not None:
            where = source.where((*at, i))
            yield dataclasses.replace(problem, where=where)


@functools.lru_cache(maxsize=10_000)
def _event_fault(pattern: str) -> Problem | None:
    """What is wrong with a pattern, without its place."""
    if not _PATTERN.fullmatch(pattern) or not _has_sound_brackets(pattern):
        return Problem(_NOWHERE, f"{pattern!r:.80} is no event type or glob", "such as customer.subscription.*")
    if not event_types.matches(pattern):
        near = event_types.nearest(pattern)
        hint = f"did you mean {near}?" if near else "right where the type is newer than this gateway"
        who = "the gateway" if is_own(pattern) else "Stripe"
        return Problem(_NOWHERE, f"{who} has no event type {pattern}", hint, "warning", "unknown-event")
    if pattern.startswith("issuing_auth") and event_types.SYNCHRONOUS in event_types.matches(pattern):
        message = (
            f"Stripe waits two seconds for the answer to {event_types.SYNCHRONOUS} and takes it as the decision, "
            "which a queue cannot give"
        )
        hint = "let a service of your own answer it; issuing_authorization.created tells what came of it"
        return Problem(_NOWHERE, message, hint, "warning", "synchronous-event")
    return None


def _has_sound_brackets(pattern: str) -> bool:
    return re.fullmatch(r"[^\[\]]*(\[!?[^\[\]]+\][^\[\]]*)*", pattern) is not None


def check_use(
    routes: Sequence[Route],
    accounts: Mapping[str, Account],
    used: AbstractSet[str],
    declared: AbstractSet[str],
    source: Source,
) -> Iterator[Problem]:
    """Connections that no action uses, accounts whose events no route takes, routes that nothing can reach."""
    for name in sorted(declared - used):
        yield Problem(
            source.where_key(("connections", name)),
            "no action uses this connection",
            severity="warning",
            code="unused-connection",
        )
    for name in accounts if routes else ():
        from_stripe = (route for route in routes if not all(map(is_own, route.events)))
        if not any(route.accounts is None or name in route.accounts for route in from_stripe):
            where = source.where_key(("accounts", name))
            hint = "name it in the accounts of a route"
            yield Problem(where, "no route takes events of this account", hint, "warning", "unused-account")
    for route in routes:
        if route.condition is not None and route.condition.source.strip().lower() == "false":
            where = source.where(("routes", route.name, "if"))
            yield Problem(
                where, "no event can reach this route: its `if` is false", None, "warning", "unreachable-route"
            )


def check_same(connections: Mapping[str, ConnectionSettings], source: Source) -> Iterator[Problem]:
    """Connections that are the same in all: their limits hold for each by itself."""
    seen: dict[str, list[str]] = {}
    for name, settings in connections.items():
        alike = seen.setdefault(repr(settings), [])  # in which secrets do not show
        other = next((other for other in alike if connections[other] == settings), None)
        alike.append(name)
        if other is not None:
            where = source.where_key(("connections", name))
            message = f"has the same settings as {other}; rate and concurrency hold for each by itself"
            yield Problem(where, message, "use one of the two everywhere", "warning", "same-connection")
