"""The dictionaries of gateway.store.encoding.compression, made of the samples of every type and scenario of event:
`make dictionary` writes the next ones. The files that are there stay as they are, for the rows that need them.

A dictionary begins with what is trained on all samples and ends with whole samples of the types that are routed most:
whole, they match over longer stretches than the pieces that training picks (418 bytes instead of 561 for a session).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gateway.store.encoding import compression
from gateway.stripe import objects
from gateway.stripe.event_types import snapshot_types
from gateway.testing.events import make_event_id, sample_data
from gateway.testing.samples import scenarios

FOLDER = Path(compression.__file__).parent / "dictionaries"
TRAINED_BYTES = 24 * 1024
NOW = 1_795_000_000
TIMES = 2  # each sample with ids and times of its own
ROUTED_MOST = (
    "payment_method.attached", "payout.paid", "product.updated", "price.updated", "charge.dispute.created",
    "refund.created", "customer.updated", "customer.created", "setup_intent.succeeded", "invoice.created",
    "invoice.finalized", "invoice.payment_failed", "customer.subscription.deleted", "customer.subscription.created",
    "charge.refunded", "charge.failed", "charge.succeeded", "payment_intent.payment_failed", "payment_intent.succeeded",
    "customer.subscription.updated", "invoice.paid", "checkout.session.completed",
)  # fmt: skip
"""The last ones are nearest to what is compressed, and cost least."""
VALUES: tuple[dict[str, Any], ...] = (
    {"connection": "warehouse", "method": "POST", "url": "https://warehouse.example/hooks", "headers": {},
     "body": None},
    {"connection": "mail", "to": ["jenny@example.com"], "cc": [], "bcc": [], "reply_to": None, "subject": "Your order ",
     "text": "Thank you: 45.00 EUR", "html": None, "attachments": []},
    {"connection": "sales", "channel": "#orders", "text": "Big order: 45.00 EUR", "blocks": None, "thread_ts": None},
    {"connection": "shop", "table": "orders", "key": {"session_id": "cs_test_"}, "values": {"email": "", "amount": 4500,
     "currency": "eur", "customer": "cus_", "status": "paid"}, "newest": {"column": "stripe_created",
     "value": 1795000000}, "on_conflict": "update"},
    {"rows": 1, "changed": 1, "returned": []}, {"message_id": "<dlv_", "refused": {}},
    {"ts": "1795000000.000100", "channel": "C0"},
    {"status": 200, "headers": {"Server": "nginx", "Date": "Mon, 30 Nov 2026 14:00:00 GMT",
     "Content-Type": "application/json; charset=utf-8", "Content-Length": "15", "Connection": "keep-alive",
     "Vary": "Accept-Encoding", "Cache-Control": "no-cache, no-store, must-revalidate", "X-Request-Id": "",
     "Strict-Transport-Security": "max-age=31536000; includeSubDomains"}, "body": {"ok": True, "received": True}},
    {"status": 200, "headers": {"server": "nginx/1.22.1", "date": "Tue, 01 Dec 2026 09:30:00 GMT",
     "content-type": "application/octet-stream", "content-length": "2", "connection": "keep-alive"}, "body": "ok"},
)  # fmt: skip
"""What deliveries keep beside: rendered values and outputs of the built-in actions."""


def token_of(*parts: object) -> str:
    """Looks random, and is the same at every run."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


def as_stripe_prints(data: Any) -> Any:
    """Fields in alphabetical order, as Stripe has them inside `data`."""
    if isinstance(data, dict):
        return {name: as_stripe_prints(data[name]) for name in sorted(data)}
    return [as_stripe_prints(member) for member in data] if isinstance(data, list) else data


def sample_event(event_type: str, scenario: str | None, time: int) -> dict[str, Any]:
    token = token_of(time, event_type, scenario)
    now = NOW + int(token[:6], 16)
    return {
        "id": make_event_id(now)[:-8] + token[:8],
        "object": "event",
        "api_version": objects.api_version(),
        "created": now,
        "data": as_stripe_prints(sample_data(event_type, scenario, now=now, token=token)),
        "livemode": False,
        "pending_webhooks": 1,
        "request": {"id": f"req_{token[:14]}", "idempotency_key": f"{token[:8]}-{token[8:12]}"},
        "type": event_type,
    }


def samples() -> Iterator[dict[str, Any]]:
    """Of every type and scenario."""
    for time in range(TIMES):
        for event_type in sorted(snapshot_types()):
            for scenario in (None, *scenarios(event_type)):
                yield sample_event(event_type, scenario, time)


def body(event: dict[str, Any]) -> bytes:
    """As Stripe posts it."""
    return json.dumps(event, indent=2, ensure_ascii=False).encode()


def value(event: dict[str, Any]) -> bytes:
    """Its object as `fetch` keeps it."""
    return json.dumps(event["data"]["object"]).encode()


def dictionaries() -> tuple[bytes, bytes]:
    """Of bodies, and of values: the same at every run."""
    often = [sample_event(event_type, None, TIMES) for event_type in ROUTED_MOST]
    others = [json.dumps(kept).encode() for kept in VALUES]
    return (
        compression.train([body(event) for event in samples()], TRAINED_BYTES, b"".join(map(body, often))),
        compression.train(
            [*map(value, samples()), *others * 20], TRAINED_BYTES, b"".join((*map(value, often), *others))
        ),
    )


def main() -> None:
    """Writes the files after the newest."""
    number = max((int(path.stem) for path in FOLDER.glob("*.zdict")), default=0)
    for kind, content in zip(("BODIES", "VALUES"), dictionaries(), strict=True):
        number += 1
        (FOLDER / compression.dictionary_name(number)).write_bytes(content)
        print(f"{number}: {len(content):,} bytes; compression.{kind} = {number} makes it the one that compresses")


if __name__ == "__main__":
    main()
