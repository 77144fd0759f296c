"""The command line, run in this process: what it printed, and its exit code."""

from __future__ import annotations

import gc
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from gateway.cli import main
from gateway.cli.main import options
from tests.configs import gateway_yaml


class Ran(NamedTuple):
    """How a command went."""

    code: int
    out: str
    err: str


class CommandLine:
    """Runs `gateway WORDS...`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *words: object) -> Ran:
        self._capsys.readouterr()
        self._monkeypatch.setattr(sys, "argv", ["gateway", *map(str, words)])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        finally:
            options.dev = False
            gc.enable()  # `check` ends with the process, and does without
        printed = self._capsys.readouterr()
        return Ran(code, printed.out, printed.err)

    def beside(self, *words: object) -> Ran:
        """The same where the loop of the test, or the browser's, runs in this thread."""
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(self, *words).result()


class StoreCommands:
    """Runs `gateway WORDS...` on the inbox at a URL."""

    def __init__(self, command: CommandLine, folder: Path) -> None:
        self._command = command
        self._folder = folder

    def __call__(self, url: str, *words: object, encrypt: str = "") -> Ran:
        config = self._folder / "gateway.yaml"
        config.write_text(gateway_yaml(store=f'url: "{url}"{encrypt and f", encrypt: {encrypt}"}'))
        return self._command.beside("--config", config, *words)
