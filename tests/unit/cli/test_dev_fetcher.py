"""`fetch` under --dev: nobody is asked, and templates find what they would."""

from __future__ import annotations

from typing import Any, cast

from gateway.cli.dev.environment import DevFetcher
from gateway.core.model import Account, Claim, Fetch
from gateway.testing import make_event, thin_event

ACCOUNT = Account("acme", ("whsec_1",), None, 300.0)


async def fetched(event: dict[str, Any], *expand: str) -> dict[str, Any]:
    """What stands in for Stripe's answer; the claim is of no account."""
    return dict(await DevFetcher().fetch(cast(Claim, None), event, ACCOUNT, Fetch(expand)))


async def test_a_snapshot_event_is_answered_with_its_own_object() -> None:
    event = make_event("customer.updated", object={"email": "jenny@example.com"})
    assert await fetched(event) == event["data"]["object"]


async def test_line_items_are_there_where_they_are_expanded() -> None:
    event = make_event()
    assert "line_items" not in await fetched(event)
    items = (await fetched(event, "line_items.data.price"))["line_items"]
    assert (items["has_more"], items["data"][0]["quantity"]) == (False, 2)
    assert "line_items" not in event["data"]["object"]


async def test_a_thin_event_is_answered_with_a_plausible_object() -> None:
    event = thin_event("v1.customer.updated")
    found = await fetched(event)
    assert (found["id"], found["object"]) == (event["related_object"]["id"], "customer")
    assert found["email"] == "jenny@example.com"
    assert event["related_object"]["url"] == f"/v1/customers/{found['id']}"
