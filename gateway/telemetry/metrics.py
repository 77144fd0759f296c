"""What Prometheus is told. Counting is plain additions, so that intake hardly feels it; names are made at the scrape.

Labels are bounded: accounts, routes, actions and connections come from gateway.yaml; types come from outside, and
beyond `MOST_TYPES` of them the rest is counted as `other`.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from gateway import __version__
from gateway.telemetry.logging import Output

MOST_TYPES = 300
CONTENT_TYPE = CONTENT_TYPE_LATEST
INTAKE_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
ATTEMPT_BOUNDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class Histogram:
    """Counts by upper bound."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        """One more."""
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._sum += seconds

    def counted(self) -> list[Any]:
        """What `add` takes."""
        return [self._counts, self._sum]

    def add(self, counts: Sequence[int], total_seconds: float) -> None:
        """More, by the same bounds."""
        self._counts = [mine + other for mine, other in zip(self._counts, counts, strict=True)]
        self._sum += total_seconds

    @property
    def counts(self) -> Sequence[int]:
        """How many up to each bound, and above the one before it; the last: beyond them all."""
        return self._counts

    def buckets(self) -> tuple[list[tuple[str, float]], float]:
        """As Prometheus wants them: counts up to each bound, and the sum."""
        total = 0
        buckets: list[tuple[str, float]] = []
        for bound, count in zip((*self._bounds, "+Inf"), self._counts, strict=True):
            total += count
            buckets.append((str(bound), total))
        return buckets, self._sum


def quantile(bounds: Sequence[float], counts: Sequence[int], share: float) -> float | None:
    """The seconds within which that share was done, by even spread between bounds as Prometheus's histogram_quantile
    has it: beyond the last bound it is the last bound. None where nothing was counted.
    """
    rank, below = share * sum(counts), 0
    for i, count in enumerate(counts[: len(bounds)]):
        if count and below + count >= rank:
            low = bounds[i - 1] if i else 0.0
            return low + (bounds[i] - low) * (rank - below) / count
        below += count
    return bounds[-1] if any(counts) else None


@dataclass(frozen=True, slots=True)
class Timed:
    """What was timed so far: only ever more, while the gateway runs."""

    answered: Sequence[int] = (0,) * (len(INTAKE_BOUNDS) + 1)  # events, by INTAKE_BOUNDS
    attempts: Mapping[tuple[str, ...], Sequence[int]] = field(default_factory=dict)  # by route, action; ATTEMPT_BOUNDS
    outcomes: Mapping[tuple[str, ...], int] = field(default_factory=dict)  # of attempts, by route, action, outcome

    def since(self, before: Timed) -> Timed:
        """What was added since."""
        none = (0,) * (len(ATTEMPT_BOUNDS) + 1)
        return Timed(
            _less(self.answered, before.answered),
            {key: _less(counts, before.attempts.get(key, none)) for key, counts in self.attempts.items()},
            {key: max(0, count - before.outcomes.get(key, 0)) for key, count in self.outcomes.items()},
        )


def _less(counts: Sequence[int], before: Sequence[int]) -> tuple[int, ...]:
    return tuple(max(0, now - then) for now, then in zip(counts, before, strict=True))


@dataclass(frozen=True, slots=True)
class Queue:
    """What waits for one connection."""

    counts: Mapping[str, int]  # by state: pending, running, blocked, dead
    oldest_seconds: float  # since the oldest pending one was made; 0: none waits


@dataclass(frozen=True, slots=True)
class Scrape:
    """What is asked of others at the time of a scrape."""

    queues: Mapping[str, Queue] = field(default_factory=dict)  # by connection
    connection_states: Mapping[str, str] = field(default_factory=dict)  # ok, slow, paused
    last_events: Mapping[str, datetime] = field(default_factory=dict)  # by account
    store_bytes: int = 0
    config_version: str = ""
    last_reload_failed: bool = False


@dataclass(frozen=True, slots=True)
class Fleet:
    """The processes of a gateway with several: what each has counted, and who they are."""

    snapshots: Sequence[Mapping[str, Any]]  # of the living, and of those that have ended
    pids: Mapping[str, int]  # by the number of the worker; `0` started them
    restarts: Mapping[str, int]  # by the number of the worker

    def families(self) -> Iterator[Metric]:
        """What is told of each process. One that has just ended is left out."""
        yield _gauge("gateway_workers", "Workers that run.", (), {(): len(self.pids) - 1})
        restarts: dict[tuple[str, ...], int] = {(name,): count for name, count in self.restarts.items()}
        yield _counter("gateway_worker_restarts", "Workers that ended unasked.", ("worker",), restarts)
        families: dict[str, Metric] = {}
        for name, pid in self.pids.items():
            for family in ProcessCollector(pid=partial(int, pid), registry=None).collect():
                together = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                for sample in family.samples:
                    together.add_sample(sample.name, {**sample.labels, "worker": name}, sample.value)
        yield from families.values()


Workers = Callable[[Mapping[str, Any]], Awaitable[Fleet]]
"""Takes what this worker has counted so far, and gives that of all."""


class Metrics:
    """The counters of one process. Used on the event loop's thread."""

    def __init__(self, dropped: Callable[[], int] = lambda: Output.dropped) -> None:
        self._events: dict[tuple[str, ...], int] = {}
        self._types: set[str] = set()
        self._own_events: dict[tuple[str, ...], int] = {}
        self._audits: dict[tuple[str, ...], float] = {}
        self._audited_at: dict[tuple[str, ...], float] = {}  # by route and account, in Unix time
        self._signatures: dict[tuple[str, ...], int] = {}
        self._refused: dict[tuple[str, ...], int] = {}
        self._attempts: dict[tuple[str, ...], int] = {}
        self._reloads: dict[tuple[str, ...], int] = {("loaded",): 0, ("failed",): 0}
        self._intake = Histogram(INTAKE_BOUNDS)
        self._commit = Histogram(INTAKE_BOUNDS)
        self._durations: dict[tuple[str, ...], Histogram] = {}
        self._dropped, self._dropped_elsewhere = dropped, 0  # lines of the log
        self.workers: Workers | None = None  # those of this gateway, where it has several

    def event(self, account: str, type: str, outcome: str, seconds: float, commit_seconds: float) -> None:
        """One event was committed: `routed`, `unmatched`, `ignored` or `duplicate`."""
        key = (account, type, outcome)
        count = self._events.get(key)
        if count is None:
            key = (account, self._bounded(type), outcome)
            count = self._events.get(key, 0)
        self._events[key] = count + 1
        self._intake.observe(seconds)
        self._commit.observe(commit_seconds)

    def _bounded(self, type: str) -> str:
        if type not in self._types:
            if len(self._types) >= MOST_TYPES:
                return "other"
            self._types.add(type)
        return type

    def own_event(self, type: str) -> None:
        """One of the gateway's own events was committed."""
        self._own_events[(type,)] = self._own_events.get((type,), 0) + 1

    def audited(self, route: str, account: str, rows: int, differences: Mapping[str, int]) -> None:
        """An audit ended: how many rows were compared, and how many differ, by why."""
        self._audited_at[(route, account)] = time.time()
        self._audits[(route, account, "compared")] = rows
        for why, count in differences.items():
            self._audits[(route, account, why)] = count

    def signature_failed(self, reason: str) -> None:
        """A request did not prove that it comes from Stripe."""
        self._signatures[(reason,)] = self._signatures.get((reason,), 0) + 1

    def refused(self, reason: str) -> None:
        """A request was refused for another reason: `malformed`, `too_large`, `unknown_account`, `unavailable`."""
        self._refused[(reason,)] = self._refused.get((reason,), 0) + 1

    def attempt(self, route: str, action: str, outcome: str, seconds: float) -> None:
        """One attempt ended."""
        key = (route, action, outcome)
        self._attempts[key] = self._attempts.get(key, 0) + 1
        durations = self._durations.get((route, action))
        if durations is None:
            durations = self._durations[(route, action)] = Histogram(ATTEMPT_BOUNDS)
        durations.observe(seconds)

    def reloaded(self, outcome: str) -> None:
        """gateway.yaml was read again: `loaded` or `failed`."""
        self._reloads[(outcome,)] = self._reloads.get((outcome,), 0) + 1

    # -- the scrape -------------------------------------------------------------------------------------------

    async def answer(self, scrape: Scrape, now_seconds: float) -> bytes:
        """The text of the whole gateway, also where this is one of its workers."""
        if self.workers is None:
            return self.text(scrape, now_seconds)
        fleet = await self.workers(self.snapshot())
        return _total(fleet).text(scrape, now_seconds, fleet)

    async def timed(self) -> Timed:
        """What the whole gateway has timed so far."""
        total = self if self.workers is None else _total(await self.workers(self.snapshot()))
        attempts = {key: tuple(histogram.counts) for key, histogram in total._durations.items()}
        return Timed(tuple(total._intake.counts), attempts, dict(total._attempts))

    def text(self, scrape: Scrape, now_seconds: float, fleet: Fleet | None = None) -> bytes:
        """Everything in Prometheus's text format."""
        registry = CollectorRegistry(auto_describe=False)
        families = [*self._counted(), *_asked(scrape, now_seconds)]
        if fleet is None:
            ProcessCollector(registry=registry)
        else:
            families += fleet.families()
        registry.register(_Once(families))
        PlatformCollector(registry=registry)
        return generate_latest(registry)

    def snapshot(self) -> dict[str, Any]:
        """All that was counted, as JSON, for `add` of another process."""
        counts = {name: [[*key, value] for key, value in getattr(self, name).items()] for name in _COUNTS}
        timed = {name: [[*key, value.counted()] for key, value in self._histograms(name)] for name in _TIMED}
        audits = [[*key, value, self._audited_at[key[:2]]] for key, value in self._audits.items()]
        return {**counts, **timed, "audits": audits, "dropped": self._dropped() + self._dropped_elsewhere}

    def add(self, snapshot: Mapping[str, Any]) -> None:
        """Adds what another process has counted. Of the audits of a route the last one counts."""
        for name in _COUNTS:
            counts = getattr(self, name)
            for *key, value in snapshot[name]:
                counts[tuple(key)] = counts.get(tuple(key), 0) + value
        for name, bounds in _TIMED.items():
            for *key, value in snapshot[name]:
                histogram = self._durations.setdefault(tuple(key), Histogram(bounds)) if key else getattr(self, name)
                histogram.add(*value)
        for *key, value, at in snapshot["audits"]:
            if at >= self._audited_at.get(tuple(key[:2]), 0.0):
                self._audited_at[tuple(key[:2])] = at
                self._audits[tuple(key)] = value
        self._dropped_elsewhere += snapshot["dropped"]

    def _histograms(self, name: str) -> Iterable[tuple[tuple[str, ...], Histogram]]:
        value: Histogram | dict[tuple[str, ...], Histogram] = getattr(self, name)
        return [((), value)] if isinstance(value, Histogram) else value.items()

    def _counted(self) -> Iterator[Metric]:
        dropped = self._dropped() + self._dropped_elsewhere
        yield _counter("gateway_events", "Events committed.", ("account", "type", "outcome"), self._events)
        yield _counter("gateway_own_events", "The gateway's own events committed.", ("type",), self._own_events)
        yield _gauge(
            "gateway_audit_rows", "Rows of the last audit here.", ("route", "account", "outcome"), self._audits
        )
        yield _counter(
            "gateway_signature_failures", "Requests without a good signature.", ("reason",), self._signatures
        )
        yield _counter("gateway_requests_refused", "Other requests refused.", ("reason",), self._refused)
        yield _counter("gateway_attempts", "Attempts ended.", ("route", "action", "outcome"), self._attempts)
        yield _counter("gateway_config_reloads", "Reads of gateway.yaml after the first.", ("outcome",), self._reloads)
        yield _counter("gateway_log_lines_dropped", "Log lines that nobody took.", (), {(): dropped})
        yield _histogram("gateway_intake_duration_seconds", "From request to answer.", (), {(): self._intake})
        yield _histogram("gateway_commit_duration_seconds", "Waiting for the store's commit.", (), {(): self._commit})
        yield _histogram(
            "gateway_attempt_duration_seconds", "From start to end of an attempt.", ("route", "action"), self._durations
        )


