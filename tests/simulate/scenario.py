"""A seed -> a scenario: traffic, destinations, disturbances; then everything heals, and the books must agree."""

from __future__ import annotations

import asyncio
import gc
import shutil
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, cast

from gateway.config.load import Config
from gateway.core.errors import StoreError
from gateway.core.model import ConnectionStatus
from gateway.delivery.circuit_breaker import paused_by_hand, resumed
from gateway.store.protocol import Store
from gateway.store.sqlite.store import SqliteStore
from tests.simulate.config import ACCOUNTS, APPROVED, CONNECTIONS
from tests.simulate.destinations import Destinations, Stripe, used
from tests.simulate.disturbances import DISTURBANCES
from tests.simulate.gateways import SimulatedGateway
from tests.simulate.ledger import Ledger
from tests.simulate.loop import Process, SimulatedLoop
from tests.simulate.machinery import EPOCH, simulated
from tests.simulate.store import Watched, abandon, open_file
from tests.simulate.traffic import Traffic

TRAFFIC_SECONDS = 240.0
SKEWS_SECONDS = (0.01, 1.0, 12.0)  # between the clocks of gateways and of the store that they share, at most
SETTLE_SECONDS = 7200.0  # within which nothing may be owed any more, once everything works
ENOUGH = 5  # findings


@dataclass(frozen=True)
class Result:
    """What came of a scenario."""

    seed: int
    findings: Sequence[str]
    story: Sequence[str]
    callbacks: int


