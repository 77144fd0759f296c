"""What publish says to a broker, and what a broker answers: the same for each kind of broker."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

from gateway.plugin import Finding, ProbedUse, quoted, without_credentials

JETSTREAM, REDIS, AMQP, MQTT = "JetStream", "Redis", "AMQP", "MQTT"


@dataclass(frozen=True, slots=True)
class Message:
    """What is to be published."""

    to: str
    id: str  # the delivery's: the broker, and whoever reads, knows a second one by it
    body: bytes
    headers: dict[str, str]
    stream: str | None  # NATS: the stream that must take it
    max_length: int | None  # Redis: about so many entries are kept
    duplicate_window_seconds: float  # Redis: so long a second one is known
    exchange: str | None = None  # AMQP: where it goes; None: into the queue that `to` names
    retain: bool = False  # MQTT: kept for who subscribes later


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A broker's word that it has kept a message."""

    stream: str
    position: str | None = None  # NATS: the sequence; Redis: the entry's id; the others do not say
    is_duplicate: bool | None = None  # it was kept before; None: the broker does not know


class Broker(Protocol):
    """A connection to a broker, opened at the first message and again after it was lost."""

    async def publish(self, message: Message, timeout_seconds: float) -> Acknowledged:
        """Publishes, and waits for the acknowledgement. Raises Retry and Reject."""

    async def look(self, timeout_seconds: float) -> Finding:
        """Whether it answers."""

    async def look_at(self, to: str, use: ProbedUse) -> Finding:
        """Whether it would take a message there. Publishes nothing."""

    async def close(self) -> None:
        """Ends the connection."""


_NO_SUBJECT = re.compile(r"[\s*>]|^$|^\.|\.$|\.\.|[^\x21-\x7e\u0080-\U0010ffff]")
_NO_TOPIC = re.compile(r"[+#\0]|^$")


def no_place(kind: str, to: str) -> str | None:
    """Why nothing can be published there, at a broker of that kind; None where it can."""
    if kind == JETSTREAM and _NO_SUBJECT.search(to):
        return f"to {quoted(to, 80)!r} is no subject: words with dots between, without blanks, * and >"
    if kind == MQTT and _NO_TOPIC.search(to):
        return f"to {quoted(to, 80)!r} is no topic to publish to: without + and #"
    most = {AMQP: 255, MQTT: 65535}.get(kind)
    size = len(to.encode())
    return f"to has {size} bytes; {kind} takes {most}" if most is not None and size > most else None


def hidden(error: object, urls: str) -> str:
    """What a client library said, on one line and without the credentials of the (comma-separated) URLs."""
    return quoted(without_credentials(str(error).strip() or type(error).__name__, urls), 300)
