"""What kinds of events there are, in a running gateway: Connect, both forms of one event, versions, modes, tests."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gateway.testing import make_event, thin_event
from tests.in_process import InProcess, config, gateway
from tests.stripe_standin import StripeStandin

ROUTE = """\
  {name}:
    events: {events}
    {more}
    actions:
      save:
        uses: db_upsert
        with:
          connection: shop
          table: rows
          ensure_table: true
          key: {{id: "{{{{ event.id }}}}/{name}"}}
          values: {{value: "{{{{ {value} }}}}"}}
"""


def route(name: str = "r", *, events: str = '["*"]', more: str = "fetch: false", value: str = "event.type") -> str:
    """A route that writes one row for each event."""
    return ROUTE.format(name=name, events=events, more=more, value=value)


async def values(running: InProcess) -> list[Any]:
    await running.until_finished()
    assert {state for _, state, _ in running.deliveries()} <= {"succeeded"}, running.deliveries()
    if not running.deliveries():
        return []
    return [value for (value,) in running.shop("SELECT value FROM rows ORDER BY rowid")]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (None, [None]),
        ("[none]", [None]),
        ('["*"]', ["acct_1", "acct_2"]),
        ("[acct_2]", ["acct_2"]),
        ("[none, acct_1]", [None, "acct_1"]),
        ('["*", none]', [None, "acct_1", "acct_2"]),
    ],
)
async def test_routes_select_by_connected_account(
    tmp_path: Path, wanted: str | None, expected: list[str | None]
) -> None:
    more = f"connected_accounts: {wanted}" if wanted else "fetch: false"
    text = config(route(more=more, value="connected_account.id if connected_account else None"), "http://127.0.0.1:9")
    async with gateway(tmp_path, text) as running:
        for account in (None, "acct_1", "acct_2"):
            await running.post(make_event(**({"account": account} if account else {})))
            await running.until_finished()
        assert await values(running) == expected
        states = [state for (state,) in running.rows("SELECT state FROM events ORDER BY seq")]
        assert states.count("routed") == len(expected)
        assert states.count("unmatched") == 3 - len(expected)


async def test_templates_see_the_connected_account_and_its_vars(tmp_path: Path) -> None:
    account = "    connected_accounts: {acct_1: {vars: {channel: shop-1}}}\n"
    value = "connected_account.id ~ ' ' ~ connected_account.vars.channel | default('none')"
    more = 'connected_accounts: ["*"]'
    async with gateway(
        tmp_path, config(route(more=more, value=value), "http://127.0.0.1:9", account=account)
    ) as running:
        for connected in ("acct_1", "acct_2"):
            await running.post(make_event(account=connected))
            await running.until_finished()
        assert await values(running) == ["acct_1 shop-1", "acct_2 none"]


async def test_a_live_connect_endpoint_s_test_events_are_ignored(tmp_path: Path) -> None:
    text = config(route(more='connected_accounts: ["*"]'), "http://127.0.0.1:9", account="    livemode: true\n")
    async with gateway(tmp_path, text) as running:
        assert await running.post(make_event(account="acct_1", livemode=False)) == {"received": True}
        assert await running.post(make_event(account="acct_1", livemode=True)) == {"received": True}
        assert await values(running) == ["checkout.session.completed"]
        assert running.rows("SELECT livemode, state FROM events ORDER BY seq") == [(0, "ignored"), (1, "routed")]


async def test_a_type_that_no_route_wants_is_answered_200_and_kept(tmp_path: Path) -> None:
    async with gateway(tmp_path, config(route(events="[invoice.paid]"), "http://127.0.0.1:9")) as running:
        assert await running.post(make_event("some.future_type", object={"object": "future"})) == {"received": True}
        assert running.rows("SELECT state FROM events") == [("unmatched",)]


# -- both forms of one event ----------------------------------------------------------------------------------


def both_forms() -> tuple[dict[str, Any], dict[str, Any]]:
    snapshot = make_event("customer.created", object={"id": "cus_1"})
    related = {"id": "cus_1", "type": "customer", "url": "/v1/customers/cus_1"}
    thin = thin_event("v1.customer.created", related_object=related, snapshot_event=snapshot["id"])
    return snapshot, thin


@pytest.mark.parametrize("first", ["snapshot", "thin"])
@pytest.mark.parametrize("events", ["[customer.created, v1.customer.created]", '["*"]', '["*.created"]'])
async def test_both_forms_of_one_event_are_handled_once(tmp_path: Path, first: str, events: str) -> None:
    snapshot, thin = both_forms()
    order = (snapshot, thin) if first == "snapshot" else (thin, snapshot)
    async with gateway(tmp_path, config(route(events=events, value="object.id"), "http://127.0.0.1:9")) as running:
        answers = [await running.post(event) for event in (*order, *order)]
        assert answers == [{"received": True}, *[{"received": True, "duplicate": True}] * 3]
        assert await values(running) == ["cus_1"]
        assert running.rows("SELECT id FROM events") == [(order[0]["id"],)]


@pytest.mark.parametrize("first", ["snapshot", "thin"])
async def test_the_form_that_no_route_wants_does_not_stand_in_for_the_other(tmp_path: Path, first: str) -> None:
    snapshot, thin = both_forms()
    order = (snapshot, thin) if first == "snapshot" else (thin, snapshot)
    text = config(route(events="[v1.customer.created]"), "http://127.0.0.1:9")
    async with gateway(tmp_path, text) as running:
        assert [await running.post(event) for event in order] == [{"received": True}] * 2
        assert await values(running) == ["v1.customer.created"]


async def test_both_forms_in_one_commit_are_handled_once(tmp_path: Path) -> None:
    pairs = [both_forms() for _ in range(50)]
    async with gateway(tmp_path, config(route(), "http://127.0.0.1:9")) as running:
        answers = await asyncio.gather(*(running.post(event) for pair in pairs for event in pair))
        assert sum("duplicate" in answer for answer in answers) == 50
        assert len(await values(running)) == 50


# -- versions -------------------------------------------------------------------------------------------------


async def test_an_event_of_another_version_is_handled_flagged_counted_and_said_once(tmp_path: Path) -> None:
    account = "    api_version: 2026-10-28.endive\n"
    async with gateway(tmp_path, config(route(), "http://127.0.0.1:9", account=account)) as running:
        old = [make_event(api_version="2020-08-27") for _ in range(3)]
        for event in (*old, make_event(), thin_event()):
            await running.post(event)
        assert len(await values(running)) == 5
        assert running.rows("SELECT api_version, written_for FROM events ORDER BY seq") == [
            *[("2020-08-27", "2026-10-28.endive")] * 3,
            ("2026-10-28.endive", None),
            (None, None),
        ]
        said = [call for call in running.log.calls if call.args == ("event.other_api_version",)]
        assert len(said) == 1
        assert said[0].kwargs["event_id"] == old[0]["id"]
        assert (said[0].kwargs["api_version"], said[0].kwargs["written_for"]) == ("2020-08-27", "2026-10-28.endive")


# -- two events for one change, and the same second -------------------------------------------------------------


async def test_two_events_for_one_change_act_once_by_once_per(tmp_path: Path) -> None:
    events = "[invoice.paid, invoice.payment_succeeded]"
    async with gateway(
        tmp_path, config(route(events=events, more="once_per: object.id"), "http://127.0.0.1:9")
    ) as running:
        await running.post(make_event("invoice.paid", object={"id": "in_1"}))
        await running.post(make_event("invoice.payment_succeeded", object={"id": "in_1"}))
        await running.until_finished()
        assert [state for _, state, _ in running.deliveries()] == ["succeeded", "skipped"]


MIRROR = """\
  mirror:
    events: [customer.*]
    fetch: {fetch}
    order_by: object.id
    actions:
      save:
        uses: db_upsert
        with:
          connection: shop
          table: customers
          ensure_table: true
          key: {{id: "{{{{ object.id }}}}"}}
          values:
            email: "{{{{ object.email | default(none) }}}}"
            deleted: "{{{{ object.deleted | default(event.type == 'customer.deleted') }}}}"
          {newest}
