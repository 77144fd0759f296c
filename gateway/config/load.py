"""gateway.yaml -> the configuration that everything runs on, or every problem at once."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gc
import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from gateway.config.action_settings import Compiling
from gateway.config.checks.admin import check_admin
from gateway.config.checks.allowed_ips import sources_of
from gateway.config.checks.approvals import check_link_token
from gateway.config.checks.extras import has_encrypt, has_otel
from gateway.config.checks.ignores import ignores_in, without_ignored
from gateway.config.checks.internal_events import check_account_names
from gateway.config.checks.lint import check_accounts, check_same, check_use
from gateway.config.checks.processes import check_processes
from gateway.config.checks.stripe import check_reconcile, reconcile_of
from gateway.config.checks.stripe_calls import check_may
from gateway.config.diagnostics.excerpts import Excerpts
from gateway.config.diagnostics.problem import ConfigError, Problem, ProblemNote, in_order
from gateway.config.diagnostics.pydantic_errors import problems_of
from gateway.config.diagnostics.recovery import sound_account, sound_route
from gateway.config.load_routes import LoadedParts, RouteLoading
from gateway.config.plugins import find_actions
from gateway.config.schema.connections import connection_types, paths_of_secrets
from gateway.config.schema.model import GatewaySettings
from gateway.config.secrets.masking import remembered, secrets_of
from gateway.config.yaml.document import Source
from gateway.config.yaml.nodes import Path_
from gateway.core.client_address import Sources
from gateway.core.errors import Where
from gateway.core.internal_events import OWN_ACCOUNT, account_named, is_own
from gateway.core.masking import Masker
from gateway.core.model import Account, Route
from gateway.core.spelling import did_you_mean
from gateway.plugin import Action, ConnectionSettings
from gateway.privacy.redaction import parse_path
from gateway.privacy.views import Redactions
from gateway.stripe.missing_fields import missing_note
from gateway.templating.compiler import Templates

_UNFILLED = ("unset-variable", "variable", "secret-file")


@dataclass(frozen=True)
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
    secrets: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)  # see Source.secrets

    @functools.cached_property
    def redactions(self) -> Redactions:
        """What nobody is shown of what the store keeps."""
        return Redactions({name: account.redact for name, account in self.accounts.items()}, self.references)

    @functools.cached_property
    def hidden(self) -> Mapping[str, str]:
        """Every text that nobody may see, and how it may be referred to."""
        return secrets_of((self.settings, *self.connections.values()), self.secrets)

    @functools.cached_property
    def masker(self) -> Masker:
        """Hides all of them."""
        return Masker(self.hidden.keys())

    @functools.cached_property
    def references(self) -> Masker:
        """Puts `${NAME}` in the place of what that brought, and hides the others."""
        return Masker(self.hidden)

    def account(self, name: str) -> Account | None:
        """The account of an event, which may be that of the gateway's own events; None where it is gone."""
        return account_named(self.accounts, name)

    @property
    def event_accounts(self) -> list[str]:
        """The accounts whose events there may be: gateway.yaml's, and that of own events where a route takes any."""
        wants_own = any(is_own(pattern) for route in self.routes for pattern in route.events)
        return [*self.accounts, OWN_ACCOUNT] if wants_own else list(self.accounts)


