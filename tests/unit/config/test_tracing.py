"""`tracing:` in gateway.yaml."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import load
from gateway.config.checks import extras
from gateway.config.diagnostics.problem import ConfigError, Problem
from gateway.config.schema.server import TracingSettings
from gateway.config.secrets.masked_yaml import masked_files, masked_settings

TEXT = "version: 1\naccounts: {acme: {signing_secrets: [whsec_one]}}\n"


def settings(folder: Path, tracing: str) -> TracingSettings:
    (folder / "gateway.yaml").write_text(f"{TEXT}tracing: {tracing}\n")
    found = load.load(folder / "gateway.yaml", {}).settings.tracing
    assert found is not None
    return found


def problem(folder: Path, tracing: str) -> Problem:
    with pytest.raises(ConfigError) as caught:
        settings(folder, tracing)
    (found,) = [one for one in caught.value.problems if one.severity == "error"]
    return found


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("http://localhost:4318", "http://localhost:4318/v1/traces"),
        ("https://collector.example/", "https://collector.example/v1/traces"),
        ("https://vendor.example/otlp/v1/traces", "https://vendor.example/otlp/v1/traces"),
    ],
)
def test_an_endpoint_without_a_path_is_the_conventions(tmp_path: Path, written: str, meant: str) -> None:
    assert settings(tmp_path, f'{{endpoint: "{written}"}}').endpoint == meant


def test_all_is_traced_by_default(tmp_path: Path) -> None:
    found = settings(tmp_path, '{endpoint: "http://localhost:4318"}')
    assert (found.ratio, found.service, found.headers, found.timeout) == (1.0, "stripe-fulfilment-gateway", {}, 10.0)


@pytest.mark.parametrize(
    ("tracing", "message"),
    [
        ("{}", "is missing endpoint"),
        ("{endpoint: localhost}", "expected an http:// or https:// URL, found text 'localhost'"),
        ('{endpoint: "http://c:4318", ratio: 2}', "expected at most 1.0, found 2"),
        ('{endpoint: "http://c:4318", ratio: -0.1}', "expected at least 0.0, found -0.1"),
        ('{endpoint: "http://c:4318", service: ""}', "expected a text of at least 1 characters, found text ''"),
        ('{endpoint: "http://c:4318", rate: 1}', "unknown key rate"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, tracing: str, message: str) -> None:
    assert problem(tmp_path, tracing).message == message


def test_without_the_extra_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "has_otel", lambda: False)
    found = problem(tmp_path, '{endpoint: "http://localhost:4318"}')
    assert found.code == "missing-package"
    assert found.message == "needs the extra otel of the gateway, which is not installed"
    assert found.hint == "pip install 'stripe-fulfilment-gateway[otel]', or take tracing out"
    assert (found.where.line, found.where.column) == (3, 10)


def test_the_extra_is_missing_where_its_package_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert extras.has_otel()

    def find(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr("importlib.util.find_spec", find)
    assert not extras.has_otel()


def test_headers_are_secrets(tmp_path: Path) -> None:
    settings(tmp_path, '{endpoint: "http://user:endpoint-pw@c:4318", headers: {X-Team: team-secret}}')
    config = load.load(tmp_path / "gateway.yaml", {})
    shown = str(masked_settings(config)) + str(masked_files(config))
    assert "team-secret" not in shown
    assert "endpoint-pw" not in shown
    assert "team-secret" in config.hidden
