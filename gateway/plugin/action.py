"""What an action is: a model of its `with`, one async `run`, and the two exceptions it may raise."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from gateway.core.quick import quick
from gateway.plugin.exchange import Exchange
from gateway.plugin.preview import Preview
from gateway.plugin.probe import Finding, ProbeContext
from gateway.plugin.types import Deferred

if TYPE_CHECKING:  # takes long to import
    from structlog.typing import FilteringBoundLogger


class Settings(BaseModel):
    """The base of every action's `with`. Unknown keys are refused; numbers are taken where text is asked for."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True, populate_by_name=True)

    @classmethod
    def check(cls, written: Mapping[str, Any]) -> Iterable[str]:
        """Complaints about `with` as written, before anything is rendered: what no single field can know, such as
        *give text or html*. Runs at load; template texts are still unrendered. Yields messages for the ops person.
        """
        return ()


UNTIL_RESUMED = math.inf
"""A `pause_seconds` without an end: the connection rests until a person resumes it."""


class Retry(Exception):  # noqa: N818 - read as what the author asks for
    """The attempt failed in a way that may pass: try again later.

    `after_seconds` is what the destination asked for, if it did. `pause_seconds` asks that the whole
    connection rests for so long, or UNTIL_RESUMED. A Retry counts as a failure of the connection, which is paused after
    several in a row, unless `of_connection` is False: what failed is this delivery's own, such as one recipient.
    """

    def __init__(
        self,
        message: str,
        *,
        after_seconds: float | None = None,
        pause_seconds: float | None = None,
        of_connection: bool = True,
    ) -> None:
        super().__init__(message)
        self.of_connection = of_connection
        self.message = message
        self.after_seconds = after_seconds
        self.pause_seconds = pause_seconds


class Unreached(Retry):
    """The destination could not be reached, or takes nothing from anybody just now, such as a database that is switched
    over. What waits for that is tried soon after the connection, once it was paused, works again.
    """


