"""Simulations: how each delivery would end, with nothing sent."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.core.envelope import parse_event
from gateway.core.model import DeliveryState, Event, EventState
from gateway.simulation import Assumed, SimulationResult, Simulator
from gateway.testing import make_event, thin_event
from tests.configs import loaded

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def event(type: str = "checkout.session.completed", account: str = "acme", **overrides: Any) -> Event:
    return parse_event(json.dumps(make_event(type, **overrides)).encode(), account, NOW)


def ends(result: SimulationResult) -> dict[str, tuple[str, str | None]]:
    return {one.action.name: (one.state.value, one.reason) for one in result.deliveries}


async def test_a_paid_order_is_delivered_in_order_and_rendered(tmp_path: Path) -> None:
    result = await Simulator(loaded(tmp_path)).simulate(event(object={"id": "cs_1", "amount_total": 20000}))
    assert result.event.state is EventState.ROUTED
    assert result.routes == ("orders",)
    assert [one.action.name for one in result.deliveries] == ["save", "receipt", "ship", "tell"]
    save, receipt, ship, tell = result.deliveries
    assert save.rendered == {
        "connection": "shop",
        "table": "orders",
        "key": {"id": "cs_1"},
        "values": {"amount": 20000},
    }
    assert save.once_per == "cs_1"
    assert receipt.rendered["text"] == "€200.00"
    assert ship.state is DeliveryState.SUCCEEDED
    assert (tell.state, tell.unknown) == (DeliveryState.PENDING, "ship")
    assert tell.reason == "needs the output of ship, which is known once that ran"


async def test_an_assumed_output_is_seen_by_what_needs_it(tmp_path: Path) -> None:
    assumed = Assumed(outputs={"ship": {"status": 201}})
    result = await Simulator(loaded(tmp_path)).simulate(event(object={"amount_total": 20000}), assumed)
    assert result.deliveries[-1].rendered["text"] == "201"


async def test_an_output_that_nobody_asks_for_need_not_be_known(tmp_path: Path) -> None:
    routes = """\
routes:
  r:
    events: ['*']
    actions:
      a: {uses: http_forward, with: {connection: warehouse}}
      b: {uses: http_forward, needs: [a], with: {connection: warehouse, body: "{{ object.nothing }}"}}
      c: {uses: http_forward, needs: [a], with: {connection: warehouse, body: "{{ steps.a.output }}"}}
      d: {uses: http_forward, needs: [a], if: steps.a.output.body, with: {connection: warehouse}}
"""
    result = await Simulator(loaded(tmp_path, routes)).simulate(event())
    found = ends(result)
    assert found["b"][0] == "dead"
    assert found["b"][1] is not None
    assert "object.nothing: no such field" in found["b"][1]
    assert found["c"] == found["d"] == ("pending", "needs the output of a, which is known once that ran")


async def test_an_action_whose_if_is_false_is_skipped_and_so_is_what_needs_it(tmp_path: Path) -> None:
    routes = """\
routes:
  r:
    events: ['*']
    actions:
      a: {uses: http_forward, if: "false", with: {connection: warehouse}}
      b: {uses: http_forward, needs: [a], with: {connection: warehouse}}
      c: {uses: http_forward, needs: [b], with: {connection: warehouse}}
      d: {uses: http_forward, with: {connection: warehouse}}
