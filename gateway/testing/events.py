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
from gateway.stripe import objects
from gateway.stripe.event_types import snapshot_types
from gateway.testing.samples import UnknownScenarioError, make_object, make_sample, url_of

THIN_SCENARIO = "a thin event holds no object that a scenario could be of"


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


def make_event(
    type: str = "checkout.session.completed", *, scenario: str | None = None, **overrides: Any
) -> dict[str, Any]:
    """A snapshot event of that type, or one of the gateway's own, with an id of its own. Stripe's object is whole: it
    has every field that Stripe sends, and its ids, amounts and times fit together; where Stripe has no such type, it
    has an id alone. `scenario`: one of `scenarios(type)`, such as `past-due` of customer.subscription.updated; raises
    UnknownScenarioError where there is none of that name. `object={...}` changes fields of the object; other names
    replace fields of the envelope. Every event is its own copy: changing one changes no other.
    """
    if is_own(type):
        if scenario is not None:
            raise UnknownScenarioError(f"{type} has no scenarios: it is the gateway's own")
        fields = {**copy.deepcopy(SAMPLES.get(type, {})), **overrides.pop("object", {})}
        return {**envelope_of(type, secrets.token_hex(12), datetime.now(UTC), fields), **overrides}
    now = overrides.get("created")
    now = now if isinstance(now, int) else int(time.time())
    token, changes = secrets.token_hex(8), overrides.pop("object", {})
    data = sample_data(type, scenario, now=now, token=token, livemode=overrides.get("livemode") is True)
    data["object"].update(changes)
    return {
        "id": make_event_id(),
        "object": "event",
        "api_version": objects.api_version(),
        "created": now,
        "data": data,
        "livemode": False,
        "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": None},
        "type": type,
        **overrides,
    }


def sample_data(
    type: str, scenario: str | None = None, *, now: int, token: str, livemode: bool = False
) -> dict[str, Any]:
    """`data` of a snapshot event that happens at `now`, in Unix seconds: the same for the same arguments. `token` ends
    the object's id. Raises UnknownScenarioError.
    """
    sample = make_sample(type, scenario, now=now, token=token, livemode=livemode)
    if sample is None:
        kind = type.rpartition(".")[0] or type
        return {
            "object": {"id": f"{kind.rpartition('.')[2]}_{token}", "object": kind, "created": now, "livemode": livemode}
        }
    return {"object": sample.object} | ({} if sample.previous is None else {"previous_attributes": sample.previous})


def line_items() -> dict[str, Any]:
    """The expanded `line_items` of a Checkout Session."""
    item = make_object("item", now=int(time.time()), token="1SbdZdaCd8jD5HB7")  # noqa: S106 - ends its id
    return {"object": "list", "data": [item], "has_more": False}


def override(event: Any, path: str, value: Any, *, remove: bool = False) -> None:
    """Sets, or removes, what stands at a path such as `data.object.items.data.0.quantity`. Mappings on the way are
    made, also where null stands; a number steps into a list. Raises ValueError.
    """
    part = event
    *way, last = path.split(".")
    for step in way:
        key: Any = step if isinstance(part, dict) else _index(part, step)
        if isinstance(part, dict) and part.get(key) is None:
            part[key] = {}
        part = part[key]
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
    now, token, livemode = int(time.time()), secrets.token_hex(8), overrides.get("livemode") is True
    named: dict[str, Any] = {"related_object": related_object(type, now=now, token=token, livemode=livemode)}
    if type.startswith("v1.") and type.removeprefix("v1.") in snapshot_types():
        named["snapshot_event"] = make_event_id(now)
    return {
        "id": "evt_test_" + secrets.token_hex(12),
        "object": "v2.core.event",
        "type": type,
        "created": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "livemode": False,
        "reason": None,
        "context": None,
        **named,
        **overrides,
    }


def related_object(type: str, *, now: int, token: str, livemode: bool = False) -> dict[str, Any] | None:
    """What a thin event names: the id, the type and the URL of its object; None where it is about none that Stripe's
    API retrieves. The same for the same arguments; `token` ends the id.
    """
    sample = make_sample(type, None, now=now, token=token, livemode=livemode)
    if sample is None:
        return None
    if (url := url_of(sample.object)) is None:
        return None
    name = sample.object["object"]
    return {"id": sample.object.get("id", name), "type": name, "url": url}
