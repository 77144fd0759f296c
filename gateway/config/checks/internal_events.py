"""Routes that take the gateway's own events, and routes with a digest: what cannot be meant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from gateway.config.diagnostics.problem import Problem
from gateway.config.schema.routes import RouteSettings
from gateway.config.yaml.document import Source
from gateway.config.yaml.nodes import Path_
from gateway.core.internal_events import FIELDS, OWN_ACCOUNT, is_own
from gateway.stripe import event_types


def own_objects(patterns: Sequence[str]) -> Mapping[str, frozenset[str]]:
    """The fields of `object` by type, where a route takes own events and no others; else nothing."""
    if not all(map(is_own, patterns)):
        return {}
    types = frozenset[str]().union(*(event_types.matches(pattern) for pattern in patterns))
    return {event_type: frozenset(FIELDS[event_type]) for event_type in sorted(types)}


def check_account_names(names: Sequence[str], source: Source) -> Iterator[Problem]:
    """The name that the gateway's own events have taken."""
    if OWN_ACCOUNT in names:
        where = source.where_key(("accounts", OWN_ACCOUNT))
        message = f"an account cannot be called {OWN_ACCOUNT}: the gateway's own events belong to that one"
        yield Problem(where, message, "choose another name", code="own-account")


def check_own(at: Path_, route: RouteSettings, source: Source) -> Iterator[Problem]:
    """Own events that Stripe is asked for."""
    if route.fetch is not None and route.fetch.wanted:
        for i, pattern in enumerate(route.events):
            if is_own(pattern):
                where = source.where((*at, "events", i))
                message = f"{pattern} is the gateway's own: there is nothing to fetch from Stripe"
                yield Problem(where, message, "give it a route of its own, without fetch", code="own-fetch")


def check_debounce(at: Path_, route: RouteSettings, source: Source) -> Iterator[Problem]:
    """What leaves a burst no key of its own."""
    reasons = {
        "once_per": "a second burst of one value is to act again",
        "order_by": "what acts for bursts of one value already runs in their order",
    }
    if route.debounce is None:
        return
    for key, reason in reasons.items():
        if getattr(route, key) is not None:
            yield Problem(source.where_key((*at, key)), f"cannot stand beside debounce: {reason}", code="debounce")
    for name, action in route.actions.items():
        for key in ("after", "at"):
            if getattr(action, key) is not None and not action.needs:
                message = "cannot stand beside debounce: each event of a burst would act at its own time"
                hint = "let it need an action that does not wait"
                where = source.where_key((*at, "actions", name, key))
                yield Problem(where, message, hint, code="debounce")


def check_digest(at: Path_, route: RouteSettings, source: Source) -> Iterator[Problem]:
    """What a digest, which is one delivery for many events, leaves no room for."""
    if route.digest is None:
        return
    reasons = {
        "once_per": "a digest brings many events, not one value",
        "order_by": "a digest already brings its events in order of arrival",
        "fetch": "a digest brings many events, and no one object",
        "debounce": "a digest brings all of a burst",
    }
    written: dict[str, object] = {"once_per": route.once_per, "order_by": route.order_by, "debounce": route.debounce}
    written["fetch"] = None if route.fetch is None or not route.fetch.wanted else "fetch"
    for key, reason in reasons.items():
        if written[key] is not None:
            yield Problem(source.where_key((*at, key)), f"cannot stand beside digest: {reason}", code="digest")
    for name, action in route.actions.items():
        if action.needs:
            where = source.where_key((*at, "actions", name, "needs"))
            message = "cannot stand beside digest: each action gathers its own events"
            yield Problem(where, message, "put the two actions into two routes", code="digest")
        if action.expires is not None:
            where = source.where_key((*at, "actions", name, "expires"))
            message = "cannot stand beside digest: its events are not of one age"
            yield Problem(where, message, "say `if: event.created > ...`, or take it out", code="digest")
