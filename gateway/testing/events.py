"""Events as Stripe makes them, signed requests, and a clock that tests move."""

from __future__ import annotations

import copy
import hashlib
import hmac
import secrets
import string
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from gateway.core.internal_event_samples import SAMPLES
from gateway.core.internal_events import envelope_of, is_own


def signed_request(body: bytes, secret: str, *, timestamp: int | None = None) -> dict[str, str]:
    """The headers with which Stripe would post `body`. https://docs.stripe.com/webhooks/signature"""
    seconds = int(time.time()) if timestamp is None else timestamp
    digest = hmac.new(secret.encode(), f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    return {"Content-Type": "application/json; charset=utf-8", "Stripe-Signature": f"t={seconds},v1={digest}"}


class FakeClock:
    """A clock that tests move by hand: call it for the time, an aware UTC datetime."""

    def __init__(self, start: datetime = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)) -> None:
        self.time = start

    def __call__(self) -> datetime:
        return self.time

    def forward(self, seconds: float) -> None:
        """Moves it."""
        self.time += timedelta(seconds=seconds)


_PRICE = {
    "id": "price_1SbdZdaCd8jD5HB7",
    "object": "price",
    "unit_amount": 1900,
    "currency": "eur",
    "type": "recurring",
}
_OBJECTS: dict[str, dict[str, Any]] = {
    "checkout.session": {
        "id": "cs_test_",
        "amount_subtotal": 4500,
        "amount_total": 4500,
        "client_reference_id": None,
        "currency": "eur",
        "customer": None,
        "customer_details": {
            "address": {"city": "Berlin", "country": "DE", "line1": "Torstr. 1", "postal_code": "10119", "state": None},
            "email": "jenny@example.com",
            "name": "Jenny Rosen",
            "phone": None,
        },
        "metadata": {"order_id": "6735"},
        "mode": "payment",
        "payment_intent": "pi_3SbdZdaCd8jD5HB7",
        "payment_status": "paid",
        "status": "complete",
        "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
    },
    "customer": {
        "id": "cus_",
        "currency": "eur",
        "email": "jenny@example.com",
        "metadata": {},
        "name": "Jenny Rosen",
        "phone": None,
    },
    "customer.subscription": {
        "id": "sub_",
        "cancel_at": None,
        "cancel_at_period_end": False,
        "canceled_at": None,
        "currency": "eur",
        "customer": "cus_TQITf9plmxy5yC",
        "items": {
            "object": "list",
            "data": [{"id": "si_TQITf9plmxy5", "object": "subscription_item", "quantity": 1, "price": _PRICE}],
            "has_more": False,
        },
        "metadata": {},
        "status": "active",
    },
    "invoice": {
        "id": "in_",
        "amount_due": 1900,
        "amount_paid": 1900,
        "amount_remaining": 0,
        "billing_reason": "subscription_cycle",
        "currency": "eur",
        "customer": "cus_TQITf9plmxy5yC",
        "customer_email": "jenny@example.com",
        "lines": {
            "object": "list",
            "data": [{"id": "il_1", "object": "line_item", "amount": 1900, "currency": "eur", "quantity": 1}],
            "has_more": False,
        },
        "metadata": {},
        "status": "paid",
        "total": 1900,
    },
    "charge": {
        "id": "ch_",
        "amount": 4500,
        "amount_refunded": 0,
        "billing_details": {"email": "jenny@example.com", "name": "Jenny Rosen"},
        "currency": "eur",
        "metadata": {},
        "paid": True,
        "payment_intent": "pi_3SbdZdaCd8jD5HB7",
        "refunded": False,
        "status": "succeeded",
    },
    "payment_intent": {
        "id": "pi_",
        "amount": 4500,
        "amount_received": 4500,
        "currency": "eur",
        "customer": None,
        "metadata": {},
        "status": "succeeded",
    },
    "billing.meter": {"id": "mtr_test_", "display_name": "Requests", "event_name": "requests", "status": "active"},
    "product": {"id": "prod_", "active": True, "description": None, "metadata": {}, "name": "T-shirt"},
}
_ENDINGS: dict[str, dict[str, Any]] = {  # what else is so, when these things happen
    "charge.refunded": {"amount_refunded": 4500, "refunded": True},
    "checkout.session.async_payment_failed": {"payment_status": "unpaid"},
    "checkout.session.expired": {"payment_status": "unpaid", "status": "expired"},
    "customer.subscription.deleted": {"status": "canceled"},
    "invoice.payment_failed": {"amount_paid": 0, "amount_remaining": 1900, "status": "open"},
    "payment_intent.payment_failed": {"amount_received": 0, "status": "requires_payment_method"},
}


