"""Catchers for development: a mail server, HTTP services and a Slack on loopback, which show what they are sent."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from gateway.cli.output import clean

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.admin.outbox import Outbox
    from gateway.config.load import Config
    from gateway.plugin import ConnectionSettings, HttpConnection

SHOWN_CHARACTERS = 600  # of a forward's body
_SIGNED = re.compile(r"t=(\d{1,15}),")


def show(title: str, text: str) -> None:
    """One caught thing, for the reader: without the configuration's secrets."""
    from rich.console import Console
    from rich.panel import Panel
    from rich.text import Text

    from gateway.config.runtime import masked

    panel = Panel(Text(clean(masked(text))), title=Text(clean(masked(title))), title_align="left")
    Console(highlight=False).print(panel)
    sys.stdout.flush()


class MailCatcher:
    """aiosmtpd's handler: shows each mail."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        """Takes one mail."""
        message = message_from_bytes(envelope.content, policy=default)
        assert isinstance(message, EmailMessage)
        heads = [f"{name}: {message[name]}" for name in ("From", "To", "Cc", "Subject", "Message-ID") if message[name]]
        bodies = [message.get_body((kind,)) for kind in ("plain", "html")]
        texts = [str(body.get_content()).strip() for body in bodies if body is not None]
        if len(texts) == 2:
            heads.append("(with an HTML version)")
        heads += [f"attached: {part.get_filename() or part.get_content_type()}" for part in message.iter_attachments()]
        title = f"mail to {', '.join(envelope.rcpt_tos)}"
        self._outbox.add(
            "mail",
            title,
            [head.partition(": ")[::2] for head in heads if ": " in head],
            texts[0] if texts else "(no text)",
            html=str(bodies[1].get_content()) if bodies[1] is not None else "",
        )
        show(title, "\n".join([*heads, "", texts[0] if texts else "(no text)"]))
        return "250 OK"


def signature_words(connection: HttpConnection, headers: dict[str, str], body: bytes) -> str:
    """What a receiver would say of a forward's signature."""
    from standardwebhooks.webhooks import Webhook

    from gateway.testing import signed_request

    if connection.scheme == "none":
        return "not signed"
    for secret in connection.secrets:
        if connection.scheme == "standard":
            # Whatever the library raises on odd headers or secrets means the same to the reader.
            with contextlib.suppress(Exception):
                Webhook(secret).verify(body, headers)
                return "Standard Webhooks signature verified"
        else:
            signature = headers.get("Stripe-Signature", "")
            stamp = _SIGNED.match(signature)
            if stamp is not None:
                wanted = signed_request(body, secret, timestamp=int(stamp[1]))["Stripe-Signature"]
                if wanted.partition(",")[2] in signature.split(","):
                    return "Stripe signature verified"
    return "signature WRONG"


def _http(
    name: str, connections: Mapping[str, ConnectionSettings], outbox: Outbox
) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
    async def take(request: web.BaseRequest) -> web.StreamResponse:
        from aiohttp import web

        from gateway.plugin import HttpConnection

        body = await request.read()
        connection = connections.get(name)
        if not isinstance(connection, HttpConnection):
            return web.Response(status=410)
        signed = signature_words(connection, dict(request.headers), body)
        shown = body[:SHOWN_CHARACTERS].decode("utf-8", "replace") + (" ..." if len(body) > SHOWN_CHARACTERS else "")
        kept = ("webhook-id", "webhook-timestamp", "webhook-signature", "stripe-signature", "idempotency-key")
        pairs = [(key, value) for key, value in request.headers.items() if key.lower() in kept]
        heads = "\n".join(f"{key}: {value}" for key, value in pairs)
        title = f"forward to {name} ({signed})"
        called = ("Request", f"{request.method} {request.path_qs}")
        outbox.add("forward", title, [called, *pairs], body.decode("utf-8", "replace"))
        show(title, f"{request.method} {request.path_qs}\n{heads}\n\n{shown}")
        return web.json_response({"ok": True})

    return take


