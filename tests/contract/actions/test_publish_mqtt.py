"""publish on a real MQTT 5 server, mosquitto: acknowledged messages, such that nobody gets, refusals, lost servers."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from actions.publish import BrokerConnection, Publish
from gateway.plugin import Finding, Retry
from gateway.testing import Trial, make_event, probe_action
from tests.acceptance.harness import free_port
from tests.contract.actions.brokers import PASSWORD, BrokerServer, mosquitto

__all__ = ["mosquitto"]  # fixtures

EVENT = make_event("checkout.session.completed", id="evt_1")


def trial(
    url: str, to: str = "orders/paid", *, delivery_id: str = "dlv_1", timeout: str = "30s", **given: Any
) -> Trial:
    connection = {"type": "broker", "url": url}
    return Trial(
        Publish(), {"to": to, **given}, connection=connection, event=EVENT, delivery_id=delivery_id, timeout=timeout
    )


Messages = asyncio.Queue[MQTTMessage]


@pytest.fixture
async def subscribed(mosquitto: BrokerServer) -> AsyncIterator[Messages]:
    """What a subscriber of orders/# gets."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    messages = Messages()
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
    client.username_pw_set("me", PASSWORD)

    def on_message(client: Client, data: Any, message: MQTTMessage) -> None:
        loop.call_soon_threadsafe(messages.put_nowait, message)

    def on_subscribe(*_: Any) -> None:
        loop.call_soon_threadsafe(ready.set)

    client.on_message, client.on_subscribe = on_message, on_subscribe
    await asyncio.to_thread(client.connect, "127.0.0.1", mosquitto.port)
    client.loop_start()
    client.subscribe("orders/#", qos=1)
    await ready.wait()
    yield messages
    client.disconnect()
    await asyncio.to_thread(client.loop_stop)


async def test_subscribers_get_the_event_and_the_deliverys_id(mosquitto: BrokerServer, subscribed: Messages) -> None:
    async with trial(mosquitto.url) as one:
        ended = await one.attempt()
    assert (ended.error, ended.output) == (None, {"stream": "orders/paid", "position": None, "duplicate": None})
    message = await subscribed.get()
    assert (message.topic, message.qos, json.loads(message.payload)) == ("orders/paid", 1, EVENT)
    properties: Any = message.properties
    assert properties.ContentType == "application/json; charset=utf-8"
    assert properties.UserProperty == [
        ("id", "dlv_1"), ("Stripe-Event-Id", "evt_1"), ("Stripe-Event-Type", "checkout.session.completed"),
    ]  # fmt: skip


async def test_a_topic_body_and_properties_of_ones_own(mosquitto: BrokerServer, subscribed: Messages) -> None:
    written: dict[str, Any] = {"body": {"order": "{{ object.metadata.order_id }}"}, "headers": {"Shop": "acme"}}
    async with trial(mosquitto.url, "orders/{{ object.currency }}", **written) as one:
        outcomes = await asyncio.gather(*(one.attempt() for _ in range(30)))  # more than the server takes at once
    assert {ended.state for ended in outcomes} == {"succeeded"}
    message = await subscribed.get()
    assert (message.topic, message.payload) == ("orders/eur", b'{"order": "6735"}')
    properties: Any = message.properties
    assert ("Shop", "acme") in properties.UserProperty


async def test_a_message_that_nobody_would_get_is_retried_unless_it_is_retained(mosquitto: BrokerServer) -> None:
    async with trial(mosquitto.url) as one:
        ended = await one.attempt()
    assert (ended.state, ended.is_connection_failure) == ("pending", False)
    assert ended.error == "nobody subscribes to orders/paid: the message would be lost"
    async with trial(mosquitto.url, retain=True) as one:
        assert (await one.attempt()).state == "succeeded"


@pytest.mark.parametrize(
    ("to", "written", "told"),
    [
        ("secret/orders", {}, "the server lets this user not publish to secret/orders: give it the permission"),
        ("orders/paid", {"body": "x" * 5000}, "the body has 5000 bytes; the server takes 4096 (maximum packet size)"),
        ("orders/paid", {"body": "x" * 4080}, "the server takes no message of this size (maximum packet size)"),
        ("{{ 'orders/#' }}", {}, "to 'orders/#' is no topic to publish to: without + and #"),
    ],
)
async def test_what_the_server_never_takes_is_dead(
    mosquitto: BrokerServer, subscribed: Messages, to: str, written: dict[str, Any], told: str
) -> None:
    async with trial(mosquitto.url, to, **written) as one:
        ended = await one.attempt()
        assert (ended.state, ended.error) == ("dead", told)
    assert subscribed.empty()


async def test_a_server_that_went_away_is_retried_and_reached_again(mosquitto: BrokerServer) -> None:
    async with trial(mosquitto.url, retain=True) as one:
        assert (await one.attempt()).state == "succeeded"
        mosquitto.stop()
        away = [await one.attempt() for _ in range(2)]
        mosquitto.start()
        assert (await one.attempt()).state == "succeeded"
    assert {ended.state for ended in away} == {"pending"}
    assert all(ended.is_connection_failure for ended in away)
    assert (away[-1].error or "").startswith("cannot connect: ")
    assert PASSWORD not in str(away)


async def test_a_refused_login_is_retried(mosquitto: BrokerServer) -> None:
    async with trial(mosquitto.url.replace(PASSWORD, "wrong-word")) as one:
        ended = await one.attempt()
    assert (ended.state, ended.error) == ("pending", "the server refuses the login")


async def test_a_server_that_never_answers_ends_by_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with trial(f"mqtt://127.0.0.1:{silent.getsockname()[1]}", timeout="300ms") as one:
            ended = await one.attempt()
    assert (ended.state, ended.is_connection_failure) == ("pending", True)
    assert ended.error == "no end after 0.3 s (its timeout); whether it took effect is not known"


async def test_the_probe_says_that_it_answers(mosquitto: BrokerServer) -> None:
    connection = BrokerConnection.model_validate({"type": "broker", "url": mosquitto.url})
    text = "whether the server takes orders/paid, and who subscribes to it, shows with a message"
    assert await probe_action(Publish(), {"to": "orders/paid"}, connection=connection) == [
        Finding.good("answers: MQTT 5"),
        Finding.note(text, use="test.1"),
    ]
    away = connection.url.get_secret_value().replace(str(urlsplit(mosquitto.url).port), str(free_port()))
    with pytest.raises(Retry, match=r"^cannot connect: ") as caught:
        await probe_action(Publish(), connection=BrokerConnection.model_validate({"type": "broker", "url": away}))
    assert PASSWORD not in caught.value.message
