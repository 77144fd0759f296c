"""The public listening socket and its connections."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import Callable
from email.utils import formatdate
from itertools import islice

from structlog.typing import FilteringBoundLogger

from gateway.intake.acceptor import Acceptor
from gateway.intake.connection import HEAD_SECONDS, LAST_CALL_SECONDS, TOO_MANY, Application, Connection
from gateway.intake.descriptors import room_for

MOST_CONNECTIONS = 10_000
MOST_LOOKED_AT = 64  # connections, for one that gives way to a new one


class Listener:
    """One listening socket and its connections."""

    def __init__(
        self, application: Application, log: FilteringBoundLogger, refused: Callable[[str], None] | None = None
    ) -> None:
        self.application = application
        self.refused = refused or (lambda reason: None)  # told of each request that the application never sees
        self.connections: dict[Connection, None] = {}  # the one that was used last stands last
        self.is_leaving = False
        self.is_closing = False
        self._room = room_for(MOST_CONNECTIONS)
        self._log = log
        self._acceptor: Acceptor | None = None
        self._sweep: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()
        self._date: tuple[int, bytes] = (0, b"")

    async def start(self, at: tuple[str, int] | socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Listens at a host and port, or on a socket that listens already. Raises OSError."""
        loop = asyncio.get_running_loop()
        acceptor = Acceptor(lambda: Connection(self, loop), self._log)
        await acceptor.start(at, tls, HEAD_SECONDS)
        self._acceptor = acceptor
        if self._room < MOST_CONNECTIONS:
            self._log.warning("listener.few_descriptors", connections=self._room, wanted=MOST_CONNECTIONS)
        self._sweep = loop.call_later(1.0, self._look)

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens: host and port."""
        assert self._acceptor is not None
        return self._acceptor.address

    def stand_down(self) -> None:
        """Goes on answering, and ends each connection after its answer, so that clients go elsewhere."""
        self.is_leaving = True

    async def close(self, within_seconds: float) -> None:
        """Takes no more connections, and ends each after its answer, or when the time is up. One that is idle gets a
        moment more, because its next request may be on its way.
        """
        self.is_leaving = self.is_closing = True
        if self._sweep is not None:
            self._sweep.cancel()
        if self._acceptor is not None:
            self._acceptor.stop()
            await self._acceptor.settle(LAST_CALL_SECONDS)
        for connection in list(self.connections):
            connection.close_when_answered()
        if self.connections:
            self._empty.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within_seconds):
                    await self._empty.wait()
        for connection in list(self.connections):
            connection.abort()

    def date(self) -> bytes:
        """The Date header (RFC 9110, section 6.6.1), made once a second."""
        now = int(time.time())
        if self._date[0] != now:
            self._date = (now, f"Date: {formatdate(now, usegmt=True)}\r\n".encode())
        return self._date[1]

    def joined(self, connection: Connection) -> bool:
        """A connection was made. Where there are too many, one that owes no answer gives way, of those the one that was
        used the longest ago: who only holds connections keeps nobody out. False where none does.
        """
        self.connections[connection] = None
        if len(self.connections) <= min(MOST_CONNECTIONS, self._room):
            return True
        for other in islice(self.connections, MOST_LOOKED_AT):
            if other is not connection and not other.is_busy():
                self.left(other)
                other.abort()
                self.refused(TOO_MANY)
                return True
        return False

    def used(self, connection: Connection) -> None:
        """A connection has had an answer."""
        if connection in self.connections:
            del self.connections[connection]
            self.connections[connection] = None

    def left(self, connection: Connection) -> None:
        """A connection has ended."""
        self.connections.pop(connection, None)
        if not self.connections:
            self._empty.set()

    def failed(self, failure: BaseException) -> None:
        """The application raised, which it should not."""
        self._log.error("request.failed", error=type(failure).__name__, exc_info=failure)

    def _look(self) -> None:
        """Ends what has taken too long, once a second."""
        loop = asyncio.get_running_loop()
        self._sweep = loop.call_later(1.0, self._look)
        now = loop.time()
        for connection in [one for one in self.connections if one.deadline < now]:
            connection.expire()
