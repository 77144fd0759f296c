"""The gateway's own events, routed like Stripe's: raised once, brought together, and never in a circle."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import structlog
from aiohttp import web

from gateway.app.gateway import Ready, running
from gateway.config.load import load
from gateway.core.model import ConnectionChange, ConnectionState, DeliveryFilter, Event, EventFilter, PlannedDelivery
from gateway.store import open_store
from gateway.store.encoding.store import with_codec
from gateway.store.encryption.keyring import Keyring
from gateway.store.protocol import Store
from gateway.testing import make_event, signed_request
from tests.contract.test_store import an_event
from tests.http_service import Serve
from tests.waiting import until

SECRET = "whsec_dGVzdCBzZWNyZXQgb2YgYWNtZQ=="
HEAD = """\
version: 1
server: {{listen: "127.0.0.1:0"}}
admin: {{listen: "127.0.0.1:0"}}
store: {{url: "{inbox}"}}
reload: {{watch: false, socket: "{name}.sock"}}
alerts: {{signature_failures: 3, silent_after: 1h, backlog_after: 1h}}
defaults: {{retry: {{attempts: {attempts}, first: 10ms, factor: 1}}}}
accounts:
  acme: {{signing_secrets: [{secret}]}}
connections:
  shop: {{type: http, url: "{url}/shop", allow_private: true, breaker: {{failures: 2, pause: 200ms, max: 200ms}}}}
  desk: {{type: http, url: "{url}/desk", allow_private: true, breaker: {{failures: 2, pause: 200ms, max: 200ms}}}}
  other: {{type: http, url: "{url}/other", allow_private: true}}
routes:
"""
ORDERS = """\
  orders:
    events: [invoice.*]
    actions: {ship: {uses: http_forward, with: {connection: shop}}}
"""
DIGEST = """\
  alerts:
    events: [gateway.*]
    digest: {every: 400ms, wait: 400ms}
    actions:
      tell:
        uses: http_forward
        with:
          connection: desk
          body: {count: "{{ count }}", types: "{{ events | map(attribute='type') | list }}", said: "{{ events | map(attribute='data.object.summary') | list }}"}
"""  # noqa: E501
ALONE = """\
  alerts:
    events: [gateway.*]
    actions: {tell: {uses: http_forward, with: {connection: desk}}}
