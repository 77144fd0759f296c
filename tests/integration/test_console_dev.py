"""The console of `gateway dev`, as HTML: buttons that send samples, and links between an event and what it did."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pytest_aiohttp import AiohttpClient

from gateway.admin.outbox import Outbox
from gateway.admin.sample_sender import sendable
from gateway.store.sqlite.store import SqliteStore
from tests.acceptance.console import config
from tests.console_parts import Pages, pages_of, parts_of


@pytest.fixture
async def pages(store: SqliteStore, tmp_path: Path, aiohttp_client: AiohttpClient) -> AsyncIterator[Pages]:
    parts = parts_of(tmp_path, store, config(8080, 8081), Outbox())
    async with pages_of(parts, aiohttp_client) as pages:
        yield pages


async def test_a_button_sends_a_sample_and_what_it_did_is_linked(pages: Pages) -> None:
    assert 'aria-label="Send checkout.session.completed as unpaid"' in await pages.html("/outbox")
    sent = await pages.leads_to("/outbox/send", {"type": "checkout.session.completed", "as": "unpaid"})
    sent = (await pages.leads_to("/outbox/send", {"type": "checkout.session.completed"})).partition("?")[0]
    (save, *_) = (await pages.api(f"/deliveries?event={sent.removeprefix('/events/')}&action=save"))["items"]
    outbox = pages.parts.outbox
    assert outbox is not None
    outbox.add("row", "row in shop.orders", [], "amount: 1", delivery_id=save["id"])
    outbox.add("mail", "mail to a@b.example", [("Message-ID", f"<{save['id']}@acme.example>")], "Thank you")
    outbox.add("slack", "Slack message by sales", [], "A new order")
    outbox.link("slack", "A new order", save["id"])
    text = await pages.text(sent)
    assert "What it sent row: row in shop.orders mail: mail to a@b.example slack: Slack message by sales" in text
    listed = await pages.text("/outbox?kind=row")
    assert "row row in shop.orders checkout.session.completed, fulfil/save" in listed
    assert "a@b.example" not in listed
    assert "Of checkout.session.completed, fulfil/save" in await pages.text("/outbox/2")


@pytest.mark.parametrize(
    "form", [{"type": "invoice.payed"}, {"type": "invoice.paid", "as": "x"}, {"type": "invoice.paid", "account": "x"}]
)
async def test_what_cannot_be_sent_is_refused(pages: Pages, form: dict[str, str]) -> None:
    assert await pages.refused("/outbox/send", form) == 422


def test_globs_are_offered_as_the_types_that_they_name(pages: Pages) -> None:
    types = [one.type for one in sendable(pages.parts.gateway.config)]
    assert "checkout.session.completed" in types
    assert all(event_type.startswith("checkout.session.") for event_type in types)
