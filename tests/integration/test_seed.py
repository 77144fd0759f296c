"""gateway seed against the stand-in, on every store: which events objects make, each once, in order, and resumable."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog

from gateway.config.load import load
from gateway.core.envelope import parse_event
from gateway.core.model import (
    Attempt,
    AttemptOutcome,
    DeliveryFilter,
    DeliveryState,
    Event,
    EventFilter,
    EventSource,
    Finish,
)
from gateway.core.routing import RouteTable
from gateway.intake.backfill import seeding
from gateway.intake.backfill.importer import CatchUp
from gateway.intake.backfill.objects import seedable
from gateway.intake.backfill.progress import Order
from gateway.intake.backfill.seeding import NobodyDelivers, SeedCourse, SeedPlan, narrowed
from gateway.intake.planning import intake_of
from gateway.store import open_store
from gateway.store.protocol import Store
from gateway.stripe.api import StripeApi
from gateway.testing import make_event
from tests.cli import CommandLine, Ran
from tests.configs import gateway_yaml
from tests.in_process import config
from tests.stripe_standin import TEST_KEY, Fault, StripeStandin

NOW = int(time.time())
START = NOW - 5 * 365 * 86400
LOG = structlog.wrap_logger(structlog.testing.CapturingLogger())
SAVE = '{uses: db_upsert, with: {connection: shop, table: t, key: {id: "{{ object.id }}"}}}'
ROUTES = f"""\
  customers:
    events: [customer.*]
    actions:
      save: {SAVE}
  invoices:
    events: [invoice.finalized, invoice.paid, invoice.payment_failed]
    if: object.amount_due > 0
    actions:
      save: {SAVE}
      index:
        needs: [save]
        uses: db_upsert
        with: {{connection: shop, table: i, key: {{id: "{{{{ object.id }}}}"}}}}
  links:
    events: [payment_link.created]
    actions: {{save: {SAVE}}}
  subscriptions:
    events: [customer.subscription.*]
    actions: {{save: {SAVE}}}
