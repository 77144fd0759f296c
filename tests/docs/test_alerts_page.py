"""The page about alerts names every type of own event and every field of it."""

from __future__ import annotations

from pathlib import Path

from gateway.core.internal_events import FIELDS

PAGE = (Path(__file__).parents[2] / "docs/alerts.md").read_text()


def test_every_type_has_its_table_of_fields() -> None:
    for kind, fields in FIELDS.items():
        table = "\n".join(f"| `{name}` | {text} |" for name, text in fields.items())
        assert f"### `{kind}`\n\n| field | |\n|---|---|\n{table}\n" in PAGE


def test_every_type_is_in_the_list_of_when() -> None:
    for kind in FIELDS:
        assert f"\n| `{kind}` | " in PAGE
