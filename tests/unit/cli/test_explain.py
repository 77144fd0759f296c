"""gateway explain, as a command."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.commands.explain import drawn
from gateway.core.envelope import parse_event
from gateway.simulation.explain import ExplainedAction
from gateway.store.sqlite.store import SqliteStore
from gateway.testing import make_event
from tests.cli import CommandLine
from tests.configs import HEAD, ORDERS

MORE = """\
  invoices:
    accounts: [live]
    events: [invoice.*]
    actions: {tell: {uses: slack, with: {connection: team, text: t}}}
  refunds:
    events: [charge.refunded, refund.created]
    actions: {tell: {uses: slack, with: {connection: team, text: "{{ vars.token }}"}}}
vars: {token: "${API_TOKEN}"}
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "gateway.yaml").write_text(HEAD + ORDERS + MORE)
    monkeypatch.setenv("API_TOKEN", "token-topsecret")
    return tmp_path / "gateway.yaml"


def event_file(folder: Path, type: str = "checkout.session.completed", **overrides: Any) -> Path:
    file = folder / "event.json"
    file.write_text(json.dumps(make_event(type, id="evt_1", **overrides)))
    return file


def test_each_route_is_told_with_each_delivery_and_what_waits_for_what(config: Path, gateway_cli: CommandLine) -> None:
    ran = gateway_cli("--config", config, "explain", event_file(config.parent, object={"id": "cs_1"}))
    assert (ran.code, ran.err) == (0, "")
    assert (
        ran.out
        == """\
evt_1 checkout.session.completed for account acme

MATCHES orders: wants checkout.session.completed by checkout.session.*, and its `if` is true: object.payment_status == 'paid'
          object.payment_status is 'paid'
        once_per: "cs_1"
        in this order:
            save
            ├─ receipt
            └─ ship
               └─ tell
    save (db_upsert) is delivered
        connection: shop
        table: orders
        key:
          id: cs_1
        values:
          amount: 4500
    receipt (email) is delivered
        connection: mail
        to: jenny@example.com
        subject: Hello
        text: €45.00
    ship (http_forward) is delivered
        connection: warehouse
    tell (slack) is skipped: its `if` is false: object.amount_total >= 10000
          object.amount_total is 4500

no      invoices: is for live, not for account acme

no      refunds: wants refund.created and 1 other, none of them this type
"""
    )


def test_a_false_if_is_told_with_the_values_that_decided(config: Path, gateway_cli: CommandLine) -> None:
    ran = gateway_cli("--config", config, "explain", event_file(config.parent, object={"payment_status": "unpaid"}))
    assert (
        """\
no      orders: wants checkout.session.completed by checkout.session.*, but its `if` is false: object.payment_status == 'paid'
          object.payment_status is 'unpaid'
"""
        in ran.out
    )


def test_an_object_that_would_be_fetched_is_told_to_be_the_events_own(config: Path, gateway_cli: CommandLine) -> None:
    config.write_text(config.read_text().replace("    once_per", "    fetch: true\n    once_per"))
    ran = gateway_cli("--config", config, "explain", event_file(config.parent))
    assert (
        "\n        fetch asks Stripe when it runs; what follows is with the event's own object, and samples" in ran.out
    )


def test_an_event_of_a_connected_account_is_told_not_to_be_ours(config: Path, gateway_cli: CommandLine) -> None:
    ran = gateway_cli("--config", config, "explain", event_file(config.parent, account="acct_1"))
    assert (
        "no      orders: wants checkout.session.* of connected_accounts: none; this is of connected account acct_1\n"
        in ran.out
    )


def test_a_dry_run_says_so_and_shows_what_would_be_sent(config: Path, gateway_cli: CommandLine) -> None:
    config.write_text(config.read_text().replace("    once_per", "    dry_run: true\n    once_per"))
    ran = gateway_cli("--config", config, "explain", event_file(config.parent))
    assert (
        "\n    save (db_upsert) is skipped: dry run: nothing was sent (route orders says dry_run)\n"
        "        connection: shop\n"
    ) in ran.out
    assert "is delivered" not in ran.out


def test_secrets_are_masked(config: Path, gateway_cli: CommandLine) -> None:
    ran = gateway_cli("--config", config, "explain", "charge.refunded")
    assert "text: '***'" in ran.out
    assert "topsecret" not in ran.out + gateway_cli("--config", config, "explain", "charge.refunded", "--json").out


def test_an_event_of_the_wrong_mode_is_told(config: Path, gateway_cli: CommandLine) -> None:
    ran = gateway_cli("--config", config, "explain", "invoice.paid", "--account", "live")
    assert "account live takes only events of livemode true; this one is ignored" in ran.out