def load(
    path: Path,
    environ: Mapping[str, str],
    previous: Config | None = None,
    *,
    checks_fields: bool = False,
    api_version: str | None = None,
) -> Config:
    """Loads everything; contacts nothing. Actions of a `previous` config whose code is the same are taken over.
    `checks_fields` holds templates against Stripe's objects, of `api_version` where one is named. Raises ConfigError.
    """
    with _uncollected():
        return Loading(path, environ, previous=previous, checks_fields=checks_fields, api_version=api_version).load()


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
        checks_fields: bool = False,  # against Stripe's objects
        api_version: str | None = None,  # of all of these; None: as the accounts say
    ) -> None:
        self.path = path
        self.previous = previous
        self.checks_fields, self.api_version = checks_fields, api_version
        self.source = source or Source(path, environ)
        self.problems = self.source.problems
        self.templates = Templates(self.source.folder, only, missing_note)
        self.compiling = Compiling(self.source, self.templates, self.problems, is_kept=not checks_fields)
        self.actions: dict[str, Action[Any]] = {}
        self.secret_paths: set[Path_] = set()
        self.plugin_files: set[Path] = set()
        self.address_files: frozenset[Path] = frozenset()

    def load(self) -> Config:
        if not (value := self.source.value):
            raise self._refused()
        self._find_actions()
        connections = self._connections()
        settings = self._settings(value)
        declared = set(self.source.section("connections"))
        accounts = dict(self._accounts())
        parts = LoadedParts(
            settings,
            accounts,
            self.actions,
            connections,
            declared,
            self._unfilled(),
            self.checks_fields,
            self.api_version,
        )
        loading = RouteLoading(self.source, self.compiling, self.problems, parts)
        routes = []
        is_sound = True
        for name, written in self._members("routes"):
            route, is_whole = sound_route(written)
            is_sound = is_sound and is_whole
            routes.append(loading.route(name, route))
        self.secret_paths |= loading.secret_paths
        self.problems += check_processes(settings, self.source)
        self.problems += check_reconcile(accounts, parts.unfilled, self.source)
        self.problems += check_may(accounts, self.source)
        sources = self._sources(settings)
        if settings is not None:
            self.problems += check_admin(settings.admin, parts.unfilled, self.source)
        self._shared_path(settings, len(accounts))
        self._extras(settings)
        self.problems += self._lint(parts, routes if is_sound else None, loading.used_connections)
        self._ignore()
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
            secrets=remembered(self.source.secrets(), {} if self.previous is None else self.previous.hidden),
        )

    def problem(self, where: Where, message: str, hint: str | None = None, code: str = "invalid-value") -> None:
        self.problems.append(Problem(where, message, hint, code=code))

    def _ignore(self) -> None:
        """Takes away what comments hide."""
        texts = {name: file.text for name, file in self.source.texts.items()} | self.templates.file_texts
        ignores = ignores_in(texts)
        if ignores:
            self.problems[:] = without_ignored(self.problems, ignores, tells_unused=self.checks_fields)

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
        folders = self.source.plugin_folders()
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
                place, notes = Where(str(file), line, column), (ProblemNote("named", named),)
                self.problems.append(Problem(place, complaint.message, code="plugin", notes=notes))

    def _settings(self, value: dict[str, Any]) -> GatewaySettings | None:
        try:
            return GatewaySettings.model_validate(value)
        except ValidationError as error:
            self.problems += problems_of(error, value, GatewaySettings, self.source, ())
            return None

    def _members(self, section: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """What stands in a section and could be one of its members."""
        for name, member in self.source.section(section).items():
            if isinstance(member, dict):
                yield name, member

    def _connections(self) -> dict[str, ConnectionSettings]:
        types = connection_types(self.actions)
        connections: dict[str, ConnectionSettings] = {}
        for name, settings in self._members("connections"):
            at: Path_ = ("connections", name)
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
            self.secret_paths.update((*at, *path) for path in paths_of_secrets(model, settings))
            try:
                connections[name] = model.model_validate(settings)
            except ValidationError as error:
                self.problems += problems_of(error, settings, model, self.source, at)
            else:
                self.problems += self._faults(connections[name], at)
        return connections

    def _faults(self, connection: ConnectionSettings, at: Path_) -> Iterator[Problem]:
        """What a connection says of itself whose fields are sound."""
        try:
            for fault in connection.faults(self.source.folder):
                severity: Literal["error", "warning"] = "error" if fault.is_error else "warning"
                where = self.source.where((*at, *fault.at))
                yield Problem(where, fault.text, fault.fix or None, severity, "connection")
        except Exception as error:  # a plugin's own code: a fault in it is no reason to end here
            message = f"the check of connections of type {connection.type} fails: {type(error).__name__}"
            yield Problem(self.source.where_key(at), message, code="plugin")

    def _accounts(self) -> Iterable[tuple[str, Account]]:
        for name, written in self._members("accounts"):
            account = sound_account(written)
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
                    connected_vars={name: connected.vars for name, connected in account.connected_accounts.items()},
                    reconcile=reconcile_of(account.reconcile),
                    may=frozenset(account.may),
                    redact=tuple(map(parse_path, account.redact)),
                ),
            )

    def _shared_path(self, settings: GatewaySettings | None, accounts: int) -> None:
        """More accounts than may share POST /webhooks close it."""
        most = settings.server.shared_path_accounts if settings is not None else 0
        if accounts > most > 0:
            where = self.source.where(("server", "shared_path_accounts"))
            message = f"{accounts} accounts are more than the {most} that may share POST /webhooks: it is closed"
            hint = "have Stripe post to /webhooks/NAME; 0 says that this is meant, and more is allowed up to 64"
            self.problems.append(Problem(where, message, hint, "warning", "shared-path"))

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

    def _lint(
        self, parts: LoadedParts, routes: Sequence[Route] | None, used_connections: set[str]
    ) -> Iterator[Problem]:
        """What is wrong between the parts. Without sound routes nobody can tell what is used."""
        yield from check_accounts(parts.accounts, self.source)
        yield from check_account_names(list(parts.accounts), self.source)
        yield from check_same(parts.connections, self.source)
        if routes is not None:
            yield from check_link_token(routes, parts.settings, self.source)
            yield from check_use(routes, parts.accounts, used_connections, parts.declared, self.source)

    def _sources(self, settings: GatewaySettings | None) -> Sources:
        if settings is None:
            return Sources()
        sources, self.address_files, problems = sources_of(settings.server, self.source, datetime.now(UTC))
        self.problems += problems
        return sources
