"""The pages of events, as HTML: the line, what changed, the timeline, when events came."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pytest_aiohttp import AiohttpClient

from gateway.admin import live_tail
from gateway.core.model import Event, EventState, Lane, PlannedDelivery
from gateway.store.sqlite.store import SqliteStore
from gateway.testing import make_event
from tests.acceptance.console import config
from tests.console_parts import Pages, died, keep, pages_of, parts_of, sqlite_inbox


@pytest.fixture
async def inbox(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    async with sqlite_inbox(tmp_path) as inbox:
        yield inbox


@pytest.fixture
async def pages(inbox: SqliteStore, tmp_path: Path, aiohttp_client: AiohttpClient) -> AsyncIterator[Pages]:
    parts = parts_of(tmp_path, inbox, config(8080, 8081, "    redact: [data.object.email]\n"))
    async with pages_of(parts, aiohttp_client) as pages:
        yield pages


async def test_an_event_tells_its_story(pages: Pages, inbox: SqliteStore) -> None:
    event = make_event("customer.updated", object={"email": "ada@example.org", "phone": "+44 1"})
    event["data"]["previous_attributes"] = {"email": "old@example.org", "phone": None}
    event_id = await keep(inbox, event, [PlannedDelivery("fulfil", "ship")])
    await died(inbox, Lane("acme", "fulfil", "ship"), "the warehouse answered 500")
    text, page = await pages.text(f"/events/{event_id}"), await pages.html(f"/events/{event_id}")
    assert f"customer.updated [redacted] ({event['data']['object']['id']})" in text
    assert re.search(r"\+ [\d.]+ m?s fulfil/ship attempt 1 dead took 1.0 s the warehouse answered 500", text)
    assert 'phone null "+44 1"' in text
    assert "ada@example.org" not in text
    assert f'href="https://dashboard.stripe.com/test/events/{event_id}"' in page


async def test_the_list_says_what_events_are_about_and_when_they_came(pages: Pages, inbox: SqliteStore) -> None:
    paid = make_event("checkout.session.completed", object={"amount_total": 4500, "currency": "eur"})
    await keep(inbox, paid)
    await keep(inbox, make_event("invoice.paid"), state=EventState.UNMATCHED)
    text = await pages.text("/events")
    assert "checkout.session.completed €45.00 from jenny@example.com" in text
    assert await listed_by_bars(pages, "/events") == {"checkout.session.completed", "invoice.paid"}
    assert await listed_by_bars(pages, "/events?type=invoice.*") == {"invoice.paid"}
    since = (datetime.now(UTC) - timedelta(days=30)).strftime("%Y-%m-%dT%H:%M")
    assert re.search(r"<span>\w{3} \d\d \w{3} \d\d:\d\d</span>", await pages.html(f"/events?since={since}"))
    for uncounted in ("text=jenny", "outcome=dead", "live=1"):
        assert 'class="plot"' not in await pages.html(f"/events?{uncounted}")


async def test_what_comes_in_is_read_and_told_once_for_all_who_watch_it(
    pages: Pages, inbox: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_tail, "LOOK_SECONDS", 0.01)
    read, event_of = list[str](), inbox.event

    async def event(event_id: str, account: str | None = None) -> list[Event]:
        read.append(event_id)
        return await event_of(event_id, account)

    monkeypatch.setattr(inbox, "event", event)
    filters = ("", "", "?type=checkout.*", "?type=invoice.*")
    async with AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(pages.streamed(f"/live/events{query}")) for query in filters]
        for stream in streams:
            await stream.readuntil(b"Live.")
        event_id = await keep(inbox, make_event("checkout.session.completed"))
        rows = []
        for stream in streams:
            await stream.readuntil(b"event: rows\n")  # after looks that brought nothing
            rows.append(await stream.readuntil(b"\n\n"))
    assert [event_id.encode() in row for row in rows] == [True, True, True, False]
    assert b"jenny@example.com" in rows[0]
    assert rows[0] == rows[1]
    assert read == [event_id] * 2  # for two of three filters: the third does not want it


async def listed_by_bars(pages: Pages, path: str) -> set[str]:
    """The types of the events that the bars of a list lead to."""
    types: set[str] = set()
    for link in re.findall(r'<a href="(/events[^"]+)" aria-label', await pages.html(path)):
        page = await pages.html(html.unescape(link))
        types |= set(re.findall(r'data-label="Type"><bdi>([^<]+)', page))
    return types
