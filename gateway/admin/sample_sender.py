"""Events to send from the console of `gateway dev`: the types that routes want, in their scenarios."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from gateway.admin.operations import Operations
from gateway.admin.pausing import Actor
from gateway.admin.problems import Refused
from gateway.config.load import Config
from gateway.core.envelope import parse_event
from gateway.core.internal_events import is_own
from gateway.core.model import Event, EventSource
from gateway.core.routing import names
from gateway.intake.planning import intake_of

MOST_TYPES = 12
MOST_SCENARIOS = 16  # of one type, each a button; a payment method has one for each of its kinds


@dataclass(frozen=True, slots=True)
class Sendable:
    """A type of event, and the scenarios that a sample of it can be of."""

    type: str
    scenarios: Sequence[str]


def sendable(config: Config) -> list[Sendable]:
    """The types that routes name, those of globs included, in the order of the routes; without the gateway's own."""
    from gateway.stripe.event_types import every_type, is_thin
    from gateway.testing import scenarios

    patterns = dict.fromkeys(pattern for route in config.routes for pattern in route.events)
    known = [event_type for event_type in every_type() if not is_own(event_type) and not is_thin(event_type)]
    types = dict.fromkeys(
        known_type for pattern in patterns for known_type in sorted(known) if names(pattern, known_type)
    )
    return [
        Sendable(event_type, list(scenarios(event_type))[:MOST_SCENARIOS]) for event_type in list(types)[:MOST_TYPES]
    ]


async def send_sample(operations: Operations, actor: Actor, event_type: str, scenario: str, account: str) -> Event:
    """Takes a sample in as if it had been posted and verified; the event. Raises Refused."""
    from gateway.stripe.event_types import every_type, is_thin
    from gateway.testing import UnknownScenarioError, make_event

    config, table = operations.in_force()
    account = account or next(iter(config.accounts))
    if account not in config.accounts:
        raise Refused(422, "account: there is no such account")
    if event_type not in every_type() or is_thin(event_type):
        raise Refused(422, "type: there is no sample of such events")
    try:
        made = make_event(event_type, scenario=scenario or None)
    except UnknownScenarioError as error:
        raise Refused(422, str(error)) from None
    body = json.dumps(made).encode()
    event = replace(parse_event(body, account, datetime.now(UTC)), source=EventSource.SEND)
    await operations.note(actor, "event.send", f"{account}/{event.id} {event_type}" + (scenario and f" as {scenario}"))
    event, planned = intake_of(config, table).route(event)
    await operations.store.add(event, planned)
    return event
