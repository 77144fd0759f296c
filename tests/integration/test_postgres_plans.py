"""What PostgreSQL reads with many finished rows: what runs all the time only what is still owed, a page of the console
little more than it shows.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from gateway.core.model import DeliveryFilter, EventFilter
from gateway.store.migrations.runner import schema_script
from gateway.store.postgres import maintenance as upkeep
from gateway.store.postgres import queue as work
from gateway.store.postgres.store import PostgresStore
from tests.conftest import copied_database, database_url

pytestmark = pytest.mark.xdist_group("filled")  # one worker, so filled once

FINISHED = 100_000
HELD = 20_000  # pending behind one key
DUE = 2_000

NO_RATES: tuple[list[Any], ...] = ([None], [], [], [])

FILL = f"""
INSERT INTO events (seq, account, id, type, state, received_at, source, body)
SELECT n, 'acme', 'evt_' || n, 'invoice.paid', 'routed', n, 'webhook', 'x' FROM generate_series(1, {FINISHED}) n;
INSERT INTO deliveries (seq, id, event_seq, run_id, account, route, action, needs, has_dependents, state, held, due_at,
  created_at, finished_at, claimed_at, lease_until, token, once_key, order_key)
SELECT n, 'dlv_' || n, n, 'dlv_' || n, 'acme', 'r', 'a' || n % 5, '[]', false,
  CASE WHEN n <= {FINISHED - HELD - DUE - 10} THEN 'succeeded' WHEN n <= {FINISHED - 10} THEN 'pending'
    ELSE 'running' END,
  n BETWEEN {FINISHED - HELD - DUE - 8} AND {FINISHED - DUE - 10}, n, n, n, n, n + 10000000000000, 't',
  CASE WHEN n % 5 <> 1 THEN 'once ' || n END,
  CASE WHEN n % 5 <> 1 AND n <= {FINISHED - DUE - 10} THEN 'order ' || n / {HELD} END
