"""gateway diff NEW.yaml --over: stored events through two configurations, and what would have been otherwise."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.config.load import load
from gateway.core.envelope import parse_event
from gateway.core.model import Claim
from gateway.delivery.attempt import AttemptContext, AttemptResult, run_attempt
from gateway.simulation.hindsight import alike_actions
from gateway.store.sqlite.store import SqliteStore
from gateway.testing import make_event
from tests.cli import CommandLine, Ran
from tests.configs import gateway_yaml, http

WAREHOUSE = {"warehouse": http("http://127.0.0.1:9/", "headers: {X-Key: topsecret-key}")}
ROUTES = """\
  orders:
    events: [checkout.session.completed]
    if: object.amount_total > 1000
    once_per: object.id
    actions:
      ship: {uses: http_forward, with: {connection: warehouse, body: {id: "{{ object.id }}", amount: "{{ object.amount_total }}", name: "{{ object.customer_details.name }}"}}}
  refunds:
    events: [refund.created]
    actions: {tell: {uses: http_forward, with: {connection: warehouse, body: {id: "{{ object.id }}"}}}}
"""  # noqa: E501
ACCOUNTS = "    redact: [data.object.customer_details]\n"


def config(routes: str) -> str:
    return gateway_yaml(store='url: "sqlite:///inbox.db"', connections=WAREHOUSE, routes=routes, accounts=ACCOUNTS)


def stored(folder: Path, events: list[dict[str, Any]]) -> None:
    async def work() -> None:
        store = SqliteStore(folder / "inbox.db")
        await store.start()
        for event in events:
            await store.add(parse_event(json.dumps(event).encode(), "acme", datetime.now(UTC)), [])
        await store.close()

    asyncio.run(work())


@pytest.fixture
def diff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """`gateway diff` of changed routes over an inbox of four orders and a refund."""
    (tmp_path / "gateway.yaml").write_text(config(ROUTES))
    carts = [("small", "cs_1", 500), ("middle", "cs_2", 2000), ("large", "cs_3", 9000), ("again", "cs_3", 9000)]
    orders = [
        make_event("checkout.session.completed", object={"id": cart, "amount_total": amount}) | {"id": f"evt_{name}"}
        for name, cart, amount in carts
    ]
    stored(tmp_path, [*orders, make_event("refund.created") | {"id": "evt_refund"}])
    line = CommandLine(monkeypatch, capsys)

    def run(routes: str, *words: str) -> Ran:
        (tmp_path / "new.yaml").write_text(config(routes))
        return line("--config", tmp_path / "gateway.yaml", "diff", tmp_path / "new.yaml", "--over", "1h", *words)

    return run


def changes(ran: Ran) -> dict[str, Any]:
    assert ran.code == 0, ran.err
    told: dict[str, Any] = json.loads(ran.out)
    return told


def test_a_condition_that_takes_fewer_is_told_by_its_events(diff: Callable[..., Ran]) -> None:
    told = changes(diff(ROUTES.replace("> 1000", "> 5000"), "--json"))
    assert (told["routes"], told["events"], told["judged"]) == (["orders"], 5, 4)
    assert told["changes"] == [
        {"route": "orders", "action": "ship", "change": "succeeded -> none", "deliveries": 1, "samples": ["evt_middle"]}
    ]


def test_a_route_that_is_new_and_one_that_is_gone(diff: Callable[..., Ran]) -> None:
    told = changes(diff(ROUTES.replace("refunds:", "returns:"), "--json"))
    assert [(row["route"], row["change"], row["deliveries"]) for row in told["changes"]] == [
        ("refunds", "succeeded -> none", 1),
        ("returns", "none -> succeeded", 1),
    ]


def test_a_template_that_renders_otherwise_is_shown_side_by_side(diff: Callable[..., Ran]) -> None:
    ran = diff(ROUTES.replace('"{{ object.amount_total }}"', '"{{ object.amount_total * 2 }}"'), "--verbose")
    assert ran.code == 0, ran.err
    assert "routes that differ: orders\n5 events looked at, 4 of types that they take\n" in ran.out
    assert "orders/ship rendered otherwise: evt_middle of acme\n" in ran.out
    assert "    -  amount: 2000\n    +  amount: 4000\n" in ran.out
    assert "evt_again" not in ran.out  # once_per: evt_large has done it, before as after
    assert "topsecret" not in ran.out
    assert "Jenny" not in ran.out


def test_a_template_that_fails_is_a_dead_letter_beforehand(diff: Callable[..., Ran]) -> None:
    ran = diff(ROUTES.replace("object.amount_total }}", "object.total }}"), "--exit-code")
    assert ran.code == 1
    assert "succeeded -> dead" in ran.out


def test_nothing_that_differs_is_said_and_bad_words_are_refused(diff: Callable[..., Ran], tmp_path: Path) -> None:
    assert diff(ROUTES).out == "no route differs\n"
    same = diff(ROUTES.replace("> 1000", "> 1001"))
    assert same.out.endswith("each delivery would have been the same\n")
    assert same.code == 0


CHAIN = ROUTES.replace(
    "      ship: {",
    """\
      note: {uses: http_forward, with: {connection: warehouse, body: {id: "{{ object.id }}"}}}
      tell: {uses: http_forward, needs: {note: any}, with: {connection: warehouse, body: {how: "{{ steps.note.state }}"}}}
      ship: {""",  # noqa: E501
)


@pytest.mark.parametrize(
    ("was", "becomes", "rendered"),  # so many by both together, and so many where nothing is alike
    [
        ("> 1000", "> 1", (9, 15)),  # one order more
        ('"{{ object.amount_total }}"', '"{{ object.amount_total * 2 }}"', (8, 12)),  # `ship`
        ('id }}"}}}\n      tell', 'idea }}"}}}\n      tell', (11, 13)),  # `note`, and `tell` that sees how it ended
        ("once_per: object.id", "once_per: event.id", (15, 15)),  # the route itself
    ],
)
def test_what_both_do_alike_is_rendered_once_and_told_as_if_it_were_twice(
    diff: Callable[..., Ran],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    was: str,
    becomes: str,
    rendered: tuple[int, int],
) -> None:
    (tmp_path / "gateway.yaml").write_text(config(CHAIN))
    assert was in config(CHAIN)
    attempts: list[str] = []

    async def counted(claim: Claim, context: AttemptContext) -> AttemptResult:
        attempts.append(claim.delivery.action)
        return await run_attempt(claim, context)

    monkeypatch.setattr("gateway.simulation.engine.run_attempt", counted)
    once = changes(diff(CHAIN.replace(was, becomes), "--json"))
    alike, attempts[:] = len(attempts), []
    monkeypatch.setattr("gateway.simulation.hindsight.alike_actions", lambda *_: frozenset())
    assert changes(diff(CHAIN.replace(was, becomes), "--json")) == once
    assert (alike, len(attempts)) == rendered


@pytest.mark.parametrize(
    ("was", "becomes", "alike"),
    [
        ("> 1000", "> 1", {"note", "tell", "ship"}),
        ('amount: "{{', 'sum: "{{', {"note", "tell"}),
        ("topsecret-key", "another-key", set()),  # what is sent has it
        ("livemode: false", "livemode: true", set()),  # the account
    ],
)
def test_an_action_is_alike_where_nothing_that_it_may_see_differs(
    tmp_path: Path, was: str, becomes: str, alike: set[str]
) -> None:
    text = config(CHAIN).replace("  acme:\n", "  acme:\n    livemode: false\n")
    assert was in text
    sides = []
    for name, written in (("old", text), ("new", text.replace(was, becomes))):
        (tmp_path / f"{name}.yaml").write_text(written)
        sides.append(load(tmp_path / f"{name}.yaml", {}))
    assert {action for route, action in alike_actions(*sides) if route == "orders"} == alike


def test_over_takes_a_file_and_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gateway.yaml").write_text(config(ROUTES))
    line = CommandLine(monkeypatch, capsys)
    bare = line("--config", tmp_path / "gateway.yaml", "diff", "--over", "7d")
    assert (bare.code, bare.err) == (2, "--over compares two files: gateway diff NEW.yaml --over 7d\n")
    odd = line("--config", tmp_path / "gateway.yaml", "diff", "x.yaml", "--over", "soon")
    assert (odd.code, odd.err) == (2, "--over 'soon': write 2h, 3d or a time such as 2026-11-24T03:00\n")
    lone = line("--config", tmp_path / "gateway.yaml", "diff", "--type", "x")
    assert (lone.code, lone.err) == (2, "--type, --account and --verbose go with --over\n")
