"""What every store promises of rejected requests (gateway.store.protocol)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gateway.core.model import EventFilter, RejectedBounds, RejectedFilter, RejectedRequest
from gateway.store.protocol import Store
from tests.conftest import Clock

NOW = datetime.fromtimestamp(1_795_400_000, UTC)  # as the clock of the fixtures
BOUNDS = RejectedBounds(requests=1000, size=1024 * 1024, age_seconds=3600)


def a_rejected(id: str, address: str = "192.0.2.1", size: int = 100, reason: str = "no_match") -> RejectedRequest:
    return RejectedRequest(
        id=id,
        received_at=NOW,
        account="acme",
        reason=reason,
        address=address,
        peer="127.0.0.1",
        forwarded_for=address,
        signature="t=1,v1=00",
        size=size,
        body=b'{"id": "evt_1"}\0\xff',
    )


async def ids(store: Store, where: RejectedFilter = RejectedFilter()) -> list[str]:  # noqa: B008 - it is frozen
    return [one.id for one in await store.rejected(where, limit=100_000, newest_first=False)]


async def test_a_rejected_request_is_kept_byte_for_byte_and_is_no_event(place: Callable[[], Store]) -> None:
    first = place()
    await first.start()
    request = replace(a_rejected("rej_1"), account=None, forwarded_for=None, signature="t=1,v1=\xff")
    assert await first.keep_rejected([request], BOUNDS) == 0
    await first.close()
    second = place()
    await second.start()
    assert await second.rejected_request("rej_1") == request
    assert await second.rejected(RejectedFilter(), limit=5) == [replace(request, body=b"")]
    assert await second.rejected_request("rej_none") is None
    assert await second.events(EventFilter(), limit=5) == []
    assert list((await second.due()).lanes) == []
    await second.close()


async def test_rejected_requests_are_listed_in_order_of_arrival_and_narrowed(store: Store) -> None:
    await store.keep_rejected([a_rejected("rej_2"), replace(a_rejected("rej_1"), account=None)], BOUNDS)
    later = replace(a_rejected("rej_3", reason="too_old"), received_at=NOW + timedelta(seconds=5))
    await store.keep_rejected([later], BOUNDS)
    assert await ids(store) == ["rej_2", "rej_1", "rej_3"]
    since = RejectedFilter(since=NOW + timedelta(seconds=1))
    counts = [await store.count_rejected(where, at_most=2) for where in (RejectedFilter(), since)]
    assert counts == [2, 1]
    assert [one.id for one in await store.rejected(RejectedFilter(), limit=2)] == ["rej_3", "rej_1"]
    assert await ids(store, RejectedFilter(accounts=["acme"])) == ["rej_2", "rej_3"]
    assert await ids(store, RejectedFilter(reasons=["too_old"])) == ["rej_3"]
    assert await ids(store, RejectedFilter(ids=["rej_1", "rej_3"])) == ["rej_1", "rej_3"]
    assert await ids(store, RejectedFilter(since=NOW + timedelta(seconds=5))) == ["rej_3"]
    assert await ids(store, RejectedFilter(until=NOW + timedelta(seconds=5))) == ["rej_2", "rej_1"]


async def test_forgotten_requests_are_gone(store: Store) -> None:
    await store.keep_rejected([a_rejected("rej_1"), a_rejected("rej_2")], BOUNDS)
    assert await store.forget_rejected([]) == 0
    assert await store.forget_rejected(["rej_1", "rej_none"]) == 1
    assert await ids(store) == ["rej_2"]


async def test_the_oldest_go_past_the_number(store: Store) -> None:
    bounds = replace(BOUNDS, requests=3)
    assert await store.keep_rejected([a_rejected(f"rej_{i}") for i in range(5)], bounds) == 2
    assert await ids(store) == ["rej_2", "rej_3", "rej_4"]
    assert await store.keep_rejected([], replace(BOUNDS, requests=0)) == 3
    assert await ids(store) == []


async def test_the_oldest_go_past_the_size(store: Store) -> None:
    bounds = replace(BOUNDS, size=1000)
    await store.keep_rejected([a_rejected(f"rej_{i}", size=400) for i in range(3)], bounds)
    assert await ids(store) == ["rej_1", "rej_2"]


async def test_what_is_too_old_goes_even_where_nothing_new_comes(store: Store, clock: Clock) -> None:
    await store.keep_rejected([a_rejected("rej_1")], BOUNDS)
    clock.forward(3599)
    assert await store.keep_rejected([], BOUNDS) == 0
    clock.forward(2)
    assert await store.keep_rejected([], BOUNDS) == 1
    assert await ids(store) == []


@pytest.mark.parametrize("size", [10, 10_000])
async def test_who_floods_pushes_out_nobody_elses(store: Store, size: int) -> None:
    """Neither many small requests nor a few large ones."""
    bounds = RejectedBounds(requests=50, size=50_000, age_seconds=3600)
    await store.keep_rejected([a_rejected(f"rej_stripe_{i}", "192.0.2.1", 1000) for i in range(10)], bounds)
    for part in range(10):
        flood = [a_rejected(f"rej_flood_{part}_{i}", "203.0.113.9", size) for i in range(50)]
        await store.keep_rejected(flood, bounds)
    left = Counter(one.address for one in await store.rejected(RejectedFilter(), limit=1000))
    assert left["192.0.2.1"] == 10
    assert 1 <= left["203.0.113.9"] <= 40


async def test_the_bounds_hold_for_writers_at_the_same_time(store: Store) -> None:
    bounds = replace(BOUNDS, requests=10)
    await asyncio.gather(
        *(store.keep_rejected([a_rejected(f"rej_{n}_{i}") for i in range(7)], bounds) for n in range(8))
    )
    assert len(await ids(store)) == 10
