"""Attacks by what an event holds on the systems that actions talk to: addresses, mail headers, Slack's markup, SQL."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from actions.email import Email, EmailSettings, escape_name
from actions.http_forward import HttpForward
from actions.slack import Slack, SlackSettings
from gateway.config.load import load
from gateway.plugin import DatabaseConnection, HttpConnection, Reject, Retry, SlackConnection, SmtpConnection
from gateway.plugin.addresses import why_refused
from gateway.plugin.http_client import AddressRefused, guarded_session
from gateway.testing import make_event, run_action
from tests.contract.actions.servers import Mailbox, Service, mail, service

__all__ = ["mail", "service"]  # fixtures
PRIVATE = [
    "127.0.0.1",
    "127.1.2.3",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "198.18.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fc00::1",
    "fec0::1",
    "::ffff:10.0.0.1",
    "::ffff:0:10.0.0.1",
    "::10.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b:1::10.0.0.1",
    "64:ff9b:1:a00:0:100::",
    "2002:a00:1::",
    "2001:0:a00:1::1",
    "2001:0:808:808::f5ff:fffe",
    "2001:db8::1",
]
NEVER = [
    "169.254.169.254",
    "169.254.170.2",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "fe80::1",
    "fe80::1%eth0",
    "fd00:ec2::254",
    "fd20:ce::254",
    "fd00:c1::a9fe:a9fe",
    "::ffff:169.254.169.254",
    "::ffff:0:169.254.169.254",
    "::169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::a9fe:a9fe",
    "64:ff9b:1:a9fe:a9:fe00::",
    "2002:a9fe:a9fe::",
    "2001:0:808:808::5601:5601",
]
PUBLIC = ["8.8.8.8", "1.1.1.1", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"]


@pytest.mark.parametrize("address", PRIVATE)
def test_a_private_address_in_any_form_is_reached_only_where_it_is_allowed(address: str) -> None:
    assert "private address" in (why_refused(address, False) or "")
    assert why_refused(address, True) is None


@pytest.mark.parametrize("address", NEVER)
def test_a_metadata_or_link_local_address_in_any_form_is_never_reached(address: str) -> None:
    for allowed in (False, True):
        assert "which is never reached" in (why_refused(address, allowed) or "")


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_reached(address: str) -> None:
    assert why_refused(address, False) is None


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "localhost", "[::ffff:7f00:1]"])
async def test_a_host_in_odd_digits_is_what_the_system_makes_of_it(service: Service, host: str) -> None:
    """Whatever a name or a number becomes, the address that is connected to is looked at."""
    port = service.url.rstrip("/").rpartition(":")[2]
    connection = HttpConnection.model_validate({"type": "http", "url": f"http://{host}:{port}/"})
    with pytest.raises((Reject, Retry)):  # refused, or no host at all
        await run_action(HttpForward(), {"connection": "w"}, connection=connection)
    assert service.requests == []


class Rebinding(AbstractResolver):
    """A name server that says a public address first, and a private one when it is asked again."""

    def __init__(self) -> None:
        self.answers = ["8.8.8.8", "127.0.0.1"]
        self.asked = 0

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[ResolveResult]:
        address = self.answers[min(self.asked, 1)]
        self.asked += 1
        return [{"hostname": host, "host": address, "port": port, "family": 2, "proto": 6, "flags": 0}]

    async def close(self) -> None:
        """Nothing is open."""


async def test_a_name_that_changes_between_check_and_connect_is_refused_at_the_socket(service: Service) -> None:
    names = Rebinding()
    assert why_refused((await names.resolve("evil.example"))[0]["host"], False) is None  # what a check would see
    port = service.url.rstrip("/").rpartition(":")[2]
    async with guarded_session() as session:
        connector = session.connector
        assert isinstance(connector, aiohttp.TCPConnector)
        connector._resolver = names
        with pytest.raises(aiohttp.ClientConnectorError) as caught:
            await session.get(f"http://evil.example:{port}/", allow_redirects=False)
    assert isinstance(caught.value.os_error, AddressRefused)
    assert service.requests == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_to_metadata_is_not_followed(service: Service, status: int) -> None:
    service.say(status, Location="http://169.254.169.254/latest/meta-data/")
    connection = HttpConnection.model_validate({"type": "http", "url": service.url, "allow_private": True})
    with pytest.raises(Reject, match="a redirect, which is never followed"):
        await run_action(HttpForward(), {"connection": "w"}, connection=connection)
    assert len(service.requests) == 1


@pytest.mark.parametrize("url", ["//evil.example/", "http://evil.example", "\\\\evil.example/", "http:evil", "@evil"])
async def test_a_url_from_an_event_stays_at_the_connections_origin(service: Service, url: str) -> None:
    connection = HttpConnection.model_validate({"type": "http", "url": service.url, "allow_private": True})
    with contextlib.suppress(Reject):
        await run_action(HttpForward(), {"connection": "w", "url": url}, connection=connection)
    for request, _ in service.requests:
        assert request.host == service.url.split("/")[2]


# -- mail -----------------------------------------------------------------------------------------------------

NAMES = [
    "Eve, eve@evil.example",
    "eve@evil.example, Eve",
    "eve@evil.example",
    "eve@evil.example;",
    "Eve <eve@evil.example>,",
    'Eve" <eve@evil.example>, "x',
    "Eve: eve@evil.example;",
    "(eve@evil.example)",
    "Eve\r\nBcc: eve@evil.example",
    "Eve\nTo: eve@evil.example\n\nbody",
    "Eve\u2028Bcc: eve@evil.example",
    "=?utf-8?q?eve=40evil.example=2C?=",
    "\\",
]


@pytest.mark.parametrize(
    "around", ["{{ object.name }} <{{ object.email }}>", '"{{ object.name }}" <{{ object.email }}>']
)
@pytest.mark.parametrize("name", NAMES)
async def test_a_customers_name_brings_no_recipient_and_no_header(
    mail: tuple[Mailbox, dict[str, Any]], tmp_path: Path, name: str, around: str
) -> None:
    box, given = mail
    rendered = _rendered(tmp_path, "email", around, {"name": name, "email": "bob@x.example"})
    letter = {
        "connection": "mail",
        "to": rendered,
        "subject": f"Order of {name}",
        "text": name,
        "headers": {"X-Who": name},
    }
    await run_action(Email(), letter, connection=SmtpConnection.model_validate(given))
    assert box.recipients == ["bob@x.example"]
    (message,) = box.mails
    assert message["Bcc"] is None
    assert [address.addr_spec for address in message["To"].addresses] == ["bob@x.example"]
    assert len(message.get_all("Subject", [])) == len(message.get_all("To", [])) == 1


def test_several_recipients_can_still_be_given(tmp_path: Path) -> None:
    assert _rendered(tmp_path, "email", "{{ object.to }}", {"to": ["a@x.example", "b@x.example"]}) == [
        "a@x.example",
        "b@x.example",
    ]
    assert (
        _rendered(tmp_path, "email", "{{ object.to }}", {"to": "a@x.example, b@x.example"})
        == "a@x.example, b@x.example"
    )
    assert escape_name("Zoë O'Neil-Smith Jr.") == "Zoë O'Neil-Smith Jr."


# -- Slack ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["<!channel>", "<!here|hi>", "<@U012AB3CD>", "<#C123>", "<https://evil.example|acme.example>", "&lt;!channel&gt;"],
)
async def test_a_customers_name_calls_nobody_in_slack(service: Service, tmp_path: Path, name: str) -> None:
    rendered = _rendered(tmp_path, "slack", "Order of {{ object.name }}", {"name": name})
    connection = SlackConnection.model_validate({"type": "slack", "webhook_url": service.url})
    service.say(200, "ok")
    await run_action(Slack(), {"connection": "sales", "text": rendered}, connection=connection)
    text = json.loads(service.requests[0][1])["text"]
    assert "<" not in text
    assert ">" not in text
    assert text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") == f"Order of {name}"


def _rendered(folder: Path, action: str, template: str, fields: dict[str, Any]) -> Any:
    """What the gateway makes of a template of `to` or `text`."""
    with_ = {"email": "to", "slack": "text"}
    (folder / "gateway.yaml").write_text(
        f"""\
