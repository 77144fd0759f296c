"""gateway.yaml -> the configuration that everything runs on, or every problem at once."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gc
import hashlib
import typing
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from gateway.addresses import Sources
from gateway.errors import UsageError, Where
from gateway.model import Account, ActionUse, Digest, Expression, RetryPolicy, Route
from gateway.own_events import OWN_ACCOUNT, account_named, is_own
from gateway.plugin import (
    Action,
    ConnectionSettings,
    DatabaseConnection,
    HttpConnection,
    SlackConnection,
    SmtpConnection,
)
from gateway.redaction import RedactedPath, parse_path
from gateway.registry import find_actions, missing_packages
from gateway.settings.compiled import Compiling, fields_of
from gateway.settings.doubts import check_accounts, check_events, check_same, check_use
from gateway.settings.excerpts import Excerpts
from gateway.settings.explain_errors import explained
from gateway.settings.extras import has_encrypt, has_otel
from gateway.settings.needs import in_order_of_needs
from gateway.settings.nodes import Path_
from gateway.settings.own_checks import check_account_names, check_digest, check_own, own_objects
from gateway.settings.problems import ConfigError, Note, Problem, did_you_mean, in_order, nearest
from gateway.settings.salvage import sound_account, sound_route
from gateway.settings.schema import (
    ActionSettings,
    GatewaySettings,
    ReloadSettings,
    RouteSettings,
    ServerSettings,
    StoreSettings,
    split_listen,
)
from gateway.settings.source import Source
from gateway.settings.sources import sources_of
from gateway.settings.stripe_checks import check_fetch, check_reconcile, fetch_of, reconcile_of
from gateway.settings.template_names import Offered
from gateway.templating import Templates

LOOPBACK = ("127.0.0.1", "::1", "localhost")
_UNFILLED = ("unset-variable", "variable", "secret-file")


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
    files: frozenset[Path]  # all that was read, or looked for
    template_files: frozenset[Path]  # of these, the templates that are there
    digests: Mapping[Path, str]  # of templates, plugin files and Stripe's addresses: what else changes with them
    sources: Sources  # whom the public listener hears
    version: str  # changes whenever anything that was read changes
    warnings: tuple[Problem, ...] = ()
    secrets: frozenset[str] = dataclasses.field(default=frozenset(), repr=False)  # that variables brought

    def account(self, name: str) -> Account | None:
        """The account of an event, which may be that of the gateway's own events; None where it is gone."""
        return account_named(self.accounts, name)

    @property
    def event_accounts(self) -> list[str]:
        """The accounts whose events there may be: gateway.yaml's, and that of own events where a route takes any."""
        wants_own = any(is_own(pattern) for route in self.routes for pattern in route.events)
        return [*self.accounts, OWN_ACCOUNT] if wants_own else list(self.accounts)


