"""What intake and delivery tell of their work where somebody traces it. Without `tracing:` nobody does: they are given
None in these places, and do nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Protocol

from gateway.core.model import Claim, Event, Outcome

Header = Callable[[str], str | None]
"""The value of a request's header, by its name in small letters."""


class Arrival(Protocol):
    """One verified event, from its request to its commit. A context manager around the commit, whose end is the
    answer.
    """

    @property
    def context(self) -> str | None:
        """The trace context that the event's deliveries go on: kept with it."""

    @property
    def trace_id(self) -> str:
        """What ties log lines to the trace."""

    def stored(self, outcome: str) -> None:
        """The commit is done; the event is one of these now."""

    def __enter__(self) -> object: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, place: TracebackType | None
    ) -> None: ...


class AttemptTrace(Protocol):
    """One attempt. A context manager around what the action does, which remembers what kind of error it raised."""

    @property
    def trace_id(self) -> str:
        """What ties log lines to the trace."""

    @property
    def headers(self) -> Mapping[str, str]:
        """What a request bears to go on the trace: `traceparent` and, where there is one, `tracestate`."""

    def ended(self, ending: Outcome) -> None:
        """What became of the claim. Nothing of its texts is told on: they may quote what a destination answered."""

    async def __aenter__(self) -> object: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, place: TracebackType | None
    ) -> None: ...


class Tracer(Protocol):
    """Whoever traces."""

    def arrival(self, header: Header, path: str, event: Event, at: float) -> Arrival:
        """A verified event whose request began at that Unix time."""

    def attempt(self, claim: Claim) -> AttemptTrace:
        """A claim whose attempt begins now."""
