"""Deliveries that need a yes: whether one goes on, and the link by which somebody says so."""

from __future__ import annotations

from datetime import datetime, timedelta

from gateway.config.load import Config
from gateway.core.approval_link import EXAMPLE, PATH, Asked, link_token
from gateway.core.model import (
    ActionUse,
    Attempt,
    Claim,
    DeliveryState,
    Finish,
    HeldForYes,
    Route,
)

SIMULATED_RUN = "simulation"


def without_a_yes(claim: Claim, use: ActionUse, attempt: Attempt, now: datetime) -> HeldForYes | Finish | None:
    """What becomes of a claim that has no yes; None: it goes on."""
    rule, word = use.approve, claim.delivery.word
    if rule is None or word.approved_by is not None:
        return None
    who, latest = " or ".join(rule.by), now + timedelta(seconds=rule.within_seconds)
    until = min(word.until or latest, latest)  # a clock may have been ahead when it was first held
    if word.until is None or word.until > now:
        then = "runs" if rule.runs_otherwise else "is cancelled"
        time = until.isoformat(sep=" ", timespec="minutes").removesuffix("+00:00")
        return HeldForYes(rule.within_seconds, f"waits for a yes by {who} until {time} UTC; then it {then}")
    if rule.runs_otherwise:
        return None
    return Finish(DeliveryState.CANCELLED, attempt, reason=f"nobody of {who} said yes in time")


def approval_scope(claim: Claim, config: Config, route: Route) -> dict[str, object] | None:
    """What templates see as `approval` in a route with one action that asks; None elsewhere."""
    asking = [action.name for action in route.actions if action.approve is not None]
    admin = config.settings.admin
    if len(asking) != 1 or admin.url is None:
        return None
    delivery = claim.delivery
    token = EXAMPLE
    if delivery.run_id != SIMULATED_RUN:
        asked = Asked(delivery.event_id, delivery.run_id, asking[0])
        token = link_token(admin.token.get_secret_value(), asked)
    return {"url": f"{admin.url.rstrip('/')}{PATH}{token}", "action": asking[0]}
