"""StripeApi against the stand-in: expanding, pages, on whose behalf, versions, errors, pace."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.core.errors import StripeApiError, StripeKeyRefused, StripeMissing, StripeRefused, StripeUnavailable
from gateway.core.model import Account
from gateway.stripe.api import MOST_ITEMS, Asking, StripeApi, path_of
from gateway.stripe.connections import StripeApis
from gateway.testing import make_event, thin_event
from tests.stripe_standin import TEST_KEY, Fault, StripeStandin
from tests.waiting import until

SESSION = "/v1/checkout/sessions/cs_1"
CUSTOMER = "/v1/customers/cus_1"


class Sleeper:
    """Sleeps no time, and remembers how long it was asked to; its clock goes on by just that."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


@pytest.fixture
def sleeper() -> Sleeper:
    return Sleeper()


def api_of(standin: StripeStandin, sleeper: Sleeper, key: str = TEST_KEY, **more: Any) -> StripeApi:
    account = Account("acme", ("whsec_1",), None, 300.0, api_key=key, **{"api_per_second": 10_000.0, **more})
    return StripeApi(account, api_base=standin.url, timeout_seconds=5.0, clock=sleeper.clock, sleep=sleeper.sleep)


@pytest.fixture
async def api(standin: StripeStandin, sleeper: Sleeper) -> AsyncIterator[StripeApi]:
    made = api_of(standin, sleeper)
    yield made
    await made.close()


def put_session(standin: StripeStandin, count: int) -> None:
    standin.put({"id": "prod_1", "object": "product", "name": "T-shirt"})
    items = [
        {"id": f"li_{i}", "object": "item", "quantity": i, "price": {"id": f"price_{i}", "product": "prod_1"}}
        for i in range(count)
    ]
    standin.put(
        {"id": "cs_1", "object": "checkout.session", "customer": "cus_1", "amount_total": 5},
        lists={"line_items": items},
    )
    standin.put({"id": "cus_1", "object": "customer", "email": "jenny@example.com"})


async def refused(asked: Any) -> StripeApiError:
    with pytest.raises(StripeApiError) as caught:
        await asked
    return caught.value


@pytest.mark.parametrize(("count", "requests"), [(0, 1), (10, 1), (11, 2), (110, 2), (111, 3), (350, 5)])
async def test_an_expanded_list_is_brought_to_its_end(
    standin: StripeStandin, api: StripeApi, count: int, requests: int
) -> None:
    put_session(standin, count)
    found = await api.whole(SESSION, expand=["line_items", "customer"])
    assert [item["quantity"] for item in found["line_items"]["data"]] == list(range(count))
    assert found["line_items"]["has_more"] is False
    assert found["customer"]["email"] == "jenny@example.com"
    assert len(standin.requests) == requests


async def test_what_is_expanded_inside_a_list_is_expanded_on_every_page(standin: StripeStandin, api: StripeApi) -> None:
    put_session(standin, 120)
    found = await api.whole(SESSION, expand=["line_items.data.price.product"])
    assert {item["price"]["product"]["name"] for item in found["line_items"]["data"]} == {"T-shirt"}


async def test_a_list_that_comes_with_the_object_is_whole_too(standin: StripeStandin, api: StripeApi) -> None:
    items = [{"id": f"si_{i}", "object": "subscription_item"} for i in range(25)]
    standin.put({"id": "sub_1", "object": "subscription"}, lists={"items": items})
    found = await api.whole("/v1/subscriptions/sub_1")
    assert len(found["items"]["data"]) == 25
    assert standin.requests[1].path == "/v1/subscription_items"
    assert ("subscription", "sub_1") in standin.requests[1].query


async def test_a_list_beyond_all_measure_is_refused(standin: StripeStandin, api: StripeApi) -> None:
    put_session(standin, MOST_ITEMS + 1)
    error = await refused(api.whole(SESSION, expand=["line_items"]))
    assert str(error) == "line_items has more than 10000 items: too many to fetch for one event"