FROM generate_series(1, {FINISHED}) n;
INSERT INTO attempts SELECT n, 1, n, 1, 'succeeded', NULL FROM generate_series(1, {FINISHED}) n;
SELECT setval('events_seq', {FINISHED}), setval('deliveries_seq', {FINISHED});
"""


@pytest.fixture(scope="session")
def filled_template(postgresql_server: str, inbox_template: str) -> str:
    """The name of a database whose inbox has much that is done; not analysed, as after a rush."""

    async def fill() -> None:
        connection = await asyncpg.connect(postgresql_server)
        await connection.execute(f"CREATE DATABASE filled_template TEMPLATE {inbox_template}")
        await connection.close()
        connection = await PostgresStore(database_url(postgresql_server, "filled_template"))._server.open()
        await connection.execute(FILL)
        leaves = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname ~ '^(events|deliver|attempts)'"
        for (table,) in await connection.fetch(leaves):
            await connection.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = false)")
        await connection.close()

    asyncio.run(fill())
    return "filled_template"


@pytest.fixture
async def filled(postgresql_server: str, filled_template: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """A connection to a copy of it, as the store opens one."""
    async with copied_database(postgresql_server, filled_template) as url:
        connection = await PostgresStore(url)._server.open()
        yield connection
        await connection.close()


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    """Every node of a plan."""
    return [plan, *(found for child in plan.get("Plans", []) for found in nodes(child))]


async def read(connection: asyncpg.Connection[asyncpg.Record], sql: str, *args: Any) -> tuple[set[str], int]:
    """Runs a statement: the indexes and tables that were scanned, and how many pages were touched."""
    text = await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", *args)
    plan = json.loads(text)[0]["Plan"]
    scanned = {
        node.get("Index Name") or f"all of {node['Relation Name']}"
        for node in nodes(plan)
        if "Index Name" in node or "Relation Name" in node
    }
    return scanned, plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


async def test_looking_for_lanes_with_work_touches_a_few_pages_a_lane(
    filled: asyncpg.Connection[asyncpg.Record],
) -> None:
    scanned, pages = await read(filled, work.DUE.replace("now_ms($1::bigint)", "now_ms(NULL)"))
    assert scanned == {"deliveries_due", "deliveries_leases", "notes_pkey"}  # of what an `until` left to do in steps
    assert pages < 100


async def calls(connection: asyncpg.Connection[asyncpg.Record], sql: str, *args: Any) -> tuple[Any, dict[str, int]]:
    """Runs a call; its answer, and how often each index and table was scanned and how many rows that gave."""

    async def counted() -> dict[str, int]:
        rows = await connection.fetch(
            "SELECT indexrelname AS name, pg_stat_get_xact_tuples_returned(indexrelid) AS rows"
            " FROM pg_stat_user_indexes"
            " UNION ALL SELECT 'all of ' || relname, pg_stat_get_xact_tuples_returned(relid) FROM pg_stat_user_tables"
        )
        return {row["name"]: row["rows"] for row in rows}

    async with connection.transaction():
        before = await counted()
        answer = await connection.fetchval(sql, *args)
        after = await counted()
    return answer, {name: rows - before[name] for name, rows in after.items() if rows > before[name]}


@pytest.mark.parametrize("action", ["a1", "a2"], ids=["without keys", "with keys"])
async def test_claiming_and_finishing_read_only_what_they_claim_and_finish(
    filled: asyncpg.Connection[asyncpg.Record], action: str
) -> None:
    seqs, read_rows = await calls(
        filled, work.CLAIM, None, 60_000, "token", ["acme"], ["r"], [action], [100], *NO_RATES
    )
    assert len(seqs) == 100
    assert {name for name in read_rows if name.startswith("all of")} == set()
    assert sum(read_rows.values()) < 100 * 12
    ids = [row["id"] for row in await filled.fetch("SELECT id FROM deliveries WHERE token = 'token'")]
    count = len(ids)
    nothing = [None] * count
    done, read_rows = await calls(
        filled, work.FINISH, None, ids, ["token"] * count, ["succeeded"] * count, [0] * count, nothing, nothing,
        nothing, ["succeeded"] * count, [1] * count, [1] * count, nothing, [False] * count, nothing, nothing,
    )  # fmt: skip
    assert done == [True] * count + [action == "a2"]  # the last: whether others may have work now
    assert {name for name in read_rows if name.startswith("all of")} == set()
    assert sum(read_rows.values()) < 100 * 12


async def test_a_key_with_a_long_queue_is_not_read_to_its_end(filled: asyncpg.Connection[asyncpg.Record]) -> None:
    key = await filled.fetchval("SELECT order_key FROM deliveries WHERE held LIMIT 1")
    _, read_rows = await calls(filled, "SELECT pass_turn($1, '{}', '{}')::text", [key])
    assert sum(read_rows.values()) < 20


async def test_a_rate_costs_a_claim_a_few_rows(filled: asyncpg.Connection[asyncpg.Record]) -> None:
    shop = [1], ["shop"], [1000.0], [1000.0]
    seqs, _ = await calls(filled, work.CLAIM, 1, 60_000, "token", ["acme"], ["r"], ["a1"], [100], *shop)
    assert seqs == []  # nothing was due so long ago
    seqs, read_rows = await calls(filled, work.CLAIM, 300_000, 60_000, "token", ["acme"], ["r"], ["a1"], [100], *shop)
    assert len(seqs) == 100
    assert sum(read_rows.values()) < 100 * 14


async def test_intake_reads_nothing_of_what_is_stored_but_by_the_events_id(
    filled: asyncpg.Connection[asyncpg.Record],
) -> None:
    count = 50
    given, nothing = [f"evt_new_{i}" for i in range(count)], [None] * count
    ids = [f"dlv_new_{i}" for i in range(count)]
    news, read_rows = await calls(
        filled, work.ADD, None, ["acme"] * count, given, ["t"] * count, ["routed"] * count, nothing, nothing, nothing,
        nothing, nothing, ["webhook"] * count, nothing, nothing, [b"x"] * count,
        list(range(1, count + 1)), ids, ids, ["r"] * count, ["a1"] * count,
        ["[]"] * count, [False] * count, [f"new {i}" for i in range(count)], nothing, nothing, [], nothing,
    )  # fmt: skip
    assert news == [True] * count
    assert {name for name in read_rows if name.startswith("all of")} == set()
    assert sum(read_rows.values()) < count * 4


async def test_a_step_of_a_purge_reads_what_it_looks_at_and_removes(
    filled: asyncpg.Connection[asyncpg.Record],
) -> None:
    step, read_rows = await calls(filled, upkeep.PURGE, None, 0, 40, 0, None, 0)
    assert step == [40, 40, 40, 40]
    assert {name for name in read_rows if name.startswith("all of")} == set()
    assert sum(read_rows.values()) < 40 * 14


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


def asking(filled: asyncpg.Connection[asyncpg.Record]) -> tuple[PostgresStore, list[tuple[str, tuple[Any, ...]]]]:
    """A store whose console asks that connection, and what it has asked: statements and their arguments."""
    store = PostgresStore("postgresql://nowhere")
    asked: list[tuple[str, tuple[Any, ...]]] = []

    async def fetch(sql: str, *args: Any) -> list[Any]:
        asked.append((sql, args))
        return await filled.fetch(sql, *args)

    store._console.fetch = fetch  # type: ignore[method-assign]
    return store, asked


@pytest.mark.parametrize("where", PAGES, ids=str)
async def test_a_page_reads_little_more_than_it_shows(
    filled: asyncpg.Connection[asyncpg.Record], where: EventFilter | DeliveryFilter
) -> None:
    store, asked = asking(filled)
    if isinstance(where, EventFilter):
        await store.event_page(where, limit=50)
    else:
        await store.delivery_page(where, limit=50)
    ((sql, args),) = asked
    plan = json.loads(await filled.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", *args))[0]["Plan"]
    assert "Seq Scan" not in {node["Node Type"] for node in nodes(plan)}
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < MOST_PAGES


@pytest.mark.parametrize("where", [None, EventFilter(), DeliveryFilter()], ids=["overview", "events", "deliveries"])
async def test_bars_are_counted_without_sorting_rows_by_their_kind(
    filled: asyncpg.Connection[asyncpg.Record], where: EventFilter | DeliveryFilter | None
) -> None:
    store, asked = asking(filled)
    edges = [datetime.fromtimestamp(FINISHED * tenth / 10_000, UTC) for tenth in range(11)]
    counted = await (store.buckets(edges) if where is None else store.counts_by_time(edges, where))
    assert len(counted) == 10
    for sql, args in asked:
        plan = json.loads(await filled.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", *args))[0]["Plan"]
        sort_keys = [node["Sort Key"] for node in nodes(plan) if node["Node Type"] == "Sort"]
        assert max(map(len, sort_keys), default=0) <= 1  # the bar alone
        assert "Seq Scan" not in {node["Node Type"] for node in nodes(plan)}


def test_every_function_that_changes_rows_is_called_by_one_statement_of_its_own() -> None:
    """Locks are never held across a round trip: nothing in the schema's functions waits for a client."""
    text = schema_script("postgres/functions.sql")
    assert "FUNCTION claim_at_rates" in text
    assert "pg_advisory_lock(" not in text  # the kind that outlives its transaction
    assert "pg_notify" not in text  # commits that notify run one after another
