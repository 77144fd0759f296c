"""What the built-in actions tell `gateway doctor`, on real parts. Nothing is written, nothing is sent."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from aiosmtpd.smtp import SMTP

from actions.db_upsert import DbUpsert
from actions.email import Email
from actions.http_forward import HttpForward
from actions.slack import Slack
from gateway.plugin import DatabaseConnection, Finding, HttpConnection, SlackConnection, SmtpConnection
from gateway.plugin.database import open_engine
from gateway.testing import probe_action
from tests.acceptance.harness import free_port
from tests.contract.actions.servers import SECRET, Mailbox, Service
from tests.contract.actions.test_db_upsert import sql
from tests.http_service import Serve

# -- db_upsert ------------------------------------------------------------------------------------------------

ORDERS = {
    "connection": "shop",
    "table": "orders",
    "key": {"session_id": "{{ object.id }}"},
    "values": {"amount": "{{ object.amount_total }}"},
    "newest": {"column": "stripe_created", "value": "{{ event.created }}"},
}


def database(url: str) -> DatabaseConnection:
    return DatabaseConnection.model_validate({"type": "database", "url": url})


async def make_orders(url: str, *columns: sa.Column[Any], unique: bool = True) -> None:
    """The table `orders` with its key and these columns."""
    key = sa.Column("session_id", sa.String(80), primary_key=unique)
    engine = open_engine(url, ".", 1)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(sa.MetaData().create_all, tables=[])
            await connection.execute(sa.schema.CreateTable(sa.Table("orders", sa.MetaData(), key, *columns)))
    finally:
        await engine.dispose()


def amount() -> sa.Column[Any]:
    return sa.Column("amount", sa.Integer)


def created() -> sa.Column[Any]:
    return sa.Column("stripe_created", sa.BigInteger)


async def test_a_table_that_fits_is_good(database_url: str) -> None:
    await make_orders(database_url, amount(), created())
    answers, table = await probe_action(DbUpsert(), ORDERS, connection=database(database_url))
    assert answers.verdict == "good"
    assert answers.text.startswith(("answers: SQLite 3.", "answers: PostgreSQL 1", "answers: MariaDB 1"))
    good = Finding.good("table orders has its 3 columns and a unique index on its key", use="test.1")
    if database_url.startswith("mysql"):  # by its defaults ab-1 and AB-1 are one key
        told = (
            "key column session_id has the collation utf8mb4_general_ci, by which keys that differ in case or accents"
        )
        assert (table.verdict, table.fix) == ("note", "give session_id a binary collation")
        assert table.text.startswith(told)
        await sql(database_url, "ALTER TABLE orders MODIFY session_id VARCHAR(80) COLLATE utf8mb4_bin")
        _, table = await probe_action(DbUpsert(), ORDERS, connection=database(database_url))
    assert table == good


async def test_missing_columns_are_named_with_the_nearest(database_url: str) -> None:
    await make_orders(database_url, sa.Column("amont", sa.Integer))
    _, table = await probe_action(DbUpsert(), ORDERS, connection=database(database_url))
    assert table == Finding.bad(
        "table orders has no columns amount, stripe_created (did you mean amont?)",
        "add the columns to orders, or mend the name in key, values or newest",
        use="test.1",
    )


async def test_a_key_without_a_unique_index_is_told_with_the_sql_that_adds_it(database_url: str) -> None:
    await make_orders(database_url, amount(), created(), unique=False)
    _, table = await probe_action(DbUpsert(), ORDERS, connection=database(database_url))
    quote = "`" if database_url.startswith("mysql") else '"'
    assert table == Finding.bad(
        "table orders has no primary key or unique index on exactly (session_id), so a second run "
        "could not find its row",
        "CREATE UNIQUE INDEX ~orders_session_id_key~ ON ~orders~ (~session_id~)".replace("~", quote),
        use="test.1",
    )


async def test_a_missing_table_is_bad_unless_it_is_ensured_or_known_only_later(database_url: str) -> None:
    await make_orders(database_url)
    uses: list[dict[str, Any]] = [
        {**ORDERS, "table": "refunds"},
        {**ORDERS, "table": "refunds", "ensure_table": True},
        {**ORDERS, "table": "{{ account.name }}_orders"},
        {**ORDERS, "key": "{{ vars.key }}", "values": "{{ vars.values }}", "newest": "{{ vars.newest }}"},
    ]
    _, *found = await probe_action(DbUpsert(), *uses, connection=database(database_url))
    assert found == [
        Finding.bad("there is no table refunds", "create it, or say ensure_table: true", use="test.1"),
        Finding.good("there is no table refunds yet; the first row makes it", use="test.2"),
        Finding.note("table '{{ account.name }}_orders' is known only when it runs: not looked at", use="test.3"),
        Finding.note("table orders is there; its key is known only when it runs", use="test.4"),
    ]


async def test_a_sqlite_file_is_not_made_by_looking(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'data' / 'shop.db'}"
    file, table = await probe_action(DbUpsert(), ORDERS, connection=database(url))
    assert file == Finding.good("there is no file shop.db yet; the first row makes it")
    assert table == Finding.bad("there is no table orders", "create it, or say ensure_table: true", use="test.1")
    assert list(tmp_path.iterdir()) == []


async def test_a_database_that_is_away_is_told_without_its_password() -> None:
    url = f"postgresql://me:topsecret@127.0.0.1:{free_port()}/shop"
    (away,) = await probe_action(DbUpsert(), ORDERS, connection=database(url))
    assert away.verdict == "bad"
    assert away.text.startswith("does not answer: ")
    assert "topsecret" not in away.text
    assert away.fix == "look at the connection's url, the rights of its user, and whether the database is up"


# -- email ----------------------------------------------------------------------------------------------------

Mail = tuple[Mailbox, dict[str, Any]]
_SENDER_FIX = "give a sender that the server lets this login use"


async def test_a_mail_server_is_asked_for_everything_but_mail(mail: Mail) -> None:
    box, given = mail
    uses = [{"from": "Shop <stranger@acme.example>"}, {"from": "{{ account.vars.sender }}"}, {"from": "no address"}]
    ago = lambda: datetime.now(UTC) - timedelta(days=30)  # noqa: E731 - when the certificate was far from its end
    found = await probe_action(Email(), *uses, connection=SmtpConnection.model_validate(given), now=ago)
    until = (datetime.now(UTC) + timedelta(days=2)).strftime("%Y-%m-%d")
    assert found == [
        Finding.good(f"answers with STARTTLS, certificate good until {until}, takes the login of me"),
        Finding.good("takes the sender orders@acme.example; nothing was sent"),
        Finding.bad("does not take the sender stranger@acme.example: 553 not your address", _SENDER_FIX, use="test.1"),
        Finding.bad("from: 'no address' is no mail address", "write it as Acme <orders@acme.example>", use="test.3"),
    ]
    assert box.mails == []


async def test_a_certificate_that_ends_soon_is_noted(mail: Mail) -> None:
    greeting, _ = await probe_action(Email(), connection=SmtpConnection.model_validate(mail[1]))
    assert (greeting.verdict, greeting.fix) == ("note", "have the server's certificate renewed")


@pytest.mark.parametrize(
    ("change", "words", "fix"),
    [
        ({"password": "wrong"}, "refused the login of me: 535", "look at username and password"),
        (
            {"ca_file": None},
            "the certificate of localhost is not good: self-signed certificate",
            "give the certificate's own name as host, or the authority that signed it as ca_file",
        ),
        (
            {"ca_file": "no/such.pem"},
            "cannot read ca_file no/such.pem",
            "put the PEM file there; relative paths start at the folder of gateway.yaml",
        ),
        (
            {"port": 9},
            "cannot talk to localhost:9",
            "look at host, port and tls (starttls), and whether the server is up",
        ),
    ],
)
async def test_what_keeps_mail_from_its_server_is_told_with_the_fix(
    mail: Mail, change: dict[str, Any], words: str, fix: str
) -> None:
    (found,) = await probe_action(Email(), connection=SmtpConnection.model_validate({**mail[1], **change}))
    assert found.verdict == "bad"
    assert words in found.text
    assert "topsecret" not in found.text
    assert found.fix == fix


async def test_a_server_without_starttls_is_told(plain_mail: int) -> None:
    given = {"type": "smtp", "host": "localhost", "port": plain_mail, "from": "a@b.example"}
    (found,) = await probe_action(Email(), connection=SmtpConnection.model_validate(given))
    assert found.fix == "say tls: implicit (port 465) where the server begins with TLS, tls: none where it has none"
    good = await probe_action(Email(), connection=SmtpConnection.model_validate({**given, "tls": "none"}))
    assert [one.text for one in good] == ["answers without TLS", "takes the sender a@b.example; nothing was sent"]


# -- http_forward ---------------------------------------------------------------------------------------------


def http(url: str, **more: Any) -> HttpConnection:
    return HttpConnection.model_validate({"type": "http", "url": url, "signing_secret": SECRET, **more})


@pytest.mark.parametrize(
    ("status", "verdict", "words"),
    [
        (200, "good", "reached"),
        (405, "good", "reached"),
        (401, "note", "forwards carry a signature that this request lacks"),
        (404, "note", "the path perhaps wrong"),
        (302, "bad", "a redirect, which is never followed"),
        (410, "bad", "gone"),
        (502, "bad", "it fails"),
    ],
)
async def test_a_service_is_asked_its_options_and_nothing_more(
    service: Service, status: int, verdict: str, words: str
) -> None:
    service.say(status)
    connection = http(service.url, allow_private=True, headers={"Authorization": "Bearer topsecret"})
    (found,) = await probe_action(HttpForward(), {}, connection=connection)
    assert found.verdict == verdict
    assert found.text.startswith(f"answers {status} to OPTIONS, unsigned")
    assert words in found.text
    ((request, body),) = service.requests
    assert (request.method, body, request.headers["Authorization"]) == ("OPTIONS", b"", "Bearer topsecret")
    assert "webhook-signature" not in request.headers


async def test_each_address_is_asked_once(service: Service) -> None:
    uses = [
        {"url": "/orders"},
        {"url": "/orders"},
        {"url": "/orders/{{ object.id }}"},
        {"url": "http://other.example/"},
    ]
    found = await probe_action(HttpForward(), *uses, connection=http(service.url, allow_private=True))
    assert [request.path for request, _ in service.requests] == ["/", "/orders"]
    assert [(one.use, one.verdict) for one in found] == [("test.4", "bad"), ("", "good"), ("test.1", "good")]


async def test_why_an_address_is_never_connected_to_is_told(service: Service) -> None:
    (found,) = await probe_action(HttpForward(), connection=http(service.url))
    assert found == Finding.bad(
        "is never connected to: 127.0.0.1 is a private address; say allow_private: true, or list its network, "
        "if it is meant",
        "give an address that may be reached; allow_private allows private ones, never metadata addresses",
    )
    assert service.requests == []


async def test_a_service_that_is_away_or_speaks_no_http_is_told(service: Service, plain_mail: int) -> None:
    port = free_port()
    (away,) = await probe_action(HttpForward(), connection=http(f"http://127.0.0.1:{port}/", allow_private=True))
    assert away.text.startswith(f"cannot connect to 127.0.0.1:{port}: ")
    (other,) = await probe_action(HttpForward(), connection=http(f"http://127.0.0.1:{plain_mail}/", allow_private=True))
    assert other.text.startswith("does not speak HTTP: ")


async def test_a_certificate_that_nobody_vouches_for_is_told(mail: Mail, serve: Serve) -> None:
    certificate = Path(mail[1]["ca_file"])
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    url = (await serve(Service().take, ssl=context)).replace("127.0.0.1", "localhost")
    (found,) = await probe_action(HttpForward(), connection=http(f"{url}/", allow_private=True))
    assert found == Finding.bad(
        "the certificate of localhost is not good: self-signed certificate",
        "have it renewed, use the name that is in it, or give its issuer as ca_file",
    )


# -- slack ----------------------------------------------------------------------------------------------------

GOOD_WEBHOOK = "the webhook is good: it refuses an empty message, and nothing was posted"
MESSAGE = {"connection": "sales", "text": "hi"}


def slack(**given: Any) -> SlackConnection:
    return SlackConnection.model_validate({"type": "slack", **given})


@pytest.mark.parametrize(
    ("status", "text", "verdict", "shown", "fix"),
    [
        (400, "no_text", "good", GOOD_WEBHOOK, ""),
        (400, "invalid_payload", "good", GOOD_WEBHOOK, ""),
        (404, "no_service", "bad", "Slack answers 404: no_service",
         "the webhook was removed or its app disabled; make a new one"),
        (403, "action_prohibited", "bad", "Slack answers 403: action_prohibited",
         "an admin of the workspace forbids it"),
        (403, "invalid_token", "bad", "Slack answers 403: invalid_token",
         "make a new webhook in the Slack app's settings, and put it into webhook_url"),
        (200, "ok", "bad", "what answers is not Slack: it took an empty message", "look at webhook_url"),
        (429, "", "note", "Slack answers 429: not to be known now", "ask again later"),
    ],
)  # fmt: skip
async def test_an_empty_message_tells_whether_a_webhook_is_good(
    service: Service, status: int, text: str, verdict: str, shown: str, fix: str
) -> None:
    service.say(status, text)
    (found,) = await probe_action(Slack(), MESSAGE, connection=slack(webhook_url=service.url))
    assert (found.verdict, found.text, found.fix) == (verdict, shown, fix)
    ((_, body),) = service.requests
    assert body == b"{}"


async def test_a_token_is_asked_of_auth_test(service: Service) -> None:
    service.say(200, '{"ok": true, "user": "shopbot", "team": "Acme"}', x_oauth_scopes="channels:read,chat:write")
    connection = slack(token="xoxb-topsecret", channel="#orders", api_url=f"{service.url}api")
    (found,) = await probe_action(Slack(), MESSAGE, connection=connection)
    assert found == Finding.good("the token is good: shopbot in Acme")
    ((request, _),) = service.requests
    assert (request.path, request.headers["Authorization"]) == ("/api/auth.test", "Bearer xoxb-topsecret")
    service.say(200, '{"ok": true, "user": "shopbot", "team": "Acme"}', x_oauth_scopes="channels:read")
    (found,) = await probe_action(Slack(), MESSAGE, connection=connection)
    assert found == Finding.bad(
        "the token of shopbot in Acme lacks the scope chat:write", "give the bot the scope chat:write"
    )
    service.say(200, '{"ok": false, "error": "token_revoked"}')
    (found,) = await probe_action(Slack(), MESSAGE, connection=connection)
    assert found == Finding.bad("Slack says token_revoked", "the token was revoked")


async def test_what_a_use_cannot_do_with_its_slack_connection_is_told(service: Service) -> None:
    service.say(400, "no_text")
    _, thread = await probe_action(Slack(), {**MESSAGE, "channel": "#a"}, connection=slack(webhook_url=service.url))
    assert thread == Finding.bad(
        "channel and thread_ts need a bot token; an incoming webhook has its own channel",
        "give the connection a token, or leave them out",
        use="test.1",
    )
    (none,) = await probe_action(Slack(), MESSAGE, connection=slack())
    assert none == Finding.bad("has neither webhook_url nor token", "give one of them")
    service.say(200, '{"ok": true, "user": "shopbot", "team": "Acme"}')
    _, channel = await probe_action(Slack(), MESSAGE, connection=slack(token="xoxb-1", api_url=service.url))
    assert channel == Finding.bad(
        "a bot token needs a channel", "give channel, here or in the connection", use="test.1"
    )


@pytest.fixture
async def plain_mail() -> AsyncIterator[int]:
    """The port of a mail server without TLS."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(Mailbox(), loop=loop), "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
