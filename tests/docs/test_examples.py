"""Every example, and the shipped gateway.yaml, loads and passes its own cases."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from gateway.cli.dev.environment import DevEnvironment
from gateway.config.load import load
from gateway.simulation.cases.schema import CaseFile, CaseSettings, Expected, ExpectedDelivery
from tests.cli import CommandLine
from tests.examples import EXAMPLES, ROOT, name_of

SHIPPED = [ROOT / "gateway.yaml", *EXAMPLES]


def test_each_kind_of_business_has_its_example() -> None:
    assert {name_of(path) for path in EXAMPLES} == {
        "one-account",
        "many-accounts",
        "connect",
        "postgresql",
        "every-action",
        "subscriptions",
        "shop",
        "marketplace",
        "alerts",
        "repair",
        "audit",
        "dunning",
    }


@pytest.mark.parametrize("path", SHIPPED, ids=name_of)
def test_what_is_shipped_loads_without_a_warning(path: Path) -> None:
    assert load(path, DevEnvironment({})).warnings == ()


@pytest.mark.parametrize("path", SHIPPED, ids=name_of)
def test_what_is_shipped_is_checked_good(path: Path, gateway_cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in re.findall(r"\$\{(\w+)\}", path.read_text()):
        monkeypatch.setenv(variable, DevEnvironment({}).get(variable))
    ran = gateway_cli("--config", path, "check")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(f"{path}: good")


@pytest.mark.parametrize("path", SHIPPED, ids=name_of)
def test_what_is_shipped_passes_its_cases_and_leaves_no_route_out(path: Path, gateway_cli: CommandLine) -> None:
    ran = gateway_cli("--config", path, "test")
    assert (ran.code, ran.err) == (0, ""), ran.out
    assert re.fullmatch(r"\d+ passed, 0 failed\n", ran.out), ran.out


@pytest.mark.parametrize("path", EXAMPLES, ids=name_of)
def test_each_example_says_what_it_is_for_and_has_cases_where_nothing_happens(
    path: Path, gateway_cli: CommandLine
) -> None:
    first, second, *_ = path.read_text().splitlines()
    assert first.startswith("# yaml-language-server: $schema=")
    assert second.startswith("# ")
    cases = json.loads(gateway_cli("--config", path, "test", "--json").out)
    assert len(cases) >= 5
    texts = "".join(file.read_text() for file in path.parent.glob("config/tests/*.yaml"))
    assert "expect: nothing" in texts or "unmatched" in texts


@pytest.mark.parametrize("page", ["README.md", "docs/testing-routes.md"])
def test_the_cases_in_the_docs_pass(page: str, tmp_path: Path, gateway_cli: CommandLine) -> None:
    blocks = re.findall(r"```yaml\n(cases:\n.*?)```", (ROOT / page).read_text(), re.S)
    assert blocks
    for i, block in enumerate(blocks):
        (tmp_path / f"{i}.yaml").write_text(block)
    ran = gateway_cli("--config", ROOT / "gateway.yaml", "test", *tmp_path.iterdir())
    assert ran.code == 0, ran.out


def test_the_docs_name_every_key_of_a_test_file() -> None:
    page = (ROOT / "docs/testing-routes.md").read_text()
    for model in (CaseFile, CaseSettings, Expected, ExpectedDelivery):
        for name, field in model.model_fields.items():
            assert f"`{field.alias or name}`" in page, name
