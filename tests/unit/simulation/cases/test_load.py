"""Test files: what loads, and the exact words for what does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.simulation.cases.load import load_cases, unknown_names
from tests.configs import loaded

GOOD = """\
account: acme
env: {PORT: 25}
cases:
  a paid order:
    env: {REGION: eu}
    event: checkout.session.completed
    outputs: {ship: {status: 200}}
    expect:
      routes: {orders: [save, receipt]}
      deliveries:
        orders:
          save: {with: {table: orders}, after: []}
          tell: {skipped: true}
  nothing else:
    event: invoice.paid
    expect: nothing
"""


def told(folder: Path, text: str) -> list[str]:
    (folder / "t.yaml").write_text(text)
    cases, problems = load_cases(folder / "t.yaml")
    if not problems:
        config = loaded(folder)
        problems = [problem for case in cases for problem in unknown_names(case, config)]
    return [str(problem).removeprefix(f"{folder}/") for problem in problems]


def test_a_good_file_loads(tmp_path: Path) -> None:
    assert told(tmp_path, GOOD) == []
    (first, second), _ = load_cases(tmp_path / "t.yaml")
    assert (first.name, first.account, first.env) == ("a paid order", "acme", {"PORT": "25", "REGION": "eu"})
    assert (second.expected, second.env) == (None, {"PORT": "25"})


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("account: acme", "acount: acme", "t.yaml:1:1: acount: unknown key acount\n    did you mean account?"),
        ("    outputs:", "    output:", "t.yaml:7:5: cases.a paid order.output: unknown key output\n    did you mean outputs?"),
        ("    event: checkout.session.completed\n", "", "t.yaml:4:3: cases.a paid order: is missing event"),
        ("expect: nothing", "expect: nothign",
         "t.yaml:16:13: cases.nothing else.expect: expected nothing, or a mapping: state, routes, deliveries"),
        ("      routes:", "      route:",
         "t.yaml:9:7: cases.a paid order.expect.route: unknown key route\n    did you mean routes?"),
        ("{with: {table", "{wiht: {table",
         "t.yaml:12:18: cases.a paid order.expect.deliveries.orders.save.wiht: unknown key wiht\n    did you mean with?"),
        ("{orders: [save, receipt]}", "{orders: save}",
         "t.yaml:9:24: cases.a paid order.expect.routes.orders: expected a list of actions"),
        ("{orders: [save, receipt]}", "orders",
         "t.yaml:9:15: cases.a paid order.expect.routes: expected a list of routes, or a mapping from routes to lists of "
         "actions"),
        ("table: orders}", "table: {$matchs: x}}",
         "t.yaml:12:33: cases.a paid order.expect.deliveries.orders.save.with.table.$matchs: there is no matcher $matchs\n"
         "    did you mean $matches?"),
        ("account: acme", "account: acm", "t.yaml:1:10: account: unknown account 'acm'\n    did you mean acme?"),
        ("{orders: [save, receipt]}", "{order: [save, receipt]}",
         "t.yaml:9:16: cases.a paid order.expect.routes.order: unknown route 'order'\n    did you mean orders?"),
        ("{orders: [save, receipt]}", "{orders: [save, reciept]}",
         "t.yaml:9:31: cases.a paid order.expect.routes.orders[1]: route orders has no action 'reciept'\n"
         "    did you mean receipt?"),
        ("          tell:", "          tel:",
         "t.yaml:13:11: cases.a paid order.expect.deliveries.orders.tel: route orders has no action 'tel'\n"
         "    did you mean tell?"),
        ("after: []", "after: [shp]",
         "t.yaml:12:49: cases.a paid order.expect.deliveries.orders.save.after[0]: route orders has no action 'shp'\n"
         "    did you mean ship?"),
        ("{ship: {status", "{shp: {status",
         "t.yaml:7:15: cases.a paid order.outputs.shp: unknown action 'shp'\n    did you mean ship?"),
        ("  nothing else:", "  a paid order:",
         "t.yaml:14:3: cases.a paid order: a paid order is there twice\n    first at "),
        ("event: invoice.paid", "event: ${TYPE}",
         "t.yaml:15:12: cases.nothing else.event: the environment variable TYPE is not set\n"
         "    set it, or give a default: ${TYPE:-...}"),
    ],
)  # fmt: skip
def test_each_mistake_is_told_with_its_place(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert old in GOOD
    found = told(tmp_path, GOOD.replace(old, new, 1))
    assert any(one.startswith(expected) for one in found), found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "t.yaml:1:1: expected a mapping"),
        ("cases: {}", "t.yaml:1:8: cases: "),
        ("cases: [", "t.yaml:1:9: the file ends too early"),
    ],
)
def test_what_is_no_test_file_is_told(tmp_path: Path, text: str, expected: str) -> None:
    assert told(tmp_path, text)[0].startswith(expected)
