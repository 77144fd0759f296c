"""Every store, made anew for each test."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import cast

import pytest

from gateway.core.model import TRANSITIONS
from gateway.store.encoding.codec import BodyCodec
from gateway.store.encoding.store import EncodedStore
from gateway.store.encryption.keyring import Keyring
from gateway.store.postgres.store import PostgresStore
from gateway.store.protocol import Store
from gateway.store.sqlite.store import SqliteStore
from tests.conftest import Clock
from tests.contract.transitions import PostgresRecorder, Recorder, SqliteRecorder

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
        sealing = BodyCodec(Keyring([base64.b64encode(bytes(32)).decode()]), compresses=True)
        return lambda: cast(Store, EncodedStore(SqliteStore(tmp_path / "inbox.db", clock), sealing))
    url: str = request.getfixturevalue("inbox_url")
    packing = BodyCodec(Keyring(()), compresses=True)
    return lambda: cast(Store, EncodedStore(PostgresStore(url, clock), packing))


@pytest.fixture
def recorder(request: pytest.FixtureRequest, place: Callable[[], Store], tmp_path: Path) -> Recorder:
    """What watches the stores of that place."""
    opened = place()
    if opened.is_shared:
        return PostgresRecorder(request.getfixturevalue("inbox_url"))
    return SqliteRecorder(tmp_path / "inbox.db")


@pytest.fixture
async def store(place: Callable[[], Store], recorder: Recorder) -> AsyncIterator[Store]:
    """A started store, in which no delivery changes its state but as the table of transitions says."""
    made = place()
    await made.start()
    await recorder.watch()
    yield made
    await made.close()
    unknown = await recorder.seen() - {(row.source, row.target) for row in TRANSITIONS}
    assert not unknown, f"no transition of gateway.core.model.TRANSITIONS: {unknown}"
