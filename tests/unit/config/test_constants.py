"""Constants that could never be sent are told at load, at their place. Each row: what is written, where it is told, how.

A value that a template brings is not judged before its event: the last test.
"""

from __future__ import annotations

from typing import Any

import pytest

from actions.db_upsert import DbUpsert
from actions.email import Email
from actions.http_forward import HttpForward
from actions.publish import Publish
from actions.slack import Slack
from gateway.plugin import Action
from gateway.testing import problems

MAIL = {"type": "smtp", "host": "mail.acme.example", "from": "Acme <orders@acme.example>"}
DOWNLOADS = {**MAIL, "downloads": {"hosts": ["pay.stripe.com"]}}
NATS = {"type": "broker", "url": "nats://bus.acme.example"}
REDIS = {"type": "broker", "url": "redis://bus.acme.example"}
AMQP = {"type": "broker", "url": "amqp://bus.acme.example"}
HTTP = {"type": "http", "url": "https://warehouse.example/in"}
SLACK = {"type": "slack", "token": "xoxb-1", "channel": "#orders"}
SHOP = {"type": "database", "url": "sqlite:///shop.db"}
MQTT = {"type": "broker", "url": "mqtt://bus.acme.example"}

_FORM = "(write it as Acme <orders@acme.example>)"
_QUOTES = "(put the name in quotes, within quotes of YAML: '\"Acme, Inc.\" <orders@acme.example>')"
_ONE = "expected one address such as Acme <orders@acme.example> (a name with a comma in quotes), found text "
_PARTS = "(it comes of text, html and attachments)"


def letter(**more: Any) -> dict[str, Any]:
    return {"to": "a@b.example", "subject": "s", "text": "t", **more}


def attached(**more: Any) -> dict[str, Any]:
    return letter(attachments=[{"filename": "a.pdf", **more}])


