"""What cannot be kept as it is, is kept in a form that can: on every store, and at once."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from gateway.core.model import (
    Attempt,
    AttemptOutcome,
    AuditEntry,
    ConnectionChange,
    ConnectionState,
    DeliveryFilter,
    DeliveryState,
    EventFilter,
    Finish,
    Released,
)
from gateway.store.keeping import LONGEST_KEY_BYTES
from gateway.store.protocol import Store
from tests.conftest import Clock
from tests.contract.test_store import DEAD, NOW, SUCCEEDED, an_event, attempt, claim_all, later, owed, states


class Mute:
    """Its text raises."""

    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


def loop() -> list[Any]:
    """A list that holds itself."""
    made: list[Any] = []
    made.append(made)
    return made


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


VALUES = {
    "half of a surrogate pair": "\ud83d",
    "NUL": "a\0b",
    "not a number": {"rate": math.nan},
    "infinite": [math.inf, -math.inf],
    "a key that is no text": {(1, 2): "x", None: "y"},
    "types that JSON has not": {"when": NOW, "sum": Decimal("1.10"), "set": {1}, "bytes": b"x"},
    "an integer of 5,000 digits": 10**5000,
    "a text that raises": {"a": Mute(), Mute(): 1},
    "a loop": loop(),
    "very deep": deep(20_000),
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES.keys())
async def test_an_outcome_is_recorded_whatever_it_brings(store: Store, value: Any) -> None:
    await store.add(an_event(), [owed(), owed("mail")])
    claims = await claim_all(store)
    for claim in claims:  # two at once: neither stands in the other's way
        ending = replace(SUCCEEDED, output=value, rendered={"text": value})
        assert await store.finish(claim.delivery.id, claim.token, ending)
    assert await states(store) == {"evt_1/save": "succeeded", "evt_1/mail": "succeeded"}
    for claim in claims:
        found = await store.delivery(claim.delivery.id)
        assert found is not None
        assert found[0].output is not None


@pytest.mark.parametrize("text", ["half \ud83d of a pair", "a \0 in it"])
async def test_a_text_is_recorded_without_what_cannot_be_kept(store: Store, text: str) -> None:
    await store.add(an_event(), [replace(owed(), error=text), owed("mail")])
    (claim,) = await claim_all(store)
    ending = Finish(DeliveryState.PENDING, attempt(AttemptOutcome.RETRY, text), reason=text)
    assert await store.finish(claim.delivery.id, claim.token, ending)
    (claim,) = await claim_all(store)
    assert await store.finish(claim.delivery.id, claim.token, Released(text))
    found = await store.delivery(claim.delivery.id)
    assert found is not None
    told = [found[0].last_error, found[0].reason, found[1][0].error]
    assert all(one is not None and one.startswith(text[:2]) and one.endswith(text[-4:]) for one in told)
    await store.cancel([claim.delivery.id], text)
    await store.change_connection("shop", 0, ConnectionChange(ConnectionState.PAUSED, reason=text))
    await store.record(AuditEntry(NOW, "operator", text, "retry", text, 1))
    assert len((await store.audit(limit=9)).items) == 1


async def test_an_event_s_names_are_kept_and_those_beside_it_are_not_lost(store: Store) -> None:
    event = replace(an_event(), id="evt_\ud83d", object_id="in_\ud83d", connected_account="acct_\ud83d")
    assert not (await store.add(event, [owed()])).is_duplicate
    assert (await store.add(event, [owed()])).is_duplicate
    (kept,) = await store.events(EventFilter(), limit=9)
    assert (await store.event(kept.id))[0].body == event.body


@pytest.mark.parametrize("seconds", [math.inf, 1e300, math.nan, -1.0])
async def test_numbers_out_of_range_are_bounded(store: Store, seconds: float) -> None:
    await store.add(an_event(), [owed()])
    (claim,) = await claim_all(store)
    tried = Attempt(1, datetime(9999, 1, 1, tzinfo=UTC), seconds, AttemptOutcome.RETRY, "no")
    assert await store.finish(claim.delivery.id, claim.token, replace(later(seconds), attempt=tried))
    (delivery,) = await store.deliveries(DeliveryFilter(), limit=9)
    assert delivery.state is DeliveryState.PENDING


@pytest.mark.parametrize("length", [LONGEST_KEY_BYTES, LONGEST_KEY_BYTES + 1, 100_000])
@pytest.mark.parametrize("letter", ["k", "\ud83d", "\0"])
async def test_a_key_of_any_length_and_letters_holds_its_turn(
    store: Store, clock: Clock, length: int, letter: str
) -> None:
    key = "".join(f"{letter}{i}" for i in range(length))[:length]  # nothing that a compression would make short
    for number in (1, 2):
        await store.add(an_event(f"evt_{number}"), [owed(order=key)])
    await store.add(an_event("evt_other"), [owed(order=f"{key}x")])
    first, other = sorted(await claim_all(store), key=lambda claim: claim.event.id)
    assert (first.event.id, other.event.id) == ("evt_1", "evt_other")
    await store.finish(first.delivery.id, first.token, DEAD)
    (second,) = await claim_all(store)
    assert second.event.id == "evt_2"


async def test_a_long_once_key_is_done_once_also_after_a_purge(store: Store, clock: Clock) -> None:
    key = "".join(str(i) for i in range(3000))
    await store.add(an_event("evt_1"), [owed(once=key)])
    (claim,) = await claim_all(store)
    await store.finish(claim.delivery.id, claim.token, SUCCEEDED)
    clock.forward(10)
    cursor: int | None = 0
    while cursor is not None:
        cursor = (await store.purge(retention_seconds=1, dead_retention_seconds=None, cursor=cursor)).cursor
    await store.add(an_event("evt_2"), [owed(once=key)])
    assert await claim_all(store) == []
    assert await states(store) == {"evt_2/save": "skipped"}
