"""Bars over time: what has passed is counted once and remembered for a while; the last bar is counted anew."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from gateway.admin.reports.ranges import EPOCH, Range, bar_starts, bar_width
from gateway.core.model import DeliveryFilter, EventFilter
from gateway.store.answers import Bucket
from gateway.store.protocol import Store

REMEMBERED_SECONDS = 300.0  # a retry can still change what has passed
SETTLED_SECONDS = 60.0  # a bar that ended so long ago is not counted anew at each look
MOST_REMEMBERED = 5000
WIDTHS = tuple(timedelta(minutes=n) for n in (1, 2, 5, 15, 30, 60, 180, 360, 720, 1440, 10080))
MOST_BARS = 48
LATENCIES_OF_A_BAR = 500
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Key:
    what: str
    start: datetime
    width: timedelta


class _Remembered(Generic[T]):
    """Answers by bar."""

    def __init__(self) -> None:
        self._known: dict[_Key, tuple[float, T]] = {}

    async def ask(
        self,
        what: str,
        starts: Sequence[datetime],
        width: timedelta,
        now: datetime,
        count: Callable[[Sequence[datetime]], Awaitable[Sequence[T]]],
    ) -> list[T]:
        clock = time.monotonic()
        known: dict[datetime, T] = {}
        for start in starts:
            remembered = self._known.get(_Key(what, start, width))
            if remembered is not None and clock - remembered[0] < REMEMBERED_SECONDS:
                known[start] = remembered[1]
        for group in _runs([start for start in starts if start not in known], width):
            for start, answer in zip(group, await count([*group, group[-1] + width]), strict=True):
                known[start] = answer
                if start + width < now - timedelta(seconds=SETTLED_SECONDS):
                    self._known[_Key(what, start, width)] = (clock, answer)
        if len(self._known) > MOST_REMEMBERED:
            self._known.clear()
        return [known[start] for start in starts]


@dataclass(frozen=True, slots=True)
class TimeBar:
    """What came in one stretch of time, which begins and ends at round times."""

    start: datetime
    end: datetime
    counts: Mapping[tuple[str, ...], int]  # as Store.counts_by_time

    def by_state(self, place: int | None = None, name: str = "") -> dict[str, int]:
        """How many in each state; with a place in the kinds, of those that have that name there."""
        states: dict[str, int] = {}
        for kind, count in self.counts.items():
            if place is None or kind[place] == name:
                states[kind[-1]] = states.get(kind[-1], 0) + count
        return states


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds from made to succeeded: within which half of the deliveries did, and 99 of 100; None of none."""

    half: float | None
    most: float | None


def percentile(ordered: Sequence[float], percent: int) -> float | None:
    """The least that so many per cent of them do not exceed, roughly; None of none."""
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] if ordered else None


class History:
    """One a gateway."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._buckets: _Remembered[Bucket] = _Remembered()
        self._counts: _Remembered[Mapping[tuple[str, ...], int]] = _Remembered()
        self._latencies: _Remembered[Took] = _Remembered()

    async def buckets(self, range_: Range, now: datetime) -> Sequence[Bucket]:
        """The bars of a range."""
        return await self._buckets.ask("", bar_starts(range_, now), bar_width(range_), now, self._store.buckets)

    async def latencies(self, range_: Range, now: datetime) -> Sequence[Took]:
        """How long some of the deliveries took that succeeded in each bar of a range."""

        async def count(edges: Sequence[datetime]) -> Sequence[Took]:
            took = await self._store.latencies(edges, limit=LATENCIES_OF_A_BAR)
            return [Took(percentile(seconds, 50), percentile(seconds, 99)) for seconds in took]

        return await self._latencies.ask("", bar_starts(range_, now), bar_width(range_), now, count)

    async def made(self, range_: Range, now: datetime) -> Sequence[int]:
        """How many deliveries were made in each bar of a range; those that run now are left out."""

        async def count(edges: Sequence[datetime]) -> Sequence[Mapping[tuple[str, ...], int]]:
            return await self._store.counts_by_time(edges, DeliveryFilter())

        starts, width = bar_starts(range_, now), bar_width(range_)
        bars = await self._counts.ask(_words(DeliveryFilter()), starts, width, now, count)
        return [sum(bar.values()) for bar in bars]

    async def counts(
        self, where: EventFilter | DeliveryFilter, since: datetime, until: datetime, now: datetime
    ) -> list[TimeBar]:
        """Bars of events, or deliveries, of a filter by account, type, route, action and state, over a stretch of time;
        at most MOST_BARS + 1 of them.
        """
        until = max(min(until, now), since)
        width = next((width for width in WIDTHS if (until - since) / width <= MOST_BARS), (until - since) / MOST_BARS)
        first = since - (since - EPOCH) % width
        starts = [first]
        while starts[-1] + width < until:
            starts.append(starts[-1] + width)

        async def count(edges: Sequence[datetime]) -> Sequence[Mapping[tuple[str, ...], int]]:
            return await self._store.counts_by_time(edges, where)

        counts = await self._counts.ask(_words(where), starts, width, now, count)
        return [TimeBar(start, start + width, bar) for start, bar in zip(starts, counts, strict=True)]


def _words(where: EventFilter | DeliveryFilter) -> str:
    if isinstance(where, EventFilter):
        return repr(("events", where.accounts, where.types, where.states))
    return repr(("deliveries", where.accounts, where.routes, where.actions, where.states, where.lanes))


def _runs(starts: Sequence[datetime], width: timedelta) -> list[list[datetime]]:
    """Stretches without a gap."""
    runs: list[list[datetime]] = []
    for start in starts:
        if runs and runs[-1][-1] + width == start:
            runs[-1].append(start)
        else:
            runs.append([start])
    return runs
