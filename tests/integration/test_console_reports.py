"""Accounts, charts and the picture of the configuration, as HTML: what is silent, drifts, is dead."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pytest_aiohttp import AiohttpClient

from gateway.core.model import Lane, PlannedDelivery
from gateway.store.sqlite.store import SqliteStore
from gateway.testing import make_event
from tests.acceptance.console import config
from tests.console_parts import Pages, died, keep, pages_of, parts_of, sqlite_inbox

SHIP = Lane("acme", "fulfil", "ship")


@pytest.fixture
async def inbox(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    async with sqlite_inbox(tmp_path) as inbox:
        yield inbox


@pytest.fixture
async def pages(inbox: SqliteStore, tmp_path: Path, aiohttp_client: AiohttpClient) -> AsyncIterator[Pages]:
    (tmp_path / "secret.txt").write_text("whsec_of_a_file")
    text = config(8080, 8081, "    api_version: 2025-03-31.basil\n")
    text = text.replace("whsec_of_the_silent_one", f'"${{file:{tmp_path}/secret.txt}}"')
    parts = parts_of(tmp_path, inbox, text)
    async with pages_of(parts, aiohttp_client) as pages:
        yield pages


async def test_accounts_tell_what_they_send_and_what_drifts(pages: Pages, inbox: SqliteStore) -> None:
    await keep(inbox, {**make_event("customer.created"), "api_version": "2024-06-20"}, written_for="2025-03-31.basil")
    await keep(inbox, {**make_event("checkout.session.completed"), "api_version": "2025-03-31.basil"})
    text = await pages.text("/accounts")
    assert "2024-06-20 1 of 2" in text
    assert "not 2025-03-31.basil, which templates are written for" in text
    assert "No route wants: customer.created (1)" in text
    assert re.search(r"silent Last event none yet .* Signing secrets 1 its file was written", text)
    acme, silent = (await pages.api("/accounts"))["items"]
    assert (acme["unrouted"], silent["last_event_at"]) == ({"customer.created": 1}, None)
    assert "whsec" not in text


async def test_charts_stand_by_account_type_and_route(pages: Pages, inbox: SqliteStore) -> None:
    for reason in ("no such host", "no such host"):
        await keep(inbox, make_event("checkout.session.completed"), [PlannedDelivery("fulfil", "ship")])
        await died(inbox, SHIP, reason)
    wanted = {
        "account": ("acme", "routed"),
        "type": ("checkout.session.completed", "routed"),
        "route": ("fulfil", "dead"),
    }
    for by, (name, kind) in wanted.items():
        page = await pages.html(f"/charts?by={by}&range=1h")
        (bar, *_) = re.findall(rf'<a href="([^"]+)" aria-label="[^"]*: \d {kind}"', page)
        assert f"{by}={name}" in bar
        assert ("key-expired" in page) is (by == "route")
        listed = await pages.text(html.unescape(bar))
        assert ("no such host" if by == "route" else "jenny@example.com") in listed


async def test_the_picture_shows_how_things_stand(pages: Pages, inbox: SqliteStore) -> None:
    await keep(inbox, make_event("checkout.session.completed"), [PlannedDelivery("fulfil", "ship")])
    await died(inbox, SHIP, "no such host")
    await pages.leads_to("/connections/shop/pause", {"reason": "stocktaking"})
    page = await pages.html("/config")
    assert re.search(r'class="box box-dead"/>.*?fulfil/ship \(1 dead\)', page)
    assert re.search(r'class="box box-silent"/>.*?silent \(no event yet\)', page)
    assert re.search(r'class="box box-paused"/>.*?shop \(paused\)', page)
