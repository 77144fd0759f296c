"""What CONTRIBUTING.md and the hooks before a commit say is what the machine holds."""

from __future__ import annotations

import re
import shlex
import tomllib

import pytest
import yaml

from tests.acceptance.harness import ROOT

CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]


def rows_of_the_map() -> list[tuple[str, list[str]]]:
    """Each room of the map with the files to look at first, from the top floor down."""
    section = CONTRIBUTING.partition("## The map")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| .* \| (.+) \|$", section, re.MULTILINE)
    return [(room, re.findall(r"`([\w./]+)`", files)) for room, files in rows]


def test_the_map_is_the_floors_that_import_linter_holds_and_the_folders_that_are_there() -> None:
    rooms = [room for room, _ in rows_of_the_map()]
    (floors,) = (contract for contract in CONTRACTS if contract["type"] == "layers")
    assert rooms == floors["layers"]
    assert len(rooms) == 17
    folders = {entry.name for entry in (ROOT / "gateway").iterdir() if entry.is_dir() and entry.name != "__pycache__"}
    assert folders == set(rooms)
    assert floors["exhaustive"] is True  # an eighteenth folder is a fault


def test_what_the_map_says_to_look_at_first_is_there() -> None:
    for room, files in rows_of_the_map():
        assert files
        for name in files:
            assert (ROOT / "gateway" / room / name).exists(), f"{room}/{name}"


def test_no_file_lies_loose_beside_the_rooms() -> None:
    loose = {entry.name for entry in (ROOT / "gateway").iterdir() if entry.is_file()}
    assert loose <= {"__init__.py", "__main__.py", "py.typed"}


def test_every_link_and_folder_that_contributing_names_is_there() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", CONTRIBUTING):
        assert (ROOT / target).exists(), target
    made_by_running = (ROOT / ".gitignore").read_text().split()
    for folder in re.findall(r"`((?:gateway|tests|docs|config|actions|bench|findings)/[\w./]*)`", CONTRIBUTING):
        assert (ROOT / folder).exists() or folder in made_by_running, folder


def test_the_hooks_before_a_commit_run_what_make_test_runs_and_fetch_nothing() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    makefile = (ROOT / "Makefile").read_text()
    programs = []
    for hook in repository["hooks"]:
        assert {"id", "name", "entry", "language"} <= set(hook)
        assert hook["language"] == "system"  # pre-commit makes no environment, and so asks no registry
        program, *words = shlex.split(hook["entry"])
        programs.append((program, *(word for word in words if word != "--force-exclude")))
    assert programs == [
        (".venv/bin/ruff", "check"),
        (".venv/bin/ruff", "format", "--check"),
        (".venv/bin/lint-imports",),
        (".venv/bin/mypy",),
    ]
    for program, *words in programs:
        assert " ".join((program.replace(".venv/bin/", "$(BIN)/"), *words)) in makefile


def test_every_benchmark_is_cited_by_a_page_or_serves_one_that_is() -> None:
    pages = "".join(page.read_text() for page in (ROOT / "docs").glob("*.md"))
    programs = {file.stem: file.read_text() for file in (ROOT / "bench").glob("*.py") if file.stem != "__init__"}
    for name in programs:
        others = pages + "".join(text for other, text in programs.items() if other != name)
        assert re.search(rf"bench[./]{name}\b|\b{name}\.py\b", others), name
    for name in re.findall(r"-m bench\.(\w+)", (ROOT / "Makefile").read_text()):
        assert re.search(rf"bench[./]{name}\b", pages), name


@pytest.mark.xdist_group("of_its_own")
def test_a_group_is_kept_on_one_worker(request: pytest.FixtureRequest) -> None:
    """Or what its tests share is started on each worker, and nobody is told: findings/xdist-groups-are-lost.sh."""
    assert not request.config.getoption("loadgroup", False) or request.node.nodeid.endswith("@of_its_own")