"""
NEWEST = 'newest: {column: stripe_created, value: "{{ event.created }}"}'


def change(type: str, email: str, created: int) -> dict[str, Any]:
    return make_event(type, object={"id": "cus_1", "email": email}, created=created)


@pytest.mark.parametrize("swapped", [False, True])
async def test_of_two_updates_in_the_same_second_fetch_writes_the_last(
    tmp_path: Path, standin: StripeStandin, swapped: bool
) -> None:
    pair = [change("customer.updated", "first@x.example", 100), change("customer.updated", "last@x.example", 100)]
    standin.put({"id": "cus_1", "object": "customer", "email": "last@x.example"})
    async with gateway(tmp_path, config(MIRROR.format(fetch="true", newest=""), standin.url)) as running:
        for event in reversed(pair) if swapped else pair:
            await running.post(event)
        await running.until_finished()
        assert running.shop("SELECT email FROM customers") == [("last@x.example",)]


async def test_of_two_updates_in_the_same_second_newest_keeps_the_last_to_arrive(tmp_path: Path) -> None:
    text = config(MIRROR.format(fetch="false", newest=NEWEST), "http://127.0.0.1:9")
    async with gateway(tmp_path, text) as running:
        for email, created in (("last@x.example", 100), ("first@x.example", 100), ("older@x.example", 99)):
            await running.post(change("customer.updated", email, created))
            await running.until_finished()
        assert running.shop("SELECT email FROM customers") == [("first@x.example",)]  # a tie: whoever comes last


@pytest.mark.parametrize("fetch", ["true", "false"])
async def test_a_late_update_after_a_delete_never_resurrects(
    tmp_path: Path, standin: StripeStandin, fetch: str
) -> None:
    standin.put({"id": "cus_1", "object": "customer", "email": "jenny@example.com"})
    text = config(MIRROR.format(fetch=fetch, newest="" if fetch == "true" else NEWEST), standin.url)
    async with gateway(tmp_path, text) as running:
        await running.post(change("customer.created", "jenny@example.com", 100))
        await running.until_finished()
        standin.delete("cus_1")
        await running.post(change("customer.deleted", "jenny@example.com", 102))
        await running.until_finished()
        await running.post(change("customer.updated", "jenny@example.com", 101))
        await running.until_finished()
        assert [bool(deleted) for (deleted,) in running.shop("SELECT deleted FROM customers")] == [True]
