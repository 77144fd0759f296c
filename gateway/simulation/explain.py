"""Every route and an event: matched or not and why, each action as it would end, what waits for what. Masked."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gateway.config.load import Config
from gateway.core.envelope import parse_json
from gateway.core.errors import TemplateError
from gateway.core.masking import Maskers
from gateway.core.model import DeliveryState, Event, EventState, Expression, Route
from gateway.core.routing import matching_pattern, scope_of, wants_connected
from gateway.privacy.redaction import REDACTED, hidden_in, redacted
from gateway.simulation.engine import Assumed, SimulatedDelivery, Simulator
from gateway.templating.condition_trace import decided_by


@dataclass(frozen=True, slots=True)
class ExplainedAction:
    """One action as its delivery would end."""

    name: str
    uses: str
    needs: tuple[str, ...]
    state: str
    reason: str | None  # why it would not succeed, or what to know where it does
    decided_by: Sequence[str]  # the values that its `if` saw
    rendered: Any | None
    waits: str | None = None  # until when, in words, where it does not act at once


@dataclass(frozen=True, slots=True)
class ExplainedRoute:
    """One route, and why it matches or not."""

    route: str
    matched: bool
    why: str
    decided_by: Sequence[str]  # the values that its `if` saw
    is_fetch_assumed: bool  # the route asks Stripe for the object; the event's own stands in here
    once_per: Any
    order_by: Any
    actions: tuple[ExplainedAction, ...]


async def explain(
    config: Config, event: Event, assumed: Assumed | None = None, shown: Event | None = None
) -> list[ExplainedRoute]:
    """Every route, in the order of the file. What the event's account redacts decides, and is not shown, whatever a
    template made of it: values come from `shown`, the event as people may see it. Raises EnvelopeError.
    """
    result = await Simulator(config).simulate(event, assumed)
    shown = shown or _redacted(config, event)
    hidden_values = None if shown.body == event.body else await _as_shown(config, shown, assumed)
    fetched = assumed.fetched if assumed is not None else None
    hidden = hidden_in([event], config.redactions.paths, fetched)
    masker = Maskers(config.masker, hidden)
    is_known = fetched is not None
    explained = []
    for route in config.routes:
        why, values = why_matched(config, route, result.event)
        if hidden_values is not None:
            values = why_matched(config, route, replace(shown, state=result.event.state))[1]
        deliveries = [delivery for delivery in result.deliveries if delivery.route == route.name]
        if hidden_values is not None:
            deliveries = [_hidden(delivery, hidden_values) for delivery in deliveries]
        is_fetch_assumed = route.fetch is not None and not is_known
        explained.append(_route(route, why, values, deliveries, masker, is_fetch_assumed=is_fetch_assumed))
    return explained


def _redacted(config: Config, event: Event) -> Event:
    """The event without what its account redacts. Raises EnvelopeError."""
    paths = config.redactions.paths.get(event.account, ())
    if not paths:
        return event
    value = redacted(parse_json(event.body), paths)
    return replace(event, body=json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))


Deliveries = Mapping[tuple[str, str], SimulatedDelivery]


async def _as_shown(config: Config, shown: Event, assumed: Assumed | None) -> Deliveries:
    """What every action would make of the event as people may see it, by route and action; no condition is asked, for
    what is hidden may decide it.
    """
    routes = tuple(
        replace(route, condition=None, actions=tuple(replace(action, condition=None) for action in route.actions))
        for route in config.routes
    )
    result = await Simulator(replace(config, routes=routes)).simulate(shown, assumed)
    return {(delivery.route, delivery.action.name): delivery for delivery in result.deliveries}


def _hidden(delivery: SimulatedDelivery, as_shown: Deliveries) -> SimulatedDelivery:
    """The delivery as it ends, with the values that people may see; what a filter cannot make of those is hidden."""
    safe = as_shown.get((delivery.route, delivery.action.name))
    if safe is None:
        return replace(delivery, rendered=None if delivery.rendered is None else REDACTED, seen=dict)
    rendered = REDACTED if safe.rendered is None and delivery.rendered is not None else safe.rendered
    return replace(
        delivery, rendered=rendered, seen=safe.seen, once_per=safe.once_per, order_by=safe.order_by,
        reason=delivery.reason if delivery.reason == safe.reason or delivery.rendered is not None else safe.reason,
    )  # fmt: skip


def _route(
    route: Route,
    why: str,
    values: list[str],
    deliveries: list[SimulatedDelivery],
    masker: Maskers,
    *,
    is_fetch_assumed: bool,
) -> ExplainedRoute:
    first = deliveries[0] if deliveries else None
    return ExplainedRoute(
        route=route.name,
        matched=first is not None,
        why=masker.mask(why),
        decided_by=masker.mask(values),
        is_fetch_assumed=is_fetch_assumed and first is not None,
        once_per=masker.mask(first.once_per) if first is not None else None,
        order_by=masker.mask(first.order_by) if first is not None else None,
        actions=tuple(_action(delivery, masker) for delivery in deliveries),
    )


def _action(delivery: SimulatedDelivery, masker: Maskers) -> ExplainedAction:
    judged = delivery.had_attempt and delivery.state in (DeliveryState.SUCCEEDED, DeliveryState.SKIPPED)
    return ExplainedAction(
        name=delivery.action.name,
        uses=delivery.action.uses,
        needs=delivery.action.needs,
        state=delivery.state.value,
        reason=masker.mask(delivery.reason),
        decided_by=masker.mask(_values(delivery.action.condition, delivery.scope)) if judged else [],
        rendered=masker.mask(delivery.rendered),
        waits=masker.mask(delivery.why_later) if delivery.waits_until is not None else None,
    )


def _values(condition: Expression | None, scope: Mapping[str, Any]) -> list[str]:
    try:
        return [] if condition is None else list(decided_by(condition, scope))
    except TemplateError:
        return []


def why_matched(config: Config, route: Route, event: Event) -> tuple[str, list[str]]:
    """Why a route wants an event or not, in a sentence, and the values that decided its `if`. `event` has been
    routed. Raises EnvelopeError.
    """
    account = config.account(event.account)
    assert account is not None  # the event has been routed
    if event.state is EventState.IGNORED:
        mode = str(account.livemode).lower()
        return f"account {account.name} takes only events of livemode {mode}; this one is ignored", []
    if route.accounts is not None and account.name not in route.accounts:
        return f"is for {', '.join(sorted(route.accounts))}, not for account {account.name}", []
    pattern = matching_pattern(route, event.type)
    if pattern is None:
        return _no_pattern(route, event.type), []
    if not wants_connected(route, event.connected_account):
        wanted = ", ".join(sorted(route.connected_accounts))
        of = f"of connected account {event.connected_account}" if event.connected_account else "of the account's own"
        return f"wants {pattern} of connected_accounts: {wanted}; this is {of}", []
    by = f"wants {event.type}" + ("" if pattern == event.type else f" by {pattern}")
    by += "" if route.is_enabled else " (and is disabled: `enabled: false`)"
    if route.condition is None:
        return by, []
    scope = scope_of(parse_json(event.body), account, config.vars)
    try:
        holds = bool(route.condition.evaluate(scope))
    except TemplateError as error:
        return f"{by}, but its `if` fails, so its deliveries are dead letters: {error}", []
    sentence = f"{by}, {'and' if holds else 'but'} its `if` is {str(holds).lower()}: {route.condition.source}"
    return sentence, _values(route.condition, scope)


def _no_pattern(route: Route, event_type: str) -> str:
    if len(route.events) == 1:
        return f"wants {route.events[0]}"
    near = difflib.get_close_matches(event_type, route.events, n=1, cutoff=0.0)
    others = len(route.events) - 1
    return f"wants {near[0]} and {others} other{'' if others == 1 else 's'}, none of them this type"
