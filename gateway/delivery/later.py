"""An attempt that comes before its time: until when its delivery waits."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from gateway.core.later import closed_for, plan_later, wait_reason
from gateway.core.model import WAITS, ActionUse, Claim, Later, PlannedDelivery, Released, Route
from gateway.delivery.attempt_errors import AttemptError


def until_open(later: Later | None, moment: datetime, left_seconds: float) -> Released | None:
    """For how long it waits for its hours from a moment on, or until it expires; None where they are open."""
    closed = None if later is None else closed_for(later, moment)
    return None if closed is None else Released(closed[0], min(closed[1], max(0.0, left_seconds)))


def planned_late(
    claim: Claim, route: Route, use: ActionUse, now: datetime, scope: Mapping[str, Any]
) -> Released | None:
    """How long it waits for its time, and which events cancel it, of a delivery of which that was not told when its
    event was routed; None where its time has come. Raises AttemptError.
    """
    delivery = claim.delivery
    if delivery.word.is_wanted_now or (delivery.reason or "").startswith(WAITS):  # what was planned keeps its time
        return None
    planned = plan_later(PlannedDelivery(route.name, use.name), route, use, claim.event, now, lambda: scope)
    if planned.error is not None:
        raise AttemptError(planned.error, is_final=True)
    if planned.waits_until is None:
        is_known = planned.until_key is None or delivery.until_key is not None
        return None if is_known else Released(until_key=planned.until_key)  # what has come since then cancels it
    wait = (planned.waits_until - now).total_seconds()
    return Released(wait_reason(planned.waits_until, planned.why_later), wait, planned.until_key)
