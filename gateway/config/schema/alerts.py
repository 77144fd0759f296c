"""When the gateway raises its own events."""

from __future__ import annotations

from pydantic import Field

from gateway.config.schema.types import Bound, Section


class AlertSettings(Section):
    """When the gateway raises events of its own, for routes that take them."""

    silent_after: Bound | None = Field(
        None,
        description="gateway.account.silent: an account had no event for so long. Left out: only accounts that say so.",
        examples=["6h"],
    )
    signature_failures: int = Field(
        5,
        ge=1,
        le=10_000,
        description="gateway.signature.failing: so many requests in a row had a wrong signature.",
        examples=[20],
    )
    signature_within: Bound = Field(
        600.0, description="The time in which that happens, with none accepted between.", examples=["30m"]
    )
    backlog_after: Bound = Field(
        900.0,
        description="gateway.backlog.growing: the oldest delivery of a connection has been due for so long.",
        examples=["1h"],
    )
    repeat: Bound = Field(
        14400.0,
        description="What lasts (silence, failing signatures, a backlog) is told again so often.",
        examples=["1d"],
    )
