"""`gateway check --api-version V`: what another version of Stripe's API would change."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli import CommandLine

HEAD = """\
version: 1
accounts: {acme: {signing_secrets: [whsec_0123456789abcdef0123]%s}}
connections: {team: {type: slack, webhook_url: "https://hooks.slack.com/services/T/B/x"}}
routes:
"""
ROUTE = """\
  r%d:
    events: [%s]
    actions: {tell: {uses: slack, with: {connection: team, text: "%s"}}}
"""
ASKED_FOR = ", with fetch: {expand: [payments]}"  # Stripe leaves an invoice's payments out of events
OLD = [  # as a route of 2024-06-20 has them, and where they are
    ("invoice.paid", "{{ object.subscription }}", "object.parent.subscription_details.subscription"),
    ("customer.subscription.updated", "{{ object.current_period_end | timestamp }}", "object.items.data[0].current_period_end"),
    ("invoice.paid", "{{ object.charge }}", "object.payments.data[0].payment.payment_intent"),
    ("customer.discount.created", "{{ object.coupon.id }}", "object.source.coupon"),
    ("customer.subscription.created", "{{ object.discount.coupon.id }}", "object.discounts"),
]  # fmt: skip
NEW = [
    ("invoice.paid", "{{ object.parent.subscription_details.subscription }}", "object.subscription"),
    ("invoice.paid", "{{ object.parent.quote_details.quote }}", "object.quote"),
    ("customer.subscription.updated", "{{ object.items.data[0].current_period_end }}", "object.current_period_end"),
    ("customer.discount.created", "{{ object.source.coupon }}", "object.coupon"),
    ("invoice.paid", "{{ object.lines.data[0].pricing.price_details.price }}", "object.lines.data[0].price"),
]
NEWEST = "2026-10-28.endive"


def told(
    gateway_cli: CommandLine, folder: Path, rows: list[tuple[str, str, str]], account: str, *words: str
) -> tuple[int, list[str]]:
    version = f", api_version: {account}" if account else ""
    routes = "".join(ROUTE % (i, events, text) for i, (events, text, _) in enumerate(rows))
    path = folder / "gateway.yaml"
    path.write_text(HEAD % version + routes)
    ran = gateway_cli("--config", path, "check", "--json", *words)
    return ran.code, [problem["hint"] for problem in json.loads(ran.out)]


@pytest.mark.parametrize("account", ["2024-06-20", ""])
def test_every_field_of_an_old_route_is_told_where_it_is_in_the_newest(
    gateway_cli: CommandLine, tmp_path: Path, account: str
) -> None:
    code, hints = told(gateway_cli, tmp_path, OLD, account, "--api-version", NEWEST)
    assert (code, hints) == (
        1,
        [f"it is {where} now" + (ASKED_FOR if ".payments." in where else "") for _, _, where in OLD],
    )


def test_before_it_moves_it_is_right(gateway_cli: CommandLine, tmp_path: Path) -> None:
    assert told(gateway_cli, tmp_path, OLD, "2024-06-20") == (0, [])
    assert told(gateway_cli, tmp_path, OLD, NEWEST, "--api-version", "2024-06-20") == (0, [])


def test_every_field_of_a_new_route_is_told_where_it_was(gateway_cli: CommandLine, tmp_path: Path) -> None:
    code, hints = told(gateway_cli, tmp_path, NEW, NEWEST, "--api-version", "2024-06-20")
    assert (code, hints) == (1, [f"in 2024-06-20 it is {where}" for _, _, where in NEW])
    assert told(gateway_cli, tmp_path, NEW, NEWEST) == (0, [])


def test_a_field_newer_than_the_accounts_version_is_told_without_being_asked(
    gateway_cli: CommandLine, tmp_path: Path
) -> None:
    code, hints = told(gateway_cli, tmp_path, NEW, "2024-06-20")
    assert (code, hints) == (1, [f"in 2024-06-20 it is {where}" for _, _, where in NEW])


def test_what_changes_for_nobody(gateway_cli: CommandLine, tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(HEAD % "" + ROUTE % (0, "invoice.paid", "{{ object.total }}"))
    ran = gateway_cli("--config", path, "check", "--api-version", "2024-06-20")
    assert (ran.code, ran.out.strip().partition(": ")[2]) == (
        0,
        "nothing means anything else in Stripe's API 2024-06-20",
    )
    for no_version in ("basil", "2024-13-20", "2024-06-32.basil"):
        assert gateway_cli("--config", path, "check", "--api-version", no_version).code == 2


def test_a_default_provides_for_both(gateway_cli: CommandLine, tmp_path: Path) -> None:
    both = "{{ object.subscription | default(object.parent.subscription_details.subscription) }}"
    assert told(gateway_cli, tmp_path, [("invoice.paid", both, "")], NEWEST, "--api-version", NEWEST) == (0, [])