class Scenario:
    """One."""

    def __init__(self, seed: int, folder: Path, template: Path, configs: Sequence[Config]) -> None:
        self.seed = seed
        self.rng = Random(seed)
        self.loop = SimulatedLoop(Random(self.rng.random()))
        self.file = folder / "inbox.db"
        for old in folder.glob("inbox.db*"):
            old.unlink()
        shutil.copy(template, self.file)
        self.ledger = Ledger(self.loop, self.file)
        self.destinations = Destinations(self.loop, Random(self.rng.random()), self.ledger)
        self.traffic = Traffic(self.rng, self.ledger, self.destinations.poison)
        self.stripe = Stripe(Random(self.rng.random()), self.ledger)
        self.is_shared = self.rng.random() < 0.6
        self.server = Process("store")
        self.server_ahead = 0.0
        self.shared: SqliteStore | None = None
        self.ledger.later.skew_seconds = max(SKEWS_SECONDS) if self.is_shared else 0.0
        names = ["g1", "g2", "g3"][: self.rng.choice((2, 3))] if self.is_shared else ["g1"]
        self.gateways = [
            SimulatedGateway(name, self.loop, self.rng, self.ledger, configs, self.stripe) for name in names
        ]
        self.doomed: set[str] = set()  # gateways that are killed once they have answered
        self.world = copy_context()

    # -- stores and processes ---------------------------------------------------------------------------------

    def _now_ms(self) -> int:
        return int((EPOCH + self.loop.now + self.server_ahead) * 1000)

    def _steady_ms(self) -> int:
        return int(self.loop.now * 1000)

    def _watched(self, store: SqliteStore, server: Process | None) -> Watched:
        purges: list[Callable[[int], None]] = []

        def before(name: str, args: tuple[Any, ...], _: dict[str, Any]) -> None:
            if name == "purge":
                purges.append(self.ledger.before_purge())

        def after(name: str, args: tuple[Any, ...], answer: Any) -> None:
            if name == "purge":
                purges.pop(0)(self._now_ms())
            elif name == "claim" and answer:
                self.ledger.claimed()

        return Watched(store, Random(self.rng.random()), server, before, after)

    async def _boot(self, gateway: SimulatedGateway) -> None:
        process = Process(gateway.name)
        skew = 0.0 if not self.is_shared else self.rng.choice(SKEWS_SECONDS)
        process.clock_ahead = self.server_ahead if not self.is_shared else self.rng.uniform(-skew, skew)
        own: list[SqliteStore] = []

        async def open_store() -> Watched:
            if self.shared is not None:
                return self._watched(self.shared, self.server)
            store = open_file(self.file, self._now_ms, self._steady_ms, is_shared=False)
            own.append(store)
            await store.start()
            return self._watched(store, None)

        def ended(why: str) -> None:
            for store in own:
                abandon(store)
            self.ledger.tell(f"{gateway.name} is gone: {why}")
            if why == "ended by an action":
                self.ledger.finds("an action ended its gateway")
            self.loop.call_later(self.rng.uniform(0.5, 20.0), self._reboot, gateway, context=self.world)

        process.on_end = ended
        await self.loop.start(process, gateway.start(process, open_store))

    def _reboot(self, gateway: SimulatedGateway) -> None:
        boot = self.loop.create_task(self._boot(gateway))
        boot.add_done_callback(self._booted)

    def _booted(self, boot: asyncio.Task[None]) -> None:
        if not boot.cancelled() and (error := boot.exception()) is not None:
            self.ledger.finds(f"a gateway does not start: {error!r}")

    # -- the run ----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """From the first gateway's start to the closed books."""
        if self.is_shared:
            self.shared = open_file(self.file, self._now_ms, self._steady_ms, is_shared=True)
            await self.loop.start(self.server, self.shared.start())
        for gateway in self.gateways:
            await self._boot(gateway)
        work = [self.loop.create_task(self._traffic()), self.loop.create_task(self._people())]
        kinds = [kind for kind in DISTURBANCES if self.rng.random() < 0.4]
        for _ in range(self.rng.randrange(0, 14) if kinds else 0):
            at, kind = self.rng.uniform(1, TRAFFIC_SECONDS), self.rng.choice(kinds)
            work.append(self.loop.create_task(self._disturb(at, kind)))
        await asyncio.gather(*work)
        await self._heal()
        self.ledger.close_books()

    async def _disturb(self, at: float, kind: Callable[[Scenario], Awaitable[None]]) -> None:
        await asyncio.sleep(at)
        await kind(self)

    def someone(self) -> SimulatedGateway:
        """Some gateway."""
        return self.rng.choice(self.gateways)

    # -- Stripe -----------------------------------------------------------------------------------------------

    async def _traffic(self) -> None:
        count = self.rng.randrange(3, 25)
        posting = []
        for number in range(count):
            await asyncio.sleep(self.rng.expovariate(count / TRAFFIC_SECONDS * 1.5))
            account = self.rng.choice(ACCOUNTS) if self.rng.random() < 0.4 else "acme"
            event_id = f"evt_{number}"
            self.ledger.sent.add(event_id)
            posting.append(
                self.loop.create_task(self._post(account, event_id, self.traffic.body(account, event_id, number)))
            )
        await asyncio.gather(*posting)

    async def _post(self, account: str, event_id: str, body: bytes) -> None:
        """Until it is answered 200, and sometimes once more."""
        wait, again = 1.0, self.rng.choice((0, 0, 1))
        for _ in range(40):
            gateway = self.someone()
            status = await self._ask(gateway, account, body)
            self.ledger.tell(f"{gateway.name} is sent {event_id}: {status}")
            if status == 200:
                self.ledger.answers(event_id)
                if not again:
                    return
                again -= 1
            await asyncio.sleep(self.rng.uniform(0, wait))
            wait = min(wait * 2, 60.0)

    async def _ask(self, gateway: SimulatedGateway, account: str, body: bytes) -> int | None:
        if gateway.process.is_dead or gateway.gateway is None:
            return None
        task = self.loop.start(gateway.process, gateway.post(account, body))
        try:
            async with asyncio.timeout(10):
                status = cast(int, await asyncio.shield(task))
        except TimeoutError:
            return None
        if gateway.name in self.doomed:
            self.doomed.remove(gateway.name)
            gateway.process.after = self.rng.randrange(3)
        return status

    # -- people -----------------------------------------------------------------------------------------------

    async def _people(self) -> None:
        for _ in range(self.rng.choice((0, 0, 3, 8))):
            await asyncio.sleep(self.rng.uniform(1, TRAFFIC_SECONDS / 4))
            gateway = self.someone()
            if not gateway.process.is_dead and gateway.gateway is not None:
                try:
                    await self._person(gateway, gateway.gateway.store)
                except StoreError as error:
                    self.ledger.tell(f"a person is told: {error}")

    async def _person(self, gateway: SimulatedGateway, store: Store) -> None:
        what = self.rng.choice(
            ("retry", "retry", "cancel", "replay", "pause", "resume", "approve", "approve", "refuse")
        )
        rows = self.ledger.inbox("SELECT id FROM deliveries ORDER BY seq")
        some = [row["id"] for row in self.rng.sample(rows, min(len(rows), 3))]
        work: Awaitable[Any]
        if what in ("retry", "cancel"):
            self.ledger.excused.update(some)
            self.ledger.revives(some)
            work = store.retry(some) if what == "retry" else store.cancel(some, "cancelled by an operator")
        elif what in ("approve", "refuse"):
            asked = self.ledger.inbox(f"SELECT id FROM deliveries WHERE action IN {APPROVED} ORDER BY seq")
            some = [self.rng.choice(asked)["id"]] if asked else []
            self.ledger.excused.update(some)
            work = store.answer(some[0] if some else "dlv_none", "ann", is_yes=what == "approve")
        elif what == "replay":
            work = self._replay(gateway, store, self.rng.random() < 0.3)
        else:
            work = self._change_connection(store, self.rng.choice(CONNECTIONS), what == "pause")
        self.ledger.tell(f"a person at {gateway.name}: {what} {[one[-6:] for one in some]}")
        task = self.loop.start(gateway.process, _finished(work))
        try:
            async with asyncio.timeout(10):
                await asyncio.shield(task)
        except TimeoutError:
            self.ledger.tell("a person is told nothing")
            if what == "retry":  # a gateway that stands still does it once it goes on
                task.add_done_callback(lambda _: self.ledger.revives(some))

    async def _replay(self, gateway: SimulatedGateway, store: Store, force: bool) -> None:
        events = [row["id"] for row in self.ledger.inbox("SELECT id FROM events WHERE seq > 0 AND id LIKE 'evt_%'")]
        for event in await store.event(self.rng.choice(events)) if events else ():
            assert gateway.gateway is not None
            _, planned = gateway.gateway.intake.route(event)
            await store.replay(event.account, event.id, planned, force=force)

    @staticmethod
    async def _change_connection(store: Store, name: str, is_pause: bool) -> None:
        status = (await store.connections()).get(name) or ConnectionStatus(name)
        change = paused_by_hand(status, "a person") if is_pause else resumed(status)
        if change is not None:
            await store.change_connection(name, status.version, change)

    # -- the end ----------------------------------------------------------------------------------------------

    async def _heal(self) -> None:
        """Everything works again, and nobody disturbs; then nothing may be owed for long."""
        self.ledger.tell("everything heals")
        self.doomed.clear()
        self.destinations.manners.clear()
        self.stripe.is_away = False
        self.server_ahead = 0.0
        self.ledger.later.clock_is_set(0.0)
        for gateway in self.gateways:
            gateway.process.after = None
            gateway.process.was_ahead, gateway.process.clock_ahead = gateway.process.clock_ahead, 0.0
            self.loop.thaw(gateway.process)
        await asyncio.sleep(40)
        for gateway in self.gateways:
            await asyncio.wait(
                [self.loop.start(gateway.process, gateway.reload(0))], timeout=10
            )  # or it dies meanwhile
        end = self.loop.now + SETTLE_SECONDS
        while self.loop.now < end and len(self.ledger.findings) < ENOUGH:
            for name in CONNECTIONS:
                await self._resume(name)
            await asyncio.sleep(20)
            if not self.ledger.inbox("SELECT 1 FROM deliveries WHERE state IN ('pending', 'running') LIMIT 1"):
                return
        if not self.ledger.findings:
            self.ledger.finds("after two hours in which everything worked, something is still owed")

    async def _resume(self, name: str) -> None:
        gateway = self.someone()
        if gateway.process.is_dead or gateway.gateway is None:
            return
        task = self.loop.start(gateway.process, self._change_connection(gateway.gateway.store, name, False))
        try:
            async with asyncio.timeout(10):
                await asyncio.shield(task)
        except (TimeoutError, StoreError):
            return


