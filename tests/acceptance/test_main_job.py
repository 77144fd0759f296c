"""The main job from outside: a gateway as a program, real destinations, and what happens when it is killed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from gateway.testing import make_event, signed_request
from tests.acceptance.harness import SECRET, GatewayProcess, Sink, distinct_events, free_port, post
from tests.configs import SAVE_AND_SHIP, SHOP, gateway_yaml, http
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("commands_in_process")


def config(port: int, sink: str, *, route: str = "") -> str:
    return gateway_yaml(
        port=port,
        server="max_body: 64KiB",
        log="level: warning, format: json",
        defaults="retry: {attempts: 3, first: 200ms, factor: 1}",
        accounts="  other: {signing_secrets: [whsec_of_other, whsec_of_other_new]}",
        connections={"shop": SHOP, "warehouse": http(sink)},
        routes=SAVE_AND_SHIP + route,
    )


@pytest.fixture
async def gateway(tmp_path: Path, sink: Sink) -> AsyncIterator[GatewayProcess]:
    port = free_port()
    made = GatewayProcess(tmp_path, config(port, sink.url), port)
    await made.start()
    yield made
    made.terminate()


async def test_an_event_becomes_a_row_and_a_signed_forward(gateway: GatewayProcess, sink: Sink) -> None:
    event = make_event("checkout.session.completed")
    assert await gateway.post(event) == (200, {"received": True})
    await gateway.until_finished()
    assert gateway.rows("SELECT event_id, amount FROM orders", "data/shop.db") == [(event["id"], 4500)]
    assert list(sink.events.values()) == [event["id"]]
    assert sink.bad == 0
    (listed,) = gateway.json("events", "list")
    assert set(listed) == {"id", "type", "account", "state", "livemode", "received_at", "outcome"}
    shown = gateway.json("events", "show", event["id"])
    assert shown["body"] == event
    assert [one["state"] for one in shown["deliveries"]] == ["succeeded", "succeeded"]
    assert gateway.terminate() == 0


async def test_the_same_event_on_many_connections_at_once_is_one_event(gateway: GatewayProcess, sink: Sink) -> None:
    event = make_event("checkout.session.completed")
    async with aiohttp.ClientSession() as session:
        answers = await asyncio.gather(*(post(session, f"{gateway.url}/webhooks/acme", event) for _ in range(40)))
    assert {status for status, _ in answers} == {200}
    assert sum("duplicate" not in answer for _, answer in answers) == 1
    await gateway.until_finished()
    assert gateway.rows("SELECT count(*) FROM deliveries") == [(2,)]


async def test_the_account_is_found_by_any_of_its_secrets(gateway: GatewayProcess) -> None:
    async with aiohttp.ClientSession() as session:
        status, _ = await post(session, f"{gateway.url}/webhooks", make_event("product.created"), "whsec_of_other_new")
    assert status == 200
    assert gateway.rows("SELECT account, state FROM events") == [("other", "unmatched")]


async def test_what_is_not_from_stripe_is_refused_and_leaves_no_trace(gateway: GatewayProcess) -> None:
    body = json.dumps(make_event()).encode()
    good = signed_request(body, SECRET)["Stripe-Signature"]
    old = signed_request(body, SECRET, timestamp=1_700_000_000)["Stripe-Signature"]
    cases: list[tuple[str, bytes, dict[str, str], int]] = [
        ("/webhooks/acme", body, {"Stripe-Signature": signed_request(body, "whsec_wrong")["Stripe-Signature"]}, 401),
        ("/webhooks/acme", body, {"Stripe-Signature": old}, 401),
        ("/webhooks/acme", body, {}, 401),
        ("/webhooks/acme", body, {"Stripe-Signature": "garbage"}, 401),
        ("/webhooks/acme", body, {"Stripe-Signature": "t=,v1="}, 401),
        ("/webhooks/acme", body, {"Stripe-Signature": good + "é"}, 401),
        ("/webhooks/acme", body + b" ", {"Stripe-Signature": good}, 401),
        ("/webhooks", body, {"Stripe-Signature": "t=1,v1=aa"}, 401),
        ("/webhooks/nobody", body, {"Stripe-Signature": good}, 404),
        ("/elsewhere", body, {"Stripe-Signature": good}, 404),
        ("/webhooks/acme", b"x" * 70_000, {"Stripe-Signature": good}, 413),
        *(
            ("/webhooks/acme", bad, {"Stripe-Signature": signed_request(bad, SECRET)["Stripe-Signature"]}, 400)
            for bad in (b"not json", b"{}", b"[]", b"null", b'{"id": "evt_1", "object": "event"}')
        ),
        ("/webhooks/acme", b"\xff\xfe", {"Stripe-Signature": "t=1,v1=aa"}, 400),
    ]
    async with aiohttp.ClientSession() as session:
        for path, sent, headers, expected in cases:
            async with session.post(gateway.url + path, data=sent, headers=headers) as response:
                answer = await response.json()
                assert (response.status, set(answer["error"])) == (expected, {"code", "message"}), (path, headers)
        async with session.get(f"{gateway.url}/webhooks/acme") as response:
            assert response.status == 405
    assert gateway.rows("SELECT count(*) FROM events") == [(0,)]
    assert "Traceback" not in gateway.log.read_text()


async def test_an_action_that_always_fails_never_fires_its_siblings_again(tmp_path: Path, sink: Sink) -> None:
    port, dead = free_port(), free_port()
    text = config(
        port,
        sink.url,
        route="""\
      broken: {uses: http_forward, with: {connection: nowhere}}
