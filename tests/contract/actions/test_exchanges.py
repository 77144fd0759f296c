"""What an attempt of each action notes of what it sent and got, of real destinations, as it would be kept."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from actions.db_execute import DbExecute
from actions.db_upsert import DbUpsert
from actions.email import Email
from actions.http_forward import HttpForward
from actions.http_request import shown_url, target
from actions.publish import BrokerConnection, Publish
from actions.slack import Slack
from gateway.core.masking import Masker
from gateway.delivery.exchanges import kept_exchanges
from gateway.plugin import (
    Action,
    ConnectionSettings,
    DatabaseConnection,
    Exchange,
    HttpConnection,
    Reject,
    Retry,
    SlackConnection,
    SmtpConnection,
)
from gateway.plugin.quoting import hiding
from gateway.testing import make_event, run_action
from tests.contract.actions.brokers import BrokerServer, nats_server
from tests.contract.actions.servers import SECRET, Mailbox, Service

__all__ = ["nats_server"]  # a fixture

EVENT = make_event("checkout.session.completed")
NOBODY_S = Masker(["topsecret", "xoxb-hidden"]).mask  # what the configuration hides


async def noted(
    kind: type[Action[Any]], written: Mapping[str, Any], connection: ConnectionSettings, folder: Path | str = "."
) -> dict[str, Any]:
    """What is kept of the one exchange of an attempt, however that ended, without its time."""
    exchanges: list[Exchange] = []

    class Noting(kind):  # type: ignore[valid-type, misc]
        async def run(self, settings: Any, context: Any) -> Any:
            try:
                return await super().run(settings, context)
            finally:
                exchanges.extend(context.exchanges)

    with suppress(Retry, Reject):
        await run_action(
            Noting(), {"connection": "it", **written}, connection=connection, event=EVENT, base_folder=str(folder)
        )
    (kept,) = kept_exchanges(exchanges, b"", NOBODY_S) or []
    kept.pop("seconds", None)
    return kept


def of_http(service: Service, **more: Any) -> HttpConnection:
    url = service.url.replace("http://", "http://me:topsecret@") + "hooks?key=of-nobody"
    return HttpConnection.model_validate({"type": "http", "url": url, "allow_private": True, **more})


async def test_a_forward_s_request_and_answer_without_what_the_connection_hides(service: Service) -> None:
    service.say(503, 'busy, and "topsecret" is echoed', Retry_After="30", Set_Cookie="a=b")
    connection = of_http(service, headers={"X-Team": "of-nobody"}, signing_secret=SECRET)
    written = {"url": "/orders?from=stripe", "body": {"order": "A-17"}, "headers": {"X-Shop": "acme"}}
    kept = await noted(HttpForward, written, connection)
    assert kept["sent"] == f"POST {service.url}hooks/orders?key=***&from=stripe"
    headers = dict(kept["headers"])
    assert (headers["X-Team"], headers["webhook-signature"], headers["X-Shop"]) == ("***", "***", "acme")
    assert (headers["webhook-id"], headers["Idempotency-Key"]) == ("dlv_test", "dlv_test")
    assert (kept["body"], kept["answer"]) == ('{"order": "A-17"}', "503 Service Unavailable")
    answered = dict(kept["answer_headers"])
    assert (answered["Retry-After"], kept["answer_body"]) == ("30", 'busy, and "***" is echoed')
    assert "Set-Cookie" not in answered
    assert "of-nobody" not in json.dumps(kept)


async def test_a_service_that_is_not_there_leaves_what_was_sent(service: Service) -> None:
    connection = HttpConnection.model_validate({"type": "http", "url": "http://127.0.0.1:9/", "allow_private": True})
    kept = await noted(HttpForward, {"method": "GET"}, connection)
    assert (kept["sent"], kept.get("answer")) == ("GET http://127.0.0.1:9/", None)


@pytest.mark.parametrize("is_bot", [True, False])
async def test_what_slack_was_told_and_says(service: Service, is_bot: bool) -> None:
    service.say(200, '{"ok": false, "error": "channel_not_found"}')
    where: dict[str, Any] = {"webhook_url": f"{service.url}T1/of-nobody"}
    if is_bot:
        where = {"token": "xoxb-hidden", "channel": "#sales", "api_url": service.url}
    connection = SlackConnection.model_validate({"type": "slack", **where})
    kept = await noted(Slack, {"text": "sold"}, connection)
    assert kept["sent"] == (f"POST {service.url}chat.postMessage" if is_bot else "POST to its webhook_url")
    assert json.loads(kept["body"])["text"] == "sold"
    assert (kept["answer"], "channel_not_found" in kept["answer_body"]) == ("200 OK", True)
    assert "of-nobody" not in json.dumps(kept)
    assert "xoxb" not in json.dumps(kept)


@pytest.mark.parametrize(
    ("to", "answer"),
    [
        ("ada@example.com", "OK"),
        ("nobody@example.com", "no recipient was accepted: nobody@example.com: 550 no such user"),
    ],
)
async def test_the_mail_server_s_own_words(mail: tuple[Mailbox, dict[str, Any]], to: str, answer: str) -> None:
    connection = SmtpConnection.model_validate(mail[1])
    kept = await noted(Email, {"to": to, "subject": "Paid", "text": "t"}, connection)
    assert kept["sent"] == f"MAIL FROM:<orders@acme.example> RCPT TO:<{to}>"
    assert kept["headers"] == [["Message-ID", "<dlv_test@acme.example>"], ["Subject", "Paid"]]
    assert kept["answer"] == answer


async def test_what_a_database_was_to_write_and_how_many_rows_it_wrote(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "shop.db")) as shop:
        shop.execute("CREATE TABLE orders (id TEXT PRIMARY KEY, total INTEGER CHECK (total > 0))")
    connection = DatabaseConnection.model_validate({"type": "database", "url": "sqlite:///shop.db"})
    good = await noted(DbUpsert, {"table": "orders", "key": {"id": "A"}, "values": {"total": 5}}, connection, tmp_path)
    assert good["sent"] == "1 row into orders"
    assert (json.loads(good["body"]), good["answer"]) == ([{"id": "A", "total": 5}], "1 row written, 1 changed")
    bad = await noted(DbUpsert, {"table": "orders", "key": {"id": "A"}, "values": {"total": -5}}, connection, tmp_path)
    assert (json.loads(bad["body"])[0]["total"], "CHECK constraint failed" in bad["answer"]) == (-5, True)
    statement = "UPDATE orders SET total = :total"
    none = await noted(
        DbExecute, {"statement": statement, "params": {"total": 7}, "expect_rows": 2}, connection, tmp_path
    )
    assert (none["sent"], none["body"], none["answer"]) == (statement, '{"total": 7}', "1 row affected")


async def test_what_a_broker_was_given(nats_server: BrokerServer) -> None:
    connection = BrokerConnection.model_validate({"type": "broker", "url": nats_server.url})
    kept = await noted(Publish, {"to": "orders.paid", "body": {"order": "A-17"}}, connection)
    assert (kept["sent"], kept["body"]) == ("JetStream: orders.paid", '{"order": "A-17"}')
    assert kept.get("answer") is None  # there is no stream that would take it


@pytest.mark.parametrize(
    ("secret", "shown"),
    [
        ("https://me:pw@shop.example/T0/B1?key=of-nobody", "https://shop.example/***/orders?key=***&a=1"),
        ("https://shop.example/T0/B1", "https://shop.example/***/orders?a=1"),
        ("T0/B1", "https://shop.example/***/orders?key=***&a=1"),
        ("of-nobody", "https://shop.example/T0/B1/orders?key=***&a=1"),
    ],
)
def test_a_url_that_a_variable_brought_shows_no_path(secret: str, shown: str) -> None:
    base = secret if "://" in secret else "https://me:pw@shop.example/T0/B1?key=of-nobody"
    with hiding(str, Masker([secret]).mask):
        assert shown_url(base, target(base, "/orders?a=1")) == shown
    assert "T0/B1/orders" in shown_url(base, target(base, "/orders?a=1"))
