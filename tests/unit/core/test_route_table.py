"""Finding the routes that want an event, and judging them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.core.errors import Where
from gateway.core.model import ActionUse, Debounce, Event, EventState, Route
from gateway.core.routing import RouteTable, keys_for, plan, settled_key, wants_type
from gateway.templating.compiler import Templates

WHERE = Where("gateway.yaml", 1, 1)
SEND = ActionUse("send", "http_forward", (), WHERE)


def route(name: str, *events: str, accounts: frozenset[str] | None = None, condition: str | None = None) -> Route:
    expression = Templates(Path(".")).expression(condition, WHERE) if condition is not None else None
    return Route(name, accounts, events, WHERE, expression, actions=(SEND,))


ROUTES = [
    route("all", "*"),
    route("paid", "invoice.paid", "invoice.paid"),
    route("invoices", "invoice.*", "charge.[cf]*"),
    route("eu", "invoice.*", accounts=frozenset({"eu"})),
    route("charges", "charge.captured", "invoice.p?id"),
]


@pytest.mark.parametrize(
    "event_type", ["invoice.paid", "invoice.voided", "charge.captured", "charge.failed", "payout.paid"]
)
@pytest.mark.parametrize("account", ["eu", "us"])
def test_the_table_finds_what_asking_each_route_finds_in_the_order_of_the_file(account: str, event_type: str) -> None:
    table = RouteTable(ROUTES)
    for _ in range(2):
        assert list(table.wanting(account, event_type)) == [r for r in ROUTES if wants_type(r, account, event_type)]


EVENT = Event("eu", "evt_1", "charge.failed", EventState.ROUTED, False, datetime.now(UTC), b"{}")


def test_an_event_is_looked_at_once_however_many_routes_judge_it() -> None:
    calls: list[int] = []

    def scope() -> dict[str, Any]:
        calls.append(1)
        return {"object": {"paid": True}}

    routes = [route("a", "*", condition="object.paid"), route("b", "*", condition="not object.paid"), ROUTES[0]]
    assert [one.route for one in plan(routes, EVENT, scope)] == ["a", "all"]
    assert len(calls) == 1
    assert plan(ROUTES[:1], EVENT, scope)
    assert len(calls) == 1


def test_a_prepared_table_has_compiled_its_conditions() -> None:
    table = RouteTable([route("a", "*", condition="object.paid and 1 == 1")])
    table.prepare()
    condition: Any = table.routes[0].condition
    assert condition._code._template is not None


def test_an_event_of_a_burst_stands_for_those_of_its_own_account_alone() -> None:
    calls = replace(route("calls", "*"), debounce=Debounce(30, 300))
    whose = [("eu", None), ("us", None), ("eu", "acct_1"), ("eu", "acct_2")]
    events = [replace(EVENT, account=account, connected_account=connected) for account, connected in whose]
    keys = [keys_for(calls, "send", event, (None, "order 7"))[1] for event in events]
    assert len(set(keys)) == 4
    assert all(settled_key(key) for key in keys)
