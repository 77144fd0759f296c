"""A shop for tests of workers: a store, an HTTP service that does as it is told, and gateways' workers between them."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import structlog
from aiohttp import web

from gateway.config.load import Config, load
from gateway.core.model import (
    Claim,
    ConnectionChange,
    ConnectionState,
    ConnectionStatus,
    Event,
    EventState,
    Finish,
    Outcome,
    PlannedDelivery,
    route_status_name,
)
from gateway.core.routing import RouteTable
from gateway.delivery.circuit_breaker import paused_by_hand
from gateway.delivery.connection_health import ConnectionChanged
from gateway.delivery.fetch import StripeFetcher
from gateway.delivery.resources import Resources
from gateway.delivery.worker import Worker
from gateway.store.protocol import Store
from gateway.stripe.connections import StripeApis
from tests.contract.test_store import NOW
from tests.http_service import Serve
from tests.waiting import HANG_SECONDS, nothing_owed, until

CONFIG = """\
version: 1
accounts:
  acme: {{signing_secrets: [whsec_a]}}
  other: {{signing_secrets: [whsec_b]}}
connections:
  shop: {{type: http, url: "{url}", allow_private: true, {settings}}}
defaults: {{retry: {{attempts: 20, first: 10ms, factor: 1, max: 2s}}}}
routes:
  flood: {{events: ["*"], actions: {{a: {forward}, b: {forward}, c: {forward}}}}}
  fresh: {{events: ["*"], actions: {{a: {forward}}}}}
"""
FORWARD = "{uses: http_forward, with: {connection: shop}}"
Answer = Callable[[web.BaseRequest], Awaitable[web.Response]]


async def ok(request: web.BaseRequest) -> web.Response:
    return web.Response(text="ok")


async def down(request: web.BaseRequest) -> web.Response:
    return web.Response(status=500, text="down")


class Service:
    """What the connection leads to."""

    def __init__(self) -> None:
        self.answer: Answer = ok
        self.times: list[float] = []
        self.events: list[str] = []
        self.at_once = self.most_at_once = 0

    async def take(self, request: web.BaseRequest) -> web.Response:
        self.times.append(time.monotonic())
        self.events.append(request.headers["X-Stripe-Event-Id"])
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return await self.answer(request)
        finally:
            self.at_once -= 1


class Shop:
    """A store, a service, and the workers between them."""

    def __init__(self, folder: Path, store: Store, service: Service, url: str) -> None:
        self.folder, self.store, self.service, self.url = folder, store, service, url
        self.changes: list[ConnectionChanged] = []
        self.logged: list[dict[str, Any]] = []
        self.ran: Counter[int] = Counter()  # attempts, by the worker's place
        self.looks: Counter[Worker] = Counter()  # by the worker
        self._running: list[tuple[Worker, Resources, asyncio.Task[None]]] = []

    def start(self, settings: str = "concurrency: 4", store: Store | None = None) -> Worker:
        """A gateway's worker, on the shop's own store or on another one of the same place."""
        (self.folder / "gateway.yaml").write_text(CONFIG.format(url=self.url, settings=settings, forward=FORWARD))
        config = load(self.folder / "gateway.yaml", {})
        table = RouteTable(config.routes)
        log = structlog.wrap_logger(None, processors=[self._log])
        resources = Resources(lambda *_: True, log)
        place = len(self._running)
        used = store or self.store
        fetcher = StripeFetcher(used, StripeApis())  # no route of it fetches

        def current() -> tuple[Config, RouteTable]:
            return config, table

        def ended(claim: Claim, ending: Outcome) -> None:
            self.ran[place] += isinstance(ending, Finish)

        made = Worker(used, current, resources, fetcher, log, observer=ended, connection_observer=self.changes.append)
        look = made.connections.refresh

        async def refresh() -> None:
            await look()
            self.looks[made] += 1

        made.connections.refresh = refresh  # type: ignore[method-assign] # counted
        self._running.append((made, resources, asyncio.create_task(made.run())))
        return made

    def _log(self, logger: Any, method: str, entry: Any) -> Any:
        self.logged.append(entry)
        raise structlog.DropEvent

    async def stop(self) -> None:
        for one, resources, task in self._running:
            await one.drain(5)
            await task
            await resources.close()
        self._running.clear()

    async def add(self, count: int, *actions: str, route: str = "flood", account: str = "acme", name: str = "") -> None:
        owed = [PlannedDelivery(route, action) for action in actions or ("a",)]
        ids = [f"evt_{name or route}_{i}" for i in range(count)]
        await asyncio.gather(
            *(
                self.store.add(
                    Event(account, id, "invoice.paid", EventState.ROUTED, False, NOW, b'{"id": "%s"}' % id.encode()),
                    owed,
                )
                for id in ids
            )
        )

    async def status(self) -> ConnectionStatus:
        return (await self.store.connections()).get("shop", ConnectionStatus("shop"))

    async def until(self, condition: Callable[[], object], seconds: float = HANG_SECONDS) -> None:
        await until(condition, seconds, seen=lambda: self.logged[-5:])

    async def until_state(self, state: ConnectionState) -> None:
        async def is_so() -> bool:
            return (await self.status()).state is state

        await self.until(is_so)

    async def until_done(self) -> None:
        await self.until(lambda: nothing_owed(self.store))

    async def until_none_runs(self) -> None:
        """Whatever was on its way has ended, and what was claimed ahead is handed back."""

        async def is_so() -> bool:
            return not (await self.store.counts()).get("running")

        await self.until(is_so)

    async def until_all_looked(self) -> None:
        """Each worker has looked twice at what is owed and at what rests: what it would begin it has begun."""
        before, route = self.looks.copy(), ConnectionStatus(route_status_name("of nobody"))
        status = (await self.store.connections()).get(route.name, route)
        await self.store.change_connection(route.name, status.version, paused_by_hand(status, "to wake all"))
        await self.until(lambda: all(self.looks[worker] >= before[worker] + 2 for worker, *_ in self._running))

    def events_logged(self, begins: str = "connection.") -> list[str]:
        return [entry["event"] for entry in self.logged if entry["event"].startswith(begins)]


@asynccontextmanager
async def shop_on(folder: Path, store: Store, serve: Serve) -> AsyncIterator[Shop]:
    """A shop on a started store."""
    service = Service()
    made = Shop(folder, store, service, await serve(service.take) + "/")
    try:
        yield made
    finally:
        await made.stop()


async def one_of_two_probes(shop: Shop, first: Store, second: Store) -> None:
    """Two gateways, each with its own view of one paused connection: once the pause is over one delivery tries it."""
    release = asyncio.Event()

    async def wait(request: web.BaseRequest) -> web.Response:
        await release.wait()
        return web.Response()

    shop.service.answer = wait
    await shop.store.change_connection("shop", 0, ConnectionChange(ConnectionState.PAUSED, 0.1, "it was down"))
    await shop.add(20, "a", "b")
    shop.start(store=first)
    shop.start(store=second)
    await shop.until(lambda: shop.service.times)
    await shop.until_all_looked()
    assert len(shop.service.times) == 1
    release.set()
    await shop.until_done()
    assert (await shop.store.counts())["succeeded"] == 40
    assert sum(change.is_own for change in shop.changes) == 1
