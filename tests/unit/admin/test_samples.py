"""What waited at the end of each bar, reckoned back from now; and percentiles."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from gateway.admin.reports.overview import percentile, waiting_at_ends
from gateway.admin.reports.ranges import RANGES, Range, bar_starts, bar_width
from gateway.store.answers import Bucket

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
