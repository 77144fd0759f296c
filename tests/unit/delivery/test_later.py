"""What a person retries waits for its time no more."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
import structlog

from gateway.config.load import Config
from gateway.core.model import DeliveryFilter, DeliveryState, Event, EventState, Rekeyed, Released
from gateway.core.routing import RouteTable, route
from gateway.delivery.attempt import AttemptContext, run_attempt
from gateway.delivery.resources import Resources
from gateway.store.sqlite.store import SqliteStore
from tests.configs import loaded
from tests.conftest import Clock
from tests.contract.test_store import claim_all

ROUTES = """\
routes:
  dunning:
    events: [invoice.payment_failed]
    actions:
      remind:
        uses: http_forward
        after: 3d
        until: {events: [invoice.paid], same: object.customer_email}
        with: {connection: warehouse}
"""


BROKEN_IF = """\
routes:
  dunning:
    events: [invoice.payment_failed]
    if: object.no_such_field == 1
    actions:
      remind:
        uses: http_forward
        until: {events: [invoice.paid], same: object.customer_email}
        with: {connection: warehouse}
"""


async def test_a_dead_letter_of_a_broken_if_is_cancelled_by_what_came_before_its_retry(
    tmp_path: Path, store: SqliteStore, clock: Clock
) -> None:
    """It was planned before anybody could tell by which events it is to be cancelled."""
    broken, mended = (
        loaded(tmp_path, text) for text in (BROKEN_IF, BROKEN_IF.replace("    if: object.no_such_field == 1\n", ""))
    )
    now = datetime.fromtimestamp(clock.now // 1000, UTC)
    failed = an_event("evt_1", "invoice.payment_failed", now)
    paid = an_event("evt_paid", "invoice.paid", now + timedelta(seconds=1))
    for event in (failed, paid):
        await store.add(*route(event, broken.accounts, RouteTable(broken.routes), broken.vars))
    (delivery,) = await store.deliveries(DeliveryFilter(), limit=9)
    assert (delivery.state, delivery.until_key) == (DeliveryState.DEAD, None)
    await store.retry([delivery.id])
    (claim,) = await claim_all(store)
    ending = (await run_attempt(claim, context(mended, now))).ending
    await store.finish(claim.delivery.id, claim.token, ending)
    (delivery,) = await store.deliveries(DeliveryFilter(), limit=9)
    assert delivery.reason == "until: evt_paid (invoice.paid) came first"


def context(config: Config, now: datetime) -> AttemptContext:
    """An attempt that asks nothing of Stripe."""
    log = structlog.get_logger()
    fetcher: Any = None
    resources = Resources(lambda *_: True, log)
    return AttemptContext(config, RouteTable(config.routes), resources, fetcher, Random(0), log, now=lambda: now)


def an_event(name: str, type_: str, created: datetime) -> Event:
    body = {
        "id": name,
        "object": "event",
        "type": type_,
        "livemode": False,
        "created": int(created.timestamp()),
        "data": {"object": {"id": "in_1", "object": "invoice", "customer_email": "jenny@example.com"}},
    }
    return Event("acme", name, type_, EventState.ROUTED, False, created, json.dumps(body).encode(), created)


@pytest.mark.parametrize("is_cancelled", [True, False])
async def test_it_acts_now_though_it_was_cancelled_or_handed_back(
    tmp_path: Path, store: SqliteStore, clock: Clock, is_cancelled: bool
) -> None:
    config = loaded(tmp_path, ROUTES)
    table = RouteTable(config.routes)
    now = datetime.fromtimestamp(clock.now // 1000, UTC)
    failed = an_event("evt_1", "invoice.payment_failed", now)
    paid = an_event("evt_paid", "invoice.paid", now + timedelta(seconds=1))
    for event in (failed, paid) if is_cancelled else (failed,):
        await store.add(*route(event, config.accounts, table, config.vars))
    (delivery,) = await store.deliveries(DeliveryFilter(), limit=9)
    assert delivery.state is (DeliveryState.CANCELLED if is_cancelled else DeliveryState.PENDING)
    assert "jenny" not in str(delivery.until_key)
    await store.retry([delivery.id])
    (claim,) = await claim_all(store)
    await store.finish(claim.delivery.id, claim.token, Released())  # its connection was paused
    (claim,) = await claim_all(store)
    assert isinstance((await run_attempt(claim, context(config, now))).ending, Rekeyed)
