"""A stored event, and what became of it, as a case: without what tells whom it was about.

What is expected is what happened, as far as today's configuration does the same of the event as it was, and of the
event as it is kept; the rest is left out, and told.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.config.load import Config
from gateway.config.yaml.writing import as_yaml
from gateway.core.envelope import parse_event, parse_json
from gateway.core.fetch_answer import read_answer
from gateway.core.model import Delivery, DeliveryState, Event, Route
from gateway.core.model.needs import DRY_RUN
from gateway.core.routing import is_digest
from gateway.privacy.disguise import Disguise
from gateway.privacy.redaction import REDACTED
from gateway.simulation.engine import Assumed, SimulatedDelivery, SimulationResult, Simulator

_LONGEST_REASON = 200
_MOST_OUTPUTS = 20


@dataclass(frozen=True, slots=True)
class Happened:
    """What the inbox says of an event."""

    event: Event
    deliveries: Sequence[Delivery]  # whole
    fetched: Mapping[str, Any] | None = None  # what Stripe brought, where it was asked


@dataclass(frozen=True, slots=True)
class Recording:
    """A case to write. `files` are JSON, by their names from the folder of the case."""

    case: Mapping[str, Any]
    files: Mapping[str, Mapping[str, Any]]
    hidden: Mapping[str, int]  # how much of each kind
    left_out: tuple[str, ...]  # in words

    def text(self, name: str, head: str) -> str:
        """The file with the case, below a comment."""
        lines = [head, *(f"left out: {note}" for note in self.left_out)]
        comment = "".join(f"# {line}\n" for line in "\n".join(lines).split("\n"))
        return f"{comment}cases:\n" + _indented(as_yaml({name: dict(self.case)}, width=120))


async def record(happened: Happened, config: Config, is_first_account: bool, stem: str) -> Recording:
    """Makes a case of what happened; `stem` begins the names of its files. Raises EnvelopeError where the body is no
    event.
    """
    event = happened.event
    disguise = Disguise(config.redactions.paths.get(event.account, ()))
    envelope = disguise.event(parse_json(event.body))
    fetched = None if happened.fetched is None else read_answer(happened.fetched).object
    masked = None if fetched is None else disguise.event({"data": {"object": dict(fetched)}})["data"]["object"]
    latest = _latest(happened.deliveries)
    assumed = await _assumed(event, latest, config, fetched)
    before = await Simulator(config).simulate(event, assumed)
    outputs = {name: disguise.other(output) for name, output in assumed.outputs.items()}
    failures = {name: str(disguise.other(failure)) for name, failure in assumed.failures.items()}
    kept = parse_event(json.dumps(envelope).encode(), event.account, event.received_at)
    after = await Simulator(config).simulate(kept, Assumed(outputs, failures, masked, expands=False))
    observed = _Observed(latest, before, after, config)
    expect = observed.expected()
    files = {f"events/{stem}.json": envelope}
    case: dict[str, Any] = {} if is_first_account else {"account": event.account}
    case["event"] = f"events/{stem}.json"
    if masked is not None:
        files[f"events/{stem}.fetched.json"] = masked
        case["fetch"] = f"events/{stem}.fetched.json"
    left_out = tuple(str(disguise.other(note)) for note in observed.left_out)
    case |= {key: value for key, value in (("outputs", outputs), ("failures", failures)) if value}
    return Recording({**case, "expect": expect}, files, disguise.count, left_out)


async def _assumed(
    event: Event, latest: Mapping[tuple[str, str], Delivery], config: Config, fetched: Mapping[str, Any] | None
) -> Assumed:
    """What the outside said: the outputs that others look at, and what failed there for good."""
    outputs: dict[str, Mapping[str, Any]] = {}
    failures: dict[str, str] = {}
    for _ in range(_MOST_OUTPUTS):
        assumed = Assumed(dict(outputs), dict(failures), fetched, expands=False)
        result = await Simulator(config).simulate(event, assumed)
        known = len(outputs) + len(failures)
        for delivery in result.deliveries:
            stored = latest.get((delivery.route, delivery.action.name))
            if delivery.unknown is not None:
                asked = latest.get((delivery.route, delivery.unknown))
                if asked is not None and isinstance(asked.output, Mapping):
                    outputs.setdefault(delivery.unknown, asked.output)
            if stored is not None and stored.state is DeliveryState.DEAD and delivery.state is DeliveryState.SUCCEEDED:
                failures.setdefault(stored.action, _first_line(stored.last_error or stored.reason or "failed"))
        if len(outputs) + len(failures) == known:
            return assumed
    return Assumed(outputs, failures, fetched, expands=False)


def _latest(deliveries: Iterable[Delivery]) -> dict[tuple[str, str], Delivery]:
    """The newest of each action: a replay makes others."""
    in_order = sorted(deliveries, key=lambda delivery: (delivery.created_at, delivery.id))
    return {(delivery.route, delivery.action): delivery for delivery in in_order}


class _Observed:
    """What happened, beside what today's configuration does of the event as it was, and as it is kept."""

    def __init__(
        self,
        latest: Mapping[tuple[str, str], Delivery],
        before: SimulationResult,
        after: SimulationResult,
        config: Config,
    ) -> None:
        self._latest = latest
        self._before = {(delivery.route, delivery.action.name): delivery for delivery in before.deliveries}
        self._after = {(delivery.route, delivery.action.name): delivery for delivery in after.deliveries}
        self._routes = {route.name: route for route in config.routes}
        self._result = after
        self.left_out: list[str] = []

    def expected(self) -> str | dict[str, Any]:
        """The case's `expect`."""
        then = {route for route, _ in self._latest}
        deliveries: dict[str, dict[str, Any]] = {}
        for route, action in dict.fromkeys((*self._after, *self._before, *self._latest)):
            expected = self._delivery(route, action)
            if expected is not None:
                deliveries.setdefault(route, {})[action] = expected
        expect: dict[str, Any] = {"state": self._result.event.state.value}
        if set(self._result.routes) == then:
            if not then and self._result.event.state.value == "unmatched":
                return "nothing"
            expect = {"routes": {route: self._succeeding(route, deliveries) for route in self._result.routes}}
        return {**expect, "deliveries": deliveries} if deliveries else expect

    def _succeeding(self, route: str, deliveries: Mapping[str, Mapping[str, Any]]) -> list[str] | None:
        """The actions of a route that succeed; None, which says only that it matches, where some are left out."""
        actions = [action for of, action in self._after if of == route]
        if any(action not in deliveries.get(route, {}) for action in actions):
            return None
        return [action for action in actions if self._after[route, action].state is DeliveryState.SUCCEEDED]

    def _delivery(self, route: str, action: str) -> dict[str, Any] | None:
        """What is expected of one; None where nothing can be, which is told."""
        key = (route, action)
        stored, before, after = self._latest.get(key), self._before.get(key), self._after.get(key)
        note = self._why_not(route, action, stored, before, after)
        if note is not None:
            self.left_out.append(f"{route}.{action}: {note}")
            return None
        assert stored is not None and before is not None and after is not None  # noqa: PT018 - else there is a note
        return self._as_expected(f"{route}.{action}", stored, before, after)

    def _why_not(
        self,
        route: str,
        action: str,
        stored: Delivery | None,
        before: SimulatedDelivery | None,
        after: SimulatedDelivery | None,
    ) -> str | None:
        """Why nothing is expected of a delivery."""
        if stored is None:
            return "owed today, and was not then"
        if before is None:
            return f"was owed then ({stored.state.value}), and is not today"
        if is_digest(stored):
            return "a digest, which holds other events too"
        if stored.state is not before.state:
            why = stored.reason or stored.last_error
            was = f"was {stored.state.value}{f' ({_first_line(why)})' if why else ''}"
            return f"{was}, and would be {before.state.value} today"
        if after is None or after.state is not before.state:
            return "ends otherwise once its values are hidden"
        late = self._may_expire(self._routes[route], action)
        if late is not None:
            return f"{late} has `expires`: say `arrives` and the rest by hand"
        return None

    def _may_expire(self, route: Route, action: str) -> str | None:
        """The action, or one that it needs, that ends otherwise with time."""
        names = (action, *sorted(route.needed_by(action)))
        uses = [route.action(name) for name in names]
        return next((use.name for use in uses if use is not None and use.expires_seconds is not None), None)

    def _as_expected(
        self, name: str, stored: Delivery, before: SimulatedDelivery, after: SimulatedDelivery
    ) -> dict[str, Any]:
        state, reason = after.state, after.reason or ""
        if state is DeliveryState.BLOCKED:
            return {"blocked": True}
        if state is DeliveryState.DEAD:
            return {"error": _stable(reason)}
        values = self._with(name, stored, before, after)
        if state is DeliveryState.SKIPPED:
            skipped = DRY_RUN if reason.startswith(DRY_RUN) else _stable(reason)
            return {"skipped": skipped, **({"with": values} if values else {})}
        return {"with": values} if values else {}

    def _with(self, name: str, stored: Delivery, before: SimulatedDelivery, after: SimulatedDelivery) -> dict[str, Any]:
        """The rendered values that are those that were sent."""
        then, now, shown = (_mapping(value) for value in (stored.rendered, before.rendered, after.rendered))
        kept = {}
        for key, value in shown.items():
            if key in then and then[key] == now.get(key):
                kept[key] = value
            elif then:
                self.left_out.append(f"{name}: with.{key} is rendered otherwise today, or comes from a variable")
        return kept


def _mapping(rendered: Any) -> Mapping[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(rendered, default=str)) if isinstance(rendered, Mapping) else {}
    return plain


def _first_line(text: str) -> str:
    return text.split("\n", 1)[0][:_LONGEST_REASON]


def _stable(reason: str) -> str | bool:
    """A part of a reason that is the same on every machine."""
    line = _first_line(reason)
    return True if not line or ".yaml:" in line or REDACTED in line else line


def _indented(text: str) -> str:
    return "".join(f"  {line}\n" if line else "\n" for line in text.rstrip("\n").split("\n"))


def hidden_words(hidden: Mapping[str, int]) -> Iterator[str]:
    """`2 of kind name` of each kind, for people."""
    for kind, count in sorted(hidden.items()):
        yield f"{count} x {kind}"
