"""What waited at the end of each bar, reckoned back from now; percentiles, and what of them is kept and asked for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import cast

from gateway.admin.reports.history import History, Took, percentile
from gateway.admin.reports.overview import waiting_at_ends
from gateway.admin.reports.ranges import RANGES, Range, bar_starts, bar_width
from gateway.admin.scoping.own_part import OwnPart
from gateway.admin.scoping.store import LEAST_TIMED, ScopedStore
from gateway.core.model import Delivery, DeliveryFilter, Scope
from gateway.store.answers import Bucket, Page
from gateway.store.protocol import Store

NOW = datetime(2026, 11, 24, 10, 17, 30, tzinfo=UTC)


def test_what_waited_is_what_waits_less_what_was_made_since_more_what_ended_since() -> None:
    ended = [{"succeeded": 1}, {"succeeded": 4, "dead": 1}, {}]
    buckets = [Bucket(NOW, {}, deliveries) for deliveries in ended]
    assert waiting_at_ends(buckets, made=[3, 2, 6], now=7) == [4, 1, 7]
    assert waiting_at_ends(buckets, made=[3, 2, 9], now=7) == [1, 0, 7]


def test_bars_begin_at_round_times_and_the_last_is_of_now() -> None:
    for range_ in RANGES:
        starts = bar_starts(range_, NOW)
        assert len(starts) == RANGES[range_][1]
        assert starts[-1] <= NOW < starts[-1] + bar_width(range_)
    day: Range = "24h"
    assert bar_starts(day, NOW)[-1] == NOW.replace(minute=0, second=0)
    assert bar_width(day) == timedelta(minutes=30)


def test_a_percentile_of_none_is_none() -> None:
    assert percentile([], 99) is None
    assert (percentile([1.0, 2.0, 3.0], 50), percentile([1.0, 2.0, 3.0], 99)) == (2.0, 3.0)


class Timings:
    """A store in which the same was timed in each stretch of time; remembers what was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[datetime | None, datetime | None, int]] = []

    async def latencies(self, edges: Sequence[datetime], *, limit: int) -> Sequence[Sequence[float]]:
        return [[1.0, 2.0, 3.0] for _ in edges[1:]]

    async def delivery_page(
        self, where: DeliveryFilter, *, limit: int, after: str | None, oldest_first: bool
    ) -> Page[Delivery]:
        self.asked.append((where.since, where.until, limit))
        return Page((), None)


async def test_of_what_took_how_long_two_figures_a_bar_are_kept() -> None:
    """Thousands of bars are: of each the hundreds that were timed would be a hundred megabytes."""
    bars = await History(cast(Store, Timings())).latencies("7d", NOW)
    assert bars == [Took(2.0, 3.0)] * RANGES["7d"][1]


async def test_a_scope_asks_for_some_deliveries_of_each_bar_lest_the_newest_leave_the_older_bars_empty() -> None:
    def no_part() -> OwnPart:
        raise AssertionError("no digest is looked at")

    inner, edges = Timings(), bar_starts("24h", NOW)
    store = ScopedStore(cast(Store, inner), Scope("team", accounts=("acme",)), no_part)
    assert await store.latencies(edges, limit=500) == [[]] * (len(edges) - 1)
    assert inner.asked == [(*stretch, LEAST_TIMED) for stretch in pairwise(edges)]
    await store.latencies(edges[-2:], limit=500)
    assert inner.asked[-1] == (*edges[-2:], 500)