def test_json_holds_each_route(config: Path, gateway_cli: CommandLine) -> None:
    ran = gateway_cli("--config", config, "explain", event_file(config.parent, object={"id": "cs_1"}), "--json")
    orders, invoices, _ = json.loads(ran.out)
    assert (orders["route"], orders["matched"], orders["once_per"]) == ("orders", True, "cs_1")
    assert orders["decided_by"] == ["object.payment_status is 'paid'"]
    assert [(one["name"], one["state"], one["needs"]) for one in orders["actions"]] == [
        ("save", "succeeded", []),
        ("receipt", "succeeded", ["save"]),
        ("ship", "succeeded", ["save"]),
        ("tell", "skipped", ["ship"]),
    ]
    assert orders["actions"][3]["decided_by"] == ["object.amount_total is 4500"]
    assert (invoices["matched"], invoices["actions"]) == (False, [])


def test_an_event_of_the_inbox_is_explained_by_its_id(config: Path, gateway_cli: CommandLine) -> None:
    event = parse_event(json.dumps(make_event(id="evt_kept")).encode(), "acme", datetime.now(UTC))

    async def keep() -> None:
        (config.parent / "data").mkdir()
        store = SqliteStore(config.parent / "data/gateway.db")
        await store.start()
        await store.add(event, [])
        await store.close()

    asyncio.run(keep())
    ran = gateway_cli("--config", config, "explain", "--id", "evt_kept")
    assert ran.out.startswith("evt_kept checkout.session.completed for account acme\n\nMATCHES orders")
    missing = gateway_cli("--config", config, "explain", "--id", "evt_other")
    assert (missing.code, missing.err) == (1, "there is no event evt_other in the inbox\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "give an event file, a type, or --id\n"),
        (("a.b", "--id", "evt_1"), "give an event file, a type, or --id\n"),
        (("a.b", "--account", "nobody"), "there is no account nobody; known: acme, live\n"),
        (("no.json",), "no.json: No such file or directory\n"),
    ],
)
def test_bad_usage_is_exit_2(config: Path, gateway_cli: CommandLine, words: tuple[str, ...], message: str) -> None:
    ran = gateway_cli("--config", config, "explain", *words)
    assert (ran.code, ran.err) == (2, message)


def test_terminal_escapes_in_an_event_do_not_reach_the_terminal(config: Path, gateway_cli: CommandLine) -> None:
    file = event_file(config.parent, object={"id": "\x1b[2J", "payment_status": "\x1b[31m"})
    assert "\x1b" not in gateway_cli("--config", config, "explain", file).out


def action(name: str, *needs: str) -> ExplainedAction:
    return ExplainedAction(name, "x", needs, "succeeded", None, (), None)


@pytest.mark.parametrize(
    ("actions", "expected"),
    [
        ([action("a"), action("b")], ["a", "b"]),
        ([action("a"), action("b", "a"), action("c", "b"), action("d", "a")], ["a", "├─ b", "│  └─ c", "└─ d"]),
        (
            [action("a"), action("b"), action("c", "a", "b"), action("d", "c", "a")],
            ["a", "b", "└─ c (also after a)", "   └─ d (also after a)"],
        ),
    ],
)
def test_the_order_is_drawn_as_a_tree(actions: Sequence[ExplainedAction], expected: list[str]) -> None:
    assert list(drawn(tuple(actions))) == expected


def test_secrets_that_are_not_here_are_not_needed(
    config: Path, gateway_cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("API_TOKEN")
    config.write_text(config.read_text().replace("vars: {", "vars: {file: '${file:/run/secrets/none}', "))
    ran = gateway_cli("--config", config, "explain", "charge.refunded", "--json")
    assert (ran.code, ran.err) == (0, "not set, so a stand-in: API_TOKEN, file:/run/secrets/none\n")
    refunds = json.loads(ran.out)[-1]
    assert (refunds["route"], refunds["matched"]) == ("refunds", True)
    stored = gateway_cli("--config", config, "explain", "--id", "evt_1")
    assert stored.code == 1
    assert "API_TOKEN is not set" in stored.err


@pytest.mark.parametrize("command", ["explain", "send"])
def test_a_mistyped_type_is_told_with_the_right_one(config: Path, gateway_cli: CommandLine, command: str) -> None:
    ran = gateway_cli("--config", config, command, "invoice.payed")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.endswith(
        "there is no event type invoice.payed; did you mean invoice.paid? "
        "One that is newer than this gateway can be sent as a file\n"
    )


def test_a_type_that_nothing_is_like_is_taken_at_its_word(config: Path, gateway_cli: CommandLine) -> None:
    ran = gateway_cli("--config", config, "explain", "zzz")
    assert (ran.code, ran.out.partition(" ")[2].partition("\n")[0]) == (0, "zzz for account acme")
