"""publish on real brokers: acknowledged messages, known duplicates, failures told apart, lost connections."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import nats
import pytest
from nats.js.api import StreamConfig
from redis.asyncio import Redis

from actions.publish import BrokerConnection, Publish
from gateway.plugin import Finding
from gateway.testing import Trial, make_event, probe_action, problems
from tests.acceptance.harness import free_port
from tests.contract.actions.brokers import PASSWORD, BrokerServer, nats_server, redis_server

__all__ = ["nats_server", "redis_server"]  # fixtures

SCHEMES = (
    "connections.it.url: expected a URL that begins with nats://, tls://, redis://, rediss://, unix://, amqp://, "
    "amqps://, mqtt://, mqtts://, found something else"
)
EVENT = make_event("checkout.session.completed", id="evt_1")


def trial(
    url: str, to: str = "orders.paid", *, delivery_id: str = "dlv_1", timeout: str = "30s", **given: Any
) -> Trial:
    connection = {"type": "broker", "url": url}
    return Trial(
        Publish(), {"to": to, **given}, connection=connection, event=EVENT, delivery_id=delivery_id, timeout=timeout
    )


def broker(url: str) -> BrokerConnection:
    return BrokerConnection.model_validate({"type": "broker", "url": url})


# -- NATS JetStream -------------------------------------------------------------------------------------------


@pytest.fixture
async def orders(nats_server: BrokerServer) -> AsyncIterator[Any]:
    """A stream that takes orders.>, as its reader sees it."""
    client = await nats.connect(nats_server.url)
    stream = client.jetstream()
    await stream.add_stream(StreamConfig(name="ORDERS", subjects=["orders.>"]))
    yield stream
    await client.close()


async def test_jetstream_keeps_the_event_under_the_deliverys_id(nats_server: BrokerServer, orders: Any) -> None:
    async with trial(nats_server.url) as one:
        ended = await one.attempt()
    assert ended.error is None
    assert ended.output == {"stream": "ORDERS", "position": "1", "duplicate": False}
    kept = await orders.get_msg("ORDERS", 1)
    assert (kept.subject, json.loads(kept.data)) == ("orders.paid", EVENT)
    assert kept.headers == {
        "Nats-Msg-Id": "dlv_1",
        "Content-Type": "application/json; charset=utf-8",
        "Stripe-Event-Id": "evt_1",
        "Stripe-Event-Type": "checkout.session.completed",
    }


async def test_jetstream_knows_a_second_attempt_as_a_duplicate(nats_server: BrokerServer, orders: Any) -> None:
    async with trial(nats_server.url) as one:
        await one.attempt()
        assert (await one.attempt()).output == {"stream": "ORDERS", "position": "1", "duplicate": True}
    async with trial(nats_server.url, delivery_id="dlv_2") as other:
        assert (await other.attempt()).output == {"stream": "ORDERS", "position": "2", "duplicate": False}


async def test_a_subject_body_and_headers_of_ones_own(nats_server: BrokerServer, orders: Any) -> None:
    given: dict[str, Any] = {
        "body": {"order": "{{ object.metadata.order_id }}"},
        "headers": {"Shop": "{{ account.name }}"},
    }
    async with trial(nats_server.url, "orders.{{ object.currency }}", stream="ORDERS", **given) as one:
        assert (await one.attempt()).state == "succeeded"
    kept = await orders.get_msg("ORDERS", 1)
    assert (kept.subject, kept.data, kept.headers["Shop"]) == ("orders.eur", b'{"order": "6735"}', "acme")


async def test_a_subject_that_no_stream_takes_is_retried_and_does_not_pause_the_connection(
    nats_server: BrokerServer, orders: Any
) -> None:
    async with trial(nats_server.url, "refunds") as one:
        ended = await one.attempt()
        assert (ended.state, ended.is_connection_failure) == ("pending", False)
        assert ended.error == "no stream takes the subject refunds: add it to a stream's subjects"
        await orders.add_stream(StreamConfig(name="REFUNDS", subjects=["refunds"]))
        assert (await one.attempt()).state == "succeeded"


@pytest.mark.parametrize(
    ("to", "given", "told"),
    [
        ("{{ 'orders.*' }}", {}, "to 'orders.*' is no subject: words with dots between, without blanks, * and >"),
        ("{{ 'orders. x' }}", {}, "to 'orders. x' is no subject: words with dots between, without blanks, * and >"),
        ("{{ 'orders.' }}", {}, "to 'orders.' is no subject: words with dots between, without blanks, * and >"),
        ("orders.x", {"body": "x" * 5000}, "the body has 5000 bytes; the server takes 4096 (max_payload)"),
        ("orders.secret", {}, "the server lets this user not publish to orders.secret: give it the permission"),
        ("orders.x", {"stream": "OTHER"}, "JetStream refused it: expected stream does not match (code 10060)"),
        ("orders.x", {"headers": {"A": "{{ 'b\r\nc' }}"}},
         "the header 'A' may not be set so: reserved, or with a line break in it"),
    ],
)  # fmt: skip
async def test_what_jetstream_never_takes_is_dead(
    nats_server: BrokerServer, orders: Any, to: str, given: dict[str, Any], told: str
) -> None:
    async with trial(nats_server.url, to, **given) as one:
        ended = await one.attempt()
    assert (ended.state, ended.error) == ("dead", told)
    assert (await orders.stream_info("ORDERS")).state.messages == 0


async def test_a_nats_server_that_went_away_is_retried_and_reached_again(
    nats_server: BrokerServer, orders: Any
) -> None:
    async with trial(nats_server.url) as one:
        assert (await one.attempt()).state == "succeeded"
        nats_server.stop()
        away = await one.attempt()
        nats_server.start()
        back = await one.attempt()
    assert (away.state, away.is_connection_failure) == ("pending", True)
    assert away.error is not None
    assert away.error.startswith(("cannot connect: ", "the connection broke off"))
    assert PASSWORD not in away.error
    assert back.output == {"stream": "ORDERS", "position": "1", "duplicate": True}


async def test_a_refused_login_is_retried(nats_server: BrokerServer) -> None:
    async with trial(nats_server.url.replace(PASSWORD, "wrong-word")) as one:
        ended = await one.attempt()
    assert (ended.state, ended.error) == ("pending", "the server refuses the login")


async def test_a_server_that_never_answers_ends_by_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        for scheme in ("nats", "redis"):
            async with trial(f"{scheme}://127.0.0.1:{port}", timeout="300ms") as one:
                ended = await one.attempt()
            assert (ended.state, ended.is_connection_failure) == ("pending", True)
            assert ended.error == "no end after 0.3 s (its timeout); whether it took effect is not known"


async def test_the_probe_looks_at_jetstream_and_its_subjects(nats_server: BrokerServer, orders: Any) -> None:
    uses = [{"to": "orders.x"}, {"to": "refunds"}, {"to": "{{ object.id }}"}, {"to": "orders.x", "stream": "OTHER"}]
    answer, *found = await probe_action(Publish(), *uses, connection=broker(nats_server.url))
    assert answer.verdict == "good"
    assert answer.text.startswith("answers: NATS 2.")
    assert answer.text.endswith(" with JetStream")
    text = "the subject orders.x is taken by the stream ORDERS, not by OTHER"
    assert found == [
        Finding.good("the stream ORDERS takes the subject orders.x", use="test.1"),
        Finding.bad("no stream takes the subject refunds", "add it to a stream's subjects", use="test.2"),
        Finding.note("where it publishes is known only when it runs", use="test.3"),
        Finding.bad(text, "mend stream, or the subjects of the streams", use="test.4"),
    ]


# -- Redis Streams --------------------------------------------------------------------------------------------


@pytest.fixture
async def redis(redis_server: BrokerServer) -> AsyncIterator[Any]:
    """A client, to read with."""
    client = Redis.from_url(redis_server.url, decode_responses=True)
    yield client
    await client.aclose()


async def test_redis_keeps_the_event_and_the_deliverys_id(redis_server: BrokerServer, redis: Any) -> None:
    async with trial(redis_server.url, "orders") as one:
        ended = await one.attempt()
    [(position, fields)] = await redis.xrange("orders")
    assert ended.output == {"stream": "orders", "position": position, "duplicate": False}
    assert json.loads(fields.pop("body")) == EVENT
    assert fields == {
        "id": "dlv_1",
        "Content-Type": "application/json; charset=utf-8",
        "Stripe-Event-Id": "evt_1",
        "Stripe-Event-Type": "checkout.session.completed",
    }


async def test_redis_knows_a_second_attempt_for_as_long_as_the_window_says(
    redis_server: BrokerServer, redis: Any
) -> None:
    async with trial(redis_server.url, "orders", duplicate_window="2h") as one:
        first, second = await one.attempt(), await one.attempt()
    assert second.output == {**first.output, "duplicate": True}
    assert await redis.xlen("orders") == 1
    assert 7100 < await redis.ttl("{orders}:published:dlv_1") <= 7200


async def test_redis_keeps_about_so_many_entries(redis_server: BrokerServer, redis: Any) -> None:
    await redis.config_set("stream-node-max-entries", 1)
    for number in range(5):
        async with trial(redis_server.url, "orders", delivery_id=f"dlv_{number}", max_length=2) as one:
            assert (await one.attempt()).state == "succeeded"
    assert await redis.xlen("orders") <= 3


async def test_what_redis_never_takes_is_dead(redis_server: BrokerServer, redis: Any) -> None:
    await redis.set("taken", "text")
    async with trial(redis_server.url, "taken") as one:
        wrong_kind = await one.attempt()
    assert wrong_kind.state == "dead"
    assert wrong_kind.error is not None
    assert wrong_kind.error.startswith("Redis refused it: WRONGTYPE ")
    assert not await redis.exists("{taken}:published:dlv_1")


async def test_what_redis_cannot_take_now_is_retried(redis_server: BrokerServer, redis: Any) -> None:
    async with trial(redis_server.url, "orders") as one:
        await redis.config_set("maxmemory", 1)
        full = await one.attempt()
        await redis.config_set("maxmemory", 0)
        assert (await one.attempt()).output["duplicate"] is False
    assert (full.state, full.is_connection_failure) == ("pending", True)
    assert full.error is not None
    assert full.error.startswith("Redis cannot take it now: ")


async def test_a_redis_server_that_went_away_is_retried_and_reached_again(redis_server: BrokerServer) -> None:
    async with trial(redis_server.url, "orders") as one:
        first = await one.attempt()
        redis_server.stop()
        away = await one.attempt()
        redis_server.start()
        back = await one.attempt()
    assert away.state == "pending"
    assert away.error is not None
    assert away.error.startswith("the server is not reached: ")
    assert PASSWORD not in away.error
    assert back.output == {**first.output, "duplicate": True}


async def test_a_wrong_password_is_retried_and_not_told(redis_server: BrokerServer) -> None:
    async with trial(redis_server.url.replace(PASSWORD, "wrong-word"), "orders") as one:
        ended = await one.attempt()
    assert ended.state == "pending"
    assert ended.error is not None
    assert ended.error.startswith("the server refuses the login: ")
    assert "wrong-word" not in ended.error


async def test_the_probe_looks_at_redis_and_its_keys(redis_server: BrokerServer, redis: Any) -> None:
    await redis.set("taken", "text")
    await redis.xadd("orders", {"a": "b"})
    uses = [{"to": "orders"}, {"to": "taken"}, {"to": "new", "stream": "X"}]
    answer, *found = await probe_action(Publish(), *uses, connection=broker(redis_server.url))
    assert answer.verdict == "good"
    assert answer.text.startswith("answers: Redis ")
    assert found == [
        Finding.good("orders is a stream", use="test.1"),
        Finding.bad("taken is a string, not a stream", "give another key, or remove that one", use="test.2"),
        Finding.bad("stream is for JetStream, and the connection is Redis", "leave it out", use="test.3"),
        Finding.good("there is no stream new yet; the first message makes it", use="test.3"),
    ]


# -- both -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["nats", "redis"])
async def test_a_dry_run_reaches_nobody_and_shows_no_secret(scheme: str) -> None:
    async with trial(f"{scheme}://me:{PASSWORD}@127.0.0.1:{free_port()}", body={"id": "{{ object.currency }}"}) as one:
        ended = await one.rehearse()
    assert (ended.state, ended.error) == ("skipped", "dry run: nothing was sent (route trial says dry_run)")
    assert ended.rendered == {"connection": "it", "to": "orders.paid", "body": {"id": "eur"}}


@pytest.mark.parametrize(
    ("connection", "given", "told"),
    [
        (
            {"url": "kafka://host"},
            {"to": "orders"},
            SCHEMES,
        ),
        (
            {"url": "nats://a,redis://b"},
            {"to": "orders"},
            SCHEMES,
        ),
        ({"url": "nats://a"}, {}, "routes.trial.actions.publish.with: is missing to"),
        (
            {"url": "redis://a"},
            {"to": "orders", "duplicate_window": "a day"},
            "routes.trial.actions.publish.with.duplicate_window: "
            "expected a duration such as 200ms, 5s, 10m, 6h or 30d, found text 'a day'",
        ),
    ],
)
def test_what_cannot_be_right_is_told_at_check(connection: dict[str, Any], given: dict[str, Any], told: str) -> None:
    assert told in problems(Publish(), given, connection={"type": "broker", **connection})


async def test_a_broker_that_is_away_is_a_bad_finding_without_its_password() -> None:
    from gateway.plugin import Retry

    for scheme in ("nats", "redis"):
        with pytest.raises(Retry) as caught:
            await probe_action(Publish(), connection=broker(f"{scheme}://:{PASSWORD}@127.0.0.1:{free_port()}"))
        assert PASSWORD not in caught.value.message
