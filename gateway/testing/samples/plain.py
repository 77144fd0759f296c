"""The plainest value of a field, by its type and its name: for what the facts do not say."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from gateway.stripe.objects import FieldType

UNSAID: Final = object()
"""Stands where the facts say nothing of a field, not even null."""

_USUAL = (  # of an enum's values, the first of these that it has
    "active", "succeeded", "complete", "completed", "paid", "available", "approved", "verified", "posted", "enabled",
    "card", "month", "individual", "standard", "licensed", "per_unit", "self", "account", "none", "open", "DE", "eur",
)  # fmt: skip
_TEXTS = {
    "account": "acct_1Sb9KxQ4mTz7Yp2L",
    "brand": "visa",
    "city": "Berlin",
    "client_secret": "secret_of_a_sample",
    "country": "DE",
    "currency": "eur",
    "description": "A sample",
    "display_name": "A sample",
    "email": "jenny@example.com",
    "fingerprint": "Xt5EWLLDS7FJjR1c",
    "iin": "424242",
    "last4": "4242",
    "line1": "Torstr. 1",
    "name": "Jenny Rosen",
    "phone": "+49301234567",
    "postal_code": "10119",
    "routing_number": "110000000",
    "timezone": "Europe/Berlin",
}
_NUMBERS = {"amount": 1900, "exp_month": 11, "exp_year": 2031, "interval_count": 1, "quantity": 1}
_LATER = ("_end", "end", "expires_at", "due_by", "due_date", "available_on", "arrival_date", "_until", "delivery_date")


def value(key: str, field: FieldType, now: int) -> Any:
    """A value that the type allows. Lists, objects and ids are not its business."""
    match field.kind:
        case "enum":
            return next((usual for usual in _USUAL if usual in field.values), field.values[0])
        case "time":
            return now + 30 * 86400 if key.endswith(_LATER) else now
        case "datetime":
            return as_text(now + 30 * 86400 if key.endswith(_LATER) else now)
        case "amount" | "integer":
            return _NUMBERS.get(key, 0)
        case "number":
            return 1.0
        case "decimal":
            return "1900"
        case "boolean":
            return key in ("active", "enabled")
        case "map" | "any":
            return {}
    if key.endswith("url"):
        return f"https://shop.example/{key}"
    return _TEXTS.get(key, key)


def as_text(seconds: int) -> str:
    """A time as API v2 writes it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
