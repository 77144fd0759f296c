"""gateway test --record: what became of an event of the inbox, as a case that passes."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import pytest
import structlog
import yaml

from gateway.config.load import load
from gateway.core.envelope import parse_event
from gateway.core.model import Account, Claim, Fetch, Fetched, Lane
from gateway.core.routing import RouteTable
from gateway.delivery.attempt import AttemptContext, run_attempt
from gateway.delivery.resources import Resources
from gateway.intake.planning import intake_of, replan
from gateway.plugin import Action, Context, Reject, Settings
from gateway.store.sqlite.store import SqliteStore
from gateway.testing import make_event
from tests.cli import CommandLine
from tests.configs import SHOP, gateway_yaml, http

ROUTES = """\
  orders:
    events: [checkout.session.completed]
    if: object.payment_status == 'paid'
    actions:
      save:
        uses: db_upsert
        with:
          connection: shop
          table: orders
          key: {id: "{{ object.id }}"}
          values: {email: "{{ object.customer_details.email }}", amount: "{{ object.amount_total }}", ref: "{{ object.client_reference_id }}"}
      greet:
        uses: http_forward
        needs: [save]
        with: {connection: warehouse, body: {text: "For {{ object.customer_details.name }}: {{ object.metadata.note }}", parcel: "{{ steps.save.output.parcel }}"}}
      big: {uses: http_forward, if: object.amount_total > 100000, with: {connection: warehouse, body: big}}
      late: {uses: http_forward, expires: 90d, with: {connection: warehouse, body: soon}}
      region: {uses: http_forward, with: {connection: warehouse, body: "${REGION:-eu}"}}
