"""gateway serve: how many processes it may be."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli import CommandLine
from tests.configs import SQLITE, gateway_yaml


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.yaml"
    path.write_text(gateway_yaml(store=f'url: "{SQLITE}"'))
    return path


def test_several_workers_on_sqlite_are_refused_with_the_reason_and_the_way_out(
    config: Path, gateway_cli: CommandLine
) -> None:
    ran = gateway_cli("--config", config, "serve", "--workers", "2")
    assert ran.code == 2
    assert ran.err == (
        "--workers 2: a SQLite inbox is of one process: several would wait for each other at every commit\n"
        "    1, or PostgreSQL in store.url: gateway db copy takes the inbox along\n"
    )


def test_what_dev_runs_is_one_process(config: Path, gateway_cli: CommandLine) -> None:
    ran = gateway_cli("--config", config, "--dev", "serve", "--workers", "2")
    assert (ran.code, ran.err) == (2, "--workers: what --dev runs is one process, on SQLite\n")
