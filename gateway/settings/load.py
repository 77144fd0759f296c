"""gateway.yaml -> the configuration that everything runs on, or every problem at once."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gateway.errors import TemplateError, Where
from gateway.model import Account, ActionUse, Expression, RetryPolicy, Route
from gateway.plugin import (
    Action,
    ConnectionSettings,
    DatabaseConnection,
    HttpConnection,
    SlackConnection,
    SmtpConnection,
)
from gateway.registry import find_actions
from gateway.settings.compiled import compile_with, fields_of
from gateway.settings.explain_errors import explained
from gateway.settings.problems import ConfigError, Problem, did_you_mean
from gateway.settings.schema import AccountSettings, ActionSettings, GatewaySettings, RouteSettings, split_listen
from gateway.settings.source import Path_, Source
from gateway.templating import Templates

LOOPBACK = ("127.0.0.1", "::1", "localhost")
_EVENT_PATTERN = re.compile(r"[A-Za-z0-9_.*?\[\]!-]+")


@dataclass(frozen=True, slots=True)
class Config:
    """A loaded, checked and compiled gateway.yaml."""

    path: Path
    folder: Path  # where relative paths start
    settings: GatewaySettings
    accounts: Mapping[str, Account]
    connections: Mapping[str, ConnectionSettings]
    routes: tuple[Route, ...]
    actions: Mapping[str, Action[Any]]  # by the name after `uses:`
    vars: Mapping[str, Any]  # the constants
    files: frozenset[Path]  # all that was read
    version: str  # changes whenever anything that was read changes
    warnings: tuple[Problem, ...] = ()


def load(path: Path, environ: Mapping[str, str]) -> Config:
    """Loads everything; contacts nothing. Raises ConfigError with all problems."""
    return Loading(path, environ).load()


def load_store_url(path: Path, environ: Mapping[str, str]) -> tuple[Path, str]:
    """The folder of gateway.yaml and its `store.url`, for commands that need no more: whatever else is wrong or unset
    does not matter. Raises ConfigError.
    """
    source = Source(path, environ, lenient=True)
    if not source.value:
        raise ConfigError(str(path), source.problems)
    store = source.value.get("store")
    url = store.get("url") if isinstance(store, dict) else None
    default: Any = GatewaySettings.model_fields["store"].default_factory
    return source.folder, url if isinstance(url, str) and url else default().url.get_secret_value()


def connection_types(actions: Mapping[str, Action[Any]]) -> dict[str, type[ConnectionSettings]]:
    """The types of connection: the four, and those that plugins bring, by the word after `type:`."""
    known: list[type[ConnectionSettings]] = [DatabaseConnection, SmtpConnection, HttpConnection, SlackConnection]
    for action in actions.values():
        known += [field.connection for field in fields_of(action.Settings).values() if field.connection is not None]
    return {
        typing.get_args(model.model_fields["type"].annotation)[0]: model
        for model in known
        if typing.get_args(model.model_fields["type"].annotation)
    }


class Loading:
    """One run over one configuration: collects problems, and what could be made."""

    def __init__(self, path: Path, environ: Mapping[str, str], source: Source | None = None) -> None:
        self.path = path
        self.source = source or Source(path, environ)
        self.problems = self.source.problems
        self.warnings: list[Problem] = []
        self.templates = Templates(self.source.folder)
        self.actions: dict[str, Action[Any]] = {}
        self.used_connections: set[str] = set()

    def load(self) -> Config:
        value = self.source.value
        if not value:
            raise ConfigError(str(self.path), self.problems)
        self._find_actions()
        connections = self._connections(value.get("connections"))
        settings = self._settings(value)
        declared = set(value["connections"]) if isinstance(value.get("connections"), dict) else set()
        routes = []
        for name, at, route in self._valid("routes", RouteSettings):
            routes.append(self._route(name, at, route, settings, connections, declared))
        accounts = dict(self._accounts(settings))
        self._same_listener(settings)
        self._admin(settings)
        for name in sorted(declared - self.used_connections):
            self.warnings.append(
                Problem(self.source.where_key(("connections", name)), "no action uses this connection")
            )
        if self.problems or settings is None:
            raise ConfigError(str(self.path), self.problems)
        extra = {file: file.read_bytes() for file in self.templates.files_read | self.plugin_files}
        return Config(
            path=self.path,
            folder=self.source.folder,
            settings=settings,
            accounts=accounts,
            connections=connections,
            routes=tuple(routes),
            actions=self.actions,
            vars=settings.vars,
            files=frozenset(self.source.files | set(extra)),
            version=self.source.digest(extra),
            warnings=tuple(self.warnings),
        )

    def problem(self, where: Where, message: str, hint: str | None = None) -> None:
        self.problems.append(Problem(where, message, hint))

    # -- the parts --------------------------------------------------------------------------------------------

    def _find_actions(self) -> None:
        listed = self.source.value.get("plugins")
        names = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
        folders = [self.source.folder / name for name in names]
        self.plugin_files = {file for folder in folders if folder.is_dir() for file in folder.glob("*.py")}
        self.actions, complaints = find_actions(folders)
        for file, message in complaints:
            index = next((i for i, folder in enumerate(folders) if file in (folder, *folder.glob("*.py"))), None)
            where = self.source.where(("plugins",) if index is None else ("plugins", index))
            shown = "" if file is None else f"{file.name}: " if file.suffix == ".py" else ""
            self.problem(where, shown + message)

    def _settings(self, value: dict[str, Any]) -> GatewaySettings | None:
        try:
            return GatewaySettings.model_validate(value)
        except ValidationError as error:
            for path, message, hint in explained(error, GatewaySettings):
                at_key = message.startswith(("unknown key", "is missing"))
                if message.startswith("is missing"):
                    path = path[:-1]
                self.problem(self.source.where_key(path) if at_key else self.source.where(path), message, hint)
            return None

    def _valid(self, section: str, model: Any) -> Iterator[tuple[str, Path_, Any]]:
        """The members of a section that are valid by themselves: so that one bad route does not hide another."""
        members = self.source.value.get(section)
        for name, given in members.items() if isinstance(members, dict) else ():
            try:
                yield name, (section, name), model.model_validate(given)
            except ValidationError:
                continue  # told by _settings

    def _connections(self, given: Any) -> dict[str, ConnectionSettings]:
        types = connection_types(self.actions)
        made: dict[str, ConnectionSettings] = {}
        for name, settings in given.items() if isinstance(given, dict) else ():
            at: Path_ = ("connections", name)
            if not isinstance(settings, dict):
                continue
            kind = settings.get("type")
            if kind is None:
                self.problem(self.source.where_key(at), f"is missing type: {', '.join(sorted(types))}")
                continue
            model = types.get(kind) if isinstance(kind, str) else None
            if model is None:
                hint = did_you_mean(str(kind), types)
                self.problem(self.source.where((*at, "type")), f"unknown type of connection {str(kind)!r:.40}", hint)
                continue
            try:
                made[name] = model.model_validate(settings)
            except ValidationError as error:
                for path, message, hint in explained(error, model):
                    at_key = message.startswith("unknown key")
                    full = at if message.startswith("is missing") else (*at, *path)
                    where = self.source.where_key(full) if at_key or full == at else self.source.where(full)
                    self.problem(where, message, hint)
        return made

    def _accounts(self, settings: GatewaySettings | None) -> Iterator[tuple[str, Account]]:
        seen: dict[str, str] = {}
        for name, at, account in self._valid("accounts", AccountSettings):
            assert isinstance(account, AccountSettings)
            secrets = tuple(secret.get_secret_value() for secret in account.signing_secrets)
            for i, secret in enumerate(secrets):
                place = self.source.where((*at, "signing_secrets", i))
                if not secret:
                    if not any(p.where == place for p in self.problems):
                        self.problem(place, "is empty", "the whsec_... of the webhook endpoint at Stripe")
                elif seen.setdefault(secret, name) != name:
                    self.problem(
                        place, f"account {seen[secret]} has the same secret: an event must belong to one account"
                    )
            yield (
                name,
                Account(
                    name=name,
                    signing_secrets=secrets,
                    livemode=account.livemode if isinstance(account.livemode, bool) else None,
                    tolerance_seconds=account.tolerance,
                    api_key=account.api_key.get_secret_value(),
                    vars=account.vars,
                ),
            )

    def _same_listener(self, settings: GatewaySettings | None) -> None:
        if settings is not None and settings.server.listen == settings.admin.listen:
            where = self.source.where(("admin", "listen"))
            self.problem(where, "is the same address as server.listen: the console is never on the public listener")

    def _admin(self, settings: GatewaySettings | None) -> None:
        """Nobody but this machine reaches the console without a token, and the two tokens tell two roles apart."""
        if settings is None:
            return
        admin = settings.admin
        operator, viewer = admin.token.get_secret_value(), admin.viewer_token.get_secret_value()
        host, _ = split_listen(admin.listen)
        if not operator and host not in LOOPBACK:
            hint = "set admin.token, or listen on 127.0.0.1"
            self.problem(
                self.source.where(("admin", "listen")),
                f"without admin.token only this machine may reach the console, not {host}",
                hint,
            )
        if operator and operator == viewer:
            self.problem(self.source.where(("admin", "viewer_token")), "is the same as admin.token")

    # -- routes -----------------------------------------------------------------------------------------------

    def _route(
        self,
        name: str,
        at: Path_,
        route: RouteSettings,
        settings: GatewaySettings | None,
        connections: Mapping[str, ConnectionSettings],
        declared: set[str],
    ) -> Route:
        accounts = self.source.value.get("accounts")
        known = set(accounts) if isinstance(accounts, dict) else set()
        for i, account in enumerate(route.accounts or ()):
            if account not in known:
                hint = did_you_mean(account, known)
                self.problem(self.source.where((*at, "accounts", i)), f"unknown account {account!r}", hint)
        for i, pattern in enumerate(route.events):
            if not _EVENT_PATTERN.fullmatch(pattern) or pattern.count("[") != pattern.count("]"):
                where = self.source.where((*at, "events", i))
                self.problem(where, f"{pattern!r} is no event type or glob", "such as customer.subscription.*")
        if route.fetch is not None:
            self.problem(self.source.where_key((*at, "fetch")), "fetch is not available in this version")
        uses = [
            self._action(name, action_name, (*at, "actions", action_name), action, settings, connections, declared)
            for action_name, action in route.actions.items()
        ]
        return Route(
            name=name,
            accounts=None if route.accounts is None else frozenset(route.accounts),
            events=tuple(route.events),
            where=self.source.where(at),
            condition=self._expression((*at, "if"), route.if_),
            once_per=self._expression((*at, "once_per"), route.once_per),
            order_by=self._expression((*at, "order_by"), route.order_by),
            actions=self._in_order(at, uses),
        )

    def _expression(self, at: Path_, given: str | bool | None) -> Expression | None:
        if given is None or given is True:
            return None
        try:
            return self.templates.expression("false" if given is False else given, self.source.where(at))
        except TemplateError as error:
            self.problem(error.where, error.message)
            return None

    def _action(
        self,
        route: str,
        name: str,
        at: Path_,
        action: ActionSettings,
        settings: GatewaySettings | None,
        connections: Mapping[str, ConnectionSettings],
        declared: set[str],
    ) -> ActionUse:
        plugin = self.actions.get(action.uses)
        compiled = None
        if plugin is None:
            hint = did_you_mean(action.uses, self.actions)
            self.problem(self.source.where((*at, "uses")), f"unknown action {action.uses!r}", hint)
        else:
            compiled, problems = compile_with(plugin, action.with_, (*at, "with"), self.source, self.templates)
            self.problems += problems
            self._check_connection(plugin, action, at, connections, declared)
        default = settings.defaults.retry if settings is not None else None
        return ActionUse(
            name=name,
            uses=action.uses,
            needs=tuple(dict.fromkeys(action.needs)),
            where=self.source.where(at),
            condition=self._expression((*at, "if"), action.if_),
            connection=compiled.connection if compiled is not None else None,
            retry=self._retry(action, default),
            timeout_seconds=action.timeout or (settings.defaults.timeout if settings is not None else 30.0),
            settings=compiled,
        )

    def _retry(self, action: ActionSettings, default: Any) -> RetryPolicy:
        if default is None:
            return RetryPolicy(20, 5.0, 4.0, 21600.0)
        if action.retry is None:
            policy: RetryPolicy = default.policy()
            return policy
        own = {key: getattr(action.retry, key) for key in action.retry.model_fields_set}
        merged: RetryPolicy = default.model_copy(update=own).policy()
        return merged

    def _check_connection(
        self,
        plugin: Action[Any],
        action: ActionSettings,
        at: Path_,
        connections: Mapping[str, ConnectionSettings],
        declared: set[str],
    ) -> None:
        for field, info in fields_of(plugin.Settings).items():
            name = action.with_.get(field)
            if info.connection is None or not isinstance(name, str) or "{{" in name:
                continue
            where = self.source.where((*at, "with", field))
            self.used_connections.add(name)
            if name not in declared:
                self.problem(where, f"unknown connection {name!r}", did_you_mean(name, declared))
            elif name in connections and not isinstance(connections[name], info.connection):
                types = connection_types(self.actions)
                wanted = next((word for word, model in types.items() if model is info.connection), "other")
                self.problem(
                    where, f"{name} is a connection of type {connections[name].type}; {action.uses} needs {wanted}"
                )

    def _in_order(self, at: Path_, uses: list[ActionUse]) -> tuple[ActionUse, ...]:
        """Actions such that each stands after what it needs. Reports unknown needs and cycles."""
        by_name = {use.name: use for use in uses}
        for use in uses:
            for i, need in enumerate(use.needs):
                if need not in by_name:
                    where = self.source.where((*at, "actions", use.name, "needs", i))
                    self.problem(
                        where, f"unknown action {need!r} in needs", did_you_mean(need, set(by_name) - {use.name})
                    )
        ordered: list[ActionUse] = []
        done: set[str] = set()
        told: set[str] = set()

        def visit(use: ActionUse, trail: tuple[str, ...]) -> None:
            if use.name in done or use.name in told:
                return
            if use.name in trail:
                cycle = (*trail[trail.index(use.name) :], use.name)
                told.update(cycle)
                where = self.source.where_key((*at, "actions", use.name, "needs"))
                self.problem(where, f"needs go in a circle: {' -> '.join(cycle)}")
                return
            for need in use.needs:
                if need in by_name:
                    visit(by_name[need], (*trail, use.name))
            if use.name not in told:
                done.add(use.name)
                ordered.append(use)

        for use in uses:
            visit(use, ())
        return tuple(ordered)