"""  # noqa: E501
EVENT = make_event(
    "checkout.session.completed",
    id="evt_1",
    object={
        "id": "cs_1",
        "client_reference_id": "order-77",
        "amount_total": 4500,
        "metadata": {"note": "Jürgen Müller wants it soon, mail jürgen@müller.example"},
        "customer_details": {
            "email": "jürgen@müller.example",
            "name": "Jürgen Müller",
            "phone": "+4915112345678",
            "address": {"line1": "Königsallee 12", "city": "Düsseldorf", "postal_code": "40212", "country": "DE"},
        },
    },
)
PERSONAL = ("rgen", "ller", "49151", "nigsallee", "sseldorf", "40212")


class Outside(Action[Any]):
    """A destination: renders as the real action does, and returns or refuses what the test says."""

    name: ClassVar[str] = "outside"
    Settings: ClassVar[type[Settings]] = Settings

    def __init__(self, real: Action[Any], answers: Mapping[str, Any]) -> None:
        self._real = real
        self._answers = answers

    async def run(self, settings: Any, context: Context) -> Mapping[str, Any] | None:
        """As the test says."""
        self._real.rehearse(settings, context)
        answer = self._answers.get(context.action, {})
        if isinstance(answer, str):
            raise Reject(answer)
        return dict(answer)


class Fetcher:
    """Brings one object, and keeps it as the real one does."""

    def __init__(self, store: SqliteStore, brought: Mapping[str, Any]) -> None:
        self._store = store
        self._brought = brought

    async def fetch(
        self, claim: Claim, envelope: Mapping[str, Any], account: Account, fetch: Fetch
    ) -> Mapping[str, Any]:
        """The object of the test."""
        kept = Fetched("it", datetime.now(UTC), self._brought)
        return (await self._store.keep_fetched(claim.delivery.run_id, kept)).object


async def deliver(path: Path, event: Mapping[str, Any], answers: Mapping[str, Any], brought: Mapping[str, Any]) -> None:
    """Stores an event, and delivers all that is owed for it."""
    config = load(path, {"REGION": "us", "K": "sk_test_key"})
    store = SqliteStore(path.parent / "inbox.db")
    await store.start()
    stored = parse_event(json.dumps(event).encode(), "acme", datetime.now(UTC))
    await store.add(stored, replan(intake_of(config), stored))
    log = structlog.get_logger()
    resources = Resources(lambda *_: True, log)
    outside = replace(config, actions={name: Outside(real, answers) for name, real in config.actions.items()})
    fetcher = Fetcher(store, brought)
    context = AttemptContext(outside, RouteTable(config.routes), resources, fetcher, Random(0), log)
    lanes = {Lane("acme", route.name, action.name): 10 for route in config.routes for action in route.actions}
    while claims := await store.claim(lanes, lease_seconds=30):
        for claim in claims:
            await store.finish(claim.delivery.id, claim.token, (await run_attempt(claim, context)).ending)
    await resources.close()
    await store.close()


Deliver = Callable[..., None]


@pytest.fixture
def inbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deliver:
    """Writes gateway.yaml and has it deliver an event."""

    def run(
        event: Mapping[str, Any] = EVENT,
        *,
        routes: str = ROUTES,
        answers: Mapping[str, Any] | None = None,
        accounts: str = "",
        brought: Mapping[str, Any] | None = None,
    ) -> None:
        connections = {"shop": SHOP, "warehouse": http("https://warehouse.example/")}
        text = gateway_yaml(
            store='url: "sqlite:///inbox.db"', connections=connections, routes=routes, accounts=accounts
        )
        (tmp_path / "gateway.yaml").write_text(text)
        monkeypatch.setenv("REGION", "us")
        monkeypatch.setenv("K", "sk_test_key")
        asyncio.run(deliver(tmp_path / "gateway.yaml", event, answers or {"save": {"parcel": "P-7"}}, brought or {}))

    return run


def recorded(folder: Path) -> Any:
    """The only case of the file that was written."""
    (case,) = yaml.safe_load((folder / "config/tests/evt_1.yaml").read_text())["cases"].values()
    return case


def test_what_happened_becomes_a_case_that_passes_and_names_nobody(
    inbox: Deliver, tmp_path: Path, gateway_cli: CommandLine
) -> None:
    inbox()
    ran = gateway_cli("--config", tmp_path / "gateway.yaml", "test", "--record", "evt_1")
    assert (ran.code, ran.err) == (0, "")
    tests = tmp_path / "config/tests"
    assert ran.out == (
        f"wrote {tests}/evt_1.yaml, {tests}/events/evt_1.json\n"
        "hidden: 2 x URL, 3 x address, 1 x e-mail address, 1 x name, 1 x telephone number\n"
        "left out: orders.late: late has `expires`: say `arrives` and the rest by hand\n"
        "left out: orders.region: with.body is rendered otherwise today, or comes from a variable\n"
    )
    case = recorded(tmp_path)
    assert case["outputs"] == {"save": {"parcel": "P-7"}}
    assert case["expect"]["routes"] == {"orders": None}
    deliveries = case["expect"]["deliveries"]["orders"]
    assert deliveries["save"]["with"]["values"] == {"email": "person-1@example.com", "amount": 4500, "ref": "order-77"}
    assert deliveries["greet"]["with"]["body"] == {
        "text": "For Person 1: Person 1 wants it soon, mail person-1@example.com",
        "parcel": "P-7",
    }
    assert deliveries["big"] == {"skipped": "its `if` is false: object.amount_total > 100000"}
    assert "late" not in deliveries
    assert deliveries["region"]["with"] == {"connection": "warehouse"}
    for file in tests.rglob("*.*"):
        assert not [word for word in PERSONAL if word in file.read_text()]
    again = gateway_cli("--config", tmp_path / "gateway.yaml", "test")
    assert (again.code, again.out) == (0, "1 passed, 0 failed\n")


def test_a_dead_letter_and_what_it_blocks_are_expected(
    inbox: Deliver, tmp_path: Path, gateway_cli: CommandLine
) -> None:
    inbox(answers={"save": "no table orders for jürgen@müller.example"})
    assert gateway_cli("--config", tmp_path / "gateway.yaml", "test", "--record", "evt_1").code == 0
    case = recorded(tmp_path)
    assert case["failures"] == {"save": "no table orders for person-1@example.com"}
    assert case["expect"]["deliveries"]["orders"]["save"] == {"error": "no table orders for person-1@example.com"}
    assert case["expect"]["deliveries"]["orders"]["greet"] == {"blocked": True}


def test_what_an_account_redacts_is_hidden_in_its_shape(
    inbox: Deliver, tmp_path: Path, gateway_cli: CommandLine
) -> None:
    redact = "    redact: [data.object.client_reference_id, data.object.customer_details]\n"
    inbox(accounts=redact)
    assert gateway_cli("--config", tmp_path / "gateway.yaml", "test", "--record", "evt_1", "--name", "a").code == 0
    session = json.loads((tmp_path / "config/tests/events/evt_1.json").read_text())["data"]["object"]
    assert session["client_reference_id"] == "[redacted]"
    assert session["customer_details"]["name"] == "[redacted]"
    assert session["customer_details"]["email"] == "person-1@example.com"
    assert session["customer_details"]["address"]["country"] == "[redacted]"
    assert session["metadata"]["note"] == "[redacted] wants it soon, mail person-1@example.com"


def test_what_was_fetched_is_kept_beside_the_event(inbox: Deliver, tmp_path: Path, gateway_cli: CommandLine) -> None:
    routes = """\
  paid:
    events: [checkout.session.completed]
    fetch: true
    actions: {ship: {uses: http_forward, with: {connection: warehouse, body: "{{ object.status }} {{ object.customer_details.name }}"}}}
