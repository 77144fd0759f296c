"""A route written for 2024-06-20 and events of the newest version, and the other way round: each dead letter says where
the field is, whether the route's `if` lacks it or an action, and that the versions differ.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.config.load import load
from gateway.core.envelope import parse_event
from gateway.simulation import Simulator
from gateway.testing import make_event
from tests.configs import gateway_yaml

NEW = "2026-10-28.endive"
ROUTES = """\
  asked:
    events: ["*"]
    if: {field} == 'x'
    actions: {{a: {{uses: http_forward, with: {{connection: warehouse}}}}}}
  sent:
    events: ["*"]
    actions: {{a: {{uses: http_forward, with: {{connection: warehouse, body: "{{{{ {field} }}}}"}}}}}}
"""


async def reasons(folder: Path, written_for: str, field: str, event: dict[str, Any]) -> list[str]:
    """Why the delivery of each of the two routes is dead."""
    path = folder / "gateway.yaml"
    connections = {"warehouse": 'type: http, url: "https://warehouse.example"'}
    account = f"    api_version: {written_for}\n"
    path.write_text(gateway_yaml(accounts=account, connections=connections, routes=ROUTES.format(field=field)))
    posted = parse_event(json.dumps(event).encode(), "acme", datetime(2026, 11, 24, tzinfo=UTC))
    result = await Simulator(load(path, {})).simulate(posted)
    assert [delivery.state.value for delivery in result.deliveries] == ["dead", "dead"]
    return [str(delivery.reason) for delivery in result.deliveries]


@pytest.mark.parametrize(
    ("event_type", "field", "where"),
    [
        ("invoice.paid", "object.subscription", "object.parent.subscription_details.subscription"),
        ("invoice.paid", "object.charge", "object.payments.data[0].payment.payment_intent"),
        ("customer.subscription.updated", "object.current_period_end", "object.items.data[0].current_period_end"),
        ("customer.discount.created", "object.coupon", "object.source.coupon"),
    ],
)
async def test_where_a_field_of_2024_06_20_is_now(tmp_path: Path, event_type: str, field: str, where: str) -> None:
    event = make_event(event_type, api_version=NEW)
    for reason in await reasons(tmp_path, "2024-06-20", field, event):
        assert f"{field}: no such field; gone since Stripe's API 202" in reason
        assert f"it is {where} now (this event is of version {NEW})" in reason
        assert f"; the event is of Stripe's API {NEW}, and accounts.acme.api_version is 2024-06-20" in reason


async def test_a_field_that_is_newer_than_the_event(tmp_path: Path) -> None:
    event = make_event("invoice.paid", api_version="2024-06-20")
    del event["data"]["object"]["parent"]
    field = "object.parent.subscription_details.subscription"
    for reason in await reasons(tmp_path, NEW, field, event):
        assert "object.parent: no such field; there since Stripe's API 2025-03-31.basil, in the place of" in reason
        assert f"; the event is of Stripe's API 2024-06-20, and accounts.acme.api_version is {NEW}" in reason


async def test_nothing_is_said_of_versions_that_agree(tmp_path: Path) -> None:
    for reason in await reasons(tmp_path, NEW, "object.never_was", make_event("invoice.paid", api_version=NEW)):
        assert reason.endswith("object.never_was: no such field")
