"""Runs a case: simulates its events and compares what comes of the last with what is expected."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from gateway.config.load import Config
from gateway.config.yaml.nodes import Path_
from gateway.core.envelope import parse_event, parse_json
from gateway.core.errors import EnvelopeError, Where
from gateway.core.internal_events import usual_account
from gateway.core.later import MOST_SECONDS
from gateway.core.model import DeliveryState, Event
from gateway.simulation import Assumed, SimulatedDelivery, SimulationResult, Simulator
from gateway.simulation.cases.events import EventMistake, case_event, case_object
from gateway.simulation.cases.load import Case
from gateway.simulation.cases.matchers import ABSENT, Difference, differences, text_difference
from gateway.simulation.cases.schema import Expected, ExpectedDelivery, parse_offset
from gateway.simulation.explain import why_matched
from gateway.templating.filters import timestamp


@dataclass(frozen=True, slots=True)
class Failure:
    """One thing that is not as expected."""

    where: Where  # of the expectation
    what: str  # such as `routes.orders.save.with.values.amount`
    message: str
    expected: Any
    actual: Any
    why: tuple[str, ...] = ()  # what explains it


@dataclass(frozen=True, slots=True)
class CaseResult:
    """How a case went."""

    case: Case
    failures: tuple[Failure, ...]
    seconds: float
    results: tuple[SimulationResult, ...] = ()  # of its events, the earlier ones first

    @property
    def passed(self) -> bool:
        """Whether all was as expected."""
        return not self.failures

    @property
    def routes(self) -> tuple[str, ...]:
        """The routes that its last event matched."""
        return self.results[-1].routes if self.results else ()


async def run_case(case: Case, config: Config, clock: Callable[[], float] = time.monotonic) -> CaseResult:
    """Runs one case. Its names are known to the config."""
    start = clock()
    try:
        results = await _simulated(case, config)
    except _Mistake as mistake:
        return CaseResult(case, (mistake.failure,), clock() - start)
    wanted = [((*case.at, "expect"), case.expected)]
    wanted += [((*case.at, "then", i, "expect"), expected) for i, (_, expected) in enumerate(case.then)]
    failures = [
        failure
        for (at, expected), result in zip(wanted, results[-len(wanted) :], strict=True)
        for failure in _Comparison(case, config, result, at, expected).failures()
    ]
    return CaseResult(case, tuple(failures), clock() - start, tuple(results))


class _Mistake(Exception):  # noqa: N818
    """The case's event cannot be made."""

    def __init__(self, failure: Failure) -> None:
        super().__init__()
        self.failure = failure


async def _simulated(case: Case, config: Config) -> list[SimulationResult]:
    """What has become of the earlier events, and then of the case's own when it came, and at each later time."""
    settings = case.settings
    simulator = Simulator(config)
    results = []
    for i, written in enumerate(settings.earlier):
        earlier, done = _event(case, config, written, ("earlier", i)), Assumed(settings.outputs)
        long_after = earlier.received_at + timedelta(seconds=MOST_SECONDS)  # what it had planned for later is done, too
        results.append(await simulator.simulate(earlier, done, f"dlv_earlier_{i + 1}", now=long_after))
    event = _event(case, config, settings.event, ("event",))
    happened_at = event.received_at
    event = replace(event, received_at=happened_at + timedelta(seconds=settings.arrives))
    assumed = Assumed(
        settings.outputs,
        settings.failures,
        _fetched(case, settings.fetch, event, ("fetch",)),
        answers=settings.answers,
        expands=False,
    )
    results.append(as_of(await simulator.simulate(event, assumed), event.received_at))

    async def later(now: datetime, before: SimulationResult, assumed: Assumed) -> SimulationResult:
        ended = {(d.route, d.action.name): d for d in before.deliveries if d.state.is_final}
        result = as_of(await simulator.simulate(event, assumed, now=now), now)
        return replace(result, deliveries=tuple(ended.get((d.route, d.action.name), d) for d in result.deliveries))

    for i, (step, _) in enumerate(case.then):
        now = happened_at + timedelta(seconds=step.at)
        if step.fetch is not None:
            assumed = replace(assumed, fetched=_fetched(case, step.fetch, event, ("then", i, "fetch")))
        assumed = replace(assumed, answers={**assumed.answers, **step.answers})
        before = results[-1]
        if step.event is not None:  # what was due before it came has acted
            before = await later(now - timedelta(microseconds=1), before, assumed)
            at: Path_ = ("then", i, "event")
            other = _event(case, config, step.event, at, default_created=int(now.timestamp()))
            await simulator.simulate(other, Assumed(settings.outputs), f"dlv_then_{i + 1}", now=now)
        results.append(await later(now, before, assumed))
    return results


