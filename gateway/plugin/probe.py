"""What an action tells `gateway doctor`: whether what it needs is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # takes long to import
    from structlog.typing import FilteringBoundLogger


class Verdict(StrEnum):
    """How a finding is meant."""

    GOOD = "good"
    NOTE = "note"  # worth knowing, or cannot be known before a delivery runs
    BAD = "bad"  # deliveries will fail


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `gateway doctor`. Never put a secret into it."""

    verdict: Verdict
    text: str  # what was found
    fix: str = ""  # what to do about it
    use: str = ""  # the `place` of the use that it is about; empty: the connection as a whole

    @classmethod
    def good(cls, text: str, *, use: str = "") -> Finding:
        """All is there."""
        return cls(Verdict.GOOD, text, "", use)

    @classmethod
    def note(cls, text: str, fix: str = "", *, use: str = "") -> Finding:
        """Worth knowing, or not to be known before a delivery runs."""
        return cls(Verdict.NOTE, text, fix, use)

    @classmethod
    def bad(cls, text: str, fix: str, *, use: str = "") -> Finding:
        """Deliveries will fail, and what would mend it."""
        return cls(Verdict.BAD, text, fix, use)


@dataclass(frozen=True, slots=True)
class Unrendered:
    """Stands for a value of `with` that is known only when a delivery runs."""

    source: str  # the template


@dataclass(frozen=True, slots=True)
class ProbedUse:
    """One use of the action in a route."""

    place: str  # `route.action`
    settings: Mapping[str, Any]  # `with` as written, each template in it an Unrendered


@dataclass(frozen=True, slots=True)
class ProbeContext:
    """What a probe knows."""

    connection: Any  # the ConnectionSettings, or None for an action without one
    resource: Any  # what `open` returned for that connection
    uses: tuple[ProbedUse, ...]  # the action's uses with that connection; may be empty
    base_folder: str  # where relative paths start
    timeout_seconds: float  # the probe is ended after so long; what it found until then is shown
    now: Callable[[], datetime]  # aware UTC
    log: FilteringBoundLogger
