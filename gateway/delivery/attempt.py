"""One attempt: from a claim to how it ended. The only place that catches whatever an action raises."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from random import Random
from typing import Any

from structlog.typing import FilteringBoundLogger

from gateway.config.load import Config
from gateway.core.backoff import next_wait
from gateway.core.envelope import is_forgotten, parse_json
from gateway.core.errors import (
    EnvelopeError,
    StripeApiError,
    StripeKeyRefused,
    StripeUnavailable,
    TemplateError,
    place_of,
)
from gateway.core.masking import Masker, Maskers
from gateway.core.model import (
    ActionUse,
    Attempt,
    AttemptOutcome,
    Claim,
    DeliveryState,
    Finish,
    Outcome,
    Rekeyed,
    Released,
    Route,
)
from gateway.core.routing import RouteTable, evaluate_condition, keys_for, scope_of, with_fetched
from gateway.core.tracing import AttemptTrace
from gateway.delivery.digest import Gatherer, NobodyElse, digest_body, digest_scope, gathered_for
from gateway.delivery.dry_run import dry_finish, steps_of, why_dry
from gateway.delivery.fetch import Fetcher
from gateway.delivery.resources import Resources, connection_of
from gateway.plugin import UNTIL_RESUMED, Context, Reject, Retry
from gateway.privacy.redaction import RedactedPath, masker_for

UNKNOWN_SECONDS = 600.0  # contract, section 8: how long no gateway may know a route before its deliveries die
UNKNOWN_WAIT_SECONDS = 15.0
_ERROR_CHARACTERS = 2000
_NOT_TRACED: contextlib.nullcontext[None] = contextlib.nullcontext()


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """What became of a claim, and what the connection should do about it."""

    ending: Outcome
    pause_seconds: float | None = None  # asked for by the destination; infinite: until a person resumes
    is_failure: bool = False  # of the connection: a Retry that is, a timeout or a network error of the action


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
    gatherer: Gatherer = field(default_factory=NobodyElse)


class _Done(Exception):  # noqa: N818
    """Ends an attempt before the action runs."""

    def __init__(self, ending: Outcome) -> None:
        super().__init__()
        self.ending = ending


async def run_attempt(claim: Claim, bench: AttemptContext) -> AttemptResult:
    """Runs a claimed delivery once and says how it ended, in words without secrets (a plugin's error may hold some) and
    without what its account redacts. Raises nothing but CancelledError.
    """
    brought: list[Mapping[str, Any]] = []
    ended = await _run(claim, bench, brought)
    ending = ended.ending
    if not isinstance(ending, Finish) or (ending.reason is None and ending.attempt.error is None):
        return ended
    account = bench.config.accounts.get(claim.delivery.account)
    fetched = brought[0] if brought else None
    masker = Maskers(bench.config.masker, _hidden(claim, fetched, account.redact if account is not None else ()))
    attempt = replace(ending.attempt, error=masker.mask(ending.attempt.error))
    return replace(ended, ending=replace(ending, reason=masker.mask(ending.reason), attempt=attempt))


def for_keeping(result: AttemptResult, config: Config) -> AttemptResult:
    """The same as it may be stored: with a reference in the place of each secret that was rendered or came back. Every
    attempt renders anew.
    """
    ending = result.ending
    if not isinstance(ending, Finish):
        return result
    rendered, output = config.references.mask(ending.rendered), config.references.mask(ending.output)
    return replace(result, ending=replace(ending, rendered=rendered, output=output))


def _hidden(claim: Claim, fetched: Mapping[str, Any] | None, paths: Sequence[RedactedPath]) -> Masker:
    """Hides what the account redacts."""
    try:
        return masker_for(parse_json(claim.event.body), fetched, paths) if paths else Masker(())
    except EnvelopeError:
        return Masker(())


async def _run(claim: Claim, bench: AttemptContext, brought: list[Mapping[str, Any]]) -> AttemptResult:
    """The attempt. What `fetch` brings is put into `brought`."""
    started_at, start = bench.now(), time.monotonic()
    delivery = claim.delivery

    def attempt(outcome: AttemptOutcome, error: str | None = None) -> Attempt:
        text = error[:_ERROR_CHARACTERS] if error else None
        return Attempt(delivery.attempts, started_at, time.monotonic() - start, outcome, text)

    def failed_for_good(error: str) -> Finish:
        if dry is not None:
            return dry_finish(dry, attempt(AttemptOutcome.SKIPPED), kept, steps, error)
        return Finish(DeliveryState.DEAD, attempt(AttemptOutcome.DEAD, error), reason=error, rendered=kept)

    dry: str | None = None
    steps: Mapping[str, Any] = {}
    kept: Any = None
    action: ActionUse | None = None
    pause: float | None = None
    is_failure = is_at_action = False
    is_asking = False
    try:
        route, action = find(claim, bench)
        if is_forgotten(claim.event.body):
            return AttemptResult(
                failed_for_good("the event was forgotten (`gateway forget`): what it said is gone; cancel this")
            )
        dry = why_dry(claim, route, action)
        scope = scope_for(claim, bench, route)
        steps = scope["steps"]
        if not delivery.is_judged:
            raise _Done(_judge_late(claim, route, action, scope, attempt))
        body = claim.event.body
        if route.digest is not None:
            gathered = await gathered_for(claim, route.digest, bench.gatherer)
            if isinstance(gathered, Released):
                raise _Done(gathered)
            scope, body = {**scope, **digest_scope(gathered)}, digest_body(gathered)
        async with bench.trace or _NOT_TRACED, asyncio.timeout(action.timeout_seconds):
            if route.fetch is not None:
                is_asking = True
                account = bench.config.accounts[delivery.account]
                brought.append(await bench.fetcher.fetch(claim, scope["event"], account, route.fetch))
                scope = with_fetched(scope, brought[0])
                is_asking = False
            if action.condition is not None and not action.condition.evaluate(scope):
                reason = f"its `if` is false: {action.condition.source}"
                raise _Done(Finish(DeliveryState.SKIPPED, attempt(AttemptOutcome.SKIPPED), reason=reason))
            rendered = action.settings.render(scope)
            kept = rendered.kept
            plugin = bench.config.actions[action.uses]
            connection = connection_of(bench.config.connections, action.connection)
            context = Context(
                delivery_id=delivery.id,
                attempt=delivery.attempts,
                account=delivery.account,
                route=delivery.route,
                action=delivery.action,
                event=scope["event"],
                body=body,
                connection=connection,
                resource=None,
                timeout_seconds=action.timeout_seconds,
                now=bench.now,
                log=bench.log.bind(delivery_id=delivery.id, event_id=delivery.event_id, action=delivery.action),
                base_folder=str(bench.config.folder),
                trace_headers=bench.trace.headers if bench.trace is not None else {},
                attempts_left=max(0, action.retry.attempts - delivery.attempts),
            )
            if dry is not None:
                plugin.rehearse(rendered.settings, context)
                return AttemptResult(dry_finish(dry, attempt(AttemptOutcome.SKIPPED), kept, steps, None))
            is_at_action = True
            async with bench.resources.use(plugin, action.connection, connection, context.base_folder) as resource:
                output = await plugin.run(rendered.settings, replace(context, resource=resource))
        return AttemptResult(
            Finish(
                DeliveryState.SUCCEEDED,
                attempt(AttemptOutcome.SUCCEEDED),
                rendered=kept,
                output=dict(output) if output is not None else None,
            )
        )
    except _Done as done:
        return AttemptResult(done.ending)
    except (TemplateError, EnvelopeError) as error:
        return AttemptResult(failed_for_good(str(error)))
    except Reject as error:
        return AttemptResult(failed_for_good(error.message), error.pause_seconds)
    except StripeUnavailable as error:
        message, after = str(error), error.after_seconds
    except StripeKeyRefused as error:
        message, after = str(error), None
    except StripeApiError as error:
        return AttemptResult(failed_for_good(str(error)))
    except Retry as error:
        message, after, pause = error.message, error.after_seconds, error.pause_seconds
        is_failure = is_at_action and error.of_connection
    except TimeoutError:
        seconds = action.timeout_seconds if action else 0
        what = "Stripe did not bring the object; the action has not begun"
        what = what if is_asking else "whether it took effect is not known"
        message, after = f"no end after {seconds:g} s (its timeout); {what}", None
        is_failure = is_at_action
    except OSError as error:
        message, after, is_failure = f"{type(error).__name__}: {error}", None, is_at_action
    except Exception as error:
        # A fault of the action itself. Its place helps its author; its values could hold secrets.
        uses = action.uses if action else "?"
        message, after = f"the action {uses} failed at {place_of(error)}: {type(error).__name__}: {error}", None
    assert action is not None
    if pause is not None and pause != UNTIL_RESUMED:
        pause = min(pause, action.retry.max_seconds)
    wait = next_wait(action.retry, delivery.attempts, bench.rng, after)
    if wait is None:
        last = f"{message} (attempt {delivery.attempts} of {action.retry.attempts}, the last)"
        return AttemptResult(failed_for_good(last), pause, is_failure)
    failed = attempt(AttemptOutcome.RETRY, message)
    return AttemptResult(Finish(DeliveryState.PENDING, failed, wait_seconds=wait, rendered=kept), pause, is_failure)


def find(claim: Claim, bench: AttemptContext) -> tuple[Route, ActionUse]:
    """The route and action of a claim in today's config. Ends the attempt where they are gone."""
    delivery = claim.delivery
    route = bench.table.by_name.get(delivery.route)
    action = route.action(delivery.action) if route is not None else None
    if route is not None and action is not None and bench.config.account(delivery.account) is not None:
        return route, action
    missing = (
        f"route {delivery.route}"
        if route is None
        else f"action {delivery.action} of route {delivery.route}"
        if action is None
        else f"account {delivery.account}"
    )
    begins = f"waits for {missing} since "
    since = bench.now()
    if delivery.reason is not None and delivery.reason.startswith(begins):
        since = datetime.fromisoformat(delivery.reason.removeprefix(begins))
    if (bench.now() - since).total_seconds() < UNKNOWN_SECONDS:  # another gateway, or the next reload, may know it
        reason = begins + since.isoformat(timespec="seconds")
        raise _Done(Released(reason, UNKNOWN_WAIT_SECONDS))
    error = f"gateway.yaml has no {missing} any more; put it back and retry, or cancel"
    attempt = Attempt(delivery.attempts, bench.now(), 0.0, AttemptOutcome.DEAD, error)
    raise _Done(Finish(DeliveryState.DEAD, attempt, reason=error))


def scope_for(claim: Claim, bench: AttemptContext, route: Route) -> dict[str, Any]:
    """What an action's templates see. Raises EnvelopeError."""
    delivery = claim.delivery
    account = bench.config.account(delivery.account)
    assert account is not None  # `find` has seen it
    scope = scope_of(parse_json(claim.event.body), account, bench.config.vars)
    needed = route.needed_by(delivery.action) if delivery.needs else frozenset()
    scope["steps"] = steps_of(claim, needed)
    scope["delivery"] = {"id": delivery.id, "attempt": delivery.attempts}
    return scope


def _judge_late(
    claim: Claim,
    route: Route,
    action: ActionUse,
    scope: Mapping[str, Any],
    attempt: Callable[[AttemptOutcome], Attempt],
) -> Outcome:
    """Judges the route's `if` where routing could not, from the event alone."""
    values = evaluate_condition(route, claim.delivery.account, scope)
    if values is None:
        reason = "the route's `if` is false"
        return Finish(DeliveryState.SKIPPED, attempt(AttemptOutcome.SKIPPED), reason=reason)
    return Rekeyed(*keys_for(route, action.name, claim.delivery.account, values))
