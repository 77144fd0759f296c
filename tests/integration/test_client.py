"""gateway.client against a console's own application: every operation has its call, and the page's programs run."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import structlog
from aiohttp import web
from pytest_aiohttp import AiohttpServer

from gateway.admin.api.endpoints import ENDPOINTS
from gateway.admin.app import make_app
from gateway.client import GatewayClient, PageOf, ProblemError, UnreachableError, each
from gateway.client.records import DeliveriesWhereRecord, EventNameRecord
from gateway.core.model import Lane, PlannedDelivery
from gateway.store.sqlite.store import SqliteStore
from gateway.testing import make_event
from tests.acceptance.console import OPERATOR, VIEWER, config
from tests.console_parts import died, keep, parts_of, sqlite_inbox

PROGRAMS = re.findall(r"```python\n(.*?)```", (Path(__file__).parents[2] / "docs" / "client.md").read_text(), re.DOTALL)
SHIP = Lane("acme", "fulfil", "ship")


@pytest.fixture
async def inbox(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    async with sqlite_inbox(tmp_path) as store:
        yield store


@pytest.fixture
async def url(inbox: SqliteStore, tmp_path: Path, aiohttp_server: AiohttpServer) -> AsyncIterator[str]:
    """Where a console answers for an inbox of three checkouts, of which the first could not be shipped."""
    for number in range(3):
        event = make_event("checkout.session.completed", id=f"evt_{number}")
        await keep(inbox, event, [PlannedDelivery(route="fulfil", action="ship")])
    await died(inbox, SHIP, "HTTP 500 of the warehouse")
    parts = parts_of(tmp_path, inbox, config(8080, 8081))
    server = await aiohttp_server(make_app(parts, structlog.get_logger()))
    yield str(server.make_url("")).rstrip("/")
    await parts.tail.close()
    await parts.operations.jobs.close()


@pytest.fixture
async def client(url: str) -> AsyncIterator[GatewayClient]:
    async with GatewayClient(url, OPERATOR, user="Jenny") as gateway:
        yield gateway


ARGUMENTS: Mapping[str, Mapping[str, Any]] = {
    "search": {"q": "evt_0"},
    "replay_events": {"events": [EventNameRecord(id="evt_0")], "dry_run": True},
    "retry_deliveries": {"ids": ["dlv_none"]},
    "cancel_deliveries": {"ids": ["dlv_none"]},
    "forget_customer": {"customer": "cus_123", "dry_run": True},
    "start_job": {"what": "retry", "deliveries": DeliveriesWhereRecord(state=["dead"], since="2h"), "dry_run": True},
    "playground": {"event": "{}"},
}
NAMES = {"show_event": "evt_0", "pause_connection": "shop", "resume_connection": "shop", "pause_route": "fulfil",
         "resume_route": "fulfil"}  # fmt: skip


async def test_every_operation_has_a_call_that_answers_its_record_or_says_that_there_is_no_such_thing(
    client: GatewayClient,
) -> None:
    for operation in (endpoint.run.__name__ for endpoint in ENDPOINTS):
        call = getattr(client, operation)
        signature = inspect.signature(call)
        names = [name for name, option in signature.parameters.items() if option.kind is not option.KEYWORD_ONLY]
        if names and operation not in NAMES:
            with pytest.raises(ProblemError, match=r"^404 Not Found: there is no such"):
                await call(*("none" for _ in names))
        else:
            answer = await call(*(NAMES[operation] for _ in names), **ARGUMENTS.get(operation, {}))
            assert type(answer).__name__ in signature.return_annotation, operation


async def test_a_list_goes_on_page_after_page(client: GatewayClient) -> None:
    page = await client.list_events(limit=2)
    assert isinstance(page, PageOf)
    assert [event.id for event in page.items] == ["evt_2", "evt_1"]
    assert [event.id async for event in each(client.list_events, limit=2, type="checkout.*")] == [
        "evt_2",
        "evt_1",
        "evt_0",
    ]


async def test_answers_are_frozen_and_have_their_types(client: GatewayClient) -> None:
    (dead,) = [delivery async for delivery in each(client.list_deliveries, state=["dead"])]
    whole = await client.show_delivery(dead.id)
    assert (whole.history[0].outcome, whole.history[0].error) == ("dead", "HTTP 500 of the warehouse")
    assert whole.created_at.utcoffset() is not None
    with pytest.raises(AttributeError):
        dead.state = "succeeded"  # type: ignore[misc]


async def test_the_audit_log_knows_who_asked(client: GatewayClient) -> None:
    (dead,) = (await client.list_deliveries(state=["dead"])).items
    (result,) = (await client.retry_deliveries(ids=[dead.id])).results
    assert result.done
    (entry,) = (await client.list_audit()).items
    assert (entry.what, entry.target) == ("delivery.retry", dead.id)
    assert entry.who.startswith("Jenny (")


async def test_a_refusal_is_a_problem_with_its_parts(url: str) -> None:
    async with GatewayClient(url, VIEWER) as viewer:
        with pytest.raises(ProblemError, match=r"^403 Forbidden: your token may look, not change") as refusal:
            await viewer.cancel_deliveries(ids=["dlv_none"])
    assert (refusal.value.status, refusal.value.title, refusal.value.type) == (403, "Forbidden", "about:blank")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("<h1>Sign in</h1>", "is no console: it answered 200, and not in JSON"),
        ("{}", "answered GET /jobs otherwise than this version expects: Object missing required field `items`"),
    ],
)
async def test_what_is_no_gateway_is_told(aiohttp_server: AiohttpServer, body: str, said: str) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=body)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    server = await aiohttp_server(app)
    async with GatewayClient(str(server.make_url("/")), OPERATOR) as stranger:
        with pytest.raises(UnreachableError, match=re.escape(said)):
            await stranger.list_jobs()
    address = str(server.make_url("/"))
    await server.close()
    async with GatewayClient(address, OPERATOR) as nobody:
        with pytest.raises(UnreachableError, match="cannot reach http://127"):
            await nobody.list_jobs()


async def run(program: str, url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """What a program of the page prints."""
    for name, value in {"GATEWAY_URL": url, "GATEWAY_TOKEN": OPERATOR, "EVENT": "evt_0"}.items():
        monkeypatch.setenv(name, value)
    capsys.readouterr()
    await asyncio.to_thread(exec, compile(program, "client.md", "exec"), {"__name__": "client"})
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("number", "printed"),
    [
        (0, "1 fulfil/ship: HTTP 500 of the warehouse\n"),
        (1, "1 of 1 retried, 0 refused\n"),
        (2, "checkout.session.completed dead\n  ship: dead HTTP 500 of the warehouse\n"),
    ],
)
async def test_the_programs_of_the_page_run(
    url: str, number: int, printed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(PROGRAMS) == 3
    said = await run(PROGRAMS[number], url, monkeypatch, capsys)
    assert said.endswith(printed), said  # the log of the gateway comes before it
