"""PUBLIC: what plugin authors and our own tests use: signed requests, event factories, a way to run one action."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import structlog

from gateway.plugin import Action, Context


def signed_request(body: bytes, secret: str, *, timestamp: int | None = None) -> dict[str, str]:
    """The headers with which Stripe would post `body`. https://docs.stripe.com/webhooks/signature"""
    seconds = int(time.time()) if timestamp is None else timestamp
    found = hmac.new(secret.encode(), f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    return {"Content-Type": "application/json; charset=utf-8", "Stripe-Signature": f"t={seconds},v1={found}"}


_OBJECTS: dict[str, dict[str, Any]] = {
    "checkout.session": {
        "id": "cs_test_",
        "amount_subtotal": 4500,
        "amount_total": 4500,
        "currency": "eur",
        "customer": None,
        "customer_details": {"email": "jenny@example.com", "name": "Jenny Rosen", "phone": None},
        "metadata": {"order_id": "6735"},
        "mode": "payment",
        "payment_intent": "pi_3SbdZdaCd8jD5HB7",
        "payment_status": "paid",
        "status": "complete",
    },
    "customer": {"id": "cus_", "email": "jenny@example.com", "name": "Jenny Rosen", "metadata": {}},
    "customer.subscription": {
        "id": "sub_",
        "customer": "cus_TQITf9plmxy5yC",
        "status": "active",
        "cancel_at_period_end": False,
        "items": {
            "object": "list",
            "data": [{"id": "si_1", "quantity": 1, "price": {"id": "price_1", "unit_amount": 1900, "currency": "eur"}}],
            "has_more": False,
        },
    },
    "invoice": {
        "id": "in_",
        "customer": "cus_TQITf9plmxy5yC",
        "customer_email": "jenny@example.com",
        "amount_due": 1900,
        "amount_paid": 1900,
        "currency": "eur",
        "status": "paid",
    },
    "charge": {
        "id": "ch_",
        "amount": 4500,
        "amount_refunded": 0,
        "currency": "eur",
        "paid": True,
        "status": "succeeded",
    },
    "payment_intent": {"id": "pi_", "amount": 4500, "currency": "eur", "status": "succeeded"},
    "product": {"id": "prod_", "name": "T-shirt", "active": True, "metadata": {}},
}


def make_event(type: str = "checkout.session.completed", **overrides: Any) -> dict[str, Any]:
    """A snapshot event of that type with an id of its own. `object={...}` changes fields of its object; other names
    replace fields of the envelope.
    """
    kind = max((name for name in _OBJECTS if type.startswith(name)), key=len, default=type.rpartition(".")[0] or type)
    made: dict[str, Any] = {"object": kind, "created": int(time.time()), "livemode": False, **_OBJECTS.get(kind, {})}
    made["id"] = str(made.get("id", kind.replace(".", "_") + "_")) + secrets.token_hex(8)
    made.update(overrides.pop("object", {}))
    return {
        "id": "evt_1S" + secrets.token_hex(9),
        "object": "event",
        "api_version": "2026-10-28.endive",
        "created": int(time.time()),
        "data": {"object": made},
        "livemode": False,
        "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": None},
        "type": type,
        **overrides,
    }


async def run_action(
    action: Action[Any],
    settings: Mapping[str, Any],
    *,
    connection: Any = None,
    event: Mapping[str, Any] | None = None,
    delivery_id: str = "dlv_test",
    attempt: int = 1,
    base_folder: str = ".",
) -> Mapping[str, Any] | None:
    """Runs an action once, as the gateway would, and returns its output. Raises what the action raises."""
    envelope = event if event is not None else make_event()
    resource = await action.open(connection, base_folder)
    try:
        context = Context(
            delivery_id=delivery_id,
            attempt=attempt,
            account="acme",
            route="test",
            action=action.name,
            event=envelope,
            body=json.dumps(envelope).encode(),
            connection=connection,
            resource=resource,
            timeout_seconds=30.0,
            now=lambda: datetime.now(UTC),
            log=structlog.get_logger(),
            base_folder=base_folder,
        )
        return await action.run(action.Settings.model_validate(settings), context)
    finally:
        await action.close(resource)
