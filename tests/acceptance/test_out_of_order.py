"""Events in any order: what stands in the database at the end. `make storm` runs it at its full size.

The stand-in changes its objects as Stripe would: an event comes only after the change that it tells of.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gateway.testing import make_event
from tests.http_service import Serve
from tests.in_process import SQLITE, InProcess, config, gateway
from tests.stripe_standin import StripeStandin
from tests.waiting import HANG_SECONDS

pytestmark = pytest.mark.slow

OBJECTS = int(os.environ.get("STORM_OBJECTS", "60"))
UPDATES = 10
WORKERS = 4
ROUTE = """\
  mirror:
    events: [customer.subscription.*]
    {fetch}
    actions:
      save:
        uses: db_upsert
        with:
          connection: shop
          table: subscriptions
          ensure_table: true
          key: {{id: "{{{{ object.id }}}}"}}
          values: {{status: "{{{{ object.status }}}}", quantity: "{{{{ object.quantity }}}}"}}
          {newest}
"""
FETCH = ROUTE.format(fetch="fetch: true\n    order_by: object.id", newest="")
NEWEST = ROUTE.format(fetch="fetch: false", newest='newest: {column: stripe_created, value: "{{ event.created }}"}')

LIFE = [  # type, what is so afterwards, second; two updates fall into one second
    ("created", {"status": "incomplete", "quantity": 1}, 100),
    ("updated", {"status": "active", "quantity": 2}, 105),
    ("updated", {"status": "active", "quantity": 3}, 105),
    ("paused", {"status": "paused", "quantity": 3}, 110),
    ("deleted", {"status": "canceled", "quantity": 3}, 120),
]  # of five, every order is 120 lives, on each inbox; an update between two that there are would make it 720
if "STORM_OBJECTS" in os.environ:
    LIFE.insert(1, ("updated", {"status": "active", "quantity": 1}, 101))


@pytest.fixture(params=["sqlite", "postgresql"])
def inbox(request: pytest.FixtureRequest) -> str:
    """The URL of an empty inbox, of each kind."""
    if request.param == "sqlite":
        return SQLITE
    url: str = request.getfixturevalue("inbox_url")
    return url


def subscription(subscription_id: str, state: dict[str, Any]) -> dict[str, Any]:
    return {"id": subscription_id, "object": "subscription", "livemode": False, **state}


@pytest.mark.timeout(900)
async def test_every_order_of_a_subscription_s_life_ends_in_one_right_row(
    tmp_path: Path, standin: StripeStandin, inbox: str
) -> None:
    orders = list(itertools.permutations(range(len(LIFE))))
    lives = [f"sub_{i}" for i in range(len(orders))]
    events = {
        (life, step): make_event(
            f"customer.subscription.{kind}",
            id=f"evt_{life}_{step}",
            created=1_795_400_000 + second,
            object=subscription(life, state),
        )
        for life in lives
        for step, (kind, state, second) in enumerate(LIFE)
    }

    async def live(running: InProcess, life: str, order: tuple[int, ...], twice: int) -> None:
        happened = -1
        for step in order:
            happened = max(happened, step)  # whatever came before the event has happened at Stripe as well
            standin.put(subscription(life, LIFE[happened][1]))
            await running.post(events[life, step])
        await running.post(events[life, twice])  # and one of them twice

    async with gateway(tmp_path, config(FETCH, standin.url, concurrency=WORKERS, inbox=inbox)) as running:
        waiting = [(life, order, i % len(LIFE)) for i, (life, order) in enumerate(zip(lives, orders, strict=True))]

        async def sender() -> None:
            while waiting:
                await live(running, *waiting.pop())

        await asyncio.gather(*(sender() for _ in range(16)))
        await running.until_finished()
        rows = running.shop("SELECT id, status, quantity FROM subscriptions")
        assert await running.store.counts() == dict.fromkeys(("events", "succeeded"), len(orders) * len(LIFE))
    assert sorted(rows) == sorted((life, "canceled", 3) for life in lives)


class Storm:
    """Objects that change at Stripe while their events come shuffled and twice."""

    def __init__(self, standin: StripeStandin | None) -> None:
        self.rng = random.Random(20261124)
        self.standin = standin
        self.updates: dict[str, list[int]] = {
            f"sub_{i}": sorted(self.rng.randrange(8) for _ in range(UPDATES)) for i in range(OBJECTS)
        }  # the second of each update: many share one
        self.happened: Counter[str] = Counter()

    def events(self) -> list[tuple[str, int]]:
        """Each update of each object twice, in no order."""
        found = [(name, i) for name in self.updates for i in range(UPDATES)] * 2
        self.rng.shuffle(found)
        return found

    async def send(self, running: InProcess, name: str, i: int) -> None:
        if self.standin is not None and i + 1 > self.happened[name]:
            self.happened[name] = i + 1
            self.standin.put(subscription(name, {"status": "active", "quantity": i}))
        await running.post(
            make_event(
                "customer.subscription.updated",
                id=f"evt_{name}_{i}",
                created=1_795_400_000 + self.updates[name][i],
                object=subscription(name, {"status": "active", "quantity": i}),
            )
        )

    async def rage(self, folder: Path, text: str) -> dict[str, int]:
        """The quantity of each row at the end."""
        waiting = self.events()
        async with gateway(folder, text) as running:

            async def sender() -> None:
                while waiting:
                    await self.send(running, *waiting.pop())

            await asyncio.gather(*(sender() for _ in range(16)))
            await running.until_finished()
            assert await running.store.counts() == dict.fromkeys(("events", "succeeded"), OBJECTS * UPDATES)
            return dict(running.shop("SELECT id, quantity FROM subscriptions"))


@pytest.mark.timeout(1800)
async def test_after_a_storm_the_rows_are_the_objects_with_fetch(
    tmp_path: Path, standin: StripeStandin, inbox: str
) -> None:
    storm = Storm(standin)
    found = await storm.rage(tmp_path, config(FETCH, standin.url, concurrency=WORKERS, inbox=inbox))
    print(
        f"with fetch: {OBJECTS} objects, {OBJECTS * UPDATES} events twice, {len(standin.requests)} questions to Stripe"
    )
    assert found == dict.fromkeys(storm.updates, UPDATES - 1)


@pytest.mark.timeout(1800)
async def test_after_a_storm_only_ties_are_wrong_with_newest(tmp_path: Path, inbox: str) -> None:
    storm = Storm(None)
    found = await storm.rage(tmp_path, config(NEWEST, "http://127.0.0.1:9", concurrency=WORKERS, inbox=inbox))
    wrong = {name for name, quantity in found.items() if quantity != UPDATES - 1}
    tied = {name for name, seconds in storm.updates.items() if seconds.count(seconds[-1]) > 1}
    print(f"with newest: {OBJECTS} objects, {len(tied)} with a tie in their last second, {len(wrong)} of them wrong")
    assert wrong <= tied
    for name in wrong:  # and even those are of the last second
        assert storm.updates[name][found[name]] == storm.updates[name][-1]


FORWARD = """\
  tell:
    events: [customer.subscription.*]
    fetch: true
    {order}
    actions:
      forward:
        uses: http_forward
        retry: {{attempts: 500, first: 20ms, factor: 1}}
        with: {{connection: behind, body: "{{{{ object.quantity }}}}"}}
