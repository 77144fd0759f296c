"""Whether the rows that a route keeps are what Stripe's objects, as they are now, would make of them; if not, why.

Each object goes through the route as a seed would have it, up to the action: that compares instead of writing. Columns
whose template asks for the event itself (its id, its time, what it changed) differ from event to event: left out.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import msgspec
from structlog.typing import FilteringBoundLogger

from gateway.config.load import Config
from gateway.core.envelope import own_object
from gateway.core.errors import GatewayError, StripeMissing
from gateway.core.masking import Maskers
from gateway.core.model import (
    Account,
    ActionUse,
    Claim,
    Delivery,
    DeliveryFilter,
    DeliveryState,
    Event,
    EventFilter,
    Fetch,
    Route,
)
from gateway.delivery.fetch import Fetcher, StripeFetcher
from gateway.delivery.resources import Resources
from gateway.intake.backfill.objects import event_of, version_of
from gateway.plugin import Action, Comparison, Context, Retry, RowDifference
from gateway.privacy.redaction import hidden_in
from gateway.simulation.engine import Simulator, StandIn
from gateway.simulation.hidden_columns import hidden_columns, without_hidden
from gateway.store.protocol import Store
from gateway.stripe.api import Asking, StripeApi, path_of
from gateway.stripe.connections import StripeApis
from gateway.stripe.object_states import CHANGED, ToldEvent

MOST_DOUBTED = 500  # objects that are kept whole, to be looked at again
MOST_OF_AN_OBJECT = 1000  # events, and deliveries, that are asked for the reason of a difference
_OF_EVENT = ("previous", "delivery", "steps")  # what differs from event to event, beside the event
_OF_OBJECT = ("livemode", "account", "context", "api_version", "object")  # of the event, what does not


class AuditFailed(GatewayError):  # noqa: N818 - reads as what it is
    """Rows could not be read."""


@dataclass(frozen=True, slots=True)
class AuditFinding:
    """A row that is not as it should be."""

    event: Event  # that the object would make now; it came when Stripe was asked for it
    action: str
    table: str
    key: Mapping[str, Any]
    wanted: Mapping[str, Any]  # the columns that differ; of a missing row all; masked and redacted
    row: Mapping[str, Any] | None
    why: str  # missed, late or edited
    detail: str
    is_on_its_way: bool = False  # a delivery of it is still to run

    def as_json(self) -> dict[str, Any]:
        """What `--json` shows of it."""
        return {
            "object": self.event.object_id,
            "account": self.event.account,
            "connected_account": self.event.connected_account,
            "action": self.action,
            "table": self.table,
            "key": self.key,
            "columns": {
                column: {"stripe": value, "row": None if self.row is None else self.row.get(column)}
                for column, value in self.wanted.items()
            },
            "is_missing": self.row is None,
            "why": self.why,
            "detail": self.detail,
        }


@dataclass(slots=True)
class AuditResult:
    """What came of all objects together."""

    objects: int = 0  # that Stripe listed
    sampled: int = 0
    rows: int = 0  # that were compared
    not_owed: int = 0  # objects of which the route keeps no row
    unknown: Counter[str] = field(default_factory=Counter)  # what could not be compared, by action and reason
    findings: list[AuditFinding] = field(default_factory=list)
    left_out: dict[str, tuple[str, ...]] = field(default_factory=dict)  # columns that are not compared, by action


def kept_by(config: Config, route: Route) -> list[ActionUse]:
    """The actions of a route whose rows can be compared."""
    return [use for use in route.actions if type(config.actions[use.uses]).compare is not Action.compare]


def of_the_event(use: ActionUse) -> tuple[str, ...]:
    """The columns of an action, or `key` and `values` as a whole, that differ from event to event."""
    paths = [path for path, leaf in use.settings.templates() if any(_differs(each.path) for each in leaf.references)]
    named = (".".join(map(str, path[:2])) for path in paths if path[0] in ("key", "values", "for_each"))
    return tuple(dict.fromkeys(named))


def _differs(path: Sequence[Any]) -> bool:
    if path[0] != "event":
        return path[0] in _OF_EVENT
    return not (path[1:3] == ("data", "object") or (len(path) > 1 and path[1] in _OF_OBJECT))


class Comparing(StandIn):
    """Takes the place of every action: those that keep rows compare them, the others send nothing."""

    def __init__(self, config: Config, resources: Resources) -> None:
        super().__init__(config)
        self._resources = resources
        self.is_comparing = True
        self.compared: dict[str, Comparison] = {}  # by action
        self.failure: str | None = None

    async def run(self, settings: Any, context: Context) -> Mapping[str, Any] | None:
        """What an action would return is not known. Raises Retry, Reject."""
        use = self._uses[context.route, context.action]
        real = self._actions[use.uses]
        if type(real).compare is Action.compare or not self.is_comparing:
            self.rehearse(settings, context)
            return None
        held = self._resources.use(real, use.connection, context.connection, context.base_folder)
        async with held as resource:
            try:
                comparison = await real.compare(settings, replace(context, resource=resource))
            except Retry as error:
                self.failure = error.message
                raise
        if comparison is not None:
            self.compared[context.action] = comparison
        return None


class _Present:
    """Brings objects as they are at Stripe: once for all actions of one look."""

    def __init__(self, fetcher: Fetcher) -> None:
        self.is_asking = True  # else: as the event tells it
        self._fetcher = fetcher
        self._last: tuple[Event, Mapping[str, Any]] | None = None

    async def fetch(
        self, claim: Claim, envelope: Mapping[str, Any], account: Account, fetch: Fetch
    ) -> Mapping[str, Any]:
        if not self.is_asking:
            return own_object(envelope)
        if self._last is None or self._last[0] is not claim.event:
            asked = replace(fetch, again=True)
            self._last = claim.event, await self._fetcher.fetch(claim, envelope, account, asked)
        return self._last[1]


class RouteAudit:
    """Compares one route's rows. `result` is what came of it so far."""

    def __init__(
        self, config: Config, route: Route, store: Store, apis: StripeApis, log: FilteringBoundLogger,
        told: Mapping[str, ToldEvent], *, keeps_objects: bool = True,
    ) -> None:  # fmt: skip
        """`told`: what its types tell, by type. `keeps_objects`: the findings hold them, so that they can be repaired;
        a million that differ would fill the memory.
        """
        actions = tuple(replace(use, dry_run=False, expires_seconds=None, later=None) for use in route.actions)
        armed = replace(route, actions=actions, dry_run=False, is_enabled=True, digest=None)
        narrow = replace(config, routes=(armed,))
        self.result = AuditResult()
        self._config, self._route, self._store, self._told = config, armed, store, told
        self._resources = Resources(lambda *_: True, log)
        self._comparing = Comparing(narrow, self._resources)
        self._present = _Present(StripeFetcher(store, apis))
        self._simulator = Simulator(narrow, self._comparing, self._present)
        self._keeps_objects = keeps_objects
        self._doubted: list[Event] = []
        for use in kept_by(config, armed):
            self.result.left_out[use.name] = of_the_event(use)

    async def close(self) -> None:
        """Closes the connections to what was compared."""
        await self._resources.close()

    async def take(self, event: Event, *, is_sampled: bool = True) -> None:
        """One object, as the event that it makes now. One that is not in the sample is not compared, and yet takes its
        `once_per` from later ones. Raises AuditFailed, StripeApiError, StoreError.
        """
        self._comparing.is_comparing = self._present.is_asking = is_sampled
        if not is_sampled:
            if self._route.once_per is not None:
                await self._simulator.simulate(event, delivery_id=f"of {event.id}")
            return
        self.result.sampled += 1
        if await self._differences(event, is_first=True):
            self._doubted.append(event)

    @property
    def has_many_doubts(self) -> bool:
        """Whether it is time to look again, though not all were taken."""
        return len(self._doubted) >= MOST_DOUBTED

    async def look_again(self, api: StripeApi) -> None:
        """Once all, or many, were taken: what differed then is asked for and compared once more. An object, or its row,
        may have changed between the two looks, and that is no difference.
        """
        self._comparing.is_comparing = self._present.is_asking = True
        while self._doubted:
            event = await self._as_it_is(self._doubted[0], api)
            del self._doubted[0]  # once Stripe has answered: whoever goes on after a failure tells of none twice
            if event is None:
                continue
            for action, difference in await self._differences(event, is_first=False):
                finding = await self._finding(event, action, difference)
                if finding is not None:
                    self.result.findings.append(finding)

    async def _as_it_is(self, event: Event, api: StripeApi) -> Event | None:
        value = msgspec.json.decode(event.body)["data"]["object"]
        path, account, read_at = path_of(value), self._config.accounts[event.account], datetime.now(UTC)
        if path is None:
            return event
        asking = Asking(connected_account=event.connected_account, api_version=version_of(account))
        try:
            now = await api.call("get", path, asking=asking)
        except StripeMissing:
            return None
        if now.get("deleted"):
            return None
        return event_of(now, event.type, account, self._route.name, event.connected_account, read_at)

    async def _differences(self, event: Event, *, is_first: bool) -> list[tuple[str, RowDifference]]:
        self._comparing.compared, self._comparing.failure = {}, None
        simulator = self._simulator if is_first else Simulator(
            replace(self._config, routes=(self._route,)), self._comparing, self._present
        )  # fmt: skip
        simulated = await simulator.simulate(event, delivery_id=f"of {event.id}")
        if self._comparing.failure is not None:
            raise AuditFailed(f"{self._route.name}: {self._comparing.failure}")
        if is_first:
            self._count(simulated.deliveries)
        found: list[tuple[str, RowDifference]] = []
        for action, comparison in self._comparing.compared.items():
            self.result.rows += comparison.rows if is_first else 0
            for difference in comparison.differences:
                kept = self._narrowed(event, action, difference)
                if kept is not None:
                    found.append((action, kept))
        return found

    def _count(self, deliveries: Sequence[Any]) -> None:
        """What came to no comparison."""
        mine = [each for each in deliveries if each.action.name in self.result.left_out]
        if not any(each.action.name in self._comparing.compared for each in mine):
            ends = [each for each in mine if each.state is not DeliveryState.SKIPPED]
            self.result.not_owed += not ends
            for each in ends:
                self.result.unknown[f"{each.action.name}: {each.reason}"] += 1

    def _narrowed(self, event: Event, action: str, difference: RowDifference) -> RowDifference | None:
        """Without the columns that differ from event to event; None where nothing is left to tell."""
        left_out = self.result.left_out[action]
        if difference.row is None:
            told = self._told.get(event.type)
            has_key = not any(name.startswith("key") for name in left_out)
            is_sure = told is not None and told.order != CHANGED and has_key
            return difference if is_sure else None
        if "values" in left_out:
            return None
        columns = [column for column in difference.wanted if f"values.{column}" not in left_out]
        if not columns:
            return None
        wanted, row = ({column: of[column] for column in columns} for of in (difference.wanted, difference.row))
        return replace(difference, wanted=wanted, row=row)

    async def _finding(self, event: Event, action: str, difference: RowDifference) -> AuditFinding | None:
        reason = await self._why(event, action, difference)
        if reason is None:
            return None
        redactions = self._config.redactions.paths
        masker = Maskers(self._config.masker, hidden_in([event], redactions))
        use = self._route.action(action)
        assert use is not None
        hidden = hidden_columns(use, msgspec.json.decode(event.body), redactions.get(event.account, ()))
        key, wanted, row = (
            None if columns is None else masker.mask(without_hidden(columns, hidden))
            for columns in (difference.key, difference.wanted, difference.row)
        )
        of = event if self._keeps_objects else replace(event, body=b"")
        return AuditFinding(of, action, difference.table, key or {}, wanted or {}, row, *reason)

    async def _why(self, event: Event, action: str, difference: RowDifference) -> tuple[str, str, bool] | None:
        """By what the store knows of the object: missed, late or edited, more words, and whether it is on its way. None
        where the row is not to be: what would have written it was cancelled, or has expired.
        """
        where = EventFilter(accounts=(event.account,), object_ids=(str(event.object_id),))
        known = await self._store.events(where, limit=MOST_OF_AN_OBJECT)
        ids = [each.id for each in known if each.connected_account == event.connected_account]
        owed: list[Delivery] = []
        if ids:
            of_them = DeliveryFilter(
                event_ids=ids, accounts=(event.account,), routes=(self._route.name,), actions=(action,)
            )
            owed = await self._store.deliveries(of_them, limit=MOST_OF_AN_OBJECT)
        if not owed:
            return "missed", "no event of it has come to the route", False
        for delivery in owed:
            if not delivery.state.is_final:
                return "late", f"{delivery.id} is {delivery.state}", delivery.state is not DeliveryState.BLOCKED
        last = owed[0]
        if last.state is DeliveryState.DEAD:
            return "late", f"{last.id} is dead: {last.reason}", False
        written = next((each for each in owed if each.state is DeliveryState.SUCCEEDED), None)
        if written is None:
            if difference.row is None and last.state in (DeliveryState.CANCELLED, DeliveryState.EXPIRED):
                return None
            return "missed", f"{last.id} is {last.state}: {last.reason}", False
        if difference.row is None:
            return "edited", f"{written.id} has written it, and it is gone", False
        whole = await self._store.delivery(written.id)
        if whole is not None and _has_written(whole[0].rendered, difference.row):
            return "missed", f"it is as {written.id} has written it: what changed at Stripe since did not come", False
        return "edited", f"it is not as {written.id} has written it", False


def _has_written(rendered: Any, row: Mapping[str, Any]) -> bool:
    """Whether a row is as an action has written it, by the rendered `with` that is kept with its delivery."""
    values = rendered.get("values") if isinstance(rendered, Mapping) else None
    if not isinstance(values, Mapping):
        return False
    written = {str(column).casefold(): value for column, value in values.items()}
    return all(_plainly(written.get(column.casefold())) == _plainly(value) for column, value in row.items())


def _plainly(value: Any) -> Any:
    """A value without the type that JSON, or a column, gave it."""
    if isinstance(value, (dict, list)) or value is None:
        return value
    text = str(value).strip().lower()
    with contextlib.suppress(ValueError):
        return float(text)
    with contextlib.suppress(ValueError):
        moment = datetime.fromisoformat(text.replace("z", "+00:00").replace("t", " "))
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    return {"true": 1.0, "false": 0.0}.get(text, text)
