"""One real gateway for all attacks on the public listener, and a socket to send it any bytes."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from gateway.testing import make_event, signed_request
from tests.acceptance.harness import SECRET, GatewayProcess, free_port
from tests.configs import gateway_yaml
from tests.waiting import HANG_SECONDS


@dataclass(frozen=True)
class Target:
    """The gateway under attack."""

    process: GatewayProcess
    port: int

    def talk(self, sent: bytes, seconds: float = HANG_SECONDS) -> bytes:
        """Sends bytes on a connection of their own; all that comes back until the other end closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            found = b""
            while part := connection.recv(65536):
                found += part
            return found

    def count(self) -> int:
        """Events in the inbox."""
        ((count,),) = self.process.rows("SELECT count(*) FROM events")
        return int(count)


def request(
    body: bytes | None = None,
    *,
    path: str = "/webhooks/acme",
    length: bytes | None = None,
    more: bytes = b"",
    **sign: Any,
) -> bytes:
    """A signed POST, whole; `length` instead of its Content-Length line, `more` header lines."""
    body = json.dumps(make_event()).encode() if body is None else body
    signature = signed_request(body, sign.pop("secret", SECRET), **sign)["Stripe-Signature"].encode()
    length = b"Content-Length: %d\r\n" % len(body) if length is None else length
    head = b"POST %s HTTP/1.1\r\nHost: x\r\nStripe-Signature: %s\r\n" % (path.encode(), signature)
    return head + length + more + b"\r\n" + body


def statuses(answer: bytes) -> list[int]:
    """The status of each answer."""
    return [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """Started once for each file of attacks."""
    port = free_port()
    process = GatewayProcess(tmp_path_factory.mktemp("target"), gateway_yaml(port=port), port)
    asyncio.run(process.start())
    try:
        yield Target(process, port)
    finally:
        process.terminate()
