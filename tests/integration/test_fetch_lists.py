"""Lists that Stripe cuts at ten: refused in words where their items are taken one by one, or brought by their url."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.testing import make_event
from tests.in_process import config, gateway
from tests.stripe_standin import PUT_IN, StripeStandin

SUMMARY = "entitlements.active_entitlement_summary"
ROUTE = """\
  r:
    events: [{events}]
    connected_accounts: ["*", none]
    fetch: {fetch}
    actions:
      save:
        uses: db_upsert
        with:
          connection: shop
          table: items
          ensure_table: true
          for_each: "{{{{ {items} }}}}"
          key: {{id: "{{{{ item.id }}}}"}}
"""
URLS = ["/v1/entitlements/active_entitlements?customer=cus_1", "/v1/customer/cus_1/entitlements"]


def entitlements(count: int) -> list[dict[str, Any]]:
    return [
        {"id": f"ent_{i}", "object": "entitlements.active_entitlement", "lookup_key": f"f{i}"} for i in range(count)
    ]


def summary(count: int, url: str = URLS[0]) -> dict[str, Any]:
    shown = {"object": "list", "data": entitlements(count)[:PUT_IN], "has_more": count > PUT_IN, "url": url}
    return {"object": SUMMARY, "customer": "cus_1", "entitlements": shown, "livemode": False}


def summary_event(value: dict[str, Any], **envelope: Any) -> dict[str, Any]:
    return make_event(f"{SUMMARY}.updated", **envelope) | {"data": {"object": value}}


def route(fetch: str, items: str = "object.entitlements.data", events: str = f"{SUMMARY}.updated") -> str:
    return ROUTE.format(fetch=fetch, items=items, events=events)


@pytest.mark.parametrize("fetch", ["true", "{object: false}"])
@pytest.mark.parametrize("url", URLS)
async def test_a_list_comes_whole_by_its_url_where_the_object_has_no_place_of_its_own(
    tmp_path: Path, standin: StripeStandin, fetch: str, url: str
) -> None:
    standin.put({"id": "cus_1", "object": "customer"}, account="acct_1", lists={"entitlements": entitlements(130)})
    async with gateway(tmp_path, config(route(fetch), standin.url)) as running:
        await running.post(summary_event(summary(130, url), account="acct_1"))
        await running.until_finished()
        assert running.shop("SELECT count(*) FROM items") == [(130,)]
    first, second = standin.requests
    assert (first.path, dict(first.query)["customer"]) == ("/v1/entitlements/active_entitlements", "cus_1")
    assert (first.headers["Stripe-Account"], second.headers["Stripe-Account"]) == ("acct_1", "acct_1")


async def test_a_list_that_is_whole_already_is_not_asked_for(tmp_path: Path, standin: StripeStandin) -> None:
    async with gateway(tmp_path, config(route("true"), standin.url)) as running:
        await running.post(summary_event(summary(PUT_IN)))
        await running.until_finished()
        assert running.shop("SELECT count(*) FROM items") == [(PUT_IN,)]
    assert standin.requests == []


async def test_a_cut_list_without_an_address_stays_as_it_is_and_is_refused(
    tmp_path: Path, standin: StripeStandin
) -> None:
    value = summary(11)
    del value["entitlements"]["url"]
    async with gateway(tmp_path, config(route("true"), standin.url)) as running:
        await running.post(summary_event(value))
        await running.until_finished()
        assert str(running.deliveries()[0][2]).endswith("leave out the others; Stripe names no url to bring them by")


async def test_an_upcoming_invoice_s_lines_come_without_the_invoice(tmp_path: Path, standin: StripeStandin) -> None:
    lines = [{"id": f"il_{i}", "object": "line_item"} for i in range(12)]
    standin.put({"id": "in_1", "object": "invoice"}, lists={"lines": lines})
    shown = {"object": "list", "data": lines[:PUT_IN], "has_more": True, "url": "/v1/invoices/in_1/lines"}
    event = make_event("invoice.upcoming")
    event["data"]["object"] = {"id": "upcoming_in_1", "object": "invoice", "lines": shown}
    routes = route("{object: false}", "object.lines.data", "invoice.upcoming")
    routes += route("true", "object.lines.data", "invoice.upcoming").replace("  r:", "  refused:")
    async with gateway(tmp_path, config(routes, standin.url)) as running:
        await running.post(event)
        await running.until_finished()
        assert running.shop("SELECT count(*) FROM items") == [(12,)]
        assert running.deliveries()[1] == (
            "save",
            "dead",
            "an upcoming invoice cannot be fetched: it has no place of its own at Stripe; give invoice.upcoming a "
            "route without fetch, or fetch: {object: false}, which brings no more than its lists",
        )


@pytest.mark.parametrize(
    ("items", "why"),
    [
        (
            "object.entitlements.data",
            "object.entitlements has no more than the first 10 of its items (has_more is true), and for_each would "
            "leave out the others; fetch: true on the route brings all of them",
        ),
        (
            "event.data.object.entitlements.data | selectattr('lookup_key') | list",
            "event.data.object.entitlements has no more than the first 10 of its items (has_more is true), and "
            "for_each would leave out the others; object.entitlements.data with fetch: true on the route brings all of "
            "them",
        ),
    ],
)
async def test_without_fetch_a_cut_list_is_refused_in_words(
    tmp_path: Path, standin: StripeStandin, items: str, why: str
) -> None:
    async with gateway(tmp_path, config(route("false", items), standin.url)) as running:
        await running.post(summary_event(summary(11)))
        await running.until_finished()
        assert str(running.deliveries()[0][2]).endswith(why)
        await running.post(summary_event(summary(PUT_IN)))
        await running.until_finished()
        assert running.shop("SELECT count(*) FROM items") == [(PUT_IN,)]


async def test_whoever_looks_at_has_more_knows_that_a_list_is_cut(tmp_path: Path, standin: StripeStandin) -> None:
    items = "object.entitlements.data if not object.entitlements.has_more else object.entitlements.data[:3]"
    async with gateway(tmp_path, config(route("false", items), standin.url)) as running:
        await running.post(summary_event(summary(11)))
        await running.until_finished()
        assert running.shop("SELECT count(*) FROM items") == [(3,)]
