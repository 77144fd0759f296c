"""Fixtures shared by all tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.store.sqlite import SqliteStore
from tests.cli import CommandLine
from tests.stripe_standin import StripeStandin


class Clock:
    """A store's clock that tests move by hand."""

    def __init__(self) -> None:
        self.now = 1_795_400_000_000

    def __call__(self) -> int:
        return self.now

    def forward(self, seconds: float) -> None:
        """Moves it."""
        self.now += int(seconds * 1000)


@pytest.fixture
def clock() -> Clock:
    """A clock at a fixed time."""
    return Clock()


@pytest.fixture
async def store(tmp_path: Path, clock: Clock) -> AsyncIterator[SqliteStore]:
    """A started store in a file of its own."""
    made = SqliteStore(tmp_path / "inbox.db", clock)
    await made.start()
    yield made
    await made.close()


@pytest.fixture
def gateway_cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """The command line."""
    return CommandLine(monkeypatch, capsys)


@pytest.fixture
async def standin() -> AsyncIterator[StripeStandin]:
    """A stand-in for Stripe's API, listening."""
    made = StripeStandin()
    await made.start()
    yield made
    await made.stop()
