"""What an audit shows of redacted columns, what it repairs and what it leaves, and whose turn it is."""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog

from gateway.cli.commands.audit import _Audited
from gateway.config.load import Config, load
from gateway.core.errors import StripeUnavailable
from gateway.core.model import AuditRule, DeliveryFilter, Event, EventFilter
from gateway.core.routing import RouteTable
from gateway.intake.backfill.objects import event_of, seedable
from gateway.intake.planning import intake_of
from gateway.plugin import RowDifference
from gateway.simulation.audit import AuditFinding, AuditResult, RouteAudit
from gateway.simulation.audit_pass import AuditOrder, audit_route, repair
from gateway.simulation.auditor import Auditor, note_name
from gateway.simulation.hidden_columns import hidden_columns, without_hidden
from gateway.store import open_store
from gateway.store.answers import Note
from gateway.store.protocol import Store
from gateway.stripe.api import StripeApi
from gateway.stripe.connections import StripeApis
from tests.in_process import config
from tests.stripe_standin import StripeStandin

LOG = structlog.wrap_logger(structlog.testing.CapturingLogger())
READ_AT = datetime.now(UTC) - timedelta(seconds=30)
REDACTED = "    redact: [data.object.email, data.object.**.phone]\n"
ROUTES = """\
  customers:
    events: [customer.created]
    audit: {every: 1d}
    actions:
      save:
        uses: db_upsert
        with:
          connection: shop
          table: t
          key: {id: "{{ object.id }}"}
          values:
            email: "{{ object.email | default('', true) | upper }}"
            Phone: "{{ object.shipping.phone }}"
            whole: "{{ object.shipping }}"
            balance: "{{ object.balance }}"
"""
CUSTOMER = {"id": "cus_1", "object": "customer", "created": 1_700_000_000, "email": None, "balance": 5,
            "shipping": {"name": "A", "phone": "+1 555"}, "livemode": False}  # fmt: skip


@pytest.fixture
def loaded(tmp_path: Path) -> Config:
    (tmp_path / "gateway.yaml").write_text(config(ROUTES, "http://127.0.0.1:9", account=REDACTED))
    return load(tmp_path / "gateway.yaml", {})


@pytest.fixture
async def inbox(tmp_path: Path) -> AsyncIterator[Store]:
    store = open_store("sqlite:///inbox.db", tmp_path)
    await store.start()
    yield store
    await store.close()


def customer(loaded: Config, at: datetime = READ_AT, told_at: datetime | None = None) -> Event:
    return event_of(dict(CUSTOMER), "customer.created", loaded.accounts["acme"], "customers", None, at, told_at)


def finding(loaded: Config) -> AuditFinding:
    return AuditFinding(customer(loaded), "save", "t", {"id": "cus_1"}, {"balance": 5}, {"balance": 4}, "edited", "")


def test_a_column_that_asks_for_what_is_redacted_is_hidden_whatever_was_made_of_it(loaded: Config) -> None:
    (use,), event = loaded.routes[0].actions, {"data": {"object": CUSTOMER}}
    hidden = hidden_columns(use, event, loaded.redactions.paths["acme"])
    row = {"id": "cus_1", "email": "OLD@B.EXAMPLE", "PHONE": "+1 444", "whole": {}, "balance": 4, "note": None}
    masked = "[redacted]"
    assert without_hidden(row, hidden) == {**row, "email": masked, "PHONE": masked, "whole": masked}
    assert hidden_columns(use, event, ()) == frozenset()


async def test_a_repair_tells_of_the_time_at_which_stripe_was_asked(loaded: Config, inbox: Store) -> None:
    done = await repair(loaded, loaded.routes[0], [finding(loaded)], inbox, lambda: datetime.now(UTC))
    (event,) = await inbox.events(EventFilter(), limit=9)
    assert done.put_in == 1
    assert event.created_at is not None
    assert READ_AT - timedelta(seconds=2) <= event.created_at <= READ_AT - timedelta(seconds=1)


async def test_what_stripe_told_since_it_was_compared_is_left_to_that(loaded: Config, inbox: Store) -> None:
    later = customer(loaded, READ_AT + timedelta(seconds=10), READ_AT)
    await inbox.add(*intake_of(loaded).route(later))
    done = await repair(loaded, loaded.routes[0], [finding(loaded)], inbox, lambda: datetime.now(UTC))
    assert (done.put_in, done.on_their_way) == (0, 1)
    assert len(await inbox.events(EventFilter(), limit=9)) == 1


@pytest.mark.parametrize("held_back", [{"is_enabled": False}, {"dry_run": True}])
async def test_a_route_that_writes_nothing_repairs_nothing(
    loaded: Config, inbox: Store, held_back: dict[str, Any]
) -> None:
    route = replace(loaded.routes[0], **held_back)
    done = await repair(loaded, route, [finding(loaded)], inbox, lambda: datetime.now(UTC))
    assert (done.put_in, done.impossible) == (0, 1)
    assert await inbox.events(EventFilter(), limit=9) == []


