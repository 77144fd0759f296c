"""findings/: each script stands in the list with the versions that it pins, and names no registry."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.harness import ROOT

FINDINGS = ROOT / "findings"
SCRIPTS = sorted(set(FINDINGS.glob("*.sh")) - {FINDINGS / "common.sh"})
ROWS = dict(re.findall(r"^\| \[[\w.-]+\]\(([\w.-]+)\) \| (.+?) \|", (FINDINGS / "README.md").read_text(), re.MULTILINE))


def test_the_list_has_every_script() -> None:
    assert len(SCRIPTS) >= 6
    assert set(ROWS) == {script.name for script in SCRIPTS}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_script_runs_pinned_packages_and_compares_what_it_sees(script: Path) -> None:
    assert os.access(script, os.X_OK)
    text = script.read_text()
    subprocess.run(["bash", "-n", script], check=True)
    assert re.search(r"^seen ['\"]", text, re.MULTILINE)
    [packages] = re.findall(r"^packages(.*)$", text, re.MULTILINE)
    pins = re.findall(r"([\w.-]+)(?:\[\w+\])?==([\d.]+)", packages)
    assert len(pins) == len(packages.split())
    for name, version in [*pins, *re.findall(r" (\w+)@([\d.]+) ", text)]:
        assert name.lower() not in ROWS[script.name].lower() or version in ROWS[script.name]
    assert not re.search(r"https?://(?!127\.0\.0\.1|shop\.example)", text)  # no registry, and nothing of the internet
