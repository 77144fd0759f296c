"""How far back a page looks, and in which bars."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal

Range = Literal["1h", "24h", "7d"]
RANGES: dict[Range, tuple[timedelta, int]] = {  # how far back, in so many bars
    "1h": (timedelta(hours=1), 60),
    "24h": (timedelta(hours=24), 48),
    "7d": (timedelta(days=7), 28),
}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def bar_width(range_: Range) -> timedelta:
    """How long each bar of a range is."""
    span, count = RANGES[range_]
    return span / count


def bar_starts(range_: Range, now: datetime) -> list[datetime]:
    """When the bars of a range begin, at round times; the last one is not over yet."""
    width, (_, count) = bar_width(range_), RANGES[range_]
    last = now - (now - EPOCH) % width
    return [last - width * i for i in range(count - 1, -1, -1)]