"""
    assert ends(await Simulator(loaded(tmp_path, routes)).simulate(event())) == {
        "a": ("skipped", "its `if` is false: false"),
        "b": ("skipped", "needed action a was skipped"),
        "c": ("skipped", "needed action a was skipped"),
        "d": ("succeeded", None),
    }


async def test_an_action_that_fails_blocks_what_needs_it(tmp_path: Path) -> None:
    assumed = Assumed(failures={"save": "there is no table orders"})
    assert ends(await Simulator(loaded(tmp_path)).simulate(event(), assumed)) == {
        "save": ("dead", "there is no table orders"),
        "receipt": ("blocked", "waits for save, which is dead"),
        "ship": ("blocked", "waits for save, which is dead"),
        "tell": ("blocked", "waits for ship, which is blocked"),
    }


async def test_a_second_event_of_the_same_once_per_is_skipped(tmp_path: Path) -> None:
    simulator = Simulator(loaded(tmp_path))
    await simulator.simulate(event(object={"id": "cs_1"}), delivery_id="dlv_first")
    second = await simulator.simulate(event("checkout.session.async_payment_succeeded", object={"id": "cs_1"}))
    assert ends(second)["save"] == ("skipped", "once_per: dlv_first has done it")
    third = await simulator.simulate(event(object={"id": "cs_2"}))
    assert ends(third)["save"] == ("succeeded", None)


async def test_a_dead_letter_does_not_take_the_once_per(tmp_path: Path) -> None:
    simulator = Simulator(loaded(tmp_path))
    await simulator.simulate(event(object={"id": "cs_1"}), Assumed(failures={"save": "away"}))
    assert ends(await simulator.simulate(event(object={"id": "cs_1"})))["save"] == ("succeeded", None)


async def test_an_if_that_fails_makes_a_dead_letter(tmp_path: Path) -> None:
    changed = event(object={"payment_status": "paid"}).body.replace(b"payment_status", b"pay_status")
    result = await Simulator(loaded(tmp_path)).simulate(parse_event(changed, "acme", NOW))
    found = ends(result)
    assert found["save"][0] == "dead"
    assert "object.payment_status: no such field; did you mean pay_status?" in str(found["save"][1])
    assert found["receipt"][0] == "blocked"


async def test_an_event_of_the_wrong_mode_is_ignored(tmp_path: Path) -> None:
    result = await Simulator(loaded(tmp_path)).simulate(event(account="live"))
    assert (result.event.state, result.deliveries) == (EventState.IGNORED, ())


async def test_each_item_of_for_each_is_rendered(tmp_path: Path) -> None:
    routes = """\
routes:
  r:
    events: ['*']
    actions:
      a: {uses: db_upsert, with: {connection: shop, table: t, for_each: "{{ object.lines }}", key: {id: "{{ item.id }}"}}}
"""
    config = loaded(tmp_path, routes)
    found = await Simulator(config).simulate(event(object={"lines": [{"id": 1}, {"id": 2}]}))
    assert found.deliveries[0].rendered["key"] == [{"id": 1}, {"id": 2}]
    missing = await Simulator(config).simulate(event(object={"lines": [{"id": 1}, {"no": 2}]}))
    assert missing.deliveries[0].state is DeliveryState.DEAD
    assert "item.id: no such field" in str(missing.deliveries[0].reason)


async def test_what_fetch_would_bring_is_seen_by_the_action_and_not_by_the_routes_if(tmp_path: Path) -> None:
    routes = """\
routes:
  r:
    events: ['*']
    if: object.amount_total == 4500
    fetch: true
    actions:
      a: {uses: http_forward, if: object.amount_total == 1, with: {connection: warehouse, body: "{{ object.deleted }}"}}
"""
    simulator = Simulator(loaded(tmp_path, routes))
    assert ends(await simulator.simulate(event()))["a"][0] == "skipped"
    found = await simulator.simulate(event(), Assumed(fetched={"amount_total": 1}))
    assert (found.deliveries[0].state, found.deliveries[0].rendered["body"]) == (DeliveryState.SUCCEEDED, False)


async def test_an_event_of_a_connected_account_goes_to_routes_that_name_it(tmp_path: Path) -> None:
    routes = "routes:\n  own: {events: ['*'], ACTIONS}\n  theirs: {connected_accounts: ['*'], events: ['*'], ACTIONS}\n"
    actions = "actions: {a: {uses: http_forward, with: {connection: warehouse}}}"
    simulator = Simulator(loaded(tmp_path, routes.replace("ACTIONS", actions)))
    assert (await simulator.simulate(event())).routes == ("own",)
    assert (
        await simulator.simulate(parse_event(event().body[:-1] + b', "account": "acct_1"}', "acme", NOW))
    ).routes == ("theirs",)


async def test_what_an_action_would_refuse_by_itself_is_a_dead_letter(tmp_path: Path) -> None:
    routes = """\
routes:
  r:
    events: ['*']
    actions:
      mail: {uses: email, with: {connection: mail, to: "{{ object.metadata.order_id }}", subject: s, text: t}}
      forward: {uses: http_forward, with: {connection: warehouse, url: "https://elsewhere.example/{{ object.id }}"}}
      row: {uses: db_upsert, with: {connection: shop, table: t, key: {id: "{{ object.customer }}"}}}
