"""The store as its contract says (`gateway.store.protocol`, contract section 8), in memory and without any cleverness.

Where the contract leaves a choice (which of two that became due in the same millisecond, how long beyond 45 days an id
is known) the model is told what the store did, refuses what is not allowed, and follows it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import takewhile

from gateway.core.model import (
    HASTENED_SECONDS,
    NEEDED,
    WAITS,
    AttemptOutcome,
    Burst,
    DeliveryState,
    Event,
    Finish,
    HeldForYes,
    Lane,
    Need,
    Outcome,
    PlannedDelivery,
    Rekeyed,
    Released,
    SharedRate,
    until_reached,
    was_dry,
)
from gateway.store.protocol import REMEMBERED_SECONDS
from tests.model.records import EventKey, ModelDelivery, ModelEvent, must

REMEMBERED_MS = int(REMEMBERED_SECONDS * 1000)
AHEAD_MS = 60_000  # a time further ahead than this was given while the clock was wrong, and is taken for now
LATE_MS = 5_000  # so much later than its time a call to a shared store may be done
LEASE_MS = 60_000  # no gateway asks for more
UntilEvent = tuple[int, int, str, str, int]  # when it happened, its number, id and type, when it was seen
Rate = tuple[float, int]  # tokens, and when they were counted


class ModelStore:
    """One inbox. Each method is given the store's clock, and what the store did where that is the store's choice."""

    def __init__(self, *, is_shared: bool) -> None:
        """`is_shared`: several gateways work on it, whose calls may come in another order than their times."""
        self.is_shared = is_shared
        self.events: list[ModelEvent] = []
        self.deliveries: list[ModelDelivery] = []
        self.remembered: dict[EventKey, ModelEvent] = {}  # what a purge left of events
        self.done_once: dict[str, list[tuple[str, int]]] = {}  # what it left of once keys: who did it, and when
        self.until: dict[str, UntilEvent] = {}  # by key, the event that happened last
        self.rates: dict[str, Rate] = {}
        self.made = self.arrived = 0

    # -- asking -----------------------------------------------------------------------------------------------

    def event(self, key: EventKey) -> ModelEvent | None:
        """The event of that key."""
        return next((event for event in self.events if event.key == key), None)

    def delivery(self, name: str) -> ModelDelivery | None:
        """The delivery of that name, unless it is purged."""
        return next((delivery for delivery in self.deliveries if delivery.name == name), None)

    def run(self, of: ModelDelivery) -> list[ModelDelivery]:
        """The deliveries that were planned together with one, itself included."""
        return [delivery for delivery in self.deliveries if delivery.run == of.run]

    def is_in_turn(self, delivery: ModelDelivery) -> bool:
        """Whether no other of its keys goes first."""
        place = self.deliveries.index(delivery)
        for number, other in enumerate(self.deliveries):
            shares_order = delivery.order_key is not None and other.order_key == delivery.order_key
            shares_once = delivery.once_key is not None and other.once_key == delivery.once_key
            if other is delivery or not (shares_order or shares_once):
                continue
            if other.state == "running" or (other.state == "pending" and number < place):
                return False
        return True

    def holders(self, delivery: ModelDelivery, now: int) -> tuple[set[str], bool]:
        """Who has succeeded on its once key, and whether the store may have forgotten that."""
        if delivery.once_key is None:
            return set(), True
        here = {
            other.name
            for other in self.deliveries
            if other is not delivery and other.once_key == delivery.once_key and other.state == "succeeded"
        }
        purged = self.done_once.get(delivery.once_key, [])
        is_forgettable = not here and all(at <= now - REMEMBERED_MS for _, at in purged)
        return here | {name for name, _ in purged}, is_forgettable

    def is_claimable(self, delivery: ModelDelivery, now: int) -> bool:
        """Whether it waits for nothing but a gateway (which may find its once key done)."""
        return delivery.state == "pending" and delivery.due_at <= now and self.is_in_turn(delivery)

    def claimable(self, now: int) -> list[ModelDelivery]:
        """All such."""
        return [delivery for delivery in self.deliveries if self.is_claimable(delivery, now)]

    def next_due(self, now: int) -> int | None:
        """When the next that is in its turn becomes due, of lanes that have nothing due now."""
        busy = {delivery.lane for delivery in self.claimable(now)}
        later = [
            delivery.due_at
            for delivery in self.deliveries
            if delivery.state == "pending" and delivery.lane not in busy and self.is_in_turn(delivery)
        ]
        return min(later, default=None)

    # -- intake -----------------------------------------------------------------------------------------------

    def add(self, event: Event, planned: Sequence[PlannedDelivery], now: int, is_duplicate: bool) -> None:
        """Takes in an event, unless it is known."""
        key = (event.account, event.id)
        like = [
            known
            for known in (*self.events, *self.remembered.values())
            if known.key == key
            or (event.twin is not None and (known.key[0], known.twin) == (event.account, event.twin))
        ]
        if any(known in self.events or not known.is_forgettable for known in like):
            must(is_duplicate, f"{event.account}'s {event.id} was taken in twice")
        if not like:
            must(not is_duplicate, f"{event.account}'s {event.id} was new, and was refused as a duplicate")
        if is_duplicate:
            return
        for known in like:
            del self.remembered[known.key]
        number = self.arrived = self.arrived + 1
        self.events.append(ModelEvent(key, event.type, now, event.object_id, event.twin, event.body, number))
        for until in event.ends:
            self.until[until] = max(self.until.get(until, (0, 0, "", "", 0)), (now, number, event.id, event.type, now))
        self._plan(key, event.type, planned, now, event.ends)

    def replay(self, key: EventKey, planned: Sequence[PlannedDelivery], force: bool, now: int) -> int | None:
        """How many deliveries it makes for a stored event; None: there is no such event."""
        event = self.event(key)
        if event is None:
            return None
        self._plan(key, event.type, [replace(p, once_key=None) for p in planned] if force else planned, now)
        return len(planned)

    def _plan(
        self, key: EventKey, event_type: str, planned: Sequence[PlannedDelivery], now: int, ends: Sequence[str] = ()
    ) -> None:
        runs: dict[str, str] = {}
        for plan in planned:
            self.made += 1
            name = f"d{self.made}"
            state = "dead" if plan.error is not None else "blocked" if plan.needs else "pending"
            state = state if plan.skipped is None else "skipped"
            self.deliveries.append(
                ModelDelivery(
                    name, key, event_type, Lane(key[0], plan.route, plan.action), runs.setdefault(plan.route, name),
                    plan.needs, state, now, now, plan.is_judged and plan.error is None, plan.once_key, plan.order_key,
                    plan.skipped or plan.error, None, now if state in ("dead", "skipped") else None,
                    otherwise=plan.otherwise,
                )
            )  # fmt: skip
            if state in ("blocked", "pending"):
                delivery = self.deliveries[-1]
                delivery.until_key = plan.until_key
                if plan.waits_until is not None:
                    delivery.waits_until = round(plan.waits_until.timestamp() * 1000)
                    delivery.due_at = max(now, delivery.waits_until)
                    delivery.reason = f"{WAITS}{plan.waits_until.isoformat(timespec='seconds')}"
        self.end_waiting([*ends, *(plan.until_key for plan in planned)], now)

    # -- until ------------------------------------------------------------------------------------------------

    def end_waiting(self, keys: Sequence[str | None], now: int, among: Sequence[ModelDelivery] | None = None) -> None:
        """Cancels what is not claimed where an event of its key happened after its own."""
        ended = []
        for delivery in self.deliveries if among is None else among:
            key = delivery.until_key
            if key is None or key not in keys or key not in self.until or delivery.state not in ("blocked", "pending"):
                continue
            own = self.event(delivery.event)
            assert own is not None
            if self.until[key][:2] > (own.received_at, own.number):
                ended.append(delivery)
                _, _, event_id, event_type, _ = self.until[key]
                self._end(delivery, "cancelled", f"until: {event_id} ({event_type}) came first", now)
        for delivery in ended:
            self._settle(delivery, now)

    # -- needs ------------------------------------------------------------------------------------------------

    def _release(self, of: ModelDelivery, now: int) -> None:
        """Those of the run whose needs are all met need wait no longer."""
        run = {other.lane.action: other for other in self.run(of)}
        for other in run.values():
            if other.state == "blocked" and all(_meets(other, run[need]) for need in other.needs if need in run):
                other.state, other.due_at = "pending", max(now, other.waits_until or 0)

    def _settle(self, ended: ModelDelivery, now: int) -> None:
        """Skips what needed it to end otherwise, and what needs that; those whose needs are met wait no longer."""
        why = f"{NEEDED}{ended.lane.action} {'' if ended.state == 'succeeded' else 'was '}{ended.state}"
        gone = [ended]
        while gone:
            of = gone.pop(0)
            for other in self.run(of):
                if other.state == "blocked" and of.lane.action in other.needs and _meets(other, of) is False:
                    gone.append(other)
                    self._end(other, "skipped", why, now)
        self._release(ended, now)

    @staticmethod
    def _end(delivery: ModelDelivery, state: str, reason: str | None, now: int) -> None:
        delivery.state, delivery.reason, delivery.finished_at, delivery.token = state, reason, now, None

    # -- delivery ---------------------------------------------------------------------------------------------

    def skip_done_once(self, name: str, holder: str, wanted: Iterable[Lane], now: int) -> None:
        """The store found at a claim that its once key is done."""
        delivery = self.delivery(name)
        must(delivery is not None and delivery.state == "pending", f"{name} was skipped, and was not pending")
        assert delivery is not None
        must(delivery.lane in wanted and delivery.due_at <= now, f"{name} was skipped before it was its turn")
        must(holder in self.holders(delivery, now)[0], f"{name} was skipped for {holder}, which has not done it")
        self._end(delivery, "skipped", f"once_per: {holder} has done it", now)
        self._settle(delivery, now)

    def tokens(self, rate: SharedRate, now: int) -> float:
        """What the bucket of a rate holds."""
        tokens, filled_at = self.rates.get(rate.connection, (1.0, now))
        return min(rate.burst, tokens + max(0, now - filled_at) / 1000 * rate.per_second)

    def claim(
        self, claims: Sequence[tuple[str, str]], wanted: Mapping[Lane, int], rates: Sequence[SharedRate], lease_ms: int,
        now: int, before: Sequence[ModelDelivery],
    ) -> None:  # fmt: skip
        """The store gave these claims (name, token), after what it skipped; `before` could be claimed before that."""
        lanes = list(wanted)
        places = []
        for name, token in claims:
            delivery = self.delivery(name)
            assert delivery is not None
            must(delivery.state == "pending", f"{name} was claimed, and was {delivery.state}")
            must(delivery.due_at <= now, f"{name} was claimed {delivery.due_at - now} ms before it was due")
            must(self.is_in_turn(delivery), f"{name} was claimed out of its turn")
            must(self.holders(delivery, now)[1], f"{name} was claimed, though its once key is done")
            must(delivery.lane in wanted, f"{name} was claimed from a lane that nobody asked for")
            places.append((lanes.index(delivery.lane), delivery.due_at))
            delivery.state, delivery.token, delivery.lease_until = "running", token, now + lease_ms
            delivery.claimed_at, delivery.waits_until = now, None
            delivery.attempts += 1
            delivery.runs += 1
        must(places == sorted(places), f"{[name for name, _ in claims]} are not in order of lanes and due times")
        for lane in lanes:
            latest = max((due_at for place, due_at in places if lanes[place] == lane), default=0)
            passed = [d.name for d in before if d.lane == lane and self.is_claimable(d, now) and d.due_at < latest]
            must(not passed, f"{passed} were due earlier than others of their lane that were claimed")
            count = sum(1 for place, _ in places if lanes[place] == lane)
            must(count <= wanted[lane], f"{count} were claimed of {lane}, and {wanted[lane]} asked for")
        for rate in rates:
            count = sum(1 for place, _ in places if lanes[place] in rate.lanes)
            held = self.tokens(rate, now)
            must(count <= held, f"{count} were claimed at a rate whose bucket held {held}")
            _, filled_at = self.rates.get(rate.connection, (1.0, now))
            is_late = self.is_shared and now < filled_at <= now + LATE_MS
            self.rates[rate.connection] = (held - count, filled_at if is_late else now)

    def finish(self, name: str, token: str, ending: Outcome, now: int) -> bool:
        """Whether the lease still held."""
        is_held = self._finish(name, token, ending, now)
        delivery = self.delivery(name)
        if is_held and delivery is not None and delivery.state == "pending":
            self.end_waiting([delivery.until_key], now)
        return is_held

    def _finish(self, name: str, token: str, ending: Outcome, now: int) -> bool:
        delivery = self.delivery(name)
        if delivery is None or delivery.state != "running" or delivery.token != token:
            return False
        if isinstance(ending, Finish):
            delivery.log.append((delivery.runs, ending.attempt.outcome.value, ending.attempt.error))
            delivery.last_error = ending.attempt.error or delivery.last_error
            delivery.attempts -= ending.attempt.outcome is AttemptOutcome.INTERRUPTED
            self._end(delivery, ending.state.value, ending.reason, now)
            delivery.due_at = now + round(ending.wait_seconds * 1000)
            if ending.state is DeliveryState.PENDING:
                delivery.finished_at = None
                delivery.waits_until = delivery.due_at if (ending.reason or "").startswith(WAITS) else None
            else:
                self._settle(delivery, now)
            return True
        delivery.state, delivery.token, delivery.reason = "pending", None, None
        delivery.attempts -= 1
        delivery.runs -= 1
        if isinstance(ending, HeldForYes):
            delivery.once_key, delivery.order_key, delivery.is_judged, delivery.reason = (
                None,
                None,
                False,
                ending.reason,
            )
            latest = now + round(ending.within_seconds * 1000)
            delivery.word["until"] = min(delivery.word.get("until", latest), latest)
            delivery.due_at = now if "by" in delivery.word else max(delivery.word["until"], now + 250)
            return True
        if isinstance(ending, Burst):
            self._settle_burst(delivery, ending, now)
            return True
        if isinstance(ending, Released):
            delivery.reason = ending.reason
            delivery.due_at = now + round(ending.wait_seconds * 1000) if ending.wait_seconds else delivery.due_at
            if ending.wait_seconds and (ending.reason or "").startswith(WAITS):
                delivery.waits_until = delivery.due_at
            delivery.until_key = ending.until_key or delivery.until_key
        elif isinstance(ending, Rekeyed):
            delivery.once_key, delivery.order_key, delivery.is_judged = ending.once_key, ending.order_key, True
        return True

    def _settle_burst(self, own: ModelDelivery, burst: Burst, now: int) -> None:
        """The newest of a key's pending deliveries acts once the burst is over, and the others name it."""
        pending = [other for other in self.deliveries if other.state == "pending"]
        members = [d for d in pending if d is own or (own.order_key is not None and d.order_key == own.order_key)]
        came = [now if other.created_at > now + AHEAD_MS else other.created_at for other in members]
        opens_at = min(max(came) + round(burst.wait_seconds * 1000), min(came) + round(burst.max_seconds * 1000))
        if opens_at > now:
            own.due_at, own.reason = opens_at, "debounce: waits for the last of its burst"
            return
        last = max(members, key=self._newness)
        for other in members:
            if other is not last:
                self._end(other, "skipped", f"debounce: {last.name} stands for it", now)
                self._settle(other, now)
        last.order_key, last.due_at, last.reason = burst.settled_key, now, None

    def _newness(self, delivery: ModelDelivery) -> tuple[int, int]:
        event = self.event(delivery.event)
        assert event is not None
        return event.received_at, self.deliveries.index(delivery)  # the steps' events do not say when they were made

    def renew(self, claims: Sequence[tuple[str, str]], lease_ms: int, now: int) -> set[str]:
        """The names of those that were lost."""
        lost = set()
        for name, token in claims:
            delivery = self.delivery(name)
            if delivery is None or delivery.state != "running" or delivery.token != token:
                lost.add(name)
            else:
                delivery.lease_until = now + lease_ms
        return lost

    def take_over(self, now: int, *, only_expired: bool, error: str) -> None:
        """What gateways that are gone left running is due again."""
        late: list[str | None] = []
        for delivery in self.deliveries:
            if delivery.state == "running" and not (only_expired and delivery.lease_until >= now):
                delivery.log.append((delivery.runs, "interrupted", error))
                delivery.state, delivery.token, delivery.last_error, delivery.due_at = "pending", None, error, now
                late.append(delivery.until_key)
            elif delivery.state == "running" and only_expired and delivery.lease_until > now + AHEAD_MS + LEASE_MS:
                delivery.lease_until = now + LEASE_MS
        self.end_waiting(late, now)

    def keep_fetched(self, run: str, asked: str, answer: str) -> str:
        """The answer that is kept."""
        first = self.delivery(run)
        if first is None:
            return answer
        if first.fetched is None or first.fetched[0] != asked:
            first.fetched = (asked, answer)
        return first.fetched[1]

    def hasten(self, connection: str, now: int) -> list[tuple[str, int]]:
        """A connection works again: what waits for that is due soon. Returns what a store may have hastened or not:
        deliveries whose turn it is not, and when they would be due.
        """
        doubtful = []
        for delivery in self.deliveries:
            within = int(HASTENED_SECONDS * 1000)
            waits_longer = delivery.due_at > now + within
            if delivery.state == "pending" and delivery.reason == until_reached(connection) and waits_longer:
                due_at = now + (delivery.due_at - now) % within
                if self.is_in_turn(delivery):
                    delivery.due_at = due_at
                    delivery.attempts = max(0, delivery.attempts - 1)
                else:
                    doubtful.append((delivery.name, due_at))
        return doubtful

    # -- people -----------------------------------------------------------------------------------------------

    def retry(self, name: str, now: int, refusal: str | None) -> None:
        """The store answered a person with this refusal, or revived it."""
        delivery = self.delivery(name)
        if delivery is None:
            return must(refusal == "there is no such delivery", f"of {name}, which is gone: {refusal}")
        self.end_waiting([delivery.until_key], now, [delivery])  # which a person's word revives: it waits for no event
        told = {
            "running": "it is running now",
            "succeeded": "it has succeeded; `events replay` makes new work",
            "blocked": f"it waits for {', '.join(delivery.needs)}; retry that",
        }.get(delivery.state)
        if told is not None:
            return must(refusal == told, f"of {name}, which is {delivery.state}: {refusal}")
        if delivery.state == "pending":
            must(refusal is None, f"of {name}, which is pending: {refusal}")
            delivery.word |= {} if delivery.waits_until is None else {"now": True}
            delivery.waits_until = None
            delivery.due_at = now
            return None
        holders, is_forgettable = self.holders(delivery, now)
        never = [
            f"it runs only where {other.lane.action} is {delivery.otherwise[other.lane.action]}, and that has succeeded"
            for other in self.run(delivery)
            if other.state == "succeeded" and delivery.otherwise.get(other.lane.action) in (Need.DEAD, Need.SKIPPED)
        ]
        if refusal in never:
            return None
        if refusal is not None:
            return must(refusal in {f"once_per: {other} has done it" for other in holders}, f"of {name}: {refusal}")
        must(is_forgettable, f"{name} was revived, though {holders} did its once key")
        must(not never, f"{name} was revived, though it can never run")
        self._revive(delivery, now)
        return None

    def _revive(self, delivery: ModelDelivery, now: int) -> None:
        delivery.attempts, delivery.reason, delivery.finished_at, delivery.waits_until = 0, None, None, None
        delivery.until_key = None if delivery.state == "cancelled" else delivery.until_key
        is_now = delivery.state == "cancelled" or "now" in delivery.word
        if not (delivery.state in ("dead", "expired") and "by" in delivery.word):
            is_used = delivery.state == "cancelled" or delivery.word.keys() & {"until", "by", "used"}
            delivery.word = {"used": True} if is_used else {}
        delivery.word["late"] = True
        delivery.word |= {"now": True} if is_now else {}
        delivery.state, delivery.due_at = "blocked" if delivery.needs else "pending", now
        first = self.delivery(delivery.run)
        if first is not None:
            first.fetched = None
        because = {f"{NEEDED}{delivery.lane.action} was {what}" for what in ("skipped", "cancelled", "expired")}
        again = {delivery.lane.action}
        run = [other for other in self.run(delivery) if other.state == "skipped"]
        while more := [
            d for d in run if was_dry(d.state, d.reason) and d.lane.action not in again and again.intersection(d.needs)
        ]:
            again |= {other.lane.action for other in more}
        for other in run:
            if other.reason in because or (was_dry(other.state, other.reason) and other.lane.action in again):
                other.state, other.attempts, other.reason, other.finished_at = "blocked", 0, None, None
        self._release(delivery, now)

    def answer(self, name: str, who: str, is_yes: bool, now: int) -> str | None:
        """Why it takes no yes or no; None: it does."""
        delivery = self.delivery(name)
        if delivery is None:
            return "there is no such delivery"
        if "by" in delivery.word:
            return f"{delivery.word['by']} has approved it"
        if delivery.state not in ("blocked", "pending", "running"):
            return f"it is {delivery.state}"
        if delivery.word.get("until", now + 1) <= now:
            return "its time is over"
        if not is_yes:
            return self.cancel(name, f"refused by {who}", now)
        delivery.word |= {"by": who, "at": now}
        if delivery.state == "pending":
            delivery.due_at = max(now, delivery.waits_until or 0)
        return None

    def cancel(self, name: str, reason: str, now: int) -> str | None:
        """Why it cannot be cancelled; None: it is."""
        delivery = self.delivery(name)
        if delivery is None:
            return "there is no such delivery"
        if delivery.state not in ("blocked", "pending", "running", "dead"):
            return f"it is {delivery.state}"
        self._end(delivery, "cancelled", reason, now)
        self._settle(delivery, now)
        return None

    # -- upkeep -----------------------------------------------------------------------------------------------

    def bound_times(self, now: int) -> list[tuple[str, int]]:
        """A purge takes for now what lies too far ahead. Returns what it may have changed so, or not: deliveries whose
        turn it is not, and when they would be due.
        """
        ahead = now + AHEAD_MS
        events = {event.key for event in self.events if event.received_at > ahead}
        doubtful = []
        for delivery in self.deliveries:
            if delivery.event in events and delivery.state != "running":
                delivery.created_at = min(delivery.created_at, now)
                delivery.due_at = max(min(delivery.due_at, now), delivery.waits_until or 0)
            delivery.finished_at = self._bounded(delivery.finished_at, now)
        for event in (*self.events, *self.remembered.values()):
            event.received_at = min(event.received_at, now) if event.received_at > ahead else event.received_at
        for key, done in self.done_once.items():
            self.done_once[key] = [(name, now if at > ahead else at) for name, at in done]
        for until, ended in self.until.items():
            happened_at, seen_at = (now if at > ahead else at for at in (ended[0], ended[4]))
            self.until[until] = (happened_at, *ended[1:4], seen_at)
        for delivery in self.deliveries:
            if delivery.state != "pending":
                continue
            due_at = delivery.due_at
            waits_until = delivery.waits_until or 0
            if delivery.attempts == 0 and due_at > max(ahead, waits_until):
                due_at = max(now, waits_until)
            elif not waits_until and delivery.claimed_at > ahead and due_at > delivery.claimed_at:
                due_at = now + due_at - delivery.claimed_at
            if due_at != delivery.due_at and not self.is_in_turn(delivery):
                doubtful.append((delivery.name, due_at))
            elif due_at != delivery.due_at:
                self.bring_forward(delivery.name, due_at, now)
        return doubtful

    def bring_forward(self, name: str, due_at: int, now: int) -> None:
        """It is due earlier: when it was claimed was wrong."""
        delivery = self.delivery(name)
        assert delivery is not None
        delivery.due_at = due_at
        if delivery.claimed_at > now + AHEAD_MS:
            delivery.claimed_at = now

    @staticmethod
    def _bounded(at: int | None, now: int) -> int | None:
        return now if at is not None and at > now + AHEAD_MS else at

    def purge(self, retention_ms: int, dead_ms: int | None, now: int) -> tuple[int, int, int]:
        """How many events, deliveries and attempts go in a whole run."""
        ended = now - retention_ms
        old = takewhile(lambda event: event.received_at < ended, list(self.events))  # it looks no further
        gone = [event for event in old if self._may_go(event, ended, dead_ms, now)]
        keys = {event.key for event in gone}
        theirs = [delivery for delivery in self.deliveries if delivery.event in keys]
        for event in gone:
            self.events.remove(event)
            self.remembered[event.key] = event
        for delivery in theirs:
            self.deliveries.remove(delivery)
            if delivery.state == "succeeded" and delivery.once_key is not None:
                self.done_once.setdefault(delivery.once_key, []).append((delivery.name, delivery.finished_at or 0))
        self.until = {key: ended for key, ended in self.until.items() if ended[-1] > now - REMEMBERED_MS}
        for event in self.remembered.values():
            event.is_forgettable = event.is_forgettable or event.received_at <= now - REMEMBERED_MS
        return len(gone), len(theirs), sum(len(delivery.log) for delivery in theirs)

    def _may_go(self, event: ModelEvent, ended_before: int, dead_ms: int | None, now: int) -> bool:
        for delivery in self.deliveries:
            if delivery.event != event.key:
                continue
            ended_at = delivery.finished_at or 0
            if delivery.state in ("pending", "running"):
                return False
            if delivery.state in ("blocked", "dead") and dead_ms is None:
                return False
            if delivery.state == "dead" and dead_ms is not None and ended_at >= now - dead_ms:
                return False
            if delivery.state in ("succeeded", "skipped", "cancelled", "expired") and ended_at >= ended_before:
                return False
        return True

    def contents(self) -> list[tuple[ModelEvent, list[ModelDelivery]]]:
        """A copy of all that can hold a person's data."""
        return copy.deepcopy([(event, [d for d in self.deliveries if d.event == event.key]) for event in self.events])


def _meets(waiting: ModelDelivery, other: ModelDelivery) -> bool | None:
    """Whether another stands as one that waits needs it; None: not yet, and a retry may still bring it there."""
    if other.state in ("blocked", "pending", "running") or (other.state == "dead" and not other.runs):
        return None
    ended = other.state
    if was_dry(ended, other.reason):
        ended = "succeeded"
    elif ended == "skipped" and (other.reason or "").split(": ")[0] in ("digest", "debounce"):
        return False
    match waiting.otherwise.get(other.lane.action, Need.SUCCEEDED):
        case Need.ANY:
            return True
        case Need.DEAD:
            return ended in ("dead", "expired")
        case need:
            return True if ended == need.value else None if ended == "dead" else False