"""  # noqa: E501
    session = {**EVENT["data"]["object"], "status": "expired"}
    inbox(routes=routes, brought=session, accounts="    api_key: ${K}\n", answers={"none": {}})
    ran = gateway_cli("--config", tmp_path / "gateway.yaml", "test", "--record", "evt_1")
    assert ran.code == 0, ran.err
    case = recorded(tmp_path)
    assert case["fetch"] == "events/evt_1.fetched.json"
    assert case["expect"]["deliveries"]["paid"]["ship"]["with"]["body"] == "expired Person 1"


def test_an_event_that_no_route_wanted_is_expected_to_do_nothing(
    inbox: Deliver, tmp_path: Path, gateway_cli: CommandLine
) -> None:
    inbox({**EVENT, "type": "invoice.paid"})
    assert gateway_cli("--config", tmp_path / "gateway.yaml", "test", "--record", "evt_1").code == 0
    assert recorded(tmp_path)["expect"] == "nothing"


def test_what_today_s_routes_do_otherwise_is_left_out_and_told(
    inbox: Deliver, tmp_path: Path, gateway_cli: CommandLine
) -> None:
    inbox()
    config = tmp_path / "gateway.yaml"
    config.write_text(config.read_text().replace("> 100000", "> 1000"))
    ran = gateway_cli("--config", config, "test", "--record", "evt_1")
    was = "orders.big: was skipped (its `if` is false: object.amount_total > 100000), and would be succeeded today"
    assert f"left out: {was}\n" in ran.out
    assert f"# left out: {was}\n" in (tmp_path / "config/tests/evt_1.yaml").read_text()
    assert "big" not in recorded(tmp_path)["expect"]["deliveries"]["orders"]


def test_whom_a_reason_names_is_not_told_where_it_is_left_out(
    inbox: Deliver, tmp_path: Path, gateway_cli: CommandLine
) -> None:
    inbox(answers={"save": {"parcel": "P-7"}, "region": "no mailbox of jürgen@müller.example, Jürgen Müller"})
    config = tmp_path / "gateway.yaml"
    since = "region: {uses: http_forward, if: object.amount_total > 100000,"
    config.write_text(config.read_text().replace("region: {uses: http_forward,", since))
    ran = gateway_cli("--config", config, "test", "--record", "evt_1")
    was = "orders.region: was dead (no mailbox of person-1@example.com, Person 1), and would be skipped today"
    assert f"left out: {was}\n" in ran.out, ran.err
    assert not any(text in (tmp_path / "config/tests/evt_1.yaml").read_text() for text in PERSONAL)


def test_nothing_is_overwritten(inbox: Deliver, tmp_path: Path, gateway_cli: CommandLine) -> None:
    inbox()
    words = ("--config", tmp_path / "gateway.yaml", "test", "--record", "evt_1")
    gateway_cli(*words)
    file = tmp_path / "config/tests/evt_1.yaml"
    file.write_text("mine")
    ran = gateway_cli(*words)
    assert (ran.code, ran.out, file.read_text()) == (1, "", "mine")
    assert ran.err == (
        f"{file} and {file.parent}/events/evt_1.json are there already, and stay as they are: move them away first\n"
    )
    shutil.rmtree(file.parent)
    assert gateway_cli(*words).code == 0


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["evt_none"], 1, "there is no event evt_none in the inbox\n"),
        (["evt_1", "--json"], 2, "--record writes one case; it goes with --account and --name alone\n"),
    ],
)
def test_bad_usage_is_told(
    words: list[str], code: int, message: str, inbox: Deliver, tmp_path: Path, gateway_cli: CommandLine
) -> None:
    inbox()
    ran = gateway_cli("--config", tmp_path / "gateway.yaml", "test", "--record", *words)
    assert (ran.code, ran.out, ran.err) == (code, "", message)
