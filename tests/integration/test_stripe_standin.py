"""The stand-in lists events as Stripe documents it: https://docs.stripe.com/api/events/list."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from gateway.testing import make_event
from tests.stripe_standin import TEST_KEY, StripeStandin

START = 1_795_400_000


@pytest.fixture
def events(standin: StripeStandin) -> StripeStandin:
    """evt_0 to evt_29, two in each second, every third not delivered."""
    for i in range(30):
        kind = ("customer.created", "customer.updated", "invoice.paid")[i % 3]
        standin.add_event(make_event(kind, id=f"evt_{i}", created=START + i // 2), delivered=i % 3 != 0)
    return standin


async def asked(standin: StripeStandin, query: str) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {TEST_KEY}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(f"{standin.url}/v1/events?{query}") as got,
    ):
        return got.status, await got.json()


async def numbers(standin: StripeStandin, query: str) -> tuple[list[int], bool]:
    status, answer = await asked(standin, query)
    assert status == 200, answer
    return [int(event["id"].removeprefix("evt_")) for event in answer["data"]], answer["has_more"]


@pytest.mark.parametrize(
    ("query", "expected", "has_more"),
    [
        ("", list(range(29, 19, -1)), True),
        ("limit=3", [29, 28, 27], True),
        ("limit=100", list(range(29, -1, -1)), False),
        ("limit=2&starting_after=evt_5", [4, 3], True),
        ("limit=2&starting_after=evt_2", [1, 0], False),
        ("limit=2&ending_before=evt_5", [7, 6], True),  # the page before, the newest first as always
        ("limit=2&ending_before=evt_27", [29, 28], False),
        ("type=customer.*&limit=4", [28, 27, 25, 24], True),
        ("type=invoice.paid&limit=2", [29, 26], True),
        ("types[]=invoice.paid&types[]=customer.created&limit=3", [29, 27, 26], True),
        (f"created={START + 3}", [7, 6], False),
        (f"created[gt]={START + 12}", [29, 28, 27, 26], False),
        (f"created[gte]={START + 13}&created[lt]={START + 14}", [27, 26], False),
        (f"created[lte]={START}", [1, 0], False),
        ("delivery_success=false&limit=3", [27, 24, 21], True),
        ("delivery_success=true&limit=3", [29, 28, 26], True),
        ("delivery_success=false&starting_after=evt_4", [3, 0], False),  # a cursor that the filters do not want
        (f"delivery_success=false&ending_before=evt_4&created[lt]={START + 5}", [9, 6], False),
    ],
)
async def test_filters_and_pages(events: StripeStandin, query: str, expected: list[int], has_more: bool) -> None:
    assert await numbers(events, query) == (expected, has_more)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("limit=101", "Limit must be between 1 and 100"),
        ("limit=0", "Limit must be between 1 and 100"),
        ("type=a&types[]=b", "You may pass either `type` or `types`, but not both."),
        ("&".join(f"types[]=a.{i}" for i in range(21)), "You may pass at most 20 types."),
        ("starting_after=evt_none", "No such event: 'evt_none'"),
        ("delivery_success=maybe", "Invalid boolean"),
    ],
)
async def test_wrong_questions_are_refused(events: StripeStandin, query: str, message: str) -> None:
    status, answer = await asked(events, query)
    assert (status, answer["error"]["message"]) == (400, message)


async def test_events_of_more_than_30_days_ago_are_gone(events: StripeStandin) -> None:
    events.clock = lambda: START + 30 * 86400 + 13
    assert await numbers(events, "limit=100") == ([29, 28, 27, 26], False)


async def test_more_requests_than_allowed_in_a_second_are_answered_429(events: StripeStandin) -> None:
    events.per_second = 3
    answers = [(await asked(events, "limit=1"))[0] for _ in range(4)]
    assert answers == [200, 200, 200, 429]
