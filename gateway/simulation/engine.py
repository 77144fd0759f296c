"""Simulates events one after the other: intake's routing, then each delivery's attempt, with nobody at the other end.

What a store decides between attempts (`needs`, `once_per`) is decided here in the same words; a test holds the two
together.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, ClassVar

import structlog

from gateway.config.load import Config
from gateway.core.errors import StripeApiError, TemplateError
from gateway.core.later import closed_for, wait_reason
from gateway.core.model import (
    NEEDED,
    Account,
    ActionUse,
    Claim,
    Delivery,
    DeliveryState,
    End,
    Event,
    Fetch,
    Finish,
    HeldForYes,
    Need,
    PlannedDelivery,
    Route,
    Word,
)
from gateway.core.model.needs import is_met, reason_for
from gateway.core.routing import RouteTable, evaluate_condition, keys_for, route, settled_key, with_fetched
from gateway.delivery.attempt import AttemptContext, run_attempt, scope_for
from gateway.delivery.fetch import Fetcher
from gateway.delivery.resources import Resources
from gateway.plugin import Action, Context, Reject, Settings
from gateway.simulation.plausible_fetch import plausible_answer
from gateway.simulation.unknown_output import UnknownOutput

EXAMPLE_DELIVERY = "dlv_example"
ONCE_PER = "once_per: "  # begins the reason of what another delivery has done already
UNTIL = "until: "  # of what an event has cancelled before its time
REFUSED = "refused by somebody"


@dataclass(frozen=True, slots=True)
class Assumed:
    """What only the outside could say: what actions return, and which of them fail, by the action's name; and the
    object that `fetch` would bring (None: as the event tells it); what was done before.
    """

    outputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)
    fetched: Mapping[str, Any] | None = None
    done_once: Mapping[str, str] = field(default_factory=dict)  # once keys that are done, and by which delivery
    answers: Mapping[str, str] = field(default_factory=dict)  # yes, no or nobody, to actions that need a yes
    expands: bool = True  # with samples, where the event's own object stands in; False: it stays as the event tells it


@dataclass(frozen=True, slots=True)
class SimulatedDelivery:
    """One delivery as it would end. `succeeded`: the action would be asked to do what is rendered."""

    route: str
    action: ActionUse
    state: DeliveryState
    reason: str | None
    rendered: Any
    seen: Callable[[], Mapping[str, Any]] = field(repr=False)  # makes `scope`
    once_per: Any = None  # the value, where the route has one
    order_by: Any = None
    unknown: str | None = None  # the action whose output would have to be known first; then it is `pending`
    had_attempt: bool = True  # False: what it needs, or `once_per`, decided before
    waits_until: datetime | None = None  # it ends so then, and not before; None: as soon as it may
    why_later: str | None = None  # in words: `waits until ...`

    @property
    def scope(self) -> Mapping[str, Any]:
        """What its templates saw."""
        return self.seen()


@dataclass(frozen=True, slots=True)
class SimulationResult:
    """An event in its state, and its deliveries in an order that respects `needs`."""

    event: Event
    deliveries: tuple[SimulatedDelivery, ...]

    @property
    def routes(self) -> tuple[str, ...]:
        """The routes that matched, in the order of the file."""
        return tuple(dict.fromkeys(delivery.route for delivery in self.deliveries))


@dataclass(frozen=True, slots=True)
class _End:
    """How a delivery ends, as far as a simulation tells."""

    state: DeliveryState
    reason: str | None
    rendered: Any = None


class Simulator:
    """Where a config's deliveries are simulated. It remembers who took which `once_per` value, and which events have
    come that cancel others.
    """

    def __init__(self, config: Config, stand_in: StandIn | None = None, fetcher: Fetcher | None = None) -> None:
        """`stand_in` takes the place of every action, `fetcher` that of Stripe; else nobody is asked."""
        self._table = RouteTable(config.routes)
        self._stand_in = stand_in or StandIn(config)
        self._fetcher = fetcher
        self._config = replace(config, actions=dict.fromkeys(config.actions, self._stand_in))
        self._log = structlog.get_logger().bind()  # made once: the events are many
        self._resources = _NothingOpen(lambda *_: True, self._log)
        self._rng = Random(0)  # noqa: S311 - varies waits, guards nothing
        self._taken: dict[str, str] = {}
        self._came: dict[str, int] = {}  # of each event that ends others or may be ended, its place by arrival
        self._ended: dict[str, tuple[datetime, int, Event]] = {}  # by key of `until`, the last to happen

    async def simulate(
        self,
        event: Event,
        assumed: Assumed | None = None,
        delivery_id: str = EXAMPLE_DELIVERY,
        *,
        now: datetime | None = None,
        alike: Mapping[tuple[str, str], SimulatedDelivery] | None = None,
    ) -> SimulationResult:
        """Raises EnvelopeError where the body is no event. Each delivery is shown as it ends when its time has come;
        `now` is the time until which that has happened, for those that come after (left out: the event's arrival).
        `alike`: deliveries of it that another Simulator made by actions that are the same there, not rendered anew.
        """
        self._stand_in.assumed = assumed or Assumed()
        self._now, self._is_another_look = now or event.received_at, now is not None
        self._alike = alike or {}
        event, planned = route(event, self._config.accounts, self._table, self._config.vars)
        place = self._came.get(event.id, len(self._came))
        if event.ends or any(delivery.until_key is not None for delivery in planned):
            self._came[event.id] = place  # of those alone to whom it matters: the events may be a million
        for key in event.ends:
            ending = (event.created_at or event.received_at, place, replace(event, body=b""))
            if key not in self._ended or self._ended[key][:2] < ending[:2]:
                self._ended[key] = ending
        ended: dict[tuple[str, str], SimulatedDelivery] = {}
        for delivery in planned:
            ended[delivery.route, delivery.action] = await self._deliver(event, delivery, ended, delivery_id)
        return SimulationResult(event, tuple(ended.values()))

    def _attempts(self, now: datetime) -> AttemptContext:
        fetcher = self._fetcher or _Bringer(self._stand_in.assumed)
        return AttemptContext(
            self._config, self._table, self._resources, fetcher, self._rng, self._log, now=lambda: now
        )

    async def _deliver(
        self,
        event: Event,
        planned: PlannedDelivery,
        ended: Mapping[tuple[str, str], SimulatedDelivery],
        delivery_id: str,
    ) -> SimulatedDelivery:
        route = self._table.by_name[planned.route]
        action = route.action(planned.action)
        assert action is not None
        ran = [name for name in route.needed_by(action.name) if _may_have_output(ended[route.name, name])]
        unknown = {name: UnknownOutput(name) for name in ran}
        outputs = {name: self._stand_in.assumed.outputs.get(name, unknown[name]) for name in ran}
        of_route = {name: earlier for (of, name), earlier in ended.items() if of == route.name and name not in ran}
        ends = {name: _assumed_end(earlier) for name, earlier in of_route.items() if earlier.state.is_final}
        said = self._stand_in.assumed.answers.get(planned.action)
        acts_at, why_later = _acts_at(event, planned, action)
        for name in planned.needs:
            acts_at = max(acts_at, ended[route.name, name].waits_until or acts_at)
        attempts, word = self._attempts(acts_at), _WORDS.get(said or "", Word())
        claim = Claim(_delivery(event, planned, delivery_id, word), "simulation", event, outputs, ends)
        seen = functools.cache(functools.partial(scope_for, claim, attempts, route))
        if planned.waits_until is not None:  # it has its keys when its time has come
            with contextlib.suppress(TemplateError):
                values = evaluate_condition(route, event.account, seen()) or (None, None)
                once_key, order_key = keys_for(route, action.name, event, values)
                planned = replace(planned, once_key=once_key, order_key=order_key)
                claim = replace(claim, delivery=_delivery(event, planned, delivery_id, word))
        if route.fetch is not None:
            account, scope = self._config.accounts[event.account], seen()
            with contextlib.suppress(StripeApiError):  # the attempt says why
                fetched = await attempts.fetcher.fetch(claim, scope["event"], account, route.fetch)
                seen = functools.cache(functools.partial(with_fetched, scope, fetched))
        end = self._before(event, planned, route, ended, delivery_id)
        if end is None and said == "no" and action.approve is not None:
            end = _End(DeliveryState.CANCELLED, REFUSED)
        had_attempt = end is None
        waits_until = acts_at if acts_at > event.received_at else None
        if end is None and planned.is_judged:
            end = self._as_before(route, action, ended, waits_until)
        if end is None:
            finish = (await run_attempt(claim, attempts)).ending
            if isinstance(finish, HeldForYes):
                end = _End(DeliveryState.PENDING, finish.reason)
            else:
                assert isinstance(finish, Finish)  # the route is known, and was judged
                end = _End(finish.state, finish.reason or finish.attempt.error, finish.rendered)
        if end.state is not DeliveryState.SUCCEEDED:
            seen()  # raises where the body cannot be read: the many that succeed could be
        if end.state is DeliveryState.SUCCEEDED and planned.once_key is not None and acts_at <= self._now:
            self._taken[planned.once_key] = delivery_id
        asked = next((name for name, output in unknown.items() if output.was_asked), None)
        if asked is not None:
            end = _End(DeliveryState.PENDING, f"needs the output of {asked}, which is known once that ran")
        return SimulatedDelivery(
            route=route.name,
            action=action,
            state=end.state,
            reason=end.reason,
            rendered=end.rendered,
            seen=seen,
            once_per=_value(planned.once_key),
            order_by=_value(planned.order_key),
            unknown=asked,
            had_attempt=had_attempt,
            waits_until=None if end.state is DeliveryState.CANCELLED else waits_until,
            why_later=why_later,
        )

    def _as_before(
        self,
        route: Route,
        action: ActionUse,
        ended: Mapping[tuple[str, str], SimulatedDelivery],
        waits_until: datetime | None,
    ) -> _End | None:
        """How a delivery ends that was simulated already, where all that it saw is the same; None where it is not."""
        known = self._alike.get((route.name, action.name))
        if known is None or known.unknown or not known.had_attempt or known.waits_until != waits_until:
            return None
        for name in route.needed_by(action.name):
            needed, then = ended[route.name, name], self._alike.get((route.name, name))
            if then is None or (needed.state, needed.reason) != (then.state, then.reason):
                return None
        return _End(known.state, known.reason, known.rendered)

    def _before(
        self,
        event: Event,
        planned: PlannedDelivery,
        route: Route,
        ended: Mapping[tuple[str, str], SimulatedDelivery],
        delivery_id: str,
    ) -> _End | None:
        """How a delivery ends, or waits, without an attempt; None where it gets one."""
        if planned.skipped is not None:
            return _End(DeliveryState.SKIPPED, planned.skipped)
        if planned.error is not None:
            return _End(DeliveryState.DEAD, planned.error)
        if (ended_by := self._ending(planned, event)) is not None:
            return _End(DeliveryState.CANCELLED, f"{UNTIL}{ended_by.id} ({ended_by.type}) came first")
        for name in (action.name for action in route.actions if action.name in planned.needs):
            earlier, need = _assumed_end(ended[route.name, name]), planned.otherwise.get(name, Need.SUCCEEDED)
            if is_met(need, earlier) is False:
                because = (earlier.reason or "").startswith(NEEDED) and earlier.state == DeliveryState.SKIPPED
                reason = earlier.reason if because else reason_for(name, earlier.state)
                return _End(DeliveryState.SKIPPED, reason)
        for name in planned.needs:
            earlier, need = _assumed_end(ended[route.name, name]), planned.otherwise.get(name, Need.SUCCEEDED)
            if not is_met(need, earlier):
                return _End(DeliveryState.BLOCKED, f"waits for {name}, which is {earlier.state}")
        holder = self._taken.get(planned.once_key or "") or self._stand_in.assumed.done_once.get(planned.once_key or "")
        if holder is not None and not (self._is_another_look and holder == delivery_id):
            return _End(DeliveryState.SKIPPED, f"{ONCE_PER}{holder} has done it")
        return None

    def _ending(self, planned: PlannedDelivery, event: Event) -> Event | None:
        """The event that has cancelled a delivery of this one, which happened before it."""
        ended = self._ended.get(planned.until_key or "")
        if ended is None:
            return None
        return ended[2] if ended[:2] > (event.created_at or event.received_at, self._came[event.id]) else None


def _acts_at(event: Event, planned: PlannedDelivery, action: ActionUse) -> tuple[datetime, str | None]:
    """When a delivery is to act, by itself, and why then."""
    acts_at = max(planned.waits_until or event.received_at, event.received_at)
    why = None if planned.waits_until is None else wait_reason(planned.waits_until, planned.why_later)
    if action.later is not None and (closed := closed_for(action.later, acts_at)) is not None:
        return acts_at + timedelta(seconds=closed[1]), closed[0]
    return acts_at, why


_WORDS = {
    "yes": Word(approved_by="somebody", approved_at=datetime(2000, 1, 1, tzinfo=UTC)),
    "nobody": Word(until=datetime(2000, 1, 1, tzinfo=UTC)),
}
"""What people have said by the end, by the answer that a case assumes."""


def _assumed_end(delivery: SimulatedDelivery) -> End:
    """How one ended, as far as those that need it can tell: what waits for an unknown output would succeed."""
    state = DeliveryState.SUCCEEDED if delivery.state is DeliveryState.PENDING else delivery.state
    return End(state.value, delivery.reason)


def _may_have_output(delivery: SimulatedDelivery) -> bool:
    return delivery.state in (DeliveryState.SUCCEEDED, DeliveryState.PENDING)


def _value(key: str | None) -> Any:
    """The value of `once_per` or `order_by`, the last part of its key."""
    return None if key is None else json.loads(key)[-1]


def _delivery(event: Event, planned: PlannedDelivery, delivery_id: str, word: Word) -> Delivery:
    return Delivery(
        id=delivery_id,
        event_id=event.id,
        account=event.account,
        event_type=event.type,
        route=planned.route,
        action=planned.action,
        run_id="simulation",
        needs=planned.needs,
        otherwise=planned.otherwise,
        state=DeliveryState.RUNNING,
        attempts=1,
        created_at=event.received_at,
        next_attempt_at=None,
        finished_at=None,
        reason=None,
        last_error=None,
        is_judged=True,
        waits_for_turn=False,
        once_key=planned.once_key,
        order_key=settled_key(planned.order_key) or planned.order_key,  # nobody else comes
        word=word,
    )


class _NothingOpen(Resources):
    """Of a stand-in there is nothing to open, and so nothing to close."""

    def use(self, *_: Any) -> AbstractAsyncContextManager[None]:
        """Nothing, at once."""
        return contextlib.nullcontext()


class StandIn(Action[Any]):
    """Stands in for every action: makes what the real one would send, and sends nothing."""

    name: ClassVar[str] = "simulation"
    Settings: ClassVar[type[Settings]] = Settings

    def __init__(self, config: Config) -> None:
        self.assumed = Assumed()
        self._actions = config.actions
        self._uses = {(route.name, action.name): action for route in config.routes for action in route.actions}

    def rehearse(self, settings: Any, context: Context) -> None:
        """As the real one."""
        self._actions[self._uses[context.route, context.action].uses].rehearse(settings, context)

    async def run(self, settings: Any, context: Context) -> Mapping[str, Any] | None:
        """Fails where that is assumed."""
        self.rehearse(settings, context)
        if context.action in self.assumed.failures:
            raise Reject(self.assumed.failures[context.action])
        return None


class _Bringer:
    """Brings what is assumed to be at Stripe, else what is plausible."""

    def __init__(self, assumed: Assumed) -> None:
        self._assumed = assumed

    async def fetch(
        self, claim: Claim, envelope: Mapping[str, Any], account: Account, fetch: Fetch
    ) -> Mapping[str, Any]:
        now = claim.event.created_at or claim.event.received_at
        asked = fetch if self._assumed.expands else replace(fetch, expand=())
        return plausible_answer(envelope, account, asked, int(now.timestamp()), self._assumed.fetched)