"""
PAUSED_BY_HAND = ConnectionChange(ConnectionState.PAUSED, None, "paused by a person")


class Outside:
    """An HTTP service whose paths answer as they are told."""

    def __init__(self) -> None:
        self.answers: dict[str, int] = {}
        self.taken: dict[str, list[Any]] = {"/shop": [], "/desk": [], "/other": []}
        self.asked = 0
        self.url = ""

    async def take(self, request: web.BaseRequest) -> web.Response:
        """Notes what it accepts."""
        self.asked += 1
        body = await request.json()
        status = self.answers.get(request.path, 200)
        if status == 200:
            self.taken[request.path].append(body)
        return web.json_response({}, status=status)


@pytest.fixture
async def outside(serve: Serve) -> Outside:
    outside = Outside()
    outside.url = await serve(outside.take)
    return outside


class Running:
    """A gateway, and its inbox as commands see it."""

    def __init__(self, ready: Ready, store: Store, file: Path) -> None:
        self.ready = ready
        self.store = store
        self.file = file

    async def post(self, event: dict[str, Any], secret: str = SECRET) -> int:
        body = json.dumps(event).encode()
        url = f"{self.ready.public_url}/webhooks/acme"
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, data=body, headers=signed_request(body, secret)) as response,
        ):
            return response.status

    async def own(self) -> list[Event]:
        """Its own events, whole, in order."""
        found = await self.store.events(EventFilter(types=("gateway.*",)), limit=1000, newest_first=False)
        return [(await self.store.event(one.id, one.account))[0] for one in found]

    async def types(self) -> list[str]:
        return [event.type for event in await self.own()]

    async def states(self, route: str = "alerts") -> list[str]:
        found = await self.store.deliveries(DeliveryFilter(routes=(route,)), limit=1000, newest_first=False)
        return [one.state.value for one in found]


@contextlib.asynccontextmanager
async def gateway(
    folder: Path,
    outside: Outside,
    routes: str,
    inbox: str = "sqlite:///inbox.db",
    name: str = "one",
    attempts: int = 3,
) -> AsyncIterator[Running]:
    file = folder / f"{name}.yaml"
    file.write_text(HEAD.format(inbox=inbox, name=name, secret=SECRET, url=outside.url, attempts=attempts) + routes)
    async with running(load(file, {}), structlog.get_logger()) as ready:
        store = open_store(inbox, folder)
        await store.attach()
        try:
            yield Running(ready, await with_codec(store, Keyring(()), compresses=True, strict=True), file)
        finally:
            await store.close()


async def has(running: Running, *types: str) -> bool:
    return set(types) <= set(await running.types())


async def test_dead_letters_of_a_burst_go_out_together_and_name_each(tmp_path: Path, outside: Outside) -> None:
    outside.answers["/shop"] = 400
    async with gateway(tmp_path, outside, ORDERS + DIGEST.replace("400ms", "3s")) as one:
        events = [make_event("invoice.paid") for _ in range(5)]
        for event in events:
            assert await one.post(event) == 200
        await until(lambda: sum(len(body["said"]) for body in outside.taken["/desk"]) == 5)
        said = [line for body in outside.taken["/desk"] for line in body["said"]]
        assert all("of orders.ship is dead after 1 attempt: " in line for line in said)
        assert len(outside.taken["/desk"]) <= 2
        own = await one.own()
        assert {(event.account, event.source) for event in own} == {("acme", "gateway")}
        told = [json.loads(event.body)["data"]["object"] for event in own]
        assert {one["event"] for one in told} == {event["id"] for event in events}
        assert {one["connection"] for one in told} == {"shop"}
        await until(lambda: settled(one))
        assert sorted(set(await one.states())) == ["skipped", "succeeded"]


async def settled(running: Running) -> bool:
    return all(state not in ("pending", "running") for state in await running.states())


async def test_a_pause_and_its_recovery_are_told_once_each(tmp_path: Path, outside: Outside) -> None:
    outside.answers["/shop"] = 503
    async with gateway(tmp_path, outside, ORDERS + ALONE, attempts=50) as one:
        for _ in range(4):
            await one.post(make_event("invoice.paid"))
        await until(lambda: has(one, "gateway.connection.paused"))
        outside.answers["/shop"] = 200
        await until(lambda: has(one, "gateway.connection.recovered"))
        await until(lambda: settled(one))
        assert [one["type"] for one in outside.taken["/desk"]] == [
            "gateway.connection.paused",
            "gateway.connection.recovered",
        ]
        paused = outside.taken["/desk"][0]["data"]["object"]
        assert (paused["object"], paused["connection"], paused["failures"]) == ("gateway.connection", "shop", 2)
        assert {event.account for event in await one.own()} == {"gateway"}


async def test_alerts_whose_own_connection_is_dead_do_not_go_round_in_a_circle(
    tmp_path: Path, outside: Outside
) -> None:
    outside.answers |= {"/shop": 400, "/desk": 500}
    async with gateway(tmp_path, outside, ORDERS + ALONE) as one:
        for _ in range(3):
            await one.post(make_event("invoice.paid"))
        await until(lambda: dead(one, 3))  # each alert has used up its attempts, through pauses of its connection
        types = await one.types()
        assert types.count("gateway.delivery.dead") == 3  # of the orders alone
        assert types.count("gateway.connection.paused") == 1  # in one outage, however many probes fail
        assert len(types) == 4
        assert await one.states() == ["dead"] * 3  # that its connection is paused is not sent over that connection
        asked = outside.asked
        outside.answers["/desk"] = 200
        await one.post(make_event("invoice.paid"))
        await until(lambda: has(one, "gateway.connection.recovered"))
        await until(lambda: settled(one))
        assert (await one.types())[4:].count("gateway.delivery.dead") == 1
        assert len(await one.types()) == 6
        assert outside.asked <= asked + 3


async def dead(running: Running, count: int) -> bool:
    return (await running.states()).count("dead") >= count


async def test_a_second_connection_tells_that_the_first_is_paused(tmp_path: Path, outside: Outside) -> None:
    outside.answers |= {"/shop": 400, "/desk": 500}
    both = ALONE.replace("}}}\n", "}}, again: {uses: http_forward, with: {connection: other}}}\n")
    async with gateway(tmp_path, outside, ORDERS + both) as one:
        await one.post(make_event("invoice.paid"))
        await until(lambda: "gateway.connection.paused" in [event["type"] for event in outside.taken["/other"]])
        (paused,) = (one for one in outside.taken["/other"] if one["type"] == "gateway.connection.paused")
        assert paused["data"]["object"]["connection"] == "desk"


async def test_a_route_for_everything_takes_none_of_the_gateways_own(tmp_path: Path, outside: Outside) -> None:
    outside.answers["/shop"] = 400
    everything = ALONE.replace("gateway.*", '"*"').replace("alerts:", "everything:")
    async with gateway(tmp_path, outside, ORDERS + everything) as one:
        await one.post(make_event("invoice.paid"))
        await until(lambda: finished(one))
        assert [event["type"] for event in outside.taken["/desk"]] == ["invoice.paid"]
        assert await one.own() == []  # nor is kept what no route takes


async def finished(running: Running) -> bool:
    found = await running.store.deliveries(DeliveryFilter(), limit=100)
    return bool(found) and all(one.state.is_final for one in found)


async def test_an_if_that_fails_at_intake_is_a_dead_letter_that_is_told(tmp_path: Path, outside: Outside) -> None:
    routes = ORDERS.replace("    actions", "    if: object.nothing.there == 1\n    actions") + ALONE
    async with gateway(tmp_path, outside, routes) as one:
        await one.post(make_event("invoice.paid"))
        await until(lambda: outside.taken["/desk"])
        (event,) = outside.taken["/desk"]
        assert event["type"] == "gateway.delivery.dead"
        assert event["data"]["object"]["attempts"] == 0
        assert "is dead before its first attempt: " in event["data"]["object"]["summary"]


async def test_a_damaged_row_is_a_dead_letter_that_is_told(tmp_path: Path, outside: Outside) -> None:
    opened = open_store("sqlite:///inbox.db", tmp_path)
    await opened.start()
    store = await with_codec(opened, Keyring(()), compresses=True, strict=True)
    body = json.dumps(make_event("invoice.paid", id="evt_1")).encode()
    await store.add(replace(an_event(), body=body), [PlannedDelivery("orders", "ship")])
    (kept,) = (await opened.contents(0, limit=1)).items
    assert await opened.replace_contents(kept, replace(kept, body=kept.body[:-9]))
    await opened.close()
    async with gateway(tmp_path, outside, ORDERS + ALONE):
        await until(lambda: outside.taken["/desk"])
        (event,) = outside.taken["/desk"]
        assert event["type"] == "gateway.delivery.dead"
        assert "what is stored of event acme evt_1 does not decompress" in event["data"]["object"]["summary"]
        assert outside.taken["/shop"] == []


async def test_a_reload_that_fails_is_told_once_for_the_same_problems(tmp_path: Path, outside: Outside) -> None:
    async with gateway(tmp_path, outside, ORDERS + ALONE) as one:
        good = one.file.read_text()
        one.file.write_text(good.replace("invoice.*]", "invoice.*]\n    evnets: []"))
        await one.ready.reloader.reload("SIGHUP")
        await one.ready.reloader.reload("SIGHUP")
        await until(lambda: outside.taken["/desk"])
        one.file.write_text(good)
        await one.ready.reloader.reload("SIGHUP")
        await one.post(make_event("invoice.paid"))
        await until(lambda: finished(one))
        (event,) = outside.taken["/desk"]
        told = event["data"]["object"]
        assert (event["type"], told["asked_by"], told["count"]) == ("gateway.reload.failed", "SIGHUP", 1)
        assert told["problems"][0]["message"] == "unknown key evnets"


async def test_signatures_that_fail_in_a_row_are_told_and_belong_to_the_account(
    tmp_path: Path, outside: Outside
) -> None:
    async with gateway(tmp_path, outside, ORDERS + ALONE) as one:
        for _ in range(4):
            assert await one.post(make_event("invoice.paid"), "whsec_YW5vdGhlcg==") == 401
        await until(lambda: outside.taken["/desk"])
        (event,) = outside.taken["/desk"]
        assert event["type"] == "gateway.signature.failing"
        assert event["data"]["object"]["reasons"] == {"no_match": 3}
        assert (await one.own())[0].account == "acme"


async def test_a_silent_account_and_a_growing_backlog_are_told_once(tmp_path: Path, outside: Outside) -> None:
    routes = ORDERS + ALONE
    async with gateway(tmp_path, outside, routes) as one:
        text = one.file.read_text().replace(
            "silent_after: 1h, backlog_after: 1h", "silent_after: 1s, backlog_after: 1s"
        )
        one.file.write_text(text)
        await one.store.change_connection("shop", 0, PAUSED_BY_HAND)

    def lasting() -> list[str]:
        return [event["type"] for event in outside.taken["/desk"] if "connection.paused" not in event["type"]]

    async with running(load(one.file, {}), structlog.get_logger()) as ready:  # which knows the pause from its start
        await Running(ready, one.store, one.file).post(make_event("invoice.paid"))
        await until(lambda: len(lasting()) >= 2)
        told = {event["type"]: event["data"]["object"] for event in outside.taken["/desk"]}
        assert told["gateway.account.silent"]["account"] == "acme"
        assert told["gateway.backlog.growing"]["connection"] == "shop"
        assert told["gateway.backlog.growing"]["waiting"] == 1
    assert sorted(lasting()) == ["gateway.account.silent", "gateway.backlog.growing"]


async def test_two_gateways_on_one_postgresql_tell_a_pause_once_and_share_their_digests(
    tmp_path: Path, outside: Outside, inbox_url: str
) -> None:
    outside.answers["/shop"] = 503
    async with (
        gateway(tmp_path, outside, ORDERS + DIGEST, inbox_url, "one", 50) as one,
        gateway(tmp_path, outside, ORDERS + DIGEST, inbox_url, "two", 50) as two,
    ):
        await asyncio.gather(*(gate.post(make_event("invoice.paid")) for gate in (one, two) * 5))
        await until(lambda: has(one, "gateway.connection.paused"))
        outside.answers["/shop"] = 200
        await until(lambda: recovers(one))
        await until(lambda: finished(one))
        outside.answers["/shop"] = 400
        await asyncio.gather(*(gate.post(make_event("invoice.paid")) for gate in (one, two) * 5))
        await until(lambda: finished(one))
        await until(lambda: has_dead(one, 10))
        await until(lambda: finished(one))
        types = await one.types()
        assert types.count("gateway.connection.paused") == types.count("gateway.connection.recovered")
        said = [line for body in outside.taken["/desk"] for line in body["said"]]
        told = [line for line in said if "is dead" in line]
        assert len(told) == len(set(told)) == 10  # each once
        assert len(said) == len(types)
        assert len(outside.taken["/desk"]) < len(types)


async def recovers(running: Running) -> bool:
    """Gives it a delivery to probe with: the gateway that has not yet seen the pause brings some at once."""
    await running.post(make_event("invoice.paid"))
    return await has(running, "gateway.connection.recovered")


async def has_dead(running: Running, count: int) -> bool:
    return (await running.types()).count("gateway.delivery.dead") == count
