"""Bars over time: what has passed is counted once and remembered for a while; the last bar is counted anew."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar

from gateway.core.model import DeliveryFilter, EventFilter
from gateway.store.answers import Bucket
from gateway.store.protocol import Store

REMEMBERED_SECONDS = 300.0  # a retry can still change what has passed
SETTLED_SECONDS = 60.0  # a bar that ended so long ago is not counted anew at each look
MOST_REMEMBERED = 5000
WIDTHS = tuple(timedelta(minutes=n) for n in (1, 2, 5, 15, 30, 60, 180, 360, 720, 1440, 10080))
MOST_BARS = 48
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
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


class History:
    """One a gateway."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._buckets: _Remembered[Bucket] = _Remembered()
        self._counts: _Remembered[Mapping[tuple[str, ...], int]] = _Remembered()

    async def buckets(self, width: timedelta, count: int, now: datetime) -> Sequence[Bucket]:
        """The last `count` bars, each of which begins at a round time; the last one is not over yet."""
        last = now - (now - _EPOCH) % width
        starts = [last - width * i for i in range(count - 1, -1, -1)]
        return await self._buckets.ask("", starts, width, now, self._store.buckets)

    async def counts(
        self, where: EventFilter | DeliveryFilter, since: datetime, until: datetime, now: datetime
    ) -> list[TimeBar]:
        """Bars of events, or deliveries, of a filter by account, type, route, action and state, over a stretch of time;
        at most MOST_BARS + 1 of them.
        """
        until = max(min(until, now), since)
        width = next((width for width in WIDTHS if (until - since) / width <= MOST_BARS), (until - since) / MOST_BARS)
        first = since - (since - _EPOCH) % width
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
