"""Scenarios at the command line: `gateway types TYPE` lists them, `--as` takes them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.cli.commands.send import event_from
from gateway.cli.main import BadUsage
from tests.cli import CommandLine
from tests.configs import HEAD

ROUTES = """
routes:
  lost:
    events: [charge.dispute.closed]
    if: object.status == 'lost'
    actions:
      row: {uses: db_upsert, with: {connection: shop, table: t, key: {id: "{{ object.charge }}"}}}
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("API_TOKEN", "token-topsecret")
    (tmp_path / "gateway.yaml").write_text(HEAD + ROUTES)
    return tmp_path / "gateway.yaml"


def test_a_types_scenarios_are_listed(gateway_cli: CommandLine) -> None:
    ran = gateway_cli("types", "charge.dispute.closed")
    assert [line.rstrip() for line in ran.out.splitlines()] == [
        "type                   form",
        "charge.dispute.closed  snapshot",
        "",
        "for `gateway send charge.dispute.closed --as SCENARIO`, and `gateway explain`:",
        "scenario        about",
        "won             the money comes back",
        "lost            the customer keeps the money",
        "warning-closed  an inquiry that came to nothing",
    ]


def test_a_types_scenarios_are_listed_for_programs(gateway_cli: CommandLine) -> None:
    (row,) = json.loads(gateway_cli("types", "charge.dispute.closed", "--json").out)
    assert list(row["scenarios"]) == ["won", "lost", "warning-closed"]


def test_explain_takes_a_scenario(config: Path, gateway_cli: CommandLine) -> None:
    won = gateway_cli("--config", config, "explain", "charge.dispute.closed", "--as", "won")
    assert "object.status is 'won'" in won.out
    assert "MATCHES lost" in gateway_cli("--config", config, "explain", "charge.dispute.closed", "--as", "lost").out


def test_send_takes_a_scenario() -> None:
    assert event_from("charge.dispute.closed", scenario="won")["data"]["object"]["status"] == "won"


@pytest.mark.parametrize(
    ("source", "thin", "message"),
    [
        (
            "charge.dispute.closed",
            False,
            "--as wun: charge.dispute.closed has no scenario 'wun'; it has: won, lost, warning-closed",
        ),
        ("climate.order.created", False, "--as wun: climate.order.created has no scenarios"),
        ("charge.dispute.closed", True, "--as wun: a thin event holds no object that a scenario could be of"),
        ("event.json", False, "--as makes an event of a type; a file is sent as it is"),
    ],
)
def test_a_scenario_that_there_is_not(source: str, thin: bool, message: str) -> None:
    with pytest.raises(BadUsage) as raised:
        event_from(source, thin=thin, scenario="wun")
    assert str(raised.value) == message
