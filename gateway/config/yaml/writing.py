"""YAML that any reader takes as it is meant: PyYAML keeps to 1.1, and most others to 1.2 (https://yaml.org/spec/1.2.2/)."""

from __future__ import annotations

import re
from typing import Any

import yaml

_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|0o[0-7]+|0x[0-9a-fA-F]+")
"""The texts that the core schema of YAML 1.2 reads as numbers; of 1.1's, which are others, PyYAML knows."""


class _Writer(yaml.SafeDumper):
    """Quotes what another reader would take for a number."""


class _Shower(_Writer):
    """Shows a text of several lines as such."""


def _text(writer: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "'" if _NUMBER.fullmatch(text) else "|" if isinstance(writer, _Shower) and "\n" in text else None
    return writer.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Writer.add_representer(str, _text)


def as_yaml(value: Any, *, width: int = 80, one_line: bool = False, shows_lines: bool = False) -> str:
    """A JSON value in YAML, keys in their order, with a line break at its end. `one_line`: in flow style;
    `shows_lines`: texts of several lines are blocks.
    """
    writer = _Shower if shows_lines else _Writer
    return str(
        yaml.dump(value, Dumper=writer, sort_keys=False, allow_unicode=True, width=width, default_flow_style=one_line)
    )
