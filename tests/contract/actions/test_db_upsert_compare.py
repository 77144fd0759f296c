"""db_upsert.compare, on each kind of database: what it wrote is no difference, whatever the column makes of it."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from actions.db_upsert import DbUpsert, DbUpsertSettings
from gateway.plugin import Comparison, Context, Reject, RowDifference
from tests.contract.actions.running import opened
from tests.contract.actions.test_db_upsert import connection_to, sql

TABLES = {
    "sqlite": "CREATE TABLE t (id TEXT PRIMARY KEY, price NUMERIC, ratio REAL, paid BOOLEAN, tags JSON,"
    " at DATETIME, code CHAR(8), note TEXT, day DATE, big BIGINT, said TEXT)",
    "postgresql": "CREATE TABLE t (id text PRIMARY KEY, price numeric(10,2), ratio real, paid boolean, tags jsonb,"
    " at timestamptz, code char(8), note text, day date, big bigint, said timestamp)",
    "mysql": "CREATE TABLE t (id varchar(40) PRIMARY KEY, price decimal(10,2), ratio float, paid tinyint(1), tags json,"
    " at datetime, code char(8), note text, day date, big bigint, said datetime(6))",
}
VALUES: dict[str, Any] = {
    "price": Decimal("12.345"), "ratio": 0.1, "paid": True, "tags": {"a": [1, 2.0], "b": None},
    "at": datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC), "code": "ab", "note": "x  ", "day": "2024-01-02", "big": "12",
    "said": datetime(2024, 1, 2, 3, 4, 5, 250000, tzinfo=UTC),
}  # fmt: skip
OTHERS = {
    "price": "99", "ratio": "0.2", "paid": "false", "tags": "'{\"a\": [1]}'", "at": "'2024-01-02 03:04:07'",
    "code": "'abc'", "note": "'x'", "day": "'2024-01-03'", "big": "13", "said": "'2024-01-02 03:04:05.260000'",
}  # fmt: skip


class Comparing(DbUpsert):
    """Compares when it is run."""

    async def run(self, settings: DbUpsertSettings, context: Context) -> dict[str, Any]:
        return {"comparison": await self.compare(settings, context)}


async def compared(url: str, folder: Path, given: dict[str, Any]) -> Comparison:
    async with opened(Comparing(), connection_to(url), str(folder)) as run:
        comparison = (await run(given))["comparison"]
        assert isinstance(comparison, Comparison)
        return comparison


@pytest.mark.parametrize("is_null", [False, True])
async def test_what_it_wrote_is_no_difference_and_each_column_that_is_changed_by_hand_is(
    database_url: str, tmp_path: Path, is_null: bool
) -> None:
    await sql(database_url, TABLES[next(kind for kind in TABLES if database_url.startswith(kind))])
    values = dict.fromkeys(VALUES) if is_null else VALUES
    given = {"table": "t", "key": {"id": "cs_1"}, "values": values}
    async with opened(DbUpsert(), connection_to(database_url), str(tmp_path)) as run:
        await run(given)
    assert await compared(database_url, tmp_path, given) == Comparison(1, [])
    for column, other in OTHERS.items():
        await sql(database_url, f"UPDATE t SET {column} = {other}")
    (difference,) = (await compared(database_url, tmp_path, given)).differences
    assert set(difference.wanted) == set(VALUES)
    assert difference.key == {"id": "cs_1"}


async def test_a_row_that_is_not_there_is_told_whole_and_nothing_is_written(database_url: str, tmp_path: Path) -> None:
    await sql(database_url, "CREATE TABLE o (id varchar(40) PRIMARY KEY, amount integer)")
    given = {"table": "o", "key": {"id": "cs_1"}, "values": {"amount": 5}}
    assert await compared(database_url, tmp_path, given) == Comparison(
        1, [RowDifference("o", {"id": "cs_1"}, {"id": "cs_1", "amount": 5}, None)]
    )
    assert await sql(database_url, "SELECT * FROM o") == []
    with pytest.raises(Reject, match="there is no table p"):
        await compared(database_url, tmp_path, {**given, "table": "p", "ensure_table": True})


async def test_what_only_a_new_row_gets_and_what_tells_newer_from_older_is_not_compared(
    database_url: str, tmp_path: Path
) -> None:
    await sql(
        database_url, "CREATE TABLE o (id varchar(40) PRIMARY KEY, amount integer, state varchar(9), made integer)"
    )
    await sql(database_url, "INSERT INTO o VALUES ('cs_1', 5, 'shipped', 99)")
    given = {"table": "o", "key": {"id": "cs_1"}, "values": {"amount": 5}, "insert_only": {"state": "new"},
             "newest": {"column": "made", "value": 1}}  # fmt: skip
    assert await compared(database_url, tmp_path, given) == Comparison(1, [])
    kept = {**given, "values": {"amount": 6}}
    assert len((await compared(database_url, tmp_path, kept)).differences) == 1
    assert await compared(database_url, tmp_path, {**kept, "on_conflict": "ignore"}) == Comparison(1, [])
