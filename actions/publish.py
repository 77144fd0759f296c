"""Publishes to NATS JetStream or Redis Streams. Safe to run twice: the broker knows a delivery by its id."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, SecretStr, field_validator

from actions.brokers import NO_SUBJECT, Broker, Message, no_subject
from gateway.plugin import (
    Action,
    Connection,
    ConnectionSettings,
    Context,
    Duration,
    Fault,
    Finding,
    ProbeContext,
    Reject,
    Settings,
)

_NATS = ("nats", "tls")
_REDIS = ("redis", "rediss", "unix")
_PACKAGE = "stripe-fulfilment-gateway[publish]"
_RESERVED = frozenset(("nats-msg-id", "id", "body"))


class BrokerConnection(ConnectionSettings):
    """A message broker: NATS JetStream, or Redis Streams."""

    type: Literal["broker"]
    url: SecretStr = Field(
        description="nats://user:password@host:4222, tls://..., redis://:password@host:6379/0, rediss://... or "
        "unix:///path/to/redis.sock; of a NATS cluster several, with commas between.",
        examples=["${BROKER_URL}"],
    )
    ca_file: str | None = Field(
        None,
        description="Certificates to trust instead of the system's, PEM; for tls:// and rediss://.",
        examples=["config/tls/ca.pem"],
    )

    @field_validator("url")
    @classmethod
    def _known_scheme(cls, value: SecretStr) -> SecretStr:
        schemes = {url.partition("://")[0] for url in value.get_secret_value().split(",")}
        is_whole = all(url.partition("://")[2] for url in value.get_secret_value().split(","))
        if not is_whole or not (schemes <= set(_NATS) or (len(schemes) == 1 and schemes <= set(_REDIS))):
            raise ValueError("expected a URL that begins with nats://, tls://, redis://, rediss:// or unix://")
        return value

    @property
    def is_nats(self) -> bool:
        """Whether it is NATS; else it is Redis."""
        return self.url.get_secret_value().partition("://")[0] in _NATS


class PublishSettings(Settings):
    """`with` of publish."""

    connection: Annotated[str, Connection(BrokerConnection)] = Field(
        description="A connection of type broker.", examples=["bus"]
    )
    to: str = Field(min_length=1, description="JetStream: the subject; Redis: the stream.", examples=["orders.paid"])
    body: Any = Field(
        None,
        description="The message: text, or anything else as JSON. Left out: the event as Stripe posted it.",
        examples=[{"order": "{{ object.metadata.order_id }}"}],
    )
    headers: dict[str, str] = Field(
        default_factory=dict,
        description="JetStream: headers; Redis: fields beside body.",
        examples=[{"Shop": "{{ account.name }}"}],
    )
    stream: str | None = Field(None, description="JetStream only: the stream that must take it.", examples=["ORDERS"])
    max_length: int | None = Field(
        None, ge=1, description="Redis only: about so many entries are kept in the stream.", examples=[100000]
    )
    duplicate_window: Duration = Field(
        86400.0,
        description="Redis only: so long a second message of one delivery is known. At JetStream the stream says it.",
        examples=["7d"],
    )


class Publish(Action[PublishSettings]):
    """Publishes a message to a JetStream subject or a Redis stream, once its broker has acknowledged it.

    Safe to run twice: the delivery's id goes along, and the broker keeps one message for it, as long as it remembers.
    """

    name: ClassVar[str] = "publish"
    Settings: ClassVar[type[Settings]] = PublishSettings
    requires: ClassVar[Mapping[str, str]] = {"nats": _PACKAGE, "redis": _PACKAGE}

    async def open(self, connection: BrokerConnection, base_folder: str) -> Broker:
        """A broker; it connects at the first message. Raises Reject where its settings cannot be used."""
        url = connection.url.get_secret_value()
        ca_file = str(Path(base_folder, connection.ca_file)) if connection.ca_file else None
        try:
            if not connection.is_nats:
                from actions.redis_broker import RedisBroker

                return RedisBroker(url, ca_file, connection.concurrency)
            from actions.nats_broker import NatsBroker

            return NatsBroker(url, ssl.create_default_context(cafile=ca_file) if ca_file else None)
        except OSError as error:
            raise Reject(f"ca_file {connection.ca_file} cannot be used: {error.strerror}") from None
        except ValueError:
            raise Reject("the connection's url cannot be read") from None

    async def close(self, resource: Broker) -> None:
        """Ends the connection."""
        await resource.close()

    def faults(self, written: Mapping[str, Any], connection: BrokerConnection | None) -> Iterator[Fault]:
        """Headers that are reserved, options of another kind of broker, subjects that are none."""
        headers = written.get("headers")
        for name, value in headers.items() if isinstance(headers, Mapping) else ():
            if (fault := _header_fault(str(name), value if isinstance(value, str) else "")) is not None:
                yield Fault(("headers", name), fault, is_of_key=True)
        if connection is None:
            return
        for name, fault in _misplaced(written, connection):
            yield Fault((name,), fault, "leave it out", is_of_key=True)
        to = written.get("to")
        if connection.is_nats and isinstance(to, str) and NO_SUBJECT.search(to):
            yield Fault(("to",), no_subject(to))

    def rehearse(self, settings: PublishSettings, context: Context) -> None:
        """Makes the message."""
        _message(settings, context)

    async def probe(self, context: ProbeContext) -> AsyncIterator[Finding]:
        """The broker answers, and would take messages where the routes publish."""
        broker: Broker = context.resource
        yield await broker.look(context.timeout_seconds)
        for use in context.uses:
            for _, fault in _misplaced(use.settings, context.connection):
                yield Finding.bad(fault, "leave it out", use=use.place)
            if isinstance(to := use.settings.get("to"), str):
                yield await broker.look_at(to, use)
            else:
                yield Finding.note("where it publishes is known only when it runs", use=use.place)

    async def run(self, settings: PublishSettings, context: Context) -> dict[str, Any]:
        """Publishes once. Output: stream, position, duplicate."""
        message = _message(settings, context)
        kept = await context.resource.publish(message, context.timeout_seconds)
        return {"stream": kept.stream, "position": kept.position, "duplicate": kept.is_duplicate}


def _message(settings: PublishSettings, context: Context) -> Message:
    """What is published. Raises Reject."""
    options = {name: getattr(settings, name) for name in settings.model_fields_set}
    for _, fault in _misplaced(options, context.connection):
        raise Reject(fault)
    body, kind = context.body, "application/json; charset=utf-8"
    if isinstance(settings.body, str):
        body, kind = settings.body.encode(), "text/plain; charset=utf-8"
    elif settings.body is not None:
        body = json.dumps(settings.body, default=str, ensure_ascii=False).encode()
    headers = {
        "Content-Type": kind,
        "Stripe-Event-Id": str(context.event.get("id", "")),
        "Stripe-Event-Type": str(context.event.get("type", "")),
        **settings.headers,
    }
    for name, value in headers.items():
        if (refused := _header_fault(name, value)) is not None:
            raise Reject(refused)
    return Message(
        settings.to,
        context.delivery_id,
        body,
        headers,
        settings.stream,
        settings.max_length,
        settings.duplicate_window,
    )


def _header_fault(name: str, value: str) -> str | None:
    """What is wrong with a header; None where nothing is."""
    if not name or name.lower() in _RESERVED or any(character in name + value for character in "\r\n\0"):
        return f"the header {name[:40]!r} may not be set so: reserved, or with a line break in it"
    if any(character in name for character in ": "):
        return f"the header {name[:40]!r} has a colon or a blank in its name"
    return None


def _misplaced(options: Mapping[str, Any], connection: BrokerConnection) -> Iterator[tuple[str, str]]:
    """The options of the other kind of broker, and what is wrong with each."""
    for name in ("max_length", "duplicate_window") if connection.is_nats else ("stream",):
        if options.get(name) is not None:
            yield (
                name,
                f"{name} is for {'Redis' if connection.is_nats else 'JetStream'}, and the connection is the other",
            )
