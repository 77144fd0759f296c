"""The shop's example as a program of its own: Stripe's API, a mail server, a warehouse and Slack stand around it.

Every event comes twice. What is looked at is what came out: rows, mails, posts.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web
from aiosmtpd.smtp import SMTP
from standardwebhooks.webhooks import Webhook

from gateway.testing import make_event
from tests.acceptance.harness import FORWARD_SECRET, SECRET, GatewayProcess, free_port, post
from tests.contract.actions.servers import Mailbox
from tests.examples import ROOT, on_loopback
from tests.http_service import Serve
from tests.stripe_standin import TEST_KEY, StripeStandin

EXAMPLE = ROOT / "config/examples/shop"
SHOP = "data/shop.db"


class Shop:
    """A running gateway on the example, and all that it reaches."""

    def __init__(self, gateway: GatewayProcess, standin: StripeStandin, box: Mailbox, posts: list[Any]) -> None:
        self.gateway, self.stripe, self._box, self._posts = gateway, standin, box, posts

    async def send(self, *events: dict[str, Any]) -> None:
        """Posts each event twice, all at once, and waits until nothing is owed."""
        async with aiohttp.ClientSession() as session:
            url = f"{self.gateway.url}/webhooks/acme"
            answers = await asyncio.gather(*(post(session, url, event) for event in [*events, *events]))
        assert [status for status, _ in answers] == [200] * 2 * len(events)
        assert sum("duplicate" in answer for _, answer in answers) == len(events)
        await self.gateway.until_finished()
        assert self.gateway.rows("SELECT * FROM deliveries WHERE state NOT IN ('succeeded', 'skipped')") == []

    def rows(self, table: str, columns: str = "*") -> list[tuple[Any, ...]]:
        """A table of the shop's; nothing where it does not exist yet."""
        if not self.gateway.rows(f"SELECT 1 FROM sqlite_master WHERE name = '{table}'", SHOP):
            return []
        return self.gateway.rows(f"SELECT {columns} FROM {table} ORDER BY 1", SHOP)

    def posted(self, path: str) -> list[Any]:
        """The bodies that came to a path."""
        return [body for where, body in self._posts if where == path]

    def mails(self) -> list[tuple[str, str, str]]:
        """To whom, subject and text of every mail."""
        return [(mail["To"], mail["Subject"], _text(mail)) for mail in self._box.mails]


def _text(mail: EmailMessage) -> str:
    body = mail.get_body(("plain",))
    assert body is not None
    return str(body.get_content()).strip()


@pytest.fixture
async def shop(tmp_path: Path, standin: StripeStandin, serve: Serve) -> AsyncIterator[Shop]:
    posts: list[Any] = []

    async def take(request: web.BaseRequest) -> web.Response:
        body = await request.read()
        if request.path.startswith("/hooks"):
            Webhook(FORWARD_SECRET).verify(body, dict(request.headers))
        posts.append((request.path, json.loads(body)))
        return web.Response(text="ok")

    outside = await serve(take)
    box, loop = Mailbox(), asyncio.get_running_loop()
    mail_server = await loop.create_server(lambda: SMTP(box, loop=loop), "127.0.0.1", 0)
    port = free_port()
    config = on_loopback(EXAMPLE / "gateway.yaml", standin.url, SECRET, TEST_KEY, port=port)
    connections = config["connections"]
    connections["orders"]["url"] = f"sqlite:///{SHOP}"
    connections["mail"] |= {"host": "127.0.0.1", "port": mail_server.sockets[0].getsockname()[1], "tls": "none"}
    connections["warehouse"] |= {"url": f"{outside}/hooks", "signing_secret": FORWARD_SECRET, "allow_private": True}
    connections["warehouse"]["rate"] = "1000/s"
    connections["team"]["webhook_url"] = f"{outside}/slack"
    config["store"]["url"] = "sqlite:///data/gateway.db"
    shutil.copytree(EXAMPLE, tmp_path / "shop")
    gateway = GatewayProcess(tmp_path / "shop", yaml.safe_dump(config), port)
    await gateway.start()
    yield Shop(gateway, standin, box, posts)
    gateway.terminate()
    mail_server.close()


def session(kind: str, session_id: str, payment_status: str, **more: Any) -> dict[str, Any]:
    """An event of a Checkout Session."""
    fields = {"id": session_id, "payment_intent": f"pi_{session_id}", "payment_status": payment_status, **more}
    return make_event(f"checkout.session.{kind}", object=fields)


def at_stripe(shop: Shop, event: dict[str, Any], lines: int = 1) -> None:
    """The event's object at Stripe, and paid; with so many lines."""
    stored = event["data"]["object"] | {"payment_status": "paid"}
    items = [
        {
            "id": f"li_{stored['id']}_{i}", "object": "item", "description": f"Thing {i}", "quantity": 1 + i % 3,
            "amount_total": 100 + i, "currency": "eur", "price": {"id": f"price_{i}", "object": "price"},
        }
        for i in range(lines)
    ]  # fmt: skip
    shop.stripe.put(stored, lists={"line_items": items})


