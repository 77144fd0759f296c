"""gateway test, as a command."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.cli import CommandLine
from tests.configs import HEAD, ORDERS

GOOD = "cases:\n  paid:\n    event: checkout.session.completed\n    expect: {routes: [orders]}\n"
BAD = "cases:\n  unpaid:\n    event: checkout.session.completed\n    expect: nothing\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "gateway.yaml").write_text(HEAD + ORDERS)
    (tmp_path / "config/tests").mkdir(parents=True)
    (tmp_path / "config/tests/a.yaml").write_text(GOOD)
    return tmp_path / "gateway.yaml"


def test_all_passed_is_exit_0(config: Path, gateway_cli: CommandLine) -> None:
    ran = gateway_cli("--config", config, "test")
    assert (ran.code, ran.out, ran.err) == (0, "1 passed, 0 failed\n", "")


def test_verbose_names_what_passed(config: Path, gateway_cli: CommandLine) -> None:
    ran = gateway_cli("--config", config, "test", "-v")
    assert ran.out == f"passed {config.parent}/config/tests/a.yaml: paid\n1 passed, 0 failed\n"


def test_a_failure_is_exit_1_and_says_where(config: Path, gateway_cli: CommandLine) -> None:
    file = config.parent / "config/tests/b.yaml"
    file.write_text(BAD)
    ran = gateway_cli("--config", config, "test")
    assert ran.code == 1
    assert f"{file}:4:5: routes.orders: matches\n" in ran.out
    assert ran.out.endswith("\n1 passed, 1 failed\n")


def test_only_the_files_given_run(config: Path, gateway_cli: CommandLine) -> None:
    other = config.parent / "other.yaml"
    other.write_text(BAD)
    assert gateway_cli("--config", config, "test", other).out.endswith("0 passed, 1 failed\n")


def test_a_filter_takes_the_cases_whose_name_holds_it(config: Path, gateway_cli: CommandLine) -> None:
    (config.parent / "config/tests/b.yaml").write_text(BAD)
    assert gateway_cli("--config", config, "test", "--filter", "UNPAID").out.endswith("0 passed, 1 failed\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--filter", "nobody"), "no case has 'nobody' in its name\n"),
        (("no.yaml",), "there is no file no.yaml\n"),
        (("--junit", "/dev/null/x.xml"), "--junit /dev/null/x.xml: File exists\n"),
    ],
)
def test_bad_usage_is_exit_2(config: Path, gateway_cli: CommandLine, words: tuple[str, ...], message: str) -> None:
    ran = gateway_cli("--config", config, "test", *words)
    assert (ran.code, ran.err) == (2, message)


def test_no_tests_at_all_is_exit_2(config: Path, gateway_cli: CommandLine) -> None:
    (config.parent / "config/tests/a.yaml").unlink()
    ran = gateway_cli("--config", config, "test")
    assert (ran.code, ran.err) == (
        2,
        f"there are no tests: no file is {config.parent}/config/tests/*.yaml; "
        "docs/testing-routes.md shows how to begin\n",
    )


def test_an_unknown_key_is_an_error_with_its_place(config: Path, gateway_cli: CommandLine) -> None:
    file = config.parent / "config/tests/a.yaml"
    file.write_text(GOOD.replace("expect:", "expects:"))
    ran = gateway_cli("--config", config, "test")
    assert ran.code == 1
    assert ran.err == (
        "error[unknown-key]: unknown key expects\n"
        f" --> {file}:4:5 (cases.paid.expects)\n"
        "  |\n"
        "4 |     expects: {routes: [orders]}\n"
        "  |     ^^^^^^^\n"
        "  = did you mean expect?\n\n"
        f"1 error in {file}\n"
    )
    assert ran.out == ""


def test_a_config_that_does_not_load_is_told(config: Path, gateway_cli: CommandLine) -> None:
    config.write_text(config.read_text().replace("uses: slack", "uses: slak"))
    ran = gateway_cli("--config", config, "test")
    assert ran.code == 1
    assert "unknown action 'slak'" in ran.err


def test_a_placeholder_that_does_not_fit_is_told(config: Path, gateway_cli: CommandLine) -> None:
    config.write_text(
        config.read_text().replace('"postgresql://me:pass-topsecret@db.example/shop"', '"${SHOP_URL}/shop"')
    )
    ran = gateway_cli("--config", config, "test")
    assert ran.code == 1
    assert ran.err.endswith(
        "\nplaceholders stand in for SHOP_URL: where one does not fit, give a value under env: in the test file\n"
    )
    (config.parent / "config/tests/a.yaml").write_text("env: {SHOP_URL: 'postgresql://db.example'}\n" + GOOD)
    assert gateway_cli("--config", config, "test").code == 0


@pytest.mark.parametrize("variable", ["${APP}", "${file:/run/app}"])
def test_a_placeholder_fits_the_field_whatever_the_variable_is_called(
    variable: str, config: Path, gateway_cli: CommandLine
) -> None:
    text = config.read_text().replace('"postgresql://me:pass-topsecret@db.example/shop"', f'"{variable}"')
    config.write_text(
        text.replace(
            "connections:\n", 'connections:\n  aside: {type: smtp, host: "${M}", port: "${P}", from: a@b.example}\n'
        )
    )
    ran = gateway_cli("--config", config, "test")
    assert (ran.code, ran.err) == (0, "")


def test_json_holds_each_case(config: Path, gateway_cli: CommandLine) -> None:
    (config.parent / "config/tests/b.yaml").write_text(BAD)
    ran = gateway_cli("--config", config, "test", "--json")
    assert ran.code == 1
    assert [(row["name"], row["passed"]) for row in json.loads(ran.out)] == [("paid", True), ("unpaid", False)]


def test_junit_is_written_for_ci_systems(config: Path, gateway_cli: CommandLine) -> None:
    report = config.parent / "out/junit.xml"
    assert gateway_cli("--config", config, "test", "--junit", report).code == 0
    root = ElementTree.parse(report).getroot()
    assert (root.tag, root.get("tests"), root.get("failures")) == ("testsuites", "1", "0")


def test_a_route_that_no_case_reaches_is_named(config: Path, gateway_cli: CommandLine) -> None:
    (config.parent / "config/tests/a.yaml").write_text(GOOD.replace("routes: [orders]", "state: ignored").replace(
        "event: checkout.session.completed", "event: {type: checkout.session.completed, livemode: false}\n"
        "    account: live"))  # fmt: skip
    ran = gateway_cli("--config", config, "test")
    assert ran.out == "1 passed, 0 failed\nin no case an event reaches: orders\n"


def test_unset_variables_and_secret_files_get_placeholders_and_the_environment_plays_no_part(
    config: Path, gateway_cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = config.read_text().replace("[whsec_topsecret1]", '["${A_SECRET}", "${file:/run/secrets/other}"]')
    config.write_text(text + "vars: {channel: '${CHANNEL}', region: '${REGION:-eu}', file: '${file:/run/x}'}\n")
    routes = """\
      note: {uses: http_forward, with: {connection: warehouse, body: "{{ [vars.channel, vars.region, vars.file] | join(' ') }}"}}
