"""Takes new connections, many in one turn of the loop.

uvloop's own servers take one a turn. Under load a turn takes long, and new connections would wait for seconds behind
the requests of the old ones, without even a 503.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Any

from structlog.typing import FilteringBoundLogger

from gateway.intake.descriptors import handshakes_at_once

BACKLOG = 4096  # connections that the kernel keeps ready; Linux takes no more unless told (net.core.somaxconn)
MOST_A_TURN = 256  # bounds how long the loop is busy with it
PAUSE_SECONDS = 0.5  # when there are no file descriptors left


class Acceptor:
    """Listening sockets, and the connections that are just being made."""

    def __init__(self, protocol: Callable[[], asyncio.Protocol], log: FilteringBoundLogger) -> None:
        self._protocol = protocol
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._sockets: list[socket.socket] = []
        self._is_given = False
        self._beginning: dict[asyncio.Task[None], None] = {}  # the oldest first
        self._pauses: dict[socket.socket, asyncio.TimerHandle] = {}
        self._most_beginning = handshakes_at_once()

    async def start(
        self, at: tuple[str, int] | socket.socket, tls: ssl.SSLContext | None, handshake_seconds: float
    ) -> None:
        """Listens on every address of the host, or on a socket that listens already. Raises OSError."""
        self._tls = tls
        self._handshake_seconds = handshake_seconds if tls is not None else None
        if isinstance(at, socket.socket):
            self._is_given = True
            at.setblocking(False)
            self._sockets.append(at)
        else:
            host, port = at
            found = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            try:
                for family, _, _, _, address in dict.fromkeys(found):
                    self._sockets.append(_listening(family, address))
            except OSError:
                self.stop()
                raise
        for listening in self._sockets:
            self._loop.add_reader(listening, self._accept, listening)

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens first: host and port."""
        found: tuple[str, int] = self._sockets[0].getsockname()[:2]
        return found

    def stop(self) -> None:
        """Takes no more connections than are waiting; a socket that was given keeps those for whoever listens on it
        next. May be called twice.
        """
        for listening in self._sockets if not self._is_given else ():
            self._accept(listening)
        for pause in self._pauses.values():
            pause.cancel()
        self._pauses.clear()
        while self._sockets:
            listening = self._sockets.pop()
            self._loop.remove_reader(listening)
            listening.close()

    async def settle(self, within_seconds: float) -> None:
        """After `stop`: waits for connections that were just being made, and drops those that are not in time."""
        if self._beginning:
            await asyncio.wait(self._beginning, timeout=within_seconds)
        for task in list(self._beginning):
            task.cancel()

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(MOST_A_TURN):
            try:
                taken, _ = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as failure:
                self._log.error("listener.accept_failed", error=failure.strerror)
                self._loop.remove_reader(listening)
                self._pauses[listening] = self._loop.call_later(PAUSE_SECONDS, self._resume, listening)
                return
            if self._tls is not None and len(self._beginning) >= self._most_beginning:
                oldest = next(iter(self._beginning))  # who has not shaken hands for longest gives way
                del self._beginning[oldest]
                oldest.cancel()
            task = self._loop.create_task(self._begin(taken), name="gateway-accept")
            self._beginning[task] = None
            task.add_done_callback(self._begun)

    def _begun(self, task: asyncio.Task[None]) -> None:
        self._beginning.pop(task, None)

    def _resume(self, listening: socket.socket) -> None:
        del self._pauses[listening]
        self._loop.add_reader(listening, self._accept, listening)

    async def _begin(self, taken: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(
                self._protocol, taken, ssl=self._tls, ssl_handshake_timeout=self._handshake_seconds
            )
        except (OSError, ssl.SSLError):  # it is gone, or speaks no TLS
            taken.close()
        except asyncio.CancelledError:
            taken.close()
            raise


def _listening(family: int, address: Any) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # asyncio sets TCP_NODELAY by it
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.setblocking(False)
        made.bind(address)
        made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    return made
