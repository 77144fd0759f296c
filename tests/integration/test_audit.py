"""gateway audit against the stand-in and a gateway: what differs from Stripe, why, and that it is put right."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from gateway.admin.operations import Operations
from gateway.admin.reports.routes import routes
from gateway.config.load import load
from gateway.core.model import DeliveryFilter
from gateway.core.routing import RouteTable
from gateway.testing import make_event
from tests.cli import CommandLine
from tests.in_process import InProcess, config, gateway
from tests.stripe_standin import StripeStandin
from tests.waiting import until

COUNT = int(os.environ.get("AUDIT_ROWS", "60"))
DELIVERED = min(COUNT, 60)  # by the gateway; the other rows are there as if it had been
PLANTED = 28
NOW = int(time.time())
ROUTES = """\
  customers:
    events: [customer.created, customer.updated]
    order_by: object.id
    actions:
      save:
        uses: db_upsert
        with:
          connection: shop
          table: customers
          key: {id: "{{ object.id }}"}
          values: {email: "{{ object.email }}", spent: "{{ object.balance }}", made: "{{ object.created | timestamp }}", by: "{{ event.id }}", meta: "{{ object.metadata }}"}
          newest: {column: told, value: "{{ event.created }}"}
      tell: {uses: http_forward, needs: [save], if: object.email == 'nobody', with: {connection: warehouse}}
"""  # noqa: E501
WAREHOUSE = (
    '\n  warehouse: {type: http, url: "http://127.0.0.1:9/", signing_secret: whsec_dG9wc2VjcmV0, allow_private: true}\n'
)


TABLE = (
    "CREATE TABLE customers (id TEXT PRIMARY KEY, email VARCHAR(90), spent NUMERIC(12,2), made TIMESTAMP,"
    " \"by\" TEXT, meta JSON, told INTEGER, note TEXT DEFAULT 'by hand')"
)


class Bench:
    """A gateway whose route has taken in all customers."""

    def __init__(self, running: InProcess, standin: StripeStandin, line: CommandLine) -> None:
        self.running, self.standin, self._line = running, standin, line

    async def run(self, *words: str, code: int = 0) -> str:
        path = self.running.folder / "gateway.yaml"
        ran = await asyncio.to_thread(self._line.beside, "--config", path, *words)
        assert ran.code == code, ran.err + ran.out
        return ran.out

    async def audit(self, *words: str, code: int = 0) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(await self.run("audit", "customers", "--json", *words, code=code))[0]
        return told

    def change(self, *statements: str) -> None:
        with contextlib.closing(sqlite3.connect(self.running.folder / "shop.db", timeout=60)) as shop:
            for statement in statements:
                shop.execute(statement)
            shop.commit()

    def fill(self, numbers: range) -> None:
        """Customers at Stripe, and their rows, that no delivery has written: those would take minutes."""
        customers = [self.put(i) for i in numbers]
        values = "VALUES (:id, :email, :balance, datetime(:created, 'unixepoch'), 'evt', :meta, :created)"
        rows = [{**customer, "meta": json.dumps(customer["metadata"])} for customer in customers]
        with contextlib.closing(sqlite3.connect(self.running.folder / "shop.db", timeout=60)) as shop:
            shop.executemany(f'INSERT INTO customers (id, email, spent, made, "by", meta, told) {values}', rows)
            shop.commit()

    def put(self, i: int, **changes: Any) -> dict[str, Any]:
        """A customer at Stripe, or what became of it."""
        known = {"id": f"cus_{i}", "object": "customer", "livemode": False, "created": NOW - 9000 + i % 8000,
                 "email": f"{i}@b.example", "balance": i, "metadata": {"n": str(i)}}  # fmt: skip
        self.standin.put({**known, **changes})
        return {**known, **changes}


@pytest.fixture
async def bench(
    tmp_path: Path, standin: StripeStandin, gateway_cli: CommandLine, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Bench]:
    monkeypatch.setenv("COLUMNS", "200")
    text = config(ROUTES, standin.url, inbox=store_url).replace("connections:\n", f"connections:{WAREHOUSE}")
    with contextlib.closing(sqlite3.connect(tmp_path / "shop.db")) as shop:
        shop.execute(TABLE)
    async with gateway(tmp_path, text) as running:
        bench = Bench(running, standin, gateway_cli)
        for i in range(DELIVERED):
            bench.put(i)
        await bench.run("seed", "customers", "--since", "1d", "--rate", "1000/s", "--only", "save")
        await running.until_finished()
        bench.fill(range(DELIVERED, COUNT))
        yield bench


async def test_what_was_planted_is_found_with_its_reason_repaired_and_nothing_besides(bench: Bench) -> None:
    assert await bench.audit() == {
        "route": "customers", "account": "acme", "connected_account": None, "objects": COUNT, "sampled": COUNT,
        "rows": COUNT, "not_owed": 0, "unknown": {}, "not_compared": {"save": ["values.by"]}, "differences": [],
        "repaired": None,
    }  # fmt: skip
    for i in range(8):  # changed at Stripe, and no event of it came
        bench.put(i, email=f"new{i}@b.example")
    for i in range(8, 12):  # never came
        bench.put(COUNT + i)
    for i in range(12, 20):  # by hand: a column, and the whole row
        bench.change(f"UPDATE customers SET spent = 999 WHERE id = 'cus_{i}'")
    for i in range(20, PLANTED):
        bench.change(f"DELETE FROM customers WHERE id = 'cus_{i}'")
    bench.change("UPDATE customers SET note = 'mine', told = 7, \"by\" = 'me'")  # not what the route compares
    found = await bench.audit(code=1)
    why = {each["object"]: each["why"] for each in found["differences"]}
    assert why == {
        **{f"cus_{i}": "missed" for i in range(8)},
        **{f"cus_{COUNT + i}": "missed" for i in range(8, 12)},
        **{f"cus_{i}": "edited" for i in range(12, PLANTED)},
    }
    assert len(why) == PLANTED
    columns = {each["object"]: each["columns"] for each in found["differences"] if not each["is_missing"]}
    assert columns["cus_3"] == {"email": {"stripe": "new3@b.example", "row": "3@b.example"}}
    assert columns["cus_13"] == {"spent": {"stripe": 13, "row": 999}}
    repaired = await bench.audit("--repair")
    assert repaired["repaired"] == PLANTED
    await bench.running.until_finished()
    assert (await bench.audit())["differences"] == []
    rows = bench.running.shop("SELECT count(*), count(DISTINCT id), max(note) FROM customers WHERE note = 'mine'")
    assert rows == [(COUNT - PLANTED + 20, COUNT - PLANTED + 20, "mine")]
    made = await bench.running.store.deliveries(DeliveryFilter(actions=("tell",)), limit=10)
    assert made == []  # only what differs is written anew


async def test_a_delivery_that_waits_or_is_dead_is_late_and_what_comes_by_itself_is_left(bench: Bench) -> None:
    bench.change("CREATE TRIGGER full BEFORE UPDATE ON customers BEGIN SELECT RAISE(ABORT, 'no'); END")
    changed = bench.put(1, email="late@b.example")
    await bench.running.post(make_event("customer.updated", object=changed))

    async def is_dead() -> bool:
        return bool(await bench.running.store.deliveries(DeliveryFilter(states=("dead",)), limit=1))

    await until(is_dead)
    (difference,) = (await bench.audit(code=1))["differences"]
    assert difference["why"] == "late"
    assert " is dead: " in difference["detail"]
    out = await bench.run("audit", "customers", code=1)
    assert "cus_1 save: customers id=cus_1: email is '1@b.example', and would be 'late@b.example' (late: " in out
    assert f"acme: {COUNT} objects, {COUNT} rows compared, 1 differ" in out
    bench.change("DROP TRIGGER full")
    assert "1 are put into the inbox to be written anew" in await bench.run("audit", "customers", "--repair")
    mended = "SELECT email FROM customers WHERE id = 'cus_1'"
    await until(lambda: bench.running.shop(mended) == [("late@b.example",)])
    await bench.audit()


async def test_a_sample_compares_so_many_of_the_objects(bench: Bench) -> None:
    told = await bench.audit("--sample", "50%")
    assert told["objects"] == COUNT
    assert 0 < told["sampled"] == told["rows"] < COUNT


SCHEDULED = ROUTES.replace(
    "    order_by: object.id\n", "    order_by: object.id\n    audit: {every: 1s, sample: 100%}\n"
)
TOLD = """\
  told:
    events: [gateway.audit.differing]
    actions:
      save:
        uses: db_upsert
        with: {connection: shop, table: told, ensure_table: true, key: {id: "{{ event.id }}"}, values: {summary: "{{ object.summary }}", first: "{{ object.objects[0] }}"}}
