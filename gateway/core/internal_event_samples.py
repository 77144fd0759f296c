"""One plausible object for each type of own event: what `gateway send` posts and cases begin with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.core.internal_events import (
    ACCOUNT_SILENT,
    AUDIT_DIFFERING,
    BACKLOG_GROWING,
    CONNECTION_PAUSED,
    CONNECTION_RECOVERED,
    DELIVERY_DEAD,
    RELOAD_FAILED,
    SIGNATURE_FAILING,
)

_AT = 1_795_489_200  # 24 November 2026, 03:00 UTC
_DOWN = "5 failures in a row, the last: HTTP 503"

SAMPLES: Mapping[str, Mapping[str, Any]] = {
    DELIVERY_DEAD: {
        "summary": "Delivery dlv_0198a2b4c6d8e0f1 of orders.ship is dead after 20 attempts: HTTP 500",
        "id": "dlv_0198a2b4c6d8e0f1",
        "account": "acme",
        "connected_account": None,
        "event": "evt_1SbdZd2eZvKYlo2CjH7pQ4xN",
        "event_type": "checkout.session.completed",
        "route": "orders",
        "action": "ship",
        "connection": "warehouse",
        "owner": "fulfilment@shop.example",
        "attempts": 20,
        "reason": "HTTP 500 (attempt 20 of 20, the last)",
        "died_at": _AT,
    },
    CONNECTION_PAUSED: {
        "summary": f"Connection warehouse is paused for 30 s: {_DOWN}",
        "connection": "warehouse",
        "reason": _DOWN,
        "failures": 5,
        "paused_at": _AT,
        "paused_until": _AT + 30,
    },
    CONNECTION_RECOVERED: {
        "summary": "Connection warehouse works again",
        "connection": "warehouse",
        "reason": _DOWN,
        "recovered_at": _AT,
    },
    RELOAD_FAILED: {
        "summary": "gateway.yaml does not load (1 error); the configuration before stays in force",
        "asked_by": "SIGHUP",
        "version": "4f1c09a2b7de",
        "count": 1,
        "problems": [{"where": "gateway.yaml:12:5", "message": "unknown key evnets"}],
        "failed_at": _AT,
    },
    ACCOUNT_SILENT: {
        "summary": "No event of account acme for 61 minutes",
        "account": "acme",
        "last_event_at": _AT - 3660,
        "silent_seconds": 3660,
        "silent_after_seconds": 3600,
    },
    SIGNATURE_FAILING: {
        "summary": "5 requests in a row for account acme had no good signature",
        "account": "acme",
        "failures": 5,
        "within_seconds": 600,
        "reasons": {"no_match": 5},
        "last_at": _AT,
    },
    AUDIT_DIFFERING: {
        "summary": "3 of 250 rows that route customers keeps are not as Stripe has them: 2 missed, 1 edited",
        "account": "acme",
        "route": "customers",
        "owner": "crm@shop.example",
        "rows": 250,
        "differences": 3,
        "reasons": {"edited": 1, "late": 0, "missed": 2},
        "objects": ["cus_TqB1x2Yz3AbC4d", "cus_TqB5e6Fg7HiJ8k", "cus_TqB9l0Mn1OpQ2r"],
        "audited_at": _AT,
    },
    BACKLOG_GROWING: {
        "summary": "Deliveries on connection warehouse wait: the oldest has been due for 16 minutes",
        "connection": "warehouse",
        "waiting": 240,
        "oldest_seconds": 960,
        "after_seconds": 900,
    },
}