"""


@pytest.mark.parametrize(("order", "expected"), [("order_by: object.id", [1, 2]), ("", [2, 1])])
async def test_what_was_fetched_before_a_failure_overtakes_nothing_with_order_by_and_comes_last_without(
    tmp_path: Path, standin: StripeStandin, serve: Serve, order: str, expected: list[int]
) -> None:
    """The service behind refuses the first object until the second can have come."""
    taken: list[int] = []
    refused, second_stored = asyncio.Event(), asyncio.Event()

    async def take(request: web.BaseRequest) -> web.Response:
        quantity = int(await request.text())
        if quantity == 1 and (not refused.is_set() if order else 2 not in taken):
            refused.set()
            await second_stored.wait()
            return web.Response(status=503)
        taken.append(quantity)
        return web.Response()

    behind = f'  behind: {{type: http, url: "{await serve(take)}/", allow_private: true}}\n'
    text = config(FORWARD.format(order=order), standin.url).replace("connections:\n", f"connections:\n{behind}")
    async with gateway(tmp_path, text) as running:
        for quantity in (1, 2):
            now = subscription("sub_1", {"status": "active", "quantity": quantity})
            standin.put(now)
            await running.post(make_event("customer.subscription.updated", id=f"evt_{quantity}", object=now))
            await asyncio.wait_for(refused.wait(), HANG_SECONDS)
        second_stored.set()
        await running.until_finished()
    assert taken == expected
