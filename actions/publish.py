"""Publishes to NATS JetStream, Redis Streams, AMQP 0.9.1 (RabbitMQ) or MQTT 5. A second run publishes the same id."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, SecretStr, field_validator

from actions.brokers import AMQP, JETSTREAM, MQTT, REDIS, Broker, Message, no_place
from gateway.plugin import (
    Action,
    CaFile,
    Connection,
    ConnectionSettings,
    Context,
    Duration,
    Fault,
    Finding,
    ProbeContext,
    Reject,
    Settings,
    Verdict,
    ca_file_faults,
    quoted,
    url_fault,
)

_KINDS = {
    "nats": JETSTREAM,
    "tls": JETSTREAM,
    "redis": REDIS,
    "rediss": REDIS,
    "unix": REDIS,
    "amqp": AMQP,
    "amqps": AMQP,
    "mqtt": MQTT,
    "mqtts": MQTT,
}
_OPTIONS = {"stream": JETSTREAM, "max_length": REDIS, "duplicate_window": REDIS, "exchange": AMQP, "retain": MQTT}
_LOOK_SECONDS = 3.0
_PACKAGE = "stripe-fulfilment-gateway[publish]"
_RESERVED = frozenset(("nats-msg-id", "id", "body"))


class BrokerConnection(ConnectionSettings):
    """A message broker: NATS JetStream, Redis Streams, AMQP 0.9.1 such as RabbitMQ, or MQTT 5."""

    type: Literal["broker"]
    url: SecretStr = Field(
        description="nats://user:password@host:4222, tls://..., redis://:password@host:6379/0, rediss://... or "
        "unix:///path/to/redis.sock, amqp://user:password@host:5672/vhost, amqps://..., "
        "mqtt://user:password@host:1883, mqtts://...; of a NATS cluster several, with commas between.",
        examples=["${BROKER_URL}"],
    )
    ca_file: CaFile = Field(
        None,
        description="Certificates to trust instead of the system's, PEM; for tls://, rediss://, amqps:// and mqtts://.",
    )

    @field_validator("url")
    @classmethod
    def _known_scheme(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value()
        urls = text.split(",") if text.startswith(("nats:", "tls:")) else [text]
        kinds = {_kind_of(url) for url in urls}
        if not all(url.partition("://")[2] for url in urls) or None in kinds or len(kinds) > 1:
            raise ValueError(f"expected a URL that begins with {', '.join(f'{scheme}://' for scheme in _KINDS)}")
        if (fault := next(filter(None, map(url_fault, urls)), None)) is not None:
            raise ValueError(fault)
        return value

    def faults(self, folder: Path) -> Iterable[Fault]:
        """Certificates that cannot be read."""
        yield from ca_file_faults(self.ca_file, folder)

    @property
    def kind(self) -> str:
        """Which of the brokers it is."""
        return str(_kind_of(self.url.get_secret_value()))


def _kind_of(url: str) -> str | None:
    return _KINDS.get(url.partition("://")[0])


class PublishSettings(Settings):
    """`with` of publish."""

    connection: Annotated[str, Connection(BrokerConnection)] = Field(
        description="A connection of type broker.", examples=["bus"]
    )
    to: str = Field(
        min_length=1,
        description="JetStream: the subject; Redis: the stream; AMQP: the routing key, without an exchange the queue; "
        "MQTT: the topic.",
        examples=["orders.paid"],
    )
    body: Any = Field(
        None,
        description="The message: text, or anything else as JSON. Left out: the event as Stripe posted it.",
        examples=[{"order": "{{ object.metadata.order_id }}"}],
    )
    headers: dict[str, str] = Field(
        default_factory=dict,
        description="Sent along: headers; at Redis fields beside body, at MQTT user properties.",
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

    exchange: str | None = Field(
        None, max_length=127, description="AMQP only: the exchange. Left out: `to` is a queue.", examples=["orders"]
    )
    retain: bool = Field(False, description="MQTT only: the server keeps it for who subscribes later.", examples=[True])


class Publish(Action[PublishSettings]):
    """Publishes a message to NATS JetStream, Redis Streams, AMQP 0.9.1 (RabbitMQ) or MQTT 5, once its broker has
    acknowledged it, and somebody will get it.

    The delivery's id goes along. JetStream and Redis keep one message for it, as long as they remember; with AMQP and
    MQTT a second run publishes a second message with the same id.
    """

    name: ClassVar[str] = "publish"
    Settings: ClassVar[type[Settings]] = PublishSettings
    requires: ClassVar[Mapping[str, str]] = dict.fromkeys(("nats", "redis", "aio_pika", "paho"), _PACKAGE)

    async def open(self, connection: BrokerConnection, base_folder: str) -> Broker:
        """A broker; it connects at the first message. Raises Reject where its settings cannot be used."""
        url = connection.url.get_secret_value()
        ca_file = str(Path(base_folder, connection.ca_file)) if connection.ca_file else None
        try:
            return _broker(connection, url, ca_file)
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
        if isinstance(to, str) and (told := no_place(connection.kind, to)) is not None:
            yield Fault(("to",), told)

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

    async def is_reached(self, connection: BrokerConnection, resource: Broker) -> bool:
        """The broker answers."""
        return (await resource.look(_LOOK_SECONDS)).verdict is Verdict.GOOD

    async def run(self, settings: PublishSettings, context: Context) -> dict[str, Any]:
        """Publishes once. Output: stream, position, duplicate."""
        message = _message(settings, context)
        if (told := no_place(context.connection.kind, message.to)) is not None:
            raise Reject(told)
        exchange = context.sends(f"{context.connection.kind}: {message.to}", message.headers.items(), message.body)
        kept = await context.resource.publish(message, context.timeout_seconds)
        place = kept.stream if kept.position is None else f"{kept.stream} at {kept.position}"
        exchange.answered(f"kept in {place}" + (", a duplicate" if kept.is_duplicate else ""))
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
        settings.exchange,
        settings.retain,
    )


def _header_fault(name: str, value: str) -> str | None:
    """What is wrong with a header; None where nothing is."""
    if not name or name.lower() in _RESERVED or any(character in name + value for character in "\r\n\0"):
        return f"the header {quoted(name, 40)!r} may not be set so: reserved, or with a line break in it"
    if any(character in name for character in ": "):
        return f"the header {quoted(name, 40)!r} has a colon or a blank in its name"
    return None


def _misplaced(options: Mapping[str, Any], connection: BrokerConnection) -> Iterator[tuple[str, str]]:
    """The options of another kind of broker, and what is wrong with each."""
    for name, kind in _OPTIONS.items():
        if options.get(name) is not None and kind != connection.kind:
            yield name, f"{name} is for {kind}, and the connection is {connection.kind}"


def _broker(connection: BrokerConnection, url: str, ca_file: str | None) -> Broker:
    """A broker that is not connected yet; its library is imported only here. Raises OSError and ValueError."""
    if connection.kind == REDIS:
        from actions.redis_broker import RedisBroker

        return RedisBroker(url, ca_file, connection.concurrency)
    tls = ssl.create_default_context(cafile=ca_file) if ca_file else None
    if connection.kind == AMQP:
        from actions.amqp_broker import AmqpBroker

        return AmqpBroker(url, tls)
    if connection.kind == MQTT:
        from actions.mqtt_broker import MqttBroker

        return MqttBroker(url, tls)
    from actions.nats_broker import NatsBroker

    return NatsBroker(url, tls)