"""  # noqa: E501


async def test_an_audit_by_itself_raises_an_alert_and_shows_on_the_console(
    tmp_path: Path, standin: StripeStandin, store_url: str
) -> None:
    standin.put(
        {"id": "cus_1", "object": "customer", "created": NOW, "email": "a@b.example", "balance": 0, "metadata": {}}
    )
    with contextlib.closing(sqlite3.connect(tmp_path / "shop.db")) as shop:
        shop.execute(TABLE)
    text = config(SCHEDULED + TOLD, standin.url, inbox=store_url).replace("connections:\n", f"connections:{WAREHOUSE}")
    async with gateway(tmp_path, text) as running:
        told = "SELECT summary, first FROM told LIMIT 1"
        await until(lambda: "told" in str(running.shop("SELECT name FROM sqlite_master")) and running.shop(told))
        assert running.shop(told) == [
            ("1 of 1 rows that route customers keeps is not as Stripe has it: 1 missed", "cus_1")
        ]
        note = await running.store.note("audit customers acme")
        assert note is not None
        assert note.value == {"objects": 1, "rows": 1, "differences": {"missed": 1, "late": 0, "edited": 0}}
        loaded = load(tmp_path / "gateway.yaml", {})
        operations = Operations(running.store, lambda: (loaded, RouteTable(loaded.routes)), structlog.get_logger())
        (audited,) = (await routes(operations))[0].audits
        assert (audited.account, audited.rows, audited.differences["missed"]) == ("acme", 1, 1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nobody",), "there is no route nobody: known: customers"),
        (("customers", "--sample", "2"), "--sample '2': expected a share such as 2% or 0.5%"),
    ],
)
async def test_what_cannot_be_meant_is_told(
    tmp_path: Path, gateway_cli: CommandLine, words: tuple[str, ...], message: str
) -> None:
    text = config(ROUTES, "http://127.0.0.1:9").replace("connections:\n", f"connections:{WAREHOUSE}")
    (tmp_path / "gateway.yaml").write_text(text)
    ran = gateway_cli("--config", tmp_path / "gateway.yaml", "audit", *words)
    assert (ran.code, ran.err.strip()) == (2, message)
