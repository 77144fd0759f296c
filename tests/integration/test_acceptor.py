"""How new connections are taken: many in a turn of the loop, and again after there were no file descriptors left."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from pathlib import Path

import pytest
import structlog
import uvloop
from structlog.testing import capture_logs

from gateway.intake import acceptor as module
from gateway.intake.acceptor import Acceptor
from tests.certificates import self_signed


class Counted(asyncio.Protocol):
    """Counts the connections that were made."""

    made = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        Counted.made += 1
        transport.close()


@pytest.fixture(autouse=True)
def none_made() -> None:
    Counted.made = 0


async def turns_until_all_are_taken(count: int) -> int:
    """Opens connections at once; how many turns of the loop it takes until all are made."""
    acceptor = Acceptor(Counted, structlog.get_logger())
    await acceptor.start(("127.0.0.1", 0), None, 10)
    clients = [socket.socket() for _ in range(count)]
    for client in clients:
        client.connect(acceptor.address)
    turns = 0
    while Counted.made < count and turns < 100 * count:
        turns += 1
        await asyncio.sleep(0)
    acceptor.stop()
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
    accepted: asyncio.Future[socket.socket] = asyncio.get_running_loop().create_future()

    class Shown(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            accepted.set_result(transport.get_extra_info("socket"))

    acceptor = Acceptor(Shown, structlog.get_logger())
    await acceptor.start(("127.0.0.1", 0), None, 10)
    _, writer = await asyncio.open_connection(*acceptor.address)
    is_set = (await accepted).getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
    writer.close()
    acceptor.stop()
    return is_set


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

    acceptor = Acceptor(Counted, structlog.get_logger())
    await acceptor.start(("127.0.0.1", 0), None, 10)
    monkeypatch.setattr(socket.socket, "accept", refuse_once)
    with capture_logs() as logs:
        _, writer = await asyncio.open_connection(*acceptor.address)
        async with asyncio.timeout(20):
            while not Counted.made:
                await asyncio.sleep(0)
    writer.close()
    acceptor.stop()
    assert logs == [{"event": "listener.accept_failed", "error": "Too many open files", "log_level": "error"}]


async def test_an_address_in_use_is_an_error_and_leaves_nothing_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        acceptor = Acceptor(Counted, structlog.get_logger())
        with pytest.raises(OSError, match="Address already in use"):
            await acceptor.start(("127.0.0.1", taken.getsockname()[1]), None, 10)
        acceptor.stop()


async def test_what_waits_is_taken_before_the_socket_closes_and_left_to_the_next_on_one_that_was_given() -> None:
    acceptor = Acceptor(Counted, structlog.get_logger())
    await acceptor.start(("127.0.0.1", 0), None, 10)
    with socket.create_connection(acceptor.address):
        acceptor.stop()  # in the same turn: the loop has not seen it
        await acceptor.settle(10)
    assert Counted.made == 1
    with socket.create_server(("127.0.0.1", 0)) as kept:
        given = Acceptor(Counted, structlog.get_logger())
        await given.start(kept.dup(), None, 10)
        with socket.create_connection(given.address) as client:
            given.stop()
            await given.settle(10)
            assert Counted.made == 1
            taken, address = kept.accept()
            assert address == client.getsockname()
            taken.close()


async def silent_handshakes(tmp_path: Path) -> None:
    """Ten connections that never shake hands, where three may."""
    given = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    given.load_cert_chain(*self_signed(tmp_path))
    trusted = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
    acceptor = Acceptor(Counted, structlog.get_logger())
    acceptor._most_beginning = 3
    await acceptor.start(("127.0.0.1", 0), given, 30)
    silent = []
    for _ in range(10):
        silent.append(await asyncio.open_connection(*acceptor.address))
        await asyncio.sleep(0.01)
    for reader, _ in silent[:7]:
        async with asyncio.timeout(5):
            assert await reader.read() == b""
    _, writer = await asyncio.open_connection(*acceptor.address, ssl=trusted, server_hostname="localhost")
    while not Counted.made:
        await asyncio.sleep(0.01)
    acceptor.stop()
    await acceptor.settle(0.1)
    for _, one in [*silent, (None, writer)]:
        one.close()


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_who_opens_connections_and_shakes_no_hands_keeps_nobody_out(run: object, tmp_path: Path) -> None:
    run(silent_handshakes(tmp_path))  # type: ignore[operator]
    assert Counted.made == 1
