"""The console without a browser: its application on a store of the test's own, asked as an operator."""

from __future__ import annotations

import html
import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog
from aiohttp import StreamReader
from aiohttp.test_utils import TestClient
from pytest_aiohttp import AiohttpClient

from gateway.admin.app import make_app
from gateway.admin.auth import Access, Role
from gateway.admin.gateway_view import GatewayView
from gateway.admin.live_tail import Tail
from gateway.admin.operations import Operations
from gateway.admin.outbox import Outbox
from gateway.admin.reports.history import History
from gateway.admin.reports.samples import Samples
from gateway.admin.request import AdminParts
from gateway.cli.dev.environment import DevFetcher
from gateway.config.load import load
from gateway.config.runtime import RuntimeConfig
from gateway.core.envelope import parse_event
from gateway.core.model import Attempt, AttemptOutcome, DeliveryState, Finish, Lane, PlannedDelivery
from gateway.core.routing import RouteTable
from gateway.delivery.resources import Resources
from gateway.delivery.worker import Worker
from gateway.store.protocol import Store
from gateway.store.sqlite.store import SqliteStore
from gateway.telemetry.metrics import Metrics
from tests.acceptance.console import OPERATOR, VIEWER


def parts_of(folder: Path, store: Store, text: str, outbox: Outbox | None = None) -> AdminParts:
    """A console's parts on a configuration, around a worker that does not run."""
    (folder / "gateway.yaml").write_text(text)
    loaded = load(folder / "gateway.yaml", {})
    log = structlog.get_logger()
    worker = Worker(
        store, lambda: (loaded, RouteTable(loaded.routes)), Resources(lambda *_: True, log), DevFetcher(), log
    )
    gateway = GatewayView(RuntimeConfig(loaded, datetime.now(UTC)), worker)
    operations = Operations(store, gateway.in_force, log)
    access = Access({Role.VIEWER: VIEWER, Role.OPERATOR: OPERATOR})
    metrics, tail = Metrics(), Tail(store, log)
    samples = Samples(store, metrics, lambda: gateway.config)
    return AdminParts(gateway, store, operations, access, metrics, tail, History(store), samples, outbox)


@asynccontextmanager
async def sqlite_inbox(folder: Path) -> AsyncIterator[SqliteStore]:
    """An inbox with the clock of everybody: pages tell how long ago something was."""
    store = SqliteStore(folder / "inbox.db")
    await store.start()
    yield store
    await store.close()


@asynccontextmanager
async def pages_of(parts: AdminParts, aiohttp_client: AiohttpClient) -> AsyncIterator[Pages]:
    """The console of these parts, served."""
    yield Pages(await aiohttp_client(make_app(parts, structlog.get_logger())), parts)
    await parts.tail.close()
    await parts.operations.jobs.close()


class Pages:
    """What an operator reads and sends."""

    def __init__(self, client: TestClient[Any, Any], parts: AdminParts) -> None:
        self.parts = parts
        self._client = client
        self._headers = {"Authorization": f"Bearer {OPERATOR}"}

    async def html(self, path: str, status: int = 200) -> str:
        """A page as it is sent."""
        async with self._client.get(path, headers=self._headers, allow_redirects=False) as answer:
            assert answer.status == status, await answer.text()
            return await answer.text()

    async def text(self, path: str, status: int = 200) -> str:
        """What stands on a page, tags left out, spaces as one."""
        page = re.sub(r"<(script|style|title)\b.*?</\1>", "", await self.html(path, status), flags=re.S)
        page = re.sub(r"</?(span|code|bdi|a|small|strong|time)\b[^>]*>", "", page)
        return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())

    async def leads_to(self, path: str, form: dict[str, Any] | None = None) -> str:
        """Where a page, or what is posted to it, sends the browser on to."""
        ask = self._client.get if form is None else self._client.post
        async with ask(path, headers=self._headers, allow_redirects=False, data=form) as answer:
            assert answer.status == 303, await answer.text()
            return str(answer.headers["Location"])

    async def signed_out(self, path: str) -> str:
        """Where the form for signing in goes on to, of whoever asks for a page without being signed in."""
        async with self._client.get(path, headers={"Accept": "text/html"}) as answer:
            page = await answer.text()
        (path_after,) = re.findall(r'name="next" value="([^"]*)"', page)
        return html.unescape(path_after)

    async def refused(self, path: str, form: dict[str, Any]) -> int:
        """The status of what is posted to a page."""
        async with self._client.post(path, headers=self._headers, data=form) as answer:
            return answer.status

    @asynccontextmanager
    async def streamed(self, path: str) -> AsyncIterator[StreamReader]:
        """What comes from a stream, as it comes."""
        async with self._client.get(path, headers=self._headers) as answer:
            yield answer.content

    async def api(self, path: str) -> Any:
        """What the API answers."""
        async with self._client.get(f"/api/v1{path}", headers=self._headers) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()


async def keep(
    store: Store,
    event: dict[str, Any],
    planned: Sequence[PlannedDelivery] = (),
    account: str = "acme",
    **fields: Any,
) -> str:
    """Commits an event with its deliveries, with other `fields` of its record; its id."""
    parsed = parse_event(json.dumps(event).encode(), account, datetime.now(UTC))
    await store.add(replace(parsed, **fields), planned)
    return str(event["id"])


async def died(store: Store, lane: Lane, error: str) -> str:
    """Claims the oldest due delivery of a lane and ends it dead; its id."""
    (claim,) = await store.claim({lane: 1}, lease_seconds=60)
    attempt = Attempt(claim.delivery.attempts, datetime.now(UTC), 1.0, AttemptOutcome.DEAD, error)
    assert await store.finish(claim.delivery.id, claim.token, Finish(DeliveryState.DEAD, attempt, reason=error))
    return claim.delivery.id
