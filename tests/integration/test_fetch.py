"""`fetch` in a running gateway, against the stand-in: what actions see, how often Stripe is asked, how it fails."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from gateway.core.model import DONE
from gateway.store.sqlite.store import SqliteStore
from gateway.testing import make_event, thin_event
from tests.in_process import InProcess, config, gateway
from tests.stripe_standin import LIVE_KEY, ORG_KEY, Fault, StripeStandin

SAVE = """\
  {name}:
    events: [{events}]
    connected_accounts: ["*", none]
    fetch: {fetch}
    actions:
      save:
        uses: db_upsert
        {condition}
        with:
          connection: shop
          table: customers
          ensure_table: true
          key: {{id: "{{{{ object.id }}}}"}}
          values: {{value: "{{{{ {value} }}}}"}}
"""


def save(
    value: str = "object.email",
    *,
    events: str = "customer.*",
    fetch: str = "true",
    condition: str = "",
    name: str = "r",
) -> str:
    """A route that writes one value of the object."""
    return SAVE.format(value=value, events=events, fetch=fetch, condition=condition and f"if: {condition}", name=name)


def customer(**fields: Any) -> dict[str, Any]:
    return {"id": "cus_1", "object": "customer", "email": "new@example.com", "livemode": False, **fields}


def old_event(type: str = "customer.updated", **envelope: Any) -> dict[str, Any]:
    return make_event(type, object=customer(email="old@example.com"), **envelope)


async def values(running: InProcess) -> list[Any]:
    await running.until_finished()
    return [value for (value,) in running.shop("SELECT value FROM customers ORDER BY id")]


async def test_what_is_written_is_the_object_as_it_is_now(tmp_path: Path, standin: StripeStandin) -> None:
    standin.put(customer())
    async with gateway(tmp_path, config(save(), standin.url)) as running:
        await running.post(old_event())
        assert await values(running) == ["new@example.com"]
    (asked,) = standin.requests
    assert (asked.path, asked.headers["Stripe-Version"]) == ("/v1/customers/cus_1", "2026-10-28.endive")


async def test_line_items_beyond_a_page_are_all_there(tmp_path: Path, standin: StripeStandin) -> None:
    items = [{"id": f"li_{i}", "object": "item", "quantity": 1} for i in range(230)]
    standin.put({"id": "cs_1", "object": "checkout.session"}, lists={"line_items": items})
    route = save("object.line_items.data | length", events="checkout.session.completed", fetch="{expand: [line_items]}")
    async with gateway(tmp_path, config(route, standin.url)) as running:
        await running.post(make_event(object={"id": "cs_1"}))
        assert await values(running) == [230]


async def test_the_keys_of_what_was_fetched_win_over_methods(tmp_path: Path, standin: StripeStandin) -> None:
    items = [{"id": "si_1", "object": "subscription_item", "price": {"id": "price_9", "unit_amount_decimal": "12.5"}}]
    standin.put({"id": "sub_1", "object": "subscription"}, lists={"items": items})
    value = "object.items.data[0].price.id ~ object.items.data[0].price.unit_amount_decimal"
    async with gateway(tmp_path, config(save(value, events="customer.subscription.*"), standin.url)) as running:
        await running.post(make_event("customer.subscription.updated", object={"id": "sub_1"}))
        assert await values(running) == ["price_912.5"]


COPY = """\
      {name}:
        uses: db_upsert
        needs: {needs}
        with:
          connection: shop
          table: {name}
          ensure_table: true
          key: {{id: "{{{{ object.id }}}}"}}
          values: {{v: "{{{{ object.email }}}}"}}
