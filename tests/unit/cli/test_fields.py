"""`gateway fields`: what `object` has in events of a type."""

from __future__ import annotations

import json

from tests.cli import CommandLine


def rows(gateway_cli: CommandLine, *words: str) -> dict[str, dict[str, object]]:
    ran = gateway_cli("fields", *words, "--json")
    assert ran.code == 0
    return {row["field"]: row for row in json.loads(ran.out)}


def test_fields_of_an_events_object(gateway_cli: CommandLine) -> None:
    invoice = rows(gateway_cli, "invoice.paid")
    assert invoice["object.amount_due"]["type"] == "amount"
    assert invoice["object.customer"]["expands"] == ["customer"]
    assert invoice["object.status"]["values"] == ["draft", "open", "paid", "uncollectible", "void"]
    assert "object.lines.data[0].pricing.price_details.price" in invoice
    assert invoice["object.subscription"]["moved"] == {
        "since": "2025-03-31.basil",
        "now": "object.parent.subscription_details.subscription",
    }


def test_a_pattern_narrows_them(gateway_cli: CommandLine) -> None:
    assert set(rows(gateway_cli, "refund", "object.*_reason")) == {"object.failure_reason", "object.pending_reason"}
    shown = gateway_cli("fields", "checkout.session.completed", "payment_status").out
    assert "object.payment_status" in shown
    assert "no_payment_required, paid, unpaid" in shown


def test_of_several_objects_each_is_named(gateway_cli: CommandLine) -> None:
    ran = gateway_cli("fields", "account.external_account.created", "object.last4", "--json")
    assert [(row["object"], row["field"]) for row in json.loads(ran.out)] == [
        ("bank_account", "object.last4"),
        ("card", "object.last4"),
    ]


def test_what_is_not_there_is_told(gateway_cli: CommandLine) -> None:
    unknown = gateway_cli("fields", "invoice.payed")
    assert (unknown.code, unknown.err) == (
        1, "Stripe has no event type or object invoice.payed; did you mean invoice.paid?\n"
    )  # fmt: skip
    none = gateway_cli("fields", "refund", "nothing_like_it")
    assert (none.code, none.err) == (1, "refund has no field with 'nothing_like_it' in its path\n")
