"""A seed with real processes, killed twice: each object is a row, once. `make seed` runs it with 25,000 objects."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.acceptance.harness import ROOT, GatewayProcess, free_port
from tests.configs import SHOP, gateway_yaml
from tests.stripe_standin import TEST_KEY, StripeStandin
from tests.waiting import until

pytestmark = pytest.mark.slow

OBJECTS = int(os.environ.get("SEED_OBJECTS", "1500"))
ROUTES = """\
  customers:
    events: [customer.created]
    actions:
      save: {uses: db_upsert, with: {connection: shop, table: t, ensure_table: true, key: {id: "{{ delivery.id }}"}, values: {customer: "{{ object.id }}"}}}
"""  # noqa: E501


async def seed(gateway: GatewayProcess, standin: StripeStandin, kill_after: int | None) -> tuple[int, str]:
    """Runs the command, and kills it after so many questions to Stripe; its exit code and what it said."""
    asked = len(standin.requests)
    words = ("-m", "gateway", "--config", str(gateway.config), "seed", "customers", "--since", "2020-01-01")
    running = await asyncio.create_subprocess_exec(
        sys.executable, *words, "--rate", "1000/s", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
    )  # fmt: skip
    told = asyncio.create_task(running.communicate())
    if kill_after is not None:
        await until(lambda: len(standin.requests) >= asked + kill_after or told.done(), 300 + OBJECTS / 10, every=0.002)
        standin.gate.clear()  # it may be quicker than the signal
        running.send_signal(signal.SIGKILL)
    out, _ = await told
    standin.gate.set()
    assert running.returncode is not None
    return running.returncode, out.decode()


async def test_a_seed_that_is_killed_twice_ends_with_each_object_once(
    tmp_path: Path, standin: StripeStandin, store_url: str
) -> None:
    now = int(time.time())
    for i in range(OBJECTS):
        created = now - 5 * 365 * 86400 + i * 5 * 365 * 86400 // OBJECTS
        standin.put({"id": f"cus_{i}", "object": "customer", "livemode": False, "created": created})
    port = free_port()
    gateway = GatewayProcess(
        tmp_path,
        gateway_yaml(
            port=port,
            store=f'url: "{store_url}"',
            stripe=f'api_base: "{standin.url}"',
            accounts=f"    api_key: {TEST_KEY}\n    api_rate: 1000/s\n",
            connections={"shop": SHOP},
            routes=ROUTES,
        ),
        port,
    )
    try:
        await gateway.start()
        pages = OBJECTS // 100
        assert (await seed(gateway, standin, 8 + pages // 3))[0] == -9
        assert (await seed(gateway, standin, 3 + pages // 3))[0] == -9
        code, told = await seed(gateway, standin, None)
        assert code == 0, told
        assert "where it was broken off" in told
        customers = "SELECT count(*), count(DISTINCT customer) FROM t"
        await until(lambda: gateway.rows(customers, "data/shop.db") == [(OBJECTS, OBJECTS)], 240 + OBJECTS / 50)
        code, told = await seed(gateway, standin, None)
        assert f"{OBJECTS:,} objects from " in told
        assert "; 0 are new to route customers" in told
        assert gateway.rows(customers, "data/shop.db") == [(OBJECTS, OBJECTS)]
        status = await asyncio.to_thread(gateway.json, "db", "status")
        assert (status["events"], sum(status["deliveries"].values())) == (OBJECTS, OBJECTS)
    finally:
        gateway.stop()
