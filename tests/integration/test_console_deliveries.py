"""The page of one delivery, as HTML: its request as a command, its mail, the attempts that are planned."""

from __future__ import annotations

import html
import re
import subprocess
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pytest_aiohttp import AiohttpClient

from gateway.admin.delivery_story import as_curl
from gateway.core.model import Attempt, AttemptOutcome, DeliveryState, Finish, Lane, PlannedDelivery
from gateway.plugin import HttpConnection, RequestPreview
from gateway.store.sqlite.store import SqliteStore
from gateway.testing import make_event
from tests.configs import gateway_yaml
from tests.console_parts import Pages, died, keep, pages_of, parts_of, sqlite_inbox
from tests.waiting import until

ROUTES = """\
  fulfil:
    events: [checkout.session.completed]
    actions:
      ship: {uses: http_forward, with: {connection: warehouse}}
      receipt: {uses: email, with: {connection: mail, to: a@b.example, subject: Your order, text: x, html: <b>x</b>}}
"""
WAREHOUSE = (
    'type: http, url: "https://warehouse.example/hooks?key=url-secret", signing_secret: whsec_c2VjcmV0LW9mLXNpZ25pbmc=,'
    " headers: {Authorization: Bearer the-token, X-Shop: acme}"
)
CONFIG = gateway_yaml(
    accounts="    redact: [data.object.customer_details]\n",
    connections={"warehouse": WAREHOUSE, "mail": "type: smtp, host: localhost, from: Acme <orders@acme.example>"},
    routes=ROUTES,
    defaults="retry: {attempts: 5, first: 10s, factor: 4, max: 1h}",
)


