"""Alerts of the real program: mail tells once of a broken destination; kill -9 while a digest gathers loses none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiosmtpd.controller import Controller

from gateway.testing import make_event
from tests.acceptance.harness import GatewayProcess, free_port, post
from tests.configs import gateway_yaml, http
from tests.http_service import Serve
from tests.waiting import until

ROUTES = """\
  ship:
    events: [invoice.paid]
    actions: {forward: {uses: http_forward, with: {connection: warehouse}}}
  alerts:
    events: [gateway.connection.*, gateway.reload.failed]
    actions:
      tell:
        uses: email
        with: {connection: mail, to: ops@acme.example, subject: "{{ event.type }}", text: "{{ object.summary }}"}
  dead-letters:
    events: [gateway.delivery.dead]
    digest: {every: 8s, wait: 8s}
    actions:
      tell:
        uses: email
        with:
          connection: mail
          to: ops@acme.example
          subject: "{{ count }} dead"
          text: "{% for one in events %}{{ one.data.object.event }}\\n{% endfor %}"
"""


class Mailbox:
    """Takes mail, as an aiosmtpd handler."""

    def __init__(self) -> None:
        self.mails: list[tuple[str, str]] = []  # subject and text

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        """Keeps one."""
        mail = message_from_bytes(envelope.content, policy=policy.default)
        self.mails.append((str(mail["subject"]), str(mail.get_content()).replace("\r\n", "\n")))
        return "250 OK"

    @property
    def subjects(self) -> list[str]:
        """Of all, in order."""
        return [subject for subject, _ in self.mails]


class Warehouse:
    """A destination that answers as it is told."""

    status = 500
    url = ""

    async def take(self, request: web.BaseRequest) -> web.Response:
        """Answers."""
        return web.json_response({}, status=self.status)


@pytest.fixture
async def warehouse(serve: Serve) -> Warehouse:
    warehouse = Warehouse()
    warehouse.url = await serve(warehouse.take)
    return warehouse


@pytest.fixture
async def mailbox() -> AsyncIterator[tuple[Mailbox, int]]:
    box, port = Mailbox(), free_port()
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    yield box, port
    await asyncio.to_thread(controller.stop)


@pytest.fixture
async def gateway(tmp_path: Path, warehouse: Warehouse, mailbox: tuple[Mailbox, int]) -> AsyncIterator[GatewayProcess]:
    port, admin = free_port(), free_port()
    text = gateway_yaml(
        port=port,
        admin=admin,
        reload="watch: false",
        defaults="retry: {attempts: 50, first: 20ms, factor: 1}",
        connections={
            "warehouse": http(warehouse.url, "breaker: {failures: 3, pause: 300ms, max: 300ms}"),
            "mail": f"type: smtp, host: 127.0.0.1, port: {mailbox[1]}, tls: none, from: gateway@acme.example",
        },
        routes=ROUTES,
    )
    made = GatewayProcess(tmp_path, text, port, admin)
    await made.start()
    yield made
    await asyncio.to_thread(made.terminate)


async def send(gateway: GatewayProcess, count: int) -> list[str]:
    events = [make_event("invoice.paid") for _ in range(count)]
    async with aiohttp.ClientSession() as session:
        for event in events:
            assert (await post(session, f"{gateway.url}/webhooks/acme", event))[0] == 200
    return [event["id"] for event in events]


async def test_mail_tells_once_that_a_destination_is_paused_and_once_that_it_is_back_and_of_a_bad_reload(
    gateway: GatewayProcess, warehouse: Warehouse, mailbox: tuple[Mailbox, int]
) -> None:
    box, _ = mailbox
    await send(gateway, 3)
    await until(lambda: "gateway.connection.paused" in box.subjects, seen=gateway.log.read_text)
    good = gateway.config.read_text()
    gateway.config.write_text(good + "  broken: {}\n")
    gateway.hang_up()
    await until(lambda: "gateway.reload.failed" in box.subjects, seen=gateway.log.read_text)
    warehouse.status = 200
    await until(lambda: "gateway.connection.recovered" in box.subjects, seen=gateway.log.read_text)
    await gateway.until_finished()
    assert sorted(box.subjects) == [
        "gateway.connection.paused",
        "gateway.connection.recovered",
        "gateway.reload.failed",
    ]
    texts = dict(box.mails)
    assert texts["gateway.connection.paused"].startswith("Connection warehouse is paused for 0 s: 3 failures in a row")
    assert texts["gateway.connection.recovered"] == "Connection warehouse works again\n"
    assert texts["gateway.reload.failed"] == (
        "gateway.yaml does not load (2 errors); the configuration before stays in force\n"
    )
    listed = await asyncio.to_thread(gateway.json, "events", "list", "--type", "gateway.*")
    assert {(one["account"], one["state"]) for one in listed} == {("gateway", "routed")}


async def test_kill_9_while_a_digest_gathers_loses_no_alert(
    gateway: GatewayProcess, warehouse: Warehouse, mailbox: tuple[Mailbox, int]
) -> None:
    box, _ = mailbox
    warehouse.status = 400
    ids = await send(gateway, 5)
    committed = "SELECT count(*) FROM deliveries WHERE route = 'dead-letters'"
    await until(lambda: gateway.rows(committed) == [(5,)], seen=gateway.log.read_text)
    assert box.mails == []  # it still gathers
    gateway.kill()
    await gateway.start()
    ids += await send(gateway, 2)
    await until(lambda: sum(text.count("evt_") for _, text in box.mails) == 7, seen=gateway.log.read_text)
    await gateway.until_finished()
    told = [line for _, text in box.mails for line in text.split()]
    assert sorted(told) == sorted(ids)
    assert len(box.mails) <= 2
    assert box.subjects[0].endswith(" dead")
