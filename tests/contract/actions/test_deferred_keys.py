"""A deferred foreign key is broken only when the transaction commits: it waits for its parent like any other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from actions.db_execute import DbExecute
from actions.db_upsert import DbUpsert
from gateway.plugin import Retry
from tests.contract.actions.running import opened
from tests.contract.actions.test_db_upsert import ON_POSTGRESQL, connection_to, sql

TABLES = (
    "CREATE TABLE parent (id int PRIMARY KEY)",
    "CREATE TABLE t (id int PRIMARY KEY, parent int REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED)",
)
UPSERT = (DbUpsert, {"table": "t", "key": {"id": 1}, "values": {"parent": 5}})
EXECUTE = (DbExecute, {"statement": "INSERT INTO t (id, parent) VALUES (1, 5)"})


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=ON_POSTGRESQL)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/shop.db"
    return str(request.getfixturevalue("postgresql_url"))


@pytest.mark.parametrize("use", [UPSERT, EXECUTE], ids=["db_upsert", "db_execute"])
async def test_a_row_that_comes_before_its_parent_waits_for_it_though_only_the_commit_tells(url: str, use: Any) -> None:
    action, settings = use
    for table in TABLES:
        await sql(url, table)
    async with opened(action(), connection_to(url)) as run:
        with pytest.raises(Retry, match="what it refers to is not there yet") as waits:
            await run(settings)
        assert not waits.value.of_connection
        assert await sql(url, "SELECT count(*) FROM t") == [(0,)]
        await sql(url, "INSERT INTO parent (id) VALUES (5)")
        await run(settings)
    assert await sql(url, "SELECT id, parent FROM t") == [(1, 5)]
