"""What is made from the code is what it should be now, and says something about every key."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.config.plugins import find_actions
from gateway.config.schema.json_schema import json_schema
from gateway.plugin.types import duration_text, parse_duration, parse_size, size_text
from tests.docs.generated import ROOT, anchor, generated

SCHEMA = ROOT / "config" / "schema" / "gateway.schema.json"
EXAMPLES = [ROOT / "gateway.yaml", *sorted((ROOT / "config" / "examples").glob("*/gateway.yaml"))]


@pytest.mark.parametrize("path", [pytest.param(path, id=str(path.relative_to(ROOT))) for path in generated()])
def test_generated_files_are_current(path: Path) -> None:
    assert path.read_text() == generated()[path], "make generated"


def test_every_key_has_a_description_and_an_example() -> None:
    silent = [
        path
        for path, part in _keys(json_schema(find_actions([])[0], []), "")
        if not part.get("description") or not ("examples" in part or "properties" in part or _named(part))
    ]
    assert silent == []


def test_links_of_the_contents_lead_to_headings() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    headings = {anchor(title) for title in re.findall(r"^## (.+)$", text, re.MULTILINE)}
    links = set(re.findall(r"\(#([^)]+)\)", text))
    assert links == links & headings
    assert "with-of-db_upsert" in links


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_configs_name_the_schema_in_their_first_line(path: Path) -> None:
    first = path.read_text().partition("\n")[0]
    named = re.fullmatch(r"# yaml-language-server: \$schema=(.+)", first)
    assert named is not None, first
    own = path.with_name("gateway.schema.json")
    assert (path.parent / named[1]).resolve() == (own if own in generated() else SCHEMA)


def test_the_schema_has_third_party_actions() -> None:
    actions, complaints = find_actions([ROOT / "config" / "examples" / "every-action" / "plugins"])
    assert complaints == []
    schema = json_schema(actions, [])
    assert schema["definitions"]["with_audit_file"]["required"] == ["path", "line"]
    action = schema["properties"]["routes"]["additionalProperties"]["properties"]["actions"]["additionalProperties"]
    assert "audit_file" in action["properties"]["uses"]["enum"]
    assert {
        "if": {"required": ["uses"], "properties": {"uses": {"const": "audit_file"}}},
        "then": {"properties": {"with": {"$ref": "#/definitions/with_audit_file"}}, "required": ["with"]},
    } in action["allOf"]


@pytest.mark.parametrize("text", ["200ms", "5s", "90s", "10m", "6h", "30d", "0s"])
def test_durations_are_written_as_they_are_read(text: str) -> None:
    assert duration_text(parse_duration(text)) == text


@pytest.mark.parametrize("text", ["0B", "100B", "512KiB", "1MiB", "3GiB"])
def test_sizes_are_written_as_they_are_read(text: str) -> None:
    assert size_text(parse_size(text)) == text


def _keys(part: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, one in part.get("properties", {}).items():
        if one:  # `type` of a connection is told outside
            yield f"{path}.{name}", one
            if name != "template":
                yield from _keys(one, f"{path}.{name}")
    for key in ("additionalProperties", "items"):
        if isinstance(part.get(key), dict):
            yield from _keys(part[key], f"{path}.*")
    for name, one in part.get("definitions", {}).items():
        yield from _keys(one, name)


def _named(part: dict[str, Any]) -> bool:
    """Whether its members have names of ops' own, or it says what it takes."""
    return isinstance(part.get("additionalProperties"), dict) or "enum" in part or part.get("title") == "path"
