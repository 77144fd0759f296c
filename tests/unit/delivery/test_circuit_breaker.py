"""When a connection is paused, probed and trusted again."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from gateway.core.model import (
    Attempt,
    AttemptOutcome,
    ConnectionChange,
    ConnectionState,
    ConnectionStatus,
    DeliveryState,
    Finish,
    Rekeyed,
    Released,
)
from gateway.delivery.attempt import AttemptResult
from gateway.delivery.circuit_breaker import (
    Evidence,
    Health,
    evidence_of,
    paused_by_hand,
    probe,
    reached_again,
    waits_for_destination,
    was_unreached,
    weigh,
)
from gateway.plugin import BreakerSettings

SETTINGS = BreakerSettings(failures=3, pause=30.0, max=100.0)
NEW = ConnectionStatus("shop")
FAILED = Evidence("dlv_a", Health.FAILS, None, "answered 503")
WORKED = Evidence("dlv_a", Health.WORKS)
UNKNOWN = Evidence("dlv_a", Health.UNKNOWN, None, "answered 404")


def ended(
    state: DeliveryState, outcome: AttemptOutcome, *, pause: float | None = None, failed: bool = False
) -> AttemptResult:
    attempt = Attempt(1, datetime(2026, 11, 24, tzinfo=UTC), 0.1, outcome, "answered 503" if failed else None)
    return AttemptResult(Finish(state, attempt), pause, failed)


def after(status: ConnectionStatus, change: ConnectionChange | None) -> ConnectionStatus:
    """The status that a store would give."""
    assert change is not None
    return ConnectionStatus(
        status.name,
        change.state,
        status.version + 1,
        left_seconds=change.for_seconds,
        reason=change.reason,
        failures=change.failures,
        pauses=change.pauses,
        failed_delivery=change.failed_delivery,
    )


def fail(status: ConnectionStatus, delivery: str = "dlv_a", *, is_probe: bool = False) -> ConnectionStatus:
    return after(status, weigh(status, replace(FAILED, delivery_id=delivery), SETTINGS, is_probe=is_probe))


def probing(status: ConnectionStatus) -> ConnectionStatus:
    return after(status, probe(status, 60))


PAUSED = fail(fail(fail(NEW)))


@pytest.mark.parametrize(
    ("how", "health"),
    [
        (ended(DeliveryState.SUCCEEDED, AttemptOutcome.SUCCEEDED), Health.WORKS),
        (ended(DeliveryState.PENDING, AttemptOutcome.RETRY, failed=True), Health.FAILS),
        (ended(DeliveryState.DEAD, AttemptOutcome.DEAD, failed=True), Health.FAILS),  # the last of its attempts
        (ended(DeliveryState.DEAD, AttemptOutcome.DEAD), Health.UNKNOWN),  # a template, a 4xx, one bad recipient
        (ended(DeliveryState.PENDING, AttemptOutcome.RETRY), Health.UNKNOWN),  # a fault in the action's code
        (ended(DeliveryState.SKIPPED, AttemptOutcome.SKIPPED), Health.UNKNOWN),
        (ended(DeliveryState.PENDING, AttemptOutcome.INTERRUPTED), Health.UNKNOWN),
        (AttemptResult(Released()), Health.UNKNOWN),
        (AttemptResult(Rekeyed("once", None)), Health.UNKNOWN),
    ],
)
def test_what_an_attempt_tells_of_its_connection(how: AttemptResult, health: Health) -> None:
    assert evidence_of("dlv_a", how).health is health


def test_so_many_failures_in_a_row_pause_it_and_say_why() -> None:
    assert (fail(NEW).state, fail(fail(NEW)).failures) == (ConnectionState.WORKING, 2)
    assert PAUSED.state is ConnectionState.PAUSED
    assert PAUSED.left_seconds == 30
    assert PAUSED.reason == "3 failures in a row, the last: answered 503"


def test_a_success_between_begins_the_count_anew() -> None:
    twice = fail(fail(NEW))
    assert after(twice, weigh(twice, WORKED, SETTINGS, is_probe=False)).failures == 0
    assert weigh(NEW, WORKED, SETTINGS, is_probe=False) is None  # nothing to write


def test_what_is_the_deliverys_own_fault_is_not_counted_and_does_not_reset() -> None:
    assert weigh(fail(fail(NEW)), UNKNOWN, SETTINGS, is_probe=False) is None


def test_attempts_begun_before_the_pause_change_nothing() -> None:
    for evidence in (FAILED, WORKED, UNKNOWN):
        assert weigh(PAUSED, evidence, SETTINGS, is_probe=False) is None
        assert weigh(probing(PAUSED), evidence, SETTINGS, is_probe=False) is None


def test_a_probe_that_succeeds_closes_it() -> None:
    status = probing(PAUSED)
    assert weigh(status, WORKED, SETTINGS, is_probe=True) == ConnectionChange(ConnectionState.WORKING)


def test_a_probe_that_tells_nothing_leaves_it_probing() -> None:
    assert weigh(probing(PAUSED), UNKNOWN, SETTINGS, is_probe=True) is None


def test_each_failed_probe_doubles_the_pause_up_to_the_longest() -> None:
    status, pauses = PAUSED, []
    for i in range(4):
        status = fail(probing(status), f"dlv_{i}", is_probe=True)
        pauses.append(status.left_seconds)
    assert pauses == [60, 100, 100, 100]
    assert status.failures == 7
    for i in range(2000):
        status = fail(probing(status), f"dlv_{i}", is_probe=True)
    assert status.left_seconds == 100


def test_one_bad_delivery_that_probes_again_and_again_does_not_lengthen_the_pause() -> None:
    status = PAUSED
    for _ in range(5):
        status = fail(probing(status), "dlv_a", is_probe=True)
        assert status.left_seconds == 30


def test_breaker_false_never_opens_by_itself() -> None:
    assert weigh(fail(fail(NEW)), FAILED, None, is_probe=False) is None


@pytest.mark.parametrize("settings", [SETTINGS, None])
def test_a_pause_that_the_destination_asks_for_begins_at_once(settings: BreakerSettings | None) -> None:
    status = after(NEW, weigh(NEW, replace(FAILED, pause_seconds=120), settings, is_probe=False))
    assert (status.state, status.left_seconds) == (ConnectionState.PAUSED, 120)
    assert status.reason == "the destination asked for it: answered 503"
    assert weigh(status, replace(FAILED, pause_seconds=90), settings, is_probe=False) is None
    longer = after(status, weigh(status, replace(FAILED, pause_seconds=180), settings, is_probe=False))
    assert longer.left_seconds == 180


def test_gone_pauses_until_a_person_resumes_and_nothing_shortens_it() -> None:
    gone = replace(UNKNOWN, pause_seconds=math.inf)
    status = after(PAUSED, weigh(PAUSED, gone, SETTINGS, is_probe=False))
    assert (status.state, status.left_seconds) == (ConnectionState.PAUSED, None)
    for evidence in (gone, replace(FAILED, pause_seconds=5), FAILED, WORKED):
        assert weigh(status, evidence, SETTINGS, is_probe=False) is None


def test_a_pause_whose_last_failure_did_not_reach_the_destination_says_so() -> None:
    status = after(
        fail(fail(NEW)), weigh(fail(fail(NEW)), replace(FAILED, is_unreached=True), SETTINGS, is_probe=False)
    )
    assert status.reason == "not reached: 3 failures in a row, the last: answered 503"
    assert was_unreached(status)
    assert was_unreached(probing(status))
    assert not was_unreached(PAUSED)


def test_where_a_look_has_ended_the_pause_the_next_failure_begins_a_longer_one() -> None:
    status = after(PAUSED, reached_again(PAUSED, SETTINGS))
    assert status.state is ConnectionState.WORKING
    again = fail(status)  # the very delivery that failed before
    assert (again.state, again.left_seconds, again.pauses) == (ConnectionState.PAUSED, 60, 2)


def test_a_success_after_that_begins_all_counts_anew() -> None:
    for settings in (SETTINGS, replace_failures(1)):
        status = after(PAUSED, reached_again(PAUSED, settings))
        assert weigh(status, WORKED, settings, is_probe=False) == ConnectionChange(ConnectionState.WORKING)


def replace_failures(failures: int) -> BreakerSettings:
    return SETTINGS.model_copy(update={"failures": failures})


def test_only_a_pause_of_the_breakers_own_waits_for_the_destination() -> None:
    asked = after(NEW, weigh(NEW, replace(FAILED, pause_seconds=120), SETTINGS, is_probe=False))
    by_hand = after(PAUSED, paused_by_hand(PAUSED, "paused by a person"))
    resting = {"paused": PAUSED, "probing": probing(PAUSED), "asked": asked, "by hand": by_hand, "working": fail(NEW)}
    assert [name for name, status in resting.items() if waits_for_destination(status)] == ["paused", "probing"]
