"""The command line, run in this process: what it printed, and its exit code."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import pytest

from gateway.cli import main
from gateway.cli.main import options


@dataclass(frozen=True, slots=True)
class Ran:
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
        printed = self._capsys.readouterr()
        return Ran(code, printed.out, printed.err)
