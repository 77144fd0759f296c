"""Pure: when an action is to act, and which events cancel it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from gateway.core.errors import EnvelopeError, TemplateError
from gateway.core.keys import is_no_key, key_of
from gateway.core.model.deliveries import WAITS, PlannedDelivery
from gateway.core.model.events import Event
from gateway.core.model.later import Hours, Later
from gateway.core.model.routes import ActionUse, Route

MOST_SECONDS = 400 * 86400.0  # ahead: a year, and a month for what is late
_DAYS_AHEAD = 16  # in which any hours open: a week, or two where a clock that is put forward leaps over them
_MINUTE = timedelta(minutes=1)


def planned_for(later: Later, happened_at: datetime, now: datetime, scope: Mapping[str, Any]) -> datetime | None:
    """When an action is to act: by `after` or `at`, and then not before its hours; None where it has neither. Raises
    TemplateError: `at` brings no time, or one that is too far ahead.
    """
    if later.at is not None:
        moment = later.at.evaluate(scope)
        if (moment - now).total_seconds() > MOST_SECONDS:
            days = MOST_SECONDS / 86400
            message = f"`at` is {moment.isoformat()}, which is more than {days:.0f} days ahead"
            raise TemplateError(later.at.where, f"{message}; let an event that comes nearer to it begin the wait")
    elif later.after_seconds is not None:
        moment = happened_at + timedelta(seconds=later.after_seconds)
    else:
        return None
    return moment if later.during is None else next_open(later.during, max(moment, now))  # in year 1 are no hours


def until_key(route: Route, action: str, event: Event, value: Any) -> str | None:
    """The key that an event which waits and the events that cancel it share; None where the value is none. The value is
    in it as a hash: it may name a person, and the key outlives the events.
    """
    if is_no_key(value):
        return None
    hashed = hashlib.sha256(key_of(value).encode()).hexdigest()
    return key_of("until", event.account, event.connected_account, route.name, action, hashed)


def plan_later(
    planned: PlannedDelivery,
    route: Route,
    action: ActionUse,
    event: Event,
    now: datetime,
    scope: Callable[[], Mapping[str, Any]],
) -> PlannedDelivery:
    """The same, as its action's `after`, `at` and `until` have it. Where they cannot be told (an `at` that is null), it
    begins as a dead letter.
    """
    later = action.later
    if later is None or planned.skipped or not (later.is_planned or later.until is not None):
        return planned
    try:
        happened_at = event.created_at or event.received_at
        moment = planned_for(later, happened_at, now, scope() if later.at is not None else {})
        until = later.until
        key = None if until is None else until_key(route, action.name, event, until.same.evaluate(scope()))
    except (TemplateError, EnvelopeError) as failure:
        return replace(planned, once_key=None, order_key=None, error=str(failure), is_judged=False)
    planned = replace(planned, until_key=key)
    if moment is None or moment <= now:
        return planned
    return replace(planned, once_key=None, order_key=None, is_judged=False, waits_until=moment, why_later=later.source)


def wait_reason(until: datetime, why: str | None) -> str:
    """Why a delivery waits until a time."""
    return f"{WAITS}{until.astimezone(UTC).isoformat(timespec='seconds')}" + (f" ({why})" if why else "")


def closed_for(later: Later, moment: datetime) -> tuple[str, float] | None:
    """Why and for how many seconds an action waits for its hours; None where they are open, or it has none."""
    if later.during is None or is_open(later.during, moment):
        return None
    opens_at = next_open(later.during, moment)
    return wait_reason(opens_at, f"during: {later.during.source}"), (opens_at - moment).total_seconds()


def is_open(hours: Hours, moment: datetime) -> bool:
    """Whether the wall clock there shows a time within the hours."""
    local = moment.astimezone(hours.zone)
    minute, today = local.hour * 60 + local.minute, local.weekday()
    for begins, ends in hours.spans:
        if begins < ends:
            if today in hours.days and begins <= minute < ends:
                return True
        elif (today in hours.days and minute >= begins) or ((today - 1) % 7 in hours.days and minute < ends):
            return True
    return False


def next_open(hours: Hours, moment: datetime) -> datetime:
    """The first moment from this one on that is within the hours: where the clock there is put forward past their
    beginning, the moment it is; where it is put back, the first of the two times that it shows.
    """
    if is_open(hours, moment):
        return moment
    return next(time for time in _beginnings(hours, moment) if time >= moment and is_open(hours, time))


def _beginnings(hours: Hours, moment: datetime) -> Iterator[datetime]:
    """When hours may begin, from the day of this moment on."""
    first = moment.astimezone(hours.zone).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    for day in range(-1, _DAYS_AHEAD):
        midnight = first + timedelta(days=day)
        walls = [midnight, *(midnight + timedelta(minutes=begins) for begins, _ in hours.spans)]
        times = {wall.replace(tzinfo=hours.zone, fold=fold).astimezone(UTC) for wall in walls for fold in (0, 1)}
        times |= set(_changes(hours, midnight))
        yield from sorted(times)


def _changes(hours: Hours, midnight: datetime) -> Iterator[datetime]:
    """The moment of the day at which the clock there is put forward or back."""
    begins, ends = ((midnight + timedelta(days=days)).replace(tzinfo=hours.zone).astimezone(UTC) for days in (0, 1))
    before = begins.astimezone(hours.zone).utcoffset()
    if before == ends.astimezone(hours.zone).utcoffset():
        return
    while ends - begins > _MINUTE:
        middle = begins + ((ends - begins) / 2 // _MINUTE) * _MINUTE
        if middle.astimezone(hours.zone).utcoffset() == before:
            begins = middle
        else:
            ends = middle
    yield ends
