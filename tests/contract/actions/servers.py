"""Real servers for actions to talk to: an HTTP service that answers as told, a mail server with STARTTLS and login."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiosmtpd.smtp import SMTP, AuthResult

from tests.certificates import self_signed
from tests.http_service import Serve

SECRET = "whsec_Zm9yd2FyZCBzZWNyZXQ="
Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Service:
    """An HTTP service that answers as it is told and keeps what it got."""

    def __init__(self) -> None:
        self.answer: Answer = self._fine
        self.requests: list[tuple[web.BaseRequest, bytes]] = []
        self.url = ""

    async def _fine(self, request: web.BaseRequest) -> web.StreamResponse:
        return web.json_response({"ok": True})

    async def take(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append((request, await request.read()))
        return await self.answer(request)

    def say(self, status: int, text: str = "", **headers: str) -> None:
        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return web.Response(status=status, text=text, headers=named)

        self.answer = answer


@pytest.fixture
async def service(serve: Serve) -> Service:
    service = Service()
    service.url = await serve(service.take) + "/"
    return service


class Mailbox:
    """aiosmtpd's handler."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.wire: list[bytes] = []  # the same, as they came
        self.recipients: list[str] = []
        self.senders: list[str] = []  # of the envelopes

    async def handle_MAIL(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if address.startswith("stranger"):
            return "553 not your address"
        envelope.mail_from = address
        self.senders.append(address)
        return "250 OK"

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if address.startswith("nobody"):
            return "550 no such user"
        if address.startswith("busy"):
            return "450 try later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        message = message_from_bytes(envelope.content, policy=default)
        assert isinstance(message, EmailMessage)
        self.mails.append(message)
        self.wire.append(envelope.content)
        self.recipients += envelope.rcpt_tos
        return "250 OK"


def login(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
    good = (data.login, data.password) == (b"me", b"topsecret")
    return AuthResult(success=good, handled=good)


@pytest.fixture
async def mail(tmp_path: Path) -> AsyncIterator[tuple[Mailbox, dict[str, Any]]]:
    cert, key = self_signed(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    box = Mailbox()
    loop = asyncio.get_running_loop()

    def protocol() -> SMTP:
        return SMTP(
            box, tls_context=context, require_starttls=True, auth_required=True, authenticator=login,
            enable_SMTPUTF8=True, loop=loop,
        )  # fmt: skip

    server = await loop.create_server(protocol, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    yield (
        box,
        {
            "type": "smtp", "host": "localhost", "port": port, "tls": "starttls", "username": "me",
            "password": "topsecret", "from": "Acme <orders@acme.example>", "ca_file": str(cert),
        },
    )  # fmt: skip
    server.close()