_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
_STRIPE_EPOCH = 1_342_389_378  # what the seconds inside Stripe's ids count from


def make_event_id(created: int | None = None) -> str:
    """An id such as Stripe's: after `evt_1` five digits in base 62 for the second it was made in, then the account's
    ten and eight random ones. The ids of one account therefore sort by time, as `evt_1MqqbKLt4dXK03v5qaIbiNCC` (March
    2023) and `evt_1NG8Du2eZvKYlo2CUI79vXWy` (June 2023) of Stripe's reference do; a store's index feels the difference.
    """
    seconds = int(time.time() if created is None else created) - _STRIPE_EPOCH
    digits = ""
    for _ in range(5):
        seconds, digit = divmod(seconds, 62)
        digits = _BASE62[digit] + digits
    return f"evt_1{digits}2eZvKYlo2C" + "".join(secrets.choice(_BASE62) for _ in range(8))


def make_event(type: str = "checkout.session.completed", **overrides: Any) -> dict[str, Any]:
    """A snapshot event of that type, or one of the gateway's own, with an id of its own. `object={...}` changes fields
    of its object; other names replace fields of the envelope. Every event is its own copy: changing one changes no
    other.
    """
    if is_own(type):
        fields = {**copy.deepcopy(SAMPLES.get(type, {})), **overrides.pop("object", {})}
        return {**envelope_of(type, secrets.token_hex(12), datetime.now(UTC), fields), **overrides}
    known = (name for name in _OBJECTS if type.startswith(f"{name}."))
    kind = max(known, key=len, default=type.rpartition(".")[0] or type)
    word = "subscription" if kind == "customer.subscription" else kind  # Stripe's type and object differ here
    made: dict[str, Any] = {"id": kind.rpartition(".")[2] + "_", "object": word, "created": int(time.time())}
    made |= {"livemode": False, **copy.deepcopy(_OBJECTS.get(kind, {})), **_ENDINGS.get(type, {})}
    made["id"] += secrets.token_hex(8)
    made.update(overrides.pop("object", {}))
    return {
        "id": make_event_id(),
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


def line_items() -> dict[str, Any]:
    """The expanded `line_items` of a Checkout Session."""
    item = {"id": "li_1SbdZdaCd8jD5HB7", "object": "item", "quantity": 2, "description": "T-shirt", "currency": "eur"}
    item |= {"amount_subtotal": 4500, "amount_total": 4500, "price": {**_PRICE, "type": "one_time"}}
    return {"object": "list", "data": [item], "has_more": False}


def override(event: Any, path: str, value: Any, *, remove: bool = False) -> None:
    """Sets, or removes, what stands at a path such as `data.object.items.data.0.quantity`. Mappings on the way are
    made, a number steps into a list. Raises ValueError.
    """
    part = event
    *way, last = path.split(".")
    for step in way:
        part = part.setdefault(step, {}) if isinstance(part, dict) else part[_index(part, step)]
        if not isinstance(part, (dict, list)):
            raise ValueError(f"{step} is no mapping")
    if isinstance(part, dict):
        part.pop(last, None) if remove else part.update({last: value})
    elif remove:
        del part[_index(part, last)]
    else:
        part[_index(part, last)] = value


def _index(part: list[Any], step: str) -> int:
    if not (step.isascii() and step.isdecimal() and int(step) < len(part)):
        raise ValueError(f"{step} is no place in a list of {len(part)}")
    return int(step)


def thin_event(type: str = "v1.billing.meter.error_report_triggered", **overrides: Any) -> dict[str, Any]:
    """A thin event: it names its object and does not hold it. One of a snapshot event's type also names that event.
    https://docs.stripe.com/api/v2/core/events
    """
    from gateway.stripe.api import path_of  # slow to import

    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    made: dict[str, Any] = {
        "id": "evt_test_" + secrets.token_hex(12),
        "object": "v2.core.event",
        "type": type,
        "created": now,
        "livemode": False,
        "reason": None,
        "context": None,
    }
    if type.startswith("v2."):
        kind = type.rpartition(".")[0]
        known = f"acct_1S{secrets.token_hex(7)}" if kind == "v2.core.account" else f"id_test_{secrets.token_hex(8)}"
        made["related_object"] = {"id": known, "type": kind, "url": f"/{kind.replace('.', '/')}s/{known}"}
    else:
        snapshot = make_event(type.removeprefix("v1."))
        value = snapshot["data"]["object"]
        path = path_of(value)
        made["related_object"] = path and {"id": value["id"], "type": value["object"], "url": path}
        if value["object"] != "billing.meter":  # whose events have no snapshot form
            made["snapshot_event"] = snapshot["id"]
    return {**made, **overrides}
