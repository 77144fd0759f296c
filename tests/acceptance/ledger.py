"""Books kept outside the gateway: what was sent and answered 200, and what arrived. At the end the two must agree."""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter, defaultdict
from typing import Any

import aiohttp
from aiohttp import web

from gateway.testing import make_event, signed_request
from tests.acceptance.harness import SECRET, GatewayProcess
from tests.configs import SQLITE, gateway_yaml
from tests.waiting import HANG_SECONDS, until

TORTURE = int(os.environ.get("TORTURE", "1"))
"""How many times as much load and as many faults as in `make test`: `make torture` sets it."""
SENDERS = 8
DECOY_EACH = 20

ROUTE = """\
  fulfil:
    events: [checkout.session.completed]
    if: object.metadata.decoy is not defined
    actions:
      ship: {uses: http_forward, with: {connection: warehouse}}
"""


class Ledger:
    """Sends events until each is answered 200, receives their forwards, and compares."""

    def __init__(self) -> None:
        self.accepted: list[str] = []  # ids that were answered 200, in order
        self.arrived: dict[str, set[str]] = defaultdict(set)  # event id -> ids of its deliveries
        self.times: Counter[str] = Counter()  # delivery id -> how often it arrived
        self.answers: Counter[int] = Counter()  # status -> how often; 0: no answer
        self.decoys: set[str] = set()  # sent, though nothing is owed for them
        self.refusing = False  # the sink answers 503, and counts nothing
        self.passing = {200, 503, 0}  # what a sender may be answered
        self.signed_at: int | None = None  # instead of now
        self.url = ""

    def config(self, port: int, store: str = SQLITE, routes: str = "", **connections: str) -> str:
        """A gateway.yaml that ships to this ledger's sink."""
        return gateway_yaml(
            port=port,
            log="level: warning, format: json",
            store=f'url: "{store}"',
            defaults="retry: {attempts: 40, first: 100ms, factor: 1.5, max: 1s}",
            connections={
                "warehouse": f'type: http, url: "{self.url}", allow_private: true, concurrency: 4,'
                " breaker: {pause: 500ms, max: 1s}",
                **connections,
            },
            routes=ROUTE + routes,
        )

    async def take(self, request: web.BaseRequest) -> web.Response:
        """Notes which delivery of which event it is."""
        event = await request.json()
        if self.refusing:
            return web.Response(status=503)
        delivery = request.headers["idempotency-key"]
        self.arrived[event["id"]].add(delivery)
        self.times[delivery] += 1
        return web.Response(text="ok")

    async def send(self, gateway: GatewayProcess, count: int, *, padding: int = 0) -> None:
        """Posts so many events, each until it is answered 200, and decoys among them."""
        waiting = [self._event(number, padding) for number in range(count)]

        async def sender() -> None:
            async with aiohttp.ClientSession() as session:
                while waiting:
                    event, secret = waiting.pop()
                    while not await self._post(session, gateway, event, secret):
                        await asyncio.sleep(0.05)

        async with asyncio.TaskGroup() as group:
            for _ in range(SENDERS):
                group.create_task(sender())

    def _event(self, number: int, padding: int) -> tuple[dict[str, Any], str]:
        metadata: dict[str, Any] = {"padding": "x" * padding}
        secret = SECRET
        if number % DECOY_EACH == 0:
            metadata["decoy"] = "1"
        elif number % DECOY_EACH == 1:
            secret = "whsec_of_somebody_else"
        event = make_event("checkout.session.completed", object={"metadata": metadata})
        if number % DECOY_EACH < 2:
            self.decoys.add(event["id"])
        return event, secret

    async def _post(
        self, session: aiohttp.ClientSession, gateway: GatewayProcess, event: dict[str, Any], secret: str
    ) -> bool:
        """Whether the event needs no further try."""
        body = json.dumps(event).encode()
        headers = signed_request(body, secret, timestamp=self.signed_at)
        try:
            async with (
                asyncio.timeout(20),  # about as long as Stripe waits
                session.post(f"{gateway.url}/webhooks/acme", data=body, headers=headers) as response,
            ):
                await response.read()
                status = response.status
        except (aiohttp.ClientError, TimeoutError):
            status = 0
        if secret != SECRET and status == 401:
            return True
        assert status in self.passing, status
        self.answers[status] += 1
        if status == 200 and event["id"] not in self.decoys:
            self.accepted.append(event["id"])
        return status == 200

    @property
    def missing(self) -> set[str]:
        """Answered 200, and not arrived."""
        return set(self.accepted) - set(self.arrived)

    async def settle(self, seconds: float = HANG_SECONDS) -> None:
        """Waits until all that was answered 200 has arrived, then compares the books."""
        try:
            await until(lambda: not self.missing, seconds)
        except TimeoutError:
            raise AssertionError(f"{len(self.missing)} of {len(self.accepted)} never arrived") from None
        await asyncio.sleep(0.3)  # what is not owed would come too
        self.check()

    def check(self) -> None:
        """Everything answered 200 arrived as one delivery, and nothing else did."""
        assert not self.missing
        assert set(self.arrived) == set(self.accepted)
        assert {len(deliveries) for deliveries in self.arrived.values()} == {1}
        assert not self.decoys & set(self.arrived)

    @property
    def repeated(self) -> int:
        """Arrivals beyond the first of each delivery."""
        return sum(self.times.values()) - len(self.times)