async def test_numbers_and_nulls_are_as_in_the_json(standin: StripeStandin, api: StripeApi) -> None:
    value = {"id": "cus_1", "object": "customer", "a": 1.5, "b": 7, "c": None, "d": "12.50", "e": [], "f": {"g": True}}
    standin.put(value)
    found = await api.whole(CUSTOMER)
    assert found == value
    assert [type(part) for part in (found, found["a"], found["f"], found["e"])] == [dict, float, dict, list]


async def test_headers_say_on_whose_behalf_and_in_which_version(standin: StripeStandin, api: StripeApi) -> None:
    standin.put({"id": "cus_1", "object": "customer", "of": "acct_1"}, account="acct_1")
    standin.put({"id": "cus_1", "object": "customer", "of": "platform"})
    one = await api.whole(CUSTOMER, asking=Asking(connected_account="acct_1", api_version="2020-08-27"))
    two = await api.whole(CUSTOMER, asking=Asking(context="ws_1/acct_1"))
    three = await api.whole(CUSTOMER)
    assert [one["of"], two["of"], three["of"]] == ["acct_1", "acct_1", "platform"]
    names = ("Stripe-Account", "Stripe-Context", "Stripe-Version")
    told = [tuple(request.headers.get(name) for name in names) for request in standin.requests]
    assert told == [
        ("acct_1", None, "2020-08-27"),
        (None, "ws_1/acct_1", "2026-10-28.endive"),
        (None, None, "2026-10-28.endive"),
    ]


async def test_what_may_pass_is_repeated_at_once_then_given_up(
    standin: StripeStandin, api: StripeApi, sleeper: Sleeper
) -> None:
    standin.put({"id": "cus_1", "object": "customer"})
    standin.faults.extend([Fault(500), Fault(409, code="lock_timeout")])
    assert (await api.whole(CUSTOMER))["id"] == "cus_1"
    assert len(standin.requests) == 3
    assert len(sleeper.slept) >= 2
    standin.faults.extend([Fault(503), Fault(500), Fault(502, body=b"<html>bad gateway</html>")])
    error = await refused(api.whole(CUSTOMER))
    assert isinstance(error, StripeUnavailable)
    assert str(error) == "Stripe answered 502"


async def test_stripe_says_whether_to_repeat(standin: StripeStandin, api: StripeApi) -> None:
    standin.put({"id": "cus_1", "object": "customer"})
    standin.faults.append(Fault(500, headers={"Stripe-Should-Retry": "false"}))
    assert isinstance(await refused(api.whole(CUSTOMER)), StripeUnavailable)
    assert len(standin.requests) == 1
    standin.faults.append(Fault(429, code="lock_timeout", headers={"Stripe-Should-Retry": "true"}))
    assert (await api.whole(CUSTOMER))["id"] == "cus_1"
    assert len(standin.requests) == 3


async def test_too_many_requests_say_when_to_come_back_and_slow_everybody(
    standin: StripeStandin, api: StripeApi, sleeper: Sleeper
) -> None:
    standin.put({"id": "cus_1", "object": "customer"})
    standin.faults.append(Fault(429, "Request rate limit exceeded.", headers={"Retry-After": "7"}))
    error = await refused(api.whole(CUSTOMER))
    assert isinstance(error, StripeUnavailable)
    assert error.after_seconds == 7.0
    assert str(error) == "Stripe asks for fewer requests (request req_1): Request rate limit exceeded."
    await api.whole(CUSTOMER)
    assert sleeper.slept[-1] == pytest.approx(7.0, abs=0.1)


async def test_no_connection_and_no_answer_may_pass(standin: StripeStandin, sleeper: Sleeper) -> None:
    account = Account("acme", ("whsec_1",), None, 300.0, api_key=TEST_KEY, api_per_second=1000.0)
    api = StripeApi(account, api_base=standin.url, timeout_seconds=0.2, clock=sleeper.clock, sleep=sleeper.sleep)
    standin.faults.extend([Fault(hang=True)] * 3)
    error = await refused(api.whole(CUSTOMER))
    assert isinstance(error, StripeUnavailable)
    assert str(error) == f"Stripe does not answer at {standin.url}: TimeoutError"
    await api.close()


