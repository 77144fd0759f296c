"""What the console sees of the gateway around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gateway.config.load import Config
from gateway.config.runtime import Reload, RuntimeConfig
from gateway.core.model import ConnectionState, ConnectionStatus
from gateway.core.routing import RouteTable
from gateway.delivery.concurrency import GroupFigures
from gateway.delivery.worker import Worker

SLOW_SECONDS = 5.0  # a connection whose attempts take longer, on average, is called slow
ConnectionWord = Literal["ok", "slow", "paused"]


@dataclass(frozen=True, slots=True)
class GatewayView:
    """A gateway at work."""

    runtime: RuntimeConfig
    worker: Worker

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self.runtime.config

    def in_force(self) -> tuple[Config, RouteTable]:
        """The same, with the table of its routes."""
        return self.runtime.config, self.runtime.table

    @property
    def reload_error(self) -> str | None:
        """Every problem of the last read, where it did not load; else None."""
        return self.runtime.last.error

    def reloads(self) -> Sequence[Reload]:
        """What was read, the newest first."""
        return list(reversed(self.runtime.history))

    def figures(self, name: str) -> GroupFigures | None:
        """How a connection's attempts went, as far as this gateway has heard."""
        return self.worker.figures(name)

    def tells_of(self, name: str) -> bool:
        """Whether whoever looks may see what a connection did."""
        return True

    def connection_state(self, name: str) -> ConnectionWord:
        """How a connection does, as far as this gateway has heard."""
        return self.connection_word(name, self.worker.status(name))

    def connection_word(self, name: str, status: ConnectionStatus) -> ConnectionWord:
        """How one does that stands so."""
        if status.state is not ConnectionState.WORKING:
            return "paused"
        figures = self.figures(name)
        return "slow" if figures is not None and figures.mean_seconds > SLOW_SECONDS else "ok"
