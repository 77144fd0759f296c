"""The nouns of the gateway as frozen records: accounts, events, routes, deliveries, attempts, and their states.

Times are aware UTC datetimes. Durations are float seconds and say so in their names.
"""

from gateway.core.model.accounts import EVERY_CONNECTED, OWN, STRIPE_KEEPS_SECONDS, Account, Reconcile
from gateway.core.model.audit import AuditEntry
from gateway.core.model.changes import DONE, ChangeResult, Done, Refusal
from gateway.core.model.connections import ConnectionChange, ConnectionState, ConnectionStatus, SharedRate
from gateway.core.model.deliveries import (
    DISABLED,
    FINAL_STATES,
    GATEWAY_DIED,
    LEASE_ENDED,
    TRANSITIONS,
    Attempt,
    AttemptOutcome,
    ChangedBy,
    Claim,
    Delivery,
    DeliveryFilter,
    DeliveryState,
    Finish,
    Gathered,
    Lane,
    Outcome,
    PlannedDelivery,
    Rekeyed,
    Released,
    Transition,
    is_by_death,
    sources_of,
)
from gateway.core.model.events import TEST_EVENT_ID, Event, EventFilter, EventSource, EventState, Fetched
from gateway.core.model.needs import DRY_RUN, NEEDED, End, Need, was_dry
from gateway.core.model.rejected import REJECTED_REASONS, RejectedBounds, RejectedFilter, RejectedRequest
from gateway.core.model.routes import ActionUse, Digest, Expression, Fetch, RetryPolicy, Route
from gateway.core.model.word import Word

__all__ = [
    "DISABLED",
    "DONE",
    "DRY_RUN",
    "EVERY_CONNECTED",
    "FINAL_STATES",
    "GATEWAY_DIED",
    "LEASE_ENDED",
    "NEEDED",
    "OWN",
    "REJECTED_REASONS",
    "STRIPE_KEEPS_SECONDS",
    "TEST_EVENT_ID",
    "TRANSITIONS",
    "Account",
    "ActionUse",
    "Attempt",
    "AttemptOutcome",
    "AuditEntry",
    "ChangeResult",
    "ChangedBy",
    "Claim",
    "ConnectionChange",
    "ConnectionState",
    "ConnectionStatus",
    "Delivery",
    "DeliveryFilter",
    "DeliveryState",
    "Digest",
    "Done",
    "End",
    "Event",
    "EventFilter",
    "EventSource",
    "EventState",
    "Expression",
    "Fetch",
    "Fetched",
    "Finish",
    "Gathered",
    "Lane",
    "Need",
    "Outcome",
    "PlannedDelivery",
    "Reconcile",
    "Refusal",
    "RejectedBounds",
    "RejectedFilter",
    "RejectedRequest",
    "Rekeyed",
    "Released",
    "RetryPolicy",
    "Route",
    "SharedRate",
    "Transition",
    "Word",
    "is_by_death",
    "sources_of",
    "was_dry",
]
