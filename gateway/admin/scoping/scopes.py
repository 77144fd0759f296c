"""The console's parts as a scope sees them: the same handlers run on them, and find nothing of others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

from structlog.typing import FilteringBoundLogger

from gateway.admin.gateway_view import GatewayView
from gateway.admin.live_tail import Tail
from gateway.admin.operations import Operations
from gateway.admin.problems import Refused
from gateway.admin.reports.history import History
from gateway.admin.request import AdminParts
from gateway.admin.scoping.own_part import OwnPart, own_part
from gateway.admin.scoping.store import ScopedStore
from gateway.config.load import Config
from gateway.config.runtime import Reload
from gateway.core.model import Scope, status_route
from gateway.core.routing import RouteTable
from gateway.delivery.concurrency import GroupFigures
from gateway.store.protocol import Store


class CurrentPart:
    """A scope's part of the configuration that is in force; computed once for each."""

    def __init__(self, config: Callable[[], Config], scope: Scope) -> None:
        self._config = config
        self._scope = scope
        self._last: tuple[Config, OwnPart] | None = None

    def __call__(self) -> OwnPart:
        config = self._config()
        if self._last is None or self._last[0] is not config:
            self._last = (config, own_part(config, self._scope))
        return self._last[1]


@dataclass(frozen=True, slots=True)
class ScopedView(GatewayView):
    """A gateway at work: what concerns all of it is not told."""

    part: CurrentPart

    @property
    def config(self) -> Config:
        """The scope's part of it."""
        return self.part().config

    def in_force(self) -> tuple[Config, RouteTable]:
        """The same, with the table of its routes."""
        return self.part().config, self.part().table

    @property
    def reload_error(self) -> str | None:
        """Not told: it is of the whole file."""
        return None

    def reloads(self) -> Sequence[Reload]:
        """Not told either."""
        return ()

    def figures(self, name: str) -> GroupFigures | None:
        """Of a connection that nobody else goes by."""
        return self.worker.figures(name) if self.tells_of(name) else None

    def tells_of(self, name: str) -> bool:
        """Those that nobody else goes by."""
        return name in self.part().whole_connections


class ScopedOperations(Operations):
    """What a scope sees, and can do."""

    def __init__(self, whole: Operations, scope: Scope, part: CurrentPart, log: FilteringBoundLogger) -> None:
        store = cast(Store, ScopedStore(whole.store, scope, part))
        super().__init__(store, lambda: (part().config, part().table), log, lambda: whole.config.redactions)
        self.everything = whole.store
        self.jobs = whole.jobs.of(scope.name)
        self._part = part

    def refuse_shared(self, names: Sequence[str]) -> None:
        """Raises Refused where a pause of these would hold up deliveries that the scope does not see."""
        shared = [status_route(name) or name for name in names if name not in self._part().changeable]
        if shared:
            raise Refused(403, f"{', '.join(shared)} also has deliveries that your token does not see: ask an operator")


@dataclass(slots=True)
class Scopes:
    """The parts of each scope, made when its token is first used."""

    whole: AdminParts
    log: FilteringBoundLogger
    _parts: dict[str, AdminParts] = field(default_factory=dict)

    def parts(self, scope: Scope) -> AdminParts:
        """As that scope sees them."""
        if scope.name not in self._parts:
            gateway = self.whole.gateway
            part = CurrentPart(lambda: gateway.config, scope)
            operations = ScopedOperations(self.whole.operations, scope, part, self.log)
            self._parts[scope.name] = replace(
                self.whole,
                gateway=ScopedView(gateway.runtime, gateway.worker, part),
                store=operations.store,
                operations=operations,
                tail=Tail(operations.store, self.log),
                history=History(operations.store),
                outbox=None,
                scope=scope,
            )
        return self._parts[scope.name]

    async def close(self) -> None:
        """Sends all watchers away."""
        for parts in self._parts.values():
            await parts.tail.close()
