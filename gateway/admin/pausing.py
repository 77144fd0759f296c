"""How connections and routes stand, and what a person does about it: pause and resume. Each change is noted in the
audit log before it is made.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from structlog.typing import FilteringBoundLogger

from gateway.admin.inbox import Inbox, InForce
from gateway.core.errors import UnknownName, UsageError
from gateway.core.model import AuditEntry, ConnectionChange, ConnectionStatus, route_status_name, status_route
from gateway.delivery.circuit_breaker import paused_by_hand, resumed
from gateway.privacy.views import Redactions
from gateway.store.protocol import Store

MOST_TRIES = 20  # against gateways that change the same connection at the same instant
Change = Callable[[ConnectionStatus], ConnectionChange | None]


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks, from where."""

    role: str  # `viewer`, `operator`; `cli`: whoever sits at the terminal
    name: str = ""  # as the person, or the terminal, gives it; it proves nothing
    address: str = ""  # empty at a terminal
    token: str = ""  # the name of the token with a scope that was sent; empty: another

    @property
    def words(self) -> str:
        """For the audit log."""
        return f"{self.name} ({self.address})" if self.name and self.address else self.name or self.address

    @property
    def reason(self) -> str:
        """Why a delivery that they cancel is cancelled."""
        return f"cancelled by {self.name or 'an operator'}"

    def entry(self, what: str, target: str, count: int = 1) -> AuditEntry:
        """For the audit log, of now: what they are about to do, and to what."""
        return AuditEntry(datetime.now(UTC), self.role, self.words, what, target[:2000], count)


class Pausing(Inbox):
    """Reads a store, and pauses and resumes what works on it."""

    def __init__(
        self,
        store: Store,
        in_force: InForce,
        log: FilteringBoundLogger,
        redactions: Callable[[], Redactions] | None = None,
    ) -> None:
        super().__init__(store, in_force, redactions)
        self._log = log

    async def note(self, actor: Actor, what: str, target: str, count: int = 1) -> None:
        """Writes what is about to be done into the audit log."""
        await self.store.record(actor.entry(what, target, count))
        self._log.info("audit", role=actor.role, who=actor.words, what=what, target=target[:200], count=count)

    # -- connections ------------------------------------------------------------------------------------------

    async def pause(self, actor: Actor, names: Sequence[str], reason: str = "") -> list[ConnectionStatus]:
        """Pauses connections until they are resumed. Raises UnknownName."""
        await self.connections(names)
        return await self._change_status(actor, "connection.pause", names, _paused(reason))

    async def resume(self, actor: Actor, names: Sequence[str]) -> list[ConnectionStatus]:
        """Lets the deliveries of paused connections run again at once. Raises UnknownName."""
        await self.connections(names)
        return await self._change_status(actor, "connection.resume", names, resumed)

    async def connections(self, names: Sequence[str] = ()) -> Mapping[str, ConnectionStatus]:
        """How all connections stand that ever stood otherwise than working. Raises UnknownName where one of `names` is
        not among them, nor in the configuration.
        """
        statuses = {n: status for n, status in (await self.store.connections()).items() if status_route(n) is None}
        _check("connection", names, self.config.connections, statuses)
        return statuses

    # -- routes -----------------------------------------------------------------------------------------------

    async def pause_routes(self, actor: Actor, routes: Sequence[str], reason: str = "") -> list[ConnectionStatus]:
        """Pauses routes until they are resumed: what they owe waits, whatever its connection. Raises UnknownName."""
        await self.routes(routes)
        names = [route_status_name(route) for route in routes]
        return await self._change_status(actor, "route.pause", names, _paused(reason))

    async def resume_routes(self, actor: Actor, routes: Sequence[str]) -> list[ConnectionStatus]:
        """Lets the deliveries of paused routes run again at once. Raises UnknownName."""
        await self.routes(routes)
        names = [route_status_name(route) for route in routes]
        return await self._change_status(actor, "route.resume", names, resumed)

    async def routes(self, names: Sequence[str] = ()) -> Mapping[str, ConnectionStatus]:
        """How all routes stand that ever were paused. Raises UnknownName where one of `names` is not among them, nor in
        the configuration.
        """
        statuses = {status_route(name): status for name, status in (await self.store.connections()).items()}
        paused = {route: status for route, status in statuses.items() if route is not None}
        _check("route", names, [route.name for route in self.config.routes], paused)
        return paused

    def refuse_shared(self, names: Sequence[str]) -> None:
        """Raises Refused where whoever asks may not pause these, by their names in the store."""

    async def _change_status(
        self, actor: Actor, what: str, names: Sequence[str], change: Change
    ) -> list[ConnectionStatus]:
        self.refuse_shared(names)
        await self.note(actor, what, ", ".join(status_route(name) or name for name in names), len(names))
        return [await self._changed_status(name, change) for name in names]

    async def _changed_status(self, name: str, change: Change) -> ConnectionStatus:
        for _ in range(MOST_TRIES):
            status = (await self.store.connections()).get(name, ConnectionStatus(name))
            wanted = change(status)
            changed = status if wanted is None else await self.store.change_connection(name, status.version, wanted)
            if changed is not None:
                return changed
        raise UsageError(f"{name} is changed by gateways again and again just now; try once more")


def _paused(reason: str) -> Change:
    return partial(paused_by_hand, reason="paused by a person" + (f": {reason}" if reason else ""))


def _check(kind: str, names: Sequence[str], known: Collection[str], ever: Collection[str]) -> None:
    for name in names:
        if name not in known and name not in ever:
            raise UnknownName(f"no such {kind}: {name}; known: {', '.join(known)}")
