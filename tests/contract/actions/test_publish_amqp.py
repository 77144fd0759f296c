"""publish on a real RabbitMQ: confirmed messages, unroutable ones, what the broker refuses, lost connections."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel

from actions.publish import BrokerConnection, Publish
from gateway.plugin import Finding, Retry
from gateway.testing import Trial, make_event, probe_action
from tests.acceptance.harness import free_port
from tests.contract.actions.brokers import PASSWORD, BrokerServer, rabbitmq

__all__ = ["rabbitmq"]  # fixtures

pytestmark = [pytest.mark.xdist_group("rabbitmq"), pytest.mark.slow]  # one worker, so one server
EVENT = make_event("checkout.session.completed", id="evt_1")


def trial(url: str, to: str, *, delivery_id: str = "dlv_1", **given: Any) -> Trial:
    connection = {"type": "broker", "url": url}
    return Trial(Publish(), {"to": to, **given}, connection=connection, event=EVENT, delivery_id=delivery_id)


@pytest.fixture
async def reader(rabbitmq: BrokerServer) -> AsyncIterator[AbstractChannel]:
    """A channel of who reads."""
    connection = await aio_pika.connect(rabbitmq.url)
    yield await connection.channel()
    await connection.close()


@pytest.fixture
async def queue(reader: AbstractChannel) -> Any:
    """An empty queue that ends with its reader."""
    return await reader.declare_queue(f"orders-{uuid.uuid4().hex}", auto_delete=True, exclusive=True)


async def test_a_queue_gets_the_event_as_a_persistent_message_under_the_deliverys_id(
    rabbitmq: BrokerServer, queue: Any
) -> None:
    async with trial(rabbitmq.url, queue.name) as one:
        ended = await one.attempt()
    assert (ended.error, ended.output) == (None, {"stream": queue.name, "position": None, "duplicate": None})
    kept = await queue.get()
    assert (json.loads(kept.body), kept.message_id) == (EVENT, "dlv_1")
    assert (kept.delivery_mode, kept.content_type) == (2, "application/json; charset=utf-8")
    assert kept.headers == {"Stripe-Event-Id": "evt_1", "Stripe-Event-Type": "checkout.session.completed"}


async def test_a_replay_has_an_id_of_its_own_and_a_second_attempt_has_not(rabbitmq: BrokerServer, queue: Any) -> None:
    async with trial(rabbitmq.url, queue.name) as one:
        await one.attempt()
        await one.attempt()
    async with trial(rabbitmq.url, queue.name, delivery_id="dlv_2") as replay:
        await replay.attempt()
    assert [(await queue.get()).message_id for _ in range(3)] == ["dlv_1", "dlv_1", "dlv_2"]


async def test_an_exchange_routes_by_the_key(rabbitmq: BrokerServer, reader: AbstractChannel, queue: Any) -> None:
    exchange = await reader.declare_exchange(f"shop-{queue.name}", "topic", auto_delete=True)
    await queue.bind(exchange, "orders.#")
    written: dict[str, Any] = {"exchange": exchange.name, "body": {"order": "{{ object.metadata.order_id }}"}}
    async with trial(rabbitmq.url, "orders.{{ object.currency }}", headers={"Shop": "acme"}, **written) as one:
        assert (await one.attempt()).output["stream"] == exchange.name
        kept = await queue.get()
        assert (kept.routing_key, kept.body, kept.headers["Shop"]) == ("orders.eur", b'{"order": "6735"}', "acme")
    async with trial(rabbitmq.url, "refunds", **written) as one:
        lost = await one.attempt()
        assert (lost.state, lost.is_connection_failure) == ("pending", False)
        assert lost.error == f"no queue takes it: bind one to the exchange {exchange.name} with the routing key refunds"
        await queue.bind(exchange, "refunds")
        assert (await one.attempt()).state == "succeeded"


async def test_a_queue_that_is_not_there_yet_is_waited_for(rabbitmq: BrokerServer, reader: AbstractChannel) -> None:
    name = f"late-{uuid.uuid4().hex}"
    async with trial(rabbitmq.url, name) as one:
        ended = await one.attempt()
        assert (ended.state, ended.is_connection_failure) == ("pending", False)
        assert ended.error == f"there is no queue {name}"
        await reader.declare_queue(name, exclusive=True)
        assert (await one.attempt()).state == "succeeded"


async def test_a_full_queue_is_retried(rabbitmq: BrokerServer, reader: AbstractChannel) -> None:
    arguments: dict[str, Any] = {"x-max-length": 1, "x-overflow": "reject-publish"}
    queue = await reader.declare_queue(f"full-{uuid.uuid4().hex}", exclusive=True, arguments=arguments)
    async with trial(rabbitmq.url, queue.name) as one:
        assert (await one.attempt()).state == "succeeded"
        full = await one.attempt()
        await queue.purge()
        assert (await one.attempt()).state == "succeeded"
    assert (full.state, full.is_connection_failure) == ("pending", True)
    assert full.error == f"the broker did not keep it: a queue of {queue.name} refuses it, or is full"


async def test_what_the_broker_never_takes_is_dead(rabbitmq: BrokerServer, reader: AbstractChannel, queue: Any) -> None:
    async with trial(rabbitmq.url, queue.name, body="x" * 5000) as one:
        large = await one.attempt()
    assert large.state == "dead"
    assert (large.error or "").startswith("the broker refused it: PRECONDITION_FAILED - message size 5000")
    exchange = await reader.declare_exchange("secret-exchange", "fanout", durable=False)
    async with trial(rabbitmq.url, "x", exchange=exchange.name) as one:
        denied = await one.attempt()
    assert denied.state == "dead"
    assert (denied.error or "").startswith("the broker refused it: ACCESS_REFUSED - ")
    async with trial(rabbitmq.url, "{{ 'q' * 256 }}") as one:
        assert (await one.attempt()).error == "to has 256 bytes; AMQP takes 255"


async def test_an_exchange_that_is_not_there_is_retried_and_others_go_on(rabbitmq: BrokerServer, queue: Any) -> None:
    async with trial(rabbitmq.url, "x", exchange="{{ object.currency }}") as one:
        ended = await one.attempt()
    assert (ended.state, ended.is_connection_failure) == ("pending", False)
    assert ended.error == "the broker refused it: NOT_FOUND - no exchange 'eur' in vhost '/'"


async def test_a_message_that_is_refused_ends_no_other_that_is_under_way(rabbitmq: BrokerServer, queue: Any) -> None:
    action = Publish()
    connection = BrokerConnection.model_validate({"type": "broker", "url": rabbitmq.url})
    broker = await action.open(connection, ".")
    from actions.brokers import Message

    def message(number: int) -> Message:
        exchange = "nowhere" if number % 2 else None
        return Message(queue.name, f"dlv_{number}", b"x", {}, None, None, 1.0, exchange)

    outcomes = await asyncio.gather(*(broker.publish(message(n), 10) for n in range(20)), return_exceptions=True)
    await action.close(broker)
    assert [type(outcome).__name__ for outcome in outcomes] == ["Acknowledged", "Retry"] * 10


class Cut:
    """A way to the broker that can be cut."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers += [writer, back]
        self._tasks += [asyncio.create_task(self._pass(reader, back)), asyncio.create_task(self._pass(there, writer))]

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()


