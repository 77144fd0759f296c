"""Accounts, charts and the picture of the configuration, as HTML: what is silent, drifts, is dead."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pytest_aiohttp import AiohttpClient

from gateway.core.model import (
    Attempt,
    AttemptOutcome,
    DeliveryState,
    Finish,
    Lane,
    PlannedDelivery,
    RejectedBounds,
    RejectedRequest,
)
from gateway.store.sqlite.store import SqliteStore
from gateway.testing import make_event
from tests.acceptance.console import config
from tests.console_parts import Pages, died, keep, pages_of, parts_of, sqlite_inbox

SHIP = Lane("acme", "fulfil", "ship")


def a_rejected_request() -> RejectedRequest:
    """As intake keeps it."""
    return RejectedRequest(
        id="rej_1", received_at=datetime.now(UTC), reason="no_match", account="acme", address="203.0.113.9",
        peer="203.0.113.9",
        forwarded_for=None, signature="t=1,v1=00", size=2, body=b"{}",
    )  # fmt: skip


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


async def test_the_overviews_headline_leads_to_why_deliveries_are_dead(pages: Pages, inbox: SqliteStore) -> None:
    await keep(inbox, make_event("checkout.session.completed"), [PlannedDelivery("fulfil", "ship")])
    await died(inbox, SHIP, "no such host")
    (path,) = re.findall(r'<p class="headline bad".*?<a href="([^"]*)"', await pages.html("/"), re.S)
    assert "fulfil/ship: no such host" in await pages.text(path)


async def test_the_overview_draws_how_long_answers_took_and_what_waited(pages: Pages, inbox: SqliteStore) -> None:
    for state in (DeliveryState.SUCCEEDED, None):
        await keep(inbox, make_event("checkout.session.completed"), [PlannedDelivery("fulfil", "ship")])
        if state is not None:
            (claim,) = await inbox.claim({SHIP: 1}, lease_seconds=60)
            attempt = Attempt(1, datetime.now(UTC), 0.1, AttemptOutcome.SUCCEEDED, None)
            assert await inbox.finish(claim.delivery.id, claim.token, Finish(state, attempt))
    pages.parts.metrics.event("acme", "checkout.session.completed", "routed", 0.004, 0.003)
    await inbox.keep_rejected([a_rejected_request()], RejectedBounds(10, 1000, 3600))
    text = await pages.text("/?range=1h")
    assert re.search(r"From request to answer .* half within 4 ms, 99 of 100 within 5 ms\.", text)
    assert re.search(r"From event to done .* half within [\d.]+ m?s, 99 of 100 within [\d.]+ m?s\.", text)
    assert re.search(r"Queue .* waiting 1\. The most was 1", text)
    assert re.search(r"Rejected requests .* 1 rejected; most at \d\d:\d\d: 1\.", text)
    (bar,) = re.findall(r'href="(/rejected[^"]+)" aria-label', await pages.html("/?range=1h"))
    assert "No request matches" not in await pages.text(html.unescape(bar))
    bars = (await pages.api("/overview?range=1h"))["bars"]
    assert bars[-1]["waiting"] == 1
    assert sum(bar["rejected"] for bar in bars) == 1
    assert len([bar for bar in bars if bar["p99_seconds"] is not None]) == 1
    assert [bar["answer_p99_seconds"] for bar in bars if bar["answer_p99_seconds"] is not None] == [
        pytest.approx(0.005, rel=0.02)
    ]


async def test_a_connection_shows_what_waited_failed_and_how_long_its_attempts_took(
    pages: Pages, inbox: SqliteStore
) -> None:
    assert "An attempt takes Nothing yet." in await pages.text("/connections")
    await keep(inbox, make_event("checkout.session.completed"), [PlannedDelivery("fulfil", "ship")])
    for outcome in ("succeeded", "retry", "dead"):
        pages.parts.metrics.attempt("fulfil", "ship", outcome, 0.3)
    await pages.parts.samples.take(await inbox.lane_states(), datetime.now(UTC))
    text = await pages.text("/connections?range=24h")
    assert re.search(
        r"warehouse Waiting .*? waiting 1\. .*? Attempts .*? 1 done, 2 failed; most at .*? An attempt takes .*?"
        r" half within 375 ms, 99 of 100 within 497 ms\.",
        text,
    )