@pytest.fixture
async def inbox(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    async with sqlite_inbox(tmp_path) as inbox:
        yield inbox


@pytest.fixture
async def pages(inbox: SqliteStore, tmp_path: Path, aiohttp_client: AiohttpClient) -> AsyncIterator[Pages]:
    parts = parts_of(tmp_path, inbox, CONFIG)
    async with pages_of(parts, aiohttp_client) as pages:
        yield pages


async def tried(inbox: SqliteStore, action: str, rendered: object, state: DeliveryState) -> str:
    """An event whose delivery was tried once; the delivery's id."""
    event = make_event("checkout.session.completed", object={"customer_details": {"email": "ada@example.org"}})
    await keep(inbox, event, [PlannedDelivery("fulfil", action)])
    (claim,) = await inbox.claim({Lane("acme", "fulfil", action): 1}, lease_seconds=60)
    exchange = {"sent": "POST https://warehouse.example/hooks", "body": "for ada@example.org", "bytes": 9000}
    exchange |= {"answer": "500 It is full", "answer_body": "no room for ada@example.org", "seconds": 0.1}
    error = "answered 500: it is full"
    attempt = Attempt(1, datetime.now(UTC), 0.1, AttemptOutcome.RETRY, error, [exchange, {"sent": "GET /again"}])
    output = {"status": 200, "headers": {"X-Warehouse": "7"}, "body": {"ok": True}}
    finish = Finish(state, attempt, wait_seconds=600.0, rendered=rendered, output=output)
    assert await inbox.finish(claim.delivery.id, claim.token, finish)
    return claim.delivery.id


async def test_a_forward_is_shown_as_a_command_without_its_secrets(pages: Pages, inbox: SqliteStore) -> None:
    delivery = await tried(inbox, "ship", {"connection": "warehouse"}, DeliveryState.PENDING)
    page, text = await pages.html(f"/deliveries/{delivery}"), await pages.text(f"/deliveries/{delivery}")
    (command,) = re.findall(r"<pre[^>]*data-copy><code>(.*?)</code>", page, re.S)
    command = html.unescape(command)
    assert command.startswith("# first: export KEY=... AUTHORIZATION=... X_SHOP=... TIMESTAMP=... SIGNATURE=...\ncurl ")
    for secret in ("the-token", "url-secret", "c2VjcmV0", "ada@example.org"):
        assert secret not in page
    echoed = subprocess.run(
        ["sh", "-c", command.replace("curl", "printf '%s\\n'", 1)],
        env={"AUTHORIZATION": "from-the-shell", "SIGNATURE": "v1,x", "X_SHOP": "it's `me`"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "X-Shop: it's `me`" in echoed
    assert "Authorization: from-the-shell" in echoed
    assert "webhook-signature: v1,x" in echoed
    assert f"webhook-id: {delivery}" in echoed
    assert '"customer_details": "[redacted]"' in echoed
    assert "HTTP 200 X-Warehouse: 7" in text
    assert "1. POST https://warehouse.example/hooks → 500 It is full after 100 ms" in text
    assert "for [redacted]… (9,000 bytes)" in text
    assert "no room for [redacted]" in text
    assert "GET /again Answer No answer came." in text
    assert "Planned, as long as attempts fail" in text
    assert "give or take 8.0 s" in text
    assert "After number 5 it is a dead letter." in text


async def test_a_command_says_where_it_does_not_send_the_whole_body(pages: Pages) -> None:
    config = pages.parts.operations.config
    connection = config.connections["warehouse"]
    assert isinstance(connection, HttpConnection)
    plain = connection.model_copy(update={"signature": "none"})

    def command(body: bytes) -> str:
        return as_curl(RequestPreview("POST", "https://warehouse.example", [], body), "dlv_1", plain, config)

    assert command(b"{}") == "curl -X POST https://warehouse.example \\\n  --data-binary '{}'"
    assert command(b"x" * 20_001).startswith("# the body is cut: 20,000 of its 20,001 characters\ncurl ")
    assert command(b"\xff").startswith("# the body is not all text: ")


async def test_a_mail_is_shown_as_it_was_sent(pages: Pages, inbox: SqliteStore) -> None:
    rendered = {"connection": "mail", "to": "a@b.example", "subject": "Your order", "text": "x", "html": "<b>sent</b>"}
    delivery = await tried(inbox, "receipt", rendered, DeliveryState.SUCCEEDED)
    text = await pages.text(f"/deliveries/{delivery}")
    assert "From Acme <orders@acme.example>" in text
    assert "Subject Your order" in text
    assert "<b>sent</b>" in await pages.html(f"/deliveries/{delivery}/mail")
    assert "Planned, as long as" not in text
    shipped = await tried(inbox, "ship", "cut: …", DeliveryState.DEAD)
    assert "as a command" not in await pages.text(f"/deliveries/{shipped}")
    assert "it sends no mail" in await pages.text(f"/deliveries/{shipped}/mail", 404)


async def test_dead_letters_are_grouped_by_cause_and_chosen(pages: Pages, inbox: SqliteStore) -> None:
    lane = Lane("acme", "fulfil", "ship")
    for reason in ("answered 500: order 100001", "answered 500: order 100002", "no such host"):
        await keep(inbox, make_event("checkout.session.completed"), [PlannedDelivery("fulfil", "ship")])
        await died(inbox, lane, reason)
    text, page = await pages.text("/dead-letters"), await pages.html("/dead-letters")
    assert "2 fulfil/ship: answered 500: order …" in text
    assert "1 fulfil/ship: no such host" in text
    first, *_ = re.findall(r'name="id" value="(dlv_\w+)"', page)
    job = await pages.leads_to("/deliveries/many", {"what": "retry", "id": first, "chosen": "yes"})
    running = pages.parts.operations.jobs.get(job.rpartition("/")[2])
    await until(lambda: running.is_over)
    assert "finished 1 of 1 What it changed or made: pending 1" in await pages.text(job)
    left = (await pages.api("/deliveries?state=dead"))["items"]
    assert len(left) == 2
    assert first not in [delivery["id"] for delivery in left]
    assert await pages.refused("/deliveries/many", {"what": "retry", "chosen": "yes"}) == 422