async def test_a_lost_connection_is_opened_again(rabbitmq: BrokerServer, queue: Any) -> None:
    way = Cut(rabbitmq.port)
    server = await asyncio.start_server(way.take, "127.0.0.1", 0)
    url = rabbitmq.url.replace(str(rabbitmq.port), str(server.sockets[0].getsockname()[1]))
    async with trial(url, queue.name) as one:
        assert (await one.attempt()).state == "succeeded"
        way.cut()
        again = [await one.attempt() for _ in range(2)]  # the first may meet the end of the old one
        assert again[-1].state == "succeeded", again
        server.close()
        way.cut()
        await server.wait_closed()
        away = [await one.attempt() for _ in range(2)][-1]
    assert (away.state, away.is_connection_failure) == ("pending", True)
    assert (away.error or "").startswith("cannot connect: ")
    assert PASSWORD not in (away.error or "")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ((PASSWORD, "wrong-word"), "the server refuses the login"),
        (("/", "/nowhere"), "the server refuses the virtual host: is it there, and may this user use it?"),
    ],
)
async def test_a_refused_login_or_virtual_host_is_retried(
    rabbitmq: BrokerServer, change: tuple[str, str], told: str
) -> None:
    url = change[1].join(rabbitmq.url.rsplit(change[0], 1))
    async with trial(url, "orders") as one:
        ended = await one.attempt()
    assert (ended.state, ended.error) == ("pending", told)
    assert "wrong-word" not in told


async def test_the_probe_looks_at_queues_and_exchanges(
    rabbitmq: BrokerServer, reader: AbstractChannel, queue: Any
) -> None:
    exchange = await reader.declare_exchange(f"shop-{queue.name}", "topic", auto_delete=True)
    await queue.bind(exchange, "#")
    uses = [
        {"to": "x", "exchange": exchange.name}, {"to": "x", "exchange": "no-exchange"}, {"to": "no-queue"},
        {"to": "x", "exchange": "{{ object.id }}"},
    ]  # fmt: skip
    connection = BrokerConnection.model_validate({"type": "broker", "url": rabbitmq.url})
    answer, *found = await probe_action(Publish(), *uses, connection=connection)
    assert (answer.verdict, answer.text.split(" 3.")[0]) == ("good", "answers: RabbitMQ")
    assert found == [
        Finding.good(f"there is the exchange {exchange.name}", use="test.1"),
        Finding.bad("there is no exchange no-exchange", "declare it, with a queue bound to it", use="test.2"),
        Finding.bad("there is no queue no-queue", "declare it", use="test.3"),
        Finding.note("where it publishes is known only when it runs", use="test.4"),
    ]


async def test_a_broker_that_is_away_is_told_without_its_password() -> None:
    url = f"amqp://me:{PASSWORD}@127.0.0.1:{free_port()}/"
    with pytest.raises(Retry, match=r"^cannot connect: ") as caught:
        await probe_action(Publish(), connection=BrokerConnection.model_validate({"type": "broker", "url": url}))
    assert PASSWORD not in caught.value.message
