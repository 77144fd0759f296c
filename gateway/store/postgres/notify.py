"""LISTEN and NOTIFY: gateways tell each other that there may be work."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import asyncpg

from gateway.core.errors import StoreError, StoreUnavailable
from gateway.store.postgres.connection import FAILURES, Address, Server, close

QUIET_SECONDS = 0.1  # announcements of one gateway are so far apart at least
CHECK_SECONDS = 30.0  # how soon a connection that went silent is noticed
ANSWER_SECONDS = 5.0


class Announcer:
    """A connection that listens, and announces on it. Announcing is apart from the commits that make the work: commits
    with a NOTIFY inside run one after another in the whole server, and that would end group commit across gateways.
    """

    def __init__(self, server: Server, heard: Callable[[], None]) -> None:
        self._server = server
        self._heard = heard
        self._channel = self.channel(server.address)
        self._wanted = asyncio.Event()
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._own_pid = 0
        self._task: asyncio.Task[None] | None = None

    @staticmethod
    def channel(address: Address) -> str:
        """The channel of a schema."""
        return f"{address.schema}_work"

    async def start(self) -> None:
        """Listens from now on. Raises StoreUnavailable."""
        await self._listen()
        self._task = asyncio.create_task(self._keep(), name="gateway-announcer")

    def announce(self) -> None:
        """Tells the other gateways soon."""
        self._wanted.set()

    async def stop(self) -> None:
        """Stops listening; what was to be announced is announced."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        connection, self._connection = self._connection, None
        if connection is None or connection.is_closed():
            return
        if self._wanted.is_set():
            with contextlib.suppress(*FAILURES):
                await self._notify(connection)
        await close(connection)

    async def _listen(self) -> None:
        connection = await self._server.connect()
        try:
            # Nothing but announcements is committed here, and they need not survive a crash.
            await connection.execute("SET synchronous_commit = off")
            await connection.add_listener(self._channel, self._on_notify)
            self._own_pid = await connection.fetchval("SELECT pg_backend_pid()")  # the one a pooler shows is invented
        except BaseException as error:  # a cancelled one too: nobody else knows of the connection
            connection.terminate()
            if isinstance(error, FAILURES):
                raise StoreUnavailable(f"cannot listen for work: {type(error).__name__}") from None
            raise
        connection.add_termination_listener(lambda _: self._wanted.set())
        self._connection = connection

    def _on_notify(self, connection: Any, pid: int, channel: str, payload: object) -> None:
        if pid != self._own_pid:
            self._heard()

    async def _notify(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        await connection.execute("SELECT pg_notify($1, '')", self._channel, timeout=ANSWER_SECONDS)

    async def _keep(self) -> None:
        """Announces what is wanted, and listens again after the connection was lost."""
        while True:
            wanted = False
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CHECK_SECONDS):
                    wanted = await self._wanted.wait()
            connection = self._connection
            try:
                if connection is None or connection.is_closed():
                    await self._listen()
                    self._heard()  # what was announced meanwhile was not heard
                elif wanted:
                    self._wanted.clear()
                    await self._notify(connection)
                else:
                    await connection.execute("SELECT 1", timeout=ANSWER_SECONDS)
            except FAILURES:
                if connection is not None:
                    connection.terminate()
                self._wanted.set()
            except StoreError:
                self._wanted.set()  # asked again after a while
            await asyncio.sleep(QUIET_SECONDS)
