"""Every command that the docs tell is one that the program has, with options that it has."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from gateway.cli.main import app

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("config/examples/*/README.md")])
_OLD = {"CHANGELOG.md"}  # tells commands of versions that were
# A line of a block that begins with the program and is no sentence, or the program in `backticks`.
_LINE = re.compile(r"^(?:\s{4,}|)(?:\$ )?(?:\.venv/bin/)?gateway (.+)(?<![a-z]\.)$", re.MULTILINE)
_INLINE = re.compile(r"`(?:\.venv/bin/)?gateway ([^`\n]+)`")
_BLOCK = re.compile(r"^```.*?^```|(?:^ {4,}.*\n)+", re.MULTILINE | re.DOTALL)


def told(page: Path) -> list[str]:
    """What stands behind `gateway`, for each command on a page."""
    text = page.read_text()
    blocks = "\n".join(block[0] for block in _BLOCK.finditer(text))
    return sorted({*_LINE.findall(blocks), *_INLINE.findall(text)})


def words(line: str) -> list[str]:
    """The words of a command as a shell takes them, up to a pipe or a comment."""
    parser = shlex.shlex(re.sub(r"\$\([^)]*\)", "VALUE", line), posix=True, punctuation_chars="|;<>&")
    parser.commenters = "#"
    parser.whitespace_split = True
    taken = []
    for word in parser:
        if set(word) <= set("|;<>&"):
            break
        taken.append(word)
    return taken


def complaints(line: str) -> str:
    """What is wrong with a command, or nothing."""
    command: Any = typer.main.get_command(app)
    context = command.context_class(command)
    rest, path = words(line), "gateway"
    while rest:
        word = rest.pop(0)
        options = {
            name: parameter for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)
        }
        name, _, value = word.partition("=")
        if name.startswith("-") and name != "--help":
            if name not in options:
                return f"{path} has no option {name}"
            if not options[name].is_flag and not value and rest:
                rest.pop(0)
        elif hasattr(command, "list_commands") and re.fullmatch(r"[a-z-]+", word):
            below = command.get_command(context, word)
            if below is None:
                return f"{path} has no command {word}"
            command, path = below, f"{path} {word}"
    return ""


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in _OLD], ids=lambda page: page.name)
def test_every_command_on_a_page_is_one_that_there_is(page: Path) -> None:
    wrong = {line: complaint for line in told(page) if (complaint := complaints(line))}
    assert wrong == {}


def test_wrong_commands_are_seen() -> None:
    assert complaints("deliveries retry dlv_... --wait 1m   # and what became of it") == ""
    assert complaints("deliveries retyr dlv_...") == "gateway deliveries has no command retyr"
    assert complaints("events list --stat dead | head") == "gateway events list has no option --stat"
    assert len(told(ROOT / "README.md")) > 10


def test_every_command_is_told_of_on_a_page() -> None:
    from gateway.cli.commands import COMMANDS

    everywhere = "\n".join(page.read_text() for page in PAGES)
    assert [name for name in COMMANDS if f"gateway {name}" not in everywhere] == []