async def _finished(work: Awaitable[Any]) -> None:
    await work


def run_seed(seed: int, folder: Path, template: Path, configs: Sequence[Config]) -> Result:
    """The scenario of a seed."""
    gc.disable()  # what dead processes have left is collected when nobody is disturbed by it
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        result = _run_scenario(Scenario(seed, folder, template, configs))
        gc.collect()
    finally:
        sys.unraisablehook = hook
        gc.enable()
    return result


def _run_scenario(scenario: Scenario) -> Result:
    loop, ledger = scenario.loop, scenario.ledger
    asyncio.set_event_loop(loop)
    try:
        with simulated(loop, Random(scenario.rng.random())), used(scenario.destinations):
            try:
                loop.run_until_complete(scenario.run())
            except Exception as error:
                ledger.finds(f"{type(error).__name__}: {error}")
            for error_text in loop.errors:
                ledger.finds(error_text)
            for gateway in scenario.gateways:
                gateway.process.on_end = lambda why: None
            _abandon_all(scenario)
    finally:
        ledger.close()
        asyncio.set_event_loop(None)
        loop.close()
    return Result(scenario.seed, tuple(dict.fromkeys(ledger.findings)), ledger.story, loop.callbacks)


def _abandon_all(scenario: Scenario) -> None:
    stores = [scenario.shared] if scenario.shared is not None else []
    for gateway in scenario.gateways:
        if scenario.shared is None and gateway.gateway is not None and not gateway.process.is_dead:
            stores.append(cast(Any, gateway.gateway.store)._store)
    for store in stores:
        abandon(store)
