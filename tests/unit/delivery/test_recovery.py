"""A connection whose destination was away works again once a look finds it; other pauses are left alone."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from gateway.config.load import load
from gateway.core.errors import StoreUnavailable
from gateway.core.model import ConnectionChange, ConnectionState
from gateway.core.routing import RouteTable
from gateway.core.tasks import background
from gateway.delivery import recovery
from gateway.delivery.connection_health import Connections
from gateway.delivery.recovery import Recovery, doublings
from gateway.delivery.resources import Resources
from gateway.plugin import Reject, Retry
from gateway.store.sqlite.store import SqliteStore
from tests.waiting import until

PAUSED, WORKING = ConnectionState.PAUSED, ConnectionState.WORKING
AWAY = "not reached: 5 failures in a row, the last: refused"
PLUGIN = '''
from typing import Annotated, Any
from gateway.plugin import Action, Connection, HttpConnection, Retry, Settings

class LampSettings(Settings):
    connection: Annotated[str, Connection(HttpConnection)]

class Lamp(Action[LampSettings]):
    """Looks as it is told."""
    name = "lamp"
    Settings = LampSettings
    answers: list[Any] = []  # the last one again and again
    looks = 0

    async def is_reached(self, connection: Any, resource: Any) -> bool:
        self.looks += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer
'''
CONFIG = """\
version: 1
plugins: [plugins]
accounts:
  acme: {signing_secrets: [whsec_dGVzdCBzZWNyZXQgb2YgYWNtZQ==]}
connections:
  shop: {type: http, url: "https://shop.example/"}
routes:
  keep:
    events: [invoice.paid]
    actions:
      light: {uses: lamp, with: {connection: shop}}
"""


class Lit:
    """A connection that is looked at."""

    def __init__(self, store: SqliteStore, connections: Connections, action: Any) -> None:
        self.store, self.connections, self.action = store, connections, action

    async def state(self) -> ConnectionState:
        """As the store has it."""
        return (await self.store.connections())["shop"].state

    async def until_looked(self, times: int) -> None:
        """Waits for so many looks more."""
        goal = self.action.looks + times
        await until(lambda: self.action.looks >= goal)


@asynccontextmanager
async def looked_at(folder: Path, reason: str, *answers: Any) -> AsyncIterator[Lit]:
    """One that was paused for an hour, and what looks at it are told."""
    (folder / "plugins").mkdir()
    (folder / "plugins/lamp.py").write_text(PLUGIN)
    (folder / "gateway.yaml").write_text(CONFIG)
    config = load(folder / "gateway.yaml", {})
    log = structlog.get_logger()
    store = SqliteStore(folder / "inbox.db")
    await store.start()
    await store.change_connection("shop", 0, ConnectionChange(PAUSED, 3600, reason, failures=5, pauses=1))
    resources, connections = Resources(lambda *_: True, log), Connections(store, log)
    lamp: Any = config.actions["lamp"]
    lamp.answers[:] = answers
    looker = Recovery(connections, lambda: (config, RouteTable(config.routes)), resources, log)
    async with background(looker.run, "recovery"):
        yield Lit(store, connections, lamp)
    await resources.close()
    await store.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(recovery, "TICK_SECONDS", 0.01)


async def test_the_pause_ends_once_a_look_finds_the_destination(tmp_path: Path) -> None:
    with capture_logs() as logs:
        async with looked_at(tmp_path, AWAY, False, ConnectionRefusedError(), False, True) as lit:
            await until(lambda: lit.connections.is_working("shop") and lit.action.looks == 4)
            assert await lit.state() is WORKING
    assert [line["event"] for line in logs] == ["connection.still_paused", "connection.recovered"]


async def test_what_failed_at_a_destination_that_is_there_keeps_its_pause(tmp_path: Path) -> None:
    async with looked_at(tmp_path, "5 failures in a row, the last: answered 500", True) as lit:
        await lit.until_looked(3)
        assert await lit.state() is PAUSED


async def test_where_a_look_did_not_reach_it_the_next_that_does_ends_the_pause(tmp_path: Path) -> None:
    reason = "5 failures in a row, the last: no end after 30 s (its timeout)"  # as where packets are lost
    async with looked_at(tmp_path, reason, True, False, True) as lit:
        await until(lambda: lit.connections.is_working("shop") and lit.action.looks == 3)


async def test_a_look_that_is_at_fault_is_told_once_and_means_no(tmp_path: Path) -> None:
    with capture_logs() as logs:
        async with looked_at(tmp_path, AWAY, KeyError("token=topsecret")) as lit:
            await lit.until_looked(3)
            assert await lit.state() is PAUSED
    failed = [line for line in logs if line["event"] == "connection.look_failed"]
    assert [(line["connection"], line["error"]) for line in failed] == [("shop", "KeyError")]
    assert "topsecret" not in str(logs)


async def test_a_store_that_is_away_meanwhile_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with looked_at(tmp_path, AWAY, False) as lit:
        change, refused = lit.store.change_connection, [1, 2]

        async def sometimes(*args: Any) -> Any:
            if refused:
                refused.pop()
                raise StoreUnavailable("away")
            return await change(*args)

        monkeypatch.setattr(lit.store, "change_connection", sometimes)
        await lit.until_looked(1)
        lit.action.answers[:] = [True]
        await until(lambda: lit.connections.is_working("shop"))
        assert not refused


async def test_looks_at_who_is_there_and_refuses_grow_rarer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    really_sleep, waits = asyncio.sleep, []

    async def sleep(seconds: float) -> None:
        if seconds >= recovery.LOOK_SECONDS:
            waits.append(seconds / recovery.LOOK_SECONDS)
            seconds = 0.0
        await really_sleep(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr(recovery, "LOOK_SECONDS", 1000.0)
    monkeypatch.setattr(random, "uniform", lambda _, most: most)
    refused = Retry("the login is refused")
    async with looked_at(tmp_path, AWAY, refused, Reject("no such user"), False, refused, refused, True) as lit:
        await until(lambda: lit.connections.is_working("shop") and lit.action.looks == 6)
    assert waits == [1, 2, 4, 1, 2, 4]  # not reached: it is looked at as often as before


@pytest.mark.parametrize(
    ("pauses", "ended_at", "before", "after"),
    [
        (1, None, 0, 0),  # the first pause
        (2, 1, 0, 1),  # failed again though a look had found it
        (3, 2, 1, 2),
        (9, 8, 8, 8),
        (1, 1, 3, 0),  # a delivery had got through between
        (4, None, 3, 0),  # a delivery has probed, not a look
    ],
)
def test_looks_that_mislead_are_made_ever_less_often(
    pauses: int, ended_at: int | None, before: int, after: int
) -> None:
    assert doublings(pauses, ended_at, before) == after
