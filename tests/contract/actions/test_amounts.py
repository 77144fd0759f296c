"""What a template makes of an amount meets the row that has it as a decimal, on each kind of database."""

from __future__ import annotations

from typing import Any

import pytest

from actions.db_execute import DbExecute
from actions.db_upsert import DbUpsert
from gateway.plugin import Action
from gateway.testing import Trial
from tests.contract.actions.test_db_execute import stock
from tests.contract.actions.test_db_upsert import sql

__all__ = ["stock"]  # a fixture
PRICES = ["{{ 1999 / 100 }}", "{{ 1999 | major_units('usd') }}"]


def trial(action: Action[Any], url: str, given: dict[str, Any]) -> Trial:
    return Trial(action, given, connection={"type": "database", "url": url})


@pytest.mark.parametrize("price", PRICES)
async def test_a_statement_writes_it_and_finds_it(stock: str, price: str) -> None:
    await sql(stock, "CREATE TABLE prices (price NUMERIC(12, 4), rate DOUBLE PRECISION)")
    insert = {"statement": "INSERT INTO prices VALUES (:price, :rate)", "params": {"price": price, "rate": price}}
    async with trial(DbExecute(), stock, insert) as inserting:
        for _ in range(2):
            assert (await inserting.attempt()).error is None
    update = {"statement": "UPDATE prices SET rate = 1.5 WHERE price = :price", "params": {"price": price}}
    async with trial(DbExecute(), stock, {**update, "expect_rows": 2}) as updating:
        assert (await updating.attempt()).error is None
    assert await sql(stock, "SELECT count(*) FROM prices WHERE price = 19.99") == [(2,)]


@pytest.mark.parametrize("price", PRICES)
async def test_a_row_is_found_by_it(stock: str, price: str) -> None:
    await sql(stock, "CREATE TABLE prices (price NUMERIC(12, 4) PRIMARY KEY, amount NUMERIC(12, 4))")
    for amount in (price, "{{ 500 | major_units('jpy') }}"):
        given = {"table": "prices", "key": {"price": price}, "values": {"amount": amount}}
        async with trial(DbUpsert(), stock, given) as upserting:
            assert (await upserting.attempt()).error is None
    assert await sql(stock, "SELECT count(*) FROM prices WHERE price = 19.99 AND amount = 500") == [(1,)]
