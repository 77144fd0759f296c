"""What a seed owes for an object: in the mode of the key, once beside another seed, and what was only for show anew."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog

from gateway.config.load import Config, load
from gateway.core.model import (
    Account,
    Attempt,
    AttemptOutcome,
    Debounce,
    DeliveryState,
    Event,
    Finish,
    Lane,
    Route,
)
from gateway.core.routing import RouteTable
from gateway.intake.backfill import seeding as seeding_module
from gateway.intake.backfill.objects import event_of
from gateway.intake.backfill.seeding import Seeding, done_actions, still_owed
from gateway.intake.planning import intake_of
from gateway.store import open_store
from gateway.store.protocol import Store
from tests.in_process import config
from tests.stripe_standin import LIVE_KEY, TEST_KEY

LOG = structlog.wrap_logger(structlog.testing.CapturingLogger())
NOW = datetime.now(UTC)
ROUTES = """\
  refunds:
    events: [refund.created]
    actions:
      count: {uses: db_execute, with: {connection: shop, statement: "UPDATE t SET n = n + 1"}}
      save: {uses: db_upsert, needs: [count], with: {connection: shop, table: t, key: {id: "{{ object.id }}"}}}
"""
REFUND = {"id": "re_1", "object": "refund", "created": 1_700_000_000}


@pytest.fixture
def loaded(tmp_path: Path) -> Config:
    (tmp_path / "gateway.yaml").write_text(config(ROUTES, "http://127.0.0.1:9"))
    return load(tmp_path / "gateway.yaml", {})


@pytest.fixture
async def inbox(tmp_path: Path) -> AsyncIterator[Store]:
    store = open_store("sqlite:///inbox.db", tmp_path)
    await store.start()
    yield store
    await store.close()


def refund(loaded: Config, **account: Any) -> Event:
    return event_of(REFUND, "refund.created", replace(loaded.accounts["acme"], **account), "refunds", None, NOW)


def seeding(loaded: Config, store: Store, route: Route) -> Seeding:
    api: Any = None  # nobody is asked
    intake = intake_of(loaded, RouteTable((route,)))
    return Seeding(store, api, intake, LOG, route=route, still_ours=lambda: None)


@pytest.mark.parametrize(
    ("key", "livemode", "expected"),
    [(LIVE_KEY, None, True), (LIVE_KEY, True, True), (TEST_KEY, True, False), ("sk_org_live_1", True, True)],
)
def test_an_object_that_does_not_say_its_mode_is_of_that_of_the_key(
    key: str, livemode: bool | None, expected: bool
) -> None:
    account = Account("acme", ("whsec_1",), livemode, 300.0, api_key=key)
    assert event_of(REFUND, "refund.created", account, "refunds", None, NOW).livemode is expected


def test_a_statement_is_not_run_again_for_what_needs_it(loaded: Config) -> None:
    route = loaded.routes[0]
    _, planned = intake_of(loaded).route(refund(loaded))
    assert [delivery.action for delivery in still_owed(route, planned, ())] == ["count", "save"]
    assert still_owed(route, planned, {"count"}) == []


async def test_of_two_seeds_at_once_one_owes_it(loaded: Config, inbox: Store) -> None:
    route, event = loaded.routes[0], refund(loaded)
    both = [seeding(loaded, inbox, route) for _ in range(2)]  # each has looked before the other was done
    assert [await each._owe(event, frozenset()) for each in both] == [True, False]
    assert (await done_actions(inbox, route, [event]))[event.id] == {"count", "save"}


async def test_what_was_skipped_as_the_route_was_disabled_is_owed_once_it_is_not(loaded: Config, inbox: Store) -> None:
    route, event = loaded.routes[0], refund(loaded)
    held = replace(route, is_enabled=False)
    assert await seeding(loaded, inbox, held)._owe(event, frozenset())
    assert (await done_actions(inbox, held, [event]))[event.id] == {"count", "save"}
    assert (await done_actions(inbox, route, [event]))[event.id] == set()


@pytest.mark.parametrize("waits_rightly", [False, True])
async def test_what_waits_for_a_retry_holds_a_seed_up_and_what_waits_for_its_time_does_not(
    loaded: Config, inbox: Store, monkeypatch: pytest.MonkeyPatch, waits_rightly: bool
) -> None:
    monkeypatch.setattr(seeding_module, "MOST_AHEAD", 1)
    route = replace(loaded.routes[0], debounce=Debounce(1.0, 5.0) if waits_rightly else None)
    await inbox.add(*intake_of(loaded).route(refund(loaded)))
    (claim,) = await inbox.claim({Lane("acme", "refunds", "count"): 1}, lease_seconds=60)
    attempt = Attempt(1, NOW, 0.1, AttemptOutcome.RETRY, "the database is away")
    await inbox.finish(claim.delivery.id, claim.token, Finish(DeliveryState.PENDING, attempt, wait_seconds=600.0))
    assert await seeding(loaded, inbox, route)._ahead() == (0 if waits_rightly else 1)
