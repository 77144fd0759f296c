"""Pure: an event and the routes -> the deliveries that are owed for it."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

from gateway.core.envelope import THIN, connected_account, parse_json
from gateway.core.errors import EnvelopeError, TemplateError
from gateway.core.fetch_answer import read_answer
from gateway.core.internal_events import ABOUT_CONNECTIONS, account_named, excluded_connection, is_own
from gateway.core.keys import is_no_key, key_of
from gateway.core.later import plan_later, until_key
from gateway.core.model import (
    EVERY_CONNECTED,
    OWN,
    Account,
    ActionUse,
    Delivery,
    Event,
    EventState,
    Expression,
    PlannedDelivery,
    Route,
)

Scope = Mapping[str, Any]
_LONG_VALUE = 500  # characters of JSON
_GLOB = re.compile(r"[*?\[]")


def wants_type(route: Route, account: str, event_type: str) -> bool:
    """Whether a route's `accounts` and `events` name this account and type."""
    if route.accounts is not None and account not in route.accounts:
        return False
    return matching_pattern(route, event_type) is not None


def matching_pattern(route: Route, event_type: str) -> str | None:
    """The first of a route's `events` that this type fits."""
    return next((pattern for pattern in route.events if fits(pattern, event_type)), None)


def fits(pattern: str, event_type: str) -> bool:
    """Whether a pattern names a type. The gateway's own events only fit a pattern that says `gateway.` itself: a route
    for everything that Stripe sends is not one for alerts.
    """
    if is_own(event_type) and not is_own(pattern):
        return False
    return names(pattern, event_type)


def names(pattern: str, event_type: str) -> bool:
    """Whether a type or a glob names a type. A type names itself, also one with brackets in it, as Stripe's thin types
    have (`v2.core.account[requirements].updated`).
    """
    return pattern == event_type or fnmatchcase(event_type, pattern)


def wants_connected(route: Route, connected: str | None) -> bool:
    """Whether a route's `connected_accounts` name the connected account of an event, or its absence."""
    if connected is None:
        return OWN in route.connected_accounts
    return EVERY_CONNECTED in route.connected_accounts or connected in route.connected_accounts


class RouteTable:
    """Routes, found by account and type without asking each of them every time."""

    _REMEMBERED = 10_000  # types come from outside: bounded

    def __init__(self, routes: Sequence[Route]) -> None:
        self.routes = tuple(routes)
        self.by_name = {route.name: route for route in routes}
        self._found: dict[tuple[str, str], tuple[Route, ...]] = {}
        self._by_pattern: dict[str, list[int]] = {}
        for i, route in enumerate(self.routes):
            for pattern in route.events:
                self._by_pattern.setdefault(pattern, []).append(i)
        self.untils = tuple(
            (route, action.name, action.later.until)
            for route in self.routes
            for action in route.actions
            if action.later is not None and action.later.until is not None
        )
        self._globs = [pattern for pattern in self._by_pattern if _GLOB.search(pattern)]

    def prepare(self) -> None:
        """Compiles what is judged when an event arrives, so that none waits for it."""
        for route in self.routes:
            for expression in (route.condition, route.once_per, route.order_by):
                if expression is not None:
                    expression.prepare()
            for action in route.actions:
                if (later := action.later) is not None:
                    until = () if later.until is None else (later.until.same, later.until.theirs)
                    for value in (later.at, *until):
                        if value is not None:
                            value.prepare()

    def wanting(self, account: str, event_type: str) -> tuple[Route, ...]:
        """The routes that want this type from this account, in the order of the file; their `if` is not judged."""
        key = (account, event_type)
        routes = self._found.get(key)
        if routes is None:
            named = set(self._by_pattern.get(event_type, ()))
            named.update(i for glob in self._globs if fits(glob, event_type) for i in self._by_pattern[glob])
            near = (self.routes[i] for i in sorted(named))
            routes = tuple(route for route in near if wants_type(route, account, event_type))
            if len(self._found) >= self._REMEMBERED:
                self._found.clear()
            self._found[key] = routes
        return routes


def twin_of(event: Event, table: RouteTable) -> str | None:
    """What the snapshot form and the thin form of one event share, where routes want both forms: the snapshot event's
    id. The thin form of `customer.created` is `v1.customer.created`.
    https://docs.stripe.com/webhooks/migrate-snapshot-to-thin-events
    """
    shared, other = event.id, f"v1.{event.type}"
    if event.snapshot_event is not None:
        shared, other = event.snapshot_event, event.type.removeprefix("v1.")
    return shared if table.wanting(event.account, other) else None


