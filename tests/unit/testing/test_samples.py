"""Samples are whole: every type and scenario holds what the table of Stripe's objects says, and it fits together."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.stripe import event_types, objects
from gateway.stripe.api import path_of
from gateway.testing import UnknownScenarioError, make_event, scenarios, thin_event
from gateway.testing.events import sample_data
from gateway.testing.samples.catalogue import _facts, facts_of
from tests.unit.testing.stripe_shapes import misfits

NOW = 1_795_489_200
CARDS_ALONE = "payment_method.automatically_updated"  # a new date of a card: there is no other kind of it


def data_of(event_type: str, scenario: str | None = None, *, livemode: bool = False) -> dict[str, Any]:
    return sample_data(event_type, scenario, now=NOW, token="a1b2c3d4e5f60718", livemode=livemode)


def object_of(event_type: str, scenario: str | None = None) -> Any:
    return data_of(event_type, scenario)["object"]


def every_sample() -> Iterator[tuple[str, Any]]:
    """The object of every snapshot type, plainly and in each of its scenarios."""
    for event_type in sorted(event_types.snapshot_types()):
        for scenario in (None, *scenarios(event_type)):
            yield f"{event_type} {scenario or ''}", object_of(event_type, scenario)


def test_every_type_and_scenario_holds_what_the_table_says() -> None:
    wrong = {where: misfits(value, value["object"]) for where, value in every_sample()}
    upcoming = {where for where in wrong if where.startswith("invoice.upcoming")}
    assert all(wrong.pop(where) == ["invoice.id: missing"] for where in upcoming)
    assert {where: faults for where, faults in wrong.items() if faults} == {}


def test_every_field_is_there_that_stripe_sends() -> None:
    for where, value in every_sample():
        fields = objects.fields(value["object"])
        of_a_type = {key for key, field in fields.items() if field.kind == "object" and field.is_nullable}
        kinds = set(fields["type"].values) if "type" in fields else set()
        others = of_a_type & kinds if len(of_a_type & kinds) > 3 else set()  # such as sepa_debit of a card's method
        if value["object"] == "source":
            others = of_a_type
        sent = fields.keys() - objects.on_request(value["object"]) - {"deleted"} - (others - {value.get("type")})
        assert len(value.keys() & sent) >= 0.98 * len(sent), (where, sorted(sent - value.keys()))


def test_every_type_holds_98_percent_of_what_stripe_sends_of_the_table_where_kinds_are_scenarios() -> None:
    """And the docs count them: plainly, with what Stripe never sends in an event, too."""
    shares: dict[str, list[bool]] = {}
    for event_type in sorted(event_types.snapshot_types()):
        value = object_of(event_type)
        fields = objects.fields(value["object"]).keys()
        sent = fields - objects.on_request(value["object"]) - {"deleted"}
        kinds = {key for scenario in scenarios(event_type) for key in object_of(event_type, scenario)}
        held = ((value.keys(), fields), (value.keys(), sent), (value.keys() | kinds, sent))
        shares[event_type] = [len(keys & of) >= 0.98 * len(of) for keys, of in held]
    assert [event_type for event_type, share in shares.items() if not share[2]] == [CARDS_ALONE]
    literal, plainly, _ = (sum(column) for column in zip(*shares.values(), strict=True))
    docs = " ".join((Path(__file__).parents[3] / "docs/stripe.md").read_text().split())
    assert f"{literal} of {len(shares)} types hold 98%; without these {plainly} do" in docs


def test_each_kind_of_a_payment_method_has_a_scenario_that_holds_its_own_details_alone() -> None:
    kinds = {"card", "us_bank_account", "sepa_debit", "ideal", "paypal"}
    for kind in kinds - {"card"}:
        method = object_of("payment_method.attached", kind.replace("_", "-"))
        assert (method["type"], kinds & method.keys()) == (kind, {kind})
    assert len(scenarios("payment_method.attached")) > 50
    assert scenarios(CARDS_ALONE) == {}


def test_a_draft_has_no_number_yet() -> None:
    """Whatever its scenario: Stripe numbers an invoice when it is finalized."""
    drafts = [value for _, value in every_sample() if value["object"] == "invoice" and value["status"] == "draft"]
    assert len(drafts) > 10
    assert {value["number"] for value in drafts} == {None}


def test_what_stripe_brings_only_on_request_is_not_there() -> None:
    """A route that reads it without `fetch.expand` fails here as it fails at Stripe's events."""
    assert "line_items" not in object_of("checkout.session.completed")
    assert "refunds" not in object_of("charge.refunded")
    assert not {"sources", "subscriptions", "tax_ids", "deleted"} & object_of("customer.deleted").keys()


def test_a_sample_is_the_same_each_time_and_each_a_copy() -> None:
    for event_type in event_types.snapshot_types():
        assert data_of(event_type) == json.loads(json.dumps(data_of(event_type)))
    first = make_event("customer.subscription.updated")
    first["data"]["object"]["items"]["data"].clear()
    assert make_event("customer.subscription.updated")["data"]["object"]["items"]["data"]


