"""gateway cover: what no case reaches."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli import CommandLine
from tests.configs import SHOP, gateway_yaml, http

ROUTES = """\
  orders:
    events: [checkout.session.completed]
    if: object.payment_status == 'paid'
    once_per: object.id
    actions:
      save:
        uses: db_upsert
        expires: 90d
        with: {connection: shop, table: lines, for_each: "{{ object.custom_fields }}", key: {id: "{{ item.key }}"}}
      ship:
        uses: http_forward
        if: object.amount_total > 0
        needs: [save]
        with: {connection: warehouse, body: {id: "{{ object.id }}"}}
  off:
    enabled: false
    events: [invoice.paid]
    actions: {ship: {uses: http_forward, with: {connection: warehouse}}}
"""
PAID = "event: {type: checkout.session.completed, object: {id: cs_1, custom_fields: [{key: a}]}}"
ROUTED = "expect: {routes: [orders]}"
UNPAID = "{event: {type: checkout.session.completed, object: {payment_status: unpaid}}, expect: nothing}"
YES = {("orders", "matches"), ("orders", "if true")}
SAVED = YES | {("orders.save", "runs"), ("orders.save", "for_each")}
CASES = {
    UNPAID: {("orders", "if false")},
    f"{{{PAID}, {ROUTED}}}": SAVED | {("orders.ship", "runs"), ("orders.ship", "if true")},
    f"{{earlier: [{{type: checkout.session.completed, object: {{id: cs_1, amount_total: 0}}}}], {PAID}, {ROUTED}}}": YES
    | {("orders", "once_per"), ("orders.save", "runs"), ("orders.save", "for_each empty"), ("orders.ship", "if false")}
    | {("orders.ship", "needs")},
    f"{{{PAID}, arrives: +91d, {ROUTED}}}": YES | {("orders.save", "expires"), ("orders.ship", "needs")},
    f"{{{PAID}, failures: {{save: there is no table}}, {ROUTED}}}": YES | {("orders.ship", "needs")},
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    connections = {"shop": SHOP, "warehouse": http("https://warehouse.example/")}
    (tmp_path / "gateway.yaml").write_text(gateway_yaml(connections=connections, routes=ROUTES))
    (tmp_path / "config/tests").mkdir(parents=True)
    return tmp_path / "gateway.yaml"


def write(config: Path, *cases: str) -> None:
    text = "cases:\n" + "".join(f"  case {number}: {case}\n" for number, case in enumerate(cases))
    (config.parent / "config/tests/a.yaml").write_text(text)


def reached(config: Path, gateway_cli: CommandLine, *words: str) -> set[tuple[str, str]]:
    ran = gateway_cli("--config", config, "cover", "--json", *words)
    points = json.loads(ran.out)["points"]
    return {
        (".".join(filter(None, (point["route"], point["action"]))), point["what"]) for point in points if point["cases"]
    }


@pytest.mark.parametrize("case", CASES)
def test_a_case_reaches_what_it_makes_happen_and_nothing_else(
    case: str, config: Path, gateway_cli: CommandLine
) -> None:
    write(config, case)
    assert reached(config, gateway_cli) == CASES[case]


def test_all_cases_together_reach_everything_of_what_is_enabled(config: Path, gateway_cli: CommandLine) -> None:
    write(config, *CASES)
    ran = gateway_cli("--config", config, "cover", "--at-least", "100")
    assert (ran.code, ran.out, ran.err) == (
        0,
        "disabled, and not counted: off\n100.0% reached: 1 of 1 routes, 2 of 2 actions, 9 of 9 branches\n",
        "",
    )


def test_what_is_missing_stands_with_its_line_and_too_little_is_exit_1(config: Path, gateway_cli: CommandLine) -> None:
    write(config, UNPAID)
    ran = gateway_cli("--config", config, "cover", "--at-least", "8.4")
    assert ran.code == 1
    assert (
        ran.out
        == f"""\
{config}:11: orders: no event reaches it
{config}:11: orders: its `if` is never true
{config}:13: orders: nothing is ever skipped by its once_per
{config}:16: orders.save: it never runs
{config}:16: orders.save: its for_each never has an element
{config}:16: orders.save: its for_each is never empty
{config}:16: orders.save: it never expires
{config}:20: orders.ship: it never runs
{config}:20: orders.ship: its `if` is never true
{config}:20: orders.ship: its `if` is never false
{config}:20: orders.ship: what it needs never ends otherwise
disabled, and not counted: off
8.3% reached: 0 of 1 routes, 0 of 2 actions, 1 of 9 branches
"""
    )
    assert gateway_cli("--config", config, "cover", "--at-least", "8.3").code == 0


def test_a_case_that_fails_is_told_and_counts_for_what_it_reaches(config: Path, gateway_cli: CommandLine) -> None:
    write(config, f"{{{PAID}, expect: nothing}}")
    ran = gateway_cli("--config", config, "cover")
    assert ran.code == 0
    assert "\n1 of the cases fails: gateway test says why\n50.0% reached: 1 of 1 routes" in ran.out