def as_of(result: SimulationResult, now: datetime) -> SimulationResult:
    """The same at a time: what waits until a later one is pending, and what needs that is blocked."""
    deliveries: dict[tuple[str, str], SimulatedDelivery] = {}
    for delivery in result.deliveries:
        if delivery.waits_until is not None and delivery.waits_until > now:
            needed = [need for need in delivery.action.needs if not deliveries[delivery.route, need].state.is_final]
            reason = f"waits for {needed[0]}, which waits itself" if needed else delivery.why_later
            state = DeliveryState.BLOCKED if needed else DeliveryState.PENDING
            delivery = replace(delivery, state=state, reason=reason, rendered=None, unknown=None)
        deliveries[delivery.route, delivery.action.name] = delivery
    return replace(result, deliveries=tuple(deliveries.values()))


def _fetched(case: Case, written: Any, event: Event, at: Path_) -> dict[str, Any] | None:
    if written is None:
        return None
    try:
        return case_object(written, case.folder, parse_json(event.body))
    except EventMistake as mistake:
        raise _mistaken(case, at, mistake) from None


def _event(case: Case, config: Config, written: Any, at: Path_, default_created: int | None = None) -> Event:
    """It comes when it happens."""
    first = next(iter(config.accounts))
    account = config.account(case.account or first)
    assert account is not None  # the names of a case are known
    try:
        envelope = case_event(written, case.folder, f"{case.name} {at}", account.livemode)
        owner = case.account or usual_account(str(envelope.get("type")), first)
        if default_created is not None and "object" in envelope and not _says_created(written):
            thin_text = datetime.fromtimestamp(default_created, UTC).isoformat()
            envelope["created"] = thin_text if isinstance(envelope.get("created"), str) else default_created
        event = parse_event(json.dumps(envelope).encode(), owner, datetime.now(UTC))
        return replace(event, received_at=event.created_at or event.received_at)
    except EventMistake as mistake:
        raise _mistaken(case, at, mistake) from None
    except EnvelopeError as error:
        raise _Mistake(Failure(case.source.where((*case.at, *at)), "event", str(error), ABSENT, ABSENT)) from None


def _says_created(written: Any) -> bool:
    return isinstance(written, Mapping) and ("created" in written or "file" in written)


def _mistaken(case: Case, at: Path_, mistake: EventMistake) -> _Mistake:
    where = case.source.where((*case.at, *at, *mistake.at))
    why = (mistake.hint,) if mistake.hint else ()
    return _Mistake(Failure(where, str(at[0]), mistake.message, ABSENT, ABSENT, why))


