"""Tables as shops have them: db_upsert and columns, keys, views and rights of many kinds, and what it gives back."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from actions.db_upsert import DbUpsert, DbUpsertSettings
from gateway.plugin import Deferred, Reject
from gateway.testing import probe_action
from tests.contract.actions.running import opened
from tests.contract.actions.test_db_upsert import ON_MARIADB, ON_POSTGRESQL, connection_to, sql

KEY: dict[str, Any] = {"table": "t", "key": {"id": 1}}


@pytest.fixture
async def empty(database_url: str) -> str:
    """The URL of an empty database that is there."""
    if database_url.startswith("sqlite"):
        Path(database_url.removeprefix("sqlite:///")).parent.mkdir()
    return database_url


async def written(url: str, **given: Any) -> Any:
    async with opened(DbUpsert(), connection_to(url)) as run:
        return await run({**KEY, **given})


async def refused(url: str, **given: Any) -> str:
    with pytest.raises(Reject) as caught:
        await written(url, **given)
    return caught.value.message


async def told_by_doctor(url: str, **given: Any) -> Any:
    _, finding = await probe_action(DbUpsert(), {"connection": "it", **KEY, **given}, connection=connection_to(url))
    return finding


# -- what only a new row gets, and what is given back ---------------------------------------------------------


async def test_what_only_a_new_row_gets_is_left_alone_later(empty: str) -> None:
    await sql(empty, "CREATE TABLE t (id int PRIMARY KEY, n int, state VARCHAR(9))")
    first = await written(empty, values={"n": 1}, insert_only={"state": "new"}, returning=["state", "n"])
    assert first == {"rows": 1, "changed": 1, "returned": {"state": "new", "n": 1}}
    await sql(empty, "UPDATE t SET state = 'sent'")
    second = await written(empty, values={"n": 2}, insert_only={"state": "new"}, returning=["state", "n"])
    assert second == {"rows": 1, "changed": 1, "returned": {"state": "sent", "n": 2}}


async def test_a_row_that_is_kept_or_newer_is_given_back_as_it_is(empty: str) -> None:
    await sql(empty, "CREATE TABLE t (id int PRIMARY KEY, n int)")
    await sql(empty, "INSERT INTO t VALUES (1, 5)")
    kept = await written(empty, values={"n": 9}, on_conflict="ignore", returning=["n"])
    assert kept == {"rows": 1, "changed": 0, "returned": {"n": 5}}
    older = await written(empty, newest={"column": "n", "value": 4}, returning=["n"])
    assert older == {"rows": 1, "changed": 0, "returned": {"n": 5}}


async def test_each_row_of_a_list_is_given_back_in_its_order(empty: str) -> None:
    await sql(empty, "CREATE TABLE t (id int PRIMARY KEY, n int)")
    key = Deferred(lambda names: {"id": names["item"]})
    async with opened(DbUpsert(), connection_to(empty)) as run:
        done = await run({"table": "t", "key": key, "for_each": [3, 1], "returning": ["id"]})
        none = await run({"table": "t", "key": key, "for_each": [], "returning": ["id"]})
    assert done["returned"] == [{"id": 3}, {"id": 1}]
    assert none == {"rows": 0, "changed": 0, "returned": []}


async def test_a_column_that_is_not_there_to_be_given_back_is_refused(empty: str) -> None:
    await sql(empty, "CREATE TABLE t (id int PRIMARY KEY)")
    assert await refused(empty, returning=["numer"]) == "table t has no column numer, which returning names"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"values": {"a": 1}, "insert_only": {"a": 1}}, "column a is in insert_only and in values"),
        ({"insert_only": {"id": 1}}, "column id is in key and in insert_only: leave it in key only"),
        ({"insert_only": {"a": 1}, "newest": {"column": "a", "value": 1}}, "column a is in insert_only and in newest"),
    ],
)
def test_a_column_named_twice_is_an_error_at_load(given: dict[str, Any], told: str) -> None:
    (found,) = DbUpsertSettings.check({"key": {"id": 1}, **given})
    assert found.startswith(told)


# -- columns --------------------------------------------------------------------------------------------------


@ON_MARIADB
async def test_binary_columns_of_mariadb_take_text_and_refuse_by_name(mariadb_url: str) -> None:
    await sql(mariadb_url, "CREATE TABLE t (id int PRIMARY KEY, a VARBINARY(9), b BINARY(3), c LONGBLOB)")
    assert (await written(mariadb_url, values={"a": "ü", "b": "abc", "c": "x"}))["changed"] == 1
    assert await sql(mariadb_url, "SELECT a, b, c FROM t") == [("ü".encode(), b"abc", b"x")]
    assert await refused(mariadb_url, values={"a": 5}) == "column 'a' is VARBINARY(9) and does not take an integer"


async def test_generated_columns_are_refused_by_name_and_told_by_doctor(empty: str) -> None:
    await sql(empty, "CREATE TABLE t (id int PRIMARY KEY, n int, twice int GENERATED ALWAYS AS (n * 2) STORED)")
    told = "column twice of t is filled in by the database itself"
    assert await refused(empty, values={"twice": 4}) == f"{told}: leave it out"
    finding = await told_by_doctor(empty, values={"n": 1, "twice": 4})
    assert (finding.verdict, finding.text, finding.fix) == ("bad", told, "leave twice out")
    done = await written(empty, values={"n": 4}, returning=["twice"])
    assert done["returned"] == {"twice": 8}


@ON_POSTGRESQL
async def test_identity_columns_are_told_and_given_back(postgresql_url: str) -> None:
    await sql(
        postgresql_url,
        "CREATE TABLE t (code text PRIMARY KEY, id int GENERATED ALWAYS AS IDENTITY, "
        "n int GENERATED BY DEFAULT AS IDENTITY)",
    )
    assert await refused(postgresql_url) == "column id of t is filled in by the database itself: leave it out"
    given = {"key": {"code": "a"}, "values": {"n": 7}, "returning": ["id", "n"]}
    assert (await written(postgresql_url, **given))["returned"] == {"id": 1, "n": 7}


@ON_POSTGRESQL
async def test_a_deferrable_key_is_told_as_one(postgresql_url: str) -> None:
    await sql(postgresql_url, "CREATE TABLE t (id int UNIQUE DEFERRABLE INITIALLY DEFERRED, n int)")
    told = "its constraint there is deferrable, which ON CONFLICT does not take: drop it"
    message = await refused(postgresql_url)
    assert told in message
    assert told in (await told_by_doctor(postgresql_url)).text
    await sql(postgresql_url, "ALTER TABLE t DROP CONSTRAINT t_id_key")
    await sql(postgresql_url, message.partition("to add one: ")[2])
    assert (await written(postgresql_url))["changed"] == 1


async def test_json_text_goes_into_a_json_column_as_what_it_says(empty: str) -> None:
    await sql(empty, "CREATE TABLE t (id int PRIMARY KEY, j JSON)")
    await written(empty, values={"j": '{"a": [1]}'})
    path = {"sqlite": "j -> '$.a'", "postgresql": "j -> 'a'"}.get(empty.partition("://")[0], "JSON_EXTRACT(j, '$.a')")
    [(found,)] = await sql(empty, f"SELECT {path} FROM t")
    assert str(found).replace(" ", "") == "[1]"


@ON_POSTGRESQL
async def test_arrays_take_lists_whose_items_fit(postgresql_url: str) -> None:
    await sql(postgresql_url, "CREATE TABLE t (id int PRIMARY KEY, words text[], grid int[][])")
    await written(postgresql_url, values={"words": [1, None, "x"], "grid": '[["1", 2], [3, 4]]'})
    assert await sql(postgresql_url, "SELECT words, grid FROM t") == [(["1", None, "x"], [[1, 2], [3, 4]])]
    for value in ("many", ["many"]):
        assert "column 'grid' is ARRAY and does not take" in await refused(postgresql_url, values={"grid": value})


@pytest.mark.parametrize(
    ("columns", "value", "told"),
    [
        ("mood mood", {"mood": "Jane Doe"}, "invalid input value for enum mood: ***"),
        ("ip inet, n int", {"ip": "Jane Doe"}, "the value for ip is not of the type that is asked for there"),
        ("n smallint", {"n": 123456}, "the value for n is not of the type that is asked for there"),
    ],
)
@ON_POSTGRESQL
async def test_a_value_that_does_not_fit_is_told_by_its_column(
    postgresql_url: str, columns: str, value: dict[str, Any], told: str
) -> None:
    await sql(postgresql_url, "CREATE TYPE mood AS ENUM ('ok')")
    await sql(postgresql_url, f"CREATE TABLE t (id int PRIMARY KEY, {columns})")
    assert await refused(postgresql_url, values=value) == f"t: the database refused the row: {told}"


@ON_MARIADB
async def test_mariadb_tells_the_index_and_the_column_and_never_the_value(mariadb_url: str) -> None:
    await sql(mariadb_url, "CREATE TABLE t (id int PRIMARY KEY, e VARCHAR(9) UNIQUE, m ENUM('ok'), s SMALLINT)")
    await sql(mariadb_url, "INSERT INTO t (id, e) VALUES (2, 'jane@a.b')")
    await sql(
        mariadb_url,
        "CREATE TRIGGER no BEFORE INSERT ON t FOR EACH ROW BEGIN IF NEW.id = 3 THEN SIGNAL SQLSTATE '45000' "
        "SET MESSAGE_TEXT = 'jane@a.b is blocked'; END IF; END",
    )
    given: dict[str, Any]
    for given in (
        {"values": {"e": "jane@a.b"}},
        {"values": {"m": "jane"}},
        {"key": {"id": 3}, "values": {"e": "jane@a.b"}},
        {"values": {"s": 123456}},
        {"values": {"e": "janejanejane"}},
    ):
        message = await refused(mariadb_url, **given)
        assert "jane" not in message
        assert "123456" not in message
        assert "INSERT" not in message
        assert message.startswith("t: ")


# -- SQLite's own ways ----------------------------------------------------------------------------------------


async def test_sqlite_takes_what_its_affinities_take(tmp_path: Path) -> None:
    file = sqlite3.connect(tmp_path / "a.db")
    file.execute("CREATE TABLE t (id int PRIMARY KEY, s STRING, u UUID, at TIMESTAMPTZ, d DECIMAL(20,0), p MONEY)")
    url = f"sqlite:///{tmp_path}/a.db"
    big = 2**53 + 1
    values = {"s": "tea", "u": "8a1ef04c", "at": "2024-01-02T03:04:05Z", "d": big, "p": "12.50"}
    assert (await written(url, values=values))["changed"] == 1
    assert file.execute("SELECT s, u, at, d, p FROM t").fetchall() == [
        ("tea", "8a1ef04c", "2024-01-02T03:04:05Z", big, 12.5)
    ]
    assert "column 'd' is DECIMAL(20, 0) and does not take an integer" in await refused(url, values={"d": 2**64})
    file.close()


async def test_sqlite_names_are_taken_in_any_case_and_others_are_told(empty: str) -> None:
    quote = "`" if empty.startswith("mysql") else '"'
    await sql(empty, f"CREATE TABLE {quote}T{quote} ({quote}Id{quote} int PRIMARY KEY, {quote}N{quote} int)")
    if empty.startswith("sqlite"):
        assert (await written(empty, values={"n": 1}, returning=["n"]))["returned"] == {"n": 1}
        assert (await told_by_doctor(empty, values={"n": 1})).verdict == "good"
    else:
        told = "there is no table t (did you mean T?)"
        assert (await refused(empty)).startswith(told)
        assert (await told_by_doctor(empty)).text == told


async def test_a_key_that_sqlite_takes_for_a_number_is_told_by_doctor(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "a.db") as file:
        file.execute("CREATE TABLE t (id STRING PRIMARY KEY)")
    file.close()
    finding = await told_by_doctor(f"sqlite:///{tmp_path}/a.db")
    assert (finding.verdict, finding.fix) == ("note", "make it TEXT")


# -- keys that differ a little --------------------------------------------------------------------------------


async def test_keys_that_differ_in_case_accents_or_a_blank_are_rows_of_their_own(empty: str) -> None:
    keys = ["ab-1", "AB-1", "äb-1", "ab-1 "]
    key = Deferred(lambda names: {"code": names["item"]})
    given = {"table": "made", "key": key, "for_each": keys, "ensure_table": True}
    assert (await written(empty, **given))["changed"] == 4
    assert await sql(empty, "SELECT count(*) FROM made") == [(4,)]


async def test_a_key_without_regard_to_case_is_told_by_doctor(empty: str) -> None:
    kind = {"sqlite": "TEXT COLLATE NOCASE", "postgresql": "citext"}.get(empty.partition("://")[0], "VARCHAR(20)")
    if empty.startswith("postgresql"):
        await sql(empty, "CREATE DOMAIN citext AS text")  # the extension is not in every build
    await sql(empty, f"CREATE TABLE t (id {kind} PRIMARY KEY)")
    finding = await told_by_doctor(empty, key={"id": "ab-1"})
    assert finding.verdict == "note"
    assert finding.text.startswith("key column id has the collation ")


# -- views and rights -----------------------------------------------------------------------------------------

_THROUGH = {
    "sqlite": (
        "CREATE TRIGGER i INSTEAD OF INSERT ON v BEGIN INSERT INTO base VALUES (NEW.id, NEW.n); END",
        "CREATE TRIGGER u INSTEAD OF UPDATE ON v BEGIN UPDATE base SET n = NEW.n WHERE id = NEW.id; END",
    ),
    "postgresql": (
        "CREATE FUNCTION put() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF TG_OP = 'INSERT' THEN INSERT INTO base "
        "VALUES (NEW.id, NEW.n); ELSE UPDATE base SET n = NEW.n WHERE id = NEW.id; END IF; RETURN NEW; END $$",
        "CREATE TRIGGER iu INSTEAD OF INSERT OR UPDATE ON v FOR EACH ROW EXECUTE FUNCTION put()",
    ),
}


async def test_a_view_is_written_through_its_instead_of_triggers(sqlite_or_postgresql_url: str) -> None:
    url = sqlite_or_postgresql_url
    if url.startswith("sqlite"):
        Path(url.removeprefix("sqlite:///")).parent.mkdir()
    await sql(url, "CREATE TABLE base (id int PRIMARY KEY, n int)")
    await sql(url, "CREATE VIEW v AS SELECT id, n FROM base GROUP BY id, n")  # none that is updatable by itself
    assert await refused(url, table="v") == "the view v takes no rows: give it an INSTEAD OF INSERT trigger"
    assert (await told_by_doctor(url, table="v")).verdict == "bad"
    for trigger in _THROUGH[url.partition("://")[0]]:
        await sql(url, trigger)
    assert (await told_by_doctor(url, table="v", values={"n": 1})).verdict == "good"
    for n, changed in ((5, 1), (6, 1), (4, 0)):
        done = await written(url, table="v", newest={"column": "n", "value": n}, returning=["n"])
        assert (done["changed"], done["returned"]) == (changed, {"n": max(n, 5) if changed else 6})
    assert (await written(url, table="v", values={"n": 9}, on_conflict="ignore"))["changed"] == 0
    assert await sql(url, "SELECT id, n FROM base") == [(1, 6)]


@ON_POSTGRESQL
async def test_missing_rights_and_row_level_security_are_told_by_doctor(postgresql_url: str) -> None:
    name = postgresql_url.partition("@/")[2].partition("?")[0]
    await sql(postgresql_url, f"CREATE ROLE r{name} LOGIN")
    await sql(postgresql_url, "CREATE TABLE t (id int PRIMARY KEY, n int)")
    await sql(postgresql_url, f"GRANT SELECT, INSERT ON t TO r{name}")
    url = postgresql_url.replace("postgres:@", f"r{name}@")
    finding = await told_by_doctor(url, values={"n": 1})
    assert (finding.verdict, finding.text) == ("bad", "table t would refuse the row: permission denied for table t")
    assert (await told_by_doctor(url, values={"n": 1}, on_conflict="ignore")).verdict == "good"
    await sql(postgresql_url, f"GRANT UPDATE ON t TO r{name}")
    assert (await told_by_doctor(url, values={"n": 1})).verdict == "good"
    await sql(postgresql_url, "ALTER TABLE t ENABLE ROW LEVEL SECURITY")
    finding = await told_by_doctor(url, values={"n": 1})
    assert finding.verdict == "note"
    assert finding.text.startswith("row-level security holds for table t")
