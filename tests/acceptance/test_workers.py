"""`gateway serve --workers 2` on PostgreSQL: one gateway to whoever posts, scrapes, reloads, kills or stops it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.testing import make_event
from tests.acceptance.harness import GatewayProcess, Sink, distinct_events, free_port, post
from tests.configs import SHIP, gateway_yaml, http
from tests.waiting import until

pytestmark = pytest.mark.slow

EVENTS = 300
SENDERS = 8
TOKEN = "operators-token"


class Workers(GatewayProcess):
    """Two of them, and what they say."""

    def __init__(self, folder: Path, sink: Sink, store: str) -> None:
        port, admin = free_port(), free_port()
        super().__init__(folder, self.yaml(sink, port, admin, store), port, admin)
        self.environ["GATEWAY_INTERNAL_LEASE_SECONDS"] = "2"

    @staticmethod
    def yaml(sink: Sink, port: int, admin: int, store: str) -> str:
        return gateway_yaml(
            port=port,
            admin=admin,
            server="workers: 2",
            console=f"token: {TOKEN}",
            log="level: info, format: json",
            store=f'url: "{store}"',
            connections={"warehouse": http(sink.url)},
            routes=SHIP,
        )

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Of the log. All are whole: it is JSON."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [line for line in lines if line["event"] == event]

    async def until_logged(self, event: str, count: int = 1) -> None:
        """So often."""
        await until(lambda: len(self.lines(event)) >= count, every=0.05, seen=self.log.read_text)

    def pids(self) -> dict[int, int]:
        """The newest of each worker."""
        return {line["worker"]: line["pid"] for line in self.lines("worker.ready")}

    async def get(self, session: aiohttp.ClientSession, path: str) -> str:
        """From the admin listener."""
        async with session.get(self.admin_url + path, headers={"Authorization": f"Bearer {TOKEN}"}) as response:
            assert response.status == 200
            return await response.text()

    async def total(self, session: aiohttp.ClientSession, name: str) -> float:
        """Of a counter, over its labels."""
        lines = (await self.get(session, "/metrics")).splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name + "{"))


@pytest.fixture
async def workers(tmp_path: Path, sink: Sink, inbox_url: str) -> AsyncIterator[Workers]:
    gateway = Workers(tmp_path, sink, inbox_url)
    yield gateway
    gateway.stop()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """Each request on a connection of its own, so that any worker may get it."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        yield session


async def test_two_workers_are_one_gateway(
    workers: Workers, sink: Sink, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        workers.environ["NOTIFY_SOCKET"] = str(tmp_path / "notify")
        workers.launch()
        await workers.until_logged("gateway.ready")
        sent = 0

        async def both_have_taken_some() -> bool:
            nonlocal sent
            for _ in range(SENDERS):
                assert (await post(session, f"{workers.url}/webhooks/acme", make_event("checkout.session.completed")))[
                    0
                ] == 200
                sent += 1
            return {line["worker"] for line in workers.lines("event.routed")} == {1, 2}

        await until(both_have_taken_some, seen=workers.log.read_text)
        await until(lambda: len(sink.ids) == sent, seen=lambda: len(sink.ids))
        await _until_total(workers, session, "gateway_events_total", sent)
        await _until_total(workers, session, "gateway_attempts_total", sent)
        # What does not load changes nothing in either; what does is taken by both.
        good = workers.config.read_text()
        before = workers.lines("gateway.ready")[0]["config"]
        workers.config.write_text(good.replace("uses: http_forward", "uses: nothing_of_ours"))
        await workers.until_logged("config.refused")
        refused = await asyncio.to_thread(workers.run, "reload")
        assert refused.returncode == 1
        assert f"The gateway runs on with what it has ({before})." in refused.stderr + refused.stdout
        workers.config.write_text(good.replace("ship:", "send:"))
        await workers.until_logged("config.loaded")
        words = ("config.loaded", "config.refused", "config.unchanged")
        await until(partial(_is_counted_once, workers, session, words))
        assert workers.lines("config.loaded")[0]["changes"] == [
            "action fulfil.send added",
            "action fulfil.ship removed",
        ]
        assert workers.terminate() == 0
        told = [_received(manager) for _ in range(2)]
    assert told[0].startswith(f"READY=1\nSTATUS={workers.url}, 2 workers, configuration ")
    assert told[1].startswith("STOPPING=1")
    assert [line["worker"] for line in workers.lines("worker.stopped")] in ([1, 2], [2, 1])
    assert len(workers.lines("gateway.stopped")) == 1


def _has_grown(accepted: set[str], count: float) -> bool:
    return len(accepted) >= count


def _received(manager: socket.socket) -> str:
    manager.setblocking(False)
    return manager.recv(4096).decode()


async def _is_counted_once(workers: Workers, session: aiohttp.ClientSession, events: Sequence[str]) -> bool:
    logged = sum(len(workers.lines(event)) for event in events)
    return await workers.total(session, "gateway_config_reloads_total") == logged


async def _until_total(workers: Workers, session: aiohttp.ClientSession, name: str, count: int) -> None:
    async def is_so() -> bool:
        return await workers.total(session, name) == count

    await until(is_so, every=0.1)


async def test_workers_killed_under_load_lose_nothing_and_are_started_again(
    workers: Workers, sink: Sink, session: aiohttp.ClientSession
) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listening:  # as the socket unit does
        workers.given = listening
        workers.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        workers.launch()
        await workers.until_logged("gateway.ready")
        waiting, accepted = distinct_events(EVENTS), set[str]()
        expected = {event["id"] for event in waiting}

        async def sender() -> None:
            while waiting:
                event = waiting.pop()
                while event["id"] not in accepted:
                    try:
                        status, _ = await post(session, f"{workers.url}/webhooks/acme", event)
                    except aiohttp.ClientError:  # its worker was killed before it answered: Stripe sends it again
                        continue
                    assert status == 200
                    accepted.add(event["id"])

        async def killer() -> None:
            for worker, accepted_before in ((1, EVENTS / 4), (2, EVENTS / 2)):  # 1 answers for the console until then
                await until(partial(_has_grown, accepted, accepted_before))
                os.kill(workers.pids()[worker], signal.SIGKILL)
                await workers.until_logged("worker.ready", 2 + worker)

        await asyncio.gather(killer(), *(sender() for _ in range(SENDERS)))
        assert accepted == expected
        await until(
            lambda: set(sink.events.values()) == expected, seen=lambda: len(expected - set(sink.events.values()))
        )
        assert await workers.total(session, "gateway_worker_restarts_total") == 2
        assert [(line["worker"], line["how"]) for line in workers.lines("worker.ended")] == [
            (1, "signal 9 (SIGKILL)"),
            (2, "signal 9 (SIGKILL)"),
        ]
        # Without the process that started them they end by themselves.
        workers.kill()
        await workers.until_logged("worker.stopped", 2)
    assert len(workers.lines("worker.alone")) == 2
