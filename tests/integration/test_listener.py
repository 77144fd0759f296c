"""The public listener byte by byte: what a hostile, odd or slow peer sends, and what it gets."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Callable

import pytest
import structlog
from aiohttp import web
from structlog.testing import capture_logs

from gateway.intake import server as module
from gateway.intake.answers import TOO_LARGE, answer, error
from gateway.intake.server import PublicConnection, PublicServer
from tests.waiting import HANG_SECONDS, until

Talk = Callable[[bytes], asyncio.Future[bytes]]
POST = b"POST /echo HTTP/1.1\r\nHost: x\r\n"


class Echo:
    """Answers with what it was sent; holds back what is posted to /wait until told."""

    max_body = 1000

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.seen: list[web.BaseRequest] = []

    def precheck(self, request: web.BaseRequest) -> web.Response | None:
        """Nothing is at /none."""
        return error(404, "not_found", "There is nothing here.")() if request.path == "/none" else None

    def too_large(self, request: web.BaseRequest) -> web.Response:
        return TOO_LARGE()

    async def __call__(self, request: web.BaseRequest, body: bytes) -> web.Response:
        self.seen.append(request)
        if request.path == "/wait":
            await self.go.wait()
        if request.path == "/raise":
            raise RuntimeError("secret")
        return answer(200, body or b"{}")()


@pytest.fixture
async def echo() -> Echo:
    return Echo()


@pytest.fixture
async def listener(echo: Echo) -> AsyncIterator[PublicServer]:
    server = PublicServer(echo, structlog.get_logger())
    await server.start(("127.0.0.1", 0))
    yield server
    await server.close(1)


@pytest.fixture
async def talk(listener: PublicServer) -> Talk:
    """Sends bytes on a new connection and returns all that comes until the other end closes."""

    async def exchange(sent: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(*listener.address)
        writer.write(sent)
        async with asyncio.timeout(HANG_SECONDS):
            received = await reader.read()
        writer.close()
        return received

    return lambda sent: asyncio.ensure_future(exchange(sent))


def statuses(answer: bytes) -> list[int]:
    return [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]


def bodies(answer: bytes) -> list[bytes]:
    return [part.partition(b"\r\n\r\n")[2] for part in answer.split(b"HTTP/1.1 ")[1:]]


CLOSE = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


async def test_pipelined_requests_are_answered_in_their_order(talk: Talk) -> None:
    sent = b"".join(POST + b"Content-Length: 2\r\n\r\n%02d" % i for i in range(40))
    answer = await talk(sent + CLOSE)
    assert bodies(answer) == [b"%02d" % i for i in range(40)] + [b"{}"]


async def test_a_connection_that_has_ended_is_gone_without_the_garbage_collector(
    listener: PublicServer, echo: Echo
) -> None:
    gc.collect()
    gc.disable()
    try:
        for sent in (b"", POST, POST + b"Content-Length: 2\r\n\r\n00", b"nonsense\r\n\r\n"):
            _, writer = await asyncio.open_connection(*listener.address)
            with contextlib.closing(writer):
                writer.write(sent)
                while not listener.open:
                    await asyncio.sleep(0.01)
            while listener.open:
                await asyncio.sleep(0.01)
        echo.seen.clear()
        await until(lambda: not [alive for alive in gc.get_objects() if isinstance(alive, PublicConnection)])
    finally:
        gc.enable()


async def test_a_request_that_comes_byte_by_byte_is_one_request(listener: PublicServer, echo: Echo) -> None:
    reader, writer = await asyncio.open_connection(*listener.address)
    for byte in POST + b"Content-Length: 3\r\nConnection: close\r\n\r\nabc":
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0)
    assert bodies(await reader.read()) == [b"abc"]
    writer.close()
    assert len(echo.seen) == 1


async def test_a_chunked_body_is_put_together_and_its_trailers_are_ignored(talk: Talk, echo: Echo) -> None:
    chunks = b"3\r\nabc\r\n4\r\ndefg\r\n0\r\nStripe-Signature: forged\r\n\r\n"
    answer = await talk(POST + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n" + chunks)
    assert bodies(answer) == [b"abcdefg"]
    assert "Stripe-Signature" not in echo.seen[0].headers


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"garbage\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),  # a smuggler's two lengths
        (POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
        (POST + b"Content-Length: -1\r\n\r\n", 400),
        (POST + b"Content-Length: 3x\r\n\r\nabc", 400),
        (POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (POST + b"Bad Name: 1\r\n\r\n", 400),
        (POST + b"X: a\nb\r\n\r\n", 400),
        (POST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 400),
        (b"CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (POST + b"X: " + b"a" * 9000 + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
        (POST + b"".join(b"X-%d: 1\r\n" % i for i in range(2000)) + b"\r\n", 431),
        (POST + b"Content-Length: 1001\r\n\r\n", 413),
        (POST + b"Content-Length: 99999999999999999\r\n\r\n", 413),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n7d0\r\n" + b"x" * 2000 + b"\r\n0\r\n\r\n", 413),
        (b"POST /none HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n", 404),  # before the body has come
    ],
)
async def test_what_is_malformed_or_too_large_is_refused_and_the_connection_closed(
    talk: Talk, echo: Echo, sent: bytes, status: int
) -> None:
    answer = await talk(sent)
    assert statuses(answer) == [status]
    assert b"Connection: close" in answer
    assert set(bodies(answer)[0][:10]) == set(b'{"error": ')
    assert echo.seen == []


async def test_a_header_without_end_is_refused(listener: PublicServer) -> None:
    reader, writer = await asyncio.open_connection(*listener.address)
    writer.write(POST + b"X: ")
    with contextlib.suppress(ConnectionError):
        for _ in range(1000):
            writer.write(b"a" * 1000)
            await writer.drain()
            if writer.transport.is_closing() or reader.at_eof():
                break
    assert statuses(await reader.read()) == [431]
    writer.close()


async def test_nothing_after_a_refusal_is_understood(talk: Talk, echo: Echo) -> None:
    smuggled = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1"
    assert statuses(await talk(POST + b"Content-Length: 5000\r\n\r\n" + smuggled)) == [413]
    assert echo.seen == []


async def test_the_refusal_of_a_large_body_arrives_though_the_body_is_still_being_sent(listener: PublicServer) -> None:
    reader, writer = await asyncio.open_connection(*listener.address)
    writer.write(POST + b"Content-Length: 3000000\r\n\r\n")
    with contextlib.suppress(ConnectionError):
        for _ in range(30):
            writer.write(b"x" * 100_000)
            await writer.drain()
    assert statuses(await reader.read()) == [413]
    writer.close()


async def test_a_client_that_asks_first_is_told_to_go_on(listener: PublicServer) -> None:
    reader, writer = await asyncio.open_connection(*listener.address)
    writer.write(POST + b"Expect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\n")
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"ok")
    assert bodies(await reader.read()) == [b"ok"]
    writer.close()


async def test_a_client_that_asks_first_with_too_much_is_not_told_to_go_on(talk: Talk) -> None:
    assert statuses(await talk(POST + b"Expect: 100-continue\r\nContent-Length: 2000\r\n\r\n")) == [413]


async def test_http_1_0_is_answered_and_closed(talk: Talk) -> None:
    answer = await talk(b"POST /echo HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok")
    assert (statuses(answer), bodies(answer)) == ([200], [b"ok"])


async def test_head_gets_the_headers_of_get_and_no_body(talk: Talk) -> None:
    answer = await talk(b"HEAD /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b"Content-Length: 2\r\n" in answer
    assert b"\r\nDate: " in answer
    assert bodies(answer) == [b""]


async def test_the_query_is_no_part_of_the_path_and_nothing_is_decoded(talk: Talk, echo: Echo) -> None:
    await talk(b"GET /a%2Fb?c=/d HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert echo.seen[0].raw_path.partition("?")[0] == "/a%2Fb"


async def test_a_refusal_waits_for_the_answers_before_it(listener: PublicServer, echo: Echo) -> None:
    reader, writer = await asyncio.open_connection(*listener.address)
    writer.write(b"POST /wait HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1")
    while not echo.seen:
        await asyncio.sleep(0.01)
    writer.write(b"garbage\r\n\r\n")
    await asyncio.sleep(0.05)
    echo.go.set()
    assert statuses(await reader.read()) == [200, 400]
    writer.close()


async def test_a_client_that_stops_sending_still_gets_its_answer(listener: PublicServer, echo: Echo) -> None:
    reader, writer = await asyncio.open_connection(*listener.address)
    writer.write(b"POST /wait HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1")
    writer.write_eof()
    while not echo.seen:
        await asyncio.sleep(0.01)
    echo.go.set()
    assert bodies(await reader.read()) == [b"1"]
    writer.close()


async def test_a_client_that_goes_away_in_the_middle_of_its_body_is_no_error(listener: PublicServer) -> None:
    _, writer = await asyncio.open_connection(*listener.address)
    with capture_logs() as logs:
        writer.write(POST + b"Content-Length: 100\r\n\r\nab")
        while not any(connection._current_request for connection in listener.open):
            await asyncio.sleep(0.01)
        writer.transport.abort()
        while listener.open:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0)
    assert logs == []


async def test_many_pipelined_requests_in_one_read_are_no_head_without_end(talk: Talk) -> None:
    """More than aiohttp queues: those behind wait unparsed, also where a body is not whole yet when its turn comes."""
    for size in (2, 900):
        answer = await talk((POST + b"Content-Length: %d\r\n\r\n" % size + b"x" * size) * 1500 + CLOSE)
        assert statuses(answer) == [200] * 1501


async def test_a_slow_request_is_given_up_and_an_idle_connection_closed(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(module, "HEAD_SECONDS", 0.2)
        patched.setattr(module, "BODY_SECONDS", 0.2)
        slow_head, slow_body = await asyncio.gather(talk(POST), talk(POST + b"Content-Length: 5\r\n\r\nab"))
    monkeypatch.setattr(module, "IDLE_SECONDS", 1.0)
    idle, silent = await asyncio.gather(talk(POST + b"Content-Length: 2\r\n\r\nab"), talk(b""))
    assert statuses(slow_head) == [408]
    assert statuses(slow_body) == [408]
    assert statuses(idle) == [200]
    assert silent == b""


async def test_an_application_that_raises_is_a_500_without_a_word_of_why(talk: Talk) -> None:
    answer = await talk(b"POST /raise HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n" + CLOSE)
    assert statuses(answer) == [500, 200]
    assert b"secret" not in answer


async def test_where_all_connections_owe_an_answer_one_too_many_is_told_to_come_later(
    listener: PublicServer, talk: Talk, echo: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_CONNECTIONS", 1)
    reader, writer = await asyncio.open_connection(*listener.address)
    writer.write(b"POST /wait HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1")
    while not echo.seen:
        await asyncio.sleep(0.01)
    answer = await talk(b"")
    assert statuses(answer) == [503]
    assert b"Retry-After: 5\r\n" in answer
    echo.go.set()
    assert bodies(await reader.readuntil(b"\r\n\r\n1")) == [b"1"]
    writer.close()


async def test_a_connection_that_only_waits_gives_way_the_one_that_was_used_longest_ago_first(
    listener: PublicServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_CONNECTIONS", 3)
    used, silent, half = opened = [await asyncio.open_connection(*listener.address) for _ in range(3)]
    half[1].write(POST)  # and no end
    used[1].write(POST + b"Content-Length: 1\r\n\r\n1")
    assert await used[0].readuntil(b"\r\n\r\n1")
    for gone, _ in (silent, half):
        opened.append(await asyncio.open_connection(*listener.address))
        with contextlib.suppress(ConnectionError):
            assert await gone.read() == b""
        used[1].write(POST + b"Content-Length: 1\r\n\r\n2")
        assert await used[0].readuntil(b"\r\n\r\n2")  # it is still there
    assert len(listener.open) == 3
    for _, writer in opened:
        writer.close()


async def test_closing_ends_idle_connections_and_lets_the_others_have_their_answer(
    listener: PublicServer, echo: Echo
) -> None:
    idle_reader, idle_writer = await asyncio.open_connection(*listener.address)
    idle_writer.write(POST + b"Content-Length: 1\r\n\r\n0")
    await idle_reader.readuntil(b"\r\n\r\n0")
    echo.seen.clear()
    reader, writer = await asyncio.open_connection(*listener.address)
    writer.write(b"POST /wait HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1")
    while not echo.seen:
        await asyncio.sleep(0.01)
    closing = asyncio.ensure_future(listener.close(10))
    assert await idle_reader.read() == b""
    assert not closing.done()
    echo.go.set()
    answer = await reader.read()
    assert bodies(answer) == [b"1"]
    assert b"Connection: close" in answer
    writer.close()
    idle_writer.close()
    await closing
    assert not listener.open


async def test_closing_waits_for_the_first_request_of_who_has_just_connected_not_of_who_is_silent(
    listener: PublicServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LAST_CALL_SECONDS", 0.01)
    monkeypatch.setattr(module, "HEAD_SECONDS", 2 * HANG_SECONDS)
    monkeypatch.setattr(module, "FIRST_CALL_SECONDS", HANG_SECONDS)
    (silent, silent_writer), (reader, writer) = [await asyncio.open_connection(*listener.address) for _ in range(2)]
    await until(lambda: len(listener.open) == 2)
    peer = silent_writer.get_extra_info("sockname")
    for connection, transport in listener.open.items():
        if transport.get_extra_info("peername") == peer:
            connection.deadline -= HANG_SECONDS  # as if it had been made long ago
    closing = asyncio.ensure_future(listener.close(HANG_SECONDS))
    assert await silent.read() == b""
    writer.write(POST + b"Content-Length: 2\r\n\r\nab")
    answer = await reader.read()
    assert bodies(answer) == [b"ab"]
    assert b"Connection: close" in answer
    await closing
    for opened in (silent_writer, writer):
        opened.close()


async def test_a_peer_that_never_reads_fills_no_memory(listener: PublicServer) -> None:
    """Answers wait while the peer's buffers are full; requests then wait unread in the kernel."""
    _, writer = await asyncio.open_connection(*listener.address)
    request = POST + b"Content-Length: 900\r\n\r\n" + b"x" * 900
    sent = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(HANG_SECONDS):
            while True:
                writer.write(request * 100)
                async with asyncio.timeout(3):
                    await writer.drain()
                sent += 100
    (connection,) = listener.open
    assert sent > 0
    assert len(connection._messages) < 1000
    assert connection.transport is not None
    assert connection.transport.get_write_buffer_size() < 300_000
    writer.transport.abort()
