"""Requests sent when they are due, whatever the server does (an open loop), so that waiting counts: a request without
an answer does not hold the next one up, and latency runs from when it was due.

Each open request has a connection of its own, as Stripe's have. One that is free is used again; where none is, another
is opened, up to `MOST_CONNECTIONS`. Past that requests wait here, and their wait counts too.
"""

from __future__ import annotations

import contextlib
import gc
import select
import socket
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

MOST_CONNECTIONS = 8000
LAST_ANSWER_SECONDS = 15.0  # after the last request was due
NO_ANSWER = 0  # the status of a request that got none


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one request. Seconds run from the start."""

    due: float
    sent: float
    answered: float
    status: int

    @property
    def latency_ms(self) -> float:
        """From when it was due."""
        return (self.answered - self.due) * 1000


def due_times(phases: Sequence[tuple[float, float]]) -> list[float]:
    """When requests are due, evenly, for phases of (requests a second, seconds)."""
    times: list[float] = []
    start = 0.0
    for rate, seconds in phases:
        times += [start + i / rate for i in range(int(rate * seconds))]
        start += seconds
    return times


def offer(port: int, requests: Sequence[bytes], due: Sequence[float], start: float | None = None) -> list[Answer]:
    """Sends each request when it is due and waits for the answers; an Answer for each, in their order. `start` is when
    the seconds begin, by `time.perf_counter`: now, where it is left out.
    """
    gc.collect()
    gc.disable()
    try:
        return _Load(port, requests, due).run(start)
    finally:
        gc.enable()


class _Load:
    def __init__(self, port: int, requests: Sequence[bytes], due: Sequence[float]) -> None:
        self._address = ("127.0.0.1", port)
        self._requests = requests
        self._due = due
        self._sent = [0.0] * len(due)
        self._answered = [0.0] * len(due)
        self._status = [NO_ANSWER] * len(due)
        self._open = 0  # requests sent or waiting for a connection
        self._next = 0
        self._waiting: deque[int] = deque()  # for a connection
        self._free: list[socket.socket] = []
        self._sockets: dict[int, socket.socket] = {}
        self._carries: dict[int, int] = {}  # a socket's number -> the request that it has taken
        self._read: dict[int, bytes] = {}  # of an answer that came in parts
        self._poll = select.epoll()
        self._start = 0.0

    def run(self, start: float | None) -> list[Answer]:
        self._start = time.perf_counter() if start is None else start
        try:
            self._until_answered()
        finally:
            for connection in self._sockets.values():
                connection.close()
            self._poll.close()
        last = time.perf_counter() - self._start
        return [
            Answer(due, sent, answered if status else last, status)
            for due, sent, answered, status in zip(self._due, self._sent, self._answered, self._status, strict=True)
        ]

    def _until_answered(self) -> None:
        count = len(self._due)
        end = self._due[-1] + LAST_ANSWER_SECONDS
        while self._next < count or self._open:
            now = time.perf_counter() - self._start
            if now > end:
                return
            while self._next < count and self._due[self._next] <= now:
                self._waiting.append(self._next)
                self._open += 1
                self._next += 1
            while self._waiting and (self._free or len(self._sockets) < MOST_CONNECTIONS):
                self._send(self._waiting.popleft())
            pause = self._due[self._next] - now if self._next < count else 0.05
            for number, what in self._poll.poll(max(0.0, min(pause, 0.05)), 256):
                if what & select.EPOLLOUT:
                    self._write(number)
                else:
                    self._receive(number)

    def _send(self, request: int) -> None:
        if self._free:
            connection = self._free.pop()
            self._carries[connection.fileno()] = request
            self._write(connection.fileno(), is_new=False)
            return
        connection = socket.socket()
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.connect_ex(self._address)  # done, or soon
        number = connection.fileno()
        self._sockets[number] = connection
        self._carries[number] = request
        self._poll.register(number, select.EPOLLOUT)

    def _write(self, number: int, is_new: bool = True) -> None:
        request = self._carries[number]
        data = self._requests[request]
        self._sent[request] = time.perf_counter() - self._start
        try:
            written = self._sockets[number].send(data)
        except OSError:
            self._lose(number)
            return
        if written < len(data):
            raise RuntimeError(f"only {written} of {len(data)} bytes could be sent at once")
        if is_new:
            self._poll.modify(number, select.EPOLLIN)

    def _receive(self, number: int) -> None:
        try:
            data = self._sockets[number].recv(4096)
        except OSError:
            data = b""
        if not data:
            self._lose(number)
            return
        data = self._read.pop(number, b"") + data
        if not data.endswith(b"}") or data.count(b"{") != data.count(b"}"):  # an answer's body is one JSON object
            self._read[number] = data
            return
        request = self._carries.pop(number)
        self._answered[request] = time.perf_counter() - self._start
        self._status[request] = int(data[9:12])
        self._open -= 1
        if b"\r\nConnection: close\r\n" in data:
            self._lose(number)
        else:
            self._free.append(self._sockets[number])

    def _lose(self, number: int) -> None:
        """The connection has ended; what it carried gets no answer."""
        if self._carries.pop(number, None) is not None:
            self._open -= 1
        self._read.pop(number, None)
        connection = self._sockets.pop(number)
        with contextlib.suppress(ValueError):
            self._free.remove(connection)
        connection.close()
