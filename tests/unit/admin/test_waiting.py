"""What a delivery waits for, in words."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gateway.admin.waiting import waits_for
from gateway.core.model import DeliveryFilter, Word
from gateway.store.sqlite.store import SqliteStore
from tests.contract.test_store import an_event, owed

NOW = datetime(2026, 11, 24, 3, tzinfo=UTC)


async def test_what_runs_without_a_yes_waits_for_its_next_attempt_and_for_nobody(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "inbox.db")
    await store.start()
    await store.add(an_event(), [owed()])
    [planned] = await store.deliveries(DeliveryFilter(), limit=1)
    await store.close()
    held = replace(planned, reason="waits for a yes by finance", word=Word(until=NOW + timedelta(hours=1)))
    assert waits_for(held, None, (), NOW) == "for a yes: waits for a yes by finance"
    tried = replace(planned, next_attempt_at=NOW + timedelta(seconds=30), word=Word(until=NOW - timedelta(hours=1)))
    assert waits_for(tried, None, (), NOW) == "for its next attempt, in 30 s"
