"""One simulated gateway: the real parts of `gateway.app.gateway.Gateway`, without listeners, in a process that dies."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from random import Random
from types import SimpleNamespace
from typing import Any, cast

from aiohttp import HttpVersion11, web
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from gateway.app.gateway import Gateway, GatewayOptions
from gateway.config.load import Config
from gateway.config.runtime import masked
from gateway.delivery.fetch import StripeFetcher
from gateway.store.protocol import Store
from gateway.testing import signed_request
from tests.simulate.destinations import Stripe
from tests.simulate.ledger import Ledger
from tests.simulate.loop import Process, SimulatedLoop

ACCOUNT_SECRETS = {"acme": "whsec_cGxhbnRlZC1zaWduaW5nLXNlY3JldA", "other": "whsec_b3RoZXI"}


class KeptLog:
    """A log whose lines are looked through at the end, masked as the real one's are."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def bind(self, **_: Any) -> KeptLog:
        """Itself."""
        return self

    def _keep(self, event: str, **fields: Any) -> None:
        line = f"{event} {masked(fields)}"
        self._ledger.log.append(line)
        if event in SHOWN:
            self._ledger.tell(line[:200])

    debug = info = warning = error = exception = critical = _keep


_NO_SOCKET: Any = SimpleNamespace(transport=None, peername=("127.0.0.1", 4242), sockname=None, ssl_context=None)


def _post(path: str, headers: Mapping[str, str]) -> web.BaseRequest:
    """What arrives."""
    given = CIMultiDictProxy(CIMultiDict(headers))
    message = RawRequestMessage("POST", path, HttpVersion11, given, (), False, None, False, False, URL(path))
    loop: Any = asyncio.get_running_loop()
    return web.BaseRequest(message, EMPTY_PAYLOAD, _NO_SOCKET, _NO_SOCKET, _NO_SOCKET, loop)


SHOWN = frozenset(
    {"connection.paused", "connection.recovered", "delivery.lost_lease", "delivery.record_failed", "delivery.dead",
     "delivery.renew_failed", "delivery.store_failed", "retention.purged", "config.loaded", "alert.routed"}
)  # fmt: skip


class SimulatedGateway:
    """A gateway and its process. `store` opens what it works on, in its own context."""

    def __init__(
        self, name: str, loop: SimulatedLoop, rng: Random, ledger: Ledger, configs: Sequence[Config], stripe: Stripe
    ) -> None:
        self.name = name
        self._loop = loop
        self._rng = rng
        self._ledger = ledger
        self._configs = configs
        self._stripe = stripe
        self.version = 0
        self.process = Process(name)
        self.process.is_dead = True
        self.gateway: Gateway | None = None

    async def start(self, process: Process, open_store: Callable[[], Any]) -> None:
        """In the context of its process. A gateway.yaml that was away when the one before died has come back."""
        self.version %= len(self._configs)
        self.process = process
        opened = await open_store()
        gateway = Gateway(
            self._configs[self.version],
            cast(Store, opened),
            cast(Any, KeptLog(self._ledger)),
            GatewayOptions(fetcher=StripeFetcher(opened, cast(Any, self._stripe)), load=self._load),
        )
        cast(Any, gateway.worker)._context_of.keywords["rng"].seed(self._rng.random())
        cast(Any, gateway.retention)._rng = Random(self._rng.random())
        cast(Any, gateway.retention)._monotonic = time.monotonic
        cast(Any, gateway.alerts)._publisher._clock = time.monotonic
        for part in (gateway.alerts, gateway.worker, gateway.retention, gateway.rejections):
            self._loop.start(process, part.run(), name=type(part).__name__)
        self.gateway = gateway
        self._follows(gateway)
        self._ledger.tell(f"starts with configuration {self.version}")

    def _follows(self, gateway: Gateway) -> None:
        """Notes which configuration is in force now."""
        version = self._configs.index(gateway.live.config)
        self.process.versions.append((self._loop.now, version))
        self._ledger.later.versions.add(version)

    async def _load(self, _: Config) -> Config:
        await asyncio.sleep(0.05)
        if self.version >= len(self._configs):
            raise OSError(2, "No such file", "gateway.yaml")
        return self._configs[self.version]

    async def reload(self, version: int) -> None:
        """SIGHUP."""
        if self.gateway is not None:
            self.version = version
            result = await self.gateway.reloader.reload("SIGHUP")
            self._ledger.tell(f"reload of configuration {version}: {result.outcome}")
            self._follows(self.gateway)
            if version >= len(self._configs):
                self.version = 0

    async def post(self, account: str, body: bytes) -> int:
        """What it answers to Stripe."""
        assert self.gateway is not None
        headers = signed_request(body, ACCOUNT_SECRETS[account])
        request = _post(f"/webhooks/{account}", headers)
        refused = self.gateway.handler.precheck(request)
        answer = refused or await self.gateway.handler(request, body)
        return answer.status