"""


@pytest.fixture
async def inbox(store_url: str, tmp_path: Path) -> AsyncIterator[Store]:
    store = open_store(store_url, tmp_path)
    await store.start()
    yield store
    await store.close()


class QuickCourse(SeedCourse):
    """One that waits for nobody, and remembers for how long it would have."""

    def __init__(self, *parts: Any, sleep: Callable[[float], Awaitable[None]]) -> None:
        super().__init__(*parts)
        self._sleep = sleep

    def _catch_up(self) -> CatchUp:
        catch_up = super()._catch_up()
        catch_up._sleep = self._sleep
        return catch_up


class Bench:
    """An account with its routes and its API, on an inbox."""

    def __init__(self, folder: Path, standin: StripeStandin, store: Store) -> None:
        path = folder / "gateway.yaml"
        path.write_text(config(ROUTES, standin.url))
        self.config = load(path, {})
        self.store, self.slept = store, list[float]()
        self.api = StripeApi(self.config.accounts["acme"], api_base=standin.url, timeout_seconds=5, sleep=self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)

    def course(self, route: str, *only: str, types: tuple[str, ...] = (), since: int = START) -> SeedCourse:
        narrow = narrowed(next(each for each in self.config.routes if each.name == route), only)
        account = self.config.accounts["acme"]
        order = Order(account, None, (), False, since, NOW + 1, " ".join(["seed", route, *only]))
        intake = intake_of(self.config, RouteTable((narrow,)))
        plan = SeedPlan(narrow, seedable(types or narrow.events).kinds)
        return QuickCourse(self.store, self.api, intake, order, LOG, plan, sleep=self._sleep)

    async def seed(self, route: str, *only: str, after: Callable[[SeedCourse], None] | None = None) -> SeedCourse:
        course = self.course(route, *only)
        async with course.lease.held():
            await course.resume()
            await course.run(lambda: after(course) if after is not None else None)
        return course

    async def inbox(self) -> list[Event]:
        return await self.store.events(EventFilter(), limit=100_000, newest_first=False)

    async def owed(self) -> Counter[tuple[str | None, str]]:
        """By object and action."""
        objects = {event.id: event.object_id for event in await self.inbox()}
        owed = await self.store.deliveries(DeliveryFilter(), limit=100_000)
        return Counter((objects[delivery.event_id], delivery.action) for delivery in owed)


@pytest.fixture
async def bench(tmp_path: Path, standin: StripeStandin, inbox: Store) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path, standin, inbox)
    yield bench
    await bench.api.close()


def put(standin: StripeStandin, count: int, **fields: Any) -> list[str]:
    """So many objects over five years, the oldest first; their ids."""
    ids = []
    for i in range(count):
        value = {"object": "customer", "livemode": False, **fields, "created": START + i * (NOW - START) // count}
        value = {"id": f"{value['object'][:3]}_{i}", **value}
        standin.put(value)
        ids.append(value["id"])
    return ids


async def test_each_object_comes_once_the_oldest_first_however_often_it_is_broken_off_and_run_again(
    bench: Bench, standin: StripeStandin
) -> None:
    ids = put(standin, 1300)

    def break_off(course: SeedCourse) -> None:
        if course.place.tally.seen > (900 if course.resumed else 400):
            raise asyncio.CancelledError

    for _ in range(2):
        with pytest.raises(asyncio.CancelledError):
            await bench.seed("customers", after=break_off)
    course = await bench.seed("customers")
    assert course.resumed
    assert (course.place.tally.seen, course.place.tally.new) == (1300, 1300)
    events = await bench.inbox()
    assert [event.object_id for event in events] == ids
    assert {(event.type, event.source) for event in events} == {("customer.created", EventSource.SEED)}
    assert [int(event.created_at.timestamp()) for event in events[:2] if event.created_at] == [
        START, START + (NOW - START) // 1300,
    ]  # fmt: skip
    assert await bench.owed() == Counter((each, "save") for each in ids)
    again = await bench.seed("customers")
    assert (again.place.tally.seen, again.place.tally.new) == (1300, 0)
    assert await bench.owed() == Counter((each, "save") for each in ids)
    whole = json.loads((await bench.store.event(events[0].id))[0].body)
    assert whole["data"]["object"] == {"id": "cus_0", "object": "customer", "livemode": False, "created": START}
    assert whole["api_version"] == standin.asked("/v1/customers")[0].headers["Stripe-Version"]


async def test_what_stripe_told_the_route_itself_is_not_done_again_and_what_it_told_others_is(
    bench: Bench, standin: StripeStandin
) -> None:
    put(standin, 3)
    intake = intake_of(bench.config)
    for object_id, is_owed in (("cus_0", True), ("cus_1", False)):  # cus_1 came before there was such a route
        event = make_event("customer.created", object={"id": object_id})
        routed, planned = intake.route(parse_event(json.dumps(event).encode(), "acme", _now()))
        await bench.store.add(routed, planned if is_owed else [])
    assert (await bench.seed("customers")).place.tally.new == 2
    assert await bench.owed() == Counter([("cus_0", "save"), ("cus_1", "save"), ("cus_2", "save")])


async def test_an_object_makes_the_last_event_that_its_state_tells_of(bench: Bench, standin: StripeStandin) -> None:
    for status, amount in (("draft", 5), ("open", 5), ("paid", 5), ("paid", 0), ("void", 5)):
        standin.put({"id": f"in_{status}_{amount}", "object": "invoice", "status": status, "amount_due": amount,
                     "created": NOW - 50})  # fmt: skip
    for status in ("active", "canceled"):
        standin.put({"id": f"sub_{status}", "object": "subscription", "status": status, "created": NOW - 50})
    tally = (await bench.seed("invoices")).place.tally
    assert (tally.seen, tally.new, tally.unwanted) == (5, 3, 2)
    await bench.seed("subscriptions")
    assert {event.object_id: event.type for event in await bench.inbox()} == {
        "in_open_5": "invoice.finalized", "in_paid_5": "invoice.paid", "in_void_5": "invoice.finalized",
        "sub_active": "customer.subscription.created", "sub_canceled": "customer.subscription.deleted",
    }  # fmt: skip


async def test_actions_that_are_seeded_later_do_not_do_again_what_was_done(
    bench: Bench, standin: StripeStandin
) -> None:
    put(standin, 3, object="invoice", status="paid", amount_due=1)
    assert (await bench.seed("invoices", "save")).place.tally.new == 3
    assert set(await bench.owed()) == {(f"inv_{i}", "save") for i in range(3)}
    assert (await bench.seed("invoices")).place.tally.new == 3
    owed = await bench.owed()
    assert {key: owed[key] for key in owed if key[1] == "index"} == {(f"inv_{i}", "index"): 1 for i in range(3)}
    assert (await bench.seed("invoices")).place.tally.new == 0
    assert await bench.owed() == owed


async def test_a_list_that_knows_no_times_is_gone_through_as_it_comes_and_gone_on_with_where_it_broke_off(
    bench: Bench, standin: StripeStandin
) -> None:
    ids = put(standin, 450, object="payment_link")

    def break_off(course: SeedCourse) -> None:
        if course.place.tally.seen >= 200 and not course.resumed:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await bench.seed("links", after=break_off)
    asked = len(standin.requests)
    course = await bench.seed("links", after=break_off)
    assert course.resumed
    assert ("starting_after", ids[-200]) in standin.requests[asked].query
    assert await bench.owed() == Counter((each, "save") for each in ids)
    late = bench.course("links", since=NOW - 86400 * 200)
    asked = len(standin.requests)
    assert [event.object_id async for event, _ in late.objects()] == [
        each["id"] for each in _links(standin) if each["created"] >= NOW - 86400 * 200
    ]
    assert len(standin.requests) - asked == 1  # what is older is not asked for


async def test_stripe_that_asks_for_patience_is_given_it(bench: Bench, standin: StripeStandin) -> None:
    put(standin, 3)
    standin.faults.extend([Fault(429, headers={"Retry-After": "7"}, code="rate_limit")] * 2)
    assert (await bench.seed("customers")).place.tally.new == 3
    assert max(bench.slept) > 6


async def test_it_waits_for_the_gateway_and_says_so_where_nobody_delivers(
    bench: Bench, standin: StripeStandin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seeding, "MOST_AHEAD", 100)
    monkeypatch.setattr(seeding, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(seeding, "STUCK_SECONDS", 0.0)
    put(standin, 1300)
    with pytest.raises(NobodyDelivers, match="deliveries of customers wait, and none was done for 0 s: is a gateway"):
        await bench.seed("customers")
    monkeypatch.setattr(seeding, "STUCK_SECONDS", 60.0)
    delivering = asyncio.create_task(_deliver(bench.store, 1300))
    assert (await bench.seed("customers")).place.tally.new == 1300
    assert await delivering == 1300


async def _deliver(store: Store, count: int) -> int:
    """Does what comes, as a gateway would, so many times."""
    done = 0
    while done < count:
        due = await store.due()
        for claim in await store.claim(dict.fromkeys(due.lanes, 100), lease_seconds=60):
            attempt = Attempt(1, _now(), 0.0, AttemptOutcome.SUCCEEDED)
            await store.finish(claim.delivery.id, claim.token, Finish(DeliveryState.SUCCEEDED, attempt))
            done += 1
        await asyncio.sleep(0.01)
    return done


def _links(standin: StripeStandin) -> list[dict[str, Any]]:
    values = [value for value in standin._objects.values() if value["object"] == "payment_link"]
    return sorted(values, key=lambda value: -int(value["created"]))


def _now() -> datetime:
    return datetime.now(UTC)


NOT_TOLD = "how an object is now does not tell whether, or how often, it happened"
MAIL = """\
  welcome:
    events: [customer.created, customer.updated, customer.discount.created]
    if: object.email != none
    once_per: object.email
    actions:
      save: {uses: db_upsert, with: {connection: shop, table: t, key: {id: "{{ object.id }}"}}}
      mail: {uses: email, needs: [save], if: object.name, with: {connection: mail, to: "{{ object.email }}", subject: Hello, text: "{{ object.name }}"}}
