"""What every connection has: its limits, and when it is paused."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from gateway.plugin.action import Fault
from gateway.plugin.types import Duration, Rate


class BreakerSettings(BaseModel):
    """When a connection that fails is paused. Its backlog is kept meanwhile, and is charged no attempts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    failures: int = Field(5, ge=1, le=1000, description="So many failures in a row pause it.", examples=[3])
    pause: Duration = Field(
        30.0,
        description="The first pause; then one delivery probes. Each next is twice as long.",
        examples=["1m"],
    )
    max: Duration = Field(600.0, description="No pause is longer.", examples=["1h"])


def _breaker(value: Any) -> Any:
    return None if value is False else {} if value is True else value


class ConnectionSettings(BaseModel):
    """What every connection has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: str
    rate: Rate | None = Field(
        None,
        description="At most so many attempts in a time, by all gateways on one store together. Left out: no limit.",
    )
    concurrency: int = Field(
        8, ge=1, le=1000, description="At most so many attempts at once, of each gateway.", examples=[4]
    )
    breaker: Annotated[
        BreakerSettings | None, BeforeValidator(_breaker, json_schema_input_type=BreakerSettings | bool)
    ] = Field(default_factory=BreakerSettings, description="When failures in a row pause it; false: never.")

    def faults(self, folder: Path) -> Iterable[Fault]:
        """What no single field can know, once each is sound: two that exclude each other, a file that is not there, an
        address that is never reached. Runs at load and contacts nothing; relative paths start at `folder`.
        """
        return ()
