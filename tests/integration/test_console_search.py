"""The search box: whatever is pasted into it, on every kind of store; and that nothing redacted is shown instead."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pytest_aiohttp import AiohttpClient

from gateway.admin.search import amounts_in, parse_amount
from gateway.core.model import PlannedDelivery
from gateway.store.encoding.store import EncodedStore, with_codec
from gateway.store.encryption.keyring import Keyring
from gateway.store.protocol import Store
from gateway.store.sqlite.store import SqliteStore
from gateway.testing import make_event
from tests.acceptance.console import config
from tests.console_parts import Pages, keep, pages_of, parts_of

SHIP = PlannedDelivery("fulfil", "ship")


@pytest.fixture(params=["clear", "encrypted"])
async def inbox(request: pytest.FixtureRequest, store: SqliteStore) -> Store:
    keys = ["A" * 43 + "="] if request.param == "encrypted" else []
    return await with_codec(store, Keyring(keys), compresses=True, strict=True)


@pytest.fixture
async def pages(inbox: Store, tmp_path: Path, aiohttp_client: AiohttpClient) -> AsyncIterator[Pages]:
    text = config(8080, 8081, "    redact: [data.object.customer_details.name]\n")
    text = text.replace("customer_details.name }}", "customer_details.name | upper }}")
    parts = parts_of(tmp_path, inbox, text)
    async with pages_of(parts, aiohttp_client) as pages:
        yield pages


async def test_any_id_an_address_and_an_amount_are_found(
    pages: Pages, inbox: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for bound in ("gateway.admin.search.SCAN_SECONDS", "gateway.store.sqlite.pages.SEARCH_SECONDS"):
        monkeypatch.setattr(bound, 60.0)
    paid = make_event("checkout.session.completed", object={"amount_total": 123456, "currency": "eur"})
    paid["request"] = {"id": "req_Qz7", "idempotency_key": None}
    event_id = await keep(inbox, paid, [SHIP])
    for _ in range(60):
        await keep(inbox, make_event("customer.created", object={"email": "other@example.org"}))
    (delivery,) = (await pages.api(f"/deliveries?event={event_id}"))["items"]
    assert await pages.leads_to(f"/search?q={event_id}") == f"/events/{event_id}?account=acme"
    assert await pages.leads_to(f"/search?q={delivery['id']}") == f"/deliveries/{delivery['id']}"
    assert "Events of that object Received Type Event Object Account State Outcome" in await pages.text(
        f"/search?q={paid['data']['object']['id']}"
    )
    by_words = {
        "mentions": ["jenny@example.com", "req_Qz7"],
        "amounts": ["1234.56 EUR", "€1234,56", "123456"],
    }
    for group, words in by_words.items():
        for word in words:
            hits = await pages.api(f"/search?q={word}")
            assert [hit["id"] for hit in hits[group]] == [event_id], word
            assert event_id in await pages.text(f"/search?q={word}")
    for nothing in ("1234.56 USD", "1234.57", "nobody@example.com", "dlv_none"):
        assert "Nothing was found." in await pages.text(f"/search?q={nothing}")


async def test_a_search_that_did_not_come_to_the_end_says_so(
    pages: Pages, inbox: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.admin.search.SCAN_SECONDS", -1.0)
    monkeypatch.setattr("gateway.store.sqlite.pages.SEARCH_SECONDS", -1.0)
    monkeypatch.setattr("gateway.store.sqlite.pages.SEARCH_ROWS", 10)
    for _ in range(60):
        await keep(inbox, make_event("customer.created"))
    assert "Only bodies of events back to" in await pages.text("/search?q=nobody@example.com")


async def test_an_empty_or_endless_query_is_no_fault_of_ours(pages: Pages) -> None:
    assert "are found however far back" in await pages.text("/search")
    assert "Nothing was found; a text has three characters at least." in await pages.text("/search?q=ab")
    assert "This cannot be looked for: q:" in await pages.text(f"/search?q={'a' * 201}", 422)


async def test_what_is_redacted_is_neither_tried_out_nor_told(pages: Pages, inbox: Store) -> None:
    event = make_event("checkout.session.completed", object={"customer_details": {"name": "Ada Lovelace"}})
    event_id = await keep(inbox, event)
    shown = await pages.text(f"/events/{event_id}")
    assert "matches fulfil" in shown
    assert '"name": "[redacted]"' in shown
    for page in (shown, await pages.text(f"/playground?event={event_id}")):
        assert "Ada" not in page
        assert "ADA" not in page


@pytest.mark.parametrize("word", ["Ada Lovelace", "4711.00 EUR"])
async def test_a_search_does_not_confirm_what_is_redacted(pages: Pages, inbox: Store, word: str) -> None:
    hidden = {"name": "Ada Lovelace", "currency": "eur", "amount": 471100}
    where = {"customer_details": {"name": hidden}} if " EUR" in word else {"customer_details": hidden}
    await keep(inbox, make_event("checkout.session.completed", object=where))
    told = await keep(inbox, make_event("customer.created", object={"description": f"{word} 471100"} | hidden))
    hits = await pages.api(f"/search?q={word}")
    assert [hit["id"] for hit in hits["mentions"] + hits["amounts"]] == [told]
    if isinstance(inbox, EncodedStore) and not inbox.codec.keyring.used:  # else a text is no filter
        listed = await pages.api("/events?text=Lovelace")
        assert [event["id"] for event in listed["items"]] == [told]


async def test_signing_in_leads_back_to_just_what_was_asked_for(pages: Pages) -> None:
    asked = "/search?q=J%C3%BCrgen%20%26%20Co%2525"
    assert await pages.signed_out(asked) == asked


@pytest.mark.parametrize(
    ("text", "amount", "currency", "fits"),
    [
        ("45.00", 4500, "eur", True),
        ("4500", 4500, "eur", True),
        ("4500", 450000, "usd", True),
        ("¥500", 500, "jpy", True),
        ("500 JPY", 50000, "jpy", False),
        ("5.120 KWD", 5120, "kwd", True),
        ("45 EUR", 4500, "usd", False),
    ],
)
def test_amounts_are_of_their_currency(text: str, amount: int, currency: str, fits: bool) -> None:
    asked = parse_amount(text)
    assert asked is not None
    assert asked.fits(amount, currency) is fits
    if fits:
        assert asked.needle in str(amount)


def test_what_is_no_amount_is_a_text() -> None:
    assert [parse_amount(text) for text in ("evt_1", "45 euros", "EUR 45 EUR", "1.2.3", "-5")] == [None] * 5


def test_amounts_stand_beside_or_below_their_currency() -> None:
    object_ = {"currency": "eur", "amount": 1, "created": 2, "lines": [{"total": 3}, {"currency": "usd", "amount": 4}]}
    assert list(amounts_in(object_)) == [(1, "eur"), (3, "eur"), (4, "usd")]
