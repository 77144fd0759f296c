"""How new connections are taken: many in a turn of the loop, and again after there were no file descriptors left."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
import structlog
import uvloop
from structlog.testing import capture_logs

from gateway.intake import server as module
from gateway.intake.server import PublicServer
from tests.certificates import self_signed
from tests.integration.test_listener import Echo
from tests.waiting import HANG_SECONDS


class Counted(asyncio.Protocol):
    """Counts the connections that were made."""

    made = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        Counted.made += 1
        transport.close()


class Counting(PublicServer):
    """Has connections of that kind."""

    def __init__(self) -> None:
        super().__init__(Echo(), structlog.get_logger())

    def __call__(self) -> Any:
        return Counted()


@pytest.fixture(autouse=True)
def none_made() -> None:
    Counted.made = 0


async def turns_until_all_are_taken(count: int) -> int:
    """Opens connections at once; how many turns of the loop it takes until all are made."""
    server = Counting()
    await server.start(("127.0.0.1", 0))
    clients = [socket.socket() for _ in range(count)]
    for client in clients:
        client.connect(server.address)
    turns = 0
    while Counted.made < count and turns < 100 * count:
        turns += 1
        await asyncio.sleep(0)
    await server.close(1)
    for client in clients:
        client.close()
    assert Counted.made == count
    return turns


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_many_connections_are_taken_in_few_turns_of_the_loop(run: object) -> None:
    turns: int = run(turns_until_all_are_taken(200))  # type: ignore[operator]
    assert turns < 20


async def is_sent_at_once() -> bool:
    """Whether what is written to an accepted connection waits for no acknowledgement of what was written before."""
    server = PublicServer(Echo(), structlog.get_logger())
    await server.start(("127.0.0.1", 0))
    _, writer = await asyncio.open_connection(*server.address)
    while not server.open:
        await asyncio.sleep(0.01)
    (transport,) = server.open.values()
    is_set: int = transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    writer.close()
    await server.close(1)
    return is_set != 0


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_answers_wait_for_no_acknowledgement(run: object) -> None:
    assert run(is_sent_at_once())  # type: ignore[operator]


async def test_without_file_descriptors_it_says_so_once_and_takes_connections_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.01)
    accept, refusals = socket.socket.accept, [OSError(errno.EMFILE, "Too many open files")]

    def refuse_once(self: socket.socket) -> object:
        if refusals:
            raise refusals.pop()
        return accept(self)

    server = Counting()
    await server.start(("127.0.0.1", 0))
    monkeypatch.setattr(socket.socket, "accept", refuse_once)
    with capture_logs() as logs:
        _, writer = await asyncio.open_connection(*server.address)
        async with asyncio.timeout(HANG_SECONDS):
            while not Counted.made:
                await asyncio.sleep(0)
    writer.close()
    await server.close(1)
    assert logs == [{"event": "listener.accept_failed", "error": "Too many open files", "log_level": "error"}]


async def test_an_address_in_use_is_an_error_and_leaves_nothing_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = Counting()
        with pytest.raises(OSError, match="Address already in use"):
            await server.start(("127.0.0.1", taken.getsockname()[1]))
        await server.close(1)


async def test_what_waits_is_taken_before_the_socket_closes_and_left_to_the_next_on_one_that_was_given() -> None:
    server = Counting()
    await server.start(("127.0.0.1", 0))
    with socket.create_connection(server.address):
        await server.close(1)  # in the same turn: the loop has not seen it
    assert Counted.made == 1
    with socket.create_server(("127.0.0.1", 0)) as kept:
        other = Counting()
        await other.start(kept.dup())
        with socket.create_connection(other.address) as client:
            await other.close(1)
            assert Counted.made == 1
            taken, address = kept.accept()
            assert address == client.getsockname()
            taken.close()


async def silent_handshakes(tmp_path: Path) -> None:
    """Ten connections that never shake hands, where three may."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*self_signed(tmp_path))
    trusted = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
    server = Counting()
    server._most_beginning = 3
    await server.start(("127.0.0.1", 0), context)
    silent = []
    for _ in range(10):
        silent.append(await asyncio.open_connection(*server.address))
        await asyncio.sleep(0.01)
    for reader, _ in silent[:7]:
        async with asyncio.timeout(HANG_SECONDS):
            assert await reader.read() == b""
    _, writer = await asyncio.open_connection(*server.address, ssl=trusted, server_hostname="localhost")
    while not Counted.made:
        await asyncio.sleep(0.01)
    await server.close(1)
    for _, opened in [*silent, (None, writer)]:
        opened.close()


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_who_opens_connections_and_shakes_no_hands_keeps_nobody_out(run: object, tmp_path: Path) -> None:
    run(silent_handshakes(tmp_path))  # type: ignore[operator]
    assert Counted.made == 1
