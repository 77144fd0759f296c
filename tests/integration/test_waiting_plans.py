"""What is due, what an event cancels and the list of what waits are read by indexes on SQLite."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from gateway.core.model import DeliveryFilter
from gateway.store.sqlite.bursts import OTHERS
from gateway.store.sqlite.filters import delivery_terms
from gateway.store.sqlite.store import SqliteStore
from gateway.store.sqlite.waiting import OF_KEY, OVERTAKEN

WAITING, _ = delivery_terms(DeliveryFilter(waiting=True))


@pytest.mark.parametrize(
    ("sql", "index"),
    [
        (
            "SELECT seq FROM deliveries WHERE account = 'a' AND route = 'r' AND action = 'x' AND state = 'pending'"
            " AND held = 0 AND due_at <= 5 ORDER BY due_at LIMIT 10",
            "deliveries_due",
        ),
        (f"{OVERTAKEN} AND {OF_KEY}", "deliveries_until"),
        (f"{OVERTAKEN} AND {OTHERS}", "deliveries_order_pending"),
        (f"{OVERTAKEN} AND d.seq = ?", "PRIMARY KEY"),
        (f"SELECT count(*) FROM (SELECT 1 FROM deliveries d WHERE {WAITING} LIMIT 9)", "deliveries_waiting"),
        (
            f"SELECT seq FROM deliveries d WHERE {WAITING} AND +seq >= 0 AND +seq < 9 ORDER BY +seq DESC LIMIT 5",
            "deliveries_waiting",
        ),
    ],
)
async def test_it_is_read_by_an_index(tmp_path: Path, sql: str, index: str) -> None:
    store = SqliteStore(tmp_path / "inbox.db")
    await store.start()
    await store.close()
    connection = sqlite3.connect(tmp_path / "inbox.db")
    values = ("1",) * sql.count("?")
    plan = " ".join(str(row[3]) for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values))
    connection.close()
    assert index in plan
    assert "SCAN d" not in plan
    assert "TEMP B-TREE" not in plan or "+seq" in sql  # only of the few that one day has
