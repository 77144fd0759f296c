"""NATS JetStream: a message counts as published when a stream has acknowledged it.

Imports nats-py: publish imports this file when it first needs it.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.js.errors import APIError, NoStreamResponseError, NotFoundError

from actions.brokers import Acknowledged, Message, hidden
from gateway.plugin import Finding, ProbedUse, Reject, Retry, Unreached

_CONNECT_SECONDS = 5
_DENIED = re.compile(r'permissions violation for publish to "([^"]*)"', re.I)


class NatsBroker:
    """One connection. It is not kept up in the background: a lost one is opened anew by the next message."""

    def __init__(self, urls: str, tls: ssl.SSLContext | None) -> None:
        self._urls = urls
        self._tls = tls
        self._client: Client | None = None
        self._lost: asyncio.Future[None] | None = None
        self._opening = asyncio.Lock()
        self._waiting: set[tuple[str, asyncio.Future[None]]] = set()  # for an acknowledgement, by subject
        self._errors: list[Exception] = []  # that its client told while it connected

    async def publish(self, message: Message, timeout_seconds: float) -> Acknowledged:
        """Publishes with the delivery's id as Nats-Msg-Id, and waits for the stream's acknowledgement."""
        client = await self._connected()
        if len(message.body) > client.max_payload:
            raise Reject(f"the body has {len(message.body)} bytes; the server takes {client.max_payload} (max_payload)")
        headers = {"Nats-Msg-Id": message.id, **message.headers}
        sending = asyncio.ensure_future(
            client.jetstream().publish(
                message.to, message.body, timeout=timeout_seconds, stream=message.stream, headers=headers
            )
        )
        try:
            return await self._acknowledged(sending, message.to)
        finally:
            sending.cancel()

    async def _acknowledged(self, sending: asyncio.Future[Any], to: str) -> Acknowledged:
        denied: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        assert self._lost is not None
        self._waiting.add((to, denied))
        try:
            await asyncio.wait({sending, denied, self._lost}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._waiting.discard((to, denied))
        if denied.done():
            raise Reject(f"the server lets this user not publish to {to}: give it the permission")
        if not sending.done():
            raise Retry("the connection broke off before the acknowledgement")
        try:
            answer = sending.result()
        except NoStreamResponseError:
            message = f"no stream takes the subject {to}: add it to a stream's subjects"
            raise Retry(message, of_connection=False) from None
        except APIError as error:
            said = f"JetStream refused it: {error.description} (code {error.err_code})"
            if (error.code or 0) >= 500:
                raise Retry(said) from None
            raise Reject(said) from None
        except (TimeoutError, nats.errors.TimeoutError):
            raise Retry("no acknowledgement in time; a second message would be known by its id") from None
        except (nats.errors.Error, OSError, json.JSONDecodeError) as error:
            raise Retry(f"the connection broke off: {hidden(error, self._urls)}") from None
        return Acknowledged(answer.stream, str(answer.seq), bool(answer.duplicate))

    async def look(self, timeout_seconds: float) -> Finding:
        """Whether it answers, and has JetStream."""
        client = await self._connected()
        version = client.connected_server_version
        name = f"NATS {version.major}.{version.minor}.{version.patch}"
        try:
            await client.jetstream(timeout=timeout_seconds).account_info()
        except (nats.errors.Error, TimeoutError) as error:
            text = f"{name} answers, but JetStream does not: {hidden(error, self._urls)}"
            return Finding.bad(text, "turn JetStream on for the server and this user's account")
        return Finding.good(f"answers: {name} with JetStream")

    async def look_at(self, to: str, use: ProbedUse) -> Finding:
        """Whether a stream takes the subject."""
        client = await self._connected()
        try:
            stream = await client.jetstream().find_stream_name_by_subject(to)
        except NotFoundError:
            return Finding.bad(f"no stream takes the subject {to}", "add it to a stream's subjects", use=use.place)
        except (nats.errors.Error, TimeoutError) as error:
            text = f"which stream takes {to} is not told: {hidden(error, self._urls)}"
            return Finding.note(text, use=use.place)
        wanted = use.settings.get("stream")
        if isinstance(wanted, str) and wanted != stream:
            text = f"the subject {to} is taken by the stream {stream}, not by {wanted}"
            return Finding.bad(text, "mend stream, or the subjects of the streams", use=use.place)
        return Finding.good(f"the stream {stream} takes the subject {to}", use=use.place)

    async def close(self) -> None:
        """Ends the connection."""
        if self._client is not None:
            await self._client.close()

    async def _connected(self) -> Client:
        """The connection, opened where there is none. Raises Retry."""
        async with self._opening:
            if self._client is not None and self._client.is_connected:
                return self._client
            await self.close()
            lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

            async def on_end() -> None:
                if not lost.done():
                    lost.set_result(None)

            self._errors.clear()
            client = Client()
            try:
                async with asyncio.timeout(2 * _CONNECT_SECONDS):
                    await client.connect(
                        self._urls.split(","),
                        tls=self._tls,
                        allow_reconnect=False,
                        max_reconnect_attempts=1,
                        reconnect_time_wait=0,
                        connect_timeout=_CONNECT_SECONDS,
                        error_cb=self._on_error,
                        disconnected_cb=on_end,
                        closed_cb=on_end,
                    )
            except (nats.errors.Error, OSError, TimeoutError, ValueError) as error:
                said = hidden([error, *self._errors][-1], self._urls)
                if "authorization violation" in said.lower():
                    raise Retry("the server refuses the login") from None
                raise Unreached(f"cannot connect: {said}") from None
            finally:
                if not client.is_connected:
                    await client.close()
            self._client = client
            self._lost = lost
            return self._client

    async def _on_error(self, error: Exception) -> None:
        if self._opening.locked():
            self._errors.append(error)
        denial = _DENIED.search(str(error))
        for subject, denied in self._waiting if denial else ():
            if denial and denial[1] == subject and not denied.done():
                denied.set_result(None)
