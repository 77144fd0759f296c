"""Every store, made anew for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from gateway.store.base import Store
from gateway.store.postgres import PostgresStore
from gateway.store.sqlite import SqliteStore
from tests.conftest import Clock


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Callable[[], Store]:
    """Makes further stores on the same place, not yet started."""
    if request.param == "sqlite":
        return lambda: SqliteStore(tmp_path / "inbox.db", clock)
    url: str = request.getfixturevalue("inbox_url")
    return lambda: PostgresStore(url, clock)


@pytest.fixture
async def store(place: Callable[[], Store]) -> AsyncIterator[Store]:
    """A started store."""
    made = place()
    await made.start()
    yield made
    await made.close()
