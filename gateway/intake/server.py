"""The public HTTP server: aiohttp's, with what an open port needs beside it.

aiohttp parses (llhttp, in C), queues pipelined requests and streams bodies. Here are deadlines; bounds on connections,
handshakes, heads and trailers; an end that loses no answer. ADR 7: what of aiohttp's inside it leans on.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import ssl
from collections.abc import Callable
from itertools import islice
from typing import Any, cast

from aiohttp import StreamReader, hdrs, web
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http import HttpVersion11, RawRequestMessage
from aiohttp.http_exceptions import InvalidURLError, LineTooLong
from aiohttp.web_protocol import RequestHandler, RequestPayloadError, _ErrInfo
from structlog.typing import FilteringBoundLogger

from gateway.core.tasks import within
from gateway.intake.answers import REFUSALS
from gateway.intake.listening import listening_sockets
from gateway.intake.webhook import Application

HEAD_BYTES = 8192  # contract, section 8; as many may come between two bytes of a body, or after its last
HEAD_SECONDS = 10.0  # from a connection's or a request's first byte to the end of its headers; for a TLS handshake
BODY_SECONDS = 20.0  # from there to the end of its body
IDLE_SECONDS = 75.0  # between requests
LINGER_SECONDS = 2.0  # after the last answer: closed with data unread, a connection takes its answer with it
LAST_CALL_SECONDS = 0.5  # at the end, an idle connection's next request is waited for so long
FIRST_CALL_SECONDS = 4.0  # and the first of one that was just made: whoever made it is about to send, however busy
MOST_CONNECTIONS, MOST_HANDSHAKES = 10_000, 1000
MOST_LOOKED_AT = 64  # connections, for one that gives way to a new one
MOST_A_TURN = 256  # connections taken in one turn of the loop; uvloop's own servers take one, and the others wait
MOST_A_TURN_SHARED = 8  # where workers share a socket: the others, who are less busy, get theirs
RESERVED_DESCRIPTORS = 256  # for the inbox, destinations, and files that are read
PAUSE_SECONDS = 0.5  # when there are no file descriptors left


class PublicConnection(RequestHandler):
    """One connection. Its deadline is infinite while it owes an answer, and while a body is awaited."""

    def __init__(self, server: PublicServer, loop: asyncio.AbstractEventLoop, **options: Any) -> None:
        super().__init__(server, loop=loop, **options)
        self._server = server
        self._body: StreamReader | None = None  # that is arriving
        self._body_bytes = 0  # received of it
        self._unfinished = 0  # bytes since: of a head, a trailer or a chunk's line
        self._refusal: int | None = None  # the status of the last answer, after those that are due
        self._is_ending = False  # nothing more is understood, only read
        self._is_last = False  # the other end sends no more
        self._is_full = False  # of requests that wait: what came behind them is not parsed yet
        self.is_long = False  # the head that came last began in an earlier read than it ended in
        self.deadline = loop.time() + HEAD_SECONDS

    def eof_received(self) -> bool:  # type: ignore[override] # it keeps the transport open for answers that are due
        self._is_last = True
        return self.is_busy

    def resume_reading(self, resume_parser: bool = True) -> None:
        if self._reading_paused:  # aiohttp's StreamReader asks at each read, and each time has the parser look for more
            super().resume_reading(resume_parser)

    @property
    def is_busy(self) -> bool:
        """Whether an answer is due."""
        request = self._current_request
        return bool(self._messages) or self._refusal is not None or (request is not None and request.content.is_eof())

    @property
    def is_idle(self) -> bool:
        """Whether nothing is due on either side."""
        return not self.is_busy and self._body is None and self._unfinished == 0

    def is_silent(self, for_seconds: float = 0.0) -> bool:
        """Whether it has sent nothing yet, and was made at least so long ago."""
        is_fresh = self._loop.time() < self.deadline - HEAD_SECONDS + for_seconds
        return self.is_idle and not (self._request_count or self._is_ending or is_fresh)

    def data_received(self, data: bytes) -> None:
        for start in range(0, len(data), HEAD_BYTES) or (0,):  # so that a large read is beyond no bound by more
            if not self._is_ending:
                self._take(data[start : start + HEAD_BYTES])

    def _take(self, data: bytes) -> None:
        requests_before, is_begun = self._request_count, self._unfinished > 0
        super().data_received(data)
        # The parser holds back what comes behind so many; it counts one that was taken before its body had come twice.
        self._is_full = self._is_full or len(self._messages) >= self._max_msg_queue_size - 1
        if self._request_count != requests_before:
            message, payload = self._messages[-1]
            if isinstance(message, _ErrInfo):
                self._messages.pop()
                # Its traceback holds the connection, which would wait for the garbage collector.
                return self.refuse(_status(message.exc.with_traceback(None)))
            self._body, self._body_bytes, self._unfinished, self.is_long = payload, 0, 0, is_begun
        elif self._body is None or self._body.total_bytes == self._body_bytes:
            if not is_begun and not self.is_busy and self._body is None:
                self.deadline = self._loop.time() + HEAD_SECONDS
            self._unfinished += len(data)
        if self._body is not None:
            if self._body.total_bytes != self._body_bytes:
                self._body_bytes, self._unfinished = self._body.total_bytes, 0
            if self._body.is_eof():
                self._body, self._unfinished = None, 0
        if self._unfinished > HEAD_BYTES and not self._buffer_paused:
            self.refuse(431)
        return None

    def refuse(self, status: int) -> None:
        """Makes that the last answer of this connection; what arrives from now on is not looked at."""
        self._is_ending, self._refusal = True, status
        if self._body is not None:  # whoever reads it is told
            self._body.set_exception(RequestPayloadError())
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def start(self) -> None:
        """Answers one request after the other. aiohttp's own makes a task of each, and closes with data unread."""
        stays = True
        while stays:
            if not self._messages and self._refusal is None:
                self._waiter = self._loop.create_future()
                await self._waiter
            if self._parser is None:  # the connection is lost
                return
            if self._messages:
                message, body = cast(tuple[RawRequestMessage, StreamReader], self._messages.popleft())
                self._parser.message_consumed()
                if not self._messages and self._is_full:
                    self._is_full = False
                    self._resume_reading_if_drained()
                stays = self._send(await self._answer(message, body), message)
            else:
                stays = self._send(self._server.refusal(cast(int, self._refusal)))
            if stays and self._paused:
                await self._drain_helper()
            if self._messages:
                await asyncio.sleep(0)  # others have their turn

    async def _answer(self, message: RawRequestMessage, body: StreamReader) -> web.Response:
        self.deadline = float("inf")
        request = web.BaseRequest(message, body, self, cast(Any, None), cast(Any, self._task_handler), self._loop)
        self._current_request = request
        try:
            return await self._server.respond(request, self)
        except Exception as failure:
            self._server.log.error("request.failed", error=type(failure).__name__, exc_info=failure)
            return self._server.refusal(500)
        finally:
            self._current_request = None

    def _send(self, answer: web.Response, message: RawRequestMessage | None = None) -> bool:
        """Whether another may follow. Who sends more than was asked for has time to read the last answer: closed with
        data unread, a connection takes it along. aiohttp's own writing tells its version.
        """
        if self.transport is None:
            return False
        stays = (
            message is not None and answer.keep_alive is not False and message.version is HttpVersion11
            and not message.should_close
            and not message.chunked  # aiohttp takes the last trailer for a header of the next request
            and (self.is_busy or not (self._is_last or self._server.is_leaving))
        )  # fmt: skip
        body = cast(bytes, answer.body)
        lines = "".join([f"{name}: {value}\r\n" for name, value in answer.headers.items()])
        end = "\r\n" if stays else "Connection: close\r\n\r\n"
        head = (f"HTTP/1.1 {answer.status} {answer.reason}\r\n{lines}Content-Length: {len(body)}\r\n"
                f"Date: {rfc822_formatted_time()}\r\n{end}").encode("latin-1")  # fmt: skip
        self.transport.write(head if message is not None and message.method == "HEAD" else head + body)
        self.deadline = self._loop.time() + (IDLE_SECONDS if stays else LINGER_SECONDS)
        if stays:
            self._server.open[self] = self._server.open.pop(self)
            return True
        self._is_ending, self._refusal = True, None
        self._messages.clear()
        if not self.transport.can_write_eof():
            self.transport.close()
            return False
        with contextlib.suppress(OSError):  # the other end has reset it
            self.transport.write_eof()
        self._resume_transport_reading()
        return False

    def expire(self) -> None:
        """Its time is up. Whoever does not read the answers either gets a little more of it, and no third time."""
        transport = self._server.open[self]
        if self._is_ending or self._is_last or transport.is_closing():
            return transport.abort()
        self.deadline = self._loop.time() + LINGER_SECONDS
        return self.refuse(408) if self._unfinished else transport.close()


