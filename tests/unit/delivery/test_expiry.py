"""How old a delivery may be that `expires`."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.core.errors import Where
from gateway.core.model import ActionUse, Claim, Word
from gateway.delivery.expiry import seconds_left, why_expired
from gateway.store.sqlite.store import SqliteStore
from tests.contract.test_store import an_event, claim_all, owed

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = ActionUse("save", "db_upsert", (), Where("gateway.yaml", 1, 1), expires_seconds=86400.0)


@pytest.fixture
async def claim(tmp_path: Path) -> Claim:
    """Of an event that Stripe made, and that arrived, now."""
    store = SqliteStore(tmp_path / "inbox.db", lambda: int(NOW.timestamp() * 1000))
    await store.start()
    await store.add(replace(an_event(), created_at=NOW), [owed()])
    [claim] = await claim_all(store)
    await store.close()
    return claim


def test_an_event_ages_from_when_stripe_made_it(claim: Claim) -> None:
    late = replace(claim, event=replace(claim.event, created_at=NOW - 23 * HOUR))
    assert seconds_left(claim, DAY, NOW + HOUR) == 23 * 3600
    assert seconds_left(late, DAY, NOW + 2 * HOUR) == -3600
    assert seconds_left(late, replace(DAY, expires_seconds=None), NOW) == math.inf


def test_one_whose_time_stripe_does_not_tell_or_has_ahead_ages_from_its_arrival(claim: Claim) -> None:
    for created_at in (None, NOW + 9 * HOUR):
        assert seconds_left(replace(claim, event=replace(claim.event, created_at=created_at)), DAY, NOW) == 86400


def test_a_replay_ages_from_when_it_was_asked_for(claim: Claim) -> None:
    replayed = replace(claim, delivery=replace(claim.delivery, created_at=NOW + 48 * HOUR))
    assert seconds_left(replayed, DAY, NOW + 49 * HOUR) == 23 * 3600


def test_what_had_expired_and_was_retried_by_a_person_expires_no_more(claim: Claim) -> None:
    wanted = replace(claim, delivery=replace(claim.delivery, word=Word(is_wanted_late=True)))
    assert seconds_left(wanted, DAY, NOW + 999 * HOUR) == math.inf


def test_the_reason_says_how_old_it_is_and_how_to_send_it_all_the_same(claim: Claim) -> None:
    assert why_expired(seconds_left(claim, DAY, NOW + 26 * HOUR), DAY) == (
        "expired: 26h old, and `expires` is 1d; a retry sends it all the same"
    )
    assert why_expired(0.1, DAY) is None
