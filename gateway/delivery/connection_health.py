"""How connections stand: one gateway's view of it, changed through the store that all gateways share."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from structlog.typing import FilteringBoundLogger

from gateway.core.errors import StoreError
from gateway.core.model import (
    ConnectionChange,
    ConnectionState,
    ConnectionStatus,
    Delivery,
    Lane,
    route_status_name,
    status_route,
)
from gateway.delivery.circuit_breaker import Evidence, probe, reached_again, waits_for_destination, weigh
from gateway.plugin import BreakerSettings
from gateway.store.protocol import Store

FRESH_SECONDS = 1.0  # what others changed is seen this much later at most
SOON_SECONDS = 0.2  # ... and this much later where work was announced, as a change is
PROBE_SECONDS = 60.0  # a gateway that is not heard of for so long has lost its probe
MOST_TRIES = 10  # against others who change the same connection at the same instant


@dataclass(frozen=True, slots=True)
class ConnectionChanged:
    """A connection was paused, or recovered."""

    before: ConnectionStatus
    after: ConnectionStatus
    is_own: bool  # this gateway did it; False: it saw that a person, or another gateway, had


ConnectionObserver = Callable[[ConnectionChanged], None]


@dataclass(slots=True)
class _Seen:
    status: ConnectionStatus
    at: float  # monotonic


@dataclass(slots=True)
class _Probe:
    version: int  # of the status that gives this gateway the right
    delivery_id: str | None = None  # that is under way


class Connections:
    """Which connections may be used now."""

    def __init__(self, store: Store, log: FilteringBoundLogger, observer: ConnectionObserver | None = None) -> None:
        self._store = store
        self._log = log
        self._observer = observer
        self._seen: dict[str, _Seen] | None = None  # None: not looked yet
        self._read_at = float("-inf")
        self._is_announced = False
        self._probes: dict[str, _Probe] = {}
        self._reports: Counter[str] = Counter()  # under way
        self._lock = asyncio.Lock()

    def status(self, name: str) -> ConnectionStatus:
        """How a connection stands, as last seen, with `left_seconds` as of now."""
        seen = (self._seen or {}).get(name)
        if seen is None:
            return ConnectionStatus(name)
        if seen.status.left_seconds is None:
            return seen.status
        return replace(seen.status, left_seconds=max(0.0, seen.status.left_seconds - (time.monotonic() - seen.at)))

    # -- what may run -----------------------------------------------------------------------------------------

    def is_working(self, name: str) -> bool:
        """Whether deliveries run on it as they come."""
        seen = (self._seen or {}).get(name)
        return seen is None or seen.status.state is ConnectionState.WORKING

    def wants_probe(self, name: str) -> bool:
        """Whether this gateway is to claim one delivery that probes it."""
        held = self._probes.get(name)
        return held is not None and held.delivery_id is None and self._own_probe(self.status(name)) is held

    def begin_probe(self, name: str, delivery_id: str) -> None:
        """That delivery is claimed as the probe."""
        self._probes[name].delivery_id = delivery_id

    def may_start(self, name: str | None, delivery: Delivery) -> bool:
        """Whether a claimed delivery may run: its route is not paused, and its connection, where it has one, works, or
        it is the probe.
        """
        if self.is_route_paused(delivery.route):
            return False
        return name is None or self.is_working(name) or self._is_probe(self.status(name), delivery.id)

    def is_route_paused(self, route: str) -> bool:
        """Whether a person has paused that route."""
        return not self.is_working(route_status_name(route))

    def running_lanes(self, lanes: Iterable[Lane]) -> list[Lane]:
        """Those whose route is not paused."""
        return [lane for lane in lanes if not self.is_route_paused(lane.route)]

    def is_in_doubt(self, name: str) -> bool:
        """Whether reports are under way, after which it may be paused: wait for them before starting more."""
        return self._reports[name] > 0

    def opens_in(self, name: str) -> float | None:
        """Seconds until its pause is over; None where time alone changes nothing."""
        status = self.status(name)
        return status.left_seconds if self._own_probe(status) is None else None

    def _own_probe(self, status: ConnectionStatus) -> _Probe | None:
        held = self._probes.get(status.name)
        if held is None or status.state is not ConnectionState.PROBING or status.version != held.version:
            return None
        return held

    def _is_probe(self, status: ConnectionStatus, delivery_id: str) -> bool:
        held = self._own_probe(status)
        return held is not None and held.delivery_id == delivery_id

    def at_rest(self) -> list[ConnectionStatus]:
        """Those that are paused or probed because they failed, as last seen."""
        return [self.status(name) for name, seen in (self._seen or {}).items() if waits_for_destination(seen.status)]

    # -- what others did --------------------------------------------------------------------------------------

    def announce(self) -> None:
        """Something was committed: it may have been a change by others."""
        self._is_announced = True

    def looks_in(self) -> float | None:
        """Seconds until a look that is owed; None: none is."""
        return max(0.0, SOON_SECONDS - (time.monotonic() - self._read_at)) if self._is_announced else None

    async def refresh(self) -> None:
        """Looks at what others changed, but not too often. Raises StoreError."""
        age = time.monotonic() - self._read_at
        if age >= (SOON_SECONDS if self._is_announced else FRESH_SECONDS):
            async with self._lock:
                await self._read()

    async def _read(self) -> None:
        asked_at = time.monotonic()
        self._is_announced = False
        statuses = await self._store.connections()
        read_at = time.monotonic()  # not before: no pause ends early by the time that the store took to answer
        before, is_first = self._seen or {}, self._seen is None
        self._read_at = asked_at
        self._seen = {name: _Seen(status, read_at) for name, status in statuses.items()}
        for name, after in statuses.items():
            if not is_first:
                self._tell(before[name].status if name in before else ConnectionStatus(name), after, is_own=False)
            elif after.state is not ConnectionState.WORKING:
                kind, whose = _whose(name)
                self._log.warning(f"{kind}.still_paused", **whose, reason=after.reason, since=_iso(after))

    # -- changes ----------------------------------------------------------------------------------------------

    async def report(self, name: str, evidence: Evidence, settings: BreakerSettings | None) -> None:
        """Takes in what an attempt told of its connection. A store that is away is told to the log, and no more."""

        def decide(status: ConnectionStatus) -> ConnectionChange | None:
            return weigh(status, evidence, settings, is_probe=self._is_probe(status, evidence.delivery_id))

        if decide(self.status(name)) is not None:  # seldom: nearly always it works, and worked before
            self._reports[name] += 1
            try:
                await self._change(name, decide)
            except StoreError as error:
                self._log.error("connection.not_recorded", connection=name, error=str(error))
            finally:
                self._reports[name] -= 1
        self.end_probe(name, evidence.delivery_id)

    def end_probe(self, name: str, delivery_id: str) -> None:
        """Another delivery may be the probe, where it was this one: it has ended, or is handed back."""
        held = self._probes.get(name)
        if held is not None and held.delivery_id == delivery_id:
            held.delivery_id = None

    async def try_probe(self, name: str) -> None:
        """Where its pause is over, asks for the right to probe it. Raises StoreError."""

        def decide(status: ConnectionStatus) -> ConnectionChange | None:
            is_over = status.left_seconds is not None and status.left_seconds <= 0
            if status.state is ConnectionState.WORKING or not is_over or self._own_probe(status) is not None:
                return None
            return probe(status, PROBE_SECONDS)

        if decide(self.status(name)) is not None:
            changed = await self._change(name, decide)
            if changed is not None:
                self._probes[name] = _Probe(changed.version)

    async def reached(self, seen: ConnectionStatus, settings: BreakerSettings) -> bool:
        """Ends a pause because the destination is there again; False where it has changed since. Raises StoreError."""

        def decide(status: ConnectionStatus) -> ConnectionChange | None:
            return reached_again(status, settings) if status.version == seen.version else None

        return await self._change(seen.name, decide) is not None

    async def keep_probes(self) -> None:
        """Keeps the right to probe while a probe is under way. Raises StoreError."""
        for name, held in list(self._probes.items()):
            if self._own_probe(self.status(name)) is None:
                del self._probes[name]
            elif held.delivery_id is not None:
                changed = await self._change(
                    name, lambda status: probe(status, PROBE_SECONDS) if self._own_probe(status) is not None else None
                )
                if changed is not None:
                    held.version = changed.version

    async def _change(
        self, name: str, decide: Callable[[ConnectionStatus], ConnectionChange | None]
    ) -> ConnectionStatus | None:
        """Changes a status as decided for the newest one; the new one, or None where nothing is to be changed."""
        async with self._lock:
            for _ in range(MOST_TRIES):
                before = self.status(name)
                change = decide(before)
                if change is None:
                    return None
                after = await self._store.change_connection(name, before.version, change)
                if after is not None:
                    self._seen = {**(self._seen or {}), name: _Seen(after, time.monotonic())}
                    self._tell(before, after, is_own=True)
                    return after
                await self._read()
        return None

    def _tell(self, before: ConnectionStatus, after: ConnectionStatus, *, is_own: bool) -> None:
        """One event for each pause and each recovery, however many deliveries had a part in it."""
        worked, works = (status.state is ConnectionState.WORKING for status in (before, after))
        if worked == works:
            return
        kind, whose = _whose(after.name)
        by = whose if is_own else whose | {"by": "another gateway or a person"}
        if works:
            self._log.info(f"{kind}.recovered", **by)
        else:
            seconds = None if after.left_seconds is None else round(after.left_seconds, 1)
            self._log.warning(f"{kind}.paused", seconds=seconds, reason=after.reason, **by)
        if self._observer is not None and kind == "connection":
            self._observer(ConnectionChanged(before, after, is_own))


def _whose(name: str) -> tuple[str, dict[str, str]]:
    """Of what a status tells: the kind, and how the log names it."""
    route = status_route(name)
    return ("connection", {"connection": name}) if route is None else ("route", {"route": route})


def _iso(status: ConnectionStatus) -> str | None:
    return None if status.since is None else status.since.isoformat(timespec="seconds")
