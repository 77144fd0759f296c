"""Destinations that misbehave in every way, under load: the others go on, and all is delivered once they are well."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import aiohttp.connector
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from gateway.testing import make_event
from tests.acceptance import troubled
from tests.acceptance.harness import GatewayProcess, free_port
from tests.acceptance.ledger import TORTURE, Ledger
from tests.acceptance.troubled import Mail, Trouble, Troubled
from tests.http_service import Serve
from tests.in_process import config, gateway
from tests.waiting import until

pytestmark = pytest.mark.slow

EVENTS = 40 * TORTURE
TIMES = 12 * TORTURE

ROUTES = """\
  beside:
    events: [checkout.session.completed]
    if: object.metadata.decoy is not defined
    actions:
      bad: {{uses: {uses}, timeout: {timeout}, with: {{connection: bad{words}}}}}
"""


def rss_bytes(gateway: GatewayProcess) -> int:
    """Memory that a process has now."""
    pages = Path(f"/proc/{gateway.pid}/statm").read_text().split()[1]
    return int(pages) * 4096


@contextlib.asynccontextmanager
async def beside(
    folder: Path,
    ledger: Ledger,
    connection: str,
    *,
    uses: str = "http_forward",
    words: str = "",
    timeout: str = "30s",
    longest_pause: str = "400ms",
) -> AsyncIterator[GatewayProcess]:
    """A gateway under load whose events go to the ledger and to a connection `bad`; the ledger settles meanwhile."""
    port = free_port()
    text = ledger.config(
        port,
        bad=f"{connection}, concurrency: 8, breaker: {{pause: 200ms, max: {longest_pause}}}",
        routes=ROUTES.format(uses=uses, words=words, timeout=timeout),
    )
    gateway = GatewayProcess(folder, text, port)
    await gateway.start()
    try:
        await ledger.send(gateway, EVENTS)
        await ledger.settle(120 * TORTURE)
        yield gateway
        assert "Traceback" not in gateway.log.read_text()
        assert not gateway.has_ended
    finally:
        gateway.stop()


def bad(gateway: GatewayProcess) -> tuple[set[str], str]:
    """The states of the bad connection's deliveries, and every error of its attempts."""
    states = {state for (state,) in gateway.rows("SELECT DISTINCT state FROM deliveries WHERE action = 'bad'")}
    sql = "SELECT DISTINCT a.error FROM attempts a JOIN deliveries d ON d.seq = a.delivery_seq WHERE d.action = 'bad'"
    return states, "; ".join(error for (error,) in gateway.rows(sql) if error)


