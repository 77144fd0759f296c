"""Cases: what passes, and what each failure says."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from gateway.simulation.cases.load import load_cases
from gateway.simulation.cases.report import as_json, as_junit, failure_lines
from gateway.simulation.cases.run import CaseResult, run_case
from tests.configs import ORDERS, loaded


async def ran(folder: Path, event: str, expect: str, more: str = "", routes: str = ORDERS) -> CaseResult:
    (folder / "t.yaml").write_text(f"cases:\n  a case:\n    event: {event}\n    expect: {expect}\n{more}")
    (case,), problems = load_cases(folder / "t.yaml")
    assert not problems, problems
    return await run_case(case, loaded(folder, routes))


async def lines(folder: Path, event: str, expect: str, more: str = "", routes: str = ORDERS) -> list[str]:
    result = await ran(folder, event, expect, more, routes)
    return [text.replace(f"{folder}/", "") for _, text in failure_lines(result)] if not result.passed else []


PAID = "{type: checkout.session.completed, object: {id: cs_1}}"
UNPAID = "{type: checkout.session.completed, object: {payment_status: unpaid}}"


@pytest.mark.parametrize(
    ("event", "expect"),
    [
        (PAID, "{state: routed}"),
        (PAID, "{routes: [orders]}"),
        (PAID, "{routes: {orders: }}"),
        (PAID, "{routes: {orders: [save, ship, receipt]}}"),
        (
            PAID,
            "{deliveries: {orders: {save: {once_per: cs_1, with: {key: {id: cs_1}}}, ship: , tell: {skipped: true}}}}",
        ),
        (PAID, "{deliveries: {orders: {tell: {after: [ship, save], skipped: 'amount_total >= 10000'}}}}"),
        (UNPAID, "nothing"),
        (UNPAID, "{state: unmatched, routes: []}"),
        ("invoice.paid", "nothing"),
    ],
)
async def test_what_is_as_expected_passes(tmp_path: Path, event: str, expect: str) -> None:
    assert await lines(tmp_path, event, expect) == []


@pytest.mark.parametrize(
    ("event", "expect", "expected"),
    [
        (PAID, "nothing", """\
FAILED t.yaml: a case
  t.yaml:4:5: routes.orders: matches
      expected  nothing
      found     {"save": "succeeded", "receipt": "succeeded", "ship": "succeeded", "tell": "skipped"}
      orders wants checkout.session.completed by checkout.session.*, and its `if` is true: object.payment_status == 'paid'
        object.payment_status is 'paid'"""),
        (UNPAID, "{routes: [orders]}", """\
FAILED t.yaml: a case
  t.yaml:4:23: routes.orders: does not match
      expected  "orders"
      found     nothing
      orders wants checkout.session.completed by checkout.session.*, but its `if` is false: object.payment_status == 'paid'
        object.payment_status is 'unpaid'"""),
        ("invoice.paid", "{deliveries: {orders: {save: }}}", """\
FAILED t.yaml: a case
  t.yaml:4:27: routes.orders: does not match
      expected  "orders"
      found     nothing
      orders wants checkout.session.*"""),
        (PAID, "{routes: {orders: [save, tell]}}", """\
FAILED t.yaml: a case
  t.yaml:4:23: routes.orders: other actions succeed
      expected  ["save", "tell"]
      found     ["save", "receipt", "ship"]
      tell is skipped: its `if` is false: object.amount_total >= 10000"""),
        (PAID, "{routes: {orders: [receipt, save, ship]}}", """\
FAILED t.yaml: a case
  t.yaml:4:32: routes.orders: receipt is listed before save, and waits for it
      expected  ["receipt", "save", "ship"]
      found     ["save", "receipt", "ship"]"""),
        (PAID, "{state: ignored, routes: []}", """\
FAILED t.yaml: a case
  t.yaml:4:14: state: differs
      expected  "ignored"
      found     "routed"
  t.yaml:4:30: routes.orders: matches too
      expected  nothing
      found     {"save": "succeeded", "receipt": "succeeded", "ship": "succeeded", "tell": "skipped"}
      orders wants checkout.session.completed by checkout.session.*, and its `if` is true: object.payment_status == 'paid'
        object.payment_status is 'paid'"""),
        (PAID, "{deliveries: {orders: {save: {with: {key: {id: cs_2}, vlues: 1}}}}}", """\
FAILED t.yaml: a case
  t.yaml:4:60: orders.save.with.key.id: differs
      expected  "cs_2"
      found     "cs_1"
  t.yaml:4:74: orders.save.with.vlues: is missing
      expected  1
      found     nothing"""),
        (PAID, "{deliveries: {orders: {save: {exactly: {connection: shop, table: orders, key: {id: cs_1}}}}}}", """\
FAILED t.yaml: a case
  t.yaml:4:52: orders.save.with.values: is there too
      expected  nothing
      found     {"amount": 4500}"""),
        (PAID, "{deliveries: {orders: {save: {skipped: true}}}}", """\
