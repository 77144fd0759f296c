"""Every store, made anew for each test."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import cast

import pytest

from gateway.store.encryption.keyring import Keyring
from gateway.store.encryption.store import EncryptedStore
from gateway.store.postgres.store import PostgresStore
from gateway.store.protocol import Store
from gateway.store.sqlite.store import SqliteStore
from tests.conftest import Clock

ALL = ("sqlite", "postgresql", "encrypted")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Where tests take place; a module's PLACES narrows it."""
    if "place" in metafunc.fixturenames:
        metafunc.parametrize("place", getattr(metafunc.module, "PLACES", ALL), indirect=True)


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Callable[[], Store]:
    """Makes further stores on the same place, not yet started."""
    if request.param == "sqlite":
        return lambda: SqliteStore(tmp_path / "inbox.db", clock)
    if request.param == "encrypted":
        keyring = Keyring([base64.b64encode(bytes(32)).decode()])
        return lambda: cast(Store, EncryptedStore(SqliteStore(tmp_path / "inbox.db", clock), keyring))
    url: str = request.getfixturevalue("inbox_url")
    return lambda: PostgresStore(url, clock)


@pytest.fixture
async def store(place: Callable[[], Store]) -> AsyncIterator[Store]:
    """A started store."""
    made = place()
    await made.start()
    yield made
    await made.close()