def load(path: Path, environ: Mapping[str, str], previous: Config | None = None) -> Config:
    """Loads everything; contacts nothing. Actions of a `previous` config whose code is the same are taken over. Raises
    ConfigError with all problems.
    """
    with _uncollected():
        return Loading(path, environ, previous=previous).load()


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """No garbage collection: what a configuration is made of is kept, and looking through it again and again while it
    grows takes longer than making it.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """Where the store is, and what opens what is sealed in it."""

    folder: Path  # where relative paths start
    url: str
    keys: tuple[str, ...] = dataclasses.field(default=(), repr=False)


def load_store_address(path: Path, environ: Mapping[str, str]) -> StoreAddress:
    """`store.url` and `store.encrypt`, for commands that need no more: whatever else is wrong or unset does not matter.
    Raises ConfigError.
    """
    source = _leniently(path, environ)
    given = source.value.get("store")
    section = given if isinstance(given, dict) else {}
    url, keys = section.get("url"), section.get("encrypt")
    return StoreAddress(
        source.folder,
        url if isinstance(url, str) else StoreSettings().url.get_secret_value(),
        tuple(key for key in (keys if isinstance(keys, list) else [keys]) if isinstance(key, str) and key),
    )


def load_redactions(path: Path, environ: Mapping[str, str]) -> dict[str, tuple[RedactedPath, ...]]:
    """The `redact` paths of each account; likewise. Raises ConfigError, UsageError (a path that is none: nobody may see
    what it was to hide).
    """
    accounts = _leniently(path, environ).value.get("accounts")
    found: dict[str, tuple[RedactedPath, ...]] = {}
    for name, account in accounts.items() if isinstance(accounts, dict) else ():
        given = account.get("redact") if isinstance(account, dict) else None
        try:
            found[str(name)] = tuple(parse_path(str(one)) for one in (given if isinstance(given, list) else ()))
        except ValueError as error:
            raise UsageError(f"accounts.{name}.redact: {error}; see `gateway check`") from None
        if given is not None and not isinstance(given, list):
            raise UsageError(f"accounts.{name}.redact: expected a list; see `gateway check`")
    return found


def _leniently(path: Path, environ: Mapping[str, str]) -> Source:
    source = Source(path, environ, lenient=True)
    if not source.value:
        raise ConfigError(str(path), source.problems)
    return source


def load_control_socket(path: Path, environ: Mapping[str, str]) -> Path:
    """Where the gateway of this configuration listens for commands; likewise. Raises ConfigError."""
    folder, socket = _one_setting(path, environ, "reload", "socket")
    return folder / (socket or ReloadSettings().socket)


def _one_setting(path: Path, environ: Mapping[str, str], section: str, key: str) -> tuple[Path, str | None]:
    """The folder of gateway.yaml and one text in it, or None where there is no such text."""
    source = _leniently(path, environ)
    around = source.value.get(section)
    found = around.get(key) if isinstance(around, dict) else None
    return source.folder, found if isinstance(found, str) else None


def load_stripe_ips(path: Path, environ: Mapping[str, str]) -> Path:
    """The file that `server.stripe_ips` names, whatever else is wrong or unset. Raises ConfigError."""
    folder, name = _one_setting(path, environ, "server", "stripe_ips")
    return folder / (name or ServerSettings().stripe_ips)


def connection_types(actions: Mapping[str, Action[Any]]) -> dict[str, type[ConnectionSettings]]:
    """The types of connection: those of gateway.plugin, and those that actions bring, by the word after `type:`."""
    known: list[type[ConnectionSettings]] = [DatabaseConnection, SmtpConnection, HttpConnection, SlackConnection]
    for action in actions.values():
        known += [field.connection for field in fields_of(action.Settings).values() if field.connection is not None]
    return {
        typing.get_args(model.model_fields["type"].annotation)[0]: model
        for model in known
        if typing.get_args(model.model_fields["type"].annotation)
    }


@functools.lru_cache(maxsize=64)  # bounded, as fields_of
def _secret_keys(model: type[BaseModel], given: frozenset[Any]) -> frozenset[str]:
    """The keys whose values a model keeps as SecretStr, whatever their names; and what is given under a key that the
    model does not know and that may be one of them, mistyped.
    """
    known = {info.alias or key: "Secret" in repr(info.annotation) for key, info in model.model_fields.items()}
    declared = frozenset(key for key, is_secret in known.items() if is_secret)
    return declared | {key for key in given if key not in known and nearest(str(key), declared) is not None}


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


class Loading:
    """One run over one configuration: collects problems, and what could be made."""

    def __init__(
        self,
        path: Path,
        environ: Mapping[str, str],
        source: Source | None = None,
        *,
        previous: Config | None = None,
        only: Collection[Path] | None = None,  # the template files that may be read; None: all below the folder
    ) -> None:
        self.path = path
        self.previous = previous
        self.source = source or Source(path, environ)
        self.problems = self.source.problems
        self.templates = Templates(self.source.folder, only)
        self.compiling = Compiling(self.source, self.templates, self.problems)
        self.actions: dict[str, Action[Any]] = {}
        self.used_connections: set[str] = set()
        self.secret_paths: set[Path_] = set()
        self.plugin_files: set[Path] = set()
        self.address_files: frozenset[Path] = frozenset()

    def load(self) -> Config:
        value = self.source.value
        if not value:
            raise self._refused()
        self._find_actions()
        connections = self._connections(value.get("connections"))
        settings = self._settings(value)
        declared = set(value["connections"]) if isinstance(value.get("connections"), dict) else set()
        accounts = dict(self._accounts())
        routes = []
        is_sound = True
        for name, given in self._members("routes"):
            route, is_whole = sound_route(given)
            is_sound = is_sound and is_whole
            routes.append(self._route(name, ("routes", name), route, settings, accounts, connections, declared))
        self._same_listener(settings)
        self.problems += check_reconcile(accounts, self._unfilled(), self.source)
        sources = self._sources(settings)
        self._admin(settings)
        self._extras(settings)
        self.problems += self._doubts(accounts, connections, routes if is_sound else None, declared)
        if settings is None or any(problem.severity == "error" for problem in self.problems):
            raise self._refused()
        files = self._files()
        extra = {file: file.read_bytes() for file in files - self.source.files if file.is_file()}
        return Config(
            path=self.path,
            folder=self.source.folder,
            settings=settings,
            accounts=accounts,
            connections=connections,
            routes=tuple(routes),
            actions=self.actions,
            vars=settings.vars,
            files=files,
            template_files=frozenset(extra) & self.templates.files_read,
            digests={file: hashlib.sha256(content).hexdigest()[:12] for file, content in extra.items()},
            sources=sources,
            version=self.source.digest(extra),
            warnings=in_order(str(self.path), self._explained()),
            secrets=frozenset(self.source.secrets),
        )

    def problem(self, where: Where, message: str, hint: str | None = None, code: str = "invalid-value") -> None:
        self.problems.append(Problem(where, message, hint, code=code))

    def _refused(self) -> ConfigError:
        return ConfigError(str(self.path), self._explained(), self._files())

    def _files(self) -> frozenset[Path]:
        return frozenset(self.source.files | self.templates.files_read | self.plugin_files | self.address_files)

    def _explained(self) -> list[Problem]:
        """The problems with their excerpts, but for what only follows from a variable that has no value."""
        if not self.problems:
            return []
        unfilled = self._unfilled()
        excerpts = Excerpts(self.source, self.secret_paths)
        return [
            excerpts.explain(problem)
            for problem in self.problems
            if problem.code in _UNFILLED or problem.where.path not in unfilled
        ]

    def _unfilled(self) -> set[str]:
        """Where a variable has no value."""
        return {problem.where.path for problem in self.problems if problem.code in _UNFILLED}

    # -- the parts --------------------------------------------------------------------------------------------

    def _find_actions(self) -> None:
        listed = self.source.value.get("plugins")
        names = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
        folders = [self.source.folder / name for name in names]
        self.plugin_files = {file for folder in folders if folder.is_dir() for file in folder.glob("*.py")}
        known = self.previous.actions if self.previous is not None else {}
        self.actions, complaints = find_actions(folders, known)
        for complaint in complaints:
            file = complaint.file
            index = next((i for i, folder in enumerate(folders) if file in (folder, *folder.glob("*.py"))), None)
            named = self.source.where(("plugins",) if index is None else ("plugins", index))
            if file is None or file.suffix != ".py":
                self.problem(named, complaint.message, code="plugin")
            else:
                line, column = max(complaint.line, 1), max(complaint.column, 1)
                place, notes = Where(str(file), line, column), (Note("named", named),)
                self.problems.append(Problem(place, complaint.message, code="plugin", notes=notes))

    def _settings(self, value: dict[str, Any]) -> GatewaySettings | None:
        try:
            return GatewaySettings.model_validate(value)
        except ValidationError as error:
            self._tell(error, value, GatewaySettings, ())
            return None

    def _tell(self, error: ValidationError, given: Any, model: Any, at: Path_) -> None:
        for one in explained(error, given, model, lambda path: self.source.written((*at, *path))):
            path = (*at, *one.path)
            where = self.source.where_key(path) if one.is_of_key else self.source.where(path)
            self.problem(where, one.message, one.hint, one.code)

    def _members(self, section: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """What stands in a section and could be one of its members."""
        members = self.source.value.get(section)
        for name, given in members.items() if isinstance(members, dict) else ():
            if isinstance(given, dict):
                yield name, given

    def _connections(self, given: Any) -> dict[str, ConnectionSettings]:
        types = connection_types(self.actions)
        made: dict[str, ConnectionSettings] = {}
        for name, settings in given.items() if isinstance(given, dict) else ():
            at: Path_ = ("connections", name)
            if not isinstance(settings, dict):
                continue
            kind = settings.get("type")
            if kind is None:
                self.problem(
                    self.source.where_key(at), "is missing type", f"one of {', '.join(sorted(types))}", "missing-key"
                )
                continue
            model = types.get(kind) if isinstance(kind, str) else None
            if model is None:
                hint = did_you_mean(str(kind), types)
                self.problem(self.source.where((*at, "type")), f"unknown type of connection {str(kind)!r:.40}", hint)
                continue
            self.secret_paths.update((*at, key) for key in _secret_keys(model, frozenset(settings)))
            try:
                made[name] = model.model_validate(settings)
            except ValidationError as error:
                self._tell(error, settings, model, at)
        return made

    def _accounts(self) -> Iterable[tuple[str, Account]]:
        for name, given in self._members("accounts"):
            account = sound_account(given)
            yield (
                name,
                Account(
                    name=name,
                    signing_secrets=tuple(secret.get_secret_value() for secret in account.signing_secrets),
                    livemode=account.livemode if isinstance(account.livemode, bool) else None,
                    tolerance_seconds=account.tolerance,
                    api_key=account.api_key.get_secret_value(),
                    api_version=account.api_version,
                    api_per_second=account.api_rate.count / account.api_rate.per_seconds if account.api_rate else None,
                    vars=account.vars,
                    connected_vars={name: one.vars for name, one in account.connected_accounts.items()},
                    reconcile=reconcile_of(account.reconcile),
                    redact=tuple(map(parse_path, account.redact)),
                ),
            )

    def _same_listener(self, settings: GatewaySettings | None) -> None:
        if settings is None or settings.server.listen != settings.admin.listen:
            return
        if split_listen(settings.admin.listen)[1] != 0:  # 0 is whichever is free
            where = self.source.where(("admin", "listen"))
            message = "is the same address as server.listen: the console is never on the public listener"
            self.problem(where, message, code="same-listener")

    def _admin(self, settings: GatewaySettings | None) -> None:
        """Nobody but this machine reaches the console without a token, and the two tokens tell two roles apart."""
        if settings is None:
            return
        admin = settings.admin
        operator, viewer = admin.token.get_secret_value(), admin.viewer_token.get_secret_value()
        host, _ = split_listen(admin.listen)
        if not operator and host not in LOOPBACK:
            message = f"without admin.token only this machine may reach the console, not {host}"
            hint = "set admin.token, or listen on 127.0.0.1"
            self.problem(self.source.where(("admin", "listen")), message, hint, "open-console")
        if operator and operator == viewer:
            where = self.source.where(("admin", "viewer_token"))
            self.problem(where, "is the same as admin.token: it would make operators of viewers", code="same-token")

    def _extras(self, settings: GatewaySettings | None) -> None:
        """What is asked for and not installed."""
        if settings is None:
            return
        wanted = (
            ("tracing", "otel", settings.tracing is not None and not has_otel()),
            ("store.encrypt", "encrypt", bool(settings.store.encrypt) and not has_encrypt()),
        )
        for key, extra, is_missing in wanted:
            if is_missing:
                message = f"needs the extra {extra} of the gateway, which is not installed"
                hint = f"pip install 'stripe-fulfilment-gateway[{extra}]', or take {key.rpartition('.')[2]} out"
                self.problem(self.source.where(tuple(key.split("."))), message, hint, "missing-package")

    def _doubts(
        self,
        accounts: Mapping[str, Account],
        connections: Mapping[str, ConnectionSettings],
        routes: Sequence[Route] | None,
        declared: set[str],
    ) -> Iterator[Problem]:
        """What is wrong between the parts. Without sound routes nobody can tell what is used."""
        yield from check_accounts(accounts, self.source)
        yield from check_account_names(list(accounts), self.source)
        yield from check_same(connections, self.source)
        if routes is not None:
            yield from check_use(routes, accounts, self.used_connections, declared, self.source)

    def _sources(self, settings: GatewaySettings | None) -> Sources:
        if settings is None:
            return Sources()
        sources, self.address_files, problems = sources_of(settings.server, self.source, datetime.now(UTC))
        self.problems += problems
        return sources

    # -- routes -----------------------------------------------------------------------------------------------

    def _route(
        self,
        name: str,
        at: Path_,
        route: RouteSettings,
        settings: GatewaySettings | None,
        accounts: Mapping[str, Account],
        connections: Mapping[str, ConnectionSettings],
        declared: set[str],
    ) -> Route:
        for i, account in enumerate(route.accounts or ()):
            if account_named(accounts, account) is None:
                where = self.source.where((*at, "accounts", i))
                self.problem(where, f"unknown account {account!r}", did_you_mean(account, accounts), "unknown-account")
        self.problems += check_events(name, route.events, self.source)
        self.problems += check_fetch(at, route, accounts, self._unfilled(), self.source)
        self.problems += check_own(at, route, self.source)
        self.problems += check_digest(at, route, self.source)
        at_intake = Offered(
            constants=self._constants(),
            account_vars={
                account.name: account.vars
                for account in accounts.values()
                if route.accounts is None or account.name in route.accounts
            },
            own_objects=own_objects(route.events),
        )
        in_actions = dataclasses.replace(
            at_intake,
            is_action=True,
            is_digest=route.digest is not None,
            actions=frozenset(self._raw_actions(at)),
        )
        digest = None if route.digest is None else route.digest.rule()
        uses = [
            self._action(name, (*at, "actions", name), action, settings, connections, declared, in_actions)
            for name, action in route.actions.items()
        ]
        if digest is not None:
            uses = [_tried_again_soon(use, route.actions[use.name], digest) for use in uses]
        return Route(
            name=name,
            accounts=None if route.accounts is None else frozenset(route.accounts),
            events=tuple(route.events),
            where=self.source.where(at),
            condition=self._expression((*at, "if"), route.if_, at_intake),
            once_per=self._expression((*at, "once_per"), route.once_per, at_intake),
            order_by=self._expression((*at, "order_by"), route.order_by, at_intake),
            actions=self._in_order(at, uses),
            connected_accounts=frozenset(route.connected_accounts),
            fetch=fetch_of(route),
            dry_run=route.dry_run,
            digest=digest,
        )

    def _constants(self) -> Mapping[str, Any]:
        given = self.source.value.get("vars")
        return given if isinstance(given, dict) else {}

    def _raw_actions(self, at: Path_) -> Mapping[str, Any]:
        """A route's actions as written, sound or not."""
        given = self.source.value["routes"][at[1]].get("actions")
        return given if isinstance(given, dict) else {}

    def _expression(self, at: Path_, given: str | bool | None, offered: Offered) -> Expression | None:
        if given is None or given is True:
            return None
        return self.compiling.expression("false" if given is False else given, at, offered)

    def _action(
        self,
        name: str,
        at: Path_,
        action: ActionSettings,
        settings: GatewaySettings | None,
        connections: Mapping[str, ConnectionSettings],
        declared: set[str],
        offered: Offered,
    ) -> ActionUse:
        plugin = self.actions.get(action.uses)
        compiled = None
        offered = dataclasses.replace(offered, action=name, needed=self._needed(at))
        if plugin is None:
            hint = did_you_mean(action.uses, self.actions)
            where = self.source.where((*at, "uses"))
            self.problem(where, f"unknown action {action.uses!r}", hint, "unknown-action")
            self.used_connections.update(value for value in action.with_.values() if isinstance(value, str))
        else:
            for module, package in missing_packages(plugin).items():
                message = f"action {action.uses} needs {module}, which is not installed"
                self.problem(self.source.where((*at, "uses")), message, f"pip install '{package}'", "missing-package")
            secret_keys = _secret_keys(plugin.Settings, frozenset(action.with_))
            self.secret_paths.update((*at, "with", key) for key in secret_keys)
            compiled = self.compiling.with_(plugin, action.with_, (*at, "with"), offered)
            self._check_connection(plugin, action, at, connections, declared)
        default = settings.defaults.retry if settings is not None else None
        return ActionUse(
            name=name,
            uses=action.uses,
            needs=tuple(dict.fromkeys(action.needs)),
            where=self.source.where(at),
            condition=self._expression((*at, "if"), action.if_, offered),
            connection=compiled.connection if compiled is not None else None,
            retry=self._retry(action, default),
            timeout_seconds=action.timeout or (settings.defaults.timeout if settings is not None else 30.0),
            settings=compiled,
            dry_run=action.dry_run,
        )

    def _needed(self, at: Path_) -> frozenset[str] | None:
        """All that an action needs, directly or through others; None where what is written there is not sound."""
        actions = self._raw_actions(at)
        found: set[str] = set()
        todo = [str(at[-1])]
        while todo:
            action = actions.get(todo.pop())
            needs = action.get("needs") if isinstance(action, dict) else None
            if needs is not None and not isinstance(needs, list):
                return None
            for need in needs or ():
                if not isinstance(need, str) or need not in actions:
                    return None
                if need not in found:
                    found.add(need)
                    todo.append(need)
        return frozenset(found)

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
            if info.connection is None or not isinstance(name, str):
                continue
            if "{{" in name:
                self.used_connections |= _of_type(connections, info.connection)
                continue
            self.used_connections.add(name)
            path = (*at, "with", field)
            if name not in declared:
                hint = did_you_mean(name, declared)
                self.used_connections.add(nearest(name, declared) or name)  # the one that was meant
                self.problem(self.source.where(path), f"unknown connection {name!r}", hint, "unknown-connection")
            elif name in connections and not isinstance(connections[name], info.connection):
                types = connection_types(self.actions)
                wanted = next((word for word, model in types.items() if model is info.connection), "other")
                self.used_connections |= _of_type(connections, info.connection)  # one of them was meant
                message = f"{name} is a connection of type {connections[name].type}; {action.uses} needs {wanted}"
                self.problem(self.source.where(path), message, code="wrong-connection")

    def _in_order(self, at: Path_, uses: list[ActionUse]) -> tuple[ActionUse, ...]:
        """Actions such that each stands after what it needs. Reports unknown needs and cycles."""
        by_name = {use.name: use for use in uses}
        written = set(self._raw_actions(at))
        for use in uses:
            for i, need in enumerate(use.needs):
                if need not in written:
                    where = self.source.where((*at, "actions", use.name, "needs", i))
                    hint = did_you_mean(need, written - {use.name})
                    self.problem(where, f"unknown action {need!r} in needs", hint, "unknown-need")
        ordered, circles = in_order_of_needs({use.name: use.needs for use in uses})
        for circle in circles:
            where = self.source.where_key((*at, "actions", circle[0], "needs"))
            self.problem(where, f"needs go in a circle: {' -> '.join(circle)}", code="needs-cycle")
        return tuple(by_name[name] for name in ordered)
