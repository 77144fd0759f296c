"""What happened -> an own event: plain functions over records, without I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta

from gateway.config.diagnostics.problem import counted
from gateway.config.runtime import Reload, ReloadOutcome
from gateway.core.internal_events import (
    ACCOUNT_SILENT,
    AUDIT_DIFFERING,
    BACKLOG_GROWING,
    CONNECTION_PAUSED,
    CONNECTION_RECOVERED,
    DELIVERY_DEAD,
    OWN_ACCOUNT,
    RELOAD_FAILED,
    SIGNATURE_FAILING,
    OwnEvent,
    is_own,
    unix,
)
from gateway.core.model import ConnectionState, Delivery
from gateway.delivery.connection_health import ConnectionChanged
from gateway.simulation.auditor import AuditEnded

MOST_PROBLEMS = 20
LONGEST_SUMMARY = 500


def delivery_dead(
    delivery: Delivery,
    reason: str,
    connection: str | None,
    connected_account: str | None,
    at: datetime,
    owner: str | None = None,
) -> OwnEvent | None:
    """A delivery that will not be retried by itself; None for one of an own event: an alert that cannot be brought
    raises no further one.
    """
    if is_own(delivery.event_type):
        return None
    tried = f"after {delivery.attempts} attempt{'' if delivery.attempts == 1 else 's'}"
    tried = tried if delivery.attempts else "before its first attempt"
    whose = f"{delivery.route}.{delivery.action}" + (f" (owner: {owner})" if owner else "")
    return OwnEvent(
        DELIVERY_DEAD,
        delivery.account,
        (delivery.id, at.timestamp()),
        at,
        {
            "summary": _short(f"Delivery {delivery.id} of {whose} is dead {tried}: {reason}"),
            "id": delivery.id,
            "account": delivery.account,
            "connected_account": connected_account,
            "event": delivery.event_id,
            "event_type": delivery.event_type,
            "route": delivery.route,
            "action": delivery.action,
            "owner": owner,
            "connection": connection,
            "attempts": delivery.attempts,
            "reason": reason,
            "died_at": unix(at),
        },
    )


def connection_changed(change: ConnectionChanged, at: datetime) -> OwnEvent | None:
    """A pause or a recovery. Every gateway that sees it makes the same event of it; None for what another gateway did
    and is past already: it has told it.
    """
    after = change.after
    since = after.since or at
    if after.state is ConnectionState.WORKING:
        reason = change.before.reason
        return OwnEvent(
            CONNECTION_RECOVERED,
            OWN_ACCOUNT,
            (after.name, since.timestamp()),
            at,
            {
                "summary": f"Connection {after.name} works again",
                "connection": after.name,
                "reason": reason,
                "recovered_at": unix(since),
            },
        )
    if after.state is not ConnectionState.PAUSED:
        return None
    seconds = after.left_seconds
    how_long = "until a person resumes it" if seconds is None else f"for {round(seconds)} s"
    return OwnEvent(
        CONNECTION_PAUSED,
        OWN_ACCOUNT,
        (after.name, since.timestamp()),
        at,
        {
            "summary": _short(f"Connection {after.name} is paused {how_long}: {after.reason}"),
            "connection": after.name,
            "reason": after.reason,
            "failures": after.failures,
            "paused_at": unix(since),
            "paused_until": None if seconds is None else unix(at + timedelta(seconds=seconds)),
        },
    )


def reload_failed(reload: Reload, repeat_seconds: float) -> OwnEvent | None:
    """A reload that was refused; None for one that was not. The same problems are the same event for a while."""
    if reload.outcome is not ReloadOutcome.REFUSED:
        return None
    errors = [problem for problem in reload.problems if problem.severity == "error"]
    texts = "\n".join(str(problem) for problem in errors)
    summary = f"gateway.yaml does not load ({counted(reload.problems)}); the configuration before stays in force"
    return OwnEvent(
        RELOAD_FAILED,
        OWN_ACCOUNT,
        (reload.version, hashlib.sha256(texts.encode()).hexdigest()[:16]),
        reload.at,
        {
            "summary": summary,
            "asked_by": reload.asked_by,
            "version": reload.version,
            "count": len(errors),
            "problems": [
                {"where": str(problem.where), "message": problem.message} for problem in errors[:MOST_PROBLEMS]
            ],
            "failed_at": unix(reload.at),
        },
        repeat_seconds,
    )


def account_silent(
    account: str, last_at: datetime | None, silent_seconds: float, after_seconds: float, at: datetime, repeat: float
) -> OwnEvent:
    """An account without an event for longer than it should be. `last_at` None: none ever came."""
    what = "No event of account" if last_at is not None else "No event ever of account"
    return OwnEvent(
        ACCOUNT_SILENT,
        account,
        (),
        at,
        {
            "summary": f"{what} {account} for {_in_words(silent_seconds)}",
            "account": account,
            "last_event_at": None if last_at is None else unix(last_at),
            "silent_seconds": round(silent_seconds),
            "silent_after_seconds": round(after_seconds),
        },
        repeat,
    )


def signature_failing(
    account: str | None, reasons: Mapping[str, int], within_seconds: float, at: datetime, repeat: float
) -> OwnEvent:
    """Requests in a row that nobody had signed with the right secret."""
    failures = sum(reasons.values())
    whom = "posted to /webhooks" if account is None else f"for account {account}"
    return OwnEvent(
        SIGNATURE_FAILING,
        account or OWN_ACCOUNT,
        (),
        at,
        {
            "summary": f"{failures} request{'' if failures == 1 else 's'} in a row {whom} had no good signature",
            "account": account,
            "failures": failures,
            "within_seconds": round(within_seconds),
            "reasons": dict(sorted(reasons.items())),
            "last_at": unix(at),
        },
        repeat,
    )


def backlog_growing(
    connection: str, waiting: int, oldest_seconds: float, after_seconds: float, at: datetime, repeat: float
) -> OwnEvent:
    """A connection whose oldest delivery has been due for too long."""
    return OwnEvent(
        BACKLOG_GROWING,
        OWN_ACCOUNT,
        (connection,),
        at,
        {
            "summary": f"Deliveries on connection {connection} wait: the oldest has been due for "
            f"{_in_words(oldest_seconds)}",
            "connection": connection,
            "waiting": waiting,
            "oldest_seconds": round(oldest_seconds),
            "after_seconds": round(after_seconds),
        },
        repeat,
    )


def audit_differing(ended: AuditEnded) -> OwnEvent | None:
    """An audit that found rows which are not as Stripe has them; None for one that found none."""
    count = ended.differences.total()
    if not count:
        return None
    reasons = ", ".join(f"{number} {why}" for why, number in ended.differences.items() if number)
    what = f"{count} of {ended.rows} rows that route {ended.route.name} keeps"
    return OwnEvent(
        AUDIT_DIFFERING,
        ended.account,
        (ended.route.name, ended.at.timestamp()),
        ended.at,
        {
            "summary": f"{what} {'is' if count == 1 else 'are'} not as Stripe has {'it' if count == 1 else 'them'}: "
            f"{reasons}",
            "account": ended.account,
            "route": ended.route.name,
            "owner": ended.route.owner or None,
            "rows": ended.rows,
            "differences": count,
            "reasons": dict(sorted(ended.differences.items())),
            "objects": list(ended.named),
            "audited_at": unix(ended.at),
        },
    )


def _in_words(seconds: float) -> str:
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * length:
            return f"{int(seconds // length)} {unit}s"
    return f"{round(seconds)} s"


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_SUMMARY else text[: LONGEST_SUMMARY - 3] + "..."
