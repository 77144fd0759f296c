"""One attempt: from a claim to how it ended. The only place that catches whatever an action raises."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from structlog.typing import FilteringBoundLogger

from gateway.config.load import Config
from gateway.core.approval_link import without_links
from gateway.core.backoff import next_wait
from gateway.core.envelope import is_forgotten, parse_json
from gateway.core.masking import Maskers
from gateway.core.model import (
    DRY_RUN,
    ActionUse,
    Attempt,
    AttemptOutcome,
    Burst,
    Claim,
    DeliveryState,
    Event,
    Finish,
    Outcome,
    Rekeyed,
    Released,
    Route,
    until_reached,
)
from gateway.core.quick import quick
from gateway.core.routing import (
    RouteTable,
    evaluate_condition,
    keys_for,
    scope_of,
    settled_key,
    with_fetched,
    without_key,
)
from gateway.core.tasks import take_back_cancellation
from gateway.core.tracing import AttemptTrace
from gateway.delivery.approval import approval_scope, without_a_yes
from gateway.delivery.attempt_errors import AttemptError, Phase, explained, why_missing
from gateway.delivery.digest import Gatherer, NobodyElse, digest_body, digest_scope, gathered_for
from gateway.delivery.dry_run import dry_finish, steps_of, why_dry
from gateway.delivery.exchanges import are_kept, kept_exchanges
from gateway.delivery.expiry import seconds_left, why_expired
from gateway.delivery.fetch import Fetcher
from gateway.delivery.later import planned_late, until_open
from gateway.delivery.resources import Resources, connection_of
from gateway.delivery.stripe_writes import NoWrites, StripeWriters
from gateway.plugin import UNTIL_RESUMED, ConnectionSettings, Context, Exchange
from gateway.plugin.quoting import hiding
from gateway.privacy.redaction import hidden_in

UNKNOWN_SECONDS = 600.0  # contract, section 8: how long no gateway may know a route before its deliveries die
UNKNOWN_WAIT_SECONDS = 15.0
FORGOTTEN = "the event was forgotten (`gateway forget`): what it said is gone; cancel this"
NO_LONGER = "it is no longer so: "  # begins the reason of what its `still_if` has ended
_ERROR_CHARACTERS = 2000
_NOT_TRACED: contextlib.nullcontext[None] = contextlib.nullcontext()


@quick
@dataclass(frozen=True, slots=True)
class AttemptResult:
    """What became of a claim, and what the connection should do about it."""

    ending: Outcome
    pause_seconds: float | None = None  # asked for by the destination; infinite: until a person resumes
    is_failure: bool = False  # of the connection: a Retry that is, a timeout or a network error of the action
    is_unreached: bool = False  # the connection's destination was away

    def with_ending(self, ending: Outcome) -> AttemptResult:
        """The same with another ending."""
        return AttemptResult(ending, self.pause_seconds, self.is_failure, self.is_unreached)


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


@quick
@dataclass(frozen=True, slots=True)
class AttemptContext:
    """What an attempt works with."""

    config: Config
    table: RouteTable
    resources: Resources
    fetcher: Fetcher
    rng: Random
    log: FilteringBoundLogger
    trace: AttemptTrace | None = None
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    writers: StripeWriters = field(default_factory=NoWrites)
    gatherer: Gatherer = field(default_factory=NobodyElse)
    is_cut_off: Callable[[], bool] = _is_cancelled  # by whoever runs the attempt; else a cancellation is the action's


class _Settled(Exception):  # noqa: N818
    """Ends an attempt whose action is not asked: skipped, handed back, or judged anew."""

    def __init__(self, ending: Outcome) -> None:
        super().__init__()
        self.ending = ending


async def run_attempt(claim: Claim, context: AttemptContext) -> AttemptResult:
    """Runs a claimed delivery once and says how it ended, in words without secrets (a plugin's error may hold some) and
    without what its account redacts. Whatever the action raises is such an end, whether it is an Exception or not.
    Raises CancelledError where the attempt is cut off, and nothing else.
    """
    run = _Run(claim, context)
    with hiding(run.hidden, context.config.masker.mask):
        result = await run.result()
    ending, config = result.ending, context.config
    if not isinstance(ending, Finish):
        return result
    exchanges = run.exchanges if are_kept(config.settings.store.exchanges, ending) else []
    if ending.reason is None and ending.attempt.error is None and not exchanges:
        return result
    # Before it is cut: half of a secret is not found.
    reason, error = run.hidden([ending.reason, ending.attempt.error])
    noted = kept_exchanges(exchanges, run.body, lambda text: run.hidden(config.references.mask(text)))
    attempt = replace(ending.attempt, error=error and error[:_ERROR_CHARACTERS], exchanges=noted)
    return result.with_ending(replace(ending, reason=reason, attempt=attempt))


class _Run:
    """One attempt: its phases, and what they have brought for whatever ends it."""

    def __init__(self, claim: Claim, context: AttemptContext) -> None:
        self._claim = claim
        self._delivery = claim.delivery
        self._context = context
        self._phase = Phase.PREPARE
        self._started_at, self._start = context.now(), time.monotonic()
        self._scope: dict[str, Any] = {}
        self.body = claim.event.body
        self.exchanges: list[Exchange] = []
        self._dry: str | None = None  # why nothing is to be sent
        self._events: Sequence[Event] = [claim.event]  # that it brings
        self._fetched: Mapping[str, Any] | None = None
        self._note: str | None = None  # of what a person may wonder at, where it succeeds
        self._kept: Any = None  # of the rendered `with`
        self._left_seconds = math.inf  # until it expires
        self._hides: tuple[Any, Any, Maskers] | None = None  # of which events, and of what was fetched

    async def result(self) -> AttemptResult:
        """The phases in their order, to the end of the attempt."""
        try:
            self._route, self._use = find(self._claim, self._context)
        except _Settled as settled:
            return AttemptResult(settled.ending)
        try:
            await self._prepare()
            async with self._context.trace or _NOT_TRACED, asyncio.timeout(self._use.timeout_seconds):
                await self._fetch()
                settings = self._render()
                output = await self._act(settings)
            await take_back_cancellation(self._context.is_cut_off)
            return self._succeeded(output)
        except _Settled as settled:
            return AttemptResult(settled.ending)
        except asyncio.CancelledError as error:
            if self._context.is_cut_off():
                raise
            await take_back_cancellation(self._context.is_cut_off)
            return self._failed(self._explained(error))
        except BaseException as error:
            return self._failed(self._explained(error))

    # -- phases -----------------------------------------------------------------------------------------------

    async def _prepare(self) -> None:
        """What templates will see, from the event and the store alone."""
        claim, route, allowed = self._claim, self._route, self._use.retry.attempts
        if (disabled := route.why_disabled) is not None:  # since it was planned, or a person has retried it
            raise _Settled(self._skipped(disabled))
        begun, last_error = self._delivery.attempts - 1, self._delivery.last_error
        if begun >= allowed and last_error is not None:  # whoever ran it did not live to tell how the last one ended
            message = f"no attempt is left: {begun} have begun, and `retry` allows {allowed}; the last: {last_error}"
            raise AttemptError(message, is_final=True)
        if route.digest is None and is_forgotten(claim.event.body):
            raise AttemptError(FORGOTTEN, is_final=True)
        self._dry = why_dry(claim, route, self._use)
        self._left_seconds = seconds_left(claim, self._use, self._context.now())
        if (expired := why_expired(self._left_seconds, self._use)) is not None:
            raise _Settled(self._expired(expired))
        if self._dry is None and self._use.approve is not None:
            attempt = self._attempt(AttemptOutcome.SKIPPED)
            if (unanswered := without_a_yes(claim, self._use, attempt, self._context.now())) is not None:
                raise _Settled(unanswered)
        self._scope = scope_for(claim, self._context, route)
        if not self._delivery.is_judged:
            raise _Settled(self._judged_late())
        if (closed := until_open(self._use.later, self._context.now(), self._left_seconds)) is not None:
            raise _Settled(closed)
        burst = settled_key(self._delivery.order_key)
        if route.debounce is not None and burst is not None:
            raise _Settled(Burst(burst, route.debounce.wait_seconds, route.debounce.max_seconds))
        self._note = without_key(route, (self._delivery.once_key, self._delivery.order_key), self._scope)
        if route.digest is not None:
            gathered = await gathered_for(claim, route.digest, self._context.gatherer)
            if isinstance(gathered, Released):
                raise _Settled(gathered)
            if not gathered.events:
                raise AttemptError(FORGOTTEN, is_final=True)
            self._events = gathered.events
            if is_forgotten(claim.event.body):  # the others are not: the first of them stands for it
                self._scope = scope_for(replace(claim, event=gathered.events[0]), self._context, route)
            self._scope |= digest_scope(gathered)
            self.body = digest_body(gathered)

    async def _fetch(self) -> None:
        """The object as it is at Stripe, where the route asks for it."""
        if self._route.fetch is None:
            return
        self._phase = Phase.FETCH
        account = self._context.config.accounts[self._delivery.account]
        event = self._scope["event"]
        asked = self._route.fetch if self._use.later is None else replace(self._route.fetch, again=True)
        self._fetched = await self._context.fetcher.fetch(self._claim, event, account, asked)
        self._scope = with_fetched(self._scope, self._fetched)

    def _render(self) -> Any:
        """The action's settings, where its `still_if` and its `if` hold."""
        self._phase = Phase.RENDER
        still_if = None if self._use.later is None else self._use.later.still_if
        if still_if is not None and not still_if.evaluate(self._scope):
            raise _Settled(self._skipped(f"{NO_LONGER}its `still_if` is false: {still_if.source}"))
        condition = self._use.condition
        if condition is not None and not condition.evaluate(self._scope):
            raise _Settled(self._skipped(f"its `if` is false: {condition.source}"))
        rendered = self._use.settings.render(self._scope)
        self._kept = rendered.kept
        return rendered.settings

    async def _act(self, settings: Any) -> Mapping[str, Any] | None:
        """Asks the action to act, or in a dry run whether it could."""
        context, use = self._context, self._use
        plugin = context.config.actions[use.uses]
        connection = connection_of(context.config.connections, use.connection)
        if self._dry is not None:
            plugin.rehearse(settings, self._action_context(connection, None))
            raise _Settled(self._dry_finish(self._dry, None))
        self._phase = Phase.RUN
        async with context.resources.use(plugin, use.connection, connection, str(context.config.folder)) as resource:
            output = await plugin.run(settings, self._action_context(connection, resource))
        return dict(output) if output is not None else None

    def _action_context(self, connection: ConnectionSettings | None, resource: Any) -> Context:
        context, delivery = self._context, self._delivery
        account = context.config.accounts.get(delivery.account)  # None: of the gateway's own events
        return Context(
            delivery_id=delivery.id,
            attempt=delivery.attempts,
            account=delivery.account,
            route=delivery.route,
            action=delivery.action,
            event=self._scope["event"],
            body=self.body,
            connection=connection,
            resource=resource,
            timeout_seconds=self._use.timeout_seconds,
            now=context.now,
            log=context.log.bind(delivery_id=delivery.id, event_id=delivery.event_id, action=delivery.action),
            base_folder=str(context.config.folder),
            trace_headers=context.trace.headers if context.trace is not None else {},
            stripe=None if account is None else context.writers.of(self._claim, self._scope["event"], account),
            attempts_left=max(0, self._use.retry.attempts - delivery.attempts),
            exchanges=self.exchanges,
        )

    def _judged_late(self) -> Outcome:
        """Judges the route's `if` where routing could not, from the event alone."""
        values = evaluate_condition(self._route, self._delivery.account, self._scope)
        if values is None:
            return self._skipped("the route's `if` is false")
        waits = planned_late(self._claim, self._route, self._use, self._context.now(), self._scope)
        if waits is not None:
            return waits
        return Rekeyed(*keys_for(self._route, self._use.name, self._claim.event, values))

    # -- how it ended -----------------------------------------------------------------------------------------

    def _attempt(self, outcome: AttemptOutcome, error: str | None = None) -> Attempt:
        lasted = time.monotonic() - self._start
        return Attempt(self._delivery.attempts, self._started_at, lasted, outcome, error or None)

    def _skipped(self, reason: str) -> Finish:
        return Finish(DeliveryState.SKIPPED, self._attempt(AttemptOutcome.SKIPPED), reason=reason)

    def _succeeded(self, output: Mapping[str, Any] | None) -> AttemptResult:
        attempt = self._attempt(AttemptOutcome.SUCCEEDED)
        return AttemptResult(Finish(DeliveryState.SUCCEEDED, attempt, self._note, rendered=self._kept, output=output))

    def _dry_finish(self, why: str, error: str | None) -> Finish:
        return dry_finish(why, self._attempt(AttemptOutcome.SKIPPED), self._kept, self._scope.get("steps", {}), error)

    def _dead(self, error: str) -> Finish:
        if self._dry is not None:
            return self._dry_finish(self._dry, error)
        return Finish(DeliveryState.DEAD, self._attempt(AttemptOutcome.DEAD, error), reason=error, rendered=self._kept)

    def _expired(self, why: str) -> Finish:
        if self._dry is not None:
            attempt = self._attempt(AttemptOutcome.SKIPPED)
            return Finish(DeliveryState.SKIPPED, attempt, reason=f"{DRY_RUN}it would be {why} ({self._dry})")
        return Finish(DeliveryState.EXPIRED, self._attempt(AttemptOutcome.EXPIRED), reason=why)

    def _explained(self, error: BaseException) -> AttemptError:
        missing = why_missing(self._claim.event, self._delivery.account, self._fetched)
        return explained(error, self._phase, self._use, missing)

    def _failed(self, error: AttemptError) -> AttemptResult:
        retry, pause = self._use.retry, error.pause_seconds
        if error.is_final:
            return AttemptResult(self._dead(error.message), pause)
        if pause is not None and pause != UNTIL_RESUMED:
            pause = min(pause, retry.max_seconds)
        wait = next_wait(retry, self._delivery.attempts, self._context.rng, error.after_seconds)
        if wait is None:
            last = f"{error.message} (attempt {self._delivery.attempts} of {retry.attempts}, the last)"
            return AttemptResult(self._dead(last), pause, error.is_of_connection, error.is_unreached)
        attempt = self._attempt(AttemptOutcome.RETRY, error.message)
        reason = until_reached(self._use.connection) if error.is_unreached and self._use.connection else None
        next_at = self._context.now() + timedelta(seconds=wait)
        if (closed := until_open(self._use.later, next_at, self._left_seconds)) is not None:
            reason, wait = closed.reason, wait + closed.wait_seconds
        wait = min(wait, max(0.0, self._left_seconds))  # then it has expired, and what needs that to fail runs
        ending = Finish(DeliveryState.PENDING, attempt, reason, wait, rendered=self._kept)
        return AttemptResult(ending, pause, error.is_of_connection, error.is_unreached)

    def hidden(self, value: Any) -> Any:
        """The same without secrets, links that decide, and what accounts redact of its events and what was fetched."""
        known = self._hides
        if known is None or known[0] is not self._events or known[1] is not self._fetched:
            config = self._context.config
            redacted = hidden_in(self._events, config.redactions.paths, self._fetched)
            known = self._hides = (self._events, self._fetched, Maskers(config.masker, redacted))
        return without_links(known[2].mask(value))


def find(claim: Claim, context: AttemptContext) -> tuple[Route, ActionUse]:
    """The route and action of a claim in today's config. Ends the attempt where they are gone."""
    delivery = claim.delivery
    route = context.table.by_name.get(delivery.route)
    action = route.action(delivery.action) if route is not None else None
    if route is not None and action is not None and context.config.account(delivery.account) is not None:
        return route, action
    missing = (
        f"route {delivery.route}"
        if route is None
        else f"action {delivery.action} of route {delivery.route}"
        if action is None
        else f"account {delivery.account}"
    )
    begins = f"waits for {missing} since "
    since = context.now()
    if delivery.reason is not None and delivery.reason.startswith(begins):
        since = min(since, datetime.fromisoformat(delivery.reason.removeprefix(begins)))  # a clock may have been ahead
    if (context.now() - since).total_seconds() < UNKNOWN_SECONDS:  # another gateway, or the next reload, may know it
        reason = begins + since.isoformat(timespec="seconds")
        raise _Settled(Released(reason, UNKNOWN_WAIT_SECONDS))
    error = f"gateway.yaml has no {missing} any more; put it back and retry, or cancel"
    attempt = Attempt(delivery.attempts, context.now(), 0.0, AttemptOutcome.DEAD, error)
    raise _Settled(Finish(DeliveryState.DEAD, attempt, reason=error))


def scope_for(claim: Claim, context: AttemptContext, route: Route) -> dict[str, Any]:
    """What an action's templates see. Raises EnvelopeError."""
    delivery = claim.delivery
    account = context.config.account(delivery.account)
    assert account is not None  # `find` has seen it
    scope = scope_of(parse_json(claim.event.body), account, context.config.vars)
    needed = route.needed_by(delivery.action) if delivery.needs else frozenset()
    scope["steps"] = steps_of(claim, needed)
    scope["delivery"] = {"id": delivery.id, "attempt": delivery.attempts}
    if (approval := approval_scope(claim, context.config, route)) is not None:
        scope["approval"] = approval
    return scope
