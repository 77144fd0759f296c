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


WAITING = """\
  dunning:
    events: [invoice.payment_failed]
    fetch: true
    actions:
      remind:
        uses: http_forward
        after: 3d
        until: {events: [invoice.paid], same: object.id}
        still_if: object.status == 'open'
        APPROVE
        with: {connection: warehouse}
"""
FAILED = "{type: invoice.payment_failed, object: {id: in_1, status: open}}"
DUNNED = f"event: {FAILED}, expect: &routed {{state: routed}}"
ENDS = {
    "then: [{at: +3d, answers: {remind: yes}, expect: *routed}]": {"runs"},
    "then: [{at: +3d, answers: {remind: no}, expect: *routed}]": {"refused"},
    "then: [{at: +3d, answers: {remind: nobody}, expect: *routed}]": {"unanswered"},
    "then: [{at: +1d, event: {type: invoice.paid, object: {id: in_1}}, expect: *routed}]": {"until"},
    "then: [{at: +1d, expect: *routed}]": set(),
}


def dunning(config: Path, approve: str) -> None:
    connections = {"warehouse": http("https://warehouse.example/")}
    routes = WAITING.replace("APPROVE", approve)
    config.write_text(gateway_yaml(connections=connections, accounts="    api_key: rk_test_1\n", routes=routes))


@pytest.mark.parametrize("rule", ["cancel", "run"])
@pytest.mark.parametrize("then", ENDS)
def test_what_acts_later_or_asks_for_a_yes_has_branches_of_its_own(
    then: str, rule: str, config: Path, gateway_cli: CommandLine
) -> None:
    dunning(config, f"approve: {{by: [finance], within: 2d, else: {rule}}}")
    write(config, f"{{{DUNNED}, {then}}}")
    asked = ["refused", "unanswered"] if rule == "cancel" else ["refused"]  # unanswered, it runs
    expected = {"runs"} if "nobody" in then and rule == "run" else ENDS[then]
    ran = gateway_cli("--config", config, "cover", "--json")
    points = json.loads(ran.out)["points"]
    assert [point["what"] for point in points] == ["matches", "runs", "still_if", "until", *asked]
    assert {point["what"] for point in points if point["cases"]} == {"matches", *expected}


def test_what_is_no_longer_so_is_a_branch(config: Path, gateway_cli: CommandLine) -> None:
    dunning(config, "")
    write(config, f"{{{DUNNED}, then: [{{at: +3d, fetch: {{status: void}}, expect: *routed}}]}}")
    assert reached(config, gateway_cli) == {("dunning", "matches"), ("dunning.remind", "still_if")}


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
