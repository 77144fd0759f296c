"""YAML that the gateway writes is read alike by YAML 1.1 and 1.2."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.config.schema.markdown import _example
from gateway.config.yaml.writing import as_yaml

NUMBERS_OF_1_2 = ["1e3", "0o17", "08", "1.5e3", "1E-2", "+.5", "0x1F", "-1e3"]
NUMBERS_OF_1_1 = ["12", "017", "1_000", "12:30:45", "1.5", "on", "yes", "null", "~", "2026-01-01", ".inf"]


@pytest.mark.parametrize("text", NUMBERS_OF_1_2 + NUMBERS_OF_1_1)
def test_a_text_like_a_number_is_quoted(text: str) -> None:
    assert as_yaml({text: [text]}) == f"'{text}':\n- '{text}'\n"
    assert as_yaml({"a": text}, one_line=True) == f"{{a: '{text}'}}\n"


def test_other_values_are_written_as_they_are() -> None:
    value: dict[str, Any] = {"a": "1e", "b": 1000.0, "c": [None, True, 15], "d": "0o19", "e": "v1e3"}
    assert as_yaml(value) == "a: 1e\nb: 1000.0\nc:\n- null\n- true\n- 15\nd: 0o19\ne: v1e3\n"
    assert yaml.safe_load(as_yaml(value)) == value


def test_a_text_of_several_lines_is_shown_as_such_where_that_is_asked_for() -> None:
    assert as_yaml({"a": "one\ntwo"}, shows_lines=True) == "a: |-\n  one\n  two\n"
    assert as_yaml({"a": "one\ntwo"}) == "a: 'one\n\n  two'\n"


def test_an_example_in_the_docs_is_quoted_too() -> None:
    assert _example({"examples": ["1e3"]}) == "`'1e3'`"


@pytest.mark.skipif(
    not (Path(__file__).parents[2] / "docs/node_modules/yaml").is_dir(), reason="npm's yaml is not installed"
)
def test_a_reader_of_yaml_1_2_takes_them_for_texts() -> None:
    texts = NUMBERS_OF_1_2 + NUMBERS_OF_1_1
    script = "console.log(JSON.stringify(require('yaml').parse(process.argv[1])))"
    folder = Path(__file__).parents[2] / "docs"
    read = subprocess.check_output(["node", "-e", script, "--", as_yaml(texts)], cwd=folder, text=True)
    assert yaml.safe_load(read) == texts
