"""What Stripe sends to simulated gateways, and what the ledger must know of it."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from tests.simulate.later import Dunned, Ending
from tests.simulate.ledger import Ledger
from tests.simulate.machinery import EPOCH

LATE_SECONDS = (0, 0, 0, 3, 40, 200)  # from when something happens to the first time that it is sent
AHEAD_SECONDS = (None, -60, 20, 90, 150, 600)  # of `call_at`


class Traffic:
    """Makes the events of a scenario."""

    def __init__(self, rng: Random, ledger: Ledger, poison: set[str]) -> None:
        self._rng = rng
        self._ledger = ledger
        self._poison = poison

    def body(self, account: str, event_id: str, number: int) -> bytes:
        """An event that is first sent now."""
        rng = self._rng
        now = EPOCH + self._ledger.now()
        happened_at = int(now) - rng.choice(LATE_SECONDS)
        customer = rng.choice((None, "cus_1", "cus_1", "cus_2"))
        draw = rng.random()
        if draw < 0.45:
            kind = "checkout.session.completed"
            content: dict[str, Any] = self._session(number)
        elif draw < 0.7:
            kind, content = "invoice.paid", {"id": f"in_{number}", "object": "invoice", "lines": {"total": 1}}
            if rng.random() < 0.3:
                del content["lines"]
        else:
            same = f"number {rng.choice((1, 1, 2))}"
            content = {"id": f"in_{number}", "object": "invoice", "status": "open", "number": same}
            if draw < 0.9:
                ahead = rng.choice(AHEAD_SECONDS)
                call_at = content["call_at"] = None if ahead is None else int(now) + ahead
                kind = "invoice.payment_failed"
                self._ledger.later.waiting[event_id] = Dunned(account, same, happened_at, call_at, content["id"], now)
                if rng.random() < 0.4:
                    self._ledger.later.closed_at[content["id"]] = now + rng.uniform(0, 300)
            else:
                kind = "invoice.voided"
                self._ledger.later.endings[event_id] = Ending(account, same, happened_at)
        self._ledger.once[event_id] = content.get("payment_intent")
        if rng.random() < 0.05:
            self._poison.add(content["id"])
        event = {
            "id": event_id, "object": "event", "type": kind, "created": happened_at, "livemode": False,
            "data": {"object": content | {"customer": customer}},
        }  # fmt: skip
        return json.dumps(event).encode()

    def _session(self, number: int) -> dict[str, Any]:
        return {
            "id": f"cs_{number}", "object": "checkout.session", "payment_status": "paid",
            "payment_intent": self._rng.choice((None, "pi_1", "pi_2", f"pi_{number}")),
            "amount_total": self._rng.choice((500, 5000)),
        }  # fmt: skip