FAILED t.yaml: a case
  t.yaml:4:43: orders.save: ends otherwise
      expected  "skipped"
      found     "succeeded\""""),
        (PAID, "{deliveries: {orders: {tell: {skipped: once_per}}}}", """\
FAILED t.yaml: a case
  t.yaml:4:52: orders.tell.skipped: differs
      expected  "once_per"
      found     "its `if` is false: object.amount_total >= 10000\""""),
        (PAID, "{deliveries: {orders: {receipt: {after: [ship]}}}}", """\
FAILED t.yaml: a case
  t.yaml:4:54: orders.receipt: does not wait for ship
      expected  ["ship"]
      found     ["save"]"""),
        (PAID, "{deliveries: {orders: {save: {once_per: cs_2, order_by: 1}}}}", """\
FAILED t.yaml: a case
  t.yaml:4:53: orders.save.once_per: differs
      expected  "cs_2"
      found     "cs_1"
  t.yaml:4:69: orders.save.order_by: differs
      expected  1
      found     null"""),
        ("{type: checkout.session.completed, object: {amount_total: 20000}}", "{deliveries: {orders: {tell: }}}", """\
FAILED t.yaml: a case
  t.yaml:4:36: orders.tell: ends otherwise
      expected  "succeeded"
      found     "pending"
      needs the output of ship, which is known once that ran
      say what it returns: outputs: {ship: {...}}"""),
        ("{typ: a}", "nothing", """\
FAILED t.yaml: a case
  t.yaml:3:18: event: unknown key typ
      did you mean type?"""),
        ("{type: invoice.paid, id: ''}", "nothing", """\
FAILED t.yaml: a case
  t.yaml:3:12: event: not a Stripe event: id or type is empty"""),
    ],
)  # fmt: skip
async def test_each_failure_is_told(tmp_path: Path, event: str, expect: str, expected: str) -> None:
    assert "\n".join(await lines(tmp_path, event, expect)) == expected


async def test_a_dead_letter_and_what_it_blocks_can_be_expected(tmp_path: Path) -> None:
    expect = "{deliveries: {orders: {save: {error: no table}, receipt: {blocked: true}}}}"
    assert await lines(tmp_path, PAID, expect, "    failures: {save: there is no table orders}\n") == []
    event = "{type: checkout.session.completed, object: {customer_details: {$absent: true}}}"
    expect = "{deliveries: {orders: {receipt: {error: 'object.customer_details: no such field'}}}}"
    assert await lines(tmp_path, event, expect) == []


async def test_what_came_earlier_holds_the_once_per(tmp_path: Path) -> None:
    expect = "{routes: {orders: []}, deliveries: {orders: {save: {skipped: once_per}}}}"
    assert await lines(tmp_path, PAID, expect, f"    earlier: [{PAID}]\n") == []
    assert await lines(tmp_path, PAID, "{routes: {orders: [save, receipt, ship]}}", f"    earlier: [{UNPAID}]\n") == []


async def test_an_event_for_a_live_account_is_live(tmp_path: Path) -> None:
    assert await lines(tmp_path, PAID, "{routes: [orders]}", "    account: live\n") == []
    event = "{type: checkout.session.completed, livemode: false}"
    assert await lines(tmp_path, event, "{state: ignored}", "    account: live\n") == []


async def test_what_fetch_brings_is_given_by_the_case(tmp_path: Path) -> None:
    routes = ORDERS.replace("    once_per", "    fetch: {expand: [line_items]}\n    once_per")
    expect = "{deliveries: {orders: {save: {with: {values: {amount: 7}}}}}}"
    assert await lines(tmp_path, PAID, expect, "    fetch: {amount_total: 7}\n", routes) == []
    assert (await lines(tmp_path, PAID, expect, "    fetch: no.json\n", routes))[1:] == [
        "  t.yaml:5:12: fetch: cannot read 'no.json': No such file or directory",
        "      paths start at the folder of the test file",
    ]


async def test_long_texts_are_shown_line_by_line(tmp_path: Path) -> None:
    found = await lines(tmp_path, PAID, '{deliveries: {orders: {receipt: {with: {text: "a\\nb"}}}}}')
    assert found[2:] == ["      - expected", "      + found", "      + €45.00", "      - a", "      - b"]


async def test_reports_for_programs_hold_each_case(tmp_path: Path) -> None:
    failed = await ran(tmp_path, PAID, "nothing")
    passed = await ran(tmp_path, UNPAID, "nothing")
    rows = as_json([failed, passed])
    assert [(row["name"], row["passed"], row["line"]) for row in rows] == [("a case", False, 2), ("a case", True, 2)]
    assert rows[0]["failures"][0]["line"] == 4
    assert rows[0]["failures"][0]["what"] == "routes.orders"
    root = ElementTree.fromstring(as_junit([failed, passed]))
    assert (root.get("tests"), root.get("failures")) == ("2", "1")
    first, second = root.iter("testcase")
    failure = first.find("failure")
    assert failure is not None
    assert failure.get("message") == "routes.orders: matches"
    assert "object.payment_status is 'paid'" in str(failure.text)
    assert second.find("failure") is None
