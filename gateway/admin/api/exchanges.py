"""What the API and the console tell of what an attempt sent and got."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Headers = list[list[str]]


class ExchangeOut(BaseModel):
    """One thing that an attempt sent, and the answer to it, as they were kept: cut, and without secrets."""

    model_config = ConfigDict(defer_build=True)

    sent: str = Field(description="In a line: method and address of a request; what else was sent to whom.")
    headers: Headers = Field(default_factory=list)
    body: str = Field("", description="Its first characters.")
    bytes: int = Field(0, description="Of the whole body.")
    is_event: bool = Field(False, description="The body was the event as Stripe posted it, which is not kept twice.")
    answer: str | None = Field(None, description="In a line, such as `503 Service Unavailable`; null: none came.")
    answer_headers: Headers = Field(default_factory=list)
    answer_body: str = Field("", description="Its first characters.")
    answer_bytes: int = Field(0, description="Of as much of the answer as was read.")
    seconds: float | None = Field(None, description="From sending to the answer.")


def _kept(value: Any) -> Any:
    """What is no list is none: nothing was kept, or it was too large to be."""
    return value if isinstance(value, (list, tuple)) else []


Exchanges = Annotated[list[ExchangeOut], BeforeValidator(_kept)]