@pytest.mark.timeout(600 * TORTURE)
@pytest.mark.parametrize(
    ("trouble", "timeout", "error"),
    [
        (troubled.never_answers, "1s", "no end after 1 s (its timeout); whether it took effect is not known"),
        (troubled.drips, "1s", "no end after 1 s (its timeout); whether it took effect is not known"),
        (troubled.resets, "30s", "the connection broke: "),
        (troubled.breaks_off, "30s", "the connection broke: ClientPayloadError"),
        (troubled.speaks_nonsense, "30s", "the connection broke: "),
        (troubled.sends_10_gb_of_headers, "30s", "the connection broke: "),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_an_http_service_in_trouble_gets_everything_once_it_is_well(
    tmp_path: Path, ledger: Ledger, trouble: Trouble, timeout: str, error: str
) -> None:
    async with Troubled(trouble, TIMES).open() as service:
        connection = f'type: http, url: "http://127.0.0.1:{service.port}/", allow_private: true'
        async with beside(tmp_path, ledger, connection, timeout=timeout) as gateway:
            await gateway.until_finished(120 * TORTURE)
            states, errors = bad(gateway)
    assert states == {"succeeded"}
    assert error in errors
    assert len(service.done) == len(ledger.accepted)
    assert service.most_sent < 16 * 1024**2


async def test_of_10_gb_that_a_service_answers_64_kib_are_read(tmp_path: Path, ledger: Ledger) -> None:
    async with Troubled(troubled.sends_10_gb, EVENTS).open() as service:
        connection = f'type: http, url: "http://127.0.0.1:{service.port}/", allow_private: true'
        async with beside(tmp_path, ledger, connection) as gateway:
            await gateway.until_finished(120 * TORTURE)
            states, errors = bad(gateway)
            memory = rss_bytes(gateway)
    assert (states, errors) == ({"succeeded"}, "")  # it said 200
    assert service.most_sent < 16 * 1024**2  # what lay in the sockets
    assert memory < 300 * 1024**2


async def test_a_service_that_redirects_to_itself_is_asked_once(tmp_path: Path, ledger: Ledger) -> None:
    asked = 0

    async def redirect(service: Troubled, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        writer.write(
            f"HTTP/1.1 307 No\r\nLocation: http://127.0.0.1:{service.port}/\r\nContent-Length: 0\r\n"
            "Connection: close\r\n\r\n".encode()
        )
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with Troubled(redirect, 10**9).open() as service:
        connection = f'type: http, url: "http://127.0.0.1:{service.port}/", allow_private: true'
        async with beside(tmp_path, ledger, connection) as gateway:
            await gateway.until_finished(120 * TORTURE)
            states, errors = bad(gateway)
    assert states == {"dead"}
    assert errors == "answered 307, a redirect, which is never followed; put the final address in the connection"
    assert asked == len(ledger.accepted)


@pytest.mark.timeout(600 * TORTURE)
@pytest.mark.parametrize(
    ("trouble", "timeout", "error"),
    [
        ("hangs", "3s", "no end after 3 s (its timeout); whether it took effect is not known"),
        ("drops", "30s", "the mail server broke off: "),
        ("greylists", "30s", "451 4.7.1 greylisted, come again"),
    ],
)
async def test_a_mail_server_in_trouble_gets_everything_once_it_is_well(
    tmp_path: Path, ledger: Ledger, trouble: str, timeout: str, error: str
) -> None:
    async with Mail(trouble, TIMES).open() as mail:
        connection = f"type: smtp, host: 127.0.0.1, port: {mail.port}, tls: none, from: shop@acme.example"
        words = ', to: "{{ object.id | lower }}@c.example", subject: S, text: T'
        async with beside(tmp_path, ledger, connection, uses="email", words=words, timeout=timeout) as gateway:
            await gateway.until_finished(120 * TORTURE)
            states, errors = bad(gateway)
    assert states == {"succeeded"}
    assert error in errors
    assert len(mail.done) == len(ledger.accepted)
    assert set(mail.done.values()) == {1}


async def test_an_hour_without_slack_costs_no_message(tmp_path: Path, ledger: Ledger, serve: Serve) -> None:
    """In miniature: pauses that are minutes in production are fractions of a second here."""
    posted: list[str] = []
    is_down = True

    async def slack(request: web.BaseRequest) -> web.Response:
        if is_down:
            return web.Response(status=503, text="service_unavailable")
        posted.append((await request.json())["text"])
        return web.Response(text="ok")

    connection = f'type: slack, webhook_url: "{await serve(slack)}/hook"'
    words = ', text: "{{ event.id }}"'
    async with beside(tmp_path, ledger, connection, uses="slack", words=words, longest_pause="2s") as gateway:
        states, errors = bad(gateway)
        assert states <= {"pending", "running"}  # nothing has died
        assert "503" in errors
        (attempts,) = gateway.rows("SELECT count(*) FROM attempts a JOIN deliveries d ON d.seq = a.delivery_seq"
                                   " WHERE d.action = 'bad'")[0]  # fmt: skip
        assert attempts < 3 * len(ledger.accepted)  # the pause spares attempts
        is_down = False
        await gateway.until_finished(120 * TORTURE)
    assert sorted(posted) == sorted(ledger.accepted)


async def test_while_dns_fails_deliveries_wait_and_go_out_once_names_are_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Troubled(troubled.resets, 0).open() as service:
        is_failing, looked = True, 0

        class Names(AbstractResolver):
            def __init__(self, loop: object) -> None:
                pass

            async def resolve(self, host: str, port: int = 0, family: Any = socket.AF_INET) -> list[ResolveResult]:
                nonlocal looked
                looked += 1
                if is_failing:
                    raise OSError(None, "Temporary failure in name resolution")
                return [ResolveResult(hostname=host, host="127.0.0.1", port=port, family=family, proto=0, flags=0)]

            async def close(self) -> None:
                pass

        monkeypatch.setattr(aiohttp.connector, "DefaultResolver", Names)
        routes = """\
  all:
    events: [checkout.session.completed]
    actions:
      ship: {uses: http_forward, with: {connection: away}, retry: {attempts: 50}}
"""
        text = config(routes, "http://127.0.0.1:9").replace(
            "routes:\n",
            f'  away: {{type: http, url: "http://shop.example:{service.port}/", allow_private: true,'
            " breaker: {pause: 100ms, max: 100ms}}\nroutes:\n",
        )
        async with gateway(tmp_path, text) as running:
            for _ in range(10):
                await running.post(make_event("checkout.session.completed"))
            sql = (
                "SELECT count(*) > 3 FROM attempts WHERE error LIKE 'cannot connect to shop.example:%name resolution%'"
            )
            await running.until(sql, [(1,)])
            await until(lambda: looked > 3)  # attempts at the same time share one look
            is_failing = False
            await running.until_finished()
            assert running.rows("SELECT DISTINCT state FROM deliveries") == [("succeeded",)]
    assert len(service.done) == 10