"""
    config.write_text(config.read_text().replace("      receipt:\n", routes + "      receipt:\n"))
    monkeypatch.setenv("CHANNEL", "from-the-machine")
    monkeypatch.setenv("REGION", "from-the-machine")
    case = GOOD.replace("{routes: [orders]}", "{deliveries: {orders: {note: {with: {body: WANTED}}}}}")
    file = config.parent / "config/tests/a.yaml"
    file.write_text(case.replace("WANTED", "dev-channel eu dev-file:/run/x"))
    assert gateway_cli("--config", config, "test").code == 0
    file.write_text("env: {CHANNEL: '#orders', 'file:/run/x': 7}\n" + case.replace("WANTED", "'#orders eu 7'"))
    assert gateway_cli("--config", config, "test").code == 0
    file.write_text(case.replace("    event", "    env: {REGION: us}\n    event").replace("WANTED", "{$contains: us}"))
    assert gateway_cli("--config", config, "test").code == 0


def test_terminal_escapes_in_an_event_do_not_reach_the_terminal(config: Path, gateway_cli: CommandLine) -> None:
    (config.parent / "config/tests/a.yaml").write_text(
        'cases:\n  "\\e[31mred":\n    event: {type: checkout.session.completed, object: {id: "\\e[2J"}}\n'
        "    expect: {deliveries: {orders: {save: {with: {key: {id: x}}}}}}\n"
    )
    ran = gateway_cli("--config", config, "test")
    assert ran.code == 1
    assert "\x1b" not in ran.out
