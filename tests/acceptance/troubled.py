"""Servers that misbehave for a while, then are well: HTTP and SMTP, by hand, since no library speaks so badly."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

Trouble = Callable[["Troubled", asyncio.StreamWriter], Awaitable[None]]
GIGABYTES_10 = 10 * 1024**3


class Troubled:
    """An HTTP service. The first `times` requests meet its trouble; the others are answered 200 and noted."""

    def __init__(self, trouble: Trouble, times: int) -> None:
        self.trouble, self.left = trouble, times
        self.done: Counter[str] = Counter()  # delivery id -> how often it was answered well
        self.most_sent = 0  # bytes of one answer that were taken off our hands
        self.port = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Troubled]:
        """Listens on a free port."""
        tasks: set[asyncio.Task[None]] = set()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            try:
                await self._serve(reader, writer)
            except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                pass  # the other end has gone, or the test is over
            finally:
                tasks.discard(task)
                writer.transport.abort()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            size = re.search(r"(?i)content-length: (\d+)", head)
            id = re.search(r"(?i)idempotency-key: (\S+)", head)
            assert size is not None
            assert id is not None
            await reader.readexactly(int(size[1]))
            if self.left > 0:
                self.left -= 1
                await self.trouble(self, writer)
                return
            self.done[id[1]] += 1
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            await writer.drain()


async def never_answers(service: Troubled, writer: asyncio.StreamWriter) -> None:
    """Takes the request, and says nothing."""
    await asyncio.Event().wait()


async def drips(service: Troubled, writer: asyncio.StreamWriter) -> None:
    """A byte a second, for ever: each is a sign of life."""
    for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(1)


async def resets(service: Troubled, writer: asyncio.StreamWriter) -> None:
    """RST instead of an answer."""
    opened = writer.get_extra_info("socket")
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def breaks_off(service: Troubled, writer: asyncio.StreamWriter) -> None:
    """Ends in the middle of its answer."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf of")
    await writer.drain()


async def speaks_nonsense(service: Troubled, writer: asyncio.StreamWriter) -> None:
    """No HTTP."""
    writer.write(b"\x00\xff nonsense\r\n\r\n")
    await writer.drain()


async def sends_10_gb_of_headers(service: Troubled, writer: asyncio.StreamWriter) -> None:
    """A header without end."""
    writer.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
    await _flood(service, writer)


async def sends_10_gb(service: Troubled, writer: asyncio.StreamWriter) -> None:
    """200, and a body without end."""
    writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {GIGABYTES_10}\r\n\r\n".encode())
    await _flood(service, writer)


async def _flood(service: Troubled, writer: asyncio.StreamWriter) -> None:
    piece, sent = b"x" * 65536, 0
    while sent < GIGABYTES_10:
        writer.write(piece)
        await writer.drain()
        sent += len(piece)
        service.most_sent = max(service.most_sent, sent)


class Mail:
    """A mail server. `trouble` is `hangs`, `drops` or `greylists`; the first `times` mails meet it."""

    def __init__(self, trouble: str, times: int) -> None:
        self.trouble, self.left = trouble, times
        self.seen: set[str] = set()  # recipients that were told to come again
        self.done: Counter[str] = Counter()  # Message-ID -> how often it was taken and said so
        self.port = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Mail]:
        """Listens on a free port."""
        writers: set[asyncio.StreamWriter] = set()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.add(writer)
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._serve(reader, writer)
            writers.discard(writer)
            writer.transport.abort()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for writer in writers:
                writer.transport.abort()

    def _is_troubled(self, trouble: str) -> bool:
        if self.trouble != trouble or self.left <= 0:
            return False
        self.left -= 1
        return True

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_troubled("hangs"):
            await reader.read()  # accepts, and never greets
            return
        writer.write(b"220 mail\r\n")
        while line := await reader.readline():
            word = line[:4].upper()
            if word == b"RCPT":
                recipient = line.decode().strip()
                if recipient not in self.seen and self._is_troubled("greylists"):
                    self.seen.add(recipient)
                    writer.write(b"451 4.7.1 greylisted, come again\r\n")
                    continue
            elif word == b"DATA":
                writer.write(b"354 go on\r\n")
                mail = (await reader.readuntil(b"\r\n.\r\n")).decode()
                if self._is_troubled("drops"):
                    return  # nobody knows whether it was taken
                id = re.search(r"(?im)^message-id: *(?:\r\n )?(\S+)", mail)
                assert id is not None, mail
                self.done[id[1]] += 1
            elif word == b"QUIT":
                return
            writer.write(b"250 fine\r\n")
            await writer.drain()
