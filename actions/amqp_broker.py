"""AMQP 0.9.1, such as RabbitMQ: a message counts as published when a queue has it and the broker has confirmed it.

Imports aio-pika: publish imports this file when it first needs it. Confirms and `mandatory`:
https://www.rabbitmq.com/docs/confirms
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from typing import Any

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection
from aiormq import exceptions

from actions.brokers import Acknowledged, Message, hidden
from gateway.plugin import Finding, ProbedUse, Reject, Retry, Unreached

_CONNECT_SECONDS = 10.0


class AmqpBroker:
    """One connection, opened anew by the next message where it was lost; a channel for each message that is under way,
    because a broker that refuses one message ends its channel.
    """

    def __init__(self, url: str, tls: ssl.SSLContext | None) -> None:
        self._url = url
        self._tls = tls
        self._connection: AbstractConnection | None = None
        self._opening = asyncio.Lock()
        self._idle: list[AbstractChannel] = []

    async def publish(self, message: Message, timeout_seconds: float) -> Acknowledged:
        """Publishes a persistent message with the delivery's id as its message id, and waits for the confirm."""
        content = aio_pika.Message(
            message.body,
            message_id=message.id,
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            content_type=message.headers.get("Content-Type"),
            headers={name: value for name, value in message.headers.items() if name != "Content-Type"},
        )
        place = f"exchange {message.exchange} with the routing key {message.to}" if message.exchange else message.to
        try:
            async with self._channel() as channel:
                exchange = channel.default_exchange
                if message.exchange:
                    exchange = await channel.get_exchange(message.exchange, ensure=False)
                await exchange.publish(content, message.to, mandatory=True, timeout=timeout_seconds)
        except exceptions.PublishError:
            told = f"no queue takes it: bind one to the {place}" if message.exchange else f"there is no queue {place}"
            raise Retry(told, of_connection=False) from None
        except exceptions.DeliveryError:
            raise Retry(f"the broker did not keep it: a queue of {place} refuses it, or is full") from None
        except exceptions.ChannelNotFoundEntity as error:
            raise Retry(f"the broker refused it: {hidden(error, self._url)}", of_connection=False) from None
        except exceptions.ChannelClosed as error:
            raise Reject(f"the broker refused it: {hidden(error, self._url)}") from None
        except TimeoutError:
            raise Retry("no confirmation in time; whether it was kept is not known") from None
        except (exceptions.AMQPError, OSError, RuntimeError) as error:  # RuntimeError: its channel has ended
            raise Retry(f"the connection broke off: {hidden(error, self._url)}") from None
        return Acknowledged(message.exchange or message.to)

    async def look(self, timeout_seconds: float) -> Finding:
        """Whether it answers."""
        about: Any = getattr((await self._connected()).transport, "connection", None)
        told = getattr(about, "server_properties", None) or {}
        return Finding.good(f"answers: {told.get('product', 'AMQP')} {told.get('version', '')}".rstrip())

    async def look_at(self, to: str, use: ProbedUse) -> Finding:
        """Whether the exchange is there; without one, whether the queue is."""
        exchange = use.settings.get("exchange")
        if exchange is not None and not isinstance(exchange, str):
            return Finding.note("where it publishes is known only when it runs", use=use.place)
        kind, name = ("exchange", exchange) if exchange else ("queue", to)
        try:
            async with self._channel() as channel:
                if exchange:
                    await channel.get_exchange(exchange, ensure=True)
                else:
                    await channel.get_queue(to, ensure=True)
        except exceptions.ChannelNotFoundEntity:
            fix = "declare it, with a queue bound to it" if exchange else "declare it"
            return Finding.bad(f"there is no {kind} {name}", fix, use=use.place)
        except (exceptions.AMQPError, OSError, RuntimeError) as error:
            return Finding.note(
                f"whether there is a {kind} {name} is not told: {hidden(error, self._url)}", use=use.place
            )
        return Finding.good(f"there is the {kind} {name}", use=use.place)

    async def close(self) -> None:
        """Ends the connection."""
        self._idle.clear()
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(exceptions.AMQPError, OSError, RuntimeError):  # it may be lost already
                await connection.close()

    @contextlib.asynccontextmanager
    async def _channel(self) -> AsyncIterator[AbstractChannel]:
        """A channel that confirms, for one message at a time; one that failed is not used again."""
        connection = await self._connected()
        channel = self._idle.pop() if self._idle else await connection.channel(on_return_raises=True)
        try:
            yield channel
        except exceptions.DeliveryError:
            self._give(channel)
            raise
        except BaseException:
            await _ended(channel)
            raise
        self._give(channel)

    def _give(self, channel: AbstractChannel) -> None:
        if not channel.is_closed:
            self._idle.append(channel)

    async def _connected(self) -> AbstractConnection:
        """The connection, opened where there is none. Raises Retry."""
        async with self._opening:
            if self._connection is not None and self._connection.connected.is_set():  # is_closed: by us alone
                return self._connection
            await self.close()
            try:
                self._connection = await aio_pika.connect(self._url, ssl_context=self._tls, timeout=_CONNECT_SECONDS)
            except (exceptions.AuthenticationError, exceptions.ProbableAuthenticationError):
                raise Retry("the server refuses the login") from None
            except exceptions.ProtocolSyntaxError:
                raise Retry("the server refuses the virtual host: is it there, and may this user use it?") from None
            except (exceptions.AMQPError, OSError, TimeoutError, RuntimeError) as error:
                raise Unreached(f"cannot connect: {hidden(error, self._url)}") from None
            return self._connection


async def _ended(channel: AbstractChannel) -> None:
    """Closes a channel without waiting for a broker that may be away."""
    try:
        async with asyncio.timeout(1):
            await channel.close()
    except (exceptions.AMQPError, OSError, TimeoutError, RuntimeError):
        return
