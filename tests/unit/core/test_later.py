"""Hours by the wall clock of a place, where that is put forward and back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from gateway.config.schema.later import DuringSettings
from gateway.core.later import closed_for, is_open, next_open, planned_for
from gateway.core.model import Hours, Later

BERLIN = ZoneInfo("Europe/Berlin")


def during(days: str = "mon-sun", hours: str = "09:00-18:00", timezone: str = "Europe/Berlin") -> Hours:
    return DuringSettings.model_validate({"days": days, "hours": hours, "timezone": timezone}).rule()


@pytest.mark.parametrize(
    ("days", "hours", "moment", "opens"),
    [
        ("mon-fri", "09:00-18:00", "2026-06-03 08:59", "2026-06-03 09:00"),  # a Wednesday
        ("mon-fri", "09:00-18:00", "2026-06-03 17:59", "2026-06-03 17:59"),
        ("mon-fri", "09:00-18:00", "2026-06-03 18:00", "2026-06-04 09:00"),
        ("mon-fri", "09:00-18:00", "2026-06-05 18:00", "2026-06-08 09:00"),  # a weekend
        ("mon, fri-sun", "10:00-24:00", "2026-06-02 00:00", "2026-06-05 10:00"),
        ("sat-mon", "00:00-24:00", "2026-06-08 23:59", "2026-06-08 23:59"),
        ("mon-fri", "09:00-12:00, 13:00-18:00", "2026-06-03 12:30", "2026-06-03 13:00"),
        ("fri", "22:00-06:00", "2026-06-06 05:59", "2026-06-06 05:59"),  # the night of Friday
        ("fri", "22:00-06:00", "2026-06-06 06:00", "2026-06-12 22:00"),
        ("mon-sun", "02:30-04:00", "2026-03-29 01:00", "2026-03-29 03:00"),  # 02:00 to 03:00 is leapt over
        ("sun", "02:15-02:45", "2026-03-29 00:00", "2026-04-05 02:15"),  # all of it, that week
        ("mon-sun", "02:30-02:45", "2026-10-25 01:00", "2026-10-25 02:30"),  # comes twice
    ],
)
def test_what_comes_outside_the_hours_waits_for_them(days: str, hours: str, moment: str, opens: str) -> None:
    at, expected = (datetime.fromisoformat(text).replace(tzinfo=BERLIN) for text in (moment, opens))
    answer = next_open(during(days, hours), at.astimezone(UTC))
    assert answer == expected.astimezone(UTC)
    assert is_open(during(days, hours), answer)


def test_hours_that_the_clock_shows_twice_are_both_within() -> None:
    hours = during(hours="02:30-02:45")
    first = datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN).astimezone(UTC)
    assert next_open(hours, first + timedelta(minutes=15)) == first + timedelta(hours=1)
    begun = during(hours="01:00-02:30")  # ends at the first 02:30, and is open again when that hour begins anew
    assert next_open(begun, first) == datetime(2026, 10, 25, 1, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    "timezone", ["Europe/Berlin", "Australia/Lord_Howe", "America/St_Johns", "Asia/Kathmandu", "UTC"]
)
@pytest.mark.parametrize("span", ["09:00-18:00", "22:00-06:00", "01:30-02:30", "23:59-00:01"])
def test_no_open_minute_of_a_year_is_passed_over(timezone: str, span: str) -> None:
    hours = during("mon-wed, sat", span, timezone)
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    while moment.year == 2026:
        opens = next_open(hours, moment)
        assert is_open(hours, opens)
        assert not any(
            is_open(hours, opens - timedelta(minutes=m)) for m in (1, 30) if opens - timedelta(minutes=m) > moment
        )
        moment = max(opens, moment) + timedelta(hours=5, minutes=17)


def test_it_says_how_long_it_waits_and_why() -> None:
    later = Later(during=during("mon-fri"))
    reason = "waits until 2026-06-08T07:00:00+00:00 (during: mon-fri 09:00-18:00 Europe/Berlin)"
    assert closed_for(later, datetime(2026, 6, 8, 6, 0, tzinfo=UTC)) == (reason, 3600.0)
    assert closed_for(later, datetime(2026, 6, 8, 7, 0, tzinfo=UTC)) is None
    assert closed_for(Later(), datetime(2026, 6, 8, 7, 0, tzinfo=UTC)) is None


def test_a_time_that_is_past_waits_for_the_next_hours_from_now_on() -> None:
    """Also one that no clock of a place can show, as a program's zero time."""
    later = Later(after_seconds=0.0, during=during("mon-fri"))
    saturday = datetime(2026, 6, 6, 12, tzinfo=UTC)
    assert planned_for(later, datetime(1, 1, 1, tzinfo=UTC), saturday, {}) == datetime(2026, 6, 8, 7, tzinfo=UTC)
