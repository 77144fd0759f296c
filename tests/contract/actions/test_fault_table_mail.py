"""docs/actions.md says what becomes of each fault of mails: every row, on a real mail server."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, syntax

from actions.email import Email
from gateway.testing import Trial, TrialResult, make_event
from tests.acceptance.harness import free_port
from tests.contract.actions.fault_table import fault_rows, happens
from tests.contract.actions.servers import Mailbox, Service


class MoodyServer(SMTP):
    """Greets, or does not."""

    @syntax("EHLO hostname")
    async def smtp_EHLO(self, hostname: str) -> None:
        if hostname == "refused.example":
            await self.push("504 5.5.2 who are you?")
        else:
            await super().smtp_EHLO(hostname)


class MoodyMailbox(Mailbox):
    """Answers to the content as it is told."""

    answer = "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        if self.answer == "gone":
            server.transport.abort()
        return self.answer


class Faulty:
    """A mail server with a fault, one with STARTTLS and login, a host of attachments, and mails to them."""

    def __init__(self, port: int, box: MoodyMailbox, secure: dict[str, Any], service: Service) -> None:
        self.plain = {"type": "smtp", "host": "127.0.0.1", "port": port, "tls": "none", "from": "orders@acme.example"}
        self.box, self.secure, self.service = box, secure, service

    async def mail(
        self,
        on: dict[str, Any] | None = None,
        *,
        attempts: int = 1,
        timeout: str = "10s",
        event: Any = None,
        **more: Any,
    ) -> list[TrialResult]:
        """What came of it, at the last attempt."""
        connection = {**self.plain, **(on or {})}
        written = {"to": "a@b.example", "subject": "s", "text": "t", **more}
        async with Trial(Email(), written, connection=connection, timeout=timeout, event=event) as trial:
            return [await trial.attempt() for _ in range(attempts)][-1:]

    async def attached(self, url: str, **more: Any) -> list[TrialResult]:
        """The same with a file from there."""
        downloads = {"hosts": ["127.0.0.1"], "allow_private": True, "max_size": "1KiB"}
        files = [{"filename": "a.pdf", "url": url, "content_type": "application/pdf", **more}]
        return await self.mail({"downloads": downloads}, attachments=files)


@pytest.fixture
async def faulty(mail: tuple[Mailbox, dict[str, Any]], service: Service) -> AsyncIterator[Faulty]:
    box, loop = MoodyMailbox(), asyncio.get_running_loop()
    server = await loop.create_server(lambda: MoodyServer(box, loop=loop), "127.0.0.1", 0)
    yield Faulty(server.sockets[0].getsockname()[1], box, mail[1], service)
    server.close()


async def _silent(faulty: Faulty) -> list[TrialResult]:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        return await faulty.mail({"port": silent.getsockname()[1]}, timeout="300ms")


async def _no_tls(faulty: Faulty) -> list[TrialResult]:
    untrusted = {**faulty.secure, "ca_file": None}
    return [*await faulty.mail({"tls": "starttls"}), *await faulty.mail(untrusted)]


async def _content(faulty: Faulty, answer: str) -> list[TrialResult]:
    faulty.box.answer = answer
    return await faulty.mail()


async def _no_address(faulty: Faulty) -> list[TrialResult]:
    return await faulty.mail(to="{{ object.email }}", event=make_event(object={"email": "nobody at home"}))


async def _host_fails(faulty: Faulty) -> list[TrialResult]:
    faulty.service.say(503)
    return [*await faulty.attached(faulty.service.url), *await faulty.attached(f"http://127.0.0.1:{free_port()}/")]


async def _host_refuses(faulty: Faulty) -> list[TrialResult]:
    outcomes = []
    for status, text in ((404, ""), (200, "a page"), (200, "x" * 2000)):
        faulty.service.say(status, text)
        kind = {"content_type": "text/plain"} if len(text) > 1024 else {}
        outcomes += await faulty.attached(faulty.service.url, **kind)
    return outcomes


async def _refused(faulty: Faulty) -> list[TrialResult]:
    sender = await faulty.mail({"from": "stranger@b.example"})
    return [*sender, *await _content(faulty, "554 5.7.1 looks like spam")]


Case = Callable[[Faulty], Awaitable[list[TrialResult]]]
TWO_NOBODY, TWO_BUSY = ["a@b.example", "nobody@b.example"], ["a@b.example", "busy@b.example"]
CASES: dict[str, Case] = {
    "nobody listens there": lambda faulty: faulty.mail({"port": free_port()}),
    "no answer within `timeout`": _silent,
    "it refuses the greeting": lambda faulty: faulty.mail({"hello": "refused.example"}),
    "it refuses the login": lambda faulty: faulty.mail({**faulty.secure, "password": "wrong"}),
    "it has no STARTTLS, or its certificate is not trusted": _no_tls,
    "it breaks off within the mail": lambda faulty: _content(faulty, "gone"),
    "it refuses the sender or the content, by 5xx": _refused,
    "it refuses the content, by 4xx": lambda faulty: _content(faulty, "452 4.3.1 disk full"),
    "it refuses every recipient, by 5xx": lambda faulty: faulty.mail(to="nobody@b.example"),
    "it refuses every recipient, by 4xx": lambda faulty: faulty.mail(to="busy@b.example"),
    "it refuses one of several recipients, by 5xx": lambda faulty: faulty.mail(to=TWO_NOBODY),
    "it refuses one of several recipients, by 4xx": lambda faulty: faulty.mail(to=TWO_BUSY, attempts=4),
    "it does so still at the fifth attempt": lambda faulty: faulty.mail(to=TWO_BUSY, attempts=5),
    "an address has letters that it does not take": lambda faulty: faulty.mail(to="jürgen@b.example"),
    "an event brings what is no address": _no_address,
    "an attachment's host is away, or answers 5xx": _host_fails,
    "an attachment's host answers 4xx, or sends another type, or too much": _host_refuses,
}


def test_each_row_has_its_case() -> None:
    assert list(CASES) == list(fault_rows("mail"))


@pytest.mark.parametrize("fault", CASES)
async def test_what_the_table_says_happens(faulty: Faulty, fault: str, tmp_path: Path) -> None:
    assert {happens(ended) for ended in await CASES[fault](faulty)} == {fault_rows("mail")[fault]}
