"""What the console reads on PostgreSQL: events that are committed late."""

from __future__ import annotations

import asyncpg

from gateway.store.postgres.store import PostgresStore
from tests.contract.test_store import an_event


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
