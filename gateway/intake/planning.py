"""What today's configuration makes of an event that came before: for replays, rejected requests and backfill."""

from __future__ import annotations

from collections.abc import Callable

from gateway.config.load import Config
from gateway.core.envelope import is_forgotten
from gateway.core.errors import UsageError
from gateway.core.internal_events import account_named
from gateway.core.model import Event, PlannedDelivery, RejectedRequest
from gateway.core.routing import RouteTable
from gateway.intake.webhook import Intake, recognise_rejected


def intake_of(config: Config, table: RouteTable | None = None) -> Intake:
    """What intake needs of a configuration, whose `table` is made where there is none yet."""
    table = RouteTable(config.routes) if table is None else table
    server = config.settings.server
    is_path_shared = len(config.accounts) <= server.shared_path_accounts
    return Intake(config.accounts, table, config.vars, server.max_body, config.sources, is_path_shared)


def replan(intake: Intake, event: Event) -> tuple[PlannedDelivery, ...]:
    """What today's config owes for a stored event. Raises UsageError."""
    if account_named(intake.accounts, event.account) is None:
        raise UsageError(f"gateway.yaml has no account {event.account} any more")
    if is_forgotten(event.body):
        raise UsageError(f"{event.id} was forgotten (`gateway forget`): there is nothing left to replay")
    return tuple(intake.route(event)[1])


Readmitted = tuple[Event, list[PlannedDelivery]]
"""What a rejected request brings into the inbox after all."""


def readmission(config: Config) -> Callable[[RejectedRequest], Readmitted | str]:
    """Judges rejected requests by today's config: what each brings into the inbox, or why it stays rejected."""
    intake = intake_of(config)

    def judge(request: RejectedRequest) -> Readmitted | str:
        event = recognise_rejected(intake, request)
        return event if isinstance(event, str) else intake.route(event)

    return judge
