"""Whether a destination is there again, as each action sees it on the real part."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis

from actions.db_query import DbQuery
from actions.db_upsert import DbUpsert
from actions.email import Email
from actions.http_forward import HttpForward
from actions.publish import BrokerConnection, Publish
from actions.slack import Slack
from gateway.core.tasks import cancel
from gateway.plugin import Action, DatabaseConnection, HttpConnection, Reject, Retry, SlackConnection, SmtpConnection
from gateway.plugin.web_client import WebClient
from gateway.testing import probe_action
from tests.acceptance.harness import free_port
from tests.contract.actions.brokers import BrokerServer, mosquitto, nats_server, rabbitmq, redis_server
from tests.contract.actions.servers import Mailbox, Service
from tests.contract.actions.test_database_connections import connection, mariadb_user
from tests.contract.actions.test_db_upsert import ON_MARIADB, ON_POSTGRESQL, connection_to, sql
from tests.waiting import until

__all__ = ["mosquitto", "nats_server", "rabbitmq", "redis_server"]  # fixtures

Look = Callable[[], Awaitable[bool]]


@asynccontextmanager
async def looking(action: Action[Any], connection: Any, folder: Path) -> AsyncIterator[Look]:
    """Asks as a gateway does: what is raised means no."""
    resource = await action.open(connection, str(folder))

    async def look() -> bool:
        try:
            return await action.is_reached(connection, resource)
        except (Retry, Reject, OSError):
            return False

    yield look
    await action.close(resource)


# -- databases ------------------------------------------------------------------------------------------------


@ON_POSTGRESQL
async def test_a_postgresql_that_only_reads_is_there_for_queries_alone(postgresql_url: str, tmp_path: Path) -> None:
    above = f"{postgresql_url}&options=-c%20default_transaction_read_only%3Doff"  # of what holds for the database
    alter = f'ALTER DATABASE "{urlsplit(postgresql_url).path[1:]}" SET default_transaction_read_only ='
    given = connection_to(postgresql_url)
    async with looking(DbUpsert(), given, tmp_path) as writes, looking(DbQuery(), given, tmp_path) as reads:
        await sql(above, f"{alter} on")
        assert (await writes(), await reads()) == (False, True)
        await sql(above, f"{alter} off")
        assert (await writes(), await reads()) == (True, True)


@ON_MARIADB
async def test_a_mariadb_that_only_reads_is_there_for_queries_alone(
    mariadb_url: str, mariadb_socket: Path, tmp_path: Path
) -> None:
    database = urlsplit(mariadb_url).path[1:]
    async with mariadb_user(mariadb_socket, database, "x") as user:
        given = connection(url="mysql://", host=str(mariadb_socket), user=user, password="x", database=database)
        async with looking(DbUpsert(), given, tmp_path) as writes, looking(DbQuery(), given, tmp_path) as reads:
            await sql(mariadb_url, "SET GLOBAL read_only = 1")
            try:
                assert (await writes(), await reads()) == (False, True)
            finally:
                await sql(mariadb_url, "SET GLOBAL read_only = 0")
            assert (await writes(), await reads()) == (True, True)


async def test_a_database_that_is_away_and_a_folder_that_is_none_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for url in (f"postgresql://127.0.0.1:{free_port()}/x", f"mysql://127.0.0.1:{free_port()}/x", "sqlite:///file/x.db"):
        async with looking(DbUpsert(), DatabaseConnection(type="database", url=url), tmp_path) as look:
            assert not await look(), url
    async with looking(DbUpsert(), DatabaseConnection(type="database", url="sqlite:///x.db"), tmp_path) as look:
        assert await look()


# -- brokers --------------------------------------------------------------------------------------------------


async def is_away(look: Look) -> bool:
    return not await look()


@pytest.mark.parametrize("server", ["redis_server", "nats_server", "mosquitto"])
async def test_a_broker_is_there_once_it_answers(server: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    broker: BrokerServer = request.getfixturevalue(server)
    async with looking(Publish(), BrokerConnection(type="broker", url=broker.url), tmp_path) as look:
        assert await look()
        broker.stop()
        await until(lambda: is_away(look))  # paho hears of it in a thread of its own
        broker.start()
        assert await look()


@pytest.mark.slow
@pytest.mark.xdist_group("rabbitmq")
async def test_rabbitmq_is_there_once_it_answers(rabbitmq: BrokerServer, tmp_path: Path) -> None:
    nobody = rabbitmq.url.replace(str(rabbitmq.port), str(free_port()))
    for url, is_there in ((rabbitmq.url, True), (nobody, False)):
        async with looking(Publish(), BrokerConnection(type="broker", url=url), tmp_path) as look:
            assert await look() is is_there


async def test_a_redis_that_became_a_replica_is_not_there_and_doctor_says_why(
    redis_server: BrokerServer, tmp_path: Path
) -> None:
    given = BrokerConnection(type="broker", url=redis_server.url)
    client = Redis.from_url(redis_server.url)
    async with looking(Publish(), given, tmp_path) as look:
        await client.replicaof("127.0.0.1", free_port())
        assert not await look()
        [finding] = await probe_action(Publish(), connection=given)
        await client.replicaof("NO", "ONE")
        assert await look()
    await client.aclose()
    assert finding.text.endswith("answers as a replica, which takes no writes")


# -- mail and HTTP --------------------------------------------------------------------------------------------


async def test_a_mail_server_is_there_once_it_takes_the_login(
    mail: tuple[Mailbox, dict[str, Any]], tmp_path: Path
) -> None:
    _, keys = mail
    for given, is_there in ((keys, True), (keys | {"port": free_port()}, False), (keys | {"password": "no"}, False)):
        async with looking(Email(), SmtpConnection(**given), tmp_path) as look:
            assert await look() is is_there


async def test_looks_at_a_mail_server_leave_no_session_open(
    mail: tuple[Mailbox, dict[str, Any]], tmp_path: Path
) -> None:
    connection = SmtpConnection(**mail[1])
    pool = await Email().open(connection, str(tmp_path))
    for _ in range(3):
        assert await Email().is_reached(connection, pool)
    assert pool._idle == []
    await pool.close()


async def test_an_http_service_is_there_once_somebody_listens_and_is_sent_nothing(
    service: Service, tmp_path: Path
) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    cases: list[tuple[Action[Any], Any, bool]] = [
        (HttpForward(), HttpConnection(type="http", url=service.url, allow_private=True), True),
        (HttpForward(), HttpConnection(type="http", url=service.url), False),  # a private address, which is not allowed
        (HttpForward(), HttpConnection(type="http", url=nobody, allow_private=True), False),
        (HttpForward(), HttpConnection(type="http", url="https://x.example", allow_private=True, proxy=nobody), False),
        (HttpForward(), HttpConnection(type="http", url=nobody, allow_private=True, proxy=service.url), True),
        (Slack(), SlackConnection(type="slack", webhook_url=service.url), True),
        (Slack(), SlackConnection(type="slack", token="xoxb-1", api_url=nobody), False),
    ]  # fmt: skip
    for action, given, is_there in cases:
        async with looking(action, given, tmp_path) as look:
            assert await look() is is_there, given
    assert service.requests == []


async def test_while_dns_is_away_looks_wait_for_one_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = HttpConnection(type="http", url="http://shop.example", allow_private=True)
    is_back, asked = asyncio.Event(), []

    async def addresses(host: str, port: int | None) -> list[Any]:
        asked.append((host, port))
        await is_back.wait()
        raise socket.gaierror("no such name")

    monkeypatch.setattr("gateway.plugin.web_client._addresses", addresses)
    client = WebClient(connection, ".")
    looks = [asyncio.create_task(client.is_listening(connection.url)) for _ in range(3)]
    await until(lambda: asked)
    await cancel(*looks)  # as at the end of their time
    last = asyncio.create_task(client.is_listening(connection.url))
    is_back.set()
    with pytest.raises(OSError, match="no such name"):
        await last
    assert asked == [("shop.example", 80)]
    with pytest.raises(OSError, match="no such name"):  # and then it is asked anew
        await client.is_listening(connection.url)
    assert len(asked) == 2
    await client.close()
