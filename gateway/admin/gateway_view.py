"""What the console asks of the gateway around it. `gateway.app` brings it; nothing here knows how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from gateway.config.load import Config
from gateway.core.model import Event, PlannedDelivery


@dataclass(frozen=True, slots=True)
class ConnectionView:
    """How one connection does."""

    name: str
    state: Literal["ok", "slow", "paused"]
    paused_seconds: float = 0.0  # until it is tried again; 0 in a pause: a delivery is trying it now
    until_resumed: bool = False  # paused without an end
    running: int = 0  # attempts on it now
    concurrency: int = 0
    mean_seconds: float = 0.0  # of an attempt, lately


@dataclass(frozen=True, slots=True)
class ReloadView:
    """One read of gateway.yaml, the first one included."""

    at: datetime
    version: str  # of what was read; empty where it did not load
    error: str | None = None  # every problem, where it did not load: the one before stays in force
    diff: str = ""  # against the one before, secrets masked


class GatewayView(Protocol):
    """A gateway at work."""

    @property
    def config(self) -> Config:
        """The configuration in force."""

    @property
    def reload_error(self) -> str | None:
        """Every problem of the last read, where it did not load; else None."""

    def reloads(self) -> Sequence[ReloadView]:
        """What was read, the newest first."""

    def connections(self) -> Sequence[ConnectionView]:
        """Every connection of the configuration."""

    def replan(self, event: Event) -> Sequence[PlannedDelivery]:
        """What the configuration in force owes for a stored event. Raises UsageError."""
