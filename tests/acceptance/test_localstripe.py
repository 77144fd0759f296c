"""Against localstripe, an independent Stripe that makes objects and signs its own webhooks, run as a program."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.acceptance.harness import SECRET, GatewayProcess, answers, free_port
from tests.configs import SHOP, gateway_yaml
from tests.waiting import until

KEY = {"Authorization": "Bearer sk_test_1"}
ROUTES = """\
  customers:
    events: [customer.created, customer.updated]
    order_by: object.id
    actions:
      save:
        uses: db_upsert
        with:
          connection: shop
          table: customers
          ensure_table: true
          key: {id: "{{ object.id }}"}
          values: {email: "{{ object.email }}"}
  known:
    events: [customer.created]
    actions:
      mark:
        uses: stripe_call
        with: {method: customers.update, id: "{{ object.id }}", params: {metadata: {order: "6735"}, phone: "+49 30"}}
  subscriptions:
    events: [customer.subscription.*]
    actions:
      save:
        uses: db_upsert
        with:
          connection: shop
          table: subscriptions
          ensure_table: true
          key: {id: "{{ object.id }}"}
          values: {status: "{{ object.status }}", price: "{{ object.items.data[0].plan.id }}"}
"""


@pytest.fixture
async def stripe_url() -> AsyncIterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "localstripe", "--port", str(port), "--from-scratch"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://localhost:{port}"
    async with aiohttp.ClientSession(headers=KEY) as session:
        await until(lambda: process.poll() is not None or answers(session, f"{url}/v1/customers"))
        assert process.poll() is None
    yield url
    process.terminate()
    process.wait()


async def test_what_is_made_at_stripe_arrives_verifies_and_does_its_work(stripe_url: str, tmp_path: Path) -> None:
    port = free_port()
    account = "    api_key: sk_test_1\n    may: [customers.update]\n"
    yaml = gateway_yaml(
        port=port, stripe=f'api_base: "{stripe_url}"', accounts=account, connections={"shop": SHOP}, routes=ROUTES
    )
    gateway = GatewayProcess(tmp_path, yaml, port)
    await gateway.start()
    async with aiohttp.ClientSession(headers=KEY) as session:

        async def made(path: str, **fields: str) -> str:
            async with session.post(f"{stripe_url}/v1/{path}", data=fields) as response:
                answer = await response.json()
                assert response.status == 200, answer
                return str(answer["id"])

        hook = {"url": f"{gateway.url}/webhooks/acme", "secret": SECRET}
        async with session.post(f"{stripe_url}/_config/webhooks/gateway", json=hook) as response:
            assert response.status == 200
        customer = await made("customers", email="jenny@example.com")
        await made(f"customers/{customer}", email="rosen@example.com")
        product = await made("products", name="Tea", type="service")
        price = await made("plans", currency="eur", amount="1900", product=product, interval="month")
        card = {"type": "card", "card[number]": "4242424242424242", "card[exp_month]": "12", "card[exp_year]": "2040"}
        method = await made("payment_methods", **card, **{"card[cvc]": "123"})
        await made(f"payment_methods/{method}/attach", customer=customer)
        await made(f"customers/{customer}", **{"invoice_settings[default_payment_method]": method})
        subscription = await made("subscriptions", customer=customer, **{"items[0][plan]": price})
    expected = {"customer.created", "customer.updated", "customer.subscription.created", "invoice.created"}
    await until(lambda: expected <= {row[0] for row in gateway.rows("SELECT type FROM events")})
    await gateway.until_finished()
    assert gateway.rows("SELECT id, email FROM customers", "data/shop.db") == [(customer, "rosen@example.com")]
    url = f"{stripe_url}/v1/customers/{customer}"
    async with aiohttp.ClientSession(headers=KEY) as session, session.get(url) as response:
        marked = await response.json()
    assert (marked["metadata"], marked["phone"]) == ({"order": "6735"}, "+49 30")
    ((id, status, plan),) = gateway.rows("SELECT id, status, price FROM subscriptions", "data/shop.db")
    assert (id, plan) == (subscription, price)
    assert status in ("active", "incomplete")
    assert gateway.rows("SELECT DISTINCT state FROM deliveries") == [("succeeded",)]
    assert ("unmatched",) in gateway.rows("SELECT DISTINCT state FROM events")
    gateway.terminate()
