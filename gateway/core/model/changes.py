"""What came of a change that a person asked for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Done:
    """It was made."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """It was not made, and why."""

    reason: str


ChangeResult = Done | Refusal
DONE = Done()
