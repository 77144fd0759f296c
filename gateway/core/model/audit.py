"""What people did."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who asked for what to be changed: a replay, a retry, a cancellation."""

    at: datetime
    role: str  # viewer, operator, or cli for a command on the gateway's own machine
    who: str  # the name that the person gave, and where the request came from
    what: str  # such as delivery.retry
    target: str  # an id, or the filter of many
    count: int  # how many it was asked for
