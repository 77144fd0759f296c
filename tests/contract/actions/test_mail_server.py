"""What a strict mail server asks of whoever sends: a full name, short lines, one sender; and its words in errors."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, syntax

from actions.email import Email
from gateway.plugin import SmtpConnection
from gateway.testing import Trial, TrialResult, make_event, probe_action
from tests.contract.actions.servers import Mailbox

LETTER = {"to": "a@b.example", "subject": "s", "text": "t"}
_FULL_NAME = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+|\[[0-9A-Za-z.:]+\]")


class Strict(SMTP):
    """As Postfix with reject_non_fqdn_helo_hostname and strict_rfc821_envelopes: it has no SMTPUTF8 either."""

    greetings: list[str]

    @syntax("EHLO hostname")
    async def smtp_EHLO(self, hostname: str) -> None:
        self.greetings.append(hostname)
        if hostname.endswith(".unknown.example"):
            await self.push("550 5.7.1 who are you, topsecret?")
        elif not _FULL_NAME.fullmatch(hostname):
            await self.push(f"504 5.5.2 <{hostname}>: Helo command rejected: need fully-qualified hostname")
        else:
            await super().smtp_EHLO(hostname)


@pytest.fixture
async def strict() -> AsyncIterator[tuple[Mailbox, dict[str, Any], list[str]]]:
    """Its mailbox, a connection to it, and how it was greeted."""
    box, greetings = Mailbox(), list[str]()
    loop = asyncio.get_running_loop()

    def protocol() -> SMTP:
        server = Strict(box, loop=loop)
        server.greetings = greetings
        return server

    server = await loop.create_server(protocol, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    yield (
        box,
        {"type": "smtp", "host": "127.0.0.1", "port": port, "tls": "none", "from": "orders@acme.example"},
        greetings,
    )
    server.close()


Server = tuple[Mailbox, dict[str, Any], list[str]]


async def attempt(server: Server, event: Any = None, *, on: Any = None, **more: Any) -> TrialResult:
    async with Trial(Email(), {**LETTER, **more}, connection={**server[1], **(on or {})}, event=event) as trial:
        return await trial.attempt()


async def test_a_machine_without_a_full_name_greets_with_its_address(
    strict: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actions.smtp_mail._own_name", lambda: "localhost")
    assert (await attempt(strict)).state == "succeeded"
    assert strict[2] == ["[127.0.0.1]"]


@pytest.mark.parametrize(
    ("hello", "greeting"),
    [
        ("gateway.acme.example", "gateway.acme.example"),
        ("tor.straße.example", "tor.xn--strae-oqa.example"),
        ("192.0.2.1", "[192.0.2.1]"),
        ("2001:db8::1", "[IPv6:2001:db8::1]"),
    ],
)
async def test_hello_is_what_the_server_is_greeted_with(strict: Server, hello: str, greeting: str) -> None:
    assert (await attempt(strict, on={"hello": hello})).state == "succeeded"
    assert strict[2] == [greeting]


@pytest.mark.parametrize(
    ("hello", "words"),
    [
        ("gateway", "504 5.5.2 <gateway>: Helo command rejected: need fully-qualified hostname"),
        ("a.unknown.example", "550 5.7.1 who are you, topsecret?"),
    ],
)
async def test_a_greeting_that_is_refused_is_told_by_doctor_with_its_mend(
    strict: Server, hello: str, words: str
) -> None:
    connection = {**strict[1], "hello": hello}
    where = f"127.0.0.1:{connection['port']}"
    [finding] = await probe_action(Email(), connection=SmtpConnection.model_validate(connection))
    assert (finding.verdict, finding.text) == ("bad", f"{where} refused the greeting EHLO {hello}: {words}")
    assert finding.fix.startswith("give the full host name of this gateway as hello")
    ended = await attempt(strict, on={"hello": hello})
    assert (ended.state, ended.error) == ("pending", finding.text)


async def test_each_refused_recipient_is_named_with_the_servers_own_words(strict: Server) -> None:
    ended = await attempt(strict, to=["nobody@a.example", "nobody2@b.example"])
    assert (ended.state, ended.error) == (
        "dead",
        "no recipient was accepted: nobody@a.example: 550 no such user; nobody2@b.example: 550 no such user",
    )


async def test_lines_longer_than_smtp_allows_are_broken_in_text_and_html(strict: Server) -> None:
    long = "Grüße " * 300 + "x" * 2000
    assert (await attempt(strict, text=long, html=f"<p>{long}</p>")).state == "succeeded"
    [wire], [mail] = strict[0].wire, strict[0].mails
    assert max(map(len, wire.split(b"\r\n"))) <= 998
    text, html = mail.get_body(("plain",)), mail.get_body(("html",))
    assert text is not None
    assert html is not None
    assert (text.get_content().strip(), html.get_content().strip()) == (long, f"<p>{long}</p>")


async def test_names_beyond_ascii_need_no_smtputf8_but_local_parts_do(strict: Server) -> None:
    ended = await attempt(strict, to="Jürgen Müller <kunde@straße.example>", subject="Für Sie")
    assert (ended.state, strict[0].recipients) == ("succeeded", ["kunde@xn--strae-oqa.example"])
    ended = await attempt(strict, to="jürgen@b.example")
    assert ended.error == "the mail server takes no addresses with letters beyond ASCII (SMTPUTF8)"


async def test_the_envelope_and_the_mail_have_one_sender(strict: Server) -> None:
    ended = await attempt(strict, make_event(object={"h": "Sender"}), **{"from": "eu@acme.example"})
    assert ended.state == "succeeded"
    assert strict[0].mails[0]["From"] == "eu@acme.example"
    assert strict[0].senders == ["eu@acme.example"]


# -- lists that one can leave -----------------------------------------------------------------------------------


async def test_list_unsubscribe_makes_the_pair_of_rfc_8058(strict: Server) -> None:
    event = make_event(object={"customer": "cus_1>, <https://evil.example"})
    uris = ["https://acme.example/leave?c={{ object.customer }}", "mailto:leave@acme.example"]
    assert (await attempt(strict, event, list_unsubscribe=uris)).state == "succeeded"
    [wire] = strict[0].wire
    assert (
        b"List-Unsubscribe: <https://acme.example/leave?c=cus_1%3E%2C%20%3Chttps%3A%2F%2Fevil.example>,\r\n"
        b" <mailto:leave@acme.example>\r\n"
    ) in wire
    assert b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" in wire


async def test_a_mailto_address_alone_asks_for_no_post(strict: Server) -> None:
    assert (await attempt(strict, list_unsubscribe="mailto:leave@acme.example?subject=x")).state == "succeeded"
    assert "List-Unsubscribe" in strict[0].mails[0]
    assert "List-Unsubscribe-Post" not in strict[0].mails[0]


async def test_an_address_to_leave_at_that_an_event_makes_wrong_is_dead(strict: Server) -> None:
    ended = await attempt(strict, make_event(object={"u": "http://a.example/"}), list_unsubscribe="{{ object.u }}")
    told = "list_unsubscribe: 'http://a.example/' is no https:// URL and no mailto: address"
    assert (ended.state, ended.error) == ("dead", told)
