"""When an action is to act: later, within hours, and only while it is still so."""

from __future__ import annotations

from dataclasses import dataclass
from zoneinfo import ZoneInfo

from gateway.core.model.expressions import Expression, TimeExpression


@dataclass(frozen=True, slots=True)
class Hours:
    """An action's `during`: on which days, between which times of the wall clock there."""

    days: frozenset[int]  # 0: Monday; of the beginning, where hours go past midnight
    spans: tuple[tuple[int, int], ...]  # minutes of the day: from, and up to; the second may be the smaller
    zone: ZoneInfo
    source: str = ""  # as written, in a word or two


@dataclass(frozen=True, slots=True)
class Until:
    """An action's `until`: which events cancel it."""

    events: tuple[str, ...]  # types or globs
    same: Expression  # asked of the event that waits
    theirs: Expression  # asked of the event that cancels it


@dataclass(frozen=True, slots=True)
class Later:
    """When an action is to act, and when not at all."""

    after_seconds: float | None = None  # after the event happened
    at: TimeExpression | None = None
    during: Hours | None = None
    still_if: Expression | None = None
    until: Until | None = None
    source: str = ""  # `after` or `at` as written, such as `after: 3d`

    @property
    def is_planned(self) -> bool:
        """Whether it acts at a time of its own, and not as soon as it may."""
        return self.after_seconds is not None or self.at is not None
