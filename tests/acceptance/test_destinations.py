"""Destinations that are dead or slow, and a gateway that is asked to stop."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiosmtpd.smtp import SMTP

from gateway.testing import make_event
from tests.acceptance.harness import GatewayProcess, answers, free_port, post
from tests.configs import gateway_yaml, http
from tests.http_service import Serve
from tests.waiting import until

pytestmark = pytest.mark.slow

ROUTES = """\
  mail:
    events: [invoice.paid, invoice.voided]
    actions:
      letter: {uses: email, with: {connection: mail, to: "{{ object.customer_email }}", subject: S, text: T}}
  dead:
    events: [invoice.voided]
    actions:
      forward: {uses: http_forward, with: {connection: dead}}
  slow:
    events: [product.created]
    actions:
      forward: {uses: http_forward, with: {connection: slow}}
"""


class SlowMail:
    """A mail server that takes 100 ms for each mail, and answers none before so many have been there at once."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.at_once, self.wanted_at_once = 0, 1

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.at_once += 1
        await until(lambda: self.at_once >= self.wanted_at_once)
        self.wanted_at_once = 1
        await asyncio.sleep(0.1)
        self.at_once -= 1
        self.times.append(time.monotonic())
        return "250 OK"


class Slow:
    """A service that answers when it is told to."""

    def __init__(self) -> None:
        self.begun, self.ended = 0, 0
        self.go_on = asyncio.Event()

    async def take(self, request: web.BaseRequest) -> web.Response:
        self.begun += 1
        await self.go_on.wait()
        self.ended += 1
        return web.Response(text="ok")


class Parts:
    """What runs around the gateway."""

    def __init__(self, gateway: GatewayProcess, mail: SlowMail, slow: Slow) -> None:
        self.gateway, self.mail, self.slow = gateway, mail, slow


@pytest.fixture
async def parts(tmp_path: Path, serve: Serve) -> AsyncIterator[Parts]:
    mail, slow = SlowMail(), Slow()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(mail, loop=loop), "127.0.0.1", 0)

    port = free_port()
    mail_port = server.sockets[0].getsockname()[1]
    text = gateway_yaml(
        port=port,
        log="level: error",
        connections={
            "mail": f"type: smtp, host: 127.0.0.1, port: {mail_port}, tls: none, from: a@acme.example, concurrency: 4",
            "dead": http(f"http://127.0.0.1:{free_port()}/"),
            "slow": http(await serve(slow.take)),
        },
        routes=ROUTES,
    )
    gateway = GatewayProcess(tmp_path, text, port)
    await gateway.start()
    yield Parts(gateway, mail, slow)
    gateway.terminate()
    server.close()


async def test_a_dead_destination_leaves_the_mails_throughput_and_latency_as_they_are(parts: Parts) -> None:
    """What makes both: the mails use all of their connection's places, and none waits for what is to go elsewhere."""

    async def mails(kind: str, count: int) -> float:
        """Seconds until that many events, posted in a row, are all mailed, no mail before four are sent at once."""
        parts.mail.times.clear()
        parts.mail.wanted_at_once = min(count, 4)
        start = time.monotonic()
        async with aiohttp.ClientSession() as session:
            for _ in range(count):
                await post(session, f"{parts.gateway.url}/webhooks/acme", make_event(kind))
        await until(lambda: len(parts.mail.times) >= count)
        return max(parts.mail.times) - start

    await mails("invoice.paid", 60)
    throughputs, latencies = [], []
    for _ in range(3):
        alone = await mails("invoice.paid", 60)
        beside = await mails("invoice.voided", 60)
        throughputs.append(alone / beside)
        single_alone = statistics.median([await mails("invoice.paid", 1) for _ in range(8)])
        single_beside = statistics.median([await mails("invoice.voided", 1) for _ in range(8)])
        latencies.append(single_beside / single_alone)
    print("with a dead sink beside, relative to without:")
    print(f"throughput {[round(r, 2) for r in throughputs]}, latency {[round(r, 2) for r in latencies]}")
    states = {state for (state,) in parts.gateway.rows("SELECT state FROM deliveries WHERE route = 'dead'")}
    assert states <= {"pending", "running"}  # waiting for their next attempt, or at it


async def test_sigterm_lets_what_runs_finish_and_keeps_the_rest(parts: Parts) -> None:
    async with aiohttp.ClientSession() as session:
        for _ in range(20):
            await post(session, f"{parts.gateway.url}/webhooks/acme", make_event("product.created"))
        await until(lambda: parts.slow.begun)
        ending = asyncio.create_task(asyncio.to_thread(parts.gateway.terminate))

        async def is_stopping() -> bool:
            return not await answers(session, f"{parts.gateway.url}/readyz")

        await until(is_stopping)
        parts.slow.go_on.set()
        assert await ending == 0
    ended = dict(parts.gateway.rows("SELECT state, count(*) FROM deliveries GROUP BY 1"))
    assert set(ended) == {"succeeded", "pending"}
    assert ended["succeeded"] == parts.slow.ended > 0
    assert parts.gateway.rows("SELECT DISTINCT outcome FROM attempts") == [("succeeded",)]
    await parts.gateway.start()
    await parts.gateway.until_finished()
    assert parts.slow.ended == 20


async def test_a_second_gateway_on_the_same_inbox_is_refused_with_a_clear_message(parts: Parts) -> None:
    done = parts.gateway.run("serve")
    assert done.returncode == 1
    assert "one SQLite file serves one gateway" in done.stderr
    assert "Traceback" not in done.stderr