def _total(fleet: Fleet) -> Metrics:
    total = Metrics(dropped=lambda: 0)
    for snapshot in fleet.snapshots:
        total.add(snapshot)
    return total


_COUNTS = ("_events", "_own_events", "_signatures", "_refused", "_attempts", "_reloads")
_TIMED = {"_intake": INTAKE_BOUNDS, "_commit": INTAKE_BOUNDS, "_durations": ATTEMPT_BOUNDS}


def _asked(scrape: Scrape, now_seconds: float) -> Iterator[Metric]:
    build = InfoMetricFamily("gateway_build", "The program.")
    build.add_metric([], {"version": __version__})
    yield build
    config = InfoMetricFamily("gateway_config", "The configuration in force.")
    config.add_metric([], {"version": scrape.config_version})
    yield config
    yield _gauge(
        "gateway_config_last_reload_successful",
        "1 unless the last read of gateway.yaml failed.",
        (),
        {(): 0 if scrape.last_reload_failed else 1},
    )
    states: dict[tuple[str, ...], float] = {
        (name, state): float(count) for name, queue in scrape.queues.items() for state, count in queue.counts.items()
    }
    yield _gauge("gateway_queue_deliveries", "Deliveries not done, or dead.", ("connection", "state"), states)
    ages: dict[tuple[str, ...], float] = {(name,): queue.oldest_seconds for name, queue in scrape.queues.items()}
    yield _gauge(
        "gateway_queue_oldest_age_seconds", "Age of the oldest pending delivery; 0: none.", ("connection",), ages
    )
    connections: dict[tuple[str, ...], float] = {
        (name, state): float(state == current)
        for name, current in scrape.connection_states.items()
        for state in ("ok", "slow", "paused")
    }
    yield _gauge("gateway_connection_state", "1 for the state it is in.", ("connection", "state"), connections)
    silence: dict[tuple[str, ...], float] = {
        (account,): now_seconds - at.timestamp() for account, at in scrape.last_events.items()
    }
    yield _gauge("gateway_account_silence_seconds", "Since the account's last event.", ("account",), silence)
    yield _gauge("gateway_store_size_bytes", "The inbox on disk.", (), {(): float(scrape.store_bytes)})


class _Once(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Metric]:
        return self._families


def _counter(name: str, text: str, labels: Sequence[str], values: Mapping[tuple[str, ...], int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        family.add_metric(list(key), value)
    return family


def _gauge(name: str, text: str, labels: Sequence[str], values: Mapping[tuple[str, ...], float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        family.add_metric(list(key), value)
    return family


def _histogram(name: str, text: str, labels: Sequence[str], values: Mapping[tuple[str, ...], Histogram]) -> Metric:
    family = HistogramMetricFamily(name, text, labels=labels)
    for key, histogram in values.items():
        family.add_metric(list(key), *histogram.buckets())
    return family
