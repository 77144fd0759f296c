"""When the gateway raises its own events, and how a route's digest gathers them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema

from gateway.config.schema.section import Section
from gateway.core.model import Digest
from gateway.plugin import Duration


def _positive(value: float) -> float:
    if value <= 0:
        raise ValueError("expected more than 0")
    return value


Bound = Annotated[Duration, AfterValidator(_positive)]
DIGEST_WAIT_SECONDS = 30.0


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


class DigestSettings(Section):
    """Gathers events that come close together. 5m is the same as {every: 5m}."""

    every: Bound = Field(description="At most one digest in so long.", examples=["5m"])
    wait: Duration = Field(
        DIGEST_WAIT_SECONDS,
        description="How long the first event waits for others; never longer than `every`.",
        examples=["10s"],
    )

    @model_validator(mode="before")
    @classmethod
    def _from_duration(cls, given: Any) -> Any:
        return given if isinstance(given, (dict, cls)) else {"every": given}

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        mapping = handler.resolve_ref_schema(handler(schema))
        every = mapping["properties"]["every"]
        return {"anyOf": [{**every, "pattern": every["pattern"] + r"|\$\{"}, mapping]}

    def rule(self) -> Digest:
        """The same as a plain record."""
        return Digest(self.every, min(self.wait, self.every))
