"""A key that is null is no key: on every store, and a dead letter where the route says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import structlog

from gateway.config.load import Config
from gateway.core.envelope import parse_event
from gateway.core.model import Delivery, DeliveryFilter, DeliveryState, Event, Lane
from gateway.core.routing import RouteTable, route
from gateway.delivery.attempt import AttemptContext, run_attempt
from gateway.delivery.fetch import StripeFetcher
from gateway.delivery.resources import Resources
from gateway.store.protocol import Store
from gateway.stripe.connections import StripeApis
from gateway.testing import make_event
from tests.configs import loaded
from tests.contract.test_attempts import Acts
from tests.contract.test_store import NOW

PLACES = ("sqlite", "postgresql")
NO_ORDER = "order_by is null or empty: no key, so it waits for no other event"
NO_ONCE = "once_per is null or empty: no key, so it acts whatever others did"


def config_of(folder: Path, more: str) -> Config:
    return loaded(
        folder,
        f"""\
routes:
  fulfil:
    events: ["*"]
    {more}
    actions: {{save: {{uses: http_forward, with: {{connection: warehouse}}}}}}
""",
    )


def an_order(number: int, payment: object) -> Event:
    """A Checkout Session that was paid by this PaymentIntent."""
    envelope = make_event(object={"id": f"cs_{number}", "payment_intent": payment})
    return parse_event(json.dumps({**envelope, "id": f"evt_{number}"}).encode(), "acme", NOW)


async def ended(config: Config, store: Store, events: list[Event], fails: Callable[[str], bool]) -> list[Delivery]:
    """The deliveries once each was claimed and run as often as it can be now, in the order of their events."""

    async def act(event_id: str) -> None:
        if fails(event_id):
            raise OSError("down")

    table, log = RouteTable(config.routes), structlog.get_logger()
    for event in events:
        await store.add(*route(event, config.accounts, table, config.vars))
    resources = Resources(lambda *_: True, log)
    running = replace(config, actions={"http_forward": Acts(act)})
    attempts = AttemptContext(running, table, resources, StripeFetcher(store, StripeApis()), Random(0), log)
    while claims := await store.claim({Lane("acme", "fulfil", "save"): 10}, lease_seconds=30):
        for claim in claims:
            await store.finish(claim.delivery.id, claim.token, (await run_attempt(claim, attempts)).ending)
    await resources.close()
    return list(await store.deliveries(DeliveryFilter(), limit=9, newest_first=False))


async def test_free_orders_are_not_one_order(tmp_path: Path, store: Store) -> None:
    config = config_of(tmp_path, "once_per: object.payment_intent")
    orders = [an_order(1, None), an_order(2, None), an_order(3, "pi_1"), an_order(4, "pi_1")]
    deliveries = await ended(config, store, orders, lambda event_id: False)
    assert [(one.state.value, one.reason) for one in deliveries[:3]] == [
        ("succeeded", NO_ONCE),
        ("succeeded", NO_ONCE),
        ("succeeded", None),
    ]
    assert deliveries[3].state is DeliveryState.SKIPPED


async def test_a_stranger_who_fails_holds_up_nobody(tmp_path: Path, store: Store) -> None:
    config = config_of(tmp_path, "order_by: object.payment_intent")
    orders = [an_order(1, None), an_order(2, None), an_order(3, "pi_1"), an_order(4, "pi_1")]
    deliveries = await ended(config, store, orders, lambda event_id: event_id in ("evt_1", "evt_3"))
    assert [(one.state.value, one.reason) for one in deliveries] == [
        ("pending", None),
        ("succeeded", NO_ORDER),
        ("pending", None),
        ("pending", None),  # it waits for the one before
    ]


async def test_null_key_dead_makes_a_dead_letter_that_runs_once_it_is_mended(tmp_path: Path, store: Store) -> None:
    config = config_of(tmp_path, "once_per: object.payment_intent\n    null_key: dead")
    (dead, alive) = await ended(config, store, [an_order(1, None), an_order(2, "pi_1")], lambda event_id: False)
    assert (dead.state, alive.state) == (DeliveryState.DEAD, DeliveryState.SUCCEEDED)
    assert dead.reason == (
        f"{tmp_path}/gateway.yaml:13:15 (routes.fulfil.once_per): once_per is null or empty for this event: no key, of "
        "which `null_key: dead` makes a dead letter; mend the expression or say `null_key: act`, and retry, or cancel"
    )
    await store.retry([dead.id])
    (again, _) = await ended(config, store, [], lambda event_id: False)
    assert (again.state, again.reason) == (DeliveryState.DEAD, dead.reason)
    await store.retry([dead.id])
    (mended, _) = await ended(config_of(tmp_path, "once_per: object.payment_intent"), store, [], lambda event_id: False)
    assert (mended.state, mended.reason) == (DeliveryState.SUCCEEDED, NO_ONCE)
