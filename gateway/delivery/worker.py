"""Runs what is owed: claims in batches under a lease, runs attempts side by side, records how they ended, drains."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Coroutine, Mapping
from datetime import timedelta
from functools import partial
from random import Random
from typing import Any

from structlog.typing import FilteringBoundLogger

from gateway.config.load import Config
from gateway.core.errors import StoreError, place_of
from gateway.core.model import (
    Attempt,
    AttemptOutcome,
    Claim,
    ConnectionStatus,
    DeliveryState,
    Finish,
    Lane,
    Outcome,
    Released,
    SharedRate,
)
from gateway.core.routing import RouteTable
from gateway.core.tasks import background, cancel, until_stored, within
from gateway.core.tracing import Tracer
from gateway.delivery.attempt import AttemptContext, AttemptResult, run_attempt
from gateway.delivery.circuit_breaker import evidence_of
from gateway.delivery.concurrency import Group, GroupFigures, Groups
from gateway.delivery.connection_health import ConnectionObserver, Connections
from gateway.delivery.digest import StoreGatherer
from gateway.delivery.fair_share import shared_rate
from gateway.delivery.fetch import Fetcher
from gateway.delivery.kept_values import for_keeping
from gateway.delivery.leases import LEASE_SECONDS, RENEW_SECONDS, Leases
from gateway.delivery.resources import Resources
from gateway.delivery.stripe_writes import NoWrites, StripeWriters
from gateway.delivery.suspects import Suspects
from gateway.store.protocol import Store

IDLE_SECONDS = 30.0  # how long a worker sleeps at most
FULL_SECONDS = 0.02  # with no room left, only room is waited for; others' new work is seen this much later
SHORTEST_SECONDS = 0.005  # of a sleep
MANY_LANES = 200  # looking through so many takes a millisecond or two
LOOK_SHARE = 0.1  # of the time at most goes into looking for lanes with work, where they are many
LOOK_SECONDS = 0.3  # ... but no look is older
OWN_FAULT_SECONDS = 60.0  # until another attempt, where not the action failed but the gateway
Observer = Callable[[Claim, Outcome], None]


class Worker:
    """One a gateway. `run` until `drain`; both end with every claim finished or handed back."""

    def __init__(
        self,
        store: Store,
        config: Callable[[], tuple[Config, RouteTable]],
        resources: Resources,
        fetcher: Fetcher,
        log: FilteringBoundLogger,
        *,
        observer: Observer | None = None,
        connection_observer: ConnectionObserver | None = None,
        tracer: Tracer | None = None,
        rng: Random | None = None,
        writers: StripeWriters | None = None,
    ) -> None:
        self._store = store
        self._config = config
        self._context_of = partial(
            AttemptContext,
            resources=resources,
            fetcher=fetcher,
            writers=writers or NoWrites(),
            gatherer=StoreGatherer(store),
            rng=rng or Random(),  # noqa: S311 - varies waits, guards nothing
        )
        self._log = log
        self._observer = observer
        self._tracer = tracer
        self.connections = Connections(store, log, connection_observer)
        self._groups = Groups(config)
        self._tasks: set[asyncio.Task[None]] = set()
        self._attempts: dict[str, asyncio.Task[None]] = {}  # by delivery id, until they end; then comes recording
        self._cut_off: set[str] = set()  # attempts that were cancelled here: an action may cancel itself as well
        self._leases = Leases(store)
        self._suspects = Suspects(config)
        self._with_work: dict[str, tuple[Group, list[Lane]]] = {}  # by the last look
        self._next_due_at = math.inf  # monotonic
        self._looks_at = 0.0  # monotonic: until then the last look does
        self._is_news = False  # work was announced since the last look
        self._wake = asyncio.Event()
        self._draining = False

    def figures(self, connection: str) -> GroupFigures | None:
        """What runs and what is ready on a connection; None before its first work."""
        return self._groups.figures(connection)

    def status(self, connection: str) -> ConnectionStatus:
        """How a connection stands, as last seen."""
        return self.connections.status(connection)

    # -- the loop ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until `drain` is called."""
        async with background(self._renew, "gateway-renew"):
            while not self._draining:
                try:
                    wait = await self._claim_once()
                except StoreError as error:
                    self._log.error("delivery.store_failed", error=str(error))
                    wait = 1.0
                if wait > 0 and not self._draining:
                    await self._sleep(wait)

    async def _sleep(self, seconds: float) -> None:
        """Until there may be work, or room for it."""
        work = asyncio.create_task(self._store.wait_for_work(seconds))
        room = asyncio.create_task(self._wake.wait())
        try:
            await asyncio.wait((work, room), return_when=asyncio.FIRST_COMPLETED, timeout=seconds)
            if work.done():
                self._is_news = True
                self.connections.announce()
        finally:
            await cancel(work, room)
        self._wake.clear()

    async def _look(self) -> None:
        """Which lanes have work. Where looking takes long, because they are many, the last look does for a while."""
        start = time.monotonic()
        if start >= self._looks_at:
            self._is_news = False
            due = await self._store.due()
            self._with_work = {}
            for lane in due.lanes:
                group = self._groups.of(lane)
                self._with_work.setdefault(group.name, (group, []))[1].append(lane)
            now = time.monotonic()
            self._next_due_at = math.inf if due.next_in_seconds is None else now + due.next_in_seconds + 0.001
            is_long = len(due.lanes) > MANY_LANES
            self._looks_at = start + min(LOOK_SECONDS, (now - start) / LOOK_SHARE) if is_long else 0.0

    async def _claim_once(self) -> float:
        """Claims what there is room for and starts it. Seconds to sleep; 0: look again at once."""
        await self._look()
        if self._with_work or self._groups.has_ready():
            await self.connections.refresh()
        wanted: dict[Lane, int] = {}
        rates: list[SharedRate] = []
        for group, owed in self._with_work.values():
            lanes = self.connections.running_lanes(owed)
            shares = group.limit.turns.share(lanes, await self._room(group)) if lanes else {}
            wanted |= shares
            if shares and group.connection is not None and group.limit.rate is not None:
                rates.append(shared_rate(group.connection, group.limit.rate, shares))
        for group in self._groups.all():
            await self._hand_back_paused(group)
        if not wanted:
            return await self._no_room()
        asked_at = time.monotonic()
        claimed = await self._store.claim(wanted, lease_seconds=LEASE_SECONDS, rates=rates)
        claims, apart = self._suspects.apart(claimed, lambda c: self._groups.of(c.delivery.lane).limit.mean_seconds)
        await asyncio.gather(*(self._put(claim, ending) for claim, ending in apart))
        self._take(wanted, claims, asked_at)
        return 0.0 if claims else min(self._next_look(), 0.05)

    async def _room(self, group: Group) -> int:
        """How many more of a group may be claimed: on a connection that is probed one, on a paused one none."""
        room = group.limit.room(time.monotonic())
        if group.connection is None or self.connections.is_working(group.connection):
            return room
        await self.connections.try_probe(group.connection)
        return min(room, int(self.connections.wants_probe(group.connection)))

    def _take(self, wanted: Mapping[Lane, int], claims: list[Claim], asked_at: float) -> None:
        """Takes in what was claimed and starts it."""
        counts = dict.fromkeys(wanted, 0)
        groups = {lane: self._groups.of(lane) for lane in wanted}
        for claim in claims:
            lane = claim.delivery.lane
            group = groups[lane]
            counts[lane] += 1
            self._leases.add(claim, asked_at)
            if group.connection is not None and self.connections.wants_probe(group.connection):
                self.connections.begin_probe(group.connection, claim.delivery.id)
            group.ready.append(claim)
        taken: dict[str, int] = {}
        for lane, count in counts.items():
            name = groups[lane].name
            taken[name] = taken.get(name, 0) + count
        for group in self._groups.all():
            if group.name in taken:
                group.limit.take(taken[group.name], time.monotonic())
                self._start(group)
        if self._looks_at:  # this look is used again, but for the lanes that it has emptied
            for _, lanes in self._with_work.values():
                lanes[:] = [lane for lane in lanes if lane not in wanted or counts[lane] == wanted[lane]]

    def _next_look(self) -> float:
        """Seconds until there may be work by the passing of time."""
        now = time.monotonic()
        wait = min(IDLE_SECONDS, self._next_due_at - now)
        return max(SHORTEST_SECONDS, min(wait, self._looks_at - now) if self._is_news else wait)

    async def _no_room(self) -> float:
        """Waits a little for room, where that is all that is missing. Seconds to sleep; 0: there is some."""
        waits = [self._next_look()]
        now = time.monotonic()
        is_full = False
        if (self._with_work or self._groups.has_ready()) and (looks_in := self.connections.looks_in()) is not None:
            waits.append(looks_in)  # a pause may be over then, or have begun
        for group, lanes in self._with_work.values():
            if not self.connections.running_lanes(lanes):
                continue
            if group.connection is None or self.connections.is_working(group.connection):
                opens_in = group.limit.opens_in(now)
                is_full = is_full or opens_in is None
            else:
                opens_in = self.connections.opens_in(group.connection)
            waits += [] if opens_in is None else [opens_in]
        if is_full and await within(FULL_SECONDS, self._wake):
            self._wake.clear()
            return 0.0
        return max(SHORTEST_SECONDS, min(waits))

    # -- claims that run --------------------------------------------------------------------------------------

    def _start(self, group: Group) -> None:
        """Runs ready claims as far as the group's concurrency allows; those of a paused connection are handed back."""
        if group.connection is not None and self.connections.is_in_doubt(group.connection):
            return
        while group.ready and not self._draining and group.running < group.limit.concurrency:
            if not self.connections.may_start(group.connection, group.ready[0].delivery):
                return
            claim = group.ready.popleft()
            if self._leases.is_lost(claim.delivery.id):  # this gateway was paused: another may have it by now
                self._spawn(self._hand_back(group, claim), claim)
                continue
            group.running += 1
            self._spawn(self._run_claim(group, claim), claim)

    def _spawn(self, work: Coroutine[Any, Any, None], claim: Claim) -> None:
        task = asyncio.create_task(work, name=f"attempt {claim.delivery.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _hand_back_paused(self, group: Group) -> None:
        """Hands back what was claimed before its connection or route was paused: it keeps its place, at no attempt."""
        paused = [claim for claim in group.ready if not self.connections.may_start(group.connection, claim.delivery)]
        for claim in paused:
            group.ready.remove(claim)
        await asyncio.gather(*(self._hand_back(group, claim) for claim in paused))
        if paused:
            self._start(group)

    async def _hand_back(self, group: Group, claim: Claim) -> None:
        await self._put(claim, Released())
        if group.connection is not None:
            self.connections.end_probe(group.connection, claim.delivery.id)
        self._give_back(group, claim, None)

    def _give_back(self, group: Group, claim: Claim, seconds: float | None) -> None:
        """There is room again, after it ran for so long, or not at all."""
        group.limit.give_back(seconds)
        self._leases.forget(claim)
        self._suspects.ended(claim)
        self._wake.set()

    async def _run_claim(self, group: Group, claim: Claim) -> None:
        config, table = self._config()
        trace = None if self._tracer is None else self._tracer.attempt(claim)
        log = self._log if trace is None else self._log.bind(trace_id=trace.trace_id)
        delivery_id = claim.delivery.id
        is_cut_off = partial(self._cut_off.__contains__, delivery_id)
        context = self._context_of(config, table, log=log, trace=trace, is_cut_off=is_cut_off)
        start = time.monotonic()
        seconds: float | None = None
        if (task := asyncio.current_task()) is not None:  # before its first step it cannot be cut off: it would not end
            self._attempts[delivery_id] = task

        def unfinished(outcome: AttemptOutcome, error: str, wait_seconds: float) -> AttemptResult:
            lasted = time.monotonic() - start
            started_at = context.now() - timedelta(seconds=lasted)
            attempt = Attempt(claim.delivery.attempts, started_at, lasted, outcome, error)
            return AttemptResult(Finish(DeliveryState.PENDING, attempt, wait_seconds=wait_seconds))

        try:
            ended = for_keeping(await run_attempt(claim, context), config)
            seconds = time.monotonic() - start
        except asyncio.CancelledError:  # by drain, or because its lease is lost: handed back, its attempt recorded
            why = "the gateway stopped" if self._draining else "the gateway lost its lease"
            error = f"{why} during this attempt; whether it took effect is not known"
            ended = unfinished(AttemptOutcome.INTERRUPTED, error, 0.0)
        except Exception as fault:  # of ours: neither its slot is lost nor the others' time
            error = f"the gateway itself failed at {place_of(fault)}: {type(fault).__name__}"
            ended = unfinished(AttemptOutcome.RETRY, error, OWN_FAULT_SECONDS)
        finally:
            self._attempts.pop(delivery_id, None)
            self._cut_off.discard(delivery_id)
            group.running -= 1
        if trace is not None:
            trace.ended(ended.ending)
        if group.connection is not None:
            await self.connections.report(group.connection, evidence_of(claim.delivery.id, ended), group.breaker)
        if not self._draining:
            self._start(group)
        try:
            if (recorded := await self._put(claim, ended.ending)) is not None:
                self._report(claim, ended.ending, recorded, log)
        finally:
            self._give_back(group, claim, seconds)

    async def _put(self, claim: Claim, ending: Outcome) -> bool | None:
        """Records an outcome, however long the store takes to come back; the lease bounds what that can cost. Whether
        it held; None where the gateway stops meanwhile: the lease's end gives it to others, or the next start.
        """
        delivery_id = claim.delivery.id

        def not_recorded(error: StoreError) -> None:
            self._log.error("delivery.record_failed", delivery_id=delivery_id, error=str(error))

        finish = partial(self._store.finish, delivery_id, claim.token, ending)
        try:
            return await until_stored(finish, not_recorded, lambda: self._draining)
        except StoreError:
            return None

    def _report(self, claim: Claim, ending: Outcome, recorded: bool, log: FilteringBoundLogger) -> None:
        delivery = claim.delivery
        if not recorded:
            log.warning("delivery.lost_lease", delivery_id=delivery.id, event_id=delivery.event_id)
            return
        if isinstance(ending, Finish):
            say = {DeliveryState.DEAD: log.error, DeliveryState.PENDING: log.warning}.get(ending.state, log.info)
            details = {"error": ending.attempt.error} if ending.attempt.error else {}
            if ending.state is DeliveryState.PENDING:
                details["retry_in"] = f"{ending.wait_seconds:.1f}s"
            say(
                f"delivery.{ending.attempt.outcome.value}",
                account=delivery.account,
                event_id=delivery.event_id,
                delivery_id=delivery.id,
                route=delivery.route,
                action=delivery.action,
                attempt=delivery.attempts,
                milliseconds=round(ending.attempt.duration_seconds * 1000),
                **details,
            )
        if self._observer is not None:
            self._observer(claim, ending)

    # -- leases -----------------------------------------------------------------------------------------------

    async def _renew(self) -> None:
        """Keeps the leases of all that is claimed here, and cuts off attempts that have lost theirs."""
        wait = RENEW_SECONDS
        while True:
            await asyncio.sleep(wait)
            wait = RENEW_SECONDS
            lost: set[str] = set()
            try:
                async with asyncio.timeout(RENEW_SECONDS):
                    await self.connections.keep_probes()
                    lost = await self._leases.renew()
            except (StoreError, TimeoutError) as error:
                self._log.error("delivery.renew_failed", error=str(error) or "the store does not answer")
                wait = 1.0
            for delivery_id in list(self._attempts):
                if delivery_id in lost or self._leases.is_lost(delivery_id):
                    self._cut_off.add(delivery_id)
                    self._attempts.pop(delivery_id).cancel()

    # -- the end ----------------------------------------------------------------------------------------------

    async def drain(self, within_seconds: float) -> None:
        """Starts nothing more, hands back what has not started, lets attempts end, and cuts off those that do not in
        time.
        """
        self._draining = True
        self._wake.set()
        for group in self._groups.all():
            ready = list(group.ready)
            group.ready.clear()
            await asyncio.gather(*(self._hand_back(group, claim) for claim in ready))
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=within_seconds)
        self._cut_off.update(self._attempts)
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=5)
