"""How much of each connection may be claimed and run now: concurrency and rate, shared in turns among its lanes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from gateway.core.model import Lane, SharedRate
from gateway.plugin import Rate

PREFETCH_SECONDS = 0.05  # claims kept ready cover about so much work: enough to hide a commit, too little to hoard
MOST_PREFETCHED = 128
MOST_REST_SECONDS = 1.0  # a rate that others have used up is asked for again after so long at most
MOST_REMEMBERED = 10_000  # turns of lanes, before those that have no work are forgotten


@dataclass(slots=True)
class Turns:
    """Who was served last. Accounts take turns, in an account its routes, in a route its actions: who owes the most, or
    has the most lanes, gets no more than the others.
    """

    _served: dict[tuple[str, ...], int] = field(default_factory=dict)
    _count: int = 0

    def share(self, lanes: Iterable[Lane], room: int) -> dict[Lane, int]:
        """Gives `room` places to lanes, one by one, to whoever was served the longest ago."""
        lanes = list(lanes)
        if room <= 0:
            return {}
        tree: dict[str, dict[str, list[Lane]]] = {}
        for lane in lanes:
            tree.setdefault(lane.account, {}).setdefault(lane.route, []).append(lane)
        served = self._served
        accounts = deque(
            deque(
                deque(sorted(members, key=lambda lane: served.get((lane.account, lane.route, lane.action), 0)))
                for _, members in sorted(routes.items(), key=lambda item: served.get((account, item[0]), 0))
            )
            for account, routes in sorted(tree.items(), key=lambda item: served.get((item[0],), 0))
        )
        wanted: dict[Lane, int] = {}
        if len(lanes) == 1:  # as a rule: there are no turns to take
            wanted[lanes[0]] = room
            self._serve(lanes[0], room)
        for _ in range(room if len(lanes) > 1 else 0):
            lane = accounts[0][0][0]
            accounts[0][0].rotate(-1)
            accounts[0].rotate(-1)
            accounts.rotate(-1)
            wanted[lane] = wanted.get(lane, 0) + 1
            self._serve(lane, 1)
        if len(served) > MOST_REMEMBERED:
            known: set[tuple[str, ...]] = {(account,) for account in tree}
            known |= {(account, route) for account in tree for route in tree[account]}
            known |= {(lane.account, lane.route, lane.action) for lane in wanted}
            self._served = {key: count for key, count in served.items() if key in known}
        return wanted

    def _serve(self, lane: Lane, places: int) -> None:
        self._count += places
        for key in ((lane.account,), (lane.account, lane.route), (lane.account, lane.route, lane.action)):
            self._served[key] = self._count


@dataclass(slots=True)
class Limit:
    """The state of one connection (or of one action that has none) in this gateway."""

    concurrency: int
    rate: Rate | None
    held: int = 0  # claimed: running or ready to run
    tokens: float = 0.0
    filled_at: float = 0.0
    rests_until: float = 0.0  # the rate's bucket in the store was empty
    mean_seconds: float = 0.05  # of an attempt, as a moving average
    turns: Turns = field(default_factory=Turns)

    def room(self, now: float) -> int:
        """How many more may be claimed. With a rate none are claimed ahead: a claim is a start, and the rate is of
        starts.
        """
        if self.rate is None:
            ahead = min(MOST_PREFETCHED, int(self.concurrency * PREFETCH_SECONDS / max(self.mean_seconds, 0.0005)))
            return max(0, self.concurrency + ahead - self.held)
        self._fill(now)
        if now < self.rests_until:
            return 0
        return max(0, min(self.concurrency - self.held, int(self.tokens)))

    def _fill(self, now: float) -> None:
        assert self.rate is not None
        gained = (now - self.filled_at) * self.rate.count / self.rate.per_seconds
        self.tokens = min(burst_of(self.rate), self.tokens + gained)
        self.filled_at = now

    def opens_in(self, now: float) -> float | None:
        """Seconds until more may be claimed by the passing of time alone; None where that is not what is missing."""
        if self.rate is None or self.held >= self.concurrency:
            return None
        if now < self.rests_until:
            return self.rests_until - now
        return max(0.0, (1 - self.tokens) * self.rate.per_seconds / self.rate.count) if self.tokens < 1 else None

    def take(self, count: int, now: float) -> None:
        """`count` were claimed, after some were asked for."""
        self.held += count
        if self.rate is not None:
            self.tokens -= count
            if not count:
                self.rests_until = now + min(MOST_REST_SECONDS, self.rate.per_seconds / self.rate.count)

    def give_back(self, seconds: float | None) -> None:
        """One has ended, after running for `seconds`, or without having run."""
        self.held -= 1
        if seconds is not None:
            self.mean_seconds += (seconds - self.mean_seconds) * 0.1


def burst_of(rate: Rate) -> float:
    """What may be claimed at once after a quiet time: a second's worth, and at least one."""
    return max(1.0, rate.count / rate.per_seconds)


def shared_rate(connection: str, rate: Rate, lanes: Iterable[Lane]) -> SharedRate:
    """A connection's rate as the store keeps it."""
    return SharedRate(connection, frozenset(lanes), rate.count / rate.per_seconds, burst_of(rate))
