"""gateway connections and gateway routes: while the gateway runs, and while it does not."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from gateway.delivery.connection_health import FRESH_SECONDS
from gateway.testing import make_event
from tests.acceptance.harness import GatewayProcess, Sink, free_port
from tests.configs import gateway_yaml, http
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("commands_in_process")

OPERATOR = "an-operator-s-token-of-some-length"
ROUTES = """\
  ship:
    description: Paid invoices go to the warehouse.
    owner: fulfilment@shop.example
    events: [invoice.paid]
    actions:
      forward: {uses: http_forward, with: {connection: warehouse}}
"""


@pytest.fixture
async def gateway(tmp_path: Path, sink: Sink) -> AsyncIterator[GatewayProcess]:
    port, admin = free_port(), free_port()
    text = gateway_yaml(
        port=port,
        admin=admin,
        console=f'token: "{OPERATOR}"',
        connections={"warehouse": http(sink.url), "spare": f'type: http, url: "{sink.url}"'},
        routes=ROUTES,
    )
    made = GatewayProcess(tmp_path, text, port, admin)
    await made.start()
    yield made
    await asyncio.to_thread(made.terminate)


async def send(gateway: GatewayProcess) -> None:
    assert (await gateway.post(make_event("invoice.paid")))[0] == 200


async def asked(gateway: GatewayProcess, path: str) -> str:
    """What the admin listener answers."""
    headers = {"Authorization": f"Bearer {OPERATOR}"}
    async with aiohttp.ClientSession() as session, session.get(gateway.admin_url + path, headers=headers) as answer:
        assert answer.status == 200
        return await answer.text()


async def until_logged(gateway: GatewayProcess, text: str) -> None:
    await until(lambda: text in gateway.log.read_text(), seen=gateway.log.read_text)


async def test_a_paused_connection_keeps_its_backlog_over_a_restart_until_it_is_resumed(
    gateway: GatewayProcess, sink: Sink
) -> None:
    assert await asyncio.to_thread(gateway.json, "connections", "list") == [
        {
            "name": name,
            "type": "http",
            "state": "working",
            "since": None,
            "until": None,
            "failures": 0,
            "reason": None,
        }
        for name in ("warehouse", "spare")
    ]
    await send(gateway)
    await gateway.until_finished()
    (paused,) = await asyncio.to_thread(gateway.json, "connections", "pause", "warehouse", "--reason", "stocktaking")
    assert (paused["state"], paused["until"]) == ("paused", None)
    assert paused["reason"] == "paused by a person: stocktaking"
    seen_at = time.monotonic() + FRESH_SECONDS  # until then what the gateway read last may do
    await until(lambda: time.monotonic() > seen_at)
    await send(gateway)  # its arrival makes the gateway look
    await until_logged(gateway, "connection.paused")
    (shown, spare) = json.loads(await asked(gateway, "/api/v1/connections"))["items"]
    assert (shown["state"], shown["until_resumed"], shown["pending"]) == ("paused", True, 1)
    assert (spare["state"], spare["until_resumed"]) == ("ok", False)
    assert "warehouse (until it is resumed)" in await asked(gateway, "/")
    await asyncio.to_thread(gateway.terminate)
    assert gateway.rows("SELECT state, attempts FROM deliveries ORDER BY seq")[1] == ("pending", 0)
    await gateway.start()
    await until_logged(gateway, "connection.still_paused")
    assert sum(sink.ids.values()) == 1
    done = await asyncio.to_thread(gateway.run, "connections", "resume", "warehouse")
    assert (done.returncode, done.stdout) == (0, "warehouse is working\n")
    await gateway.until_finished()
    assert sum(sink.ids.values()) == 2


async def test_a_paused_route_keeps_its_backlog_over_a_restart_until_it_is_resumed(
    gateway: GatewayProcess, sink: Sink
) -> None:
    done = await asyncio.to_thread(gateway.run, "routes", "pause", "ship", "--reason", "wrong prices")
    assert (done.returncode, done.stdout) == (0, "ship is paused until it is resumed\n")
    await send(gateway)
    await until_logged(gateway, "route.paused")
    (delivery,) = json.loads(await asked(gateway, "/api/v1/deliveries?owner=fulfilment@shop.example"))["items"]
    waits = "for route ship, which is paused until it is resumed (paused by a person: wrong prices)"
    assert (delivery["waits_for"], delivery["owner"]) == (waits, "fulfilment@shop.example")
    assert json.loads(await asked(gateway, "/api/v1/deliveries?owner=nobody"))["items"] == []
    (shown,) = json.loads(await asked(gateway, "/api/v1/routes"))["items"]
    told = (shown["state"], shown["reason"], shown["waiting"], shown["description"])
    assert told == ("paused", "paused by a person: wrong prices", 1, "Paid invoices go to the warehouse.")
    assert "ship" in (await asked(gateway, "/")).split("Paused routes")[1][:40]
    assert [row["state"] for row in await asyncio.to_thread(gateway.json, "connections", "list")] == ["working"] * 2
    await asyncio.to_thread(gateway.terminate)
    assert gateway.rows("SELECT state, attempts FROM deliveries") == [("pending", 0)]
    await gateway.start()
    await until(lambda: gateway.log.read_text().count("route.still_paused") == 1, seen=gateway.log.read_text)
    assert not sink.ids
    (resumed,) = await asyncio.to_thread(gateway.json, "routes", "resume", "ship")
    assert (resumed["state"], resumed["reason"]) == ("ok", None)
    await gateway.until_finished()
    assert sum(sink.ids.values()) == 1
    noted = [entry["what"] for entry in json.loads(await asked(gateway, "/api/v1/audit"))["items"]]
    assert noted == ["route.resume", "route.pause"]


async def test_it_works_while_the_gateway_does_not_run(gateway: GatewayProcess) -> None:
    await asyncio.to_thread(gateway.terminate)
    done = await asyncio.to_thread(gateway.run, "connections", "pause", "warehouse", "spare")
    assert done.stdout == "warehouse is paused until it is resumed\nspare is paused until it is resumed\n"
    assert (await asyncio.to_thread(gateway.json, "connections", "show", "spare"))["state"] == "paused"
    shown = await asyncio.to_thread(gateway.run, "connections", "list")
    assert "warehouse  http  paused" in shown.stdout
    await asyncio.to_thread(gateway.run, "connections", "resume", "spare")
    again = await asyncio.to_thread(gateway.run, "connections", "resume", "spare")
    assert (again.returncode, again.stdout) == (0, "spare is working\n")


async def test_a_name_that_is_unknown_is_bad_usage(gateway: GatewayProcess) -> None:
    for command in (("show", "x"), ("pause", "x"), ("resume", "warehouse", "x")):
        done = await asyncio.to_thread(gateway.run, "connections", *command)
        assert (done.returncode, done.stderr) == (2, "no such connection: x; known: warehouse, spare\n")
    assert (await asyncio.to_thread(gateway.json, "connections", "show", "warehouse"))["state"] == "working"
    done = await asyncio.to_thread(gateway.run, "routes", "pause", "shop")
    assert (done.returncode, done.stderr) == (2, "no such route: shop; known: ship\n")
