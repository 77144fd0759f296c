"""What the console reads on PostgreSQL: events that are committed late, and how little a page costs among many rows."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from gateway.core.model import DeliveryFilter, EventFilter
from gateway.store.postgres.store import PostgresStore
from tests.contract.test_store import an_event
from tests.integration.test_postgres_plans import FINISHED, filled, nodes

__all__ = ["filled"]


async def test_an_event_that_is_committed_late_arrives_once_all_the_same(inbox_url: str) -> None:
    store = PostgresStore(inbox_url)
    await store.start()
    await store.add(an_event("evt_1"), [])
    begin = await store.arrivals(None, limit=10)
    slow = await asyncpg.connect(inbox_url, server_settings={"search_path": "gateway"})
    transaction = slow.transaction()
    await transaction.start()  # as another gateway whose commit takes long
    await slow.execute(
        "INSERT INTO events (seq, account, id, type, state, received_at, source, body)"
        " VALUES (nextval('events_seq'), 'acme', 'evt_late', 'x', 'routed', 1, 'webhook', 'x')"
    )
    await store.add(an_event("evt_3"), [])
    await store.add(an_event("evt_3"), [])  # a duplicate uses a number up
    seen = await store.arrivals(begin.cursor, limit=10)
    assert ([event.id for event in seen.events], seen.left_out) == (["evt_3"], 0)
    await transaction.commit()
    await slow.close()
    late = await store.arrivals(seen.cursor, limit=10)
    assert [event.id for event in late.events] == ["evt_late"]
    again = await store.arrivals(late.cursor, limit=10)
    assert (list(again.events), again.left_out) == ([], 0)
    await store.close()


MOST_PAGES = 800  # of more than 4,000 that the two tables have

PAGES = [
    EventFilter(),
    EventFilter(types=("invoice.*",)),
    EventFilter(object_id="in_1"),
    EventFilter(ids=("evt_5",)),
    DeliveryFilter(),
    DeliveryFilter(states=("pending",)),
    DeliveryFilter(lanes=[("r", "a1")]),
    DeliveryFilter(states=("dead",)),
    DeliveryFilter(event_ids=("evt_77",)),
    DeliveryFilter(actions=("a2",), since=datetime.fromtimestamp(FINISHED / 2000, UTC)),
]


@pytest.mark.parametrize("where", PAGES, ids=str)
async def test_a_page_reads_little_more_than_it_shows(
    filled: asyncpg.Connection[asyncpg.Record], inbox_url: str, where: EventFilter | DeliveryFilter
) -> None:
    store = PostgresStore(inbox_url)
    asked: list[tuple[str, tuple[Any, ...]]] = []

    async def fetch(sql: str, *args: Any) -> list[Any]:
        asked.append((sql, args))
        return await filled.fetch(sql, *args)

    store._console.fetch = fetch  # type: ignore[method-assign]
    if isinstance(where, EventFilter):
        await store.event_page(where, limit=50)
    else:
        await store.delivery_page(where, limit=50)
    ((sql, args),) = asked
    plan = json.loads(await filled.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", *args))[0]["Plan"]
    assert "Seq Scan" not in {node["Node Type"] for node in nodes(plan)}
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < MOST_PAGES