class Reject(Exception):  # noqa: N818
    """The attempt failed for good: a dead letter. Say what is wrong and what would mend it.

    It does not count as a failure of the connection, unless `pause_seconds` asks that it rests for so long, or
    UNTIL_RESUMED.
    """

    def __init__(self, message: str, *, pause_seconds: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.pause_seconds = pause_seconds


class StripeWriter(Protocol):
    """Writes to Stripe for one delivery: with its account's key, on whose behalf its event is, and the delivery's id as
    the Idempotency-Key.
    """

    async def call(self, method: str, ids: Sequence[str], params: Mapping[str, Any]) -> Mapping[str, Any]:
        """Calls a method that the account's `may` allows, such as refunds.create; Stripe's answer. What it raises says
        by itself whether the attempt is repeated: an action lets it pass.
        """


@quick
@dataclass(frozen=True, slots=True)
class Context:
    """What an action knows of the delivery that it runs for."""

    delivery_id: str  # the same at every attempt: give it to the receiver as idempotency key
    attempt: int  # 1, 2, ...
    account: str  # the account's name in gateway.yaml
    route: str
    action: str
    event: Mapping[str, Any]  # the envelope, parsed; read only
    body: bytes  # the event exactly as Stripe posted it
    connection: Any  # the ConnectionSettings named by `with`, or None
    resource: Any  # what `open` returned for that connection
    timeout_seconds: float  # the attempt is cancelled after so long
    now: Callable[[], datetime]  # aware UTC; use it instead of the clock
    log: FilteringBoundLogger  # bound to the delivery; never log payloads or secrets
    base_folder: str = "."  # where relative paths start: the folder of gateway.yaml
    # for what is sent without `guarded_session`, which sends them by itself: traceparent; empty where nobody traces
    trace_headers: Mapping[str, str] = field(default_factory=dict)
    stripe: StripeWriter | None = None  # None: a dry run, or an event of the gateway itself
    attempts_left: int = 0  # runs that may follow this one; with none left, `Retry` ends in a dead letter
    exchanges: list[Exchange] = field(default_factory=list, repr=False)  # those that `sends` noted

    def sends(
        self,
        sent: str,
        headers: Iterable[tuple[str, str]] = (),
        body: Any = b"",
        *,
        hidden: Collection[str] = (),
    ) -> Exchange:
        """Notes what is about to be sent, for the delivery's page; give what comes back to its `answered`. `hidden` are
        names of headers whose values are not noted.
        """
        exchange = Exchange(sent, headers, body, hidden)
        self.exchanges.append(exchange)
        return exchange


@dataclass(frozen=True, slots=True)
class Fault:
    """A value of `with` or a connection that can never be right, at its place there. Never put a secret into it."""

    at: tuple[str | int, ...]  # such as ("headers", "Sender")
    text: str  # what is wrong
    fix: str = ""  # what to do about it
    is_of_key: bool = False  # the name is wrong, not what stands under it
    is_error: bool = True  # of a connection; else a warning


@dataclass(frozen=True, slots=True)
class RowDifference:
    """A row that is not as `run` would write it."""

    table: str
    key: Mapping[str, Any]
    wanted: Mapping[str, Any]  # the columns that differ as they should be, as JSON has them; of a missing row, all
    row: Mapping[str, Any] | None  # the same columns as they are; None: there is no such row


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came of comparing the rows that `run` would write with those that are there."""

    rows: int  # that were compared
    differences: Sequence[RowDifference]


S = TypeVar("S", bound=Settings)


class Action(Generic[S]):
    """One kind of action. The gateway makes one instance; `run` may run many times at once.

    The class's docstring is shown by `gateway actions`. Errors: `Retry` and `Reject` say what is to happen;
    a timeout, `OSError` or `asyncio.TimeoutError` is retried; any other exception is taken as a fault of the
    action and retried too, with its type and text as the error.
    """

    name: ClassVar[str]
    Settings: ClassVar[type[Settings]]
    requires: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Modules that it imports when it runs, each with what `pip install` brings it by: `{"fax": "my-action[fax]"}`.
    A configuration that uses it where one is missing is refused, with that command as the hint. Import such modules
    inside of functions, so that the action is known without them.
    """

    async def open(self, connection: Any, base_folder: str) -> Any:
        """Whatever `run` wants to share between runs on one connection: a pool, a session. Called before the first
        run on that connection, and again after its settings changed. May not contact the destination for long.
        `connection` is None for an action without one.
        """
        return None

    async def close(self, resource: Any) -> None:
        """Frees what `open` returned. No run uses it any more."""

    async def run(self, settings: S, context: Context) -> Mapping[str, Any] | None:
        """Does the work once. Returns the output that later actions see as `steps.<action>.output`."""
        raise NotImplementedError

    def faults(self, written: Mapping[str, Any], connection: Any) -> Iterable[Fault]:
        """What could never be sent, whatever the event brings; told at load. `written` is `with` as written, each
        template in it an Unrendered; `connection` the settings of the connection, or None where they are not sound.
        """
        return ()

    def rehearse(self, settings: S, context: Context) -> None:
        """What `run` would do short of reaching anything, for a dry run, `gateway test` and `gateway explain`: renders
        what is deferred, and raises Reject for what `run` would refuse by itself. `context.resource` is None. This one
        renders each deferred part once, without further names.
        """
        for name in type(settings).model_fields:
            part = getattr(settings, name)
            if isinstance(part, Deferred):
                part.render()

    def preview(self, settings: S, context: Context) -> Preview | None:
        """What `run` would send, for the console's page of a delivery: a request or a mail to look at. Reaches nothing;
        `context.resource` is None. None: the page shows the rendered values alone.
        """
        return None

    async def compare(self, settings: S, context: Context) -> Comparison | None:
        """For `gateway audit`: whether what `run` would write is there. Changes nothing; raises as `run` does. None:
        this action keeps nothing that could be compared.
        """
        return None

    async def is_reached(self, connection: Any, resource: Any) -> bool:
        """Whether the destination is there and takes what is brought, as far as that shows without a delivery; asked
        every few seconds, for 4 s at most, while a connection rests whose destination was away. `resource` is what
        `open` returned. Changes nothing and sends nothing that a person would see; what it raises means no. Left out:
        only a delivery can tell.
        """
        return False

    async def probe(self, context: ProbeContext) -> AsyncIterator[Finding]:
        """For `gateway doctor`: looks whether what `run` needs is there; changes nothing, sends nothing that a person
        would see. An async generator that yields findings; called once for each connection, also for one that no route
        uses. Retry, Reject and OSError end it as a bad finding with their text.
        """
        return
        yield  # makes it a generator that finds nothing
