"""The overview's bars: what has passed is counted once and remembered for a while; the last bar is counted anew."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from gateway.store.answers import Bucket
from gateway.store.protocol import Store

REMEMBERED_SECONDS = 300.0  # a retry can still change what has passed
SETTLED_SECONDS = 60.0  # a bar that ended so long ago is not counted anew at each look
MOST_REMEMBERED = 1000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class History:
    """One a gateway."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[tuple[datetime, timedelta], tuple[float, Bucket]] = {}

    async def buckets(self, width: timedelta, count: int, now: datetime) -> Sequence[Bucket]:
        """The last `count` bars, each of which begins at a round time; the last one is not over yet."""
        last = now - (now - _EPOCH) % width
        starts = [last - width * i for i in range(count - 1, -1, -1)]
        clock = time.monotonic()
        known = {
            start: remembered[1]
            for start in starts
            if (remembered := self._known.get((start, width))) is not None
            and clock - remembered[0] < REMEMBERED_SECONDS
        }
        missing = [start for start in starts if start not in known]
        for group in _runs(missing, width):
            for bucket in await self._store.buckets([*group, group[-1] + width]):
                known[bucket.start] = bucket
                if bucket.start + width < now - timedelta(seconds=SETTLED_SECONDS):
                    self._known[(bucket.start, width)] = (clock, bucket)
        if len(self._known) > MOST_REMEMBERED:
            self._known.clear()
        return [known[start] for start in starts]


def _runs(starts: Sequence[datetime], width: timedelta) -> list[list[datetime]]:
    """Stretches without a gap."""
    runs: list[list[datetime]] = []
    for start in starts:
        if runs and runs[-1][-1] + width == start:
            runs[-1].append(start)
        else:
            runs.append([start])
    return runs
