"""Whether a route that says `audit` has rows to compare, and somebody to ask."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from gateway.config.diagnostics.problem import Problem
from gateway.config.schema.routes import RouteSettings
from gateway.config.yaml.document import Source
from gateway.config.yaml.nodes import Path_
from gateway.core.model import OWN, Account
from gateway.plugin import Action
from gateway.stripe.object_states import changed_type, types_of


def check_audit(
    at: Path_,
    route: RouteSettings,
    actions: Mapping[str, Action[Any]],
    accounts: Mapping[str, Account],
    unfilled: AbstractSet[str],
    source: Source,
) -> Iterator[Problem]:
    """A route that keeps nothing that could be compared, or of whose types Stripe lists no objects, and an account
    without a key to ask with.
    """
    if route.audit is None:
        return
    where = source.where_key((*at, "audit"))
    known = [actions[use.uses] for use in route.actions.values() if use.uses in actions]
    if known and all(type(action).compare is Action.compare for action in known):
        yield Problem(
            where, "none of the route's actions keeps rows that could be compared: db_upsert does", code="audit"
        )
    reasons = {name: told for name in types_of(route.events) if isinstance(told := changed_type(name), str)}
    if reasons and len(reasons) == len(types_of(route.events)):
        name, reason = next(iter(reasons.items()))
        yield Problem(where, f"Stripe lists no objects of this route: {name}: {reason}", code="audit")
    if OWN not in route.connected_accounts:
        hint = "let cron do it: gateway audit ROUTE --connected-account '*'"
        yield Problem(where, "it sees only accounts' own objects, which this route does not take", hint, code="audit")
    for name in route.accounts or accounts:
        key_place = source.where(("accounts", name, "api_key")).path
        if name in accounts and not accounts[name].api_key and key_place not in unfilled:
            hint = f"set accounts.{name}.api_key to a restricted key that may read what these events are about"
            yield Problem(where, f"account {name} has no api_key to ask Stripe with", hint, code="missing-api-key")
