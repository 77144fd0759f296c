"""What other repositories and their assistants take: AGENTS.md, llms.txt, the GitHub Action, hooks of pre-commit."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.cli.commands import COMMANDS

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "config/examples/one-account"
PROGRAM = Path(sys.executable).with_name("gateway")


def read(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text())


def a_repository(folder: Path, config: str) -> Path:
    """Somebody's repository with a gateway.yaml and its cases."""
    (folder / "gateway.yaml").write_text(config)
    shutil.copytree(EXAMPLE / "config", folder / "config")
    return folder


def nobody(**more: str) -> dict[str, str]:
    """An environment without any secret."""
    return {"PATH": f"{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}", "PYTHONDONTWRITEBYTECODE": "", **more}


def test_what_assistants_are_shown_is_checked_good(tmp_path: Path) -> None:
    (block,) = re.findall(r"```yaml\n(.+?)```", (ROOT / "AGENTS.md").read_text(), re.DOTALL)
    (tmp_path / "gateway.yaml").write_text(block)
    command = [str(PROGRAM), "--dev", "check", "--strict"]
    said = subprocess.run(command, cwd=tmp_path, env=nobody(), capture_output=True, text=True)
    assert (said.returncode, said.stderr) == (0, "")


def test_llms_txt_leads_to_pages_that_are_there() -> None:
    lines = (ROOT / "llms.txt").read_text().splitlines()
    assert lines[0].startswith("# ")  # the form of llms.txt: a title, a quoted summary, sections of links
    assert lines[2].startswith("> ")
    links = re.findall(r"^- \[.+?\]\((.+?)\)", "\n".join(lines), re.MULTILINE)
    assert len(links) > 20
    assert [link for link in links if not (ROOT / link.partition("#")[0]).is_file()] == []


def steps(folder: Path, config: str, **inputs: str) -> list[subprocess.CompletedProcess[str]]:
    """What the steps of the Action say in a repository, but for those that install."""
    action = read("action.yml")
    values = {name: given.get("default", "") for name, given in action["inputs"].items()} | inputs
    temp = folder / "runner"
    (temp / "gateway/bin").mkdir(parents=True)
    (temp / "gateway/bin/gateway").symlink_to(PROGRAM)
    a_repository(folder, config)
    said = []
    for step in action["runs"]["steps"]:
        if step.get("name", "").startswith("gateway "):
            named = {key: re.sub(r"\$\{\{ inputs\.(\w+) \}\}", lambda match: values[match[1]], text)
                     for key, text in step["env"].items()}  # fmt: skip
            command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]  # as runners call it
            environ = nobody(RUNNER_TEMP=str(temp), **named)
            said.append(subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True))
    return said


def test_the_action_checks_and_tests_a_good_repository(tmp_path: Path) -> None:
    check, test = steps(tmp_path, (EXAMPLE / "gateway.yaml").read_text(), junit="out/cases.xml")
    assert (check.returncode, test.returncode) == (0, 0), check.stderr + test.stderr
    assert "passed" in test.stdout
    assert (tmp_path / "out/cases.xml").is_file()


def test_the_action_fails_where_a_route_is_wrong(tmp_path: Path) -> None:
    wrong = (EXAMPLE / "gateway.yaml").read_text().replace("object.payment_status", "object.payment_state")
    check, _ = steps(tmp_path, wrong)
    assert check.returncode == 1
    assert "object.payment_state" in check.stderr


def test_the_action_installs_this_tree_by_its_pins() -> None:
    steps = read("action.yml")["runs"]["steps"]
    (install,) = [step for step in steps if "Install" in step.get("name", "")]
    assert "--require-hashes" in install["run"]
    assert '--requirement "$ACTION/requirements.txt"' in install["run"]
    assert all("shell" in step for step in steps if "run" in step)  # a composite action has no default


@pytest.mark.parametrize("hook", read(".pre-commit-hooks.yaml"), ids=lambda hook: hook["id"])
def test_a_hook_passes_in_a_good_repository(hook: dict[str, Any], tmp_path: Path) -> None:
    folder = a_repository(tmp_path, (EXAMPLE / "gateway.yaml").read_text())
    said = subprocess.run(hook["entry"].split(), cwd=folder, env=nobody(), capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    for name in ("gateway.yaml", "shop/gateway.yaml", "config/tests/orders.yaml", "config/templates/receipt.html.j2"):
        assert re.search(hook["files"], name), name
    assert not re.search(hook["files"], "src/app.py")


def test_the_forms_ask_for_what_the_program_can_tell() -> None:
    forms = [read(f".github/ISSUE_TEMPLATE/{name}.yml") for name in ("bug", "idea")]
    for form in forms:
        assert {"name", "description", "body"} <= set(form)
        ids = [field["id"] for field in form["body"] if field["type"] != "markdown"]
        assert len(ids) == len(set(ids)) > 0
    text = (ROOT / ".github/ISSUE_TEMPLATE/bug.yml").read_text()
    assert set(re.findall(r"`gateway ([a-z]+)", text)) <= set(COMMANDS)