def test_ids_have_the_prefixes_of_their_objects() -> None:
    prefixes = {
        "charge.dispute.created": "du_",
        "checkout.session.completed": "cs_test_",
        "customer.subscription.updated": "sub_",
        "invoice.paid": "in_",
        "payout.paid": "po_",
        "refund.created": "re_",
        "transfer.created": "tr_",
    }
    assert {name: object_of(name)["id"].removesuffix("a1b2c3d4e5f60718") for name in prefixes} == prefixes
    assert data_of("checkout.session.completed", livemode=True)["object"]["id"].startswith("cs_live_")


def test_an_invoice_adds_up() -> None:
    for event_type in (name for name in event_types.snapshot_types() if name.startswith("invoice.")):
        for scenario in (None, *scenarios(event_type)):
            invoice, where = object_of(event_type, scenario), (event_type, scenario)
            if invoice["object"] != "invoice":
                continue
            lines = invoice["lines"]
            if not lines["has_more"]:
                assert invoice["subtotal"] == sum(line["amount"] for line in lines["data"]), where
            taxes = sum(tax["amount"] for tax in invoice["total_taxes"])
            discounts = sum(part["amount"] for part in invoice["total_discount_amounts"])
            assert invoice["total"] == invoice["subtotal"] + taxes - discounts, where
            assert invoice["amount_due"] == invoice["total"], where
            assert invoice["amount_remaining"] == invoice["amount_due"] - invoice["amount_paid"], where
            assert (invoice["status"] == "paid") == (invoice["status_transitions"]["paid_at"] is not None), where
            for line in lines["data"]:
                assert line["invoice"] == invoice.get("id"), where
                assert line["period"]["start"] <= line["period"]["end"], where


def test_of_sixty_lines_stripe_sends_ten() -> None:
    invoice = object_of("invoice.paid", "sixty-lines")
    lines = invoice["lines"]
    assert (len(lines["data"]), lines["has_more"], lines["total_count"], invoice["total"]) == (10, True, 60, 6000)
    assert len({line["id"] for line in lines["data"]}) == 10
    assert lines["url"] == f"/v1/invoices/{invoice['id']}/lines"


def test_a_subscriptions_items_times_and_plans_fit_together() -> None:
    for event_type in (name for name in event_types.snapshot_types() if name.startswith("customer.subscription.")):
        for scenario in (None, *scenarios(event_type)):
            subscription, where = object_of(event_type, scenario), (event_type, scenario)
            assert subscription["start_date"] <= NOW, where
            for item in subscription["items"]["data"]:
                plan, price = item["plan"], item["price"]
                assert (plan["id"], plan["amount"]) == (price["id"], price["unit_amount"]), where
                assert plan["usage_type"] == price["recurring"]["usage_type"], where
                assert ("quantity" not in item) == (plan["usage_type"] == "metered"), where
                assert item["subscription"] == subscription["id"], where
                assert item["current_period_start"] < item["current_period_end"], where
            if subscription["status"] == "trialing":
                assert subscription["trial_start"] <= NOW <= subscription["trial_end"], where
            if subscription["status"] == "canceled":
                assert subscription["ended_at"] == NOW, where


def test_a_sessions_amounts_and_mode_fit_together() -> None:
    for event_type in (name for name in event_types.snapshot_types() if name.startswith("checkout.session.")):
        for scenario in (None, *scenarios(event_type)):
            session, where = object_of(event_type, scenario), (event_type, scenario)
            assert (session["mode"] == "setup") == (session["setup_intent"] is not None), where
            assert (session["mode"] == "subscription") == (session["subscription"] is not None), where
            if session["amount_total"] is not None:
                discount = session["total_details"]["amount_discount"]
                assert session["amount_total"] == session["amount_subtotal"] - discount, where
            if session["payment_status"] == "no_payment_required":
                assert not session["amount_total"], where


def test_what_was_before_differs_from_what_is() -> None:
    same = [
        (event_type, scenario, key)
        for event_type in event_types.snapshot_types()
        for scenario in (None, *scenarios(event_type))
        for data in [data_of(event_type, scenario)]
        for key, value in data.get("previous_attributes", {}).items()
        if data["object"][key] == value
    ]
    assert same == []


def test_an_update_says_what_was_before() -> None:
    updates = {"customer.subscription.updated", "customer.updated", "payout.updated", "account.updated"}
    assert all("previous_attributes" in data_of(event_type) for event_type in updates)


@pytest.mark.parametrize(
    ("event_type", "names"),
    [
        ("checkout.session.completed", "unpaid free setup subscription guest async"),
        ("customer.subscription.updated", "portal-cancel metered tiered trial-end past-due several-items"),
        ("invoice.paid", "zero sixty-lines one-off"),
        ("invoice.payment_failed", "one-off sixty-lines last-attempt"),
        ("refund.failed", "partial fraud"),
        ("charge.refunded", "full partial"),
        ("charge.dispute.created", "inquiry duplicate"),
        ("charge.dispute.closed", "won lost"),
        ("payout.failed", "no-account after-paid instant"),
    ],
)
def test_the_scenarios_that_a_type_has(event_type: str, names: str) -> None:
    assert scenarios(event_type).keys() >= set(names.split())