""",
    ).replace(
        "routes:\n", f'  nowhere: {{type: http, url: "http://127.0.0.1:{dead}/", allow_private: true}}\nroutes:\n', 1
    )
    gateway = GatewayProcess(tmp_path, text, port)
    await gateway.start()
    await gateway.post(make_event())
    await gateway.until_finished()
    found = {one["action"]: one for one in gateway.json("deliveries", "list")}
    assert (found["broken"]["state"], found["broken"]["attempts"]) == ("dead", 3)
    assert "cannot connect to 127.0.0.1" in found["broken"]["last_error"]
    assert (found["ship"]["state"], found["ship"]["attempts"]) == ("succeeded", 1)
    assert list(sink.ids.values()) == [1]
    gateway.terminate()


async def test_a_template_that_fails_names_its_line_and_succeeds_after_the_fix(tmp_path: Path, sink: Sink) -> None:
    port = free_port()
    good = config(port, sink.url)
    gateway = GatewayProcess(tmp_path, good.replace("object.amount_total", "object.amuont_total"), port)
    await gateway.start()
    await gateway.post(make_event())
    await until(lambda: gateway.rows("SELECT 1 FROM deliveries WHERE state = 'dead'"))
    dead = gateway.json("deliveries", "list", "--state", "dead")
    line = good[: good.index("object.amount_total")].count("\n") + 1
    assert f"gateway.yaml:{line}:" in dead[0]["last_error"]
    assert "amuont_total" in dead[0]["last_error"]
    gateway.terminate()
    gateway.config.write_text(good)
    await gateway.start()
    done = gateway.run("deliveries", "retry", dead[0]["id"])
    assert done.returncode == 0, done.stderr
    await gateway.until_finished()
    assert {one["state"] for one in gateway.json("deliveries", "list")} == {"succeeded"}
    assert sum(sink.ids.values()) == 1
    gateway.terminate()


async def test_nothing_answered_200_is_lost_by_kill_9(tmp_path: Path, sink: Sink) -> None:
    port = free_port()
    gateway = GatewayProcess(tmp_path, config(port, sink.url), port)
    await gateway.start()
    waiting = distinct_events(2000)
    accepted: list[str] = []

    async def sender(session: aiohttp.ClientSession) -> None:
        while waiting:
            event = waiting.pop()
            try:
                status, _ = await post(session, f"{gateway.url}/webhooks/acme", event)
            except aiohttp.ClientError:
                waiting.append(event)  # as Stripe does: sends it again
                await asyncio.sleep(0.02)
            else:
                assert status == 200
                accepted.append(event["id"])

    def are_accepted(count: int) -> bool:
        return len(accepted) >= count or all(task.done() for task in senders)

    async with aiohttp.ClientSession() as session:
        senders = [asyncio.create_task(sender(session)) for _ in range(16)]
        for kills in range(1, 6):
            await until(partial(are_accepted, kills * 300))
            gateway.kill()
            await gateway.start()
        await asyncio.gather(*senders)
    await gateway.until_finished(120)
    assert len(set(accepted)) == 2000
    rows = gateway.rows("SELECT event_id, count(*) FROM orders GROUP BY 1", "data/shop.db")
    assert len(rows) == 2000
    assert {count for _, count in rows} == {1}
    assert gateway.rows("SELECT state, count(*) FROM deliveries GROUP BY 1") == [("succeeded", 4000)]
    assert set(sink.events.values()) == set(accepted)
    repeated = sum(count - 1 for count in sink.ids.values())
    print(f"forwards repeated: {repeated} of 2000")
    assert len(sink.ids) == 2000  # a repeated forward has the same webhook-id
    assert repeated < 200
    gateway.terminate()
