"""What a person is told before many things are done again, and after: by kind, and by what became of them."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog

from gateway.admin.api.schemas import DeliveriesWhere, EventsWhere, JobAsk
from gateway.admin.operations import Operations
from gateway.admin.pausing import Actor
from gateway.config.load import load
from gateway.core.envelope import parse_event
from gateway.core.internal_events import DELIVERY_DEAD, OWN_ACCOUNT
from gateway.core.model import DeliveryFilter
from gateway.core.routing import RouteTable
from gateway.intake.planning import intake_of, replan
from gateway.store.sqlite.store import SqliteStore
from gateway.testing import make_event
from tests.cli import CommandLine, Ran
from tests.configs import gateway_yaml, http
from tests.contract.test_store import DEAD, SUCCEEDED, claim_all
from tests.waiting import until

ROUTES = """\
  orders:
    events: [checkout.session.completed, "gateway.*"]
    once_per: object.id
    actions:
      ship: {uses: http_forward, with: {connection: warehouse}}
      note: {uses: http_forward, with: {connection: warehouse}}
"""
CONFIG = gateway_yaml(
    store='url: "sqlite:///inbox.db"', connections={"warehouse": http("http://127.0.0.1:9/")}, routes=ROUTES
)
HELD = "once_per: {} has done it"
PAID = "checkout.session.completed"
PERSON = Actor("cli", "jo")
Work = Callable[[SqliteStore], Awaitable[None]]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    (tmp_path / "gateway.yaml").write_text(CONFIG)
    line = CommandLine(monkeypatch, capsys)
    return lambda *words: line("--config", tmp_path / "gateway.yaml", *words)


async def with_store(folder: Path, work: Work) -> None:
    store = SqliteStore(folder / "inbox.db")
    await store.start()
    try:
        await work(store)
    finally:
        await store.close()


async def add(store: SqliteStore, folder: Path, event_id: str, object_id: str = "", type: str = PAID) -> None:
    """An event, with what gateway.yaml owes for it."""
    envelope = make_event(type, object={"id": object_id or f"cs_{event_id}"}) | {"id": event_id}
    account = OWN_ACCOUNT if type.startswith("gateway.") else "acme"
    event = parse_event(json.dumps(envelope).encode(), account, datetime.now(UTC))
    await store.add(event, replan(intake_of(load(folder / "gateway.yaml", {})), event))


async def shipped(store: SqliteStore, folder: Path) -> None:
    """evt_1 was shipped, its note is dead; evt_2 is of the same object; evt_3 of another."""
    await add(store, folder, "evt_1")
    for claim in await claim_all(store):
        ending = SUCCEEDED if claim.delivery.action == "ship" else DEAD
        await store.finish(claim.delivery.id, claim.token, ending)
    await add(store, folder, "evt_2", "cs_evt_1")
    await add(store, folder, "evt_3")
    await add(store, folder, "evt_own", type=DELIVERY_DEAD)


@pytest.fixture
def inbox(tmp_path: Path, command: Callable[..., Ran]) -> str:
    """The id of the delivery that shipped."""
    asyncio.run(with_store(tmp_path, lambda store: shipped(store, tmp_path)))
    listed = json.loads(command("deliveries", "list", "--action", "ship", "--state", "succeeded", "--json").out)
    return str(listed[0]["id"])


def test_a_dry_run_of_a_replay_says_what_once_per_leaves_to_do(command: Callable[..., Ran], inbox: str) -> None:
    told = json.loads(command("events", "replay", "evt_1", "evt_2", "evt_3", "--dry-run", "--json").out)
    skips = [(result["event_id"], result["skips"]) for result in told]
    ship = {"orders/ship": HELD.format(inbox)}
    assert skips == [("evt_1", ship), ("evt_2", ship | {"orders/note": HELD.format("evt_1")}), ("evt_3", {})]
    assert f"orders/ship ({HELD.format(inbox)}), orders/note\n" in command("events", "replay", "evt_1", "--dry-run").out
    forced = json.loads(command("events", "replay", "evt_1", "--force", "--dry-run", "--json").out)
    assert forced[0]["skips"] == {}


def test_own_events_are_replayed_where_they_are_named_alone(command: Callable[..., Ran], inbox: str) -> None:
    def replayed(*words: str) -> list[str]:
        return [
            result["event_id"] for result in json.loads(command("events", "replay", *words, "--dry-run", "--json").out)
        ]

    assert replayed("--since", "1h") == ["evt_1", "evt_2", "evt_3"]
    assert replayed("--type", "gateway.*") == ["evt_own"]
    assert replayed("--account", OWN_ACCOUNT) == ["evt_own"]
    assert replayed("evt_own") == ["evt_own"]


def test_explain_of_a_stored_event_says_what_once_per_has_done(command: Callable[..., Ran], inbox: str) -> None:
    told = json.loads(command("explain", "--id", "evt_2", "--json").out)[0]["actions"]
    assert [(action["name"], action["state"], action["reason"]) for action in told] == [
        ("ship", "skipped", HELD.format(inbox)),
        ("note", "succeeded", None),
    ]


def test_questions_before_many_name_the_kinds(
    tmp_path: Path, command: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def many(store: SqliteStore) -> None:
        for n in range(8):
            await add(store, tmp_path, f"evt_{n}")
        for claim in await claim_all(store):
            await store.finish(claim.delivery.id, claim.token, DEAD)

    asyncio.run(with_store(tmp_path, many))
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    asked = command("deliveries", "retry", "--state", "dead")
    assert asked.code == 1
    assert "Retry 16 deliveries (8 orders/ship, 8 orders/note)? [y/N]" in asked.err
    asked = command("deliveries", "cancel", "--state", "dead", "--action", "ship", "--yes")
    assert asked.code == 0


def test_retry_waits_and_says_what_became_of_each(
    tmp_path: Path, command: Callable[..., Ran], inbox: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (dead,) = json.loads(command("deliveries", "list", "--state", "dead", "--json").out)

    async def end(_: float) -> None:
        """In place of the wait: a gateway beside the command runs it."""
        store = SqliteStore(tmp_path / "inbox.db")
        await store.start()
        for claim in await claim_all(store):
            await store.finish(claim.delivery.id, claim.token, DEAD if claim.event.id == "evt_1" else SUCCEEDED)
        await store.close()

    monkeypatch.setattr("gateway.cli.commands.deliveries.asyncio.sleep", end)
    ran = command("deliveries", "retry", dead["id"], "--wait", "1m")
    assert (ran.code, [line.split() for line in ran.out.splitlines()[-2:]]) == (
        1,
        [[dead["id"], "dead"], ["1", "dead"]],
    )
    assert command("deliveries", "retry", dead["id"], "--wait", "soon").err.endswith("write 30s, 5m or 2h\n")


@pytest.fixture
async def operations(tmp_path: Path) -> AsyncIterator[Operations]:
    """On a store with what `shipped` leaves."""
    (tmp_path / "gateway.yaml").write_text(CONFIG)
    config = load(tmp_path / "gateway.yaml", {})
    store = SqliteStore(tmp_path / "inbox.db")
    await store.start()
    await shipped(store, tmp_path)
    running = Operations(store, lambda: (config, RouteTable(config.routes)), structlog.get_logger())
    yield running
    await running.jobs.close()
    await store.close()


async def test_a_change_to_many_is_shown_by_action_before_and_by_state_after(operations: Operations) -> None:
    ask = JobAsk(what="retry", deliveries=DeliveriesWhere(state=["dead"]), dry_run=True)
    answer = await operations.change_many(PERSON, ask, "")
    assert (answer.count, answer.parts, answer.looked_at) == (1, {"orders/note": 1}, 1)
    answer = await operations.change_many(PERSON, ask.model_copy(update={"dry_run": False}), "")
    assert answer.job is not None
    job = operations.jobs.get(answer.job.id)
    await until(lambda: job.is_over)
    assert (await operations.job(job.id)).became == {"pending": 1}
    where = DeliveryFilter(actions=("note",), event_ids=("evt_1",))
    for claim in await claim_all(operations.store):
        await operations.store.finish(claim.delivery.id, claim.token, SUCCEEDED)
    (note,) = await operations.store.deliveries(where, limit=1)
    assert (note.state.value, (await operations.job(job.id)).became) == ("succeeded", {"succeeded": 1})


async def test_a_replay_of_many_is_shown_by_what_it_would_make(operations: Operations) -> None:
    ask = JobAsk(what="replay", events=EventsWhere(since=datetime(2026, 1, 1, tzinfo=UTC)), dry_run=True)
    answer = await operations.change_many(PERSON, ask, "")
    assert (answer.count, answer.looked_at) == (3, 3)
    skipped = ": skipped, once_per has done it"
    assert answer.parts == {"orders/note": 2, f"orders/ship{skipped}": 2, "orders/ship": 1, f"orders/note{skipped}": 1}
