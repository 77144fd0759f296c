"""docs/operations.md has a row for each metric and each alert, and no row of what is not there."""

from __future__ import annotations

import os
import re

import yaml

from gateway.telemetry.metrics import Fleet, Metrics, Scrape
from tests.acceptance.harness import ROOT

OPERATIONS = ROOT / "docs/operations.md"


def rows(heading: str) -> set[str]:
    """The names in the first column of the table under this heading row."""
    _, _, table = OPERATIONS.read_text().partition(f"\n| {heading} |")
    return set(re.findall(r"^\| `([A-Za-z_]+)` \|", table.partition("\n\n")[0], re.M))


def test_every_metric_has_its_row() -> None:
    text = Metrics().text(Scrape(), 0, Fleet((), {"0": os.getpid()}, {})).decode()
    assert rows("metric") == set(re.findall(r"^# TYPE (\S+) ", text, re.M))


def test_every_alert_has_its_row_that_says_what_to_do() -> None:
    found = yaml.safe_load((ROOT / "config/monitoring/alerts.yaml").read_text())
    assert rows("alert") == {rule["alert"] for group in found["groups"] for rule in group["rules"]}
