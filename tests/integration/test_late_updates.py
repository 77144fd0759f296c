"""In every shipped example: once an object is gone, an update that comes late changes no row of it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import yaml

from gateway.stripe.event_types import matches
from gateway.testing import make_event
from tests.examples import EXAMPLES, name_of, on_loopback
from tests.in_process import SECRET, InProcess, gateway
from tests.stripe_standin import TEST_KEY, StripeStandin

SECOND = 1_795_400_000


@dataclass(frozen=True)
class Ending:
    """How an object's life ends."""

    type: str
    object: dict[str, Any] = field(default_factory=dict)
    last: dict[str, Any] | None = None  # what is so afterwards; None: it is deleted


ENDINGS = {  # for each type of update that an example keeps in a row
    "account.updated": Ending(
        "account.application.deauthorized",
        {"charges_enabled": True, "payouts_enabled": True, "requirements": {"currently_due": []}},
        {},
    ),
    "customer.subscription.updated": Ending("customer.subscription.deleted", {}, {"status": "canceled"}),
    "customer.updated": Ending("customer.deleted"),
    "payout.updated": Ending(
        "payout.failed",
        {"amount": 900, "currency": "eur", "arrival_date": SECOND, "status": "in_transit", "failure_message": None},
        {"status": "failed", "failure_message": "The bank account has been closed"},
    ),
    "refund.updated": Ending(
        "refund.failed",
        {"amount": 900, "currency": "eur", "payment_intent": "pi_1", "status": "pending"},
        {"status": "failed", "failure_reason": "expired_or_canceled_card"},
    ),
    "transfer.updated": Ending(
        "transfer.reversed",
        {"amount": 900, "amount_reversed": 0, "currency": "eur", "destination": "acct_1"},
        {"amount_reversed": 900},
    ),
}


def upserting(config: Any) -> dict[str, Any]:
    """The routes of an example with no more than their upserts."""
    routes = {}
    for name, route in config["routes"].items():
        actions = {key: action for key, action in route["actions"].items() if action["uses"] == "db_upsert"}
        if actions:
            routes[name] = route | {"actions": actions}
    return routes


def updates(route: Any) -> set[str]:
    """The types of updates that a route wants."""
    return {one for pattern in route["events"] for one in matches(pattern) if one.endswith(".updated")}


CASES = [
    pytest.param(path, kind, id=f"{name_of(path)}-{kind}")
    for path in EXAMPLES
    for kind in sorted(set().union(*(updates(one) for one in upserting(yaml.safe_load(path.read_text())).values())))
]


def test_the_examples_keep_updates_of_many_kinds_and_each_has_its_ending_here() -> None:
    assert {case.values[1] for case in CASES} == set(ENDINGS)


async def tables_of(example: Path, url: str) -> None:
    """Makes the tables that an example's first lines tell its reader to make."""
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE SCHEMA shop")
    for statement in re.findall(r"^#\s+(CREATE TABLE .*;)$", example.read_text(), re.M):
        await connection.execute(statement)
    await connection.close()


@pytest.fixture
def own_database(request: pytest.FixtureRequest) -> str | None:
    """Where an example's tables are, if its reader makes them."""
    example: Path = request.node.callspec.params["example"]
    return request.getfixturevalue("inbox_url") if "CREATE TABLE" in example.read_text() else None


@pytest.mark.parametrize(("example", "kind"), CASES)
async def test_a_late_update_changes_no_row_of_what_is_gone(
    example: Path, kind: str, tmp_path: Path, standin: StripeStandin, own_database: str | None
) -> None:
    config = on_loopback(example, standin.url, SECRET, TEST_KEY)
    ending = ENDINGS[kind]
    routes = upserting(config).items()
    config["routes"] = {name: route for name, route in routes if updates(route) or ending.type in route["events"]}
    config["connections"] = {name: one for name, one in config["connections"].items() if one["type"] == "database"}
    (database,) = config["connections"].values()
    database["url"] = own_database or "sqlite:///shop.db"
    if own_database:
        await tables_of(example, own_database)
    wanting = [route for route in config["routes"].values() if kind in updates(route)]
    tables = {action["with"]["table"] for route in wanting for action in route["actions"].values()}
    account = "acct_1" if any("connected_accounts" in route for route in wanting) else ""
    object_id = "acct_1" if kind == "account.updated" else "x_1"

    async def rows(running: InProcess) -> list[Any]:
        if own_database is None:
            return [running.shop(f"SELECT * FROM {table}") for table in sorted(tables)]
        connection = await asyncpg.connect(own_database)
        found = [[tuple(row) for row in await connection.fetch(f"SELECT * FROM {table}")] for table in sorted(tables)]
        await connection.close()
        return found

    async with gateway(tmp_path, yaml.safe_dump(config)) as running:

        async def happen(type: str, created: int, value: dict[str, Any]) -> None:
            made = make_event(type, created=created, object={"id": object_id, **value})
            if account:
                made["account"] = account
            await running.post(made)
            await running.until_finished()
            assert {state for _, state, _ in running.deliveries()} <= {"succeeded", "skipped"}, running.deliveries()

        before = {"id": object_id, **ending.object}
        standin.put(make_event(kind, object=before)["data"]["object"], account=account)
        await happen(kind, SECOND, ending.object)
        if ending.last is None:
            standin.delete(object_id, account=account)
        else:
            standin.put(make_event(kind, object=before | ending.last)["data"]["object"], account=account)
        await happen(ending.type, SECOND + 10, ending.object | (ending.last or {}))
        gone = await rows(running)
        assert [len(found) for found in gone] == [1] * len(tables)
        for created in (SECOND + 5, SECOND + 10):  # an older one, and one of the very second
            await happen(kind, created, ending.object)
            assert await rows(running) == gone