class PublicServer(web.Server):
    """Listening sockets, connections that are just being made, and connections."""

    def __init__(
        self, application: Application, log: FilteringBoundLogger, refused: Callable[[str], None] | None = None
    ) -> None:
        super().__init__(
            cast(Any, None), access_log=None, auto_decompress=False, keepalive_timeout=0, max_headers=HEAD_BYTES,
            read_bufsize=2**12,
        )  # fmt: skip
        self.application, self.log = application, log
        self.refused = refused or (lambda reason: None)  # told of each request that the application never sees
        self.open: dict[PublicConnection, asyncio.Transport] = {}  # the one that was used last stands last
        self.is_leaving = False  # connections end after their answers
        self._sockets: list[socket.socket] = []
        self._beginning: dict[asyncio.Task[None], None] = {}  # the oldest first
        self._is_less = asyncio.Event()  # a connection has ended
        self._most_a_turn = MOST_A_TURN
        self._timer: asyncio.TimerHandle | None = None
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        descriptors = soft if soft != resource.RLIM_INFINITY else 1_000_000
        self._room = max(64, min(MOST_CONNECTIONS, descriptors - RESERVED_DESCRIPTORS))
        self._most_beginning = max(16, min(MOST_HANDSHAKES, descriptors // 8))

    def __call__(self) -> PublicConnection:
        return PublicConnection(self, self._loop, **self._kwargs)

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens first: host and port."""
        return cast(tuple[str, int], self._sockets[0].getsockname()[:2])

    async def start(
        self,
        at: tuple[str, int] | socket.socket | list[socket.socket],
        tls: ssl.SSLContext | None = None,
        *,
        is_kept: bool = False,
    ) -> None:
        """Listens on every address of the host; on a socket that listens already, and is kept open for the next; or
        on those that the workers of a gateway share, and which may be kept. Raises OSError.
        """
        self._tls, self._is_given = tls, isinstance(at, socket.socket) or is_kept
        if isinstance(at, socket.socket):
            self._sockets.append(at)
        elif isinstance(at, tuple):
            self._sockets += await listening_sockets(*at)
        else:
            self._sockets += at
            self._most_a_turn = MOST_A_TURN_SHARED
        self._listen()
        self._sweep()
        if self._room < MOST_CONNECTIONS:
            self.log.warning("listener.few_descriptors", connections=self._room, wanted=MOST_CONNECTIONS)

    def _stop(self) -> None:
        """Takes no more connections than are waiting; a socket that was given keeps those for its next listener."""
        while self._sockets:
            listening = self._sockets.pop()
            self._loop.remove_reader(listening)
            if not self._is_given:
                self._most_a_turn = MOST_A_TURN
                self._accept(listening)
            listening.close()

    async def close(self, within_seconds: float) -> None:
        """Takes no more connections, and ends each after its answer, or when the time is up. One that is idle gets a
        moment more, because its next request may be on its way, and one that is new a longer one.
        """
        self.is_leaving = True
        self._stop()
        if self._beginning:
            await asyncio.wait(self._beginning, timeout=LAST_CALL_SECONDS)
        for task in [*self._beginning]:
            task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_seconds):
                await asyncio.sleep(LAST_CALL_SECONDS if self.open else 0)
                for connection, transport in [*self.open.items()]:
                    if connection.is_idle and not connection.is_silent():
                        transport.close()
                while self.open:
                    for silent in [one for one in self.open if one.is_silent(FIRST_CALL_SECONDS)]:
                        self.open[silent].close()
                    self._is_less.clear()
                    await within(LAST_CALL_SECONDS, self._is_less)
        for transport in [*self.open.values()]:
            transport.abort()
        if self._timer is not None:
            self._timer.cancel()

    def _listen(self) -> None:
        for listening in self._sockets:
            listening.setblocking(False)
            self._loop.add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(self._most_a_turn):
            try:
                taken, _ = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as failure:
                self.log.error("listener.accept_failed", error=failure.strerror)
                self._loop.remove_reader(listening)
                self._loop.call_later(PAUSE_SECONDS, self._listen)
                return
            if self._tls is not None and len(self._beginning) >= self._most_beginning:
                oldest = next(iter(self._beginning))  # who has not shaken hands for longest gives way
                del self._beginning[oldest]
                oldest.cancel()
            task = self._loop.create_task(self._begin(taken), name="gateway-accept")
            self._beginning[task] = None
            task.add_done_callback(lambda task: self._beginning.pop(task, None))

    async def _begin(self, taken: socket.socket) -> None:
        seconds = HEAD_SECONDS if self._tls is not None else None
        try:
            await self._loop.connect_accepted_socket(self, taken, ssl=self._tls, ssl_handshake_timeout=seconds)
        except (OSError, asyncio.CancelledError):  # it is gone, speaks no TLS, or gives way
            taken.close()

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """Where there are too many, one that owes no answer gives way, of those the one that was used longest ago."""
        connection = cast(PublicConnection, handler)
        self.open[connection] = transport
        if len(self.open) > min(MOST_CONNECTIONS, self._room):
            waiting = (one for one in islice(self.open, MOST_LOOKED_AT) if one is not connection and not one.is_busy)
            if (other := next(waiting, None)) is None:
                return connection.refuse(503)
            self.open.pop(other).abort()
            self.refused("too_many_connections")
        return None

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        self.open.pop(cast(PublicConnection, handler), None)
        self._is_less.set()

    def _sweep(self) -> None:
        self._timer = self._loop.call_later(1.0, self._sweep)
        now = self._loop.time()
        for connection in [connection for connection in self.open if connection.deadline < now]:
            connection.expire()

    def refusal(self, status: int) -> web.Response:
        """The answer to what the application never sees, or could not answer."""
        reason, make = REFUSALS[status]
        if reason is not None:
            self.refused(reason)
        answer = make()
        if status != 500:
            answer.force_close()
        return answer

    async def respond(self, request: web.BaseRequest, connection: PublicConnection) -> web.Response:
        """Answers from the head alone where that suffices: a body that follows it is then read by nobody."""
        message = request._message
        if message.upgrade:  # to another protocol: there is none
            return self.refusal(400)
        if connection.is_long and _size(message) > HEAD_BYTES:
            return self.refusal(431)
        answer = self.application.precheck(request)
        if answer is None and (request.content_length or 0) <= self.application.max_body:
            try:
                body = await self._read(request, connection)
            except TimeoutError:
                return self.refusal(408)
            except (RequestPayloadError, ConnectionError):
                return self.refusal(400)
            if body is not None:
                return await self.application(request, body)
        if answer is None:
            answer = self.application.too_large(request)
        if request.body_exists:
            answer.force_close()
        return answer

    async def _read(self, request: web.BaseRequest, connection: PublicConnection) -> bytes | None:
        """The body, None where it is too large."""
        content, most = request.content, self.application.max_body
        if content.is_eof():  # mostly
            return body if len(body := content.read_nowait()) <= most else None
        if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue" and connection.transport is not None:
            connection.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        content.set_read_chunk_size(2**16)
        received = bytearray()
        async with asyncio.timeout(BODY_SECONDS):
            while part := await content.readany():
                received += part
                if len(received) > most:
                    return None
                await asyncio.sleep(0)  # others have their turn, however small the chunks are
        return bytes(received)


def _size(message: RawRequestMessage) -> int:
    return len(message.path) + sum(len(name) + len(value) + 4 for name, value in message.raw_headers)


def _status(fault: BaseException) -> int:
    """Of the answer to what could not be parsed: too long, no path (`*`), or malformed."""
    return 431 if isinstance(fault, LineTooLong) else 404 if isinstance(fault, InvalidURLError) else 400