"""
    assert ends(await Simulator(loaded(tmp_path, routes)).simulate(event())) == {
        "mail": ("dead", "to: '6735' is no mail address"),
        "forward": ("dead", "url leads to another origin than the connection's https://warehouse.example"),
        "row": ("dead", "key.id is null: it would match no row and insert a new one each time"),
    }


async def test_a_dry_run_is_rendered_and_so_is_what_needs_it(tmp_path: Path) -> None:
    routes = """\
routes:
  r:
    events: ['*']
    once_per: object.id
    actions:
      a: {uses: http_forward, dry_run: true, with: {connection: warehouse, body: "{{ object.id }}"}}
      b: {uses: http_forward, needs: [a], with: {connection: warehouse, body: "for {{ object.id }}"}}
      c: {uses: http_forward, needs: [b], with: {connection: warehouse, body: "{{ steps.b.output.body }}"}}
      d: {uses: http_forward, with: {connection: warehouse}}
      e: {uses: http_forward, dry_run: true, with: {connection: warehouse, url: "{{ '//else.example' }}"}}
"""
    simulator = Simulator(loaded(tmp_path, routes))
    result = await simulator.simulate(event(object={"id": "cs_1"}))
    nothing, retry = "dry run: nothing was sent", "retry that to send both"
    assert ends(result) == {
        "a": ("skipped", f"{nothing} (action a says dry_run)"),
        "b": ("skipped", f"{nothing} (it needs a, of which nothing was sent either; {retry})"),
        "c": (
            "skipped",
            "dry run: not rendered in full, because the output of b is not known"
            f" ({tmp_path}/gateway.yaml:17:79 (routes.r.actions.c.with.body): steps.b.output: no such field)"
            f" (it needs b, of which nothing was sent either; {retry})",
        ),
        "d": ("succeeded", None),
        "e": (
            "skipped",
            "dry run: it would be a dead letter: url leads to another origin than the connection's "
            "https://warehouse.example (action e says dry_run)",
        ),
    }
    assert [one.rendered and one.rendered.get("body") for one in result.deliveries[:3]] == ["cs_1", "for cs_1", None]
    again = ends(await simulator.simulate(event(object={"id": "cs_1"})))
    assert again["a"] == ("skipped", f"{nothing} (action a says dry_run)")  # it took no once_per key
    assert again["d"] == ("skipped", "once_per: dlv_example has done it")


FETCHING = """\
routes:
  r:
    events: ['*']
    fetch: true
    actions:
      a: {uses: http_forward, with: {connection: warehouse, body: "{{ object.lines.has_more | default('no list') }}"}}
"""


async def test_a_fetch_that_cannot_be_is_a_dead_letter_here_too(tmp_path: Path) -> None:
    simulator = Simulator(loaded(tmp_path, FETCHING))
    discount = event("customer.discount.created", object={"object": "discount", "id": "di_1"})
    assert ends(await simulator.simulate(discount))["a"] == (
        "dead",
        "discount cannot be fetched: it has no place of its own at Stripe; give customer.discount.created a route "
        "without fetch",
    )


@pytest.mark.parametrize(
    ("fetch", "expression", "rendered"),
    [
        ("true", "object.display_name", "Requests"),
        ("{event: true}", "event.data.developer_message_summary", "developer_message_summary"),
        ("{event: true, object: false}", "object.object ~ event.data.reason.error_count", "billing.meter0"),
    ],
)
async def test_what_a_thin_event_is_about_and_its_data_are_samples(
    tmp_path: Path, fetch: str, expression: str, rendered: str
) -> None:
    text = FETCHING.replace("fetch: true", f"fetch: {fetch}").replace(
        "object.lines.has_more | default('no list')", expression
    )
    body = json.dumps(thin_event()).encode()
    result = await Simulator(loaded(tmp_path, text)).simulate(parse_event(body, "acme", NOW))
    assert result.deliveries[0].rendered["body"] == rendered


async def test_what_fetch_expands_is_a_sample_of_that_id(tmp_path: Path) -> None:
    expression = "object.customer.id ~ ' ' ~ object.customer.email ~ ' ' ~ object.line_items.data[0].price.product.name"
    text = FETCHING.replace("fetch: true", "fetch: {expand: [customer, line_items.data.price.product]}")
    text = text.replace("object.lines.has_more | default('no list')", expression)
    result = await Simulator(loaded(tmp_path, text)).simulate(event(object={"customer": "cus_7", "line_items": None}))
    assert result.deliveries[0].rendered["body"].startswith("cus_7 ")


async def test_a_list_is_whole_where_fetch_would_bring_it(tmp_path: Path) -> None:
    cut = event("invoice.paid", object={"lines": {"object": "list", "has_more": True, "data": [], "url": "/v1/x"}})
    result = await Simulator(loaded(tmp_path, FETCHING)).simulate(cut)
    assert result.deliveries[0].rendered["body"] is False


OTHERWISE = """\
routes:
  r:
    events: ['*']
    actions:
      a: {uses: http_forward, with: {connection: warehouse}}
      b: {uses: http_forward, needs: {a: dead}, with: {connection: warehouse, body: "{{ steps.a.error }}"}}
      c: {uses: http_forward, needs: {a: any}, with: {connection: warehouse, body: "{{ steps.a.state }}"}}
      d: {uses: http_forward, needs: [b], with: {connection: warehouse}}
      e: {uses: http_forward, needs: {a: succeeded, b: any}, with: {connection: warehouse}}