"""
THREE_ACTIONS = save() + COPY.format(name="copy", needs="[]") + COPY.format(name="after", needs="[save, copy]")


async def test_all_actions_of_an_event_share_one_question(tmp_path: Path, standin: StripeStandin) -> None:
    standin.put(customer())
    async with gateway(tmp_path, config(THREE_ACTIONS, standin.url)) as running:
        for _ in range(5):
            await running.post(old_event())
        await running.until_finished()
        assert {state for _, state, _ in running.deliveries()} == {"succeeded"}
    assert len(standin.requests) == 5


@pytest.mark.parametrize(("again", "expected", "requests"), [(False, "new@example.com", 1), (True, "newest", 2)])
async def test_later_attempts_see_the_same_object_unless_asked_again(
    tmp_path: Path, standin: StripeStandin, again: bool, expected: str, requests: int
) -> None:
    standin.put(customer())
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "flaky.py").write_text(
        "from gateway.plugin import Action, Retry\nfrom gateway.plugin import Settings as Base\n\n"
        "class Flaky(Action):\n    name = 'flaky'\n\n    class Settings(Base):\n        seen: str\n\n"
        "    async def run(self, settings, context):\n"
        "        if context.attempt == 1:\n            raise Retry('not yet', after_seconds=3600)\n"
        "        return {'seen': settings.seen}\n"
    )
    route = (
        "  r:\n    events: [customer.updated]\n"
        f"    fetch: {{again: {str(again).lower()}}}\n"
        '    actions: {tell: {uses: flaky, retry: {first: 1s, max: 1s}, with: {seen: "{{ object.email }}"}}}\n'
    )
    text = config(route, standin.url).replace("version: 1\n", "version: 1\nplugins: [plugins]\n")
    async with gateway(tmp_path, text) as running:
        await running.post(old_event())
        await running.until("SELECT runs, state FROM deliveries", [(1, "pending")])
        standin.put(customer(email="newest"))
        await running.until_finished()
        assert json.loads(running.rows("SELECT output FROM deliveries")[0][0]) == {"seen": expected}
    assert len(standin.requests) == requests


async def test_a_person_s_retry_asks_afresh(tmp_path: Path, standin: StripeStandin) -> None:
    standin.put(customer())
    async with gateway(tmp_path, config(save("object.phone"), standin.url)) as running:
        await running.post(old_event())
        await running.until_finished()
        assert running.deliveries()[0][1] == "dead"
        standin.put(customer(phone="112"))
        beside = SqliteStore(tmp_path / "inbox.db")
        await beside.attach()
        ((delivery_id,),) = running.rows("SELECT id FROM deliveries")
        assert await beside.retry([delivery_id]) == {delivery_id: DONE}
        await beside.close()
        assert await values(running) == ["112"]


async def test_stripe_down_is_a_retry_with_its_attempt_recorded(tmp_path: Path, standin: StripeStandin) -> None:
    standin.put(customer())
    standin.faults.extend([Fault(500, headers={"Stripe-Should-Retry": "false"})] * 2)
    async with gateway(tmp_path, config(save(), standin.url)) as running:
        await running.post(old_event())
        assert await values(running) == ["new@example.com"]
        attempts = running.rows("SELECT outcome, error FROM attempts ORDER BY number")
    assert attempts == [
        ("retry", "Stripe answered 500 (request req_1): An unknown error occurred"),
        ("retry", "Stripe answered 500 (request req_2): An unknown error occurred"),
        ("succeeded", None),
    ]


@pytest.mark.parametrize(("kind", "leaves_a_trace"), [("customer", True), ("subscription", False)])
async def test_a_deleted_object_is_a_state_that_the_config_sees(
    tmp_path: Path, standin: StripeStandin, kind: str, leaves_a_trace: bool
) -> None:
    standin.put({"id": "x_1", "object": kind})
    standin.delete("x_1")
    routes = save("object.object ~ ' ' ~ object.deleted") + save("1", condition="not object.deleted", name="living")
    async with gateway(tmp_path, config(routes, standin.url)) as running:
        await running.post(make_event("customer.updated", object={"id": "x_1", "object": kind}))
        assert await values(running) == [f"{kind} True"]
        assert running.deliveries()[1] == ("save", "skipped", "its `if` is false: not object.deleted")


@pytest.mark.parametrize(
    ("kind", "leaves_a_trace", "why"),
    [
        (
            "subscription",
            False,
            "Stripe answered fetch with 404 (No such subscription: 'x_1' (request req_1)): the object is deleted, or "
            "of another mode or account than accounts.acme.api_key",
        ),
        ("customer", True, "the object is deleted at Stripe, which tells no more of it"),
    ],
)
async def test_a_field_of_an_object_that_is_gone_is_told_as_such(
    tmp_path: Path, standin: StripeStandin, kind: str, leaves_a_trace: bool, why: str
) -> None:
    standin.put({"id": "x_1", "object": kind})
    standin.delete("x_1")
    async with gateway(tmp_path, config(save("object.status"), standin.url)) as running:
        await running.post(make_event("customer.updated", object={"id": "x_1", "object": kind}))
        await running.until_finished()
        assert str(running.deliveries()[0][2]).endswith(
            f"object.status: no such field; {why}; `if: not object.deleted` passes over such events"
        )


async def test_a_missing_permission_is_a_dead_letter_that_names_it(tmp_path: Path, standin: StripeStandin) -> None:
    key = standin.restricted_key("invoice")
    async with gateway(tmp_path, config(save(), standin.url, key=key)) as running:
        await running.post(old_event())
        await running.until_finished()
        assert running.deliveries() == [
            (
                "save",
                "dead",
                "accounts.acme.api_key lacks the permission \"Customers Read\" ('customer_read'), which GET "
                "/v1/customers/cus_1 needs (request req_1); give it to the key at Stripe, then retry",
            )
        ]
        assert key not in str(running.log.calls)


async def test_a_key_that_stripe_does_not_know_is_retried_until_it_is_mended(
    tmp_path: Path, standin: StripeStandin
) -> None:
    standin.put(customer())
    async with gateway(tmp_path, config(save(), standin.url, key="sk_test_rolled0000")) as running:
        await running.post(old_event())
        await running.until("SELECT count(*) FROM attempts WHERE outcome = 'retry'", [(2,)])
        standin.keys["sk_test_rolled0000"] = None
        assert await values(running) == ["new@example.com"]


async def test_a_key_of_the_other_mode_is_told_before_stripe_is_asked(tmp_path: Path, standin: StripeStandin) -> None:
    async with gateway(tmp_path, config(save(), standin.url, key=LIVE_KEY)) as running:
        await running.post(old_event())
        await running.until_finished()
        assert running.deliveries()[0][2] == (
            "accounts.acme.api_key is a live key, and this is a test event: its object cannot be fetched"
        )
    assert standin.requests == []


async def test_what_has_no_place_at_stripe_is_a_dead_letter(tmp_path: Path, standin: StripeStandin) -> None:
    async with gateway(tmp_path, config(save(), standin.url)) as running:
        await running.post(make_event("customer.discount.created", object={"id": "di_1", "object": "discount"}))
        await running.until_finished()
        assert running.deliveries()[0][2] == (
            "discount cannot be fetched: it has no place of its own at Stripe; give customer.discount.created a route "
            "without fetch"
        )


async def test_versions_pinned_by_route_account_or_event(tmp_path: Path, standin: StripeStandin) -> None:
    standin.put(customer())
    routes = save(name="a", fetch="{api_version: 2025-01-27.acacia}") + save(name="b")
    account = "    api_version: 2024-06-20\n"
    async with gateway(tmp_path, config(routes, standin.url, account=account)) as running:
        await running.post(old_event(api_version="2020-08-27"))
        await running.until_finished()
    assert {one.headers["Stripe-Version"] for one in standin.requests} == {"2025-01-27.acacia", "2024-06-20"}
    standin.requests.clear()
    (tmp_path / "two").mkdir()
    async with gateway(tmp_path / "two", config(save(), standin.url)) as running:
        await running.post(old_event(api_version="2020-08-27"))
        await running.until_finished()
    assert [one.headers["Stripe-Version"] for one in standin.requests] == ["2020-08-27"]


async def test_a_thin_event_s_object_comes_by_its_url_and_context(tmp_path: Path, standin: StripeStandin) -> None:
    standin.put(customer(), account="acct_1")
    standin.put_at(
        "/v2/core/accounts/acct_1", {"id": "acct_1", "object": "v2.core.account", "email": "v2"}, account="acct_1"
    )
    route = save(events="v1.customer.updated, v2.core.account.updated")
    async with gateway(tmp_path, config(route, standin.url)) as running:
        one = {"id": "cus_1", "type": "customer", "url": "/v1/customers/cus_1"}
        two = {"id": "acct_1", "type": "v2.core.account", "url": "/v2/core/accounts/acct_1"}
        await running.post(thin_event("v1.customer.updated", related_object=one, context="acct_1"))
        await running.post(thin_event("v2.core.account.updated", related_object=two, context="acct_1"))
        assert await values(running) == ["v2", "new@example.com"]
        assert running.rows("SELECT object_id, connected_account, livemode FROM events ORDER BY seq") == [
            ("cus_1", "acct_1", 0),
            ("acct_1", "acct_1", 0),
        ]
    assert {one.headers["Stripe-Context"] for one in standin.requests} == {"acct_1"}


async def test_a_thin_event_without_an_object_is_read_whole_itself(tmp_path: Path, standin: StripeStandin) -> None:
    event = thin_event("v1.billing.meter.no_meter_found", related_object=None)
    path = f"/v2/core/events/{event['id']}"
    standin.put_at(path, {**event, "data": {"reason": {"error_count": 3}}})
    route = save("object.data.reason.error_count", events="v1.billing.meter.no_meter_found")
    async with gateway(tmp_path, config(route, standin.url)) as running:
        await running.post(event)
        assert await values(running) == [3]
    assert [one.path for one in standin.requests] == [path]


METER = {"id": "mtr_1", "object": "billing.meter", "display_name": "Requests"}
RELATED = {"id": "mtr_1", "type": "billing.meter", "url": "/v1/billing/meters/mtr_1"}
METER_EVENT = "v1.billing.meter.error_report_triggered"


@pytest.mark.parametrize(
    ("fetch", "value", "paths"),
    [
        ("{event: true}", "object.display_name", ["/v2/core/events/evt_1", "/v1/billing/meters/mtr_1"]),
        ("{event: true, object: false}", "object.id", ["/v2/core/events/evt_1"]),
    ],
)
async def test_a_thin_event_s_own_data_comes_where_it_is_asked_for(
    tmp_path: Path, standin: StripeStandin, fetch: str, value: str, paths: list[str]
) -> None:
    event = thin_event(METER_EVENT, id="evt_1", related_object=RELATED, context="acct_1")
    standin.put_at(RELATED["url"], METER, account="acct_1")
    data = {"developer_message_summary": "no meter for 3 events"}
    standin.put_at("/v2/core/events/evt_1", {**event, "data": data}, account="acct_1")
    route = save(f"{value} ~ ': ' ~ event.data.developer_message_summary", events=METER_EVENT, fetch=fetch)
    async with gateway(tmp_path, config(route, standin.url)) as running:
        await running.post(event)
        known = {"object.display_name": "Requests", "object.id": "mtr_1"}[value]
        assert await values(running) == [f"{known}: no meter for 3 events"]
    assert [asked.path for asked in standin.requests] == paths
    assert {asked.headers["Stripe-Context"] for asked in standin.requests} == {"acct_1"}


async def test_a_thin_event_that_stripe_keeps_no_more_is_told_as_that(tmp_path: Path, standin: StripeStandin) -> None:
    event = thin_event(METER_EVENT, id="evt_1", related_object=RELATED)
    async with gateway(
        tmp_path, config(save("event.data", events=METER_EVENT, fetch="{event: true}"), standin.url)
    ) as it:
        await it.post(event)
        await it.until_finished()
        assert it.deliveries()[0][2] == (
            "Stripe has no event evt_1 any more: it keeps events for 30 days, in their own mode and account (The "
            "requested resource was not found. (request req_1))"
        )


async def test_what_the_event_itself_says_is_redacted_too(tmp_path: Path, standin: StripeStandin) -> None:
    event = thin_event(METER_EVENT, id="evt_1", related_object=None)
    standin.put_at("/v2/core/events/evt_1", {**event, "data": {"developer_message_summary": "of Jenny"}})
    route = save("object.data.developer_message_summary | int", events=METER_EVENT, fetch="{event: true}")
    account = "    redact: [data.developer_message_summary]\n"
    async with gateway(tmp_path, config(route, standin.url, account=account)) as running:
        await running.post(event)
        await running.until_finished()
        reason = str(running.deliveries()[0][2])
    assert "int takes a whole number" in reason
    assert "Jenny" not in reason


async def test_a_dashboard_test_event_keeps_its_own_object(tmp_path: Path, standin: StripeStandin) -> None:
    async with gateway(tmp_path, config(save(), standin.url)) as running:
        for _ in range(3):
            assert await running.post(old_event(id="evt_00000000000000")) == {"received": True}
        assert await values(running) == ["old@example.com"]
        assert running.rows("SELECT count(DISTINCT id) FROM events WHERE id LIKE 'evt_00000000000000_%'") == [(3,)]
        assert running.rows("SELECT json_extract(plain(body), '$.id') FROM events")[0] == ("evt_00000000000000",)
    assert standin.requests == []


async def test_stripe_that_never_answers_ends_at_the_action_s_timeout(tmp_path: Path, standin: StripeStandin) -> None:
    standin.faults.extend([Fault(hang=True)] * 9)
    text = config(save(), standin.url).replace("uses: db_upsert", "uses: db_upsert\n        timeout: 200ms")
    async with gateway(tmp_path, text) as running:
        await running.post(old_event())
        await running.until_finished()
        assert running.deliveries()[0][2] == (
            "no end after 0.2 s (its timeout); Stripe did not bring the object; the action has not begun (attempt 3 of "
            "3, the last)"
        )


async def test_a_route_s_if_sees_the_event_and_an_action_s_if_what_was_fetched(
    tmp_path: Path, standin: StripeStandin
) -> None:
    standin.put(customer(email="now"))
    routes = save(condition="object.email == 'now'", name="a")
    routes += save(name="b").replace("    fetch:", "    if: object.email == 'now'\n    fetch:")
    async with gateway(tmp_path, config(routes, standin.url)) as running:
        await running.post(old_event())
        await running.until_finished()
        assert running.rows("SELECT route, state FROM deliveries") == [("a", "succeeded")]
    assert len(standin.requests) == 1


async def test_asking_goes_on_while_the_gateway_takes_events(tmp_path: Path, standin: StripeStandin) -> None:
    standin.put(customer())
    standin.faults.append(Fault(hang=True))
    async with gateway(tmp_path, config(save(), standin.url)) as running:
        await running.post(old_event())
        answers = await asyncio.gather(*(running.post(old_event()) for _ in range(20)))
        assert all(answer == {"received": True} for answer in answers)
        await running.until("SELECT count(*) FROM deliveries WHERE state = 'succeeded'", [(20,)])
        assert running.rows("SELECT count(*) FROM deliveries WHERE state = 'running'") == [(1,)]


@pytest.mark.parametrize(
    ("envelope", "told"),
    [
        ({"account": "acct_1"}, ("acct_1", None)),
        ({"account": "acct_1", "context": "acct_1"}, ("acct_1", None)),
        ({"context": "ws_1/acct_1"}, (None, "ws_1/acct_1")),
    ],
)
async def test_a_snapshot_event_s_object_is_asked_for_on_its_connected_account_s_behalf(
    tmp_path: Path, standin: StripeStandin, envelope: dict[str, str], told: tuple[str | None, str | None]
) -> None:
    standin.put(customer(), account="acct_1")
    async with gateway(tmp_path, config(save(), standin.url)) as running:
        await running.post(old_event(**envelope))
        assert await values(running) == ["new@example.com"]
        assert running.rows("SELECT connected_account FROM events") == [("acct_1",)]
    (asked,) = standin.requests
    assert (asked.headers.get("Stripe-Account"), asked.headers.get("Stripe-Context")) == told


@pytest.mark.parametrize(
    ("envelope", "context"),
    [
        ({"context": "acct_1"}, "acct_1"),
        ({"context": "acct_platform/acct_1", "account": "acct_1"}, "acct_platform/acct_1"),
        ({"account": "acct_1"}, "acct_1"),
    ],
)
async def test_an_organisation_s_key_names_the_account_of_each_event(
    tmp_path: Path, standin: StripeStandin, envelope: dict[str, str], context: str
) -> None:
    standin.put(customer(), account="acct_1")
    async with gateway(tmp_path, config(save(), standin.url, key=ORG_KEY)) as running:
        await running.post(old_event(**envelope))
        assert await values(running) == ["new@example.com"]
    (asked,) = standin.requests
    assert (asked.headers.get("Stripe-Account"), asked.headers.get("Stripe-Context")) == (None, context)


async def test_an_organisation_s_key_without_an_account_is_a_dead_letter(
    tmp_path: Path, standin: StripeStandin
) -> None:
    async with gateway(tmp_path, config(save(), standin.url, key=ORG_KEY)) as running:
        await running.post(old_event())
        await running.until_finished()
        assert running.deliveries()[0][2] == (
            "accounts.acme.api_key is an organisation's: Stripe has to be told which of its accounts is meant, and "
            "nothing says so here; name them in connected_accounts"
        )
    assert standin.requests == []


async def test_a_connected_account_itself_is_read_by_the_platform(tmp_path: Path, standin: StripeStandin) -> None:
    standin.put({"id": "acct_1", "object": "account", "email": "seller@example.com"})
    async with gateway(tmp_path, config(save(events="account.updated"), standin.url)) as running:
        await running.post(
            make_event("account.updated", account="acct_1", object={"id": "acct_1", "object": "account"})
        )
        assert await values(running) == ["seller@example.com"]
