"""MQTT 5: a message counts as published when the broker has acknowledged it (QoS 1) and somebody will get it.

Imports paho-mqtt, whose client has a thread of its own: publish imports this file when it first needs it. aiomqtt, the
client for asyncio over it, is not used, because it takes a refused message for a published one
(findings/aiomqtt-takes-refusals-for-success.sh). Reason codes: MQTT 5.0, section 3.4.2.1 (OASIS).
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any
from urllib.parse import unquote, urlsplit

from paho.mqtt.client import Client, MQTTMessageInfo, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from actions.brokers import Acknowledged, Message, hidden
from gateway.plugin import Finding, ProbedUse, Reject, Retry, Unreached

_CONNECT_SECONDS = 10
_KEEPALIVE_SECONDS = 30
_PORTS = {"mqtt": 1883, "mqtts": 8883}
_NOT_AUTHORISED = 0x87
_NOBODY = 0x10  # no matching subscribers
_LOGIN = frozenset((0x84, 0x85, 0x86, 0x87, 0x8A, 0x8C))  # of the answer to CONNECT
_PASSING = frozenset((0x80, 0x83, 0x97))  # unspecified, of the implementation, quota


class MqttBroker:
    """One connection, opened anew by the next message where it was lost."""

    def __init__(self, url: str, tls: ssl.SSLContext | None) -> None:
        self._url = url
        self._tls = tls
        self._link: _Link | None = None
        self._opening = asyncio.Lock()

    async def publish(self, message: Message, timeout_seconds: float) -> Acknowledged:
        """Publishes with the delivery's id as the user property `id`, and waits for the acknowledgement."""
        link = await self._connected()
        if link.most_bytes is not None and len(message.body) > link.most_bytes:
            raise Reject(
                f"the body has {len(message.body)} bytes; the server takes {link.most_bytes} (maximum packet size)"
            )
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho's own types end here
        headers = dict(message.headers)
        properties.ContentType = headers.pop("Content-Type", "")
        properties.UserProperty = [("id", message.id), *headers.items()]
        try:
            async with asyncio.timeout(timeout_seconds):
                code, text = await link.publish(message, properties)
        except TimeoutError:
            raise Retry("no acknowledgement in time; whether it was kept is not known") from None
        if code == _NOBODY and not message.retain:
            raise Retry(f"nobody subscribes to {message.to}: the message would be lost", of_connection=False)
        if code == _NOT_AUTHORISED:
            raise Reject(f"the server lets this user not publish to {message.to}: give it the permission")
        if code >= 0x80:
            said = f"the server refused it: {text} (0x{code:02x})"
            raise Retry(said) if code in _PASSING else Reject(said)
        return Acknowledged(message.to)

    async def look(self, timeout_seconds: float) -> Finding:
        """Whether it answers."""
        await self._connected()
        return Finding.good("answers: MQTT 5")

    async def look_at(self, to: str, use: ProbedUse) -> Finding:
        """Nothing can be asked of a topic without publishing to it."""
        return Finding.note(
            f"whether the server takes {to}, and who subscribes to it, shows with a message", use=use.place
        )

    async def close(self) -> None:
        """Ends the connection."""
        if self._link is not None:
            await asyncio.to_thread(self._link.end)
            self._link = None

    async def _connected(self) -> _Link:
        """The connection, opened where there is none. Raises Retry."""
        async with self._opening:
            if self._link is not None and not self._link.lost.done():
                return self._link
            await self.close()
            link = _Link(self._url, self._tls)
            try:
                async with asyncio.timeout(_CONNECT_SECONDS):
                    code, text = await link.connect()
            except (OSError, TimeoutError, ValueError) as error:
                await asyncio.to_thread(link.end)
                raise Unreached(f"cannot connect: {hidden(error, self._url)}") from None
            except BaseException:
                asyncio.get_running_loop().run_in_executor(None, link.end)  # nobody waits: this attempt is over
                raise
            if code >= 0x80:
                await asyncio.to_thread(link.end)
                raise Retry("the server refuses the login" if code in _LOGIN else f"the server refuses: {text}")
            self._link = link
            return link


class _Link:
    """One connection, its answers brought from paho's thread into the event loop."""

    def __init__(self, url: str, tls: ssl.SSLContext | None) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "", parts.port or _PORTS[parts.scheme])
        self._loop = asyncio.get_running_loop()
        self._greeted: asyncio.Future[Any] = self._loop.create_future()
        self._waiting: dict[int, asyncio.Future[Any]] = {}  # by the number of the message
        self.lost: asyncio.Future[Any] = self._loop.create_future()  # with the reason
        self.most_bytes: int | None = None
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5, reconnect_on_failure=False)
        if parts.username is not None:
            password = None if parts.password is None else unquote(parts.password)
            self._client.username_pw_set(unquote(parts.username), password)
        if parts.scheme == "mqtts":
            self._client.tls_set_context(tls or ssl.create_default_context())
        self._client.connect_timeout = _CONNECT_SECONDS
        self._client.on_connect = self._on_connect
        self._client.on_publish = self._on_publish
        self._client.on_disconnect = self._on_disconnect

    async def connect(self) -> tuple[int, str]:
        """Opens it; the server's reason code and its words. Raises OSError."""
        await asyncio.to_thread(self._client.connect, *self._address, keepalive=_KEEPALIVE_SECONDS)
        self._client.loop_start()
        await asyncio.wait({self._greeted, self.lost}, return_when=asyncio.FIRST_COMPLETED)
        if self._greeted.done():
            code, text = self._greeted.result()
            return code, text
        raise OSError(f"the server ended the connection: {self.lost.result()}")

    async def publish(self, message: Message, properties: Properties) -> tuple[int, str]:
        """Sends; the reason code of the acknowledgement and its words. Raises Retry where the connection is lost."""
        answer: asyncio.Future[Any] = self._loop.create_future()
        info: MQTTMessageInfo = self._client.publish(
            message.to, message.body, qos=1, retain=message.retain, properties=properties
        )
        if info.rc not in (MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_NO_CONN):
            raise Retry(f"it cannot be sent: {info.rc.name}")
        self._waiting[info.mid] = answer  # before any answer, which the loop sees only after this
        try:
            await asyncio.wait({answer, self.lost}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._waiting.pop(info.mid, None)
        if answer.done():
            code, text = answer.result()
            return code, text
        reason = self.lost.result()
        if "too large" in reason.lower():
            raise Reject("the server takes no message of this size (maximum packet size)")
        raise Retry(f"the connection broke off before the acknowledgement: {reason}")

    def end(self) -> None:
        """Ends it and its thread; waits for that."""
        self._client.disconnect()
        self._client.loop_stop()

    def _tell(self, future: asyncio.Future[Any] | None, answer: Any) -> None:
        def tell() -> None:
            if future is not None and not future.done():
                future.set_result(answer)

        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(tell)

    def _on_connect(self, client: Client, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        self.most_bytes = getattr(properties, "MaximumPacketSize", None)
        self._tell(self._greeted, (reason.value, str(reason)))

    def _on_publish(self, client: Client, data: Any, number: int, reason: Any, properties: Any) -> None:
        answer = (reason.value, str(reason))
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(lambda: self._tell(self._waiting.get(number), answer))

    def _on_disconnect(self, client: Client, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        self._tell(self.lost, str(reason))