def test_the_thirty_types_that_are_routed_most_have_scenarios() -> None:
    routed = [
        "checkout.session.completed",
        "checkout.session.expired",
        "checkout.session.async_payment_succeeded",
        "checkout.session.async_payment_failed",
        "payment_intent.succeeded",
        "payment_intent.payment_failed",
        "payment_intent.created",
        "payment_intent.canceled",
        "charge.succeeded",
        "charge.failed",
        "charge.refunded",
        "charge.dispute.created",
        "charge.dispute.closed",
        "customer.created",
        "customer.updated",
        "customer.deleted",
        "customer.subscription.created",
        "customer.subscription.updated",
        "customer.subscription.deleted",
        "customer.subscription.trial_will_end",
        "customer.subscription.paused",
        "customer.subscription.resumed",
        "invoice.created",
        "invoice.finalized",
        "invoice.paid",
        "invoice.payment_succeeded",
        "invoice.payment_failed",
        "invoice.upcoming",
        "refund.created",
        "refund.updated",
        "refund.failed",
        "payout.paid",
        "payout.failed",
        "payout.created",
        "setup_intent.succeeded",
        "payment_method.attached",
        "transfer.created",
        "account.updated",
        "product.updated",
        "price.updated",
        "radar.early_fraud_warning.created",
        "entitlements.active_entitlement_summary.updated",
    ]
    assert [event_type for event_type in routed if not scenarios(event_type)] == []


def test_each_scenario_differs_from_the_plain_sample_and_from_every_other() -> None:
    for event_type in event_types.snapshot_types():
        samples = {name: data_of(event_type, name) for name in scenarios(event_type)} | {"": data_of(event_type)}
        same = [names for names in itertools.combinations(samples, 2) if samples[names[0]] == samples[names[1]]]
        usual = {("full", ""), ("lost", ""), ("restricted", "")}  # named because their opposite is
        assert set(same) <= usual, event_type


def test_a_wrong_scenario_names_those_that_there_are() -> None:
    with pytest.raises(UnknownScenarioError) as raised:
        make_event("charge.dispute.closed", scenario="one")
    assert str(raised.value) == "charge.dispute.closed has no scenario 'one'; it has: won, lost, warning-closed"
    with pytest.raises(UnknownScenarioError) as raised:
        make_event("climate.order.created", scenario="won")
    assert str(raised.value) == "climate.order.created has no scenarios"
    with pytest.raises(UnknownScenarioError) as raised:
        make_event("gateway.delivery.dead", scenario="won")
    assert str(raised.value) == "gateway.delivery.dead has no scenarios: it is the gateway's own"


def test_every_fact_is_of_something_that_there_is() -> None:
    facts = _facts()
    assert facts["events"].keys() <= event_types.known_types()
    assert (facts["ids"].keys() | facts["objects"].keys()) <= objects.object_names() | {
        "v2.money_management.outbound_transfer"
    }
    for pattern in facts["scenarios"]:
        for part in pattern.split(", "):
            assert event_types.matches(part), part
    for event_type in event_types.snapshot_types():
        name = facts_of(event_type).name
        assert name is None or name in objects.objects_of(event_type)


def test_fields_of_the_object_and_of_the_envelope_can_be_changed_in_any_scenario() -> None:
    event = make_event("invoice.paid", scenario="zero", object={"currency": "usd"}, livemode=True, created=NOW)
    invoice = event["data"]["object"]
    assert (invoice["currency"], invoice["total"], invoice["livemode"], event["created"]) == ("usd", 0, True, NOW)
    assert invoice["status_transitions"]["paid_at"] == NOW


def test_a_thin_event_names_its_object_where_the_api_has_it() -> None:
    for event_type in sorted(filter(event_types.is_thin, event_types.known_types())):
        related = thin_event(event_type)["related_object"]
        about = objects.objects_of(event_type)
        if related is None:
            assert not about or about[0] in {"discount", "cash_balance", "balance", "balance_settings", "tax.settings"}
            continue
        assert related["type"] == about[0]
        library = path_of(object_of(event_type) | {"id": related["id"]})
        assert related["url"] in (library, related["url"] if library is None else None), event_type
    assert thin_event("v2.core.account[requirements].updated")["related_object"]["url"].startswith(
        "/v2/core/accounts/acct_"
    )


def test_serving_loads_neither_samples_nor_the_table() -> None:
    code = """
import sys, gateway.cli.commands.serve, gateway.app.gateway
from gateway.stripe import objects
print("gateway.testing" in sys.modules, objects._data.cache_info().currsize)
"""
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False 0\n"
    )