async def test_a_missing_permission_is_named(standin: StripeStandin, sleeper: Sleeper) -> None:
    put_session(standin, 1)
    key = standin.restricted_key("customer")
    api = api_of(standin, sleeper, key)
    await api.whole(CUSTOMER)
    error = await refused(api.whole(SESSION))
    assert isinstance(error, StripeRefused)
    assert str(error) == (
        "accounts.acme.api_key lacks the permission \"Checkout Sessions Read\" ('checkout_session_read'), which GET "
        "/v1/checkout/sessions/cs_1 needs (request req_2); give it to the key at Stripe, then retry"
    )
    assert key[-6:] not in str(error)
    await api.close()


async def test_a_wrong_key_is_told_without_the_key(standin: StripeStandin, sleeper: Sleeper) -> None:
    api = api_of(standin, sleeper, "sk_test_mistyped00000")
    error = await refused(api.account_info())
    assert isinstance(error, StripeKeyRefused)
    assert str(error) == (
        "Stripe does not accept accounts.acme.api_key (request req_1): Invalid API Key provided: [key]"
    )
    await api.close()


async def test_missing_is_missing_but_the_other_mode_is_not(standin: StripeStandin, api: StripeApi) -> None:
    error = await refused(api.whole(CUSTOMER))
    assert isinstance(error, StripeMissing)
    assert str(error) == "No such customer: 'cus_1' (request req_1)"
    standin.put({"id": "cus_1", "object": "customer", "livemode": True})
    error = await refused(api.whole(CUSTOMER))
    assert isinstance(error, StripeRefused)
    assert str(error).startswith("accounts.acme.api_key is of the other mode (request req_2): No such customer")
    error = await refused(api.whole("/v1/line_items/li_1"))
    assert isinstance(error, StripeRefused)
    error = await refused(api.whole("@evil.example/v1/customers/cus_1"))
    assert str(error) == "Stripe's API has no path '@evil.example/v1/customers/cus_1'"


async def test_a_wrong_expand_is_told(standin: StripeStandin, api: StripeApi) -> None:
    standin.put({"id": "cus_1", "object": "customer", "email": "a@b.example"})
    error = await refused(api.whole(CUSTOMER, expand=["line_itmes"]))
    assert str(error) == (
        "Stripe answered 400 for /v1/customers/cus_1 (request req_1): This property cannot be expanded (line_itmes)."
    )


async def test_requests_keep_the_pace_that_the_key_allows(standin: StripeStandin, sleeper: Sleeper) -> None:
    standin.put({"id": "cus_1", "object": "customer"})
    for key, rate, expected in [(TEST_KEY, None, 25.0), ("sk_live_x", None, 100.0), (TEST_KEY, 5.0, 5.0)]:
        api = api_of(standin, sleeper, key, api_per_second=rate)
        standin.keys["sk_live_x"] = None
        begun = sleeper.now
        for _ in range(11):
            await asyncio.gather(api.call("get", "/v1/account"), return_exceptions=True)
        assert 10 / (sleeper.now - begun) == pytest.approx(expected)
        await api.close()