def _slack(name: str, outbox: Outbox) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
    async def take(request: web.BaseRequest) -> web.StreamResponse:
        from aiohttp import web

        try:
            message = json.loads(await request.read())
        except ValueError:
            return web.Response(status=400, text="invalid_payload")
        blocks = json.dumps(message["blocks"], indent=2, ensure_ascii=False) if message.get("blocks") else ""
        channel = message.get("channel")
        title = f"Slack message by {name}" + (f" to {channel}" if channel else "")
        outbox.add("slack", title, [], str(message.get("text", "")), blocks=message.get("blocks"))
        show(title, f"{message.get('text', '')}\n{blocks}".strip())
        if request.path.endswith("/chat.postMessage"):
            return web.json_response({"ok": True, "channel": channel, "ts": "1700000000.000100"})
        return web.Response(text="ok")

    return take


async def _listen(
    stack: contextlib.AsyncExitStack, take: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
) -> str:
    """An HTTP server of its own on a free port, so that paths of any kind lead to it; its origin."""
    from aiohttp import web

    runner = web.ServerRunner(web.Server(take, access_log=None))
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return f"http://127.0.0.1:{runner.addresses[0][1]}"


class Catchers:
    """The catchers of every connection that was ever led to one: a reload finds those of unchanged ones again."""

    def __init__(self, stack: contextlib.AsyncExitStack, outbox: Outbox) -> None:
        self._stack = stack
        self._outbox = outbox
        self._origins: dict[tuple[str, str], str] = {}  # by type and name of the connection
        self._mail_port: int | None = None
        self._real: dict[str, ConnectionSettings] = {}

    async def lead(self, config: Config) -> Config:
        """The config with its mail, HTTP and Slack connections led to catchers on loopback."""
        from pydantic import SecretStr

        from gateway.plugin import HttpConnection, SlackConnection, SmtpConnection, WebConnection

        self._real.clear()
        self._real.update(config.connections)
        connections: dict[str, ConnectionSettings] = {}
        for name, connection in config.connections.items():
            update: dict[str, Any] = {}
            if isinstance(connection, SmtpConnection):
                update = {"host": "127.0.0.1", "port": await self._mail(), "tls": "none", "username": ""}
                update |= {"password": SecretStr(""), "oauth2": None}
                update["downloads"] = None if connection.downloads is None else connection.downloads.stood_in()
            elif isinstance(connection, HttpConnection):
                real = urlsplit(connection.url)  # its query may hold a key, and the catcher shows what it is sent
                origin = await self._origin("http", name, _http(name, self._real, self._outbox))
                update = {"url": origin + real.path, "allow_private": True, "headers": {}}
                update |= {"oauth2": None, "success": ["200-299"]}
            elif isinstance(connection, SlackConnection):
                origin = await self._origin("slack", name, _slack(name, self._outbox))
                if connection.token.get_secret_value():
                    update = {"api_url": f"{origin}/api", "token": SecretStr("dev-token")}
                else:
                    update = {"webhook_url": SecretStr(f"{origin}/services/dev")}
            if isinstance(connection, WebConnection):
                update |= {"proxy": None, "ca_file": None, "tls": None}
            connections[name] = connection.model_copy(update=update)
        return replace(config, connections=connections)

    async def _mail(self) -> int:
        from aiosmtpd.smtp import SMTP

        if self._mail_port is None:
            loop = asyncio.get_running_loop()
            mail = await loop.create_server(
                lambda: SMTP(MailCatcher(self._outbox), enable_SMTPUTF8=True, hostname="localhost", loop=loop),
                "127.0.0.1",
                0,
            )
            self._stack.callback(mail.close)
            port: int = mail.sockets[0].getsockname()[1]
            self._mail_port = port
        return self._mail_port

    async def _origin(
        self, kind: str, name: str, take: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
    ) -> str:
        if (kind, name) not in self._origins:
            self._origins[kind, name] = await _listen(self._stack, take)
        return self._origins[kind, name]


@contextlib.asynccontextmanager
async def catching(outbox: Outbox) -> AsyncIterator[Catchers]:
    """Catchers, which run meanwhile and fill the outbox."""
    async with contextlib.AsyncExitStack() as stack:
        yield Catchers(stack, outbox)