"""  # noqa: E501


@pytest.fixture
def seed(
    tmp_path: Path, standin: StripeStandin, gateway_cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Ran]:
    """`gateway seed` over four customers: one has no name, one no address."""
    monkeypatch.setenv("COLUMNS", "200")
    for i, (email, name) in enumerate((("a@b.example", "A"), ("c@b.example", None), (None, "C"), ("d@b.example", "D"))):
        standin.put({"id": f"cus_{i}", "object": "customer", "created": NOW - 1000 + i, "email": email, "name": name})
    text = gateway_yaml(
        store='url: "sqlite:///inbox.db"',
        stripe=f'api_base: "{standin.url}"',
        accounts=f"    api_key: {TEST_KEY}\n",
        connections={
            "shop": 'type: database, url: "sqlite:///shop.db"',
            "mail": "type: smtp, host: 127.0.0.1, port: 9, tls: none, from: a@b.example",
        },
        routes=MAIL,
    )
    (tmp_path / "gateway.yaml").write_text(text)
    command = ("--config", tmp_path / "gateway.yaml")
    assert gateway_cli.beside(*command, "db", "migrate").code == 0

    def run(*words: str) -> Ran:
        return gateway_cli.beside(*command, "seed", *words)

    return run


async def test_a_dry_run_says_what_would_come_and_whom_it_would_reach(seed: Callable[..., Ran]) -> None:
    ran = await asyncio.to_thread(seed, "welcome", "--since", "2020-01-01", "--dry-run")
    assert ran.code == 0, ran.err
    lines = [line.rstrip() for line in ran.out.splitlines()]
    assert lines[0].startswith("acme: 4 objects from 2020-01-01 00:00 to ")
    assert lines[1:5] == [
        "  3 would come as customer.created",
        "  1 the route does not take: its `if` is false for them",
        f"  not told by objects: customer.updated: {NOT_TOLD}",
        "  not told by objects: customer.discount.created: Stripe has no list of every discount",
    ]
    assert lines[6:9] == [
        "action  uses                                 and",
        "save    db_upsert  would write rows 3 times",
        "mail    email      would send 2 mails        1 skipped",
    ]
    assert "    mail (email) is skipped: its `if` is false: object.name" in lines
    assert lines[-1] == "beside rows, it would send 2 mails (mail)"
    told = json.loads((await asyncio.to_thread(seed, "welcome", "--since", "2020-01-01", "--dry-run", "--json")).out)
    assert told[0]["would_bring"] == {"customer.created": 3}
    assert told[0]["actions"][1]["would"] == "would send 2 mails"
    ran = await asyncio.to_thread(seed, "welcome", "--since", "2020-01-01", "--only", "save")
    assert ran.out.endswith("; 3 are new to route welcome, 0 had come before, 1 it does not take\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("welcom",), "there is no route welcom: did you mean welcome?"),
        (("welcome",), "seed would do more than write rows, once for every object: mail (email). See how often with "
         "--dry-run; then say --only save, or --yes for all of it"),
        (("welcome", "--only", "mail"), "--only mail: mail needs save: name what it needs too"),
        (("welcome", "--only", "male"), "--only male: route welcome has save, mail"),
        (("welcome", "--type", "invoice.paid"), "--type invoice.paid: route welcome takes customer.created, "
         "customer.updated, customer.discount.created"),
        (("welcome", "--yes", "--rate", "fast"), "--rate 'fast': expected a rate such as 20/s or 100/m"),
    ],
)  # fmt: skip
async def test_what_cannot_be_meant_is_told(seed: Callable[..., Ran], words: tuple[str, ...], message: str) -> None:
    ran = await asyncio.to_thread(seed, *words, "--since", "2020-01-01")
    assert (ran.code, ran.err.strip()) == (2, message)


async def test_a_dry_run_says_what_is_held_for_a_yes_and_what_is_drawn_together(
    seed: Callable[..., Ran], tmp_path: Path
) -> None:
    path = tmp_path / "gateway.yaml"
    text = path.read_text().replace("mail: {uses: email,", "mail: {uses: email, approve: {by: [ops], within: 1d},")
    burst = "    debounce: {by: object.email, wait: 1s, max: 5s}\n"
    path.write_text(text.replace("    once_per: object.email\n", burst))
    ran = await asyncio.to_thread(seed, "welcome", "--since", "2020-01-01", "--dry-run")
    assert ran.code == 0, ran.err
    assert "  of several that come close together one acts (digest, debounce)" in ran.out
    assert "would send 0 mails" in ran.out
    assert " held for a yes" in ran.out


async def test_what_was_made_just_now_is_left_to_the_event_that_stripe_sends_of_it(
    seed: Callable[..., Ran], standin: StripeStandin
) -> None:
    standin.put({"id": "cus_new", "object": "customer", "created": int(time.time()), "email": "e@b.example"})
    ran = await asyncio.to_thread(seed, "welcome", "--since", "2020-01-01", "--dry-run")
    assert ran.out.startswith("acme: 4 objects from "), ran.err


async def test_types_that_no_object_tells_of_are_refused_with_the_reason(seed: Callable[..., Ran]) -> None:
    ran = await asyncio.to_thread(seed, "welcome", "--since", "2020-01-01", "--type", "customer.updated")
    assert ran.code == 1
    assert ran.err == (f"nothing of route welcome can be seeded:\n  customer.updated: {NOT_TOLD}\n")