version: 1
accounts: {{acme: {{signing_secrets: [whsec_a]}}}}
connections:
  email: {{type: smtp, host: localhost, from: a@b.example}}
  slack: {{type: slack, webhook_url: "https://hooks.slack.example/x"}}
routes:
  r:
    events: [checkout.session.completed]
    actions:
      it: {{uses: {action}, with: {{connection: {action}, {with_[action]}: {json.dumps(template)}{
            ", subject: s, text: t" if action == "email" else ""
        }}}}}
"""
    )
    event = make_event(object=fields)
    use = load(folder / "gateway.yaml", {}).routes[0].actions[0]
    settings = use.settings.render({"event": event, "object": event["data"]["object"]}).settings
    assert isinstance(settings, (EmailSettings, SlackSettings))
    return settings.to if isinstance(settings, EmailSettings) else settings.text


# -- SQL ------------------------------------------------------------------------------------------------------

QUOTE = '"'
EVIL = """x'); DROP TABLE victims; --|x"; DROP TABLE victims; --|x` ; DROP TABLE victims|1 OR 1=1|%s|:a|?|a"b|a`b|a'b"""


@pytest.mark.parametrize("evil", EVIL.split("|"))
@pytest.mark.parametrize("place", ["table", "column", "key", "value"])
async def test_sql_in_a_name_or_a_value_is_data(tmp_path: Path, place: str, evil: str) -> None:
    from actions.db_upsert import DbUpsert

    with sqlite3.connect(tmp_path / "shop.db") as database:
        database.execute("CREATE TABLE victims (id TEXT)")
        database.execute("INSERT INTO victims VALUES ('alive')")
    database.close()
    column = evil if place == "column" else "name"
    given = {
        "connection": "shop",
        "table": evil if place == "table" else "orders",
        "key": {evil if place == "key" else "id": "1"},
        "values": {column: evil},
        "ensure_table": True,
    }
    connection = DatabaseConnection.model_validate({"type": "database", "url": f"sqlite:///{tmp_path}/shop.db"})
    for _ in range(2):
        await run_action(DbUpsert(), given, connection=connection)
    database = sqlite3.connect(tmp_path / "shop.db")
    assert database.execute("SELECT id FROM victims").fetchall() == [("alive",)]
    quoted = str(given["table"]).replace('"', '""')
    assert database.execute(f'SELECT "{column.replace(QUOTE, QUOTE * 2)}" FROM "{quoted}"').fetchall() == [(evil,)]
    database.close()
