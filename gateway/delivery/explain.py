"""What would happen to an event, without doing it: which routes match, why others do not, each action rendered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.envelope import parse_json
from gateway.errors import TemplateError
from gateway.model import ActionUse, Event, Route
from gateway.routing import judge, scope_of, wants_connected, wants_type, with_fetched
from gateway.settings.load import Config


@dataclass(frozen=True, slots=True)
class ExplainedAction:
    """One action as it would run."""

    name: str
    uses: str
    needs: tuple[str, ...]
    rendered: Any | None
    note: str | None
    error: str | None


@dataclass(frozen=True, slots=True)
class ExplainedRoute:
    """One route, and why it matches or not."""

    route: str
    matched: bool
    why: str
    actions: tuple[ExplainedAction, ...]


def explain(config: Config, event: Event, fetched: Mapping[str, Any] | None = None) -> list[ExplainedRoute]:
    """Every route, in the order of the file. `fetched` is what `fetch` would bring; without it, what the event itself
    tells of its object stands in. Raises EnvelopeError.
    """
    account = config.accounts[event.account]
    scope = scope_of(parse_json(event.body), account, config.vars)
    if account.livemode is not None and event.livemode is not None and event.livemode != account.livemode:
        why = f"account {account.name} takes only livemode: {str(account.livemode).lower()}; the event is ignored"
        return [ExplainedRoute(route.name, False, why, ()) for route in config.routes]
    return [_route(route, event, scope, fetched) for route in config.routes]


def _route(route: Route, event: Event, scope: Mapping[str, Any], fetched: Mapping[str, Any] | None) -> ExplainedRoute:
    if route.accounts is not None and event.account not in route.accounts:
        return ExplainedRoute(route.name, False, f"is not for account {event.account}", ())
    if not wants_type(route, event.account, event.type):
        return ExplainedRoute(route.name, False, f"wants {', '.join(route.events)}; this is {event.type}", ())
    if not wants_connected(route, event.connected_account):
        of = event.connected_account or f"account {event.account} itself"
        wanted = ", ".join(sorted(route.connected_accounts))
        return ExplainedRoute(route.name, False, f"wants connected_accounts: {wanted}; this is of {of}", ())
    try:
        values = judge(route, event.account, scope)
    except TemplateError as error:
        return ExplainedRoute(route.name, True, f"its condition fails, a dead letter: {error}", ())
    condition = route.condition.source if route.condition is not None else None
    if values is None:
        return ExplainedRoute(route.name, False, f"its `if` is false: {condition}", ())
    why = f"wants {event.type}" + (f", and its `if` is true: {condition}" if condition else "")
    unsure = None
    if route.fetch is not None:
        scope = with_fetched(scope, scope.get("object", {}) if fetched is None else fetched)
        unsure = "fetch asks Stripe when it runs; this is with the event's own object" if fetched is None else None
    actions = tuple(_action(action, scope, unsure, _dry(route, action)) for action in route.actions)
    return ExplainedRoute(route.name, True, why, actions)


def _action(action: ActionUse, scope: Mapping[str, Any], unsure: str | None, dry: str | None) -> ExplainedAction:
    """`unsure`: why it may turn out otherwise, or None."""
    base = {**scope, "steps": {}, "delivery": {"id": "dlv_example", "attempt": 1}}
    try:
        if action.condition is not None and not action.condition.evaluate(base):
            note = f"skipped: its `if` is false: {action.condition.source}" + (f" ({unsure})" if unsure else "")
            return ExplainedAction(action.name, action.uses, action.needs, None, note, None)
        rendered = action.settings.render(base)
    except TemplateError as error:
        why = "uses the output of an earlier step, known only when it runs" if action.needs else unsure
        return ExplainedAction(action.name, action.uses, action.needs, None, why, str(error))
    notes = "; ".join(note for note in (dry, unsure) if note is not None)
    return ExplainedAction(action.name, action.uses, action.needs, rendered.kept, notes or None, None)


def _dry(route: Route, action: ActionUse) -> str | None:
    """That nothing would be sent, and why."""
    dry = [name for name in (action.name, *sorted(route.needed_by(action.name))) if _says_dry_run(route, name)]
    if route.dry_run:
        return f"dry run, nothing is sent: route {route.name} says dry_run"
    return f"dry run, nothing is sent: action {dry[0]} says dry_run" if dry else None


def _says_dry_run(route: Route, name: str) -> bool:
    found = route.action(name)
    return found is not None and found.dry_run
