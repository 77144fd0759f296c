"""docs/actions.md says what becomes of each fault of http and slack: every row, on real parts."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from actions.http_forward import HttpForward
from actions.slack import Slack
from gateway.testing import Trial, TrialResult
from tests.certificates import self_signed
from tests.contract.actions.fault_table import fault_rows, happens
from tests.contract.actions.proxies import ForwardProxy, proxy, proxy_server
from tests.contract.actions.servers import Service
from tests.http_service import Serve

__all__ = ["proxy", "proxy_server"]  # fixtures
NOBODY = "http://127.0.0.1:9/"


class Faulty:
    """A service with a fault, and how it is reached."""

    def __init__(self, service: Service, proxy: ForwardProxy, serve: Serve, folder: Path) -> None:
        self.service, self.proxy, self.serve, self.folder = service, proxy, serve, folder

    async def http(self, *, timeout: str = "10s", **more: Any) -> TrialResult:
        """A forward to it."""
        connection = {"type": "http", "url": self.service.url, "allow_private": True, **more}
        async with Trial(
            HttpForward(), {}, connection=connection, timeout=timeout, base_folder=str(self.folder)
        ) as trial:
            return await trial.attempt()

    async def slack(self, *, is_bot: bool = False, **more: Any) -> TrialResult:
        """A message to it."""
        how = {"token": "xoxb-1", "channel": "#a", "api_url": self.service.url} if is_bot else {}
        connection = {"type": "slack", "webhook_url": self.service.url, **how, **more}
        async with Trial(Slack(), {"text": "hello"}, connection=connection) as trial:
            return await trial.attempt()

    async def saying(
        self, statuses: list[int], by: Callable[..., Awaitable[TrialResult]], text: str = "", **headers: str
    ) -> list[TrialResult]:
        """What came of each answer."""
        ended = []
        for status in statuses:
            self.service.say(status, text, **headers)
            ended.append(await by())
        return ended

    async def with_tokens(self, good: set[str], status: int = 200) -> TrialResult:
        """A forward to a service that takes these tokens; they are called 1, 2, ..."""
        given: list[str] = []

        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            if request.path == "/token":
                given.append(str(len(given) + 1))
                granted = {"access_token": given[-1], "token_type": "Bearer"}
                told = granted if status == 200 else {"error": "invalid_client"}
                return web.json_response(told, status=status, headers={"Retry-After": "60"})
            token = request.headers.get("Authorization", "").removeprefix("Bearer ")
            return web.Response(status=200 if token in good else 401)

        self.service.answer = answer
        return await self.http(oauth2={"token_url": f"{self.service.url}token", "client_id": "a", "client_secret": "b"})


async def _breaks_off(faulty: Faulty) -> list[TrialResult]:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b"half")
        assert request.transport is not None
        request.transport.close()
        return response

    faulty.service.answer = answer
    return [await faulty.http()]


async def _hangs(faulty: Faulty) -> list[TrialResult]:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    faulty.service.answer = answer
    return [await faulty.http(timeout="200ms")]


async def _packed_otherwise(faulty: Faulty) -> list[TrialResult]:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=b"plain", headers={"Content-Encoding": "gzip"})

    faulty.service.answer = answer
    return [await faulty.http()]


async def _untrusted(faulty: Faulty) -> list[TrialResult]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*self_signed(faulty.folder))
    url = await faulty.serve(faulty.service.take, ssl=context)
    return [await faulty.http(url=url)]


async def _no_tunnel(faulty: Faulty) -> list[TrialResult]:
    wrong = faulty.proxy.url.replace("proxy-password", "wrong")
    return [await faulty.http(url="https://127.0.0.1:9/", proxy=wrong)]


Case = Callable[[Faulty], Awaitable[list[TrialResult]]]


def _saying(*statuses: int, text: str = "", more: dict[str, Any] | None = None, **headers: str) -> Case:
    async def case(faulty: Faulty) -> list[TrialResult]:
        return await faulty.saying(list(statuses), lambda: faulty.http(**(more or {})), text, **headers)

    return case


def _slack_saying(*statuses: int, text: str = "", is_bot: bool = False, **headers: str) -> Case:
    async def case(faulty: Faulty) -> list[TrialResult]:
        return await faulty.saying(list(statuses), lambda: faulty.slack(is_bot=is_bot), text, **headers)

    return case


def _bot_told(word: str) -> Case:
    return _slack_saying(200, text=json.dumps({"ok": False, "error": word}), is_bot=True)


def _both(*cases: Case) -> Case:
    async def case(faulty: Faulty) -> list[TrialResult]:
        return [ended for each in cases for ended in await each(faulty)]

    return case


def _with(**more: Any) -> Case:
    async def case(faulty: Faulty) -> list[TrialResult]:
        return [await faulty.http(**more)]

    return case


def _tokens(good: set[str], status: int = 200) -> Case:
    async def case(faulty: Faulty) -> list[TrialResult]:
        return [await faulty.with_tokens(good, status)]

    return case


async def _slack_away(faulty: Faulty) -> list[TrialResult]:
    return [await faulty.slack(webhook_url=NOBODY)]


HTTP: dict[str, Case] = {
    "nobody listens there": _with(url=NOBODY),
    "no answer within `timeout`": _hangs,
    "the answer breaks off": _breaks_off,
    "it answers 408, 425, 429 or 5xx": _saying(408, 425, 429, 500, 502, 503, 504, 599),
    "it answers 429 or 503 with `Retry-After`": _saying(429, 503, Retry_After="60"),
    "it answers 409": _saying(409),
    "it answers what `retry_on` names": _saying(404, 423, more={"retry_on": [404, "420-429"]}),
    "it answers what `success` names": _saying(200, 409, 303, more={"success": [200, 409, "300-399"]}),
    "it answers 410": _saying(410),
    "it answers another 4xx": _saying(400, 401, 403, 404, 413, 422),
    "it answers with a redirect": _saying(301, 302, 307, 308, Location=NOBODY),
    "its certificate is not trusted": _untrusted,
    "its address is private and not allowed": _with(allow_private=False),
    "its answer is packed otherwise than it says": _packed_otherwise,
    "the proxy is away": _with(proxy=NOBODY),
    "the proxy refuses to open a tunnel": _no_tunnel,
    "the token endpoint refuses the client": _tokens(set(), 401),
    "the token endpoint answers 503 with `Retry-After`": _tokens(set(), 503),
    "the service refuses one token, and takes the next": _tokens({"2"}),
    "the service refuses every token": _tokens(set()),
}
SLACK: dict[str, Case] = {
    "nobody listens there": _slack_away,
    "it asks to wait, by 429 or `ratelimited`": _both(_slack_saying(429, Retry_After="30"), _bot_told("ratelimited")),
    "it answers 5xx, or `internal_error`": _both(_slack_saying(500, 503), _bot_told("internal_error")),
    "a sign-in page answers in its place": _both(
        _slack_saying(200, 403, text="<html>Sign in</html>"), _slack_saying(200, text="<html>", is_bot=True)
    ),
    "it refuses the message, the channel or the token": _both(
        _slack_saying(400, text="invalid_blocks"),
        _slack_saying(404, text="no_service"),
        *map(_bot_told, ("not_in_channel", "invalid_auth", "msg_too_long")),
    ),
    "it answers with a redirect": _slack_saying(302, Location=NOBODY),
}


def test_every_row_has_a_case_and_every_case_a_row() -> None:
    assert set(fault_rows("http")) == set(HTTP)
    assert set(fault_rows("slack")) == set(SLACK)


@pytest.mark.parametrize(
    ("destination", "fault"), [*(("http", fault) for fault in HTTP), *(("slack", fault) for fault in SLACK)]
)
async def test_what_becomes_of_a_fault_is_what_the_page_says(
    service: Service, proxy: ForwardProxy, serve: Serve, tmp_path: Path, destination: str, fault: str
) -> None:
    cases = HTTP if destination == "http" else SLACK
    ended = await cases[fault](Faulty(service, proxy, serve, tmp_path))
    assert [happens(result) for result in ended] == [fault_rows(destination)[fault]] * len(ended)
