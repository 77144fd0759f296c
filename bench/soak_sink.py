"""The soak's destination: a process that answers forwards, or gets into trouble, and keeps books of what arrived.

The books lie in memory that the soak shares: for each order (`metadata.order_id`) when it first arrived, by which
delivery, and how often. A request that is not answered 200 has not arrived.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import multiprocessing
import re
import time
import zlib
from collections.abc import Iterator
from multiprocessing.sharedctypes import RawArray, RawValue
from typing import Any

import uvloop

from bench.programs import free_port

WELL, UNAVAILABLE, RESETS, HANGS = range(4)
TROUBLES = {"503": UNAVAILABLE, "reset": RESETS, "no answer": HANGS}
UNOWED_EACH = 50  # no route wants orders that this divides
_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
_UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_DELIVERY = re.compile(rb"\r\nidempotency-key: *(\S+)", re.IGNORECASE)
_ORDER = re.compile(rb'"order_id": ?"(\d+)"')


class Books:
    """What arrived, for orders below `capacity`."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.arrived_at: Any = RawArray(ctypes.c_double, capacity)  # by time.perf_counter; 0: not yet
        self.times: Any = RawArray(ctypes.c_ubyte, capacity)
        self._delivery: Any = RawArray(ctypes.c_uint32, capacity)
        self.unowed: Any = RawValue(ctypes.c_long, 0)  # arrived, though nobody owed it
        self.doubled: Any = RawValue(ctypes.c_long, 0)  # arrived again as another delivery
        self.mode: Any = RawValue(ctypes.c_int, WELL)

    def enter(self, order: int, delivery: bytes) -> None:
        """An arrival. A delivery is known by the CRC of its id."""
        if order >= self.capacity or order % UNOWED_EACH == 0:
            self.unowed.value += 1
            return
        known = zlib.crc32(delivery)
        if not self.times[order]:
            self.arrived_at[order] = time.perf_counter()
            self._delivery[order] = known
        elif self._delivery[order] != known:
            self.doubled.value += 1
        self.times[order] = min(255, self.times[order] + 1)


@contextlib.contextmanager
def sink(books: Books) -> Iterator[int]:
    """The port of a destination that runs until the end of the block."""
    port = free_port()
    process = multiprocessing.get_context("fork").Process(target=_run, args=(port, books), daemon=True)
    process.start()
    try:
        yield port
    finally:
        process.terminate()
        process.join()


def _run(port: int, books: Books) -> None:
    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(lambda: _Connection(books), "127.0.0.1", port)
        await server.serve_forever()

    uvloop.run(serve())


class _Connection(asyncio.Protocol):
    def __init__(self, books: Books) -> None:
        self._books = books
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, end, body = self._data.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not end or len(body) < (int(length[1]) if length else 0):
            return  # one request at a time comes on a connection
        self._data = b""
        mode = self._books.mode.value
        if mode == RESETS:
            self._transport.abort()
        elif mode == UNAVAILABLE:
            self._transport.write(_UNAVAILABLE)
        elif mode == WELL:
            order, delivery = _ORDER.search(body), _DELIVERY.search(head)
            if order is None or delivery is None:
                raise RuntimeError(f"not a forward of this soak: {head[:500]!r}")
            self._books.enter(int(order[1]), delivery[1])
            self._transport.write(_OK)
