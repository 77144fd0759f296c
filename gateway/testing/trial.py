"""An action under trial: run as a delivery of it would be, by the gateway's own code, without a gateway."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, ClassVar

from gateway.core.model import Claim, Delivery, DeliveryState, Event, EventState, Finish
from gateway.plugin import Action, Connection, ConnectionSettings, Settings
from gateway.testing.events import make_event

if TYPE_CHECKING:  # takes long to import: `gateway send` makes events without it
    from gateway.config.load import Config
    from gateway.delivery.resources import Resources

_ACCOUNT, _ROUTE, _CONNECTION = "acme", "trial", "it"


@dataclass(frozen=True, slots=True)
class TrialResult:
    """How an attempt ended."""

    state: str  # succeeded, pending (it runs again after wait_seconds), dead, skipped
    error: str | None  # as `gateway deliveries show` tells it
    output: Any  # what later actions see as `steps.<action>.output`
    rendered: Any  # `with` as it is kept with the delivery
    wait_seconds: float | None  # until the next attempt, where it is pending
    pause_seconds: float | None  # that the connection rests, where the action asked for it
    is_connection_failure: bool  # whether it counts towards pausing the connection


class Trial:
    """One delivery of an action: attempts with the same delivery id, on a connection that stays open between them.

    `given` is `with` as in gateway.yaml, templates and all; a connection need not be named there. `connection` are the
    settings of that connection, as in gateway.yaml or as a model. `steps` are the outputs of what the action `needs`,
    by action. `retry` and `timeout` are those of gateway.yaml. Waits vary by chance in the gateway, and not here.

    Entering it raises AssertionError with all that `gateway check` would say.
    """

    def __init__(
        self,
        action: Action[Any],
        given: Mapping[str, Any],
        *,
        connection: ConnectionSettings | Mapping[str, Any] | None = None,
        event: Mapping[str, Any] | None = None,
        steps: Mapping[str, Mapping[str, Any]] | None = None,
        vars: Mapping[str, Any] | None = None,
        retry: Mapping[str, Any] | None = None,
        timeout: str = "30s",
        environ: Mapping[str, str] | None = None,
        delivery_id: str = "dlv_trial",
        base_folder: str = ".",
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._action = action
        self._event = dict(event) if event is not None else make_event()
        self._steps = dict(steps or {})
        self._written = _Written(action, given, connection, self._steps, vars, retry, timeout, environ, base_folder)
        self._delivery_id = delivery_id
        self._now = now
        self._attempts = 0
        self._config: Config | None = None
        self._resources: Resources | None = None

    async def __aenter__(self) -> Trial:
        import structlog

        from gateway.delivery.resources import Resources

        self._config, found = _loaded(self._written)
        assert self._config is not None, "\n".join(found)
        self._resources = Resources(lambda *_: True, structlog.get_logger())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._resources is not None
        await self._resources.close()

    async def attempt(self) -> TrialResult:
        """Runs it once more, as the gateway would."""
        self._attempts += 1
        return await self._run(is_dry=False)

    async def rehearse(self) -> TrialResult:
        """A dry run: what is rendered and refused with nothing sent, as by `dry_run`, `explain` and `gateway test`."""
        return await self._run(is_dry=True)

    async def _run(self, *, is_dry: bool) -> TrialResult:
        from dataclasses import replace

        import structlog

        from gateway.core.routing import RouteTable
        from gateway.delivery.attempt import AttemptContext, run_attempt

        assert self._config is not None, "enter it first: async with Trial(...) as trial"
        assert self._resources is not None
        routes = [replace(route, dry_run=is_dry) for route in self._config.routes]
        table, log = RouteTable(routes), structlog.get_logger()
        context = AttemptContext(self._config, table, self._resources, _NoFetch(), _Even(), log, now=self._now)
        ended = await run_attempt(self._claim(), context)
        finish = ended.ending
        assert isinstance(finish, Finish)  # the route is known, and was judged
        is_pending = finish.state is DeliveryState.PENDING
        return TrialResult(
            state=str(finish.state),
            error=finish.attempt.error or finish.reason,
            output=finish.output,
            rendered=finish.rendered,
            wait_seconds=finish.wait_seconds if is_pending else None,
            pause_seconds=ended.pause_seconds,
            is_connection_failure=ended.is_failure,
        )

    def _claim(self) -> Claim:
        event, now = self._event, self._now()
        stored = Event(
            account=_ACCOUNT,
            id=str(event.get("id", "evt_trial")),
            type=str(event.get("type", "")),
            state=EventState.ROUTED,
            livemode=event.get("livemode"),
            received_at=now,
            body=json.dumps(event).encode(),
        )
        delivery = Delivery(
            id=self._delivery_id,
            event_id=stored.id,
            account=_ACCOUNT,
            event_type=stored.type,
            route=_ROUTE,
            action=self._action.name,
            run_id="run_trial",
            needs=tuple(self._steps),
            state=DeliveryState.RUNNING,
            attempts=max(1, self._attempts),
            created_at=now,
            next_attempt_at=None,
            finished_at=None,
            reason=None,
            last_error=None,
            is_judged=True,
            waits_for_turn=False,
        )
        return Claim(delivery, "trial", stored, self._steps)


def problems(
    action: Action[Any],
    given: Mapping[str, Any],
    *,
    connection: ConnectionSettings | Mapping[str, Any] | None = None,
    steps: Mapping[str, Mapping[str, Any]] | None = None,
    vars: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    base_folder: str = ".",
) -> list[str]:
    """What `gateway check` would say of such a `with` and its connection: messages, each with its hint."""
    written = _Written(action, given, connection, steps or {}, vars, None, "30s", environ, base_folder)
    return _loaded(written)[1]


@dataclass(frozen=True, slots=True)
class _Written:
    """What a configuration is made of that has the action once."""

    action: Action[Any]
    given: Mapping[str, Any]
    connection: ConnectionSettings | Mapping[str, Any] | None
    steps: Mapping[str, Mapping[str, Any]]
    vars: Mapping[str, Any] | None
    retry: Mapping[str, Any] | None
    timeout: str
    environ: Mapping[str, str] | None
    base_folder: str

    def value(self) -> dict[str, Any]:
        """As in gateway.yaml."""
        with_ = dict(self.given)
        if self.connection is not None:
            for name, info in self.action.Settings.model_fields.items():
                if any(isinstance(mark, Connection) for mark in info.metadata):
                    with_.setdefault(info.alias or name, _CONNECTION)
        use: dict[str, Any] = {"uses": self.action.name, "with": with_, "timeout": self.timeout}
        use |= {"needs": list(self.steps)} if self.steps else {}
        use |= {"retry": dict(self.retry)} if self.retry else {}
        actions: dict[str, Any] = {name: {"uses": _Given.name} for name in self.steps}
        route = {"events": ["*"], "actions": {**actions, self.action.name: use}}
        connections = {_CONNECTION: dict(self.connection)} if isinstance(self.connection, Mapping) else {}
        if isinstance(self.connection, ConnectionSettings):
            connections = {_CONNECTION: {"type": self.connection.type}}
        return {
            "version": 1,
            "vars": dict(self.vars or {}),
            "accounts": {_ACCOUNT: {"signing_secrets": ["whsec_trial"]}},
            "connections": connections,
            "routes": {_ROUTE: route},
        }


def _loaded(written: _Written) -> tuple[Config | None, list[str]]:
    """The configuration, or None with what is wrong with it."""
    from gateway.config.diagnostics.problem import ConfigError, Problem
    from gateway.config.load import Loading
    from gateway.config.yaml.document import Source
    from gateway.config.yaml.writing import as_yaml

    class TextSource(Source):
        """A text instead of a file."""

        def _read(self, path: Path) -> bytes:
            return as_yaml(written.value()).encode()

    class TrialLoading(Loading):
        """Knows the action under trial and no other."""

        def _find_actions(self) -> None:
            self.actions = {_Given.name: _Given(), written.action.name: written.action}

        def _connections(self) -> dict[str, ConnectionSettings]:
            if isinstance(written.connection, ConnectionSettings):
                return {_CONNECTION: written.connection}
            return super()._connections()

        def _doubts(self, *parts: Any) -> Iterator[Problem]:
            return iter(())  # the account and the types of event are made up

    path = Path(written.base_folder, "trial.yaml")
    environ = written.environ or {}
    try:
        source = TextSource(path, environ, folder=Path(written.base_folder).resolve())
        return TrialLoading(path, environ, source).load(), []
    except ConfigError as error:
        return None, list(_told(error.problems))


def _told(found: Iterable[Any]) -> Iterator[str]:
    for problem in found:
        yield f"{problem.where.path}: {problem.message}" + (f" ({problem.hint})" if problem.hint else "")


class _Given(Action[Settings]):
    """Stands for an action that is needed, and whose output is given."""

    name: ClassVar[str] = "given"
    Settings: ClassVar[type[Settings]] = Settings


class _Even(Random):
    """No chance: waits are what they are on average."""

    def random(self) -> float:
        return 0.5

    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


class _NoFetch:
    """Nothing fetches in a trial."""

    async def fetch(self, claim: Any, envelope: Any, account: Any, fetch: Any) -> Mapping[str, Any]:
        raise NotImplementedError
