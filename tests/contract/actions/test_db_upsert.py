"""db_upsert keeps its promises on each kind of database."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from actions.db_upsert import DbUpsert, DbUpsertSettings
from gateway.plugin import DatabaseConnection, Deferred, Reject, Retry, without_credentials
from gateway.plugin.database import open_engine
from tests.contract.actions.running import Run, opened

ON_POSTGRESQL = pytest.mark.xdist_group("postgresql")  # one worker, so one server
ON_MARIADB = pytest.mark.xdist_group("mariadb")
MOMENT = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
FULL = {"amount": 5, "rate": 1.5, "paid": True, "tags": {"a": [1]}, "email": "a@example.com", "at": MOMENT}


def connection_to(url: str) -> DatabaseConnection:
    return DatabaseConnection.model_validate({"type": "database", "url": url})


@pytest.fixture
async def run(database_url: str, tmp_path: Path) -> AsyncIterator[Run]:
    async with opened(DbUpsert(), connection_to(database_url), str(tmp_path)) as runner:
        yield runner


@pytest.fixture
async def orders(run: Run) -> dict[str, Any]:
    """A table with one row, and the `with` that made it."""
    given = {"table": "orders", "key": {"id": "cs_1"}, "values": FULL, "ensure_table": True}
    assert await run(given) == {"rows": 1, "changed": 1}
    return {"table": "orders", "key": {"id": "cs_1"}}


async def sql(url: str, text: str) -> list[tuple[Any, ...]]:
    """What a statement finds in the database at that URL."""
    engine = open_engine(url, ".", 1)
    try:
        async with engine.begin() as connection:
            result = await connection.exec_driver_sql(text)
            return [tuple(row) for row in result] if result.returns_rows else []
    finally:
        await engine.dispose()


def moment_of(found: Any) -> datetime:
    """The moment that a database gave back, as text or without its zone."""
    moment = datetime.fromisoformat(found) if isinstance(found, str) else found
    assert isinstance(moment, datetime)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


async def test_second_run_updates_the_same_row(run: Run, orders: dict[str, Any], database_url: str) -> None:
    assert (await run({**orders, "values": {"amount": 6}}))["changed"] == 1
    rows = await sql(database_url, "SELECT id, amount, email FROM orders")
    assert rows == [("cs_1", 6, "a@example.com")]


async def test_same_values_again_make_no_second_row(run: Run, orders: dict[str, Any], database_url: str) -> None:
    assert (await run({**orders, "values": FULL}))["rows"] == 1
    assert await sql(database_url, "SELECT count(*) FROM orders") == [(1,)]


async def test_objects_and_lists_go_in_as_json(run: Run, orders: dict[str, Any], database_url: str) -> None:
    await run({**orders, "values": {"tags": [{"ü": 1}]}})
    [(found,)] = await sql(database_url, "SELECT tags FROM orders")
    assert (json.loads(found) if isinstance(found, str) else found) == [{"ü": 1}]


async def test_null_is_written_as_null(run: Run, orders: dict[str, Any], database_url: str) -> None:
    await run({**orders, "values": {"tags": None, "at": None, "email": None}})
    where = "tags IS NULL AND at IS NULL AND email IS NULL"
    assert await sql(database_url, f"SELECT count(*) FROM orders WHERE {where}") == [(1,)]


async def test_aware_time_keeps_its_moment(run: Run, orders: dict[str, Any], database_url: str) -> None:
    [(found,)] = await sql(database_url, "SELECT at FROM orders")
    assert moment_of(found) == MOMENT


async def test_older_row_does_not_overwrite_a_newer_one(run: Run, orders: dict[str, Any], database_url: str) -> None:
    assert (await run({**orders, "values": {"email": "x"}, "newest": {"column": "amount", "value": 9}}))["changed"] == 1
    assert (await run({**orders, "values": {"email": "y"}, "newest": {"column": "amount", "value": 8}}))["changed"] == 0
    assert (await run({**orders, "values": {"email": "z"}, "newest": {"column": "amount", "value": 9}}))["changed"] == 1
    assert await sql(database_url, "SELECT email, amount FROM orders") == [("z", 9)]


async def test_newest_overwrites_a_null(run: Run, orders: dict[str, Any], database_url: str) -> None:
    await run({**orders, "values": {"amount": None}})
    assert (await run({**orders, "newest": {"column": "amount", "value": 1}}))["changed"] == 1


async def test_on_conflict_ignore_keeps_the_row(run: Run, orders: dict[str, Any], database_url: str) -> None:
    assert (await run({**orders, "values": {"amount": 99}, "on_conflict": "ignore"}))["changed"] == 0
    assert await sql(database_url, "SELECT amount FROM orders") == [(5,)]


async def test_number_goes_into_a_text_column_and_text_into_a_number_column(
    run: Run, orders: dict[str, Any], database_url: str
) -> None:
    await run({**orders, "values": {"email": 17, "amount": "42", "rate": "2.5"}})
    rows = await sql(database_url, "SELECT email, amount, rate FROM orders")
    assert rows == [("17", 42, 2.5)]


@pytest.mark.parametrize(
    ("column", "value", "complaint"),
    [
        ("rate", "many", "does not take this text"),
        ("rate", "NaN", "does not take this text"),
        ("rate", [1], "does not take a list; give one of its fields, or make the column JSON or text"),
        ("amount", "1_000", "does not take this text"),
        ("amount", 1.5, "does not take a number"),
        ("amount", MOMENT, "does not take a time; give the Unix time itself, without `| timestamp`"),
        ("at", "yesterday", "does not take this text"),
        ("at", 1700000000, "does not take an integer; a Unix time becomes a time with `| timestamp`"),
        ("day", "yesterday", "does not take this text"),
    ],
)
async def test_value_that_does_not_fit_its_column_is_rejected(
    run: Run, orders: dict[str, Any], database_url: str, column: str, value: Any, complaint: str
) -> None:
    await sql(database_url, "ALTER TABLE orders ADD COLUMN day DATE")
    with pytest.raises(Reject) as caught:
        await run({**orders, "values": {column: value}})
    assert re.fullmatch(rf"column '{column}' is [A-Z]\S*.* and {re.escape(complaint)}", caught.value.message)


async def test_text_goes_into_date_and_decimal_columns(run: Run, orders: dict[str, Any], database_url: str) -> None:
    await sql(database_url, "ALTER TABLE orders ADD COLUMN day DATE")
    await sql(database_url, "ALTER TABLE orders ADD COLUMN price DECIMAL(10, 2)")
    values = {"at": "2024-01-02T04:04:05+01:00", "day": "2024-01-02", "price": "12.50"}
    assert (await run({**orders, "values": values}))["changed"] <= 1
    [(at, day, price)] = await sql(database_url, "SELECT at, day, price FROM orders")
    assert (moment_of(at), str(day), float(price)) == (MOMENT, "2024-01-02", 12.5)


async def test_missing_table_is_rejected_and_says_what_to_do(run: Run) -> None:
    with pytest.raises(Reject, match="there is no table nowhere; create it, or say ensure_table: true"):
        await run({"table": "nowhere", "key": {"id": 1}})


async def test_missing_column_is_rejected_with_the_sql_that_adds_it(
    run: Run, orders: dict[str, Any], database_url: str
) -> None:
    with pytest.raises(Reject, match=r"has no column emial \(did you mean email\?\)") as caught:
        await run({**orders, "values": {"emial": "a"}})
    await sql(database_url, caught.value.message.partition("to add it: ")[2])
    assert (await run({**orders, "values": {"emial": "a"}}))["changed"] == 1


async def test_key_without_unique_index_is_rejected_with_the_sql_that_adds_it(
    run: Run, orders: dict[str, Any], database_url: str
) -> None:
    other = {"table": "orders", "key": {"amount": 5}, "values": {"id": "cs_1", "email": "k"}}
    with pytest.raises(Reject) as caught:  # though the table is known already, by its other key
        await run(other)
    assert re.fullmatch(
        r"table orders has no primary key or unique index on exactly \(amount\), so a second run could not find "
        r"its row; to add one: CREATE UNIQUE INDEX .orders_amount_key. ON .?orders.? \(.amount.\)",
        caught.value.message,
    )
    await sql(database_url, caught.value.message.partition("to add one: ")[2])
    assert (await run(other))["rows"] == 1


async def test_altered_table_is_read_again(run: Run, orders: dict[str, Any], database_url: str) -> None:
    await sql(database_url, "DROP TABLE orders")
    with pytest.raises(Reject, match="there is no table orders"):
        await run({**orders, "values": {"amount": 1}})
    await sql(database_url, "CREATE TABLE orders (id VARCHAR(255) PRIMARY KEY, amount VARCHAR(10))")
    assert (await run({**orders, "values": {"amount": 1}}))["changed"] == 1
    await sql(database_url, "DROP TABLE orders")
    await sql(database_url, "CREATE TABLE orders (id VARCHAR(255) PRIMARY KEY, amount BIGINT)")
    assert (await run({**orders, "values": {"amount": 1}}))["changed"] == 1
    assert await sql(database_url, "SELECT id, amount FROM orders") == [("cs_1", 1)]


async def test_row_of_another_key_with_the_same_unique_values_is_left_alone(
    run: Run, orders: dict[str, Any], database_url: str
) -> None:
    await sql(database_url, "CREATE UNIQUE INDEX by_amount ON orders (amount)")
    for more in ({}, {"on_conflict": "ignore"}):
        with pytest.raises(Reject, match=r"(?i)unique"):
            await run({"table": "orders", "key": {"id": "cs_2"}, "values": {"amount": 5, "email": "x"}, **more})
    assert await sql(database_url, "SELECT id, email FROM orders") == [("cs_1", "a@example.com")]
    await run({"table": "orders", "key": {"id": "cs_2"}, "values": {"amount": 6, "email": "b"}})
    with pytest.raises(Reject, match=r"(?i)unique|duplicate"):  # both rows are there
        await run({"table": "orders", "key": {"amount": 6}, "values": {"id": "cs_1", "email": "x"}})
    rows = await sql(database_url, "SELECT id, amount, email FROM orders ORDER BY id")
    assert rows == [("cs_1", 5, "a@example.com"), ("cs_2", 6, "b")]


async def test_on_conflict_ignore_does_not_hide_a_faulty_row(run: Run, database_url: str) -> None:
    await sql(database_url, "CREATE TABLE few (id INTEGER PRIMARY KEY, n INTEGER NOT NULL)")
    given = {"table": "few", "key": {"id": 1}, "on_conflict": "ignore"}
    with pytest.raises(Reject, match="few: the database refused the row"):
        await run({**given, "values": {"n": None}})
    assert await sql(database_url, "SELECT * FROM few") == []


async def test_errors_do_not_show_the_row(run: Run, database_url: str) -> None:
    await sql(database_url, "CREATE TABLE few (id INTEGER PRIMARY KEY, n INTEGER NOT NULL, email VARCHAR(99))")
    with pytest.raises(Reject) as caught:
        await run({"table": "few", "key": {"id": 1}, "values": {"n": None, "email": "jane@example.com"}})
    assert "jane" not in caught.value.message
    assert "\n" not in caught.value.message


async def test_null_key_is_rejected(run: Run, orders: dict[str, Any]) -> None:
    with pytest.raises(Reject, match=r"key\.id is null: it would match no row"):
        await run({"table": "orders", "key": {"id": None}})


async def test_for_each_writes_one_row_per_item(run: Run, orders: dict[str, Any], database_url: str) -> None:
    items = [{"id": f"li_{n}", "amount": n} for n in range(3)]
    given = {
        "table": "orders",
        "key": Deferred(lambda names: {"id": names["item"]["id"]}),
        "values": Deferred(lambda names: {"amount": names["item"]["amount"]}),
    }
    assert await run({**given, "for_each": items}) == {"rows": 3, "changed": 3}
    assert await run({**given, "for_each": []}) == {"rows": 0, "changed": 0}
    assert await sql(database_url, "SELECT count(*) FROM orders") == [(4,)]


async def test_for_each_null_is_rejected(run: Run, orders: dict[str, Any]) -> None:
    with pytest.raises(Reject, match="for_each is null"):
        await run({**orders, "for_each": None})


async def test_one_bad_row_keeps_all_rows_out(run: Run, database_url: str) -> None:
    await sql(database_url, "CREATE TABLE few (id INTEGER PRIMARY KEY, n INTEGER NOT NULL)")
    given = {
        "table": "few",
        "key": Deferred(lambda names: {"id": names["item"]}),
        "values": Deferred(lambda names: {"n": None if names["item"] == 2 else 1}),
    }
    with pytest.raises(Reject, match="the database refused the row"):
        await run({**given, "for_each": [1, 2]})
    assert await sql(database_url, "SELECT * FROM few") == []


async def test_names_are_quoted(run: Run, database_url: str) -> None:
    given = {"table": "select", "key": {"Order": 1}, "values": {"group by": "x", 'we"ird': "y"}, "ensure_table": True}
    await run(given)
    assert (await run({**given, "values": {"group by": "z"}}))["changed"] == 1


async def test_racing_creators_both_succeed(database_url: str, tmp_path: Path) -> None:
    given = {"table": "raced", "values": {"n": 1}, "ensure_table": True}
    connection = connection_to(database_url)
    async with (
        opened(DbUpsert(), connection, str(tmp_path)) as one,
        opened(DbUpsert(), connection, str(tmp_path)) as two,
    ):
        done = await asyncio.gather(*(run({**given, "key": {"id": n}}) for n, run in enumerate([one, two] * 4)))
    assert all(output == {"rows": 1, "changed": 1} for output in done)


async def test_many_at_once_lose_no_row(run: Run, orders: dict[str, Any], database_url: str) -> None:
    await asyncio.gather(
        *(run({"table": "orders", "key": {"id": f"o{n}"}, "values": {"amount": n}}) for n in range(40))
    )
    assert await sql(database_url, "SELECT count(*) FROM orders") == [(41,)]


# -- SQLite ---------------------------------------------------------------------------------------------------


async def test_relative_sqlite_file_lies_in_the_base_folder(tmp_path: Path) -> None:
    async with opened(DbUpsert(), connection_to("sqlite:///new/shop.db"), str(tmp_path)) as run:
        await run({"table": "t", "key": {"id": 1}, "ensure_table": True})
    assert (tmp_path / "new" / "shop.db").is_file()


async def test_locked_sqlite_file_is_retried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.plugin.database._SQLITE_BUSY_MS", 1)
    async with opened(DbUpsert(), connection_to("sqlite:///shop.db"), str(tmp_path)) as run:
        await run({"table": "t", "key": {"id": 1}, "ensure_table": True})
        holder = sqlite3.connect(tmp_path / "shop.db", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(Retry, match="t could not be written now: database is locked"):
            await run({"table": "t", "key": {"id": 2}})
        holder.execute("ROLLBACK")
        holder.close()
        assert (await run({"table": "t", "key": {"id": 2}}))["changed"] == 1


# -- PostgreSQL -----------------------------------------------------------------------------------------------


@ON_POSTGRESQL
async def test_postgres_takes_libpq_parameters_in_the_url(postgresql_url: str) -> None:
    options = "application_name=shop&sslmode=disable&connect_timeout=3&channel_binding=prefer"
    url = f"{postgresql_url}&{options}&options=-c%20search_path=public"
    async with opened(DbUpsert(), connection_to(url)) as run:
        await run({"table": "t", "key": {"id": 1}, "ensure_table": True})
    async with opened(DbUpsert(), connection_to(postgresql_url)) as run:
        assert (await run({"table": "public.t", "key": {"id": 2}}))["changed"] == 1


@ON_POSTGRESQL
async def test_postgres_columns_of_every_kind_take_what_templates_bring(postgresql_url: str) -> None:
    await sql(postgresql_url, "CREATE TYPE mood AS ENUM ('ok', 'bad')")
    await sql(
        postgresql_url,
        "CREATE TABLE kinds (id uuid PRIMARY KEY, n numeric(10,2), s smallint, naive timestamp, d date, m mood, "
        "j jsonb, a text[], ip inet, b bytea, v varchar(10))",
    )
    values = {
        "n": "12.50", "s": 3, "naive": MOMENT, "d": "2024-01-02", "m": "ok", "j": [1], "a": ["x"], "ip": "10.0.0.1",
        "b": "raw", "v": True,
    }  # fmt: skip
    given = {"table": "kinds", "key": {"id": "8a1ef04c-7d6a-4d0c-9a39-1f5b8ce5e9d2"}}
    async with opened(DbUpsert(), connection_to(postgresql_url)) as run:
        assert (await run({**given, "values": values}))["changed"] == 1
        with pytest.raises(Reject, match="the database refused the row"):
            await run({**given, "values": {"m": "unknown"}})
        with pytest.raises(Reject, match="the database refused the row"):
            await run({**given, "values": {"v": "longer than ten"}})
        with pytest.raises(Reject, match="the database refused the row"):
            await run({**given, "values": {"s": 10**30}})
    rows = await sql(postgresql_url, "SELECT naive, v FROM kinds")
    assert rows == [(MOMENT.replace(tzinfo=None), "true")]


@ON_POSTGRESQL
async def test_killed_connection_is_retried_or_healed(postgresql_url: str) -> None:
    async with opened(DbUpsert(), connection_to(postgresql_url)) as run:
        await run({"table": "t", "key": {"id": 1}, "ensure_table": True})
        await sql(
            postgresql_url,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        assert (await run({"table": "t", "key": {"id": 2}}))["changed"] == 1


@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index")
@pytest.mark.parametrize("columns", ["(id) WHERE NOT gone", "(abs(id))"])
async def test_index_that_does_not_hold_for_every_row_is_no_unique_key(
    sqlite_or_postgresql_url: str, columns: str
) -> None:
    await sql(sqlite_or_postgresql_url, "CREATE TABLE p (id integer, gone boolean)")
    await sql(sqlite_or_postgresql_url, f"CREATE UNIQUE INDEX p_live ON p {columns}")
    async with opened(DbUpsert(), connection_to(sqlite_or_postgresql_url)) as run:
        with pytest.raises(Reject, match="no primary key or unique index"):
            await run({"table": "p", "key": {"id": 1}})


# -- MariaDB --------------------------------------------------------------------------------------------------


@ON_MARIADB
async def test_index_on_the_begin_of_a_text_is_no_unique_key(mariadb_url: str) -> None:
    await sql(mariadb_url, "CREATE TABLE p (id varchar(99), UNIQUE KEY (id(3)))")
    async with opened(DbUpsert(), connection_to(mariadb_url)) as run:
        with pytest.raises(Reject, match="no primary key or unique index"):
            await run({"table": "p", "key": {"id": "abcd"}})


@ON_MARIADB
async def test_text_too_long_is_refused_even_where_the_server_would_cut_it(mariadb_url: str) -> None:
    await sql(mariadb_url, "CREATE TABLE t (id integer PRIMARY KEY, v varchar(3))")
    await sql(mariadb_url, "SET GLOBAL sql_mode = ''")
    try:
        async with opened(DbUpsert(), connection_to(mariadb_url)) as run:
            with pytest.raises(Reject, match=r"Data too long for column 'v' .*\(error 1406\)"):
                await run({"table": "t", "key": {"id": 1}, "values": {"v": "longer"}})
    finally:
        await sql(mariadb_url, "SET GLOBAL sql_mode = DEFAULT")
    assert await sql(mariadb_url, "SELECT * FROM t") == []


@ON_MARIADB
async def test_unchanged_row_counts_as_not_changed(mariadb_url: str) -> None:
    given = {"table": "t", "key": {"id": 1}, "values": {"v": "ü😀"}, "ensure_table": True}
    async with opened(DbUpsert(), connection_to(mariadb_url.replace("mysql:", "mariadb:"))) as run:
        assert await run(given) == {"rows": 1, "changed": 1}
        assert await run(given) == {"rows": 1, "changed": 0}
    assert await sql(mariadb_url, "SELECT v FROM t") == [("ü😀",)]


# -- settings and failures ------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
async def test_unreachable_server_is_retried_and_the_password_stays_secret(scheme: str) -> None:
    async with opened(DbUpsert(), connection_to(f"{scheme}://ann:s3cr3t%21@127.0.0.1:1/shop")) as run:
        with pytest.raises(Retry, match="t could not be written now: ") as caught:
            await run({"table": "t", "key": {"id": 1}})
    assert "s3cr3t" not in caught.value.message


def test_gateway_check_does_not_import_sqlalchemy() -> None:
    code = "import actions.db_upsert, sys; sys.exit('sqlalchemy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_password_is_cut_out_in_both_its_forms() -> None:
    url = "postgresql://ann:s3cr3t%21@db/shop"
    assert without_credentials(f"{url} s3cr3t! s3cr3t%21", url) == "*** *** ***"

    assert without_credentials("s3cr3t", "postgresql://db/shop?password=s3cr3t") == "***"


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"key": {}}, "key names no column: give at least one"),
        ({"key": {"a": 1}, "values": {"a": 1}}, "column a is in key and in values: leave it in key only"),
        (
            {"key": {"a": 1}, "newest": {"column": "a", "value": 1}},
            "newest.column a is in key: a key never changes, so no row could be newer",
        ),
    ],
)
def test_with_that_cannot_work_is_an_error_at_load(given: dict[str, Any], complaint: str) -> None:
    assert list(DbUpsertSettings.check(given)) == [complaint]


@pytest.mark.parametrize("url", ["sqlite:///:memory:", "sqlite://", "sqlite:///", "sqlite:///a.db?mode=memory"])
def test_sqlite_url_without_a_file_is_an_error_at_load(url: str) -> None:
    with pytest.raises(ValidationError, match=r"names no file|expected a URL"):
        connection_to(url)
