"""When a connection is paused, probed and trusted again: decisions over records, without I/O.

A connection that fails so many times in a row is paused: its deliveries wait and are charged no attempt. When the pause
is over one of them probes: if it gets through the connection works again, else the next pause is longer. The pause ends
before that where the gateway itself sees that a destination which was away is there again (`recovery`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from gateway.core.model import AttemptOutcome, ConnectionChange, ConnectionState, ConnectionStatus, Finish
from gateway.core.quick import quick
from gateway.delivery.attempt import AttemptResult
from gateway.plugin import BreakerSettings

LONGEST_GROWTH = 32  # doublings; beyond them every sane pause has reached its maximum
DEFAULT = BreakerSettings()
NOT_REACHED = "not reached: "  # begins the reason of a pause whose last failure was so
ASKED = "the destination asked for it: "


class Health(StrEnum):
    """What one attempt tells of its connection."""

    WORKS = "works"
    FAILS = "fails"
    UNKNOWN = "unknown"  # the attempt ended for a reason of its own


@quick
@dataclass(frozen=True, slots=True)
class Evidence:
    """What came of one attempt, as far as its connection is concerned."""

    delivery_id: str
    health: Health
    pause_seconds: float | None = None  # asked for by the destination; infinite: until a person resumes
    error: str | None = None
    is_unreached: bool = False  # the destination was away, or took nothing from anybody


def evidence_of(delivery_id: str, ended: AttemptResult) -> Evidence:
    """What an attempt says of its connection.

    A success shows that the connection works. A failure that may pass speaks against it, the last attempt's too. What
    failed for good (a template, a 4xx, a recipient that does not exist) is the delivery's own fault, a fault in the
    action's code too, and an attempt that was skipped or cut off tells nothing.
    """
    attempt = ended.ending.attempt if isinstance(ended.ending, Finish) else None
    health = Health.UNKNOWN
    if ended.is_failure:
        health = Health.FAILS
    elif attempt is not None and attempt.outcome is AttemptOutcome.SUCCEEDED:
        health = Health.WORKS
    error = attempt.error if attempt is not None else None
    return Evidence(delivery_id, health, ended.pause_seconds, error, ended.is_unreached)


def weigh(
    status: ConnectionStatus, evidence: Evidence, settings: BreakerSettings | None, *, is_probe: bool
) -> ConnectionChange | None:
    """How an attempt's end changes its connection; None: not at all. `settings` None: `breaker: false`, which leaves
    only the pauses that a destination asks for. `is_probe`: the attempt was begun to probe this very status.
    """
    if evidence.pause_seconds is not None and evidence.pause_seconds > 0:
        return _asked(status, evidence, evidence.pause_seconds)
    if status.state is ConnectionState.PROBING and is_probe:
        if evidence.health is Health.WORKS:
            return ConnectionChange(ConnectionState.WORKING)
        if evidence.health is Health.FAILS:
            return _longer(status, evidence, settings or DEFAULT)
        return None
    if status.state is not ConnectionState.WORKING:
        return None  # begun before the pause: the probe will tell
    if evidence.health is Health.WORKS:
        return ConnectionChange(ConnectionState.WORKING) if status.failures or status.pauses else None
    if evidence.health is Health.UNKNOWN or settings is None:
        return None
    failures = status.failures + 1
    if failures < settings.failures:
        return ConnectionChange(
            ConnectionState.WORKING, failures=failures, pauses=status.pauses, failed_delivery=evidence.delivery_id
        )
    return _longer(status, evidence, settings)


def _asked(status: ConnectionStatus, evidence: Evidence, seconds: float) -> ConnectionChange | None:
    """The pause that a destination asks for, unless a longer one is on."""
    is_endless = math.isinf(seconds)
    if status.state is ConnectionState.PAUSED and (
        status.left_seconds is None or (not is_endless and status.left_seconds >= seconds)
    ):
        return None
    return ConnectionChange(
        ConnectionState.PAUSED,
        None if is_endless else seconds,
        f"{ASKED}{evidence.error}",
        failures=status.failures + 1,
        pauses=status.pauses,
        failed_delivery=evidence.delivery_id,
    )


def _longer(status: ConnectionStatus, evidence: Evidence, settings: BreakerSettings) -> ConnectionChange:
    """The first pause, or the one after a probe that failed. It grows unless the same delivery has failed again, whose
    own fault it may be: one bad delivery must not keep the others waiting ever longer.
    """
    pauses = status.pauses + (evidence.delivery_id != status.failed_delivery)
    seconds = settings.pause * 2.0 ** min(max(pauses, 1) - 1, LONGEST_GROWTH)
    failures = status.failures + 1
    return ConnectionChange(
        ConnectionState.PAUSED,
        min(seconds, settings.max),
        f"{NOT_REACHED if evidence.is_unreached else ''}{failures} failures in a row, the last: {evidence.error}",
        failures=failures,
        pauses=max(pauses, 1),
        failed_delivery=evidence.delivery_id,
    )


def probe(status: ConnectionStatus, within_seconds: float) -> ConnectionChange:
    """Makes a probe of a pause that is over. Where nothing is heard of it in time, another may try."""
    return ConnectionChange(
        ConnectionState.PROBING,
        within_seconds,
        status.reason,
        failures=status.failures,
        pauses=status.pauses,
        failed_delivery=status.failed_delivery,
    )


def waits_for_destination(status: ConnectionStatus) -> bool:
    """Whether a connection rests because it failed: not by a person's word, and not at its destination's."""
    if status.state is ConnectionState.WORKING or status.left_seconds is None:
        return False
    return not (status.reason or "").startswith(ASKED)


def was_unreached(status: ConnectionStatus) -> bool:
    """Whether the destination was away when it was last tried."""
    return (status.reason or "").startswith(NOT_REACHED)


def reached_again(status: ConnectionStatus, settings: BreakerSettings) -> ConnectionChange:
    """The end of a pause because the destination is there again. The next failure pauses it anew, and for longer, until
    a delivery has got through.
    """
    return ConnectionChange(ConnectionState.WORKING, failures=settings.failures - 1, pauses=status.pauses)


def paused_by_hand(status: ConnectionStatus, reason: str) -> ConnectionChange:
    """Until a person resumes it."""
    return ConnectionChange(ConnectionState.PAUSED, None, reason, failures=status.failures, pauses=status.pauses)


def resumed(status: ConnectionStatus) -> ConnectionChange | None:
    """At once, with a clean record; None where there is nothing to resume."""
    if status.state is ConnectionState.WORKING and not status.failures:
        return None
    return ConnectionChange(ConnectionState.WORKING)