async def test_a_paid_order_of_230_lines_is_saved_confirmed_and_shipped_once_and_whole(shop: Shop) -> None:
    event = session("completed", "cs_1", "paid", amount_total=120_000)
    at_stripe(shop, event, lines=230)
    await shop.send(event)
    orders = "session_id, payment_intent, email, amount, currency"
    assert shop.rows("orders", orders) == [("cs_1", "pi_cs_1", "jenny@example.com", 120_000, "eur")]
    lines = shop.rows("order_lines", "line_id, session_id, price, quantity, amount")
    assert sorted(lines) == sorted((f"li_cs_1_{i}", "cs_1", f"price_{i}", 1 + i % 3, 100 + i) for i in range(230))
    (shipped,) = shop.posted("/hooks")
    assert [line["id"] for line in shipped["lines"]] == [f"li_cs_1_{i}" for i in range(230)]
    assert (shipped["session"], shipped["to"]["address"]["city"]) == ("cs_1", "Berlin")
    ((to, subject, text),) = shop.mails()
    assert (to, subject, text.count(" x Thing ")) == ("jenny@example.com", "Your order", 230)
    assert shop.posted("/slack") == [{"text": "Big order: €1,200.00"}]
    assert len(shop.stripe.asked("/v1/checkout/sessions/cs_1")) == 1  # all five actions shared the answer
    pages = [dict(one.query) for one in shop.stripe.asked("/v1/checkout/sessions/cs_1/line_items")]
    assert [page["starting_after"] for page in pages] == ["li_cs_1_9", "li_cs_1_109", "li_cs_1_209"]


async def test_an_order_paid_later_waits_and_is_fulfilled_once_when_the_money_is_there(shop: Shop) -> None:
    unpaid = session("completed", "cs_1", "unpaid")
    await shop.send(unpaid)
    assert (shop.rows("orders"), shop.mails(), shop.posted("/hooks"), shop.stripe.requests) == ([], [], [], [])
    at_stripe(shop, unpaid)
    await shop.send(session("async_payment_succeeded", "cs_1", "paid"))
    assert shop.rows("orders", "session_id, amount") == [("cs_1", 4500)]
    assert len(shop.rows("order_lines")) == len(shop.mails()) == len(shop.posted("/hooks")) == 1


@pytest.mark.parametrize("completed_says", ["paid", "unpaid"])
async def test_both_events_of_a_session_in_a_race_fulfil_it_once(shop: Shop, completed_says: str) -> None:
    events = []
    for i in range(10):
        both = [
            session("completed", f"cs_{i}", completed_says),
            session("async_payment_succeeded", f"cs_{i}", "paid"),
        ]
        at_stripe(shop, both[0])
        events += both if i % 2 else both[::-1]
    await shop.send(*events)
    expected = [f"cs_{i}" for i in range(10)]
    assert [row[0] for row in shop.rows("orders", "session_id")] == expected
    assert [row[0] for row in shop.rows("order_lines", "session_id")] == expected
    assert sorted(one["session"] for one in shop.posted("/hooks")) == expected
    assert len(shop.mails()) == 10


async def test_a_payment_that_failed_is_told_once_and_nothing_is_shipped(shop: Shop) -> None:
    await shop.send(session("completed", "cs_1", "unpaid"), session("async_payment_failed", "cs_1", "unpaid"))
    text = "We could not collect €45.00, so nothing is sent. Please order again."
    assert shop.mails() == [("jenny@example.com", "Your payment did not arrive", text)]
    assert (shop.rows("orders"), shop.posted("/hooks")) == ([], [])


async def test_refunds_add_up_and_the_last_one_stops_the_parcel(shop: Shop) -> None:
    charge = {"id": "ch_1", "payment_intent": "pi_1"}
    for refunded in (1000, 4500):
        now = {**charge, "amount_refunded": refunded, "refunded": refunded == 4500}
        event = make_event("charge.refunded", object=now)
        shop.stripe.put(event["data"]["object"])
        await shop.send(event)
    assert shop.rows("refunds", "charge_id, payment_intent, amount, is_full") == [("ch_1", "pi_1", 4500, 1)]
    assert shop.posted("/hooks/stop") == [{"payment_intent": "pi_1", "reason": "refunded"}]
    assert [text.partition(" ")[0] for _, _, text in shop.mails()] == ["€10.00", "€45.00"]


async def test_two_events_for_one_failed_refund_are_told_once(shop: Shop) -> None:
    refund = {"id": "re_1", "amount": 4500, "currency": "eur", "payment_intent": "pi_1", "status": "failed"}
    await shop.send(make_event("refund.updated", object=refund), make_event("refund.failed", object=refund))
    assert shop.rows("failed_refunds", "refund_id, payment_intent, amount, reason") == [("re_1", "pi_1", 4500, None)]
    assert shop.posted("/slack") == [
        {"text": "The refund of €45.00 for pi_1 failed: pay the customer another way"},
    ]


@pytest.mark.parametrize(("outcome", "resumed"), [("won", 1), ("lost", 0)])
async def test_a_dispute_stops_the_parcel_until_it_is_won(shop: Shop, outcome: str, resumed: int) -> None:
    dispute = {
        "id": "du_1", "object": "dispute", "payment_intent": "pi_1", "amount": 4500, "currency": "eur",
        "reason": "fraudulent", "status": "needs_response", "evidence_details": {"due_by": 1_796_256_000},
    }  # fmt: skip
    for kind, status in (("created", "needs_response"), ("closed", outcome)):
        event = make_event(f"charge.dispute.{kind}", object=dispute | {"status": status})
        shop.stripe.put(event["data"]["object"])
        await shop.send(event)
    wanted = {"payment_intent": "pi_1", "reason": "disputed"}
    assert shop.rows("disputes", "dispute_id, payment_intent, status") == [("du_1", "pi_1", outcome)]
    assert shop.posted("/hooks/stop") == [wanted] * (2 - resumed)
    assert shop.posted("/hooks/resume") == [wanted] * resumed
    assert shop.posted("/slack") == [
        {"text": "Dispute over €45.00 (fraudulent): needs_response, answer by 03 December"},
        {"text": f"Dispute over €45.00 (fraudulent): {outcome}"},
    ]
