"""What the pages of every store share: cursors, which filters name few rows, dead letters by cause."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gateway.core.errors import UsageError
from gateway.core.model import DeliveryFilter, EventFilter
from gateway.store.answers import DeadCause
from gateway.store.records import moment

STEP_BACK_MS = 60_000  # a clock set back by up to so much hides nothing from a filter by time
MOST_KINDS = 5000  # of which a page is merged
SEARCH_SECONDS = 0.15  # how long one page of a search by text may look through bodies
SEARCH_ROWS = 1000  # looked through at a time


def parse_cursor(cursor: str | None) -> int | None:
    """The seq in a cursor. Raises UsageError."""
    if cursor is None:
        return None
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) < 19):
        raise wrong_cursor()
    return int(cursor)


def wrong_cursor() -> UsageError:
    """What a cursor of nobody's is answered."""
    return UsageError("the cursor is not one that this list gave out")


def uncountable() -> UsageError:
    """What counting by text is answered."""
    return UsageError("a search by text cannot be counted: it looks through a part at a time")


def names_few(where: EventFilter) -> bool:
    """Whether a filter leads to few events by itself."""
    return bool(where.ids) or where.object_id is not None


def is_by_kind(where: EventFilter) -> bool:
    """Whether a filter on events narrows by what kinds are made of, and by nothing better."""
    return not names_few(where) and bool(where.accounts or where.types or where.states)


def names_few_deliveries(where: DeliveryFilter) -> bool:
    """Whether a filter leads to few deliveries by itself, or by an index of its own."""
    return bool(where.ids or where.event_ids or where.waiting)


def is_by_delivery_kind(where: DeliveryFilter) -> bool:
    """The same of a filter on deliveries."""
    narrowed = where.accounts or where.routes or where.actions or where.states or where.lanes is not None
    return bool(narrowed) and not names_few_deliveries(where)


def dead_causes(rows: Iterable[Iterable[Any]]) -> list[DeadCause]:
    """The causes of dead letters, given as (route, action, reason, id, finished_at), the newest first."""
    causes: dict[tuple[str, str, str], DeadCause] = {}
    for route, action, reason, delivery_id, finished_at in rows:
        key = (route, action, reason or "")
        first = causes.get(key)
        causes[key] = DeadCause(
            route,
            action,
            reason or "",
            1 if first is None else first.count + 1,
            delivery_id if first is None else first.newest_id,
            moment(finished_at) if first is None else first.newest_at,
        )
    return sorted(causes.values(), key=lambda cause: -cause.count)
