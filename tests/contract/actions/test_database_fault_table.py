"""docs/actions.md says what becomes of each fault of a database: every row, on each kind of database that has it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa

from actions.db_execute import DbExecute
from actions.db_query import DbQuery
from actions.db_upsert import DbUpsert
from gateway.plugin import Action
from gateway.plugin.database import failure_of, open_engine
from gateway.testing import Trial
from tests.contract.actions.fault_table import fault_rows, happens
from tests.contract.actions.test_db_upsert import connection_to, sql

EVERY = ("sqlite", "postgresql", "mariadb")
SERVERS = ("postgresql", "mariadb")
UPSERT: dict[str, Any] = {"table": "t", "key": {"id": 1}, "values": {"n": 1}}
TABLES = (
    "CREATE TABLE parent (id int PRIMARY KEY)",
    "CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL, parent int REFERENCES parent (id), e VARCHAR(9) UNIQUE, "
    "FOREIGN KEY (parent) REFERENCES parent (id))",
)
ORPHAN = {"values": {"n": 1, "parent": 5}}
SLEEP = "SELECT pg_sleep(600)"
AS_IT_IS: dict[str, Any] = {"statement": "UPDATE t SET n = 5", "expect_rows": 1}
MANY = "WITH RECURSIVE c AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM c WHERE n < 1001) SELECT n FROM c"
AWAY = {"postgresql": "postgresql://a:b@127.0.0.1:9/shop", "mariadb": "mysql://a:b@127.0.0.1:9/shop"}


@dataclass(frozen=True)
class Case:
    """How a fault comes about: statements before, and the action that meets it."""

    fault: str
    given: dict[str, Any]
    action: type[Action[Any]] = DbUpsert
    kinds: tuple[str, ...] = EVERY
    before: tuple[str, ...] = ()
    attempts: int = 1
    timeout: str = "10s"
    url: dict[str, str] = field(default_factory=dict)  # another than that of a database that is there
    is_locked: bool = False


CASES = (
    Case("nobody listens there", UPSERT, kinds=SERVERS, url=AWAY),
    Case("it refuses the login", UPSERT, kinds=("mariadb",), url={"mariadb": "//nobody:wrong@"}),
    Case("no answer within `timeout`", {"statement": SLEEP}, DbQuery, ("postgresql",), timeout="200ms"),
    Case("the row or the file is locked by another", UPSERT, timeout="1s", is_locked=True),
    Case("a session was ended by the server", UPSERT, kinds=SERVERS),
    Case(
        "it is read-only for longer than the attempt may wait",
        UPSERT,
        kinds=("postgresql",),
        before=("ALTER DATABASE {name} SET default_transaction_read_only = on",),
        timeout="2s",
    ),
    Case("a foreign key leads to a row that is not there, in the first four attempts", UPSERT | ORPHAN, attempts=4),
    Case("a foreign key leads to a row that is not there, later", UPSERT | ORPHAN, attempts=5),
    Case("a value does not fit its column", UPSERT | {"values": {"n": "many"}}),
    Case("a column may not be null", UPSERT | {"values": {"n": None}}),
    Case(
        "another row has the same value in a unique column",
        UPSERT | {"values": {"n": 1, "e": "a"}},
        before=("INSERT INTO t (id, n, e) VALUES (2, 2, 'a')",),
    ),
    Case("there is no such table or column", UPSERT | {"table": "tt"}),
    Case("the key has no unique index", UPSERT | {"key": {"n": 1}, "values": {}}),
    Case(
        "the user may not write there",
        UPSERT,
        kinds=("postgresql",),
        before=("CREATE ROLE r{name} LOGIN", "GRANT SELECT ON t TO r{name}"),
        url={"postgresql": "//r{name}@"},
    ),
    Case(
        "row-level security refuses the row",
        UPSERT,
        kinds=("postgresql",),
        before=(
            "CREATE ROLE r{name} LOGIN",
            "GRANT ALL ON t TO r{name}",
            "ALTER TABLE t ENABLE ROW LEVEL SECURITY",
        ),
        url={"postgresql": "//r{name}@"},
    ),
    Case("an older row is refused by `newest`", UPSERT | {"values": {}, "newest": {"column": "n", "value": 1}},
         before=("INSERT INTO t (id, n) VALUES (1, 5)",)),
    Case("the statement affects another count than `expect_rows`",
         {"statement": "UPDATE t SET n = 1", "expect_rows": 1}, DbExecute),
    Case("the statement finds its row as it already is", AS_IT_IS, DbExecute,
         before=("INSERT INTO t (id, n) VALUES (1, 5)",)),
    Case("the statement is no SQL", {"statement": "UPDATE t SETT n = 1"}, DbExecute),
    Case("the query finds more than 1,000 rows", {"statement": MANY}, DbQuery),
    Case("the query finds another count than `expect_rows`",
         {"statement": "SELECT n FROM t", "expect_rows": 1}, DbQuery),
)  # fmt: skip
LOST = "a pooler gave the session to somebody else, with its prepared statements"


def parameters() -> Iterator[Any]:
    """Each case on each kind of database that has it."""
    for case in CASES:
        for kind in case.kinds:
            marks = () if kind == "sqlite" else (pytest.mark.xdist_group(kind),)
            yield pytest.param(kind, case, marks=marks, id=f"{case.fault}-{kind}")


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database of the kind that is asked for."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/shop.db"
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.mark.parametrize(("url", "case"), list(parameters()), indirect=["url"])
async def test_what_becomes_of_a_fault_is_what_the_page_says(
    url: str, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.plugin.database._SQLITE_BUSY_MS", 1)
    kind = {"mysql": "mariadb"}.get(scheme := url.partition("://")[0], scheme)
    name = url.partition("@localhost/" if kind == "mariadb" else "@/")[2].partition("?")[0]
    for statement in (*TABLES, *case.before):
        await sql(url, statement.format(name=name))
    other = case.url.get(kind, "").format(name=name)
    there = other if "://" in other else url.replace("//postgres:@", other).replace("//root@", other) if other else url
    holder = open_engine(url, ".", 1)
    async with (
        Trial(case.action(), case.given, connection=connection_to(there), timeout=case.timeout) as trial,
        holder.connect() as held,
    ):
        if "ended by the server" in case.fault:
            assert (await trial.attempt()).state == "succeeded"
            await end_others(url)
        if case.is_locked:
            await held.exec_driver_sql("INSERT INTO t (id, n) VALUES (1, 7)")
        results = [await trial.attempt() for _ in range(case.attempts)]
    await holder.dispose()
    assert happens(results[-1]) == fault_rows("database")[case.fault], results[-1]


async def end_others(url: str) -> None:
    """Ends every other session in that database."""
    if url.startswith("postgresql"):
        await sql(url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                       "WHERE datname = current_database() AND pid <> pg_backend_pid()")  # fmt: skip
        return
    others = "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()"
    for (number,) in await sql(url, others):
        await sql(url, f"KILL {number}")


@pytest.mark.parametrize("lost", [asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError])
def test_a_prepared_statement_that_a_pooler_lost_may_come_again(lost: type[asyncpg.PostgresError]) -> None:
    failure = failure_of(sa.exc.DBAPIError("SELECT 1", {}, lost("gone")), "postgresql://db/shop")
    assert failure is not None
    assert failure.may_pass
    assert fault_rows("database")[LOST] == "retried"


def test_every_row_of_the_page_is_held() -> None:
    assert set(fault_rows("database")) == {case.fault for case in CASES} | {LOST}
