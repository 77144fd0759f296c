"""db_query reads rows for later actions, on each kind of database, and changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from actions.db_query import DbQuery
from gateway.testing import Trial, TrialResult, make_event, probe_action, problems
from tests.contract.actions.test_db_upsert import ON_POSTGRESQL, connection_to, sql

FIND = "SELECT sku, held, price, note FROM stock WHERE sku = :sku"


@pytest.fixture
async def stock(database_url: str) -> str:
    """The URL of a database with a table."""
    if database_url.startswith("sqlite"):
        Path(database_url.removeprefix("sqlite:///")).parent.mkdir()
    await sql(
        database_url, "CREATE TABLE stock (sku VARCHAR(80) PRIMARY KEY, held BIGINT, price NUMERIC(9,2), note TEXT)"
    )
    await sql(database_url, "INSERT INTO stock VALUES ('tea', 5, 19.99, NULL), ('mug', 2, 8, 'blue')")
    return database_url


async def queried(url: str, statement: str, params: dict[str, Any] | None = None, **more: Any) -> TrialResult:
    given = {"statement": statement, "params": params or {}, **more}
    event = make_event(object={"id": "tea"})
    async with Trial(DbQuery(), given, connection=connection_to(url), event=event) as trial:
        return await trial.attempt()


async def test_rows_are_what_later_actions_see(stock: str) -> None:
    ended = await queried(stock, FIND, {"sku": "{{ object.id }}"})
    assert ended.error is None
    assert ended.output == {"rows": [{"sku": "tea", "held": 5, "price": 19.99, "note": None}], "count": 1}
    assert (await queried(stock, FIND, {"sku": "' OR ''='"})).output == {"rows": [], "count": 0}


async def test_another_count_than_expected_is_dead(stock: str) -> None:
    ended = await queried(stock, FIND, {"sku": "none"}, expect_rows=1)
    assert (ended.state, ended.error) == ("dead", "the query found 0 rows, not 1")


async def test_more_than_a_thousand_rows_are_dead(stock: str) -> None:
    digits = "(SELECT 0 AS n UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4)"
    many = f"SELECT a.n FROM {digits} a, {digits} b, {digits} c, {digits} d, {digits} e"  # 3,125
    ended = await queried(stock, many)
    told = "the query finds more than 1,000 rows: add a LIMIT, or narrow it"
    assert (ended.state, ended.error) == ("dead", told)
    assert (await queried(stock, f"{many} LIMIT 1000")).output["count"] == 1000


async def test_rows_too_large_to_be_kept_and_columns_called_alike_are_dead(stock: str) -> None:
    await sql(stock, f"UPDATE stock SET note = '{'x' * 40_000}'")
    ended = await queried(stock, "SELECT note FROM stock")
    assert ended.state == "dead"
    assert str(ended.error).startswith("what was read takes 80,")
    twice = await queried(stock, "SELECT sku, note AS sku FROM stock")
    assert twice.error == "the query gives two columns called sku: call one otherwise, by AS"


@ON_POSTGRESQL
async def test_a_query_that_writes_changes_nothing_and_is_dead(postgresql_url: str) -> None:
    await sql(postgresql_url, "CREATE TABLE t (id int)")
    ended = await queried(postgresql_url, "WITH made AS (INSERT INTO t VALUES (1) RETURNING id) SELECT id FROM made")
    assert (ended.state, ended.is_connection_failure) == ("dead", False)
    assert "read-only transaction" in str(ended.error)
    assert await sql(postgresql_url, "SELECT * FROM t") == []


async def test_a_query_that_calls_what_writes_is_refused_by_the_transaction(stock: str) -> None:
    """Whatever the text says: what holds is the transaction, or the session of SQLite."""
    from actions.db_query import DbQuerySettings

    class Unread(DbQuerySettings):
        reading = False

    class Writes(DbQuery):
        Settings = Unread  # the text is not looked at

    given = {"statement": "DELETE FROM stock"}
    async with Trial(Writes(), given, connection=connection_to(stock)) as trial:
        ended = await trial.attempt()
    assert ended.state == "dead", ended
    assert await sql(stock, "SELECT count(*) FROM stock") == [(2,)]


async def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    ended = await queried(f"sqlite:///{tmp_path}/a.db", "SELECT 1")
    assert (ended.state, ended.error) == ("dead", "there is no file a.db yet: nothing was written to that database")
    assert list(tmp_path.iterdir()) == []


@ON_POSTGRESQL
async def test_values_of_postgresql_are_told_as_json(postgresql_url: str) -> None:
    statement = """
        SELECT 'a'::bytea AS b, '\\xff'::bytea AS raw, '{"a": [1]}'::jsonb AS j, ARRAY['x', NULL] AS many,
        TIMESTAMPTZ '2024-01-02 03:04:05Z' AS at, DATE '2024-01-02' AS day, 1e30::numeric + 0.1 AS long,
        'NaN'::float AS nothing, '8a1ef04c-7d6a-4d0c-9a39-1f5b8ce5e9d2'::uuid AS id, 2.50 AS price
    """.replace("\\", "\\")
    (row,) = (await queried(postgresql_url, statement)).output["rows"]
    assert row == {
        "b": "a", "raw": "/w==", "j": {"a": [1]}, "many": ["x", None], "at": "2024-01-02T03:04:05+00:00",
        "day": "2024-01-02", "long": "1000000000000000000000000000000.1", "nothing": "nan",
        "id": "8a1ef04c-7d6a-4d0c-9a39-1f5b8ce5e9d2", "price": 2.5,
    }  # fmt: skip


def test_what_does_more_than_read_is_told_at_check() -> None:
    found = problems(DbQuery(), {"statement": "DELETE FROM t"}, connection=connection_to("sqlite:///shop.db"))
    told = "statement begins with DELETE: here it may only read, as SELECT does; db_execute takes others"
    assert found == [f"routes.trial.actions.db_query.with: {told}"]


async def test_the_probe_compiles_the_query(stock: str) -> None:
    uses: list[dict[str, Any]] = [
        {"statement": FIND, "params": {"sku": "{{ object.id }}"}},
        {"statement": "SELECT held FROM stocks"},
    ]
    _, good, bad = await probe_action(DbQuery(), *uses, connection=connection_to(stock))
    assert (good.verdict, bad.verdict) == ("good", "bad")
