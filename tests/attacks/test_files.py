"""Attacks by the files that a configuration is read from: YAML that explodes, plugin folders that others may write to.

tests/unit/config/test_load.py has the alias bomb (`test_an_alias_bomb_is_refused`), and test_mutations.py beside it
whatever else may stand in a file.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gateway.config.diagnostics.problem import ConfigError
from gateway.config.load import load
from gateway.config.plugins import find_actions

ROOT = Path(__file__).parents[2]


def check(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    """`gateway check`, as a process: a stack that ends kills it without a word."""
    (folder / "gateway.yaml").write_text(text)
    command = [sys.executable, "-m", "gateway", "--config", str(folder / "gateway.yaml"), "check"]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("[" * 100_000, id="lists"),
        pytest.param("{a: " * 100_000, id="mappings"),
        pytest.param("a: " + "[" * 20_000 + "]" * 20_000, id="closed"),
        pytest.param("- " * 100_000 + "a", id="on one line"),
        pytest.param("\n".join(" " * depth + "a:" for depth in range(3000)), id="by indentation"),
    ],
)
def test_a_file_nested_without_end_is_refused_in_words(tmp_path: Path, text: str) -> None:
    done = check(tmp_path, text)
    assert done.returncode == 1, done.stderr[-500:]
    assert "nested too deeply" in done.stdout + done.stderr


def problems(folder: Path, text: str) -> list[str]:
    (folder / "gateway.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(folder / "gateway.yaml", {})
    return [one.message for one in caught.value.problems]


def test_merged_mappings_that_double_are_refused(tmp_path: Path) -> None:
    laugh = "a0: &a0 {k: 1}\n"
    laugh += "".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}], k{i}: 1}}\n" for i in range(1, 13))
    assert "the file grows by more than 100000 values through its aliases" in problems(tmp_path, laugh)


def test_a_url_of_a_million_slashes_is_refused_in_words(tmp_path: Path) -> None:
    text = "version: 1\naccounts: {acme: {signing_secrets: [whsec_a]}}\n"
    text += f"connections: {{shop: {{type: nonsense, url: '{'/' * 1_000_000}'}}}}\n"
    assert "unknown type of connection 'nonsense'" in problems(tmp_path, text)


def test_files_that_include_each_other_are_each_read_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("include: [gateway.yaml, a.yaml]\nvars: {x: 1}\n")
    text = "version: 1\ninclude: ['*.yaml', a.yaml]\naccounts: {acme: {signing_secrets: [whsec_a]}}\n"
    assert problems(tmp_path, text) == ["an included file holds only accounts, connections, routes, vars"]


def test_a_scalar_of_ten_million_characters_is_read(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text(
        f"version: 1\naccounts: {{acme: {{signing_secrets: [whsec_a]}}}}\nvars: {{a: {'x' * 10_000_000}}}\n"
    )
    assert len(load(tmp_path / "gateway.yaml", {}).vars["a"]) == 10_000_000


@pytest.mark.parametrize(("folder_mode", "file_mode"), [(0o777, 0o644), (0o755, 0o646), (0o1777, 0o644)])
def test_a_plugin_that_everybody_may_change_is_not_run(tmp_path: Path, folder_mode: int, file_mode: int) -> None:
    folder = tmp_path / "plugins"
    folder.mkdir()
    ran = tmp_path / "ran"
    file = folder / "evil.py"
    file.write_text(f"open({str(ran)!r}, 'w')\n")
    file.chmod(file_mode)
    folder.chmod(folder_mode)
    _, complaints = find_actions([folder])
    assert [(one.file, one.message) for one in complaints] == [
        (file, "everybody may write to it; `chmod o-w` the file and its folder")
    ]
    assert not ran.exists()


def test_a_link_to_a_plugin_that_everybody_may_change_is_not_run(tmp_path: Path) -> None:
    folder = tmp_path / "plugins"
    folder.mkdir(mode=0o755)
    ran = tmp_path / "ran"
    target = tmp_path / "target.py"
    target.write_text(f"open({str(ran)!r}, 'w')\n")
    target.chmod(0o666)
    (folder / "evil.py").symlink_to(target)
    _, complaints = find_actions([folder])
    assert [one.message for one in complaints] == ["everybody may write to it; `chmod o-w` the file and its folder"]
    assert not ran.exists()
