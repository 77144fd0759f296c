"""`enabled: false`: what a route would take is recorded as skipped, and nothing is done until a person retries it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest
import structlog

from gateway.core.envelope import parse_event
from gateway.core.keys import key_of
from gateway.core.model import DONE, DeliveryState, Finish, PlannedDelivery
from gateway.core.routing import RouteTable, plan
from gateway.delivery.attempt import AttemptContext, run_attempt
from gateway.delivery.resources import Resources
from gateway.simulation.explain import explain
from gateway.store.sqlite.store import SqliteStore
from gateway.testing import make_event
from tests.configs import loaded
from tests.contract.test_store import an_event, claim_all
from tests.integration.live_gateway import live_gateway
from tests.integration.test_dry_run import config, deliver, notes, ready

ACTIONS = """\
      note: {uses: note, with: {lines: ["x"]}}
      after: {uses: note, needs: [note], with: {lines: ["x"]}}
"""
WHY = "disabled: route watched says `enabled: false`"


async def test_its_deliveries_begin_skipped_and_run_once_it_is_enabled_and_they_are_retried(tmp_path: Path) -> None:
    disabled = config("if: object.amount_total > 5\n    enabled: false", ACTIONS)
    async with live_gateway(ready(tmp_path), disabled) as gateway:
        found = await deliver(gateway, make_event(object={"amount_total": 4}), make_event(object={"amount_total": 9}))
        assert [(d.state, d.reason, d.attempts) for d in found.values()] == [(DeliveryState.SKIPPED, WHY, 0)] * 2
        store = SqliteStore(tmp_path / "data/gateway.db")
        await store.attach()
        ids = [delivery.id for delivery in found.values()]
        assert await store.retry(ids) == dict.fromkeys(ids, DONE)  # it is still disabled
        again = await gateway.finished()
        assert again["note"].reason == WHY
        assert again["after"].reason == "needed action note was skipped"
        gateway.write("gateway.yaml", config("", ACTIONS))
        assert (await gateway.reloader.reload("test")).problems == ()
        await store.retry(ids)
        await store.close()
        assert {d.state for d in (await gateway.finished()).values()} == {DeliveryState.SUCCEEDED}
    assert notes(tmp_path) == ["note", "after"]


ORDERS = """\
routes:
  orders:
    events: [checkout.session.*]
    enabled: false
    once_per: object.KEY
    actions:
      ship: {uses: http_forward, with: {connection: warehouse}}
"""
DISABLED_ORDERS = "disabled: route orders says `enabled: false`"


@pytest.mark.parametrize(("key", "is_judged"), [("id", True), ("nope", False)])
def test_routing_keeps_its_keys_and_what_it_could_not_judge(tmp_path: Path, key: str, is_judged: bool) -> None:
    (route,) = loaded(tmp_path, ORDERS.replace("KEY", key)).routes
    once_key = key_of("acme", "orders", "ship", "cs_1") if is_judged else None
    assert plan([route], an_event(), lambda: {"object": {"id": "cs_1"}}) == [
        PlannedDelivery("orders", "ship", once_key=once_key, is_judged=is_judged, skipped=DISABLED_ORDERS)
    ]


async def test_what_was_owed_before_it_was_disabled_is_skipped_at_its_next_attempt(
    tmp_path: Path, store: SqliteStore
) -> None:
    await store.add(an_event(), [PlannedDelivery("orders", "ship")])
    (claim,) = await claim_all(store)
    config = loaded(tmp_path, ORDERS.replace("KEY", "id"))
    log, nobody = structlog.get_logger(), Resources(lambda *_: True, structlog.get_logger())
    attempts = AttemptContext(config, RouteTable(config.routes), nobody, None, Random(0), log)  # type: ignore[arg-type]
    ending = (await run_attempt(claim, attempts)).ending
    assert isinstance(ending, Finish)
    assert (ending.state, ending.reason) == (DeliveryState.SKIPPED, DISABLED_ORDERS)


async def test_explain_says_that_it_is_disabled(tmp_path: Path) -> None:
    event = parse_event(json.dumps(make_event()).encode(), "acme", datetime.now(UTC))
    (route,) = await explain(loaded(tmp_path, ORDERS.replace("KEY", "id")), event)
    assert route.why.endswith("(and is disabled: `enabled: false`)")
    assert [(action.state, action.reason) for action in route.actions] == [("skipped", DISABLED_ORDERS)]