async def test_a_row_whose_delivery_was_cancelled_need_not_be_there(loaded: Config, inbox: Store) -> None:
    audit = RouteAudit(loaded, loaded.routes[0], inbox, StripeApis(), LOG, {})
    difference = RowDifference("t", {"id": "cus_1"}, {"balance": 5}, None)
    assert await audit._finding(customer(loaded), "save", difference) is not None
    await inbox.add(*intake_of(loaded).route(customer(loaded)))
    (delivery,) = await inbox.deliveries(DeliveryFilter(), limit=9)
    await inbox.cancel([delivery.id], "until: evt_2 came first")
    assert await audit._finding(customer(loaded), "save", difference) is None
    await audit.close()


@pytest.mark.parametrize("for_repair", [True, False])
async def test_rows_that_differ_are_looked_at_again_in_part_and_their_objects_are_kept_only_for_a_repair(
    tmp_path: Path, inbox: Store, standin: StripeStandin, monkeypatch: pytest.MonkeyPatch, for_repair: bool
) -> None:
    held: list[int] = []
    away = [3]  # looks until Stripe is away for a moment
    look_again, as_it_is = RouteAudit.look_again, RouteAudit._as_it_is

    async def counted(audit: RouteAudit, api: StripeApi) -> None:
        held.append(len(audit._doubted))
        await look_again(audit, api)

    async def away_once(audit: RouteAudit, event: Event, api: StripeApi) -> Event | None:
        away[0] -= 1
        if not away[0]:
            raise StripeUnavailable("down")
        return await as_it_is(audit, event, api)

    monkeypatch.setattr("gateway.simulation.audit.MOST_DOUBTED", 2)
    monkeypatch.setattr("gateway.intake.backfill.listing.MOST_IN_WINDOW", 2)
    monkeypatch.setattr("gateway.intake.backfill.importer.FIRST_WAIT_SECONDS", 0.0)
    monkeypatch.setattr(RouteAudit, "look_again", counted)
    monkeypatch.setattr(RouteAudit, "_as_it_is", away_once)
    for i in range(5):
        standin.put({**CUSTOMER, "id": f"cus_{i}", "created": 1_700_000_000 + i * 86_400})
    with contextlib.closing(sqlite3.connect(tmp_path / "shop.db")) as shop:
        shop.execute("CREATE TABLE t (id TEXT PRIMARY KEY, email TEXT, phone TEXT, whole TEXT, balance INTEGER)")
    (tmp_path / "gateway.yaml").write_text(config(ROUTES, standin.url))
    loaded = load(tmp_path / "gateway.yaml", {})
    account, route = loaded.accounts["acme"], loaded.routes[0]
    apis = StripeApis()
    apis.take([account], standin.url, 5)
    order = AuditOrder(route, seedable(route.events, takes_changes=True).kinds, account)
    result = await audit_route(loaded, order, inbox, apis, LOG, for_repair=for_repair)
    await apis.close()
    paths = [asked.path for asked in standin.requests if asked.path.startswith("/v1/customers/")]
    assert sorted(paths) == [f"/v1/customers/cus_{i}" for i in range(5)]
    assert sorted(str(found.event.object_id) for found in result.findings) == [f"cus_{i}" for i in range(5)]
    assert {found.why for found in result.findings} == {"missed"}
    assert all(bool(found.event.body) is for_repair for found in result.findings)
    assert (result.objects, result.sampled, result.rows) == (5, 5, 5)
    assert held == [3, 3, 0]  # the first look left one, and none was counted or told twice


def test_an_audit_that_could_compare_nothing_is_no_good_news() -> None:
    order: Any = None
    nothing = AuditResult(objects=2, sampled=2, unknown=Counter({"save: there is no table t": 2}))
    assert _Audited(order, nothing, None).is_wrong
    assert not _Audited(order, replace(nothing, rows=1), None).is_wrong
    assert not _Audited(order, AuditResult(), None).is_wrong


async def test_what_another_gateway_has_just_audited_is_not_done_again(
    loaded: Config, inbox: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    account, (route,) = loaded.accounts["acme"], loaded.routes
    auditor = Auditor(inbox, StripeApis(), lambda: (loaded, RouteTable(loaded.routes)), LOG, lambda ended: None)
    began: list[str] = []

    async def audit(route: Any, *_: Any) -> None:
        began.append(route.name)

    monkeypatch.setattr(auditor, "_audit", audit)
    notes: list[Note | None] = [Note({}, 0.5), None]  # the other one ended between the two looks

    async def note(name: str) -> Note | None:
        assert name == note_name("customers", "acme")
        return notes.pop()

    monkeypatch.setattr(inbox, "note", note)
    await auditor._turn(route, account, AuditRule(60.0, 1.0))
    assert began == []
    notes += [None, None]
    await auditor._turn(route, account, AuditRule(60.0, 1.0))
    assert began == ["customers"]
