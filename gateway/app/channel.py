"""How the processes of one gateway talk: a line of JSON at a time, over a socket pair."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from gateway.core.tasks import cancel

LONGEST_LINE = 64 * 1024 * 1024  # counters of many routes, problems of a long configuration

Message = dict[str, Any]
Answer = Callable[[Message], Awaitable[Message]]
Hear = Callable[[Message], None]


class ChannelClosed(ConnectionError):  # noqa: N818 - reads as what it is
    """The other process has ended."""


class Channel:
    """One end. Whoever asks gets an answer, or ChannelClosed; what is told gets none."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Message]] = {}
        self._answering: set[asyncio.Task[None]] = set()
        self._is_over = False

    @classmethod
    async def over(cls, connection: socket.socket) -> Channel:
        """The end that this socket is."""
        return cls(*await asyncio.open_connection(sock=connection, limit=LONGEST_LINE))

    def tell(self, **message: Any) -> None:
        """Says something, in order. Nothing happens where nobody hears it any more."""
        if not self._is_over:
            self._writer.write(json.dumps(message).encode() + b"\n")

    async def ask(self, within_seconds: float, **message: Any) -> Message:
        """Raises ChannelClosed, TimeoutError."""
        if self._is_over:
            raise ChannelClosed
        number = next(self._numbers)
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        self.tell(**message, asks=number)
        try:
            async with asyncio.timeout(within_seconds):
                return await answer
        finally:
            self._asked.pop(number, None)

    async def run(self, answer: Answer, hear: Hear) -> None:
        """Hears and answers until the other end is closed."""
        try:
            while (line := await self._reader.readline()).endswith(b"\n"):  # else it is cut off: the other was killed
                message = json.loads(line)
                if "answers" in message:
                    asked = self._asked.get(message.pop("answers"))
                    if asked is not None and not asked.done():
                        asked.set_result(message)
                elif "asks" in message:
                    task = asyncio.create_task(self._answer(answer, message), name="gateway-channel-answer")
                    self._answering.add(task)
                    task.add_done_callback(self._answering.discard)
                else:
                    hear(message)
        except ConnectionError:
            pass  # as good as closed
        finally:
            self._is_over = True
            for asked in self._asked.values():
                if not asked.done():
                    asked.set_exception(ChannelClosed())
            await cancel(*self._answering)
            self._writer.close()

    async def _answer(self, answer: Answer, message: dict[str, Any]) -> None:
        number = message.pop("asks")
        with contextlib.suppress(ChannelClosed, TimeoutError):  # of another, who had to be asked: no answer then
            self.tell(**await answer(message), answers=number)
