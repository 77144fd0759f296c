"""A TCP proxy before a server on a Unix socket, which can be told to cut, to hold, to be slow, and to go elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qsl, urlsplit


class Proxy:
    """Between a gateway and its PostgreSQL."""

    def __init__(self, server: str) -> None:
        self.go_to(server)
        self.delay_seconds = 0.0  # each way, each piece
        self.is_gone = False  # new connections are closed at once
        self._open = asyncio.Event()  # unset: nothing passes, and nobody is told
        self._open.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._database = urlsplit(server).path
        self.port = 0

    def go_to(self, server: str) -> None:
        """Where the next connections lead."""
        self._target = dict(parse_qsl(urlsplit(server).query))["host"] + "/.s.PGSQL.5432"

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Proxy]:
        """Listens on a free port."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self._open.set()
            self.cut()

    @property
    def url(self) -> str:
        """As store.url has it."""
        return f"postgresql://postgres@127.0.0.1:{self.port}{self._database}?connect_timeout=2"

    def cut(self) -> None:
        """Every connection breaks off."""
        for writer in list(self._writers):
            writer.transport.abort()

    def hold(self, is_held: bool) -> None:
        """Connections stay, and nothing passes."""
        (self._open.clear if is_held else self._open.set)()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_gone:
            writer.transport.abort()
            return
        try:
            there, back = await asyncio.open_unix_connection(self._target)
        except OSError:
            writer.transport.abort()
            return
        both = {writer, back}
        self._writers |= both
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(reader, back))
                group.create_task(self._pass(there, writer))
        finally:
            self._writers -= both
            for one in both:
                one.transport.abort()

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while piece := await source.read(65536):
                await asyncio.sleep(self.delay_seconds)
                await self._open.wait()
                target.write(piece)
                await target.drain()
        except OSError:
            pass
        target.transport.abort()
