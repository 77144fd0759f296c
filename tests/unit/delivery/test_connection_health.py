"""How one gateway sees connections that the store keeps."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace

import pytest
import structlog

from gateway.core.model import ConnectionChange, ConnectionState, ConnectionStatus
from gateway.delivery import connection_health
from gateway.delivery.connection_health import Connections
from gateway.store.sqlite.store import SqliteStore


async def test_no_pause_ends_early_by_the_time_that_the_store_took_to_tell_of_it(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.change_connection("shop", 0, ConnectionChange(ConnectionState.PAUSED, 60.0, "down"))
    answer, now = store.connections, 100.0
    monkeypatch.setattr(connection_health, "time", SimpleNamespace(monotonic=lambda: now))

    async def takes_five_seconds() -> Mapping[str, ConnectionStatus]:
        nonlocal now
        now += 5
        return await answer()

    monkeypatch.setattr(store, "connections", takes_five_seconds)
    connections = Connections(store, structlog.get_logger())
    await connections.refresh()
    assert connections.status("shop").left_seconds == 60.0
    now += 7
    assert connections.status("shop").left_seconds == 53.0