class _Comparison:
    """What is expected of a case, and what came of it."""

    def __init__(
        self, case: Case, config: Config, result: SimulationResult, at: Path_, expected: Expected | None
    ) -> None:
        self._case = case
        self._config = config
        self._result = result
        self._at = at
        self._expected = expected
        self._found = {(delivery.route, delivery.action.name): delivery for delivery in result.deliveries}
        self._routes = {route.name: route for route in config.routes}

    def failures(self) -> Iterator[Failure]:
        """All of them."""
        expected = self._expected
        if expected is None:
            for route in self._result.routes:
                yield self._failure((), f"routes.{route}", "matches", ABSENT, self._endings(route), self._why(route))
            return
        state = self._result.event.state.value
        if expected.state is not None and expected.state != state:
            yield self._failure(("state",), "state", "differs", expected.state, state)
        if expected.routes is not None:
            yield from self._matching(expected)
        for route, actions in expected.deliveries.items():
            if route not in self._result.routes:
                if expected.routes is None or route not in expected.routes:
                    yield self._no_match(route, ("deliveries", route))
                continue
            for action, wanted in actions.items():
                at = ("deliveries", route, action)
                yield from self._delivery(self._found[route, action], wanted or ExpectedDelivery(), at)

    # -- routes -----------------------------------------------------------------------------------------------

    def _matching(self, expected: Expected) -> Iterator[Failure]:
        routes = expected.routes
        for i, route in enumerate(routes):
            at = ("routes", i if isinstance(routes, list) else route)
            if route not in self._result.routes:
                yield self._no_match(route, at)
            elif isinstance(routes, dict) and routes[route] is not None:
                yield from self._in_order(route, routes[route], at)
        for route in self._result.routes:
            if route not in routes:
                why = self._why(route)
                yield self._failure(("routes",), f"routes.{route}", "matches too", ABSENT, self._endings(route), why)

    def _in_order(self, route: str, wanted: Sequence[str], at: Path_) -> Iterator[Failure]:
        """Exactly these succeed, and none is listed before one that it waits for."""
        succeeding = [name for (of, name), delivery in self._found.items() if of == route and _succeeds(delivery)]
        if sorted(succeeding) != sorted(wanted):
            why = tuple(
                f"{name} is {delivery.state.value}: {delivery.reason}"
                for (of, name), delivery in self._found.items()
                if of == route and not _succeeds(delivery)
            )
            yield self._failure(at, f"routes.{route}", "other actions succeed", list(wanted), succeeding, why)
            return
        for i, name in enumerate(wanted):
            late = self._routes[route].needed_by(name).intersection(wanted[i + 1 :])
            for other in sorted(late):
                at_name = (*at, i)
                message = f"{name} is listed before {other}, and waits for it"
                yield self._failure(at_name, f"routes.{route}", message, list(wanted), succeeding)

    def _no_match(self, route: str, at: Path_) -> Failure:
        return self._failure(at, f"routes.{route}", "does not match", route, ABSENT, self._why(route))

    def _why(self, route: str) -> tuple[str, ...]:
        sentence, values = why_matched(self._config, self._routes[route], self._result.event)
        return (f"{route} {sentence}", *(f"  {value}" for value in values))

    def _endings(self, route: str) -> dict[str, str]:
        return {name: delivery.state.value for (of, name), delivery in self._found.items() if of == route}

    # -- deliveries -------------------------------------------------------------------------------------------

    def _delivery(self, delivery: SimulatedDelivery, wanted: ExpectedDelivery, at: Path_) -> Iterator[Failure]:
        what = f"{delivery.route}.{delivery.action.name}"
        state, key = _wanted_state(wanted)
        if delivery.state is not state:
            why: tuple[str, ...] = (delivery.reason,) if delivery.reason else ()
            if delivery.unknown is not None:
                why += (f"say what it returns: outputs: {{{delivery.unknown}: {{...}}}}",)
            here = at if key is None else (*at, key)
            yield self._failure(here, what, "ends otherwise", state.value, delivery.state.value, why)
            return
        name: Path_ = (what,)
        if _is_wanted(wanted.waits_until) and wanted.waits_until is not True:
            yield from self._waits(delivery, wanted.waits_until, (*at, "waits_until"))
        for key in _REASONED:
            expected = getattr(wanted, key)
            if _is_wanted(expected):
                yield from self._failures_of(text_difference(expected, delivery.reason, (*at, key), (*name, key)))
        for key, exact in (("with", False), ("exactly", True)):
            values = wanted.exactly if exact else wanted.with_
            if values is not None:
                rendered = delivery.rendered if isinstance(delivery.rendered, Mapping) else {}
                yield from self._failures_of(differences(values, rendered, (*at, key), (*name, "with"), exact=exact))
        for key in ("once_per", "order_by"):
            if key in wanted.model_fields_set:
                value = getattr(delivery, key)
                yield from self._failures_of(differences(getattr(wanted, key), value, (*at, key), (*name, key)))
        waits_for = self._routes[delivery.route].needed_by(delivery.action.name)
        for i, need in enumerate(wanted.after or ()):
            if need not in waits_for:
                message = f"does not wait for {need}"
                yield self._failure((*at, "after", i), what, message, wanted.after, sorted(waits_for))

    def _waits(self, delivery: SimulatedDelivery, written: Any, at: Path_) -> Iterator[Failure]:
        assert delivery.waits_until is not None  # it is pending
        try:
            if isinstance(written, str) and written.startswith("+"):
                moment = self._result.event.received_at + timedelta(seconds=parse_offset(written))
            else:
                moment = timestamp(written)
        except ValueError as error:
            yield self._failure(at, f"{delivery.route}.{delivery.action.name}", str(error), written, ABSENT)
            return
        if moment != delivery.waits_until:
            texts = (moment.isoformat(), delivery.waits_until.isoformat())
            why = (delivery.reason,) if delivery.reason else ()
            yield self._failure(at, f"{delivery.route}.{delivery.action.name}", "waits until another time", *texts, why)

    def _failures_of(self, differing: Iterator[Difference]) -> Iterator[Failure]:
        for difference in differing:
            name = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in difference.name).lstrip(".")
            where = self._case.source.where((*self._at, *difference.at))
            yield Failure(where, name, difference.message, difference.expected, difference.actual)

    def _failure(
        self, at: Path_, what: str, message: str, expected: Any, actual: Any, why: tuple[str, ...] = ()
    ) -> Failure:
        return Failure(self._case.source.where_key((*self._at, *at)), what, message, expected, actual, why)


def _is_wanted(expected: Any) -> bool:
    return expected is not None and expected is not False


_REASONED = {
    "skipped": DeliveryState.SKIPPED,
    "error": DeliveryState.DEAD,
    "expired": DeliveryState.EXPIRED,
    "cancelled": DeliveryState.CANCELLED,
    "waits": DeliveryState.PENDING,
}
"""The keys that say how a delivery ends, and why."""


def _wanted_state(wanted: ExpectedDelivery) -> tuple[DeliveryState, str | None]:
    """The state that a delivery must end in, and the key that says so."""
    for key, state in _REASONED.items():
        if _is_wanted(getattr(wanted, key)):
            return state, key
    if _is_wanted(wanted.waits_until):
        return DeliveryState.PENDING, "waits_until"
    if wanted.blocked:
        return DeliveryState.BLOCKED, "blocked"
    return DeliveryState.SUCCEEDED, None


def _succeeds(delivery: SimulatedDelivery) -> bool:
    return delivery.state is DeliveryState.SUCCEEDED
