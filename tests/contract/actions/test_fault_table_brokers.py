"""docs/actions.md says what becomes of each fault of brokers: every row, on real ones."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import aio_pika
import nats
import pytest
from nats.js.api import StreamConfig
from redis.asyncio import Redis

from actions.publish import Publish
from gateway.testing import Trial, TrialResult
from tests.acceptance.harness import free_port
from tests.contract.actions.brokers import (
    PASSWORD,
    BrokerServer,
    mosquitto,
    nats_server,
    rabbitmq,
    redis_server,
)
from tests.contract.actions.fault_table import fault_rows, happens

__all__ = ["mosquitto", "nats_server", "rabbitmq", "redis_server"]  # fixtures

Case = Callable[[str], Awaitable[list[TrialResult]]]
TOO_LARGE = "x" * 5000


async def publish(url: str, *, attempts: int = 1, **written: Any) -> list[TrialResult]:
    """What came of it, at the last attempt."""
    async with Trial(Publish(), {"to": "orders", **written}, connection={"type": "broker", "url": url}) as trial:
        return [await trial.attempt() for _ in range(attempts)][-1:]


async def _away(url: str) -> list[TrialResult]:
    return await publish(f"{url.partition('://')[0]}://127.0.0.1:{free_port()}")


async def _wrong_login(url: str) -> list[TrialResult]:
    return await publish(url.replace(PASSWORD, "wrong"))


async def _with_stream(url: str, *uses: dict[str, Any]) -> list[TrialResult]:
    """To a JetStream whose one stream takes orders.>, and orders."""
    client = await nats.connect(url)
    await client.jetstream().add_stream(StreamConfig(name="ORDERS", subjects=["orders", "orders.>"]))
    await client.close()
    return [ended for use in uses for ended in await publish(url, **use)]


async def _never_taken_by_nats(url: str) -> list[TrialResult]:
    return await _with_stream(url, {"to": "orders.secret"}, {"body": TOO_LARGE}, {"stream": "OTHER"})


async def _redis_full(url: str) -> list[TrialResult]:
    async with Redis.from_url(url) as client:
        await client.config_set("maxmemory", 1)
    return await publish(url)


async def _redis_text(url: str) -> list[TrialResult]:
    async with Redis.from_url(url) as client:
        await client.set("orders", "text")
    return await publish(url)


async def _full_queue(url: str) -> list[TrialResult]:
    async with await aio_pika.connect(url) as connection:
        arguments: dict[str, Any] = {"x-max-length": 1, "x-overflow": "reject-publish"}
        queue = await (await connection.channel()).declare_queue("", exclusive=True, arguments=arguments)
        return await publish(url, to=queue.name, attempts=2)


async def _never_taken_by_amqp(url: str) -> list[TrialResult]:
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        exchange = await channel.declare_exchange("secret-of-faults", "fanout", auto_delete=True)
        queue = await channel.declare_queue("", exclusive=True)
        denied = await publish(url, exchange=exchange.name)
        await exchange.delete()
        return [*denied, *await publish(url, to=queue.name, body=TOO_LARGE)]


async def _no_login_or_host(url: str) -> list[TrialResult]:
    return [*await _wrong_login(url), *await publish(f"{url}nowhere")]


async def _no_route(url: str) -> list[TrialResult]:
    return [*await publish(url, to="no-such-queue"), *await publish(url, exchange="no-such-exchange")]


async def _never_taken_by_mqtt(url: str) -> list[TrialResult]:
    return [*await publish(url, to="secret"), *await publish(url, body=TOO_LARGE)]


_COMMON: dict[str, Case] = {"nobody listens there": _away, "it refuses the login": _wrong_login}
CASES: dict[str, dict[str, Case]] = {
    "nats": {
        **_COMMON,
        "no stream takes the subject": publish,
        "the user may not publish there, the message is too large, or another stream takes it": lambda url: (
            _with_stream(url, {"to": "orders.secret"}, {"body": TOO_LARGE}, {"stream": "OTHER"})
        ),
        "the message was kept at an attempt before": lambda url: _with_stream(url, {"attempts": 2}),
    },
    "redis": {
        **_COMMON,
        "it is full": _redis_full,
        "the key is no stream": _redis_text,
        "the message was kept at an attempt before": lambda url: publish(url, attempts=2),
    },
    "amqp": {
        "nobody listens there": _away,
        "it refuses the login or the virtual host": _no_login_or_host,
        "no queue takes the message, or there is no such exchange": _no_route,
        "a queue is full and refuses": _full_queue,
        "the user may not publish there, or the message is too large": _never_taken_by_amqp,
    },
    "mqtt": {
        **_COMMON,
        "nobody subscribes to the topic": publish,
        "the user may not publish there, or the message is too large": _never_taken_by_mqtt,
    },
}
_SERVERS = {"nats": "nats_server", "redis": "redis_server", "amqp": "rabbitmq", "mqtt": "mosquitto"}
_ROWS = [
    pytest.param(kind, fault, marks=[pytest.mark.xdist_group("rabbitmq")] if kind == "amqp" else [])  # one server
    for kind, cases in CASES.items()
    for fault in cases
]


@pytest.mark.parametrize("kind", CASES)
def test_each_row_has_its_case(kind: str) -> None:
    assert list(CASES[kind]) == list(fault_rows(kind))


@pytest.mark.parametrize(("kind", "fault"), _ROWS)
async def test_what_the_table_says_happens(request: pytest.FixtureRequest, kind: str, fault: str) -> None:
    server: BrokerServer = request.getfixturevalue(_SERVERS[kind])
    outcomes = await CASES[kind][fault](server.url)
    assert {happens(ended) for ended in outcomes} == {fault_rows(kind)[fault]}, outcomes
