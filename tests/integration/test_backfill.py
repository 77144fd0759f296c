"""Backfill against the stand-in, on every store: the order, windows, types, failures, where each event came from."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import structlog

from gateway.config.load import load
from gateway.core.errors import StripeRefused, StripeUnavailable
from gateway.core.model import Account, Event, EventFilter, EventSource, Route
from gateway.delivery.leases import LeaseLost, NamedLease
from gateway.intake.backfill.importer import TRIES, CatchUp, WantedEvents, connected_to, exact, listings, on_behalf_of
from gateway.intake.backfill.listing import MOST_IN_WINDOW, Listing, oldest_first
from gateway.intake.backfill.progress import Course, Order
from gateway.intake.planning import intake_of
from gateway.intake.webhook import Intake
from gateway.store import open_store
from gateway.store.protocol import Store
from gateway.stripe.api import StripeApi
from gateway.testing import make_event, thin_event
from tests.in_process import config
from tests.stripe_standin import ORG_KEY, TEST_KEY, Fault, StripeStandin

START = int(time.time()) - 86400
ROUTES = """\
  keep:
    events: [customer.*]
    actions:
      save: {uses: db_upsert, with: {connection: shop, table: t, key: {id: "{{ object.id }}"}}}
"""
LOG = structlog.wrap_logger(structlog.testing.CapturingLogger())


@pytest.fixture
def not_started(store_url: str, tmp_path: Path) -> Store:
    return open_store(store_url, tmp_path)


@pytest.fixture
async def store(not_started: Store) -> AsyncIterator[Store]:
    await not_started.start()
    yield not_started
    await not_started.close()


class Sleeper:
    def __init__(self) -> None:
        self.slept: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)


class Bench:
    """An account with its routes, its API and an inbox."""

    def __init__(self, folder: Path, standin: StripeStandin, store: Store, routes: str, key: str) -> None:
        path = folder / "gateway.yaml"
        path.write_text(config(routes, standin.url, key=key))
        loaded = load(path, {})
        self.account: Account = loaded.accounts["acme"]
        self.intake: Intake = intake_of(loaded)
        self.routes: tuple[Route, ...] = loaded.routes
        self.sleeper = Sleeper()
        self.store = store
        self.api = StripeApi(self.account, api_base=standin.url, timeout_seconds=2.0, sleep=self.sleeper)

    def wanted(self, *types: str) -> WantedEvents:
        return WantedEvents(self.intake.table, "acme", types)

    def catch_up(self, still_ours: Callable[[], None] = lambda: None) -> CatchUp:
        return CatchUp(
            self.store, self.api, self.intake, EventSource.BACKFILL, LOG, still_ours=still_ours, sleep=self.sleeper
        )

    async def run(self, *types: str, undelivered: bool = True, of: str | None = None) -> CatchUp:
        made, wanted = self.catch_up(), self.wanted(*types)
        for listing in listings(self.account, wanted, undelivered=undelivered, connected_account=of):
            await made.run(listing, START, START + 86400, wanted)
        return made

    async def inbox(self) -> list[Event]:
        return await self.store.events(EventFilter(), limit=100_000, newest_first=False)

    def course(self, words: str = "backfill", since: int = START) -> Course:
        order = Order(self.account, None, (), True, since, START + 86400, words)
        return Course(self.store, self.api, self.intake, order, LOG)


@pytest.fixture
async def bench(tmp_path: Path, standin: StripeStandin, store: Store) -> AsyncIterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(routes: str = ROUTES, key: str = TEST_KEY) -> Bench:
        made.append(Bench(tmp_path, standin, store, routes, key))
        return made[-1]

    yield make
    for one in made:
        await one.api.close()


def missed(standin: StripeStandin, count: int, every: float = 60.0, **envelope: Any) -> list[str]:
    """So many customers that Stripe could not tell of, the oldest first."""
    ids = []
    for i in range(count):
        event = make_event("customer.created", created=int(START + i * every), **envelope)
        standin.add_event(event, delivered=False)
        ids.append(event["id"])
    return ids


async def test_what_stripe_could_not_deliver_comes_in_the_oldest_first(
    bench: Callable[..., Bench], standin: StripeStandin
) -> None:
    ids = missed(standin, 1300)
    standin.add_event(make_event("customer.created", created=START + 5), delivered=True)
    one = bench()
    assert (await one.run()).tally.new == 1300
    found = await one.inbox()
    assert [event.id for event in found] == ids
    assert {event.source for event in found} == {EventSource.BACKFILL}
    whole = (await one.store.event(ids[7]))[0]
    assert json.loads(whole.body) == standin.events[""][8]
    assert (await one.store.counts())["pending"] == 1300


async def test_nothing_that_is_in_the_inbox_comes_again(bench: Callable[..., Bench], standin: StripeStandin) -> None:
    missed(standin, 40)
    one = bench()
    assert (await one.run()).tally.new == 40
    tally = (await one.run()).tally
    assert (tally.seen, tally.new, tally.unwanted) == (40, 0, 0)
    assert (await one.store.counts())["pending"] == 40


async def test_types_that_no_route_wants_are_left_unless_a_person_names_them(
    bench: Callable[..., Bench], standin: StripeStandin
) -> None:
    missed(standin, 2)
    standin.add_event(make_event("invoice.paid", created=START), delivered=False)
    one = bench()
    tally = (await one.run()).tally
    assert (tally.seen, tally.new, tally.unwanted) == (3, 2, 1)
    assert (await one.run("invoice.*")).tally.new == 1
    assert (await one.inbox())[-1].state == "unmatched"


async def test_all_events_are_those_too_that_stripe_thinks_it_delivered(
    bench: Callable[..., Bench], standin: StripeStandin
) -> None:
    standin.add_event(make_event("customer.created", created=START), delivered=True)
    one = bench()
    assert (await one.run()).tally.seen == 0
    assert (await one.run(undelivered=False)).tally.new == 1


def test_stripe_chooses_by_type_where_types_are_exact_and_few() -> None:
    assert exact(["invoice.paid", "customer.created"]) == ("invoice.paid", "customer.created")
    assert exact(["customer.*"]) == ()
    assert exact([f"a.{i}" for i in range(20)])
    assert exact([f"a.{i}" for i in range(21)]) == ()


async def test_a_second_with_many_events_is_taken_whole(bench: Callable[..., Bench], standin: StripeStandin) -> None:
    count = MOST_IN_WINDOW * 2 + 50
    ids = missed(standin, count, every=0)
    ids += [(event := make_event("customer.created", created=START + 80_000))["id"]]
    standin.add_event(event, delivered=False)
    one = bench()
    await one.run()
    assert [event.id for event in await one.inbox()] == ids


@pytest.mark.parametrize("every", [0.5, 17, 60])
async def test_windows_hold_few_events_and_waste_few_requests(
    bench: Callable[..., Bench], standin: StripeStandin, every: float
) -> None:
    missed(standin, 1400, every)
    one = bench()
    windows = oldest_first(one.api, Listing(one.account), START, START + 86400, still_ours=lambda: None)
    sizes = [len(window.events) async for window in windows]
    assert sum(sizes) == 1400
    assert max(sizes) <= MOST_IN_WINDOW + 100
    assert len(standin.requests) < 14 * 5


async def test_an_event_that_stripe_delivers_meanwhile_loses_no_other(
    bench: Callable[..., Bench], standin: StripeStandin
) -> None:
    """The cursor of the next page is then an event that the list no longer has."""
    ids = missed(standin, 350)
    one = bench()

    def deliver() -> None:
        if len(standin.requests) == 1:
            standin.undelivered -= set(ids[250:])

    made, wanted = one.catch_up(deliver), one.wanted()
    await made.run(Listing(one.account, undelivered=True), START, START + 86400, wanted)
    assert {event.id for event in await one.inbox()} >= set(ids[:250])


async def test_stripe_failing_in_every_way_is_waited_for_and_gone_on_from(
    bench: Callable[..., Bench], standin: StripeStandin
) -> None:
    ids = missed(standin, 1200)
    one = bench()
    bad = [
        Fault(429, headers={"Retry-After": "7"}),
        *[Fault(503)] * 3,
        *[Fault(hang=True)] * 3,
        *[Fault(drop=True)] * 3,
    ]

    def fail() -> None:
        if len(standin.requests) > 12 and bad and not standin.faults:
            kind = bad[0]
            while bad and bad[0] == kind:
                standin.faults.append(bad.pop(0))

    made = one.catch_up(fail)
    await made.run(Listing(one.account, undelivered=True), START, START + 86400, one.wanted())
    assert not bad
    assert 7.0 in one.sleeper.slept
    assert [event.id for event in await one.inbox()] == ids


async def test_stripe_staying_down_is_given_up_and_a_refusal_at_once(
    bench: Callable[..., Bench], standin: StripeStandin
) -> None:
    one = bench()
    standin.faults.extend([Fault(503)] * 100)
    with pytest.raises(StripeUnavailable, match="Stripe answered 503"):
        await one.run()
    assert len(standin.requests) == TRIES * 3  # the library repeats each twice
    standin.faults.clear()
    standin.faults.append(Fault(429, headers={"Retry-After": "3600"}))
    with pytest.raises(StripeUnavailable):  # too long to wait for
        await one.run()
    standin.faults.append(Fault(403, "Having the 'event_read' permission would allow this."))
    with pytest.raises(StripeRefused, match="lacks the permission 'event_read', which GET /v1/events needs"):
        await one.run()


async def test_events_of_connected_accounts_are_asked_for_on_their_behalf(
    bench: Callable[..., Bench], standin: StripeStandin
) -> None:
    standin.connected |= {"acct_2"}
    standin.add_event(make_event("customer.created", created=START), account="acct_1", delivered=False)
    standin.add_event(
        make_event("customer.created", created=START, account="acct_2"), account="acct_2", delivered=False
    )
    one = bench(ROUTES.replace("    events:", '    connected_accounts: ["*"]\n    events:'))
    assert await connected_to(one.api, ["acct_1"]) == ["acct_1"]
    for of in await connected_to(one.api, ["*"]):
        await one.run(of=of)
    assert [event.connected_account for event in await one.inbox()] == ["acct_1", "acct_2"]
    for listed in await one.inbox():  # as Stripe posts them: each names its account
        (whole,) = await one.store.event(listed.id)
        assert json.loads(whole.body)["account"] == listed.connected_account
    assert standin.asked("/v1/events")[0].headers["Stripe-Account"] == "acct_1"


async def test_an_organisation_s_events_are_those_of_its_accounts(
    bench: Callable[..., Bench], standin: StripeStandin
) -> None:
    organisation = bench(ROUTES.replace("    events:", '    connected_accounts: ["*"]\n    events:'), key=ORG_KEY)
    standin.add_event(make_event("customer.created", created=START), account="acct_1", delivered=False)
    for of in await on_behalf_of(organisation.api, ["acct_1"]):
        await organisation.run(of=of)
    assert [event.connected_account for event in await organisation.inbox()] == ["acct_1"]
    assert {asked.headers.get("Stripe-Context") for asked in standin.requests} == {"acct_1"}
    with pytest.raises(StripeRefused, match="nothing says so here; name them in connected_accounts"):
        await organisation.run()


async def test_thin_events_come_from_their_own_list(bench: Callable[..., Bench], standin: StripeStandin) -> None:
    at = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(START + 60))
    standin.add_event(thin_event("v1.customer.created", created=at))
    standin.add_event(thin_event("v2.core.account.updated", created=at))
    one = bench(ROUTES.replace("[customer.*]", "[v1.customer.created, customer.*]\n    fetch: false"))
    assert (await one.run()).tally.new == 1
    assert [event.type for event in await one.inbox()] == ["v1.customer.created"]


async def test_a_course_goes_on_from_where_another_was_broken_off(
    bench: Callable[..., Bench], standin: StripeStandin
) -> None:
    ids = missed(standin, 1300)
    one = bench()
    first = one.course()

    def break_off() -> None:
        if first.place.tally.seen > 400:
            raise asyncio.CancelledError

    async with first.lease.held() as is_ours:
        assert is_ours
        with pytest.raises(asyncio.CancelledError):
            await first.run(break_off)
    seen = first.place.tally.seen
    assert 400 < seen < 1300

    other = one.course("backfill --all")  # another command line has nothing to go on with
    await other.resume()
    assert not other.resumed

    second = one.course(since=START + 50)  # `--since 30d` is a little later each time
    async with second.lease.held():
        await second.resume()
        assert (second.resumed, second.place.since, second.place.reached) == (True, START, first.place.reached)
        asked = len(standin.requests)
        shares: list[float] = []
        await second.run(lambda: shares.append(second.share))
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert [event.id for event in await one.inbox()] == ids
    assert (second.place.tally.seen, second.place.tally.new) == (1300, 1300)
    assert all(f"created[gte]={START}" not in str(one.query) for one in standin.requests[asked:])

    third = one.course()
    await third.resume()
    assert not third.resumed  # it had come to its end


async def test_what_stripe_has_forgotten_meanwhile_is_not_asked_for(
    bench: Callable[..., Bench], standin: StripeStandin
) -> None:
    one = bench()
    old = one.course()
    old.place.since, old.place.until = START - 40 * 86400, START - 35 * 86400
    await one.store.keep_note(old.lease.name, asdict(old.place))
    again = one.course()
    await again.resume()
    assert not again.resumed
    old.place.until, old.place.reached = START, START - 40 * 86400
    await one.store.keep_note(old.lease.name, asdict(old.place))
    await again.resume()
    assert again.resumed
    assert again.place.reached >= time.time() - 30 * 86400 - 5


async def test_a_look_counts_what_is_missing_and_changes_nothing(
    bench: Callable[..., Bench], standin: StripeStandin
) -> None:
    missed(standin, 3)
    standin.add_event(make_event("customer.deleted", created=START + 1), delivered=False)
    one = bench()
    (first,) = [window.events[0] async for window in oldest_first(
        one.api, Listing(one.account), START, START + 1, still_ours=lambda: None
    )]  # fmt: skip
    await one.store.add(first, ())
    assert dict(await one.course().look()) == {"customer.created": 2, "customer.deleted": 1}
    assert len(await one.inbox()) == 1


async def test_a_lease_that_was_lost_ends_the_work(
    bench: Callable[..., Bench], standin: StripeStandin, monkeypatch: pytest.MonkeyPatch
) -> None:
    missed(standin, 3)
    one = bench()
    monkeypatch.setattr("gateway.delivery.leases.NAMED_LEASE_SECONDS", 0.0)
    course = one.course()
    async with course.lease.held():
        with pytest.raises(LeaseLost, match=f"the lease '{course.lease.name}' was lost: another gateway or command"):
            await course.run(lambda: None)
    assert not await one.inbox()


async def test_of_two_that_hold_a_lease_the_second_is_told(store: Store) -> None:
    one, two = NamedLease(store, "x"), NamedLease(store, "x")
    async with one.held() as first, two.held() as second:
        assert (first, second) == (True, False)
        one.check()
    async with two.held() as later:
        assert later


async def test_what_is_no_event_as_we_know_them_holds_up_no_other(
    bench: Callable[..., Bench], standin: StripeStandin
) -> None:
    standin.add_event({"id": "evt_odd", "object": "event", "type": "", "created": START}, delivered=False)
    (known,) = missed(standin, 1)
    one = bench()
    await one.run()
    assert [event.id for event in await one.inbox()] == [known]


async def test_an_event_of_the_wrong_mode_is_kept_as_ignored(
    bench: Callable[..., Bench], standin: StripeStandin
) -> None:
    missed(standin, 1)
    one = bench()
    live = replace(one.account, livemode=True)
    one.intake = replace(one.intake, accounts={"acme": live})
    await one.run()
    assert [event.state for event in await one.inbox()] == ["ignored"]