def scope_of(envelope: Mapping[str, Any], account: Account, constants: Mapping[str, Any]) -> dict[str, Any]:
    """What expressions and templates see of an event. Of a thin event, `object` is what it says of the object that it
    names: `id` and `object`, its type.
    """
    connected = connected_account(envelope.get("account"), envelope.get("context"))
    scope: dict[str, Any] = {
        "event": envelope,
        "previous": {},
        "account": {"name": account.name, "livemode": account.livemode, "vars": account.vars},
        "connected_account": None
        if connected is None
        else {"id": connected, "vars": account.connected_vars.get(connected, {})},
        "vars": constants,
    }
    if envelope.get("object") == THIN:
        related, changes = envelope.get("related_object"), envelope.get("changes")
        if isinstance(related, Mapping):
            scope["object"] = {"id": related.get("id"), "object": related.get("type")}
        if isinstance(changes, Mapping):
            scope["previous"] = changes.get("before") or {}
        return scope
    data = envelope.get("data")
    if isinstance(data, Mapping):
        if "object" in data:
            scope["object"] = data["object"]
        scope["previous"] = data.get("previous_attributes") or {}
    return scope


def with_fetched(scope: Scope, fetched: Mapping[str, Any]) -> dict[str, Any]:
    """The same scope, where `object` is what `fetch` brought, and `event` where that is asked for. `object.deleted` is
    there even where it is false.
    """
    answer = read_answer(fetched)
    whole = {**scope, "object": {"deleted": False, **answer.object}}
    if answer.event is not None:
        whole["event"] = {**scope["event"], **answer.event}
        changes = answer.event.get("changes")
        if isinstance(changes, Mapping):
            whole["previous"] = changes.get("before") or {}
    return whole


def evaluate_condition(route: Route, account: str, scope: Scope) -> tuple[Any, Any] | None:
    """Whether the route's `if` holds: the values of `once_per` and `order_by` (None where not asked for, or where it is
    no key), or None.

    Raises TemplateError, also where there is no key and the route says that this makes dead letters.
    """
    if route.condition is not None and not route.condition.evaluate(scope):
        return None
    by = "order_by" if route.debounce is None else "debounce.by"
    return _key_value(route, "once_per", route.once_per, scope), _key_value(route, by, route.order_by, scope)


def _key_value(route: Route, name: str, expression: Expression | None, scope: Scope) -> Any:
    value = None if expression is None else expression.evaluate(scope)
    if expression is None or not is_no_key(value):
        return value
    if route.is_null_key_dead:
        raise TemplateError(
            expression.where,
            f"{name} is null or empty for this event: no key, of which `null_key: dead` makes a dead letter; mend the "
            "expression or say `null_key: act`, and retry, or cancel",
        )
    return None


def without_key(route: Route, keys: tuple[str | None, str | None], scope: Scope) -> str | None:
    """What to say of a delivery with these keys: that `once_per` or `order_by` was no key for its event. None where
    each was one. `scope` is of the event alone.
    """
    if route.once_per is None and route.order_by is None:
        return None
    notes = []
    for expression, key, note in (
        (route.once_per, keys[0], "once_per is null or empty: no key, so it acts whatever others did"),
        (
            route.order_by,
            keys[1],
            "order_by is null or empty: no key, so it waits for no other event"
            if route.debounce is None
            else "debounce.by is null or empty: no key, so it is no part of a burst",
        ),
    ):
        with contextlib.suppress(TemplateError):  # written anew since it was routed
            if expression is not None and key is None and is_no_key(expression.evaluate(scope)):
                notes.append(note)
    return "; ".join(notes) or None


def keys_for(route: Route, action: str, event: Event, values: tuple[Any, Any]) -> tuple[str | None, str | None]:
    """`(once_key, order_key)` of one action, from what `evaluate_condition` gave for that event."""
    once, order = values
    if route.digest is not None:
        return None, digest_key(route.name, action)
    if route.debounce is not None:
        use = route.action(action)  # what needs others has them wait for the burst
        kind = SETTLED if use is not None and use.needs else BURST
        whose = event.account, event.connected_account  # an event stands for those of its own account alone
        return None, None if order is None else key_of(kind, *whose, route.name, action, _short(order))
    return (
        None if once is None else key_of(event.account, route.name, action, once),
        None if order is None else key_of(route.name, action, order),
    )


BURST, SETTLED = "debounce", "debounced"


def _short(value: Any) -> Any:
    """A value of `debounce.by`, or of a long one its hash: stores keep long keys by their hash, which tells no kind."""
    text = key_of(value)
    return value if len(text) < _LONG_VALUE else hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def settled_key(order_key: str | None) -> str | None:
    """The order key of what acts for a burst whose deliveries have this one; None where it is not one of a burst."""
    begins = f'["{BURST}",'
    if order_key is None or not order_key.startswith(begins):
        return None
    return f'["{SETTLED}",{order_key.removeprefix(begins)}'


def is_digest(delivery: Delivery) -> bool:
    """Whether a delivery was planned to gather events."""
    return delivery.order_key == digest_key(delivery.route, delivery.action)


def digest_key(route: str, action: str) -> str:
    """The order key of all that an action of a route with `digest` owes: one goes first, and takes the others along."""
    return key_of("digest", route, action)


