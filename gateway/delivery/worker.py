"""Runs what is owed: claims in batches under a lease, runs attempts side by side, records how they ended, drains."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import deque
from collections.abc import Callable
from random import Random

from structlog.typing import FilteringBoundLogger

from gateway.delivery.attempt import Bench, Ended, run_attempt
from gateway.delivery.fetching import Fetcher
from gateway.delivery.limits import Limit, allot
from gateway.delivery.resources import Resources
from gateway.errors import StoreError
from gateway.model import Attempt, AttemptOutcome, Claim, DeliveryState, Finish, Lane
from gateway.routing import RouteTable
from gateway.settings.load import Config
from gateway.store.base import Store

LEASE_SECONDS = float(os.environ.get("GATEWAY_INTERNAL_LEASE_SECONDS", "60"))  # internal: for fault tests alone
IDLE_SECONDS = 30.0  # how long a worker sleeps at most
FULL_SECONDS = 0.02  # with no room left, only room is waited for; others' new work is seen this much later
NO_CONNECTION_CONCURRENCY = 16
Observer = Callable[[Claim, Finish], None]


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
        rng: Random | None = None,
    ) -> None:
        self._store = store
        self._config = config
        self._resources = resources
        self._fetcher = fetcher
        self._log = log
        self._observer = observer
        self._rng = rng or Random()  # noqa: S311 - varies waits, guards nothing
        self._limits: dict[str, Limit] = {}
        self._waiting: dict[str, deque[Claim]] = {}  # claimed, not yet run, by group
        self._running: dict[str, int] = {}
        self._tasks: dict[asyncio.Task[None], Claim] = {}
        self._leases: dict[str, str] = {}
        self._lease_ends: dict[str, float] = {}  # as far as is known here: never later than the store has it
        self._wake = asyncio.Event()
        self._draining = False

    def limit_of(self, connection: str) -> tuple[Limit | None, int]:
        """The state of one connection since it was first used, and how many attempts run on it now."""
        name = f"connection {connection}"
        return self._limits.get(name), self._running.get(name, 0)

    # -- the loop ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until `drain` is called."""
        renewing = asyncio.create_task(self._renew(), name="gateway-renew")
        try:
            while not self._draining:
                try:
                    wait = await self._claim_once()
                except StoreError as error:
                    self._log.error("delivery.store_failed", error=str(error))
                    wait = 1.0
                if wait > 0 and not self._draining:
                    await self._sleep(wait)
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)

    async def _sleep(self, seconds: float) -> None:
        """Until there may be work, or room for it."""
        work = asyncio.create_task(self._store.wait_for_work(seconds))
        room = asyncio.create_task(self._wake.wait())
        try:
            await asyncio.wait((work, room), return_when=asyncio.FIRST_COMPLETED, timeout=seconds)
        finally:
            for task in (work, room):
                task.cancel()
            await asyncio.gather(work, room, return_exceptions=True)
        self._wake.clear()

    async def _claim_once(self) -> float:
        """Claims what there is room for and starts it. Seconds to sleep; 0: look again at once."""
        due = await self._store.due()
        now = time.monotonic()
        groups = {lane: self._group(lane) for lane in due.lanes}
        wanted = allot(due.lanes, groups.__getitem__, self._limits, now)
        wait = IDLE_SECONDS if due.next_in_seconds is None else min(IDLE_SECONDS, due.next_in_seconds + 0.001)
        if not wanted:
            if due.lanes:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(FULL_SECONDS):
                        await self._wake.wait()
                        self._wake.clear()
                        return 0.0
            opens = [self._limits[group].opens_in(now) for group in set(groups.values())]
            return min([wait, *(seconds for seconds in opens if seconds is not None)])
        asked_at = time.monotonic()
        claims = await self._store.claim(wanted, lease_seconds=LEASE_SECONDS)
        for claim in claims:
            group = self._group(claim.delivery.lane)
            self._limits[group].take(1)
            self._leases[claim.delivery.id] = claim.token
            self._lease_ends[claim.delivery.id] = asked_at + LEASE_SECONDS
            self._waiting.setdefault(group, deque()).append(claim)
        for group in {self._group(claim.delivery.lane) for claim in claims}:
            self._start(group)
        return 0.0 if claims else min(wait, 0.05)

    def _group(self, lane: Lane) -> str:
        """What a lane shares limits with: its connection, or its action where it has none."""
        config, table = self._config()
        route = table.by_name.get(lane.route)
        action = route.action(lane.action) if route else None
        name = "unknown" if action is None else f"action {action.uses}"
        concurrency, rate = NO_CONNECTION_CONCURRENCY, None
        if action is not None and action.connection is not None:
            name = f"connection {action.connection}"
            connection = config.connections.get(action.connection)
            if connection is not None:
                concurrency, rate = connection.concurrency, connection.rate
        limit = self._limits.get(name)
        if limit is None:
            limit = self._limits[name] = Limit(concurrency, rate, filled_at=time.monotonic(), tokens=1.0)
        limit.concurrency, limit.rate = concurrency, rate
        return name

    def _start(self, group: str) -> None:
        """Runs waiting claims of a group as far as its concurrency allows."""
        waiting = self._waiting.get(group)
        while waiting and not self._draining and self._running.get(group, 0) < self._limits[group].concurrency:
            claim = waiting.popleft()
            if self._is_ours(claim):
                self._running[group] = self._running.get(group, 0) + 1
                work = self._run_claim(group, claim)
            else:  # this gateway was paused: another may have it by now
                work = self._hand_back(group, claim)
            task = asyncio.create_task(work, name=f"attempt {claim.delivery.id}")
            self._tasks[task] = claim
            task.add_done_callback(self._tasks.pop)

    async def _run_claim(self, group: str, claim: Claim) -> None:
        config, table = self._config()
        bench = Bench(config, table, self._resources, self._fetcher, self._rng, self._log)
        limit = self._limits[group]
        start = time.monotonic()
        started_at = bench.now()
        seconds: float | None = None
        ended: Ended | None = None
        try:
            ended = await run_attempt(claim, bench)
            seconds = time.monotonic() - start
        except asyncio.CancelledError:  # only drain cancels: what ran is handed back, its attempt recorded
            error = "the gateway stopped during this attempt; whether it took effect is not known"
            attempt = Attempt(
                claim.delivery.attempts, started_at, time.monotonic() - start, AttemptOutcome.INTERRUPTED, error
            )
            ended = Ended(Finish(DeliveryState.PENDING, attempt))
        finally:
            self._running[group] -= 1
            if ended is not None and ended.pause_seconds:
                limit.paused_until = max(limit.paused_until, time.monotonic() + ended.pause_seconds)
                self._log.warning("connection.paused", connection=group, seconds=round(ended.pause_seconds, 1))
            if not self._draining:
                self._start(group)
        try:
            await self._record(claim, ended.finish)
        finally:
            limit.give_back(seconds)
            self._forget(claim)
            self._wake.set()

    async def _hand_back(self, group: str, claim: Claim) -> None:
        try:
            await self._record(claim, Finish(DeliveryState.PENDING))
        finally:
            self._limits[group].give_back(None)
            self._forget(claim)
            self._wake.set()

    def _is_ours(self, claim: Claim) -> bool:
        """Whether its lease still holds, as far as is known here."""
        id = claim.delivery.id
        return self._leases.get(id) == claim.token and time.monotonic() < self._lease_ends[id]

    def _forget(self, claim: Claim) -> None:
        if self._leases.get(claim.delivery.id) == claim.token:  # not what was claimed anew after that lease was lost
            del self._leases[claim.delivery.id], self._lease_ends[claim.delivery.id]

    async def _record(self, claim: Claim, finish: Finish) -> None:
        """Records an outcome, however long the store takes to come back; the lease bounds what that can cost."""
        wait = 0.1
        while True:
            try:
                recorded = await self._store.finish(claim.delivery.id, claim.token, finish)
                break
            except StoreError as error:
                self._log.error("delivery.record_failed", delivery_id=claim.delivery.id, error=str(error))
                if self._draining and wait > 2:
                    return
                await asyncio.sleep(wait)
                wait = min(wait * 2, 5.0)
        self._report(claim, finish, recorded)

    def _report(self, claim: Claim, finish: Finish, recorded: bool) -> None:
        delivery = claim.delivery
        if not recorded:
            self._log.warning("delivery.lost_lease", delivery_id=delivery.id, event_id=delivery.event_id)
            return
        if finish.attempt is not None:
            log = self._log.info
            if finish.state is DeliveryState.DEAD:
                log = self._log.error
            elif finish.state is DeliveryState.PENDING:
                log = self._log.warning
            details = {"error": finish.attempt.error} if finish.attempt.error else {}
            if finish.state is DeliveryState.PENDING:
                details["retry_in"] = f"{finish.wait_seconds:.1f}s"
            log(
                f"delivery.{finish.attempt.outcome.value}",
                account=delivery.account,
                event_id=delivery.event_id,
                delivery_id=delivery.id,
                route=delivery.route,
                action=delivery.action,
                attempt=delivery.attempts,
                milliseconds=round(finish.attempt.duration_seconds * 1000),
                **details,
            )
        if self._observer is not None:
            self._observer(claim, finish)

    async def _renew(self) -> None:
        """Keeps the leases of all that is claimed here."""
        while True:
            await asyncio.sleep(LEASE_SECONDS / 3)
            if not self._leases:
                continue
            leases, asked_at = list(self._leases.items()), time.monotonic()
            try:
                lost = await self._store.renew(leases, lease_seconds=LEASE_SECONDS)
            except StoreError as error:
                self._log.error("delivery.renew_failed", error=str(error))
                continue
            for delivery_id, token in leases:
                if self._leases.get(delivery_id) == token:
                    self._lease_ends[delivery_id] = 0.0 if delivery_id in lost else asked_at + LEASE_SECONDS

    # -- the end ----------------------------------------------------------------------------------------------

    async def drain(self, within_seconds: float) -> None:
        """Starts nothing more, hands back what has not started, lets attempts end, and cuts off those that do not in
        time.
        """
        self._draining = True
        self._wake.set()
        for group, waiting in self._waiting.items():
            while waiting:
                claim = waiting.popleft()
                self._limits[group].give_back(None)
                try:
                    await self._store.finish(claim.delivery.id, claim.token, Finish(DeliveryState.PENDING))
                except StoreError:
                    break  # the next start takes them over
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=within_seconds)
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=5)
