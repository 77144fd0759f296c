"""Events that never arrived, with real processes: a backfill that is killed twice, and a gateway that was down.

`make backfill` runs the first with 25,000 events; without BACKFILL_EVENTS it is 1,500.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
import pytest

from gateway.testing import make_event
from tests.acceptance.harness import ROOT, GatewayProcess, Sink, free_port, post
from tests.configs import SHIP, gateway_yaml, http
from tests.stripe_standin import TEST_KEY, StripeStandin
from tests.waiting import until

pytestmark = pytest.mark.slow

EVENTS = int(os.environ.get("BACKFILL_EVENTS", "1500"))
MISSED = 500


Make = Callable[..., GatewayProcess]


@pytest.fixture
def process(tmp_path: Path, standin: StripeStandin, sink: Sink) -> Iterator[Make]:
    """Makes a gateway, not yet started."""
    made: list[GatewayProcess] = []

    def make(store: str, account: str = "") -> GatewayProcess:
        port = free_port()
        text = gateway_yaml(
            port=port,
            log="level: warning, format: json",
            store=f'url: "{store}"',
            stripe=f'api_base: "{standin.url}"',
            accounts=f"    api_key: {TEST_KEY}\n    api_rate: 100/s\n{account}",
            connections={"warehouse": http(sink.url, "concurrency: 8")},
            routes=SHIP,
        )
        made.append(GatewayProcess(tmp_path, text, port))
        return made[-1]

    yield make
    for one in made:
        one.stop()


def make_missed(standin: StripeStandin, count: int) -> list[str]:
    """So many events over the last three days that Stripe could not deliver; their ids, the oldest first."""
    now, ids = int(time.time()), []
    for i in range(count):
        event = make_event("checkout.session.completed", created=now - 3 * 86400 + i * 3 * 86400 // count)
        standin.add_event(event, delivered=False)
        ids.append(event["id"])
    return ids


async def backfill(
    gateway: GatewayProcess, standin: StripeStandin, kill_after: int | None, by: signal.Signals = signal.SIGKILL
) -> tuple[int, str]:
    """Runs the command, and kills it after so many questions to Stripe; its exit code and what it said."""
    asked = len(standin.requests)
    words = ("-m", "gateway", "--config", str(gateway.config), "backfill", "--since", "4d")
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    pipe = asyncio.subprocess.PIPE
    running = await asyncio.create_subprocess_exec(
        sys.executable, *words, stdout=pipe, stderr=pipe, env=environ,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's job in the background ignores it
    )  # fmt: skip
    told = asyncio.create_task(running.communicate())
    if kill_after is not None:
        await until(lambda: len(standin.requests) >= asked + kill_after or told.done(), every=0.002)
        standin.gate.clear()  # it may be quicker than the signal
        running.send_signal(by)
    out, error = await told
    standin.gate.set()
    assert running.returncode is not None
    return running.returncode, (out + error).decode()


async def until_shipped(sink: Sink, count: int) -> None:
    await until(lambda: len(sink.ids) >= count, 240 + count / 50)


async def test_a_backfill_that_is_killed_twice_ends_complete_and_nothing_is_handled_twice(
    process: Make, standin: StripeStandin, sink: Sink, store_url: str
) -> None:
    gateway = process(store_url)
    ids = make_missed(standin, EVENTS)
    await gateway.start()
    async with aiohttp.ClientSession() as session:  # some have arrived after all
        for event in standin.events[""][:: EVENTS // 20]:
            assert (await post(session, f"{gateway.url}/webhooks/acme", event))[0] == 200
    pages = EVENTS // 100
    assert (await backfill(gateway, standin, 8 + pages // 3))[0] == -9
    code, told = await backfill(gateway, standin, 2 + pages // 3)
    assert code == -9
    code, told = await backfill(gateway, standin, None)
    assert code == 0, told
    assert "where it was broken off" in told
    assert f"acme: {EVENTS:,} events" in told
    await until_shipped(sink, EVENTS)
    assert Counter(sink.events.values()) == Counter(ids)
    assert set(sink.ids.values()) == {1}
    assert ", 0 of them new in the inbox" in (await backfill(gateway, standin, None))[1]
    status = await asyncio.to_thread(gateway.json, "db", "status")
    assert (status["events"], status["deliveries"]) == (EVENTS, {"succeeded": EVENTS})
    assert gateway.terminate() == 0


async def test_a_backfill_that_a_person_breaks_off_says_how_to_go_on(process: Make, standin: StripeStandin) -> None:
    gateway = process("sqlite:///data/gateway.db")
    make_missed(standin, 3000)
    assert (await asyncio.to_thread(gateway.run, "db", "migrate")).returncode == 0
    code, told = await backfill(gateway, standin, 12, by=signal.SIGINT)
    assert code == 130, told
    assert re.search(r"broken off at \d{4}-\d\d-\d\d \d\d:\d\d: the same command goes on from there", told)
    assert "Traceback" not in told
    code, told = await backfill(gateway, standin, None)
    assert code == 0, told
    assert "where it was broken off" in told
    assert "waiting" not in told  # the lease was given back
    assert gateway.rows("SELECT count(*), count(DISTINCT event_seq) FROM deliveries") == [(3000, 3000)]


async def test_what_was_made_while_the_gateway_was_down_is_delivered_by_reconcile_alone(
    process: Make, standin: StripeStandin, sink: Sink, store_url: str
) -> None:
    account = "    reconcile: {every: 10m, look_back: 3d}\n"
    gateway = process(store_url, account)
    await gateway.start()
    first = make_event("checkout.session.completed", created=int(time.time()) - 600)
    standin.add_event(first)
    assert (await gateway.post(first))[0] == 200
    await until_shipped(sink, 1)
    assert gateway.terminate() == 0  # a kill may come before the attempt is recorded, which then is made again
    ids = []
    for i in range(MISSED):
        event = make_event("checkout.session.completed", created=int(time.time()) - 300 + i // 2)
        standin.add_event(event, delivered=False)
        ids.append(event["id"])
    await gateway.start()
    await until_shipped(sink, MISSED + 1)
    assert Counter(sink.events.values()) == Counter([first["id"], *ids])
    assert set(sink.ids.values()) == {1}
    listed = await asyncio.to_thread(gateway.json, "events", "show", ids[0])
    assert listed["source"] == "reconcile"
    assert gateway.terminate() == 0
