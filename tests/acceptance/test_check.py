"""`gateway check` as a program: what it prints where, and how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import HANG_SECONDS

GOOD = """\
version: 1
accounts:
  acme: {signing_secrets: [whsec_acme]}
connections:
  hooks: {type: http, url: https://hooks.example}
routes:
  forward:
    events: [charge.refunded]
    actions:
      send: {uses: http_forward, with: {connection: hooks}}
"""


def check(folder: Path, text: str, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "gateway.yaml").write_text(text)
    return subprocess.run(
        [sys.executable, "-m", "gateway", "check", *options],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
    )


def test_a_good_config_is_said_to_be_good(tmp_path: Path) -> None:
    done = check(tmp_path, GOOD)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "gateway.yaml: good (1 routes, 1 actions, 1 accounts)\n"
    assert json.loads(check(tmp_path, GOOD, "--json").stdout) == []


def test_an_error_is_shown_with_its_line_and_ends_with_1(tmp_path: Path) -> None:
    done = check(tmp_path, GOOD.replace("uses: http", "uses: htpp"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "error[unknown-action]: unknown action 'htpp_forward'\n"
        "  --> gateway.yaml:10:20 (routes.forward.actions.send.uses)\n"
        "   |\n"
        "10 |       send: {uses: htpp_forward, with: {connection: hooks}}\n"
        "   |                    ^^^^^^^^^^^^\n"
        "   = did you mean http_forward?\n"
        "\n"
        "1 error in gateway.yaml\n"
    )


@pytest.mark.parametrize(
    ("options", "code"), [((), 0), (("--strict",), 1), (("--json",), 0), (("--json", "--strict"), 1)]
)
def test_a_warning_fails_only_where_it_is_asked_to(tmp_path: Path, options: tuple[str, ...], code: int) -> None:
    done = check(tmp_path, GOOD.replace("charge.refunded", "charge.refundet"), *options)
    assert done.returncode == code
    if "--json" in options:
        assert json.loads(done.stdout) == [
            {
                "file": "gateway.yaml",
                "line": 8,
                "column": 14,
                "end_column": 29,
                "path": "routes.forward.events[0]",
                "severity": "warning",
                "code": "unknown-event",
                "message": "Stripe has no event type charge.refundet",
                "hint": "did you mean charge.refunded?",
                "notes": [],
            }
        ]
        assert done.stderr == ""
    else:
        assert done.stderr.startswith("warning[unknown-event]: ")


def test_errors_as_json_end_with_1(tmp_path: Path) -> None:
    done = check(tmp_path, GOOD + "nonsense: 1\n", "--json")
    assert done.returncode == 1
    assert [row["code"] for row in json.loads(done.stdout)] == ["unknown-key"]


def test_other_commands_show_the_same(tmp_path: Path) -> None:
    check(tmp_path, GOOD + "nonsense: 1\n")
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "explain", "charge.refunded"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error[unknown-key]: unknown key nonsense\n  --> gateway.yaml:11:1 (nonsense)\n")
