"""db_execute runs one statement with bound values, on each kind of database."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from actions.db_execute import DbExecute
from gateway.plugin import DatabaseConnection, Finding
from gateway.testing import Trial, make_event, probe_action, problems
from tests.contract.actions.test_db_upsert import connection_to, moment_of, sql

HOSTILE = "'; DROP TABLE stock; --"
INSERT = "INSERT INTO stock (sku, held) VALUES (:sku, :held)"


@pytest.fixture
async def stock(database_url: str) -> str:
    """The URL of a database with a table."""
    if database_url.startswith("sqlite"):
        Path(database_url.removeprefix("sqlite:///")).parent.mkdir()
    await sql(database_url, "CREATE TABLE stock (sku VARCHAR(80) PRIMARY KEY, held BIGINT, note TEXT)")
    await sql(database_url, "INSERT INTO stock VALUES ('tea', 5, NULL), ('mug', 2, NULL)")
    return database_url


def trial(url: str, statement: str, params: dict[str, Any] | None = None, **more: Any) -> Trial:
    given = {"statement": statement, "params": params or {}, **more}
    return Trial(DbExecute(), given, connection={"type": "database", "url": url})


async def test_a_statement_runs_with_its_values_and_tells_the_rows(stock: str) -> None:
    statement = "UPDATE stock SET held = held - :count WHERE sku <> :other"
    async with trial(stock, statement, {"count": "{{ 1 + 1 }}", "other": "{{ object.id }}"}, expect_rows=2) as one:
        ended = await one.attempt()
    assert (ended.state, ended.output, ended.error) == ("succeeded", {"rows": 2}, None)
    assert await sql(stock, "SELECT held FROM stock ORDER BY held") == [(0,), (3,)]


async def test_a_value_never_becomes_sql(stock: str) -> None:
    event = make_event(object={"id": HOSTILE})
    given = {"statement": INSERT, "params": {"sku": "{{ object.id }}", "held": 1}}
    async with Trial(DbExecute(), given, connection={"type": "database", "url": stock}, event=event) as one:
        assert (await one.attempt()).output == {"rows": 1}
    assert await sql(stock, "SELECT sku FROM stock WHERE held = 1") == [(HOSTILE,)]


async def test_a_statement_with_colons_percents_and_comments_means_what_is_written(stock: str) -> None:
    statement = "UPDATE stock /* :no */ SET note = '10:30 100% :x' WHERE sku = :sku -- ; :y\n;"
    async with trial(stock, statement, {"sku": "tea"}) as one:
        assert (await one.attempt()).output == {"rows": 1}
    assert await sql(stock, "SELECT note FROM stock WHERE sku = 'tea'") == [("10:30 100% :x",)]


async def test_values_of_every_kind_are_bound_alike(stock: str) -> None:
    await sql(stock, "CREATE TABLE seen (id INTEGER, at TIMESTAMP NULL, paid BOOLEAN, rate FLOAT, tags TEXT, no TEXT)")
    if stock.startswith("postgresql"):
        await sql(stock, "ALTER TABLE seen ALTER at TYPE TIMESTAMPTZ")
    values = {
        "id": 1, "at": "{{ 1704164645 | timestamp }}", "paid": True, "rate": 1.5, "no": None,
        "tags": "{{ object.metadata }}",
    }  # fmt: skip
    async with trial(stock, "INSERT INTO seen VALUES (:id, :at, :paid, :rate, :tags, :no)", values) as one:
        assert (await one.attempt()).error is None
    [(number, at, paid, rate, tags, no)] = await sql(stock, "SELECT id, at, paid, rate, tags, no FROM seen")
    assert (number, bool(paid), rate, json.loads(tags)["order_id"], no) == (1, True, 1.5, "6735", None)
    assert moment_of(at) == datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)


async def test_another_count_than_expected_is_rolled_back_and_dead(stock: str) -> None:
    async with trial(stock, "UPDATE stock SET held = 0 WHERE sku <> :x", {"x": ""}, expect_rows=1) as one:
        ended = await one.attempt()
    assert (ended.state, ended.error) == ("dead", "the statement affected 2 rows, not 1; it was rolled back")
    assert await sql(stock, "SELECT count(*) FROM stock WHERE held = 0") == [(0,)]


async def test_a_row_that_is_found_as_it_already_is_counts(stock: str) -> None:
    statement = "UPDATE stock SET held = :held WHERE sku = :sku"
    async with trial(stock, statement, {"held": 7, "sku": "tea"}, expect_rows=1) as one:
        assert [(await one.attempt()).output for _ in range(2)] == [{"rows": 1}] * 2  # as after a crash


async def test_what_the_database_refuses_is_dead_and_tells_no_value(stock: str) -> None:
    async with trial(stock, INSERT, {"sku": "tea", "held": 1}) as one:
        ended = await one.attempt()
    assert ended.state == "dead"
    assert ended.error is not None
    assert ended.error.startswith("the database refused the statement: ")
    assert "INSERT" not in ended.error
    assert ended.rendered == {
        "connection": "it", "statement": INSERT, "params": {"sku": "tea", "held": 1},
    }  # fmt: skip


async def test_a_dry_run_renders_and_runs_nothing(stock: str) -> None:
    async with trial(stock, INSERT, {"sku": "{{ object.currency }}", "held": 1}) as one:
        ended = await one.rehearse()
    assert (ended.state, ended.rendered["params"]) == ("skipped", {"sku": "eur", "held": 1})
    assert await sql(stock, "SELECT count(*) FROM stock") == [(2,)]


async def test_a_locked_file_is_retried_on_the_same_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.plugin.database._SQLITE_BUSY_MS", 1)
    holder = sqlite3.connect(tmp_path / "shop.db", isolation_level=None)
    holder.execute("CREATE TABLE stock (sku TEXT, held INTEGER)")
    async with trial(f"sqlite:///{tmp_path}/shop.db", INSERT, {"sku": "a", "held": 1}) as one:
        holder.execute("BEGIN IMMEDIATE")
        first = await one.attempt()
        holder.execute("ROLLBACK")
        second = await one.attempt()
    holder.close()
    assert (first.state, first.error) == ("pending", "the statement could not be run now: database is locked")
    assert (first.wait_seconds, first.is_connection_failure) == (5.0, True)
    assert (second.state, second.output) == ("succeeded", {"rows": 1})


@pytest.mark.xdist_group("postgresql")
async def test_a_statement_that_takes_too_long_is_retried(postgresql_url: str) -> None:
    given = {"statement": "SELECT pg_sleep(:seconds)", "params": {"seconds": 600}}
    connection = {"type": "database", "url": postgresql_url}
    async with Trial(DbExecute(), given, connection=connection, timeout="200ms") as one:
        ended = await one.attempt()
    told = "no end after 0.2 s (its timeout); whether it took effect is not known"
    assert (ended.state, ended.error) == ("pending", told)


async def test_a_password_is_in_no_error() -> None:
    async with trial("postgresql://me:topsecret@127.0.0.1:1/shop", "DELETE FROM stock") as one:
        ended = await one.attempt()
    assert ended.state == "pending"
    assert "topsecret" not in str(ended)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            {"statement": "DELETE FROM t WHERE id = {{ object.id }}"},
            "with.statement: statement is taken as it is written: no template may stand in it "
            '(bind the value instead: :name here, and name: "{{ ... }}" under params)',
        ),
        (
            {"statement": "{% if x %}DELETE FROM t{% endif %}"},
            "with.statement: statement is taken as it is written: no template may stand in it "
            '(bind the value instead: :name here, and name: "{{ ... }}" under params)',
        ),
        (
            {"statement": "DELETE FROM t; DELETE FROM u"},
            "with: statement holds more than one statement: give one, and needs for what comes after it",
        ),
        ({"statement": "-- nothing"}, "with: statement holds no statement"),
        ({"statement": "SELECT 'a"}, "with: statement has a ' that nothing closes"),
        ({"statement": "SELECT 1 /* a"}, "with: statement has a /* that nothing closes"),
        (
            {"statement": r"SELECT 'a\'' "},
            "with: statement has a backslash before a quote, which databases read differently: write '' for a quote",
        ),
        (
            {"statement": "commit"},
            "with: statement begins with COMMIT: it runs in a transaction of its own, which it may not end",
        ),
        (
            {"statement": "DELETE FROM t WHERE id = :id", "params": {"ID": 1}},
            "with: statement binds :id, and params has no id",
        ),
        ({"statement": "DELETE FROM t", "params": {"id": 1}}, "with: params has id, and statement has no :id"),
        ({"statement": "DELETE FROM t", "expect_rows": -1}, "with.expect_rows: expected at least 0, found -1"),
    ],
)
def test_what_cannot_run_is_told_at_check(given: dict[str, Any], told: str) -> None:
    found = problems(DbExecute(), given, connection=connection_to("sqlite:///shop.db"))
    assert f"routes.trial.actions.db_execute.{told}" in found


async def test_the_probe_compiles_each_statement_and_runs_none(stock: str) -> None:
    uses: list[dict[str, Any]] = [
        {"statement": "DELETE FROM stock WHERE sku = :sku AND note LIKE '100%'", "params": {"sku": "{{ object.id }}"}},
        {"statement": "DELETE FROM stocks"},
    ]
    answer, good, bad = await probe_action(DbExecute(), *uses, connection=connection_to(stock))
    assert answer.verdict == "good"
    assert good == Finding.good("the statement is taken", use="test.1")
    assert bad.verdict == "bad"
    assert bad.text.startswith("the statement is refused: ")
    assert "stocks" in bad.text
    assert (bad.fix, bad.use) == ("mend the statement, the table, or the rights", "test.2")
    assert await sql(stock, "SELECT count(*) FROM stock") == [(2,)]


async def test_the_probe_makes_no_file_and_tells_a_database_that_is_away(tmp_path: Path) -> None:
    (note,) = await probe_action(DbExecute(), connection=connection_to(f"sqlite:///{tmp_path}/a.db"))
    assert note == Finding.good("there is no file a.db yet; the first row makes it")  # nobody uses it yet
    assert not (tmp_path / "a.db").exists()
    away = DatabaseConnection.model_validate({"type": "database", "url": "postgresql://me:topsecret@127.0.0.1:1/shop"})
    (bad,) = await probe_action(DbExecute(), connection=away)
    assert bad.verdict == "bad"
    assert "topsecret" not in bad.text
