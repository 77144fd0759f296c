"""A real store beside the model: each step is done on both, and what they say must be the same."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from gateway.core.model import (
    ChangeResult,
    Delivery,
    DeliveryFilter,
    DeliveryState,
    Event,
    EventFilter,
    Finish,
    Gathered,
    Lane,
    Outcome,
    PlannedDelivery,
    Refusal,
    SharedRate,
)
from gateway.core.model.word import word_of
from gateway.store.protocol import Store
from tests.model.records import DisagreementError, EventKey, ModelDelivery, must
from tests.model.sides import ModelSides
from tests.model.store import ModelStore

START_MS = 1_795_400_000_000
LEAST_PUT_BACK_MS = 1000  # less is only waited for
LANES = [
    Lane(account, route, action)
    for account in ("acme", "other")
    for route in ("r1", "r2")
    for action in ("a", "b", "c")
]
INTERRUPTED = "interrupted"
_IDS = re.compile(r"dlv_[0-9a-f]{32}")
_UNKEPT = re.compile("[\0\ud800-\udfff\ufffd]")  # what a store may keep as another character
Taken = tuple[str, str]  # a delivery's name and the token under which it was once claimed


class Clock:
    """The store's clock, and one that nobody sets."""

    def __init__(self) -> None:
        self.now = START_MS
        self.steady = 0
        self.most_ahead = START_MS  # of the steady one, that the store was told since it looked whether it was put back

    @property
    def ahead(self) -> int:
        """By how much it is ahead of the steady one."""
        return self.now - self.steady

    def told(self) -> int:
        """What it says to a store."""
        self.most_ahead = max(self.most_ahead, self.ahead)
        return self.now

    def pass_ms(self, milliseconds: int) -> None:
        """Time passes."""
        self.now += milliseconds
        self.steady += milliseconds


def plain(text: str | None) -> str | None:
    """A text as every store can keep it, and says it."""
    if text is not None and text.endswith("whether it took effect is not known"):
        return INTERRUPTED
    return None if text is None else _UNKEPT.sub("?", text)


_OPEN = (DeliveryState.BLOCKED, DeliveryState.PENDING)


def at_ms(moment: datetime | None) -> int | None:
    """The store's integer for a moment."""
    return None if moment is None else round(moment.timestamp() * 1000)


