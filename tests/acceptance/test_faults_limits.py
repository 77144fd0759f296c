"""Too few file descriptors, and a flood of large bodies: bounded, told, and over when the cause is over."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import resource
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from gateway.testing import signed_request
from tests.acceptance.harness import GatewayProcess, free_port
from tests.acceptance.ledger import TORTURE, Ledger
from tests.waiting import until

EVENTS = 100 * TORTURE
SPARE = 30  # file descriptors beyond those that a gateway has at rest
CONNECTIONS = 300 if TORTURE == 1 else 10_000
MIB = 1024 * 1024
MOST_MEMORY = 400 * MIB


@pytest.fixture
async def gateway(tmp_path: Path, ledger: Ledger) -> AsyncIterator[GatewayProcess]:
    port = free_port()
    made = GatewayProcess(tmp_path, ledger.config(port), port)
    await made.start()
    yield made
    assert not made.has_ended
    assert "Traceback" not in made.log.read_text()
    made.stop()


def descriptors(gateway: GatewayProcess) -> int:
    """How many files a process has open."""
    return len(list(Path(f"/proc/{gateway.pid}/fd").iterdir()))


def most_memory(gateway: GatewayProcess) -> int:
    """The most memory that a process ever had, in bytes."""
    status = Path(f"/proc/{gateway.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


async def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path, ledger: Ledger) -> None:
    port = free_port()
    made = GatewayProcess(tmp_path, ledger.config(port).replace("level: warning", "level: info"), port)
    kept, made.log = made.log, Path("/dev/full")
    try:
        made.launch()
        made.log = kept  # nobody reads the other to its end
        kept.touch()
        await made.until_ready()
        await ledger.send(made, EVENTS)
        await ledger.settle(120 * TORTURE)
        assert not made.has_ended
    finally:
        made.stop()


async def test_a_log_that_nobody_reads_holds_nothing_up_and_its_lines_are_counted(
    tmp_path: Path, ledger: Ledger
) -> None:
    port = free_port()
    gateway = GatewayProcess(tmp_path, ledger.config(port).replace("level: warning", "level: info"), port)
    kept, gateway.log = gateway.log, tmp_path / "log.pipe"
    os.mkfifo(gateway.log)
    reader = os.open(gateway.log, os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
    try:
        gateway.launch()
        gateway.log = kept
        kept.touch()
        await gateway.until_ready()
        await ledger.send(gateway, EVENTS)
        await ledger.settle(120 * TORTURE)
        assert not gateway.has_ended
        async with aiohttp.ClientSession() as session, session.get(f"{gateway.url}/healthz") as answer:
            assert answer.status == 200
    finally:
        gateway.stop()
        os.close(reader)


async def test_with_more_connections_than_file_descriptors_it_says_so_and_recovers(
    gateway: GatewayProcess, ledger: Ledger
) -> None:
    await ledger.send(gateway, EVENTS)
    limit = descriptors(gateway) + SPARE
    _, hard = resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE, (limit, hard))
    port = int(gateway.url.rpartition(":")[2])
    opened: list[asyncio.StreamWriter] = []
    sending = asyncio.create_task(ledger.send(gateway, EVENTS))
    try:
        with contextlib.suppress(OSError, TimeoutError):  # the kernel keeps no more ready
            for _ in range(CONNECTIONS):
                async with asyncio.timeout(5):
                    opened.append((await asyncio.open_connection("127.0.0.1", port))[1])
        assert len(opened) > 2 * SPARE
        await until(lambda: "Too many open files" in gateway.log.read_text())
        assert descriptors(gateway) <= limit
        for writer in opened:
            writer.transport.abort()
        await sending
        await ledger.settle(120 * TORTURE)
    finally:
        sending.cancel()
    assert len(gateway.log.read_text().splitlines()) < 600 * TORTURE


@pytest.mark.timeout(600 * TORTURE)
async def test_a_flood_of_large_bodies_takes_a_bounded_memory(gateway: GatewayProcess, ledger: Ledger) -> None:
    large = b'{"id": "evt_1", "x": "' + b"x" * (MIB - 100) + b'"}'
    headers = signed_request(large, "whsec_of_somebody_else")
    statuses = set()

    async def flood(session: aiohttp.ClientSession) -> None:
        for _ in range(5 * TORTURE):
            with contextlib.suppress(aiohttp.ClientError):
                async with session.post(f"{gateway.url}/webhooks/acme", data=large, headers=headers) as response:
                    statuses.add(response.status)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(flood(session) for _ in range(64)), ledger.send(gateway, EVENTS, padding=200_000))
    await ledger.settle(120 * TORTURE)
    print(f"most memory: {most_memory(gateway) / MIB:.0f} MiB")
    assert statuses <= {401, 503}
    assert most_memory(gateway) < MOST_MEMORY
