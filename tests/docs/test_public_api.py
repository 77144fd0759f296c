"""The public API is what docs/sdk.md says (test_generated compares the page), and is told where it is promised."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from gateway.plugin import Action, Context
from tests.docs.public_api import MODULES, public_api

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_is_there_and_on_the_page(name: str) -> None:
    module = importlib.import_module(name)
    section = public_api().partition(f"## {name}\n")[2].partition("\n## ")[0]
    for one in module.__all__:
        assert getattr(module, one) is not None
        assert re.search(rf"\b{one}\b", section), one


def test_a_changed_signature_changes_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    before = public_api()

    async def run(self: object, settings: object) -> None:
        """One parameter less."""

    run.__module__ = Action.__module__
    monkeypatch.setattr(Action, "run", run)
    assert public_api() != before


def test_the_page_tells_the_fields_of_a_record() -> None:
    page = public_api()
    for field in Context.__dataclass_fields__:
        assert f"    {field}: " in page


def test_the_guide_says_what_is_promised_and_names_what_authors_use() -> None:
    guide = (DOCS / "write-an-action.md").read_text()
    assert "## What stays" in guide
    for name in ("Trial", "problems", "probe_action", "run_action", "Retry", "Reject", "requires", "Constant", "Text"):
        assert re.search(rf"`[^`\n]*\b{name}\b", guide), name
