"""How much of each connection may be claimed and run now: concurrency, rate, pauses. Pure but for its own counters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from gateway.model import Lane
from gateway.plugin import Rate

PREFETCH_SECONDS = 0.05  # claims kept ready cover about so much work: enough to hide a commit, too little to hoard
MOST_PREFETCHED = 128


@dataclass(slots=True)
class Limit:
    """The state of one connection (or of one action that has none)."""

    concurrency: int
    rate: Rate | None
    held: int = 0  # claimed: running or ready to run
    tokens: float = 0.0
    filled_at: float = 0.0
    paused_until: float = 0.0
    mean_seconds: float = 0.05  # of an attempt, as a moving average

    def room(self, now: float) -> int:
        """How many more may be claimed."""
        if now < self.paused_until:
            return 0
        ahead = min(MOST_PREFETCHED, int(self.concurrency * PREFETCH_SECONDS / max(self.mean_seconds, 0.0005)))
        room = self.concurrency + ahead - self.held
        if self.rate is not None:
            self._fill(now)
            room = min(room, int(self.tokens))
        return max(0, room)

    def _fill(self, now: float) -> None:
        assert self.rate is not None
        burst = max(1.0, self.rate.count / self.rate.per_seconds)
        gained = (now - self.filled_at) * self.rate.count / self.rate.per_seconds
        self.tokens = min(burst, self.tokens + gained)
        self.filled_at = now

    def opens_in(self, now: float) -> float | None:
        """Seconds until more may be claimed by the passing of time alone; None where that is not what is missing."""
        if now < self.paused_until:
            return self.paused_until - now
        if self.rate is not None and self.tokens < 1:
            return (1 - self.tokens) * self.rate.per_seconds / self.rate.count
        return None

    def take(self, count: int) -> None:
        """`count` were claimed."""
        self.held += count
        if self.rate is not None:
            self.tokens -= count

    def give_back(self, seconds: float | None) -> None:
        """One has ended, after running for `seconds`, or without having run."""
        self.held -= 1
        if seconds is not None:
            self.mean_seconds += (seconds - self.mean_seconds) * 0.1
        elif self.rate is not None:
            self.tokens += 1


def allot(
    lanes: Iterable[Lane], group_of: Callable[[Lane], str], limits: Mapping[str, Limit], now: float
) -> dict[Lane, int]:
    """How many to claim of each lane: each group's room, shared fairly among its lanes."""
    groups: dict[str, list[Lane]] = {}
    for lane in lanes:
        groups.setdefault(group_of(lane), []).append(lane)
    wanted: dict[Lane, int] = {}
    for group, members in groups.items():
        room = limits[group].room(now)
        share, rest = divmod(room, len(members))
        for i, lane in enumerate(members):
            count = share + (1 if i < rest else 0)
            if count:
                wanted[lane] = count
    return wanted