# action, its connection, `with`, where below the connection or `with`, what is told
MAILS: list[tuple[dict[str, Any], dict[str, Any], str, str]] = [
    ({**MAIL, "from": "Acme, Inc. <orders@acme.example>"}, letter(), "from",
     f"{_ONE}'Acme, Inc. <orders@acme.example>'"),
    ({**MAIL, "from": "orders at acme.example"}, letter(), "from", f"{_ONE}'orders at acme.example'"),
    ({**MAIL, "from": "a@acme.example, b@acme.example"}, letter(), "from", f"{_ONE}'a@acme.example, b@acme.example'"),
    ({**MAIL, "host": "smtp://mail.acme.example"}, letter(), "host",
     "expected a server's name or address, without smtp:// and port, found text 'smtp://mail.acme.example'"),
    ({**MAIL, "host": "mail.acme.example:587"}, letter(), "host",
     "expected a server's name or address, without smtp:// and port, found text 'mail.acme.example:587'"),
    ({**MAIL, "host": "☃.example"}, letter(), "host",
     "expected a server's name or address, without smtp:// and port, found text '☃.example'"),
    ({**MAIL, "hello": "my gateway"}, letter(), "hello",
     "expected this gateway's full host name, or its address, found text 'my gateway'"),
    ({**MAIL, "username": "a", "oauth2": {"token_url": "https://a.example/t", "client_id": "a", "proxy": "socks5://b"}},
     letter(), "oauth2.proxy", "is no proxy: socks5 is not spoken; write http://host:port, https://host:port, or env"),
    ({**MAIL, "downloads": {"hosts": ["https://pay.stripe.com/"]}}, letter(), "downloads.hosts",
     "expected the name of a host, such as pay.stripe.com, without https:// and port, found a list"),
    (MAIL, letter(to="not an address"), "with.to", f"'not an address' is no mail address {_FORM}"),
    (MAIL, letter(to=["a@b.example", "b.example"]), "with.to[1]", f"'b.example' is no mail address {_FORM}"),
    (MAIL, letter(to="Acme, Inc. <a@b.example>"), "with.to",
     f"'Acme, Inc. <a@b.example>' is no mail address {_QUOTES}"),
    (MAIL, letter(to="a@b..example"), "with.to", f"'a@b..example' is no mail address {_FORM}"),
    (MAIL, letter(to="a b@c.example"), "with.to", f"'a b@c.example' is no mail address {_FORM}"),
    (MAIL, letter(to="kunde@☃.example"), "with.to", f"'kunde@☃.example' is no mail address {_FORM}"),
    (MAIL, letter(to="a@b.example\nBcc: c@d.example"), "with.to", f"an address may hold no line break {_FORM}"),
    (MAIL, letter(to=[]), "with.to", "there is nobody to send to (give an address in to, cc or bcc)"),
    (MAIL, letter(to=""), "with.to", "there is nobody to send to (give an address in to, cc or bcc)"),
    (MAIL, letter(cc="@b.example"), "with.cc", f"'@b.example' is no mail address {_FORM}"),
    (MAIL, letter(bcc=["archive"]), "with.bcc[0]", f"'archive' is no mail address {_FORM}"),
    (MAIL, letter(reply_to="help"), "with.reply_to", f"'help' is no mail address {_FORM}"),
    (MAIL, letter(**{"from": "a@b.example, c@d.example"}), "with.from", f"exactly one sender is needed {_FORM}"),
    (MAIL, letter(headers={"Sender": "a@b.example"}), "with.headers.Sender",
     "'Sender' may not be set here (mails are sent in the name of `from`, on the envelope too: put the address there)"),
    (MAIL, letter(headers={"from": "a@b.example"}), "with.headers.from", "'from' may not be set here (give from)"),
    (MAIL, letter(headers={"Reply-To": "a@b.example"}), "with.headers.Reply-To",
     "'Reply-To' may not be set here (give reply_to)"),
    (MAIL, letter(headers={"Content-Disposition": "inline"}), "with.headers.Content-Disposition",
     f"'Content-Disposition' may not be set here {_PARTS}"),
    (MAIL, letter(headers={"Message-ID": "<1@b.example>"}), "with.headers.Message-ID",
     "'Message-ID' may not be set here (it is made of the delivery's id, the same at every attempt)"),
    (MAIL, letter(headers={"Return-Path": "a@b.example"}), "with.headers.Return-Path",
     "'Return-Path' may not be set here (mails that come back go to `from`: put the address there)"),
    (MAIL, letter(headers={"Resent-To": "a@b.example"}), "with.headers.Resent-To",
     "'Resent-To' may not be set here (it says that somebody passed the mail on)"),
    (MAIL, letter(headers={"X Tag": "a"}), "with.headers.X Tag",
     "'X Tag' may not be set here (a header's name has letters, digits and -)"),
    (MAIL, letter(headers={"X-Täg": "a"}), "with.headers.X-Täg",
     "'X-Täg' may not be set here (a header's name has letters, digits and -)"),
    (MAIL, letter(list_unsubscribe="http://acme.example/leave"), "with.list_unsubscribe",
     "'http://acme.example/leave' is no https:// URL and no mailto: address "
     "(write https://..., mailto:..., or both in a list)"),
    (MAIL, letter(list_unsubscribe=["https://a.example/1", "https://a.example/2"]), "with.list_unsubscribe",
     "one https:// URL and one mailto: address are enough (write https://..., mailto:..., or both in a list)"),
    (MAIL, letter(list_unsubscribe="mailto:a@b.example", headers={"List-Unsubscribe": "<mailto:a@b.example>"}),
     "with.headers.List-Unsubscribe",
     "'List-Unsubscribe' may not be set here (list_unsubscribe sets it: leave one of the two out)"),
    (MAIL, letter(locale="German!"), "with.locale", "'German!' is no locale (write de_DE, or de)"),
    (MAIL, attached(), "with.attachments[0]", "give exactly one of content, base64, path, url"),
    (MAIL, attached(content="a", path="b"), "with.attachments[0]", "give exactly one of content, base64, path, url"),
    (MAIL, attached(base64="not base64!"), "with.attachments[0]", "not base64"),
    (MAIL, attached(content="a", content_type="pdf"), "with.attachments[0]", "content_type is not like text/plain"),
    (MAIL, attached(path="/etc/hostname"), "with.attachments[0].path",
     "the path leaves the folder of gateway.yaml (put the file below it)"),
    (MAIL, attached(path="../terms.pdf"), "with.attachments[0].path",
     "the path leaves the folder of gateway.yaml (put the file below it)"),
    (MAIL, attached(url="{{ object.invoice_pdf }}"), "with.attachments[0].url",
     "the connection says nowhere to fetch from (name the host there: downloads: {hosts: [pay.stripe.com]})"),
    (DOWNLOADS, attached(url="https://elsewhere.example/a.pdf"), "with.attachments[0].url",
     "nothing is fetched from elsewhere.example (name it among the connection's downloads.hosts, if it is meant)"),
    (DOWNLOADS, attached(url="http://pay.stripe.com/a.pdf"), "with.attachments[0].url",
     "the url is no https:// URL (write https://...)"),
]  # fmt: skip
_SUBJECT = "is no subject: words with dots between, without blanks, * and >"
_RESERVED = "may not be set so: reserved, or with a line break in it"
MESSAGES: list[tuple[dict[str, Any], dict[str, Any], str, str]] = [
    (NATS, {"to": "orders.*"}, "with.to", f"to 'orders.*' {_SUBJECT}"),
    (NATS, {"to": "orders paid"}, "with.to", f"to 'orders paid' {_SUBJECT}"),
    (NATS, {"to": "orders."}, "with.to", f"to 'orders.' {_SUBJECT}"),
    (NATS, {"to": "orders", "max_length": 5}, "with.max_length",
     "max_length is for Redis, and the connection is JetStream (leave it out)"),
    (REDIS, {"to": "orders", "stream": "S"}, "with.stream",
     "stream is for JetStream, and the connection is Redis (leave it out)"),
    (NATS, {"to": "orders", "headers": {"Nats-Msg-Id": "1"}}, "with.headers.Nats-Msg-Id",
     f"the header 'Nats-Msg-Id' {_RESERVED}"),
    (REDIS, {"to": "orders", "headers": {"body": "1"}}, "with.headers.body", f"the header 'body' {_RESERVED}"),
    (NATS, {"to": "orders", "headers": {"A": "b\nc"}}, "with.headers.A", f"the header 'A' {_RESERVED}"),
    (NATS, {"to": "orders", "headers": {"A:": "b"}}, "with.headers.A:",
     "the header 'A:' has a colon or a blank in its name"),
    (AMQP, {"to": "q" * 256}, "with.to", "to has 256 bytes; AMQP takes 255"),
    (AMQP, {"to": "q", "retain": True}, "with.retain",
     "retain is for MQTT, and the connection is AMQP (leave it out)"),
    (MQTT, {"to": "orders/#"}, "with.to", "to 'orders/#' is no topic to publish to: without + and #"),
    (MQTT, {"to": "orders/+/paid"}, "with.to", "to 'orders/+/paid' is no topic to publish to: without + and #"),
    (MQTT, {"to": "orders", "exchange": "e"}, "with.exchange",
     "exchange is for AMQP, and the connection is MQTT (leave it out)"),
]  # fmt: skip
_ELSEWHERE = (
    "url leads to another origin than the connection's (write the path alone, or use a connection of that origin)"
)
FORWARDS: list[tuple[dict[str, Any], dict[str, Any], str, str]] = [
    (HTTP, {"url": "https://other.example/x"}, "with.url", _ELSEWHERE),
    (HTTP, {"url": "http://warehouse.example/x"}, "with.url", _ELSEWHERE),
    (HTTP, {"url": "//other.example/x"}, "with.url", _ELSEWHERE),
    (HTTP, {"url": "https://warehouse.example:8443/x"}, "with.url", _ELSEWHERE),
    (HTTP, {"url": "ftp:/x"}, "with.url", _ELSEWHERE),
    (HTTP, {"url": "https://[::1/x"}, "with.url", "the url is not valid"),
    (HTTP, {"headers": {"Host": "x"}}, "with.headers.Host",
     "the header 'Host' may not be set so: it is written with each request"),
]  # fmt: skip
_KINDS = "is no type of text: mrkdwn or plain_text"
POSTS: list[tuple[dict[str, Any], dict[str, Any], str, str]] = [
    (SLACK, {"blocks": [{"type": "section", "text": "x"}]}, "with.blocks[0].text",
     "is no text object (write {type: plain_text, text: ...})"),
    (SLACK, {"blocks": [{"type": "header", "text": "x"}]}, "with.blocks[0].text",
     "is no text object (write {type: plain_text, text: ...})"),
    (SLACK, {"blocks": [{"type": "section", "text": {"type": "plain", "text": "x"}}]}, "with.blocks[0].text.type",
     _KINDS),
    (SLACK, {"blocks": [{"type": "section", "fields": [{"type": "markdown", "text": "x"}]}]},
     "with.blocks[0].fields[0].type", _KINDS),
    (SLACK, {"blocks": [{"type": "section"}]}, "with.blocks[0]", "a section needs text or fields"),
    ({"type": "slack", "webhook_url": "https://hooks.slack.com/services/a"}, {"text": "x", "channel": "#a"},
     "with.channel", "channel and thread_ts need a bot token; an incoming webhook has its own channel"),
]  # fmt: skip
ROWS: list[tuple[dict[str, Any], dict[str, Any], str, str]] = [
    (SHOP, {"table": "t", "key": {}}, "with", "key names no column: give at least one"),
    (SHOP, {"table": "t", "key": {"id": None}}, "with",
     "key.id is null: it would match no row and insert a new one each time"),
    (SHOP, {"table": "t", "key": {"id": 1}, "newest": {"column": "at", "value": None}}, "with",
     "newest.value is null: column at could not tell newer from older"),
    (SHOP, {"table": "t", "key": {"id": 1}, "for_each": None}, "with",
     "for_each is null, not a list: the object lacks that field; fetch it, or give [] where it is absent"),
]  # fmt: skip
CORPUS: list[tuple[Action[Any], dict[str, Any], dict[str, Any], str, str]] = [
    *((Email(), *row) for row in MAILS),
    *((Publish(), *row) for row in MESSAGES),
    *((HttpForward(), *row) for row in FORWARDS),
    *((Slack(), *row) for row in POSTS),
    *((DbUpsert(), *row) for row in ROWS),
]