async def test_events_are_listed_with_every_filter_as_stripe_wrote_them(standin: StripeStandin, api: StripeApi) -> None:
    start = 1_795_400_000
    for i in range(250):
        kind = "customer.created" if i % 2 else "invoice.paid"
        standin.add_event(make_event(kind, id=f"evt_{i}", created=start + i // 2), delivered=i % 5 != 0)

    async def ids(since: int = start, until: int = start + 1000, **filters: Any) -> list[str]:
        pages = api.events(since=since, until=until, **filters)
        return [json.loads(body)["id"] async for page in pages for body in page]

    assert await ids() == [f"evt_{i}" for i in reversed(range(250))]
    assert await ids(types=["customer.created"], undelivered=True) == [
        f"evt_{i}" for i in reversed(range(250)) if i % 2 and i % 5 == 0
    ]
    assert await ids(start + 10, start + 12) == ["evt_23", "evt_22", "evt_21", "evt_20"]
    bodies = [body async for page in api.events(since=start, until=start + 1) for body in page]
    assert bodies[0] == json.dumps(standin.events[""][1]).encode()


async def test_thin_events_are_listed_by_the_addresses_of_their_pages(standin: StripeStandin, api: StripeApi) -> None:
    for i in range(230):
        created = f"2026-11-24T03:{i // 60:02}:{i % 60:02}.000Z"
        kind = "v1.customer.created" if i % 2 else "v2.core.account.updated"
        standin.add_event(thin_event(kind, id=f"evt_{i}", created=created))
    at = int(datetime(2026, 11, 24, 3, tzinfo=UTC).timestamp())

    async def ids(**filters: Any) -> list[str]:
        return [json.loads(body)["id"] async for page in api.thin_events(**filters) for body in page]

    assert await ids(since=at, until=at + 1000) == [f"evt_{i}" for i in reversed(range(230))]
    assert await ids(since=at + 10, until=at + 13) == ["evt_12", "evt_11", "evt_10"]
    assert len(await ids(since=at, until=at + 1000, types=["v1.customer.created"])) == 115


async def test_endpoints_and_the_account_itself(standin: StripeStandin, api: StripeApi) -> None:
    for i in range(12):
        params = {"url": f"https://shop.example/{i}", "enabled_events": ["invoice.paid", "customer.created"]}
        made = await api.call("post", "/v1/webhook_endpoints", params)
        assert made["secret"].startswith("whsec_")
    assert standin.requests[0].headers["Idempotency-Key"]
    found = [one async for one in api.webhook_endpoints()]
    assert [one["url"] for one in found] == [f"https://shop.example/{i}" for i in reversed(range(12))]
    assert found[0]["enabled_events"] == ["invoice.paid", "customer.created"]
    assert (await api.account_info())["id"] == "acct_platform"


def test_objects_are_found_where_the_library_knows_them() -> None:
    known = {
        "customer": "/v1/customers/x",
        "checkout.session": "/v1/checkout/sessions/x",
        "subscription": "/v1/subscriptions/x",
        "balance": "/v1/balance",
        "discount": None,
        "application": None,
        "future.object": None,
    }
    assert {name: path_of({"id": "x", "object": name}) for name in known} == known
    assert path_of({"object": "invoice"}) is None  # an upcoming invoice has no id
    assert (
        path_of({"id": "person_1", "object": "person", "account": "acct_1"}) == "/v1/accounts/acct_1/persons/person_1"
    )


def test_an_object_is_found_whatever_of_it_is_null() -> None:
    """The library fails on a null where it has a mapping of objects, and on an owner that is null."""
    code = {"id": "promo_1", "object": "promotion_code", "restrictions": {"currency_options": None}}
    assert path_of(code) == "/v1/promotion_codes/promo_1"
    bank = {"id": "ba_1", "object": "bank_account", "account": "acct_1", "customer": None}
    assert path_of(bank) == "/v1/accounts/acct_1/external_accounts/ba_1"


async def test_a_rolled_key_s_connections_are_closed_once_nobody_asks_with_it(standin: StripeStandin) -> None:
    old, new = (Account("acme", ("whsec_1",), None, 300.0, api_key=key) for key in ("sk_test_old", "sk_test_new"))
    apis = StripeApis()
    apis.take([old], standin.url, 5.0)
    async with apis.of(old) as first:
        pass
    async with apis.of(old) as found:
        assert found is first  # in force: it stays open
        apis.take([new], standin.url, 5.0)
        assert not first.is_closed  # in use
    async with apis.of(new) as second:
        await until(lambda: first.is_closed)
        assert not second.is_closed
    apis.take([new], standin.url, 1.0)  # another timeout is another one too
    async with apis.of(new) as third:
        assert third is not second
    await apis.close()
    assert second.is_closed
    assert third.is_closed