"""


async def test_an_action_that_needs_another_to_fail_runs_where_it_does_and_sees_why(tmp_path: Path) -> None:
    simulator = Simulator(loaded(tmp_path, OTHERWISE))
    assert ends(await simulator.simulate(event())) == {
        "a": ("succeeded", None),
        "b": ("skipped", "needed action a succeeded"),
        "c": ("succeeded", None),
        "d": ("skipped", "needed action a succeeded"),
        "e": ("succeeded", None),
    }
    failed = await simulator.simulate(event(id="evt_2"), Assumed(failures={"a": "out of stock"}))
    assert {name: state for name, (state, _) in ends(failed).items()} == {
        "a": "dead",
        "b": "succeeded",
        "c": "succeeded",
        "d": "succeeded",
        "e": "blocked",
    }
    bodies = {delivery.action.name: (delivery.rendered or {}).get("body") for delivery in failed.deliveries}
    assert (bodies["b"], bodies["c"]) == ("out of stock", "dead")


EXPIRING = """\
routes:
  r:
    events: ['*']
    actions:
      a: {uses: http_forward, expires: 24h, with: {connection: warehouse}}
      b: {uses: http_forward, needs: {a: dead}, with: {connection: warehouse, body: "{{ steps.a.state }}"}}
      c: {uses: http_forward, needs: [a], with: {connection: warehouse}}
      d: {uses: http_forward, expires: 24h, dry_run: true, with: {connection: warehouse}}
"""


async def test_what_is_too_old_expires_and_an_action_that_needs_it_to_fail_runs(tmp_path: Path) -> None:
    simulator = Simulator(loaded(tmp_path, EXPIRING))
    now = int(datetime.now(UTC).timestamp())
    old, young = (
        parse_event(json.dumps(make_event("invoice.paid", created=now - age)).encode(), "acme", datetime.now(UTC))
        for age in (2 * 86400, 86000)
    )
    why = "expired: 2d old, and `expires` is 1d; a retry sends it all the same"
    result = ends(await simulator.simulate(old))
    assert {name: (state, reason and reason.replace("172801s", "2d")) for name, (state, reason) in result.items()} == {
        "a": ("expired", why),
        "b": ("succeeded", None),
        "c": ("skipped", "needed action a was expired"),
        "d": ("skipped", f"dry run: it would be {why} (action d says dry_run)"),
    }
    assert ends(await simulator.simulate(young))["a"] == ("succeeded", None)


async def test_an_event_of_a_route_with_debounce_is_taken_to_be_alone(tmp_path: Path) -> None:
    text = EXPIRING.replace("    actions:", "    debounce: {by: object.id, wait: 30s, max: 5m}\n    actions:")
    result = await Simulator(loaded(tmp_path, text)).simulate(event(object={"id": "cs_1"}))
    assert ends(result)["a"] == ("succeeded", None)
    assert [delivery.order_by for delivery in result.deliveries] == ["cs_1"] * 4
