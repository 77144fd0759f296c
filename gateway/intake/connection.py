"""HTTP/1.1 on one connection: bounded requests in, answers out in their order, nobody waited for too long.

The parsing is llhttp's (Node's, by the package httptools); what is here is the life of a connection. aiohttp's server
took half of the time of an event; see docs/adr/0002-own-listener.md.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol, cast

import httptools

from gateway.intake.messages import UNAVAILABLE, Head, Request, Response, error

HEAD_BYTES = 8192  # contract, section 8
HEAD_SECONDS = 10.0  # from a connection's or a request's first byte to the end of its headers
BODY_SECONDS = 20.0  # from there to the end of its body
IDLE_SECONDS = 75.0  # between requests
LINGER_SECONDS = (
    2.0  # what still arrives after a refusal is read for so long, so that the other end can read the refusal
)
LAST_CALL_SECONDS = 0.5  # at the end, an idle connection's next request is waited for so long
MOST_QUEUED = 8  # pipelined requests of one connection; past it no more is read
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_MALFORMED = error(400, "malformed", "The request could not be read.")
_HEAD_TOO_LARGE = error(431, "headers_too_large", "The headers are too large.")
_BODY_TOO_LARGE = error(413, "too_large", "The body is too large.")
_TOO_SLOW = error(408, "timeout", "The request did not arrive in time.")
TOO_MANY = "too_many_connections"
_REASONS = {400: "malformed", 408: "timeout", 413: "too_large", 431: "headers_too_large", 503: TOO_MANY}
_FAILED = error(500, "failed", "The request could not be handled.")


class Application(Protocol):
    """What answers requests."""

    @property
    def max_body(self) -> int:
        """Bytes that a body may have."""

    def refuse(self, head: Head) -> Response | None:
        """The answer to a request that needs no look at its body, or None."""

    async def __call__(self, request: Request) -> Response:
        """The answer to one that does."""


class Host(Protocol):
    """What a connection belongs to."""

    application: Application
    refused: Callable[[str], None]  # told of each request that the application never sees
    is_leaving: bool  # connections end after their answers
    is_closing: bool

    def joined(self, connection: Connection) -> bool:
        """A connection was made. False where there is no room for it."""

    def used(self, connection: Connection) -> None:
        """It has had an answer."""

    def left(self, connection: Connection) -> None:
        """It has ended."""

    def date(self) -> bytes:
        """The Date header."""

    def failed(self, failure: BaseException) -> None:
        """The application raised, which it should not."""


class Connection(asyncio.Protocol):
    """One connection: requests are read, queued, and answered one after another."""

    __slots__ = (
        "_body",
        "_body_bytes",
        "_head",
        "_head_bytes",
        "_headers",
        "_is_answering",
        "_is_last",
        "_is_reading_paused",
        "_is_refused",
        "_is_writing_paused",
        "_listener",
        "_loop",
        "_parser",
        "_peer",
        "_queue",
        "_refusal",
        "_task",
        "_transport",
        "_url",
        "deadline",
    )

    def __init__(self, listener: Host, loop: asyncio.AbstractEventLoop) -> None:
        self._listener = listener
        self._loop = loop
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0  # of the head that is being read
        self._head: Head | None = None  # of the request whose body is being read
        self._refusal: Response | None = None  # of that request, known from its head
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._queue: deque[tuple[Request | Response, bool, bool]] = deque()  # what, is it HEAD, does it stay open
        self._task: asyncio.Task[Response] | None = None
        self._is_answering = False
        self._is_refused = False  # nothing more is understood, only read
        self._is_last = False  # closed after the answers that are due
        self._is_reading_paused = False
        self._is_writing_paused = False

    # -- the transport's calls --------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self._peer: str = peer[0] if isinstance(peer, tuple) else ""
        self.deadline = self._loop.time() + HEAD_SECONDS
        listener = self._listener
        if not listener.joined(self):
            self._refuse(UNAVAILABLE)
        elif listener.is_closing:
            self.close_when_answered()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_refused = True
        self._queue.clear()
        del self._parser  # they know each other: thousands that end at once would wait for the garbage collector
        self._listener.left(self)

    def eof_received(self) -> bool:
        """The other end sends no more; it may still wait for its answers."""
        self._is_last = True
        if not self.is_busy():
            return False
        self._is_refused = True
        return True

    def pause_writing(self) -> None:
        self._is_writing_paused = True

    def resume_writing(self) -> None:
        self._is_writing_paused = False
        self._answer_next()

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._refuse(_MALFORMED)
        else:
            # One unfinished header may be of any length; the finished ones are counted as they come.
            if self._head is None and self._head_bytes > HEAD_BYTES and not self._is_refused:
                self._refuse(_HEAD_TOO_LARGE)

    # -- the parser's calls -----------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._url, self._headers, self._head = b"", [], None
        self._head_bytes = 0
        if not self._is_answering:
            self.deadline = self._loop.time() + HEAD_SECONDS

    def on_url(self, url: bytes) -> None:
        self._url += url
        if len(self._url) > HEAD_BYTES:
            self._refuse(_HEAD_TOO_LARGE)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head is None:  # afterwards they are trailers, which nobody asks for
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self._is_refused:
            return None
        if len(self._url) + sum(len(name) + len(value) + 4 for name, value in self._headers) > HEAD_BYTES:
            return self._refuse(_HEAD_TOO_LARGE)
        path = self._url.partition(b"?")[0].decode("latin-1")
        head = self._head = Head(self._parser.get_method().decode(), path, tuple(self._headers), self._peer)
        self._body, self._body_bytes = [], 0
        application = self._listener.application
        self._refusal = application.refuse(head)
        has_host = has_body = asks_first = False
        for name, value in self._headers:
            length = len(name)  # cheaper to compare first
            if length == 4 and name.lower() == b"host":
                has_host = True
            elif length == 14 and name.lower() == b"content-length":
                has_body = value != b"0"
                if int(value) > application.max_body:
                    self._refusal = self._refusal or _BODY_TOO_LARGE
            elif length == 17 and name.lower() == b"transfer-encoding":
                has_body = True
            elif length == 6 and name.lower() == b"expect":
                asks_first = value.lower() == b"100-continue"
        if self._parser.should_upgrade():  # to another protocol: there is none
            return self._refuse(_MALFORMED)
        if not has_host and self._parser.get_http_version() == "1.1":  # RFC 9112, section 3.2
            return self._refuse(_MALFORMED)
        if self._refusal is not None and has_body:
            return self._refuse(self._refusal)
        if asks_first and has_body and not self.is_busy():
            self._transport.write(_CONTINUE)
        if not self._is_answering:
            self.deadline = self._loop.time() + BODY_SECONDS
        return None

    def on_body(self, data: bytes) -> None:
        if self._is_refused:
            return
        self._body_bytes += len(data)
        if self._body_bytes > self._listener.application.max_body:
            self._refuse(_BODY_TOO_LARGE)
        else:
            self._body.append(data)

    def on_message_complete(self) -> None:
        head = self._head
        if self._is_refused or head is None:
            return
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._url, self._headers, self._head, self._head_bytes, self._body = b"", [], None, 0, []
        stays = self._parser.should_keep_alive() and self._parser.get_http_version() == "1.1"
        self._queue.append((self._refusal or Request(head, body), head.method == "HEAD", stays))
        if not stays:
            self._is_refused = True
        if len(self._queue) > MOST_QUEUED and not self._is_reading_paused:
            self._is_reading_paused = True
            self._transport.pause_reading()
        if not self._is_answering:
            self._answer_next()

    def _is_reading(self) -> bool:
        """Whether a part of a request has come."""
        return self._head is not None or bool(self._url or self._headers)

    def is_busy(self) -> bool:
        """Whether an answer is due."""
        return self._is_answering or bool(self._queue)

    # -- answers ----------------------------------------------------------------------------------------------

    def _answer_next(self) -> None:
        while self._queue and not self._is_answering and not self._is_writing_paused:
            what, is_head, stays = self._queue.popleft()
            if self._is_reading_paused and len(self._queue) <= MOST_QUEUED:
                self._is_reading_paused = False
                self._transport.resume_reading()
            if isinstance(what, Response):
                self._send(what, is_head, stays)
                continue
            self._is_answering = True
            self.deadline = float("inf")  # the application bounds itself
            self._task = asyncio.ensure_future(self._listener.application(what))
            self._task.add_done_callback(partial(self._answered, is_head, stays))

    def _answered(self, is_head: bool, stays: bool, task: asyncio.Task[Response]) -> None:
        self._is_answering = False
        self._task = None
        failure = None if task.cancelled() else task.exception()
        if failure is not None:
            self._listener.failed(failure)
        response = _FAILED if task.cancelled() or failure is not None else task.result()
        self._send(response, is_head, stays)
        self._answer_next()

    def _send(self, response: Response, is_head: bool, stays: bool) -> None:
        transport = self._transport
        if transport.is_closing():
            return
        stays = stays and (bool(self._queue) or not (self._is_last or self._listener.is_leaving))
        end = b"\r\n" if stays else b"Connection: close\r\n\r\n"
        transport.write(response.start + self._listener.date() + end + (b"" if is_head else response.body))
        if stays:
            self.deadline = self._loop.time() + IDLE_SECONDS
            self._listener.used(self)
        else:
            self._queue.clear()
            self._end()

    def _refuse(self, response: Response) -> None:
        """Queues the last answer of this connection; what arrives from now on is not looked at."""
        if not self._is_refused:
            self._is_refused = True
            if response.status in _REASONS:
                self._listener.refused(_REASONS[response.status])
            self._queue.append((response, False, False))
            if not self._is_answering:
                self._answer_next()

    def _end(self) -> None:
        """Closes so that the last answer arrives: with data unread, closing at once would reset the connection and
        take the answer with it (RFC 9112, section 9.6).
        """
        self._is_refused = True
        self._is_last = True
        if not self._transport.can_write_eof():
            self._transport.close()
            return
        self.deadline = self._loop.time() + LINGER_SECONDS
        try:
            self._transport.write_eof()
        except OSError:  # the other end has reset it; asyncio's own loop raises, uvloop does not
            self._transport.abort()

    # -- the listener's calls ---------------------------------------------------------------------------------

    def expire(self) -> None:
        """Its time is up. Whoever does not read the answers either gets a little more of it, and no third time."""
        if self._is_last or self._is_refused or self._transport.is_closing():
            self._transport.abort()
            return
        self.deadline = self._loop.time() + LINGER_SECONDS
        if self._is_reading():
            self._refuse(_TOO_SLOW)
        else:
            self._transport.close()

    def close_when_answered(self) -> None:
        """Closes after the answer that is due, or soon where none is."""
        self._loop.call_later(LAST_CALL_SECONDS, self._close_idle)

    def _close_idle(self) -> None:
        if not self.is_busy() and not self._is_reading():
            self._transport.close()

    def abort(self) -> None:
        """Ends it at once; an answer under way is lost, what it was about is not."""
        self._transport.abort()
