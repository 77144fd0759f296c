"""PostgreSQL that is gone, silent, slow, full, or demoted: 503 in time, and all is delivered afterwards."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import asyncpg
import pytest

from tests.acceptance.harness import GatewayProcess, free_port
from tests.acceptance.ledger import TORTURE, Ledger
from tests.acceptance.proxy import Proxy
from tests.postgres_server import OwnServer
from tests.waiting import until

pytestmark = pytest.mark.slow

EVENTS = 150 * TORTURE


@pytest.fixture
async def proxy(inbox_url: str) -> AsyncIterator[Proxy]:
    async with Proxy(inbox_url).open() as made:
        yield made


@contextlib.asynccontextmanager
async def gateway_on(folder: Path, ledger: Ledger, url: str) -> AsyncIterator[GatewayProcess]:
    """A gateway that works on that store."""
    port = free_port()
    made = GatewayProcess(folder, ledger.config(port, url), port)
    made.environ["GATEWAY_INTERNAL_LEASE_SECONDS"] = "6"
    await made.start()
    try:
        yield made
        log = made.log.read_text()
        assert "Traceback" not in log
        assert not made.has_ended
        assert await asyncio.to_thread(made.terminate) == 0
    finally:
        made.stop()


@contextlib.asynccontextmanager
async def under_load(gateway: GatewayProcess, ledger: Ledger) -> AsyncIterator[None]:
    """Half of the events before the fault and during it, half after; then the books are compared."""
    await ledger.send(gateway, EVENTS // 2)
    sending = asyncio.create_task(ledger.send(gateway, EVENTS // 2))
    try:
        yield
        await sending
        await ledger.send(gateway, EVENTS // 2)
        await ledger.settle(120 * TORTURE)
    finally:
        sending.cancel()


async def until_refused(ledger: Ledger, times: int = 10) -> None:
    """Until so many more were answered 503."""
    before = ledger.answers[503]
    await until(lambda: ledger.answers[503] >= before + times)


async def test_while_it_is_gone_events_are_answered_503(tmp_path: Path, ledger: Ledger, proxy: Proxy) -> None:
    async with gateway_on(tmp_path, ledger, proxy.url) as gateway, under_load(gateway, ledger):
        for _ in range(TORTURE):
            proxy.is_gone = True
            proxy.cut()
            await until_refused(ledger)
            proxy.is_gone = False


async def test_while_it_says_nothing_events_are_answered_503_in_time(
    tmp_path: Path, ledger: Ledger, proxy: Proxy
) -> None:
    async with gateway_on(tmp_path, ledger, proxy.url) as gateway, under_load(gateway, ledger):
        proxy.hold(True)
        await until_refused(ledger, 2)
        assert ledger.answers[0] == 0  # each was answered before the sender gave up
        proxy.hold(False)
        proxy.cut()


async def test_while_it_is_slow_all_is_taken_and_delivered(tmp_path: Path, ledger: Ledger, proxy: Proxy) -> None:
    async with gateway_on(tmp_path, ledger, proxy.url) as gateway, under_load(gateway, ledger):
        proxy.delay_seconds = 0.15
        before = len(ledger.accepted)
        await until(lambda: len(ledger.accepted) >= before + 30)
        proxy.delay_seconds = 0.0
    assert ledger.answers[503] == 0


async def take_all(server: OwnServer, held: list[asyncpg.Connection[asyncpg.Record]]) -> None:
    """Takes every connection that the server has left."""
    for _ in range(5):  # it may not yet have seen that somebody has left
        with contextlib.suppress(asyncpg.TooManyConnectionsError):
            while True:
                held.append(await asyncpg.connect(server.url))
        await asyncio.sleep(0.1)


async def test_without_a_connection_left_events_are_answered_503_with_the_reason(
    tmp_path: Path, ledger: Ledger
) -> None:
    with OwnServer() as server:
        admin = await asyncpg.connect(server.url)
        await admin.execute("ALTER SYSTEM SET max_connections = 30")
        await admin.close()
        await asyncio.to_thread(server.restart)
        held: list[asyncpg.Connection[asyncpg.Record]] = []
        async with (
            Proxy(server.url).open() as proxy,
            gateway_on(tmp_path, ledger, proxy.url) as gateway,
            under_load(gateway, ledger),
        ):
            proxy.is_gone = True
            proxy.cut()
            await take_all(server, held)
            proxy.is_gone = False
            await until_refused(ledger)
            await until(lambda: "too many clients already" in gateway.log.read_text())
            await asyncio.gather(*(one.close() for one in held))


async def test_after_a_failover_the_new_primary_is_found(
    tmp_path: Path, ledger: Ledger, proxy: Proxy, inbox_url: str
) -> None:
    """The old primary is demoted (it only reads), then goes; the address leads to the new one."""
    admin = await asyncpg.connect(inbox_url)
    name = await admin.fetchval("SELECT current_database()")
    async with gateway_on(tmp_path, ledger, proxy.url) as gateway, under_load(gateway, ledger):
        await admin.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        proxy.cut()
        await until_refused(ledger)
        async with aiohttp.ClientSession() as session, session.get(f"{gateway.url}/readyz") as response:
            assert response.status == 503
        await admin.execute("SET default_transaction_read_only = off")
        await admin.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = off")
        proxy.cut()
    await admin.close()
