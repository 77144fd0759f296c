"""When a delivery is too old to be sent."""

from __future__ import annotations

import math
from datetime import datetime

from gateway.core.model import ActionUse, Claim
from gateway.plugin.types import duration_text

EXPIRED = "expired: "
_SAME_COMMIT_SECONDS = 1.0  # an event and what it owes get one time; what a person replays comes later


def seconds_left(claim: Claim, use: ActionUse, now: datetime) -> float:
    """How long a claim may still be sent. Negative: it is too old; infinite: it never will be.

    An event ages from when Stripe made it, a replay from when somebody asked for it. What had expired and was retried
    by a person is wanted however late.
    """
    if use.expires_seconds is None or claim.delivery.word.is_wanted_late:
        return math.inf
    event, made_at = claim.event, claim.delivery.created_at
    is_replay = (made_at - event.received_at).total_seconds() > _SAME_COMMIT_SECONDS
    born = made_at if is_replay else min(event.created_at or event.received_at, event.received_at)
    return use.expires_seconds - (now - born).total_seconds()


def why_expired(left_seconds: float, use: ActionUse) -> str | None:
    """Why what has so long left is not sent, or None."""
    if left_seconds > 0 or use.expires_seconds is None:
        return None
    old = duration_text(float(round(use.expires_seconds - left_seconds)))
    return f"{EXPIRED}{old} old, and `expires` is {duration_text(use.expires_seconds)}; a retry sends it all the same"
