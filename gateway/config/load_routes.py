"""The routes of gateway.yaml -> what the engine runs, beside the parts that they name; and every problem in them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from gateway.config.action_fields import connections_of, stripe_methods_of
from gateway.config.action_settings import Compiling
from gateway.config.checks.approvals import approval_of, check_approve
from gateway.config.checks.audit import check_audit
from gateway.config.checks.dependencies import in_order_of_needs
from gateway.config.checks.expires import check_expires
from gateway.config.checks.internal_events import check_debounce, check_digest, check_own, own_objects
from gateway.config.checks.lint import check_patterns
from gateway.config.checks.stripe import check_fetch, check_organisation, data_fields, fetch_of
from gateway.config.checks.stripe_calls import WrittenCall, check_call
from gateway.config.checks.stripe_fetch import check_fetchable
from gateway.config.checks.stripe_held import Held, held_by
from gateway.config.checks.template_names import Offered
from gateway.config.diagnostics.problem import Problem
from gateway.config.load_later import LaterLoading
from gateway.config.plugins import missing_packages
from gateway.config.schema.connections import connection_types, keys_of_secrets
from gateway.config.schema.model import GatewaySettings
from gateway.config.schema.routes import ActionSettings, RouteSettings
from gateway.config.yaml.document import Source
from gateway.config.yaml.nodes import Path_
from gateway.core.errors import Where
from gateway.core.internal_events import account_named
from gateway.core.model import Account, ActionUse, Digest, Expression, Need, RetryPolicy, Route
from gateway.core.model.needs import otherwise_of
from gateway.core.spelling import did_you_mean, nearest
from gateway.plugin import Action, ConnectionSettings
from gateway.stripe.event_types import is_thin


@dataclass(frozen=True, slots=True)
class LoadedParts:
    """What routes name: as far as it could be made, and what else was meant to be."""

    settings: GatewaySettings | None  # None: something in them is not sound
    accounts: Mapping[str, Account]
    actions: Mapping[str, Action[Any]]
    connections: Mapping[str, ConnectionSettings]
    declared: AbstractSet[str]  # the names of connections, sound or not
    unfilled: AbstractSet[str]  # where a variable has no value
    checks_fields: bool = False  # against Stripe's objects
    api_version: str | None = None  # that all of them are to be of; None: as each account says


class RouteLoading:
    """Makes one route after another. Adds to `problems`."""

    def __init__(self, source: Source, compiling: Compiling, problems: list[Problem], parts: LoadedParts) -> None:
        self.used_connections: set[str] = set()
        self.secret_paths: set[Path_] = set()
        self._source = source
        self._compiling = compiling
        self._problems = problems
        self._parts = parts

    def route(self, name: str, route: RouteSettings) -> Route:
        """One route: compiled where it is sound, and what is not sound in it is reported."""
        at: Path_ = ("routes", name)
        parts, accounts = self._parts, self._parts.accounts
        for i, account in enumerate(route.accounts or ()):
            if account_named(accounts, account) is None:
                where = self._source.where((*at, "accounts", i))
                self._problem(where, f"unknown account {account!r}", did_you_mean(account, accounts), "unknown-account")
        self._check(at, route)
        held = self._held(at, route)
        fetch = fetch_of(route)
        armed = self._narrowed(held, route.if_)
        if armed is not None and fetch is not None:
            self._problems += check_fetchable(at, armed, fetch, self._source)
        at_intake = Offered(
            constants=self._source.section("vars"),
            account_vars={
                account.name: account.vars
                for account in accounts.values()
                if route.accounts is None or account.name in route.accounts
            },
            own_objects=own_objects(route.events),
            thin_data=frozenset() if all(map(is_thin, route.events)) else None,
            held=None if held is None else held.of_event(),
        )
        keys = at_intake.with_held(self._narrowed(at_intake.held, route.if_))
        in_actions = dataclasses.replace(
            at_intake,
            held=armed,
            is_action=True,
            thin_data=self._thin_data(route, at_intake.thin_data),
            is_digest=route.digest is not None,
            actions=frozenset(self._raw_actions(at)),
            approval=approval_of(route, parts.settings),
        )
        digest = None if route.digest is None else route.digest.rule()
        uses = self._uses(at, route, keys, in_actions)
        if digest is not None:
            uses = [_tried_again_soon(use, route.actions[use.name], digest) for use in uses]
        return Route(
            name=name,
            accounts=None if route.accounts is None else frozenset(route.accounts),
            events=tuple(route.events),
            where=self._source.where(at),
            condition=self._expression((*at, "if"), route.if_, at_intake),
            once_per=self._expression((*at, "once_per"), route.once_per, keys),
            order_by=self._expression((*at, "order_by"), route.order_by, keys)
            if route.debounce is None
            else self._expression((*at, "debounce", "by"), route.debounce.by, keys),
            is_null_key_dead=route.null_key == "dead",
            actions=self._in_order(at, route, uses),
            connected_accounts=frozenset(route.connected_accounts),
            fetch=fetch,
            dry_run=route.dry_run,
            is_enabled=route.enabled,
            description=route.description,
            owner=route.owner,
            digest=digest,
            audit=None if route.audit is None else route.audit.rule(),
            debounce=None if route.debounce is None else route.debounce.rule(),
        )

    def _check(self, at: Path_, route: RouteSettings) -> None:
        """What is wrong with a route as it is written."""
        parts, accounts = self._parts, self._parts.accounts
        self._problems += check_patterns((*at, "events"), route.events, self._source)
        self._problems += check_fetch(at, route, accounts, parts.unfilled, self._source)
        self._problems += check_organisation(at, route, accounts, self._source)
        self._problems += check_own(at, route, self._source)
        self._problems += check_digest(at, route, self._source)
        self._problems += check_debounce(at, route, self._source)
        self._problems += check_audit(at, route, parts.actions, accounts, parts.unfilled, self._source)
        self._problems += check_approve(at, route, self._source)
        retries = parts.settings.defaults.retry if parts.settings is not None else None
        self._problems += check_expires(at, route, retries, self._source)

    def _uses(self, at: Path_, route: RouteSettings, keys: Offered, in_actions: Offered) -> list[ActionUse]:
        """Its actions; `keys` are the names that there are when an event arrives."""
        later = LaterLoading(
            self._source, self._compiling, self._problems, self._versions(route), self._retention_seconds()
        )
        uses = []
        for name, action in route.actions.items():
            here: Path_ = (*at, "actions", name)
            use = self._action(name, here, action, in_actions, route.accounts or self._parts.accounts)
            uses.append(dataclasses.replace(use, later=later.later(route, here, action, keys, in_actions)))
        return uses

    def _held(self, at: Path_, route: RouteSettings) -> Held | None:
        """What Stripe's events bring, where that is asked for."""
        versions = self._versions(route)
        return (
            None
            if versions is None or route.digest is not None
            else held_by(tuple(route.events), fetch_of(route), versions)
        )

    def _versions(self, route: RouteSettings) -> tuple[str | None, ...] | None:
        """The versions of Stripe's API that its events are of; None where fields are not checked."""
        if not self._parts.checks_fields:
            return None
        accounts = route.accounts if route.accounts is not None else self._parts.accounts
        known = [self._parts.accounts[name] for name in accounts if name in self._parts.accounts]
        return tuple(dict.fromkeys(self._parts.api_version or account.api_version for account in known))

    def _retention_seconds(self) -> float:
        return math.inf if self._parts.settings is None else self._parts.settings.store.retention

    def _thin_data(self, route: RouteSettings, before: frozenset[str] | None) -> frozenset[str] | None:
        """The fields of `event.data` once it is read, where it is; `before` it was."""
        fetch = fetch_of(route)
        if before is None or fetch is None or not fetch.asks_event:
            return before
        return data_fields(route.events) if self._parts.checks_fields else None

    def _narrowed(self, held: Held | None, condition: str | bool | None) -> Held | None:
        """What the events hold for which a condition is true."""
        if held is None or not isinstance(condition, str):
            return held
        return self._compiling.stripe_check.assuming(condition, held)

    def _raw_actions(self, at: Path_) -> Mapping[str, Any]:
        """A route's actions as written, sound or not."""
        actions = self._source.value["routes"][at[1]].get("actions")
        return actions if isinstance(actions, dict) else {}

    def _expression(self, at: Path_, text: str | bool | None, offered: Offered) -> Expression | None:
        if text is None or text is True:
            return None
        return self._compiling.expression("false" if text is False else text, at, offered)

    def _action(
        self, name: str, at: Path_, action: ActionSettings, offered: Offered, route_accounts: Collection[str]
    ) -> ActionUse:
        parts = self._parts
        settings, actions = parts.settings, parts.actions
        plugin = actions.get(action.uses)
        compiled = None
        failed = frozenset(name for name, need in _otherwise(action).items() if need is not Need.ANY)
        offered = dataclasses.replace(offered, action=name, needed=self._needed(at), without_output=failed)
        armed = offered.with_held(self._narrowed(offered.held, action.if_))
        if plugin is None:
            hint = did_you_mean(action.uses, actions)
            where = self._source.where((*at, "uses"))
            self._problem(where, f"unknown action {action.uses!r}", hint, "unknown-action")
            self.used_connections.update(value for value in action.with_.values() if isinstance(value, str))
        else:
            for module, package in missing_packages(plugin).items():
                message = f"action {action.uses} needs {module}, which is not installed"
                self._problem(self._source.where((*at, "uses")), message, f"pip install '{package}'", "missing-package")
            secret_keys = keys_of_secrets(plugin.Settings, frozenset(action.with_))
            self.secret_paths.update((*at, "with", key) for key in secret_keys)
            compiled = self._compiling.with_(plugin, action.with_, (*at, "with"), armed, parts.connections)
            self._check_connection(plugin, action, at)
            self._check_stripe_call(plugin, action, at, route_accounts)
        default = settings.defaults.retry if settings is not None else None
        return ActionUse(
            name=name,
            uses=action.uses,
            needs=tuple(dict.fromkeys(action.needs)),
            where=self._source.where(at),
            condition=self._expression((*at, "if"), action.if_, offered),
            connection=compiled.connection if compiled is not None else None,
            retry=self._retry(action, default),
            timeout_seconds=action.timeout or (settings.defaults.timeout if settings is not None else 30.0),
            settings=compiled,
            dry_run=action.dry_run,
            otherwise=_otherwise(action),
            expires_seconds=action.expires,
            approve=None if action.approve is None else action.approve.rule(),
        )

    def _needed(self, at: Path_) -> frozenset[str] | None:
        """All that an action needs, directly or through others; None where what is written there is not sound."""
        actions = self._raw_actions(at)
        needed: set[str] = set()
        todo = [str(at[-1])]
        while todo:
            action = actions.get(todo.pop())
            needs = action.get("needs") if isinstance(action, dict) else None
            if needs is not None and not isinstance(needs, (list, dict)):
                return None
            for need in needs or ():
                if not isinstance(need, str) or need not in actions:
                    return None
                if need not in needed:
                    needed.add(need)
                    todo.append(need)
        return frozenset(needed)

    def _retry(self, action: ActionSettings, default: Any) -> RetryPolicy:
        if default is None:
            return RetryPolicy(20, 5.0, 4.0, 21600.0)
        if action.retry is None:
            policy: RetryPolicy = default.policy()
            return policy
        own = {key: getattr(action.retry, key) for key in action.retry.model_fields_set}
        merged: RetryPolicy = default.model_copy(update=own).policy()
        return merged

    def _check_connection(self, plugin: Action[Any], action: ActionSettings, at: Path_) -> None:
        connections, declared = self._parts.connections, self._parts.declared
        for field, kind in connections_of(plugin.Settings).items():
            name = action.with_.get(field)
            if not isinstance(name, str):
                continue
            if "{{" in name:
                self.used_connections |= _of_type(connections, kind)
                continue
            self.used_connections.add(name)
            path = (*at, "with", field)
            if name not in declared:
                hint = did_you_mean(name, declared)
                self.used_connections.add(nearest(name, declared) or name)  # the one that was meant
                self._problem(self._source.where(path), f"unknown connection {name!r}", hint, "unknown-connection")
            elif name in connections and not isinstance(connections[name], kind):
                types = connection_types(self._parts.actions)
                wanted = next((word for word, model in types.items() if model is kind), "other")
                self.used_connections |= _of_type(connections, kind)  # one of them was meant
                message = f"{name} is a connection of type {connections[name].type}; {action.uses} needs {wanted}"
                self._problem(self._source.where(path), message, code="wrong-connection")

    def _check_stripe_call(
        self, plugin: Action[Any], action: ActionSettings, at: Path_, names: Collection[str]
    ) -> None:
        for field, calls in stripe_methods_of(plugin.Settings).items():
            method = action.with_.get(field)
            if isinstance(method, str) and "{" not in method:
                accounts = [self._parts.accounts[name] for name in names if name in self._parts.accounts]
                call = WrittenCall((*at, "with"), field, method, action.with_, calls)
                self._problems += check_call(call, accounts, self._parts.unfilled, self._source)

    def _in_order(self, at: Path_, route: RouteSettings, uses: list[ActionUse]) -> tuple[ActionUse, ...]:
        """Actions such that each stands after what it needs. Reports unknown needs and cycles."""
        by_name = {use.name: use for use in uses}
        written = set(self._raw_actions(at))
        for use in uses:
            for i, need in enumerate(use.needs):
                if need not in written:
                    of_needs = (*at, "actions", use.name, "needs")
                    is_list = isinstance(route.actions[use.name].needs, list)
                    where = self._source.where((*of_needs, i)) if is_list else self._source.where_key((*of_needs, need))
                    hint = did_you_mean(need, written - {use.name})
                    self._problem(where, f"unknown action {need!r} in needs", hint, "unknown-need")
        ordered, circles = in_order_of_needs({use.name: use.needs for use in uses})
        for circle in circles:
            where = self._source.where_key((*at, "actions", circle[0], "needs"))
            self._problem(where, f"needs go in a circle: {' -> '.join(circle)}", code="needs-cycle")
        return tuple(by_name[name] for name in ordered)

    def _problem(self, where: Where, message: str, hint: str | None = None, code: str = "invalid-value") -> None:
        self._problems.append(Problem(where, message, hint, code=code))


def _otherwise(action: ActionSettings) -> dict[str, Need]:
    """How those of an action's needs have to end that have not to succeed."""
    return (
        otherwise_of({name: Need(end) for name, end in action.needs.items()}) if isinstance(action.needs, dict) else {}
    )


def _tried_again_soon(use: ActionUse, action: ActionSettings, digest: Digest) -> ActionUse:
    """With a digest, what comes next waits behind the one before: where nobody says otherwise, it is tried again as
    often as digests may go out.
    """
    if action.retry is not None and "max" in action.retry.model_fields_set:
        return use
    longest = min(use.retry.max_seconds, digest.every_seconds)
    return dataclasses.replace(use, retry=dataclasses.replace(use.retry, max_seconds=longest))


def _of_type(connections: Mapping[str, ConnectionSettings], kind: type[Any]) -> set[str]:
    return {name for name, settings in connections.items() if isinstance(settings, kind)}
