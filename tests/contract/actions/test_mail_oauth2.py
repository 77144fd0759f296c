"""A mail server that takes access tokens (XOAUTH2), and the endpoint that gives them: kept, renewed, refused."""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64decode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from aiohttp import web
from aiosmtpd.smtp import SMTP, AuthResult

from actions.email import Email
from gateway.plugin import SmtpConnection
from gateway.testing import Trial, probe_action, problems
from tests.certificates import self_signed
from tests.contract.actions.servers import Mailbox
from tests.http_service import Serve

LETTER = {"to": "a@b.example", "subject": "s", "text": "t"}
REFRESH, SECRET = "1//refresh-topsecret", "client-topsecret"


class TokenServer(Mailbox):
    """The mailbox, the endpoint, and what each was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[dict[str, list[str]]] = []
        self.logins: list[str] = []
        self.good: set[str] = set()
        self.refusal: dict[str, str] | None = None
        self.more: dict[str, str] = {}
        self.is_locked = False

    async def take(self, request: web.BaseRequest) -> web.StreamResponse:
        self.forms.append(parse_qs((await request.read()).decode()))
        if self.refusal is not None:
            return web.json_response(self.refusal, status=400)
        token = f"token-{len(self.forms)}"
        self.good = {token}
        return web.json_response({"access_token": token, "token_type": "Bearer", "expires_in": 3600, **self.more})

    async def auth_XOAUTH2(self, server: SMTP, args: list[str]) -> AuthResult:
        user, token = b64decode(args[1]).decode().strip("\x01").split("\x01")
        self.logins.append(f"{user} {token}")
        is_good = token.removeprefix("auth=Bearer ") in self.good and not self.is_locked
        if not is_good:
            await server.push("535 5.7.3 Authentication unsuccessful")
        return AuthResult(success=is_good, handled=True)


Servers = tuple[TokenServer, dict[str, Any]]


@pytest.fixture
async def servers(tmp_path: Path, serve: Serve) -> AsyncIterator[Servers]:
    """Both, and a connection to them."""
    cert, key = self_signed(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    box, loop = TokenServer(), asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(box, tls_context=context, auth_required=True, loop=loop), "127.0.0.1", 0
    )
    oauth2 = {
        "token_url": f"{await serve(box.take)}/token", "client_id": "gateway", "client_secret": SECRET,
        "refresh_token": REFRESH, "client_auth": "body", "allow_private": True,
    }  # fmt: skip
    connection = {
        "type": "smtp", "host": "localhost", "port": server.sockets[0].getsockname()[1], "ca_file": str(cert),
        "from": "orders@acme.example", "username": "orders@acme.example", "oauth2": oauth2,
    }  # fmt: skip
    yield box, connection
    server.close()


async def test_a_refresh_token_brings_an_access_token_that_is_kept(servers: Servers) -> None:
    box, connection = servers
    async with Trial(Email(), LETTER, connection=connection) as trial:
        outcomes = await asyncio.gather(*(trial.attempt() for _ in range(3)))
    assert {ended.state for ended in outcomes} == {"succeeded"}
    assert box.forms == [
        {
            "grant_type": ["refresh_token"],
            "refresh_token": [REFRESH],
            "client_id": ["gateway"],
            "client_secret": [SECRET],
        }
    ]
    assert set(box.logins) == {"user=orders@acme.example auth=Bearer token-1"}


async def test_client_credentials_bring_one_without_a_person(servers: Servers) -> None:
    box, connection = servers
    oauth2 = {name: value for name, value in connection["oauth2"].items() if name != "refresh_token"}
    oauth2["scope"] = "https://outlook.office365.com/.default"
    async with Trial(Email(), LETTER, connection={**connection, "oauth2": oauth2}) as trial:
        assert (await trial.attempt()).state == "succeeded"
    assert (box.forms[0]["grant_type"], box.forms[0]["scope"]) == (["client_credentials"], [oauth2["scope"]])


async def test_a_token_that_the_server_refuses_is_fetched_anew_by_the_newest_refresh_token(servers: Servers) -> None:
    box, connection = servers
    box.more = {"refresh_token": "1//rotated"}
    action = Email()
    pool = await action.open(SmtpConnection.model_validate(connection), ".")
    (await pool.take()).close()
    box.good = set()  # as after the mailbox's password was changed
    pool.give(await pool.take())
    await action.close(pool)
    assert [form["refresh_token"] for form in box.forms] == [[REFRESH], ["1//rotated"]]
    assert [login.rpartition(" ")[2] for login in box.logins] == ["token-1", "token-1", "token-2"]


async def test_what_the_endpoint_refuses_is_told_with_its_words_and_no_secret(servers: Servers) -> None:
    box, connection = servers
    box.refusal = {"error": "invalid_grant", "error_description": "Token has been expired or revoked."}
    async with Trial(Email(), LETTER, connection=connection) as trial:
        ended = await trial.attempt()
    assert (ended.state, ended.is_connection_failure) == ("pending", True)
    assert ended.error == (
        "no access token: 127.0.0.1 answered 400: invalid_grant Token has been expired or revoked. "
        "(the refresh token is spent, or was taken back: have the person allow it anew)"
    )
    [finding] = await probe_action(Email(), connection=SmtpConnection.model_validate(connection))
    assert (finding.verdict, finding.text) == ("bad", ended.error)
    assert finding.fix.startswith("look at oauth2 on the connection")


async def test_a_mailbox_that_refuses_every_token_is_told_in_its_words(servers: Servers) -> None:
    box, connection = servers
    box.is_locked = True
    async with Trial(Email(), LETTER, connection=connection) as trial:
        ended = await trial.attempt()
    told = "refused the login of orders@acme.example: 535 5.7.3 Authentication unsuccessful"
    assert (ended.state, ended.error) == ("pending", f"localhost:{connection['port']} {told}")
    assert len(box.logins) == 2


async def test_doctor_says_that_a_token_logs_in(servers: Servers) -> None:
    greeting, sender = await probe_action(Email(), connection=SmtpConnection.model_validate(servers[1]))
    assert (greeting.verdict, sender.verdict) == ("note", "good")  # the certificate of the tests ends soon


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"password": "x"}, "password and oauth2 are two ways to log in: leave one out"),
        ({"username": ""}, "oauth2 needs username: the mailbox that is logged in to"),
    ],
)
def test_two_logins_or_no_mailbox_are_told_at_check(change: dict[str, Any], told: str) -> None:
    oauth2 = {"token_url": "https://oauth2.example/token", "client_id": "a"}
    connection = {
        "type": "smtp",
        "host": "a.example",
        "from": "a@b.example",
        "username": "a@b.example",
        "oauth2": oauth2,
    }
    assert problems(Email(), LETTER, connection={**connection, **change}) == [f"connections.it.oauth2: {told}"]
