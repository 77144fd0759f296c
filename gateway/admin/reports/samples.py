"""What no store keeps, over time: how long answers to Stripe and attempts took, and what waited. Taken once a minute
and whenever somebody looks, from the start of this gateway on, in memory.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from gateway.admin.reports.queues import NO_CONNECTION, queues
from gateway.admin.reports.ranges import RANGES, Range, bar_starts
from gateway.config.load import Config
from gateway.core.errors import StoreError
from gateway.core.model import AttemptOutcome
from gateway.store.answers import LaneState
from gateway.store.protocol import Store
from gateway.telemetry.metrics import ATTEMPT_BOUNDS, INTAKE_BOUNDS, Metrics, Timed

SAMPLE_SECONDS = 60.0
_FAILED = (AttemptOutcome.RETRY.value, AttemptOutcome.DEAD.value, AttemptOutcome.INTERRUPTED.value)


@dataclass(slots=True)
class ConnectionBar:
    """What one connection did in one stretch of time."""

    took: list[int] = field(default_factory=lambda: [0] * (len(ATTEMPT_BOUNDS) + 1))  # attempts, by ATTEMPT_BOUNDS
    failed: int = 0  # of these
    waiting: int | None = None  # the most that were seen waiting; None: nobody looked


@dataclass(slots=True)
class SampledBar:
    """What the gateway did in one stretch of time, as far as it was seen."""

    answered: list[int] = field(default_factory=lambda: [0] * (len(INTAKE_BOUNDS) + 1))  # events, by INTAKE_BOUNDS
    connections: dict[str, ConnectionBar] = field(default_factory=dict)


class Samples:
    """One a gateway."""

    def __init__(self, store: Store, metrics: Metrics, config: Callable[[], Config]) -> None:
        self._store = store
        self._metrics = metrics
        self._config = config
        self._lock = asyncio.Lock()
        self._before: Timed | None = None
        self._bars: dict[Range, dict[datetime, SampledBar]] = {range_: {} for range_ in RANGES}

    async def run(self) -> None:
        """Takes one every minute, until it is cancelled. A store that is away costs a sample."""
        while True:
            await asyncio.sleep(SAMPLE_SECONDS)
            with contextlib.suppress(StoreError):
                await self.take(await self._store.lane_states(), datetime.now(UTC))

    async def take(self, lanes: Sequence[LaneState], now: datetime) -> None:
        """Adds what was timed since the last time to the bars of now, and how much waits."""
        async with self._lock:
            try:
                timed = await self._metrics.timed()
            except OSError:  # the process that counts for all workers is busy, or ends: the next sample has it
                return
            if self._before is None:  # a worker whose turn comes later knows nothing of when the others timed theirs
                self._before = Timed() if self._metrics.workers is None else timed
            since, self._before = timed.since(self._before), timed
            config = self._config()
            waiting = {name: queue.counts["pending"] for name, queue in queues(config, lanes, now).items()}
            used: dict[tuple[str, ...], str] = {
                (route.name, action.name): action.connection or NO_CONNECTION
                for route in config.routes
                for action in route.actions
            }
            for range_, bars in self._bars.items():
                starts = bar_starts(range_, now)
                for gone in [start for start in bars if start < starts[0]]:
                    del bars[gone]
                _add(bars.setdefault(starts[-1], SampledBar()), since, used, waiting)

    def bars(self, range_: Range) -> Mapping[datetime, SampledBar]:
        """By when each begins, as `bar_starts` has it. Those in which nothing was seen are missing."""
        return self._bars[range_]


def _add(bar: SampledBar, timed: Timed, used: Mapping[tuple[str, ...], str], waiting: Mapping[str, int]) -> None:
    bar.answered = _sum(bar.answered, timed.answered)
    for name, count in waiting.items():
        connection = bar.connections.setdefault(name, ConnectionBar())
        connection.waiting = max(count, connection.waiting or 0)
    for action, counts in timed.attempts.items():
        connection = bar.connections.setdefault(used.get(action, NO_CONNECTION), ConnectionBar())
        connection.took = _sum(connection.took, counts)
    for (route, action_name, outcome), count in timed.outcomes.items():
        if outcome in _FAILED:
            name = used.get((route, action_name), NO_CONNECTION)
            bar.connections.setdefault(name, ConnectionBar()).failed += count


def _sum(counts: Sequence[int], more: Sequence[int]) -> list[int]:
    return [mine + other for mine, other in zip(counts, more, strict=True)]
