"""What would happen to an event under a draft of routes: nothing is sent, nothing is stored, and it is bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import Field
from pydantic_core import to_jsonable_python

from gateway.admin.api.schemas import Model, Shown
from gateway.admin.problems import Refused
from gateway.config.diagnostics.problem import ConfigError
from gateway.config.draft import MOST_CHARACTERS, load_draft
from gateway.config.load import Config
from gateway.core.envelope import parse_event
from gateway.core.errors import EnvelopeError
from gateway.core.model import DeliveryState, Event

if TYPE_CHECKING:
    from gateway.simulation.explain import ExplainedAction, ExplainedRoute

MOST_EVENT_CHARACTERS = 1024 * 1024
FETCH_ASSUMED = "fetch asks Stripe when it runs; this is with the event's own object, and samples of what it lacks"
T = TypeVar("T")
_thread = ThreadPoolExecutor(1, thread_name_prefix="gateway-playground")  # one at a time: intake comes first


class TrialAsk(Model):
    """An event and a draft."""

    event: Annotated[str, Field(max_length=MOST_EVENT_CHARACTERS, description="The event's JSON.")]
    account: Annotated[str, Field(max_length=64, description="Empty: the first account.")] = ""
    draft: Annotated[
        str, Field(max_length=MOST_CHARACTERS, description="YAML with routes and vars; empty: those in force.")
    ] = ""


class TriedAction(Shown):
    """One action as it would run."""

    name: str
    uses: str
    needs: list[str]
    rendered: Any
    note: str | None
    error: str | None


class TriedRoute(Shown):
    """One route, and why it matches or not."""

    route: str
    matched: bool
    why: str
    actions: list[TriedAction]


class PlaygroundResult(Shown):
    """What would happen, or what is wrong with the draft or the event."""

    problems: list[str]
    routes: list[TriedRoute]


async def in_turn(function: Callable[..., T], *arguments: Any) -> T:
    """Does what takes a while beside the loop, one at a time."""
    return await asyncio.get_running_loop().run_in_executor(_thread, function, *arguments)


async def try_out(config: Config, ask: TrialAsk) -> PlaygroundResult:
    """Raises Refused for an unknown account."""
    account = ask.account or next(iter(config.accounts))
    if config.account(account) is None:
        raise Refused(422, "account: there is no such account")
    return await in_turn(_try_out, config, ask, account)


def _try_out(config: Config, ask: TrialAsk, account: str) -> PlaygroundResult:
    try:
        event = parse_event(ask.event.encode("utf-8", "replace"), account, datetime.now(UTC))
        drafted = load_draft(config, ask.draft) if ask.draft.strip() else config
        return PlaygroundResult(problems=[], routes=_explained(drafted, event))
    except EnvelopeError as error:
        return PlaygroundResult(problems=[f"the event: {error}"], routes=[])
    except ConfigError as error:
        return PlaygroundResult(
            problems=[str(problem) for problem in error.problems if problem.severity == "error"], routes=[]
        )


def _explained(config: Config, event: Event, shown: Event | None = None) -> list[TriedRoute]:
    """Raises EnvelopeError."""
    from gateway.simulation.explain import explain

    return [_tried(route) for route in asyncio.run(explain(config, event, shown=shown))]


def _tried(route: ExplainedRoute) -> TriedRoute:
    """An explanation, for the answer."""
    actions = [_tried_action(action, route.is_fetch_assumed) for action in route.actions]
    values = f" ({'; '.join(route.decided_by)})" if route.decided_by else ""
    return TriedRoute(route=route.route, matched=route.matched, why=route.why + values, actions=actions)


def _tried_action(action: ExplainedAction, is_fetch_assumed: bool) -> TriedAction:
    is_dead = action.state == DeliveryState.DEAD
    notes = [] if action.waits is None else [action.waits]
    notes += [] if is_dead or action.reason is None else [action.reason]
    notes += [FETCH_ASSUMED] if is_fetch_assumed else []
    return TriedAction(
        name=action.name,
        uses=action.uses,
        needs=list(action.needs),
        rendered=to_jsonable_python(action.rendered, fallback=str),
        note="; ".join(notes) or None,
        error=action.reason if is_dead else None,
    )


async def explained(config: Config, event: Event, shown: Event) -> list[TriedRoute]:
    """What today's configuration makes of a stored event, told as people may see it; nothing where its account is gone
    or it is not JSON.
    """
    if config.account(event.account) is None:
        return []

    def run() -> list[TriedRoute]:
        try:
            return _explained(config, event, shown)
        except EnvelopeError:
            return []

    return await in_turn(run)
