"""Whatever is done to a good configuration: it loads, or every problem has its place; nothing else is raised."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.cli.dev.environment import placeholder
from gateway.config.diagnostics.problem import CODES, ConfigError, Problem
from gateway.config.diagnostics.render import report, rows
from gateway.config.load import load

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
FILES = ["gateway.yaml", *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("config/examples/*/gateway.yaml"))]
NAMES = set(re.findall(r"\$\{([A-Z_]+)\}", "".join((ROOT / file).read_text() for file in FILES)))
ENVIRON = {name: placeholder(name) for name in NAMES}
SECRETS = [value for name, value in ENVIRON.items() if re.search("SECRET|TOKEN|PASSWORD|KEY", name)]
SIGNS = st.sampled_from(
    [*"{}[]:,-#&*!|>'\"%@`?~ \t\n\r\0\x07\x85\u2028\ufeff0aä日🎉$", "{{", "}}", "{%", "${", "<<: ", "- "]
)
EXAMPLES = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder with all that the configurations name."""
    with tempfile.TemporaryDirectory() as base:
        shutil.copytree(ROOT / "config", Path(base) / "config")
        yield Path(base)


@cache
def tree_of(file: str) -> Any:
    """What a configuration says; parsed once, and copied by who changes it."""
    return yaml.safe_load((ROOT / file).read_text())


def load_or_complain(folder: Path, file: str, content: bytes) -> None:
    path = (folder / file).with_name("mutated.yaml")
    path.write_bytes(content)
    try:
        problems: tuple[Problem, ...] = load(path, ENVIRON).warnings
    except ConfigError as error:
        problems = error.problems
    for problem in problems:
        shown = Path(problem.where.file)
        lines = re.split("\r\n|[\r\n\x85\u2028\u2029]", shown.read_bytes().decode("utf-8-sig", errors="replace"))
        assert 1 <= problem.where.line <= len(lines)
        assert 1 <= problem.where.column <= len(lines[problem.where.line - 1]) + 1
        assert problem.code in CODES
    told = report(problems, str(path)) + report(problems, str(path), colours=True) + str(rows(problems))
    assert not any(secret in told for secret in SECRETS)


@pytest.mark.parametrize("file", FILES)
def test_the_unchanged_one_loads(folder: Path, file: str) -> None:
    shutil.copy(ROOT / file, folder / file)
    assert load(folder / file, ENVIRON).routes


@pytest.mark.parametrize("file", FILES)
@EXAMPLES
@given(data=st.data())
def test_characters_may_be_deleted_replaced_and_inserted(folder: Path, file: str, data: st.DataObject) -> None:
    text = (ROOT / file).read_text()
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        text = (
            text[:start]
            + data.draw(st.lists(SIGNS, max_size=3).map("".join))
            + text[start + data.draw(st.integers(0, 5)) :]
        )
    load_or_complain(folder, file, text.encode())


@pytest.mark.parametrize("file", FILES)
@EXAMPLES
@given(data=st.data())
def test_lines_may_be_deleted_repeated_moved_and_indented(folder: Path, file: str, data: st.DataObject) -> None:
    lines = (ROOT / file).read_text().splitlines(keepends=True)
    for _ in range(data.draw(st.integers(1, 4))):
        at, other = (data.draw(st.integers(0, len(lines) - 1)) for _ in range(2))
        what = data.draw(st.sampled_from("drmix"))
        if what == "d" and len(lines) > 2:
            del lines[at]
        elif what == "r":
            lines.insert(at, lines[other])
        elif what == "m":
            lines.insert(other, lines.pop(at))
        elif what == "i":
            lines[at] = data.draw(st.sampled_from([" ", "  ", "\t", "- "])) + lines[at]
        else:
            lines[at] = lines[at].lstrip(" ")
    load_or_complain(folder, file, data.draw(st.sampled_from(["\n", "\r\n"])).join(map(str.rstrip, lines)).encode())


@pytest.mark.parametrize("file", FILES)
@EXAMPLES
@given(data=st.data())
def test_parts_may_change_places_and_kinds(folder: Path, file: str, data: st.DataObject) -> None:
    tree = deepcopy(tree_of(file))
    places = list(_places(tree, ()))
    for _ in range(data.draw(st.integers(1, 3))):
        target, source = data.draw(st.sampled_from(places)), data.draw(st.sampled_from(places))
        value = data.draw(
            st.just(_at(tree, source))
            | st.sampled_from(
                [None, True, 0, -1, 1e400, "", "x", [], {}, [None], {"x": None}, "{{ x }}", "${X}", 10**400]
            )
        )
        holder = _at(tree, target[:-1])
        if holder is not None:
            try:
                holder[target[-1]] = value
            except (TypeError, IndexError):
                continue
    try:
        content = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
    except (RecursionError, ValueError):
        return
    load_or_complain(folder, file, content.encode())


@EXAMPLES
@given(content=st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode(errors="replace")))
def test_anything_at_all_may_stand_in_the_file(folder: Path, content: bytes) -> None:
    load_or_complain(folder, "gateway.yaml", content)


@EXAMPLES
@given(
    text=st.lists(
        SIGNS | st.sampled_from(["object", ".id", " | ", "money", "if", "steps", "'", '"', "item"]), max_size=12
    ).map("".join)
)
def test_anything_at_all_may_stand_in_a_template_and_an_expression(folder: Path, text: str) -> None:
    tree = deepcopy(tree_of("gateway.yaml"))
    route = tree["routes"]["fulfil-order"]
    route["if"] = text
    route["actions"]["receipt"]["with"]["subject"] = "{{ object.id }}" + text
    route["actions"]["save"]["with"]["values"]["email"] = text
    load_or_complain(folder, "gateway.yaml", yaml.safe_dump(tree, allow_unicode=True).encode(errors="replace"))


def _places(tree: Any, path: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in inner:
        yield (*path, key)
        yield from _places(value, (*path, key))


def _at(tree: Any, path: tuple[str | int, ...]) -> Any:
    for step in path:
        try:
            tree = tree[step]
        except (TypeError, KeyError, IndexError):
            return None
    return tree