class World:
    """One place with its gateways, each a store, and the model of it. Deliveries go by the model's names."""

    def __init__(
        self, label: str, gateways: Sequence[Store], clock: Clock, reopen: Callable[[int], Awaitable[Store]] | None
    ) -> None:
        """`reopen` kills a gateway and starts it again."""
        self.label = label
        self._gateways = list(gateways)
        self._reopen = reopen
        self.clock = clock
        clock.most_ahead = clock.ahead
        self.model = ModelStore(is_shared=gateways[0].is_shared)
        self.sides = ModelSides(self.model)
        self._name_of: dict[str, str] = {}
        self._id_of: dict[str, str] = {}
        self._keys: dict[str, str] = {}  # as the store shows them -> as given: long ones may be kept hashed
        self.taken: list[Taken] = []

    # -- names ------------------------------------------------------------------------------------------------

    def store(self, gateway: int) -> Store:
        """One of its gateways."""
        return self._gateways[gateway % len(self._gateways)]

    def _named(self, text: str | None) -> str | None:
        """A text with the model's names."""
        return None if text is None else _IDS.sub(lambda found: self._name_of.get(found[0], "a stranger"), text)

    def name(self, number: int) -> str:
        """Some delivery, counted back from the newest, perhaps one that is gone, or never was."""
        return f"d{max(0, self.model.made - number)}"

    def event_key(self, number: int) -> EventKey:
        """Some event, counted back from the newest, or one that never came."""
        return self.model.events[-1 - number].key if number < len(self.model.events) else ("acme", "evt_never")

    def _id(self, name: str) -> str:
        return self._id_of.get(name, "dlv_" + "0" * 32)

    def same(self, what: str, stored: object, expected: object) -> None:
        """Compares an answer."""
        if stored != expected:
            raise DisagreementError(f"{what}: {self.label} says {stored!r}, the model {expected!r}")

    # -- what is compared after every step --------------------------------------------------------------------

    async def compare(self) -> None:
        """Everything that lists show."""
        store = self.store(0)
        listed = await store.deliveries(DeliveryFilter(), limit=100_000, newest_first=False)
        self._learn(listed)
        self.same("deliveries in order of arrival", [self._name_of[d.id] for d in listed], self._names())
        for delivery, expected in zip(listed, self.model.deliveries, strict=True):
            self._compare_delivery(delivery, expected)
        counts = {state: count for state, count in (await store.counts()).items() if count}
        wanted: dict[str, int] = {"events": len(self.model.events)} if self.model.events else {}
        for expected in self.model.deliveries:
            wanted[expected.state] = wanted.get(expected.state, 0) + 1
        self.same("counts", counts, wanted)

    def _names(self) -> list[str]:
        return [delivery.name for delivery in self.model.deliveries]

    def _learn(self, listed: Sequence[Delivery]) -> None:
        """Names those that are new, in order of arrival."""
        names = iter(name for name in self._names() if name not in self._id_of)
        for delivery in listed:
            if delivery.id not in self._name_of:
                name = next(names, None)
                must(name is not None, f"{self.label} has a delivery that the model has not: {delivery}")
                assert name is not None
                self._name_of[delivery.id], self._id_of[name] = name, delivery.id

    def _key(self, kept: str | None, given: str | None) -> str | None:
        if kept is None or given is None:
            return kept
        return self._keys.setdefault(kept, given)

    def _compare_delivery(self, kept: Delivery, expected: ModelDelivery) -> None:
        fields = (
            ("state", kept.state.value, expected.state),
            ("reason", plain(self._named(kept.reason)), plain(expected.reason)),
            ("attempts", kept.attempts, expected.attempts),
            ("last error", plain(kept.last_error), plain(expected.last_error)),
            ("next attempt", at_ms(kept.next_attempt_at), expected.due_at if expected.state == "pending" else None),
            ("finished", at_ms(kept.finished_at), expected.finished_at),
            ("made", at_ms(kept.created_at), expected.created_at),
            ("event", (kept.account, kept.event_id, kept.event_type), (*expected.event, expected.event_type)),
            ("lane", kept.lane, expected.lane),
            ("run", self._name_of.get(kept.run_id), expected.run),
            ("needs", kept.needs, expected.needs),
            ("how they have to end", kept.otherwise, expected.otherwise),
            ("what people said", kept.word, word_of(json.dumps(expected.word))),
            ("judged", kept.is_judged, expected.is_judged),
            ("once key", self._key(kept.once_key, expected.once_key), expected.once_key),
            ("waits until", at_ms(kept.waits_until), expected.waits_until if kept.state in _OPEN else None),
            ("until key", self._key(kept.until_key, expected.until_key), expected.until_key),
            ("order key", self._key(kept.order_key, expected.order_key), expected.order_key),
        )
        if any(stored != wanted for _, stored, wanted in fields):
            for field, stored, wanted in fields:
                self.same(f"{field} of {expected.name}", stored, wanted)
        if kept.waits_for_turn:  # the store may not have noticed yet; but it must not hold up whose turn it is
            must(not self.model.is_in_turn(expected), f"{self.label} lets {expected.name} wait, though it is its turn")

    async def compare_one(self, name: str) -> None:
        """A delivery whole, with its attempts."""
        shown = await self.store(0).delivery(self._id(name))
        expected = self.model.delivery(name)
        self.same(f"whether there is {name}", shown is not None, expected is not None)
        if shown is None or expected is None:
            return
        self._compare_delivery(shown[0], expected)
        log = [(attempt.number, attempt.outcome.value, plain(attempt.error)) for attempt in shown[1]]
        self.same(f"attempts of {name}", log, [(n, outcome, plain(error)) for n, outcome, error in expected.log])

    async def compare_all(self) -> str:
        """Each delivery whole, the inbox, and how each connection stands."""
        for delivery in list(self.model.deliveries):
            await self.compare_one(delivery.name)
        await self.compare_events()
        return "the same"

    async def compare_events(self) -> None:
        """The inbox, and how each connection stands."""
        listed = await self.store(0).events(EventFilter(), limit=100_000, newest_first=False)
        shown = [(e.account, e.id, e.type, at_ms(e.received_at), plain(e.object_id)) for e in listed]
        kept = self.model.events
        self.same("events", shown, [(*e.key, e.type, e.received_at, plain(e.object_id)) for e in kept])
        now = self.clock.now
        for name, status in (await self.store(0).connections()).items():
            expected = self.sides.connections[name]
            left = None if expected.until is None else max(0, expected.until - now) / 1000
            stored = (
                status.version,
                status.state.value,
                at_ms(status.since),
                status.left_seconds,
                plain(status.reason),
            )
            wanted = (expected.version, expected.state, expected.since, left, plain(expected.reason))
            self.same(f"connection {name}", stored, wanted)

    # -- steps ------------------------------------------------------------------------------------------------

    async def add(self, gateway: int, event: Event, planned: Sequence[PlannedDelivery]) -> str:
        """An event arrives."""
        planned = self._from_now(planned)
        added = await self.store(gateway).add(event, planned)
        self.model.add(event, planned, self.clock.now, added.is_duplicate)
        return "a duplicate" if added.is_duplicate else f"makes {len(planned)}"

    async def replay(self, gateway: int, key: EventKey, planned: Sequence[PlannedDelivery], force: bool) -> str:
        """A person replays an event."""
        planned = self._from_now(planned)
        ids = await self.store(gateway).replay(*key, planned, force=force)
        count = self.model.replay(key, planned, force, self.clock.now)
        self.same(f"replay of {key}", None if ids is None else len(ids), count)
        return "there is none" if ids is None else f"makes {len(ids)}"

    def _from_now(self, planned: Sequence[PlannedDelivery]) -> list[PlannedDelivery]:
        """The same; steps say of times only how far ahead they are, since 1970."""
        now = timedelta(milliseconds=self.clock.now // 1000 * 1000)
        return [p if p.waits_until is None else replace(p, waits_until=p.waits_until + now) for p in planned]

    async def look(self, gateway: int) -> str:
        """A gateway asks which lanes have work: all that is claimable must be seen, and the next not told too late."""
        store = self.store(gateway)
        due = await store.due()
        now = self.clock.now
        if store.is_shared:
            self.model.take_over(now, only_expired=True, error=INTERRUPTED)
        else:
            put_back = self.clock.most_ahead - self.clock.ahead
            if put_back >= LEAST_PUT_BACK_MS:
                self.sides.bring_forward(put_back, now)
            self.clock.most_ahead = self.clock.ahead
        claimable = {delivery.lane for delivery in self.model.claimable(now)}
        missing = claimable - set(due.lanes)
        must(not missing, f"{self.label} does not see work of {missing}")
        waiting = {delivery.lane for delivery in self.model.deliveries if delivery.state == "pending"}
        must(set(due.lanes) <= waiting, f"{self.label} sees work where nothing waits: {due.lanes}")
        must(len(due.late_seconds) == len(due.lanes), "as many ages as lanes")
        next_due = self.model.next_due(now)
        if next_due is not None:
            told = due.next_in_seconds
            must(told is not None and told <= (next_due - now) / 1000 + 0.001, f"the next is due at {next_due}: {told}")
        return f"{len(due.lanes)} lanes"

    async def claim(
        self, gateway: int, lanes: Sequence[Lane], limit: int, lease_seconds: float, rates: Sequence[SharedRate]
    ) -> str:
        """A gateway claims until it has what it may have: a store may find only at a claim whose turn it is."""
        wanted = dict.fromkeys(lanes, limit)
        taken: list[str] = []
        for _ in range(2 + len(self.model.deliveries)):
            told = await self._claim_once(gateway, wanted, rates, lease_seconds)
            for name in told:
                lane = self.model.delivery(name).lane  # type: ignore[union-attr]
                wanted[lane] -= 1
            taken += told
            if not self._could_take(wanted, rates):
                return ", ".join(taken) or "nothing"
        raise DisagreementError(f"{self.label} does not give what is due: {self._could_take(wanted, rates)}")

    def _could_take(self, wanted: Mapping[Lane, int], rates: Sequence[SharedRate]) -> list[str]:
        now = self.clock.now
        full = {lane for rate in rates if self.model.tokens(rate, now) < 1 for lane in rate.lanes}
        return [
            delivery.name
            for delivery in self.model.claimable(now)
            if wanted.get(delivery.lane, 0) > 0 and delivery.lane not in full
        ]

    async def _claim_once(
        self, gateway: int, wanted: Mapping[Lane, int], rates: Sequence[SharedRate], lease_seconds: float
    ) -> list[str]:
        now = self.clock.now
        before = self.model.claimable(now)
        claims = await self.store(gateway).claim(wanted, lease_seconds=lease_seconds, rates=rates)
        ended = DeliveryFilter(states=("cancelled", "skipped"))
        listed = await self.store(0).deliveries(ended, limit=100_000, newest_first=False)
        for delivery in listed:
            name, reason = self._name_of[delivery.id], self._named(delivery.reason) or ""
            expected = self.model.delivery(name)
            if expected is not None and expected.state == "pending" and reason.startswith("once_per: "):
                self.model.skip_done_once(name, reason.split()[1], wanted, now)
            elif expected is not None and expected.state == "pending" and reason.startswith("until: "):
                self.model.end_waiting([expected.until_key], now, [expected])
        named = [(self._name_of[claim.delivery.id], claim.token) for claim in claims]
        self.model.claim(named, wanted, rates, int(lease_seconds * 1000), now, before)
        self.taken += named
        for claim in claims:
            expected = self.model.delivery(self._name_of[claim.delivery.id])
            assert expected is not None
            self._compare_delivery(claim.delivery, expected)
            event = self.model.event(expected.event)
            assert event is not None
            self.same("the claimed event", (claim.event.id, bytes(claim.event.body)), (event.key[1], event.body))
            run = self.model.run(expected) if expected.needs else []
            outputs = {d.lane.action: d.output for d in run if d.state == "succeeded"}
            told = {action: None if o is None else o["told"] for action, o in claim.outputs.items() if _is_plain(o)}
            odd = [action for action, output in claim.outputs.items() if not _is_plain(output)]
            self.same("outputs", told | dict.fromkeys(odd, "odd"), outputs)
        return [name for name, _ in named]

    async def finish(self, gateway: int, taken: int, ending: Outcome) -> str:
        """A gateway records what became of a claim, which may have been lost long ago."""
        if not self.taken:
            return "nothing was ever claimed"
        name, token = self.taken[-1 - taken % len(self.taken)]
        recorded = await self.store(gateway).finish(self._id(name), token, ending)
        expected = self.model.finish(name, token, ending, self.clock.now)
        self.same(f"whether {name}'s lease held", recorded, expected)
        delivery = self.model.delivery(name)
        if expected and delivery is not None and isinstance(ending, Finish) and ending.output is not None:
            delivery.output = ending.output["told"] if _is_plain(ending.output) else "odd"
        await self.compare_one(name)
        return f"{name}: {'recorded' if recorded else 'its lease is lost'}"

    async def renew(self, gateway: int, lease_seconds: float) -> str:
        """A gateway renews whatever was ever claimed."""
        latest = dict(self.taken)
        claims = [(self._id(name), token) for name, token in latest.items()]
        lost = {self._name_of[id] for id in await self.store(gateway).renew(claims, lease_seconds=lease_seconds)}
        self.same(
            "lost leases", lost, self.model.renew(list(latest.items()), int(lease_seconds * 1000), self.clock.now)
        )
        return f"lost: {sorted(lost)}"

    async def kill(self, gateway: int) -> str:
        """A gateway dies and starts again. A store of one gateway takes over at once what it left running."""
        if self._reopen is None:
            return "not here"
        number = gateway % len(self._gateways)
        self._gateways[number] = await self._reopen(number)
        if not self._gateways[number].is_shared:
            self.model.take_over(self.clock.now, only_expired=False, error=INTERRUPTED)
            self.clock.most_ahead = self.clock.ahead
        return "starts again"

    async def retry(self, gateway: int, names: Sequence[str]) -> str:
        """A person revives deliveries."""
        told = await self.store(gateway).retry([self._id(name) for name in names])
        refusals = {name: self._refusal(told[self._id(name)]) for name in names}
        for name, refusal in refusals.items():
            self.model.retry(name, self.clock.now, refusal)
        return ", ".join(f"{name}: {refusal or 'done'}" for name, refusal in refusals.items())

    def _refusal(self, result: ChangeResult) -> str | None:
        return self._named(result.reason) if isinstance(result, Refusal) else None

    async def answer(self, gateway: int, name: str, who: str, is_yes: bool) -> str:
        """A person says yes or no."""
        refusal = self._refusal(await self.store(gateway).answer(self._id(name), who, is_yes=is_yes))
        self.same(f"the answer to {who}", refusal, self.model.answer(name, who, is_yes, self.clock.now))
        await self.compare_one(name)
        return refusal or "done"

    async def cancel(self, gateway: int, names: Sequence[str], reason: str) -> str:
        """A person ends deliveries."""
        told = await self.store(gateway).cancel([self._id(name) for name in names], reason)
        expected = {name: self.model.cancel(name, reason, self.clock.now) for name in names}
        self.same("cancelled", {name: self._refusal(told[self._id(name)]) for name in names}, expected)
        return ", ".join(f"{name}: {refusal or 'done'}" for name, refusal in expected.items())

    async def gather(self, gateway: int, taken: int, wait_seconds: int, every_seconds: int, most: int) -> str:
        """A claimed delivery of a digest takes along what waits."""
        digests = [(n, t) for n, t in self.taken if (d := self.model.delivery(n)) and "digest" in (d.order_key or "")]
        if not digests:
            return "no digest was claimed"
        name, token = digests[-1 - taken % len(digests)]
        gathered = await self.store(gateway).gather(
            self._id(name), token, wait_seconds=wait_seconds, every_seconds=every_seconds, most=most
        )
        told = round(gathered * 1000) if isinstance(gathered, float) else None
        now = self.clock.now
        expected = self.sides.gather(name, token, wait_seconds * 1000, every_seconds * 1000, now)
        if not isinstance(expected, list):
            self.same(f"what {name} brings", told if gathered is not None else None, expected)
            return "its lease is lost" if expected is None else f"{name} waits {expected} ms"
        must(isinstance(gathered, Gathered), f"{name} is to bring {expected}, and {self.label} says {gathered}")
        assert isinstance(gathered, Gathered)
        kept = [key for key in expected[:most] if self.model.event(key) is not None]
        brought = [(event.account, event.id) for event in gathered.events]
        self.same(f"what {name} brings", (brought, gathered.count), (kept, len(expected)))
        return f"{name} brings {len(expected)}"


def _is_plain(output: Any) -> bool:
    return output is None or (isinstance(output, dict) and set(output) == {"told"})
