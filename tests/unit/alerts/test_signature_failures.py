"""When failing signatures are told."""

from __future__ import annotations

from gateway.alerts.signature_failures import SignatureWatch


def refuse(watch: SignatureWatch, now: float, reason: str = "no_match", account: str | None = "acme") -> object:
    return watch.refused(account, reason, now, failures=3, within=60.0, repeat=600.0)


def test_failures_in_a_row_are_told_once_with_their_reasons() -> None:
    watch = SignatureWatch()
    assert [refuse(watch, 0), refuse(watch, 1, "too_old"), refuse(watch, 2)] == [
        None,
        None,
        {"no_match": 2, "too_old": 1},
    ]
    assert refuse(watch, 3) is None


def test_what_lasts_is_told_again_after_the_time_between_two_alerts() -> None:
    watch = SignatureWatch()
    told = [now for now in range(0, 1300, 10) if refuse(watch, now) is not None]
    assert told == [20, 620, 1220]


def test_one_good_signature_ends_the_row() -> None:
    watch = SignatureWatch()
    refuse(watch, 0)
    refuse(watch, 1)
    watch.accepted("acme")
    assert [refuse(watch, 2), refuse(watch, 3)] == [None, None]
    assert refuse(watch, 4) == {"no_match": 3}


def test_an_accepted_event_also_clears_the_address_without_an_account() -> None:
    watch = SignatureWatch()
    refuse(watch, 0, account=None)
    refuse(watch, 1, account=None)
    watch.accepted("acme")
    assert refuse(watch, 2, account=None) is None


def test_failures_far_apart_are_no_row_and_accounts_are_counted_apart() -> None:
    watch = SignatureWatch()
    assert [refuse(watch, now) for now in (0, 50, 100, 150)] == [None] * 4
    assert refuse(watch, 151, account="other") is None


def test_whoever_sends_no_signature_proves_nothing_of_the_secret() -> None:
    watch = SignatureWatch()
    assert [refuse(watch, now, "missing") for now in range(9)] == [None] * 9
    assert [refuse(watch, now, "malformed") for now in range(9)] == [None] * 9