def ended_by(event: Event, table: RouteTable, scope: Callable[[], Scope]) -> tuple[str, ...]:
    """The keys of `until` whose waiting deliveries an event cancels."""
    keys = []
    for route, action, until in table.untils:
        is_of_account = route.accounts is None or event.account in route.accounts
        if is_of_account and any(fits(pattern, event.type) for pattern in until.events):
            with contextlib.suppress(TemplateError, EnvelopeError):  # it has no such field, and so not that value
                keys.append(until_key(route, action, event, until.theirs.evaluate(scope())))
    return tuple(key for key in dict.fromkeys(keys) if key is not None)


def plan(
    routes: Sequence[Route],
    event: Event,
    scope: Callable[[], Scope],
    excluded: str | None = None,
) -> list[PlannedDelivery]:
    """The deliveries owed by routes that want the event's type. `scope` is called once, where anything is judged. What
    would go over the connection `excluded` is left out: the event tells that it does not work.

    Where a route's `if`, `once_per` or `order_by` raises, or the event cannot be read whole (a number such as `1e999`),
    its deliveries are planned all the same: those without needs carry the error, so that nothing is lost and the others
    wait for them. All are judged when they run. Those of a disabled route are planned to begin skipped.
    """
    planned: list[PlannedDelivery] = []
    account, now = event.account, event.received_at
    scope = functools.cache(scope)
    for route in routes:
        error = None
        values: tuple[Any, Any] | None = (None, None)
        if route.condition is not None or route.once_per is not None or route.order_by is not None:
            try:
                values = evaluate_condition(route, account, scope())
            except (TemplateError, EnvelopeError) as failure:
                error = str(failure)
        if values is None:
            continue
        skipped = route.why_disabled
        for action in route.actions if excluded is None else _without(route, excluded):
            place = route.name, action.name, action.needs
            if error is not None:
                own = None if action.needs or skipped else error
                planned.append(
                    PlannedDelivery(*place, error=own, is_judged=False, skipped=skipped, otherwise=action.otherwise)
                )
                continue
            once_key, order_key = keys_for(route, action.name, event, values)
            is_judged = action.approve is None  # it is judged, and takes its turn, when it goes on
            keys = (once_key, order_key) if is_judged else (None, None)
            delivery = PlannedDelivery(*place, *keys, is_judged=is_judged, skipped=skipped, otherwise=action.otherwise)
            planned.append(plan_later(delivery, route, action, event, now, scope))
    return planned


def _told_apart(planned: PlannedDelivery, event: Event) -> PlannedDelivery:
    """The same; its error says where the event is of another version than the templates."""
    if planned.error is None or not lacks_field(planned.error):
        return planned
    return replace(planned, error=f"{planned.error}; {of_another_version(event, event.account)}")


def lacks_field(message: str) -> bool:
    """Whether the words of a TemplateError say that a field is missing."""
    return ": no such field" in message


def of_another_version(event: Event, account: str) -> str:
    """That an event is of another version of Stripe's API than its account's templates were written for."""
    return (
        f"the event is of Stripe's API {event.api_version}, and accounts.{account}.api_version is {event.written_for}"
    )


def _without(route: Route, connection: str) -> list[ActionUse]:
    """A route's actions but for those on a connection, and those that need one of them."""
    excluded = {action.name for action in route.actions if action.connection == connection}
    return [
        action
        for action in route.actions
        if action.name not in excluded and not route.needed_by(action.name) & excluded
    ]


def route(
    event: Event, accounts: Mapping[str, Account], table: RouteTable, constants: Mapping[str, Any]
) -> tuple[Event, list[PlannedDelivery]]:
    """The event in its right state, and what is owed for it. Its account is known."""
    account = account_named(accounts, event.account)
    assert account is not None
    if account.livemode is not None and event.livemode is not None and event.livemode != account.livemode:
        return replace(event, state=EventState.IGNORED), []
    if account.api_version is not None and event.api_version not in (None, account.api_version):
        event = replace(event, written_for=account.api_version)
    scope = functools.cache(lambda: scope_of(parse_json(event.body), account, constants))
    if table.untils and (ends := ended_by(event, table, scope)):
        event = replace(event, ends=ends)
    wanting = table.wanting(event.account, event.type)
    routes = [route for route in wanting if wants_connected(route, event.connected_account)]
    if not routes:
        return replace(event, state=EventState.UNMATCHED), []
    excluded = excluded_connection(parse_json(event.body)) if event.type in ABOUT_CONNECTIONS else None
    planned = plan(routes, event, scope, excluded)
    if event.written_for is not None:
        planned = [_told_apart(delivery, event) for delivery in planned]
    if not planned:
        return replace(event, state=EventState.UNMATCHED), []
    twin = twin_of(event, table)
    return event if twin is None else replace(event, twin=twin), planned
