"""Attacks on a running gateway by number and by slowness. The idle connections at full size: `make attack-idle`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path

import psutil
import pytest
import structlog
from aiohttp.test_utils import make_mocked_request

from gateway.core.client_address import Sources
from gateway.core.model import Account
from gateway.core.routing import RouteTable
from gateway.intake import server as module
from gateway.intake.server import PublicServer
from gateway.intake.webhook import Handler, Intake
from gateway.store.sqlite.store import SqliteStore
from gateway.telemetry.metrics import Metrics
from gateway.testing import signed_request
from tests.acceptance.harness import ROOT, SECRET, GatewayProcess, free_port
from tests.attacks.conftest import Target, request, statuses
from tests.configs import gateway_yaml
from tests.integration.test_listener import POST, Echo, echo, listener
from tests.waiting import HANG_SECONDS

__all__ = ["echo", "listener"]  # fixtures
IDLE = int(os.environ.get("ATTACK_IDLE", "300"))
GOOD_EACH = 100  # idle ones
FEW = 400
MIB, BAD_LARGE = 1024 * 1024, 40
BAD = int(os.environ.get("ATTACK_BAD", "1500"))


def test_slow_requests_are_given_up_while_good_ones_are_answered(target: Target) -> None:
    """A byte now and then does not move the end: headers have 10 s in all, however they drip."""
    slow = [socket.create_connection(("127.0.0.1", target.port), timeout=HANG_SECONDS) for _ in range(20)]
    began = time.monotonic()
    for one in slow:
        one.sendall(b"POST /webhooks/acme HTTP/1.1\r\nHost: x\r\nX: ")
    left = list(slow)
    while left and time.monotonic() - began < HANG_SECONDS:
        assert statuses(target.talk(request())) == [200]
        for one in list(left):
            try:
                one.sendall(b"a")
                one.settimeout(0.01)
                answer = one.recv(4096)
            except TimeoutError:
                continue
            except OSError:
                answer = b""
            assert statuses(answer) in ([408], [])
            left.remove(one)
    for one in slow:
        one.close()
    assert not left


def test_idle_connections_keep_nobody_out(target: Target) -> None:
    """Past the gateway's most connections those that say nothing give way. As many are held open as the limit of file
    descriptors lets; then the oldest is closed for each new one.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = min(hard, max(soft, IDLE + 200))
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    idle: deque[socket.socket] = deque()
    try:
        for number in range(IDLE):
            if len(idle) >= limit - 200:
                idle.popleft().close()
            idle.append(socket.create_connection(("127.0.0.1", target.port), timeout=HANG_SECONDS))
            if number % GOOD_EACH == 0:
                assert statuses(target.talk(request())) == [200]
        assert statuses(target.talk(request())) == [200]
    finally:
        for one in idle:
            one.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert statuses(target.talk(request())) == [200]


class FewDescriptors(GatewayProcess):
    """A gateway that may open so few files that idle connections could take them all."""

    def _command(self, *words: str) -> list[str]:
        return ["prlimit", f"--nofile={FEW}:{FEW}", *super()._command(*words)]


def test_idle_connections_take_no_file_descriptor_that_the_gateway_needs(tmp_path: Path) -> None:
    port = free_port()
    gateway = FewDescriptors(tmp_path, gateway_yaml(port=port), port)
    asyncio.run(gateway.start())
    target, idle = Target(gateway, port), []
    try:
        for number in range(FEW + 100):
            idle.append(socket.create_connection(("127.0.0.1", port), timeout=HANG_SECONDS))
            if number % 50 == 0:
                assert statuses(target.talk(request())) == [200]
        assert statuses(target.talk(request())) == [200]
        log = gateway.log.read_text()
        assert '"listener.few_descriptors"' in log
        assert "accept_failed" not in log
    finally:
        for one in idle:
            one.close()
        assert gateway.terminate() == 0


def test_the_limit_of_file_descriptors_is_raised_as_far_as_it_goes() -> None:
    raised = """
import asyncio, resource as r
from gateway.cli.event_loop import raise_descriptor_limit
from gateway.intake.server import PublicServer
async def room(): return PublicServer(None, None)._room
raise_descriptor_limit()
print(*r.getrlimit(r.RLIMIT_NOFILE), asyncio.run(room()))
"""
    for hard, told in ((512, "512 512 256"), (100, "100 100 64")):
        command = ["prlimit", f"--nofile=90:{hard}", sys.executable, "-c", raised]
        assert subprocess.run(command, capture_output=True, text=True, cwd=ROOT).stdout.strip() == told


