"""Plugin files that change while the gateway runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.config.plugins import Complaint, find_actions, forget_all_but
from gateway.plugin import Action

PLUGIN = """\
from typing import Any, ClassVar
from gateway.plugin import Action, Settings

class Note(Action[Settings]):
    name: ClassVar[str] = "note"
    Settings: ClassVar[type[Settings]] = Settings
    async def run(self, settings: Any, context: Any) -> Any:
        return {"round": ROUND}
"""


@pytest.fixture(autouse=True)
def no_modules_left() -> Iterator[None]:
    yield
    forget_all_but({})


def found(folder: Path, text: str, known: dict[str, Action[Any]] | None = None) -> dict[str, Action[Any]]:
    (folder / "note.py").write_text(text)
    os.utime(folder / "note.py", (1_700_000_000, 1_700_000_000))  # changes within one second look like this
    actions, complaints = find_actions([folder], known or {})
    assert complaints == []
    return actions


async def said(action: Action[Any]) -> int:
    output = await action.run(None, None)  # type: ignore[arg-type]  # it looks at neither
    assert output is not None
    number: int = output["round"]
    return number


async def test_the_same_code_stays_the_same_action(tmp_path: Path) -> None:
    first = found(tmp_path, PLUGIN.replace("ROUND", "1"))
    second = found(tmp_path, PLUGIN.replace("ROUND", "1"), first)
    assert second == first
    assert found(tmp_path, PLUGIN.replace("ROUND", "1"))["note"] is not first["note"]  # nobody's to take over


async def test_changed_code_is_another_action_beside_the_old_one(tmp_path: Path) -> None:
    first = found(tmp_path, PLUGIN.replace("ROUND", "1"))
    second = found(tmp_path, PLUGIN.replace("ROUND", "2"), first)
    assert (await said(first["note"]), await said(second["note"])) == (1, 2)
    assert sys.modules[type(first["note"]).__module__] is not sys.modules[type(second["note"]).__module__]
    assert second["email"] is first["email"]


async def test_code_that_does_not_import_leaves_the_old_one_alone(tmp_path: Path) -> None:
    first = found(tmp_path, PLUGIN.replace("ROUND", "1"))
    (tmp_path / "note.py").write_text("import nowhere\n")
    _, complaints = find_actions([tmp_path], first)
    message = "does not import: ModuleNotFoundError: No module named 'nowhere'"
    assert complaints == [Complaint(tmp_path / "note.py", message, 1, 1)]
    assert type(first["note"]).__module__ in sys.modules
    assert await said(first["note"]) == 1


def test_modules_of_replaced_code_are_dropped(tmp_path: Path) -> None:
    first = found(tmp_path, PLUGIN.replace("ROUND", "1"))
    second = found(tmp_path, PLUGIN.replace("ROUND", "2"), first)
    forget_all_but(second)
    assert type(first["note"]).__module__ not in sys.modules
    assert type(second["note"]).__module__ in sys.modules


def test_a_package_that_is_installed_meanwhile_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    assert "note" not in find_actions([])[0]
    (tmp_path / "installed_note.py").write_text(PLUGIN)
    told = tmp_path / "note-1.0.dist-info"
    told.mkdir()
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: note\nVersion: 1.0\n")
    (told / "entry_points.txt").write_text("[gateway.actions]\nnote = installed_note:Note\n")
    assert "note" in find_actions([])[0]
    monkeypatch.delitem(sys.modules, "installed_note")