@pytest.mark.parametrize(("action", "connection", "written", "place", "told"), CORPUS)
def test_a_constant_that_could_never_be_sent_is_told_at_load(
    action: Action[Any], connection: dict[str, Any], written: dict[str, Any], place: str, told: str
) -> None:
    start = f"routes.trial.actions.{action.name}" if place.startswith("with") else "connections.it"
    assert problems(action, written, connection=connection) == [f"{start}.{place}: {told}"]


def test_what_a_template_brings_is_judged_when_it_is_there() -> None:
    templates = letter(
        to="{{ object.name }}, Inc. <{{ object.email }}>",
        cc=["{{ object.email }}"],
        headers={"X-Tag": "{{ object.id }}"},
        list_unsubscribe="{{ object.url }}",
        attachments=[
            {"filename": "a", "content": "{{ object.a }}", "base64": "{{ object.b }}"},  # one of them may be null
            {"filename": "b", "url": "{{ object.invoice_pdf }}", "content_type": "{{ object.kind }}"},
        ],
    )
    assert problems(HttpForward(), {"url": "{{ object.url | safe }}"}, connection=HTTP) == []
    assert problems(HttpForward(), {"url": "https://warehouse.example/other"}, connection=HTTP) == []
    stand_in = {
        "type": "http",
        "url": "http://127.0.0.1:9/warehouse_url",
    }  # of `gateway test`: the real one is not known
    assert problems(HttpForward(), {"url": "https://warehouse.example/x"}, connection=stand_in) == []
    assert problems(HttpForward(), {"url": "http://127.0.0.1:9/orders_url/x"}, connection=HTTP) == []
    in_part = {"type": "http", "url": "https://api.dev-domain/in"}
    assert problems(HttpForward(), {"url": "https://api.shop.example/x"}, connection=in_part) == []
    told = (
        {"type": "section", "text": "{{ object.block }}"},
        {"type": "section", "text": {"type": "{{ 1 }}", "text": "x"}},
    )
    assert problems(Slack(), {"blocks": [*told]}, connection=SLACK) == []
    row = {"key": {"id": "{{ object.id }}"}, "newest": {"column": "at", "value": "{{ object.at }}"}}
    assert problems(DbUpsert(), {"table": "t", "for_each": "{{ object.rows }}", **row}, connection=SHOP) == []
    assert problems(Email(), templates, connection=DOWNLOADS) == []
    assert problems(Publish(), {"to": "orders. {{ object.id }}", "headers": {"A": "{{ 1 }}"}}, connection=NATS) == []