def test_bodies_in_chunks_of_two_bytes_take_little_memory_and_keep_nobody_waiting(target: Target) -> None:
    """64 at once, of the most that a body may have: what is kept is bytes, not chunks."""
    gateway = psutil.Process(target.process.pid)
    head = b"POST /webhooks/acme HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    chunks, answers = b"2\r\nab\r\n" * (1024 * 1024 // 2) + b"0\r\n\r\n", []

    def send() -> None:
        with socket.create_connection(("127.0.0.1", target.port), timeout=3 * HANG_SECONDS) as connection:
            with contextlib.suppress(ConnectionError):
                connection.sendall(head + chunks)
            answers.extend(statuses(connection.recv(65536)))

    before, most, longest = gateway.memory_info().rss, 0, 0.0
    senders = [threading.Thread(target=send) for _ in range(64)]
    for sender in senders:
        sender.start()
    while any(sender.is_alive() for sender in senders):
        began = loop_seconds(gateway.pid)
        assert statuses(target.talk(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")) == [200]
        longest = max(longest, loop_seconds(gateway.pid) - began)  # of the work that was done before it
        most = max(most, gateway.memory_info().rss - before)
        time.sleep(0.02)
    assert set(answers) <= {401, 408}
    assert len(answers) == 64
    assert most <= 150 * 1024 * 1024
    assert longest < 1.0


def loop_seconds(pid: int) -> float:
    """Processor time of a process's first thread, which runs the loop."""
    (first,) = [thread for thread in psutil.Process(pid).threads() if thread.id == pid]
    return float(first.user_time + first.system_time)


async def test_the_handler_of_a_large_bad_request_leaves_the_loop_to_others(tmp_path: Path) -> None:
    """A body of 1 MiB is hashed by a thread."""
    accounts = {"acme": Account("acme", (SECRET,), None, 300.0)}
    intake = Intake(accounts, RouteTable(()), {}, MIB, Sources())
    store, log = SqliteStore(tmp_path / "none.db"), structlog.get_logger()
    handler = Handler(store, lambda: intake, log, Metrics(), lambda request: None)
    body = b"x" * MIB
    asked = make_mocked_request("POST", "/webhooks/acme", signed_request(body, "whsec_wrong"))
    before = time.thread_time()
    for _ in range(BAD_LARGE):
        assert (await handler(asked, body)).status == 401
    assert (time.thread_time() - before) / BAD_LARGE < 0.002


@pytest.mark.parametrize(("path", "status"), [("/webhooks", 404), ("/webhooks/a7", 401)])
def test_a_bad_request_of_the_most_bytes_costs_little_however_many_accounts_there_are(
    tmp_path: Path, path: str, status: int
) -> None:
    """The loop's processor time, with the receiving."""
    port = free_port()
    accounts = "\n".join(f"  a{number}: {{signing_secrets: [whsec_{number}]}}" for number in range(300))
    config = gateway_yaml(port=port, accounts=accounts)
    gateway = GatewayProcess(tmp_path, config, port)
    asyncio.run(gateway.start())
    try:
        target, sent = Target(gateway, port), request(b"x" * MIB, path=path)
        assert statuses(target.talk(sent)) == [status]
        before = loop_seconds(gateway.pid)
        for _ in range(BAD_LARGE):
            assert statuses(target.talk(sent)) == [status]
        assert (loop_seconds(gateway.pid) - before) / BAD_LARGE < 0.02
    finally:
        gateway.terminate()


def test_a_flood_of_bad_signatures_floods_no_log(target: Target) -> None:
    """A line a second for each reason. The rate at which they are refused: bench/rejected.py."""
    before = len(target.process.log.read_text().splitlines())
    began = time.monotonic()
    flood = request(secret="whsec_wrong") * 50
    for _ in range(BAD // 50):
        assert statuses(target.talk(flood)) == [401] * 50
    assert statuses(target.talk(request())) == [200]
    lines = len(target.process.log.read_text().splitlines()) - before
    assert lines <= 10 + 2 * (time.monotonic() - began)


async def test_a_peer_that_reads_nothing_is_let_go(
    listener: PublicServer, echo: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answers can never leave, so that closing alone would wait for ever."""
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.5)
    monkeypatch.setattr(module, "LINGER_SECONDS", 0.5)
    peer = socket.socket()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # so that its kernel does not read for it
    peer.connect(listener.address)
    _, writer = await asyncio.open_connection(sock=peer)
    asked = POST + b"Content-Length: 900\r\n\r\n" + b"x" * 900
    with contextlib.suppress(TimeoutError, ConnectionError):
        while True:
            writer.write(asked * 100)
            async with asyncio.timeout(1):
                await writer.drain()
    async with asyncio.timeout(HANG_SECONDS):
        while listener.open:
            await asyncio.sleep(0.05)
    writer.transport.abort()
