"""Random steps: everything that can be asked of a store, in whatever order. Each says by itself what it does.

A step names deliveries and claims by counting back from the newest, so that any part of a sequence is a sequence too.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from random import Random
from typing import Any

from gateway.core.model import (
    DISABLED,
    DRY_RUN,
    WAITS,
    Attempt,
    AttemptOutcome,
    Burst,
    ConnectionChange,
    ConnectionState,
    DeliveryState,
    Event,
    EventState,
    Finish,
    HeldForYes,
    Need,
    Outcome,
    PlannedDelivery,
    Rekeyed,
    Released,
    SharedRate,
    until_reached,
)
from tests.model.whole_world import WholeWorld
from tests.model.world import LANES

Do = Callable[[WholeWorld], Awaitable[str]]
AT = datetime(2026, 11, 24, tzinfo=UTC)
DAY = 86400
LONG = "".join(Random(1).choices("0123456789abcdef", k=6000))  # an index of PostgreSQL does not take so much
SHAPES = (
    (("a", ()),),
    (("a", ()), ("b", ("a",))),
    (("a", ()), ("b", ("a",)), ("c", ("b",))),
    (("a", ()), ("b", ()), ("c", ("a", "b"))),
    (("a", ()), ("b", ("a",)), ("c", ("a", "b"))),
)  # fmt: skip
OUTCOMES = (
    "succeeded", "succeeded", "retry", "retry", "dead", "skipped", "dry", "expired", "interrupted", "released",
    "rekeyed", "burst", "held",
)  # fmt: skip
ODD_TEXTS = ("refused", "refused", "a NUL \0 in it", "half a pair \ud83d", "x" * 5000)
UNTILS = ("u1", "u2", LONG)
ODD_REASONS = (None, "waits", f"{WAITS}then", "waits for \ud83d", "a NUL \0 in it")
PLAIN_OUTPUTS = 0.7  # of all
MOST_NAMED = 6  # deliveries and claims that steps name: the newest


@dataclass(frozen=True)
class Step:
    """One step of a sequence."""

    told: str
    do: Do


def steps(rng: Random, count: int) -> list[Step]:
    """A sequence of so many. Each has kinds of its own that it is full of."""
    weights = [weight * rng.choice((0, 1, 1, 3)) for weight, _ in KINDS]
    if not any(weights):
        weights = [1] * len(KINDS)
    makers = [maker for _, maker in KINDS]
    return [maker(rng) for maker in rng.choices(makers, weights, k=count)]


# -- what is owed, and what becomes of it -----------------------------------------------------------------------------


def plans(rng: Random) -> list[PlannedDelivery]:
    """What one event owes."""
    planned = []
    for route in rng.choice((("r1",), ("r1",), ("r1", "r2"), ())):
        once, order = (rng.choice((None, "k1", "k1", "k2", LONG)) for _ in "12")
        is_digest, is_judged = rng.random() < 0.2, rng.random() < 0.85
        skipped = f"{DISABLED}not now" if rng.random() < 0.1 else None
        for action, needs in SHAPES[0] if is_digest else rng.choice(SHAPES):
            once_key = None if once is None else json.dumps([route, action, once])
            order_key = None if order is None else json.dumps([route, action, order])
            if is_digest:
                planned.append(PlannedDelivery(route, action, needs, None, json.dumps(["digest", route, action])))
            elif is_judged:
                planned.append(PlannedDelivery(route, action, needs, once_key, order_key, skipped=skipped))
            else:
                error = None if needs or skipped else "its `if` raises"
                planned.append(PlannedDelivery(route, action, needs, error=error, is_judged=False, skipped=skipped))
    return [_later(rng, replace(plan, otherwise=ends(rng, plan.needs))) for plan in planned]


def _later(rng: Random, plan: PlannedDelivery) -> PlannedDelivery:
    """The same, sometimes for later, and with a key of `until`."""
    if plan.error is not None or plan.skipped is not None or not plan.is_judged or "digest" in str(plan.order_key):
        return plan
    plan = replace(plan, until_key=rng.choice((None, None, *UNTILS)))
    if rng.random() < 0.7:
        return plan
    until = datetime.fromtimestamp(rng.choice((-60, 30, 600, 90_000)), UTC)
    return replace(plan, once_key=None, order_key=None, is_judged=False, waits_until=until)


def ends(rng: Random, needs: Sequence[str]) -> dict[str, Need]:
    """How what is needed has to end, where that is not well."""
    ends = {need: rng.choice((Need.SUCCEEDED, Need.SUCCEEDED, *Need)) for need in needs}
    return {need: end for need, end in ends.items() if end is not Need.SUCCEEDED}


def outcomes(rng: Random) -> Outcome:
    """What becomes of a claim."""
    kind = rng.choice(OUTCOMES)
    wait = float(rng.choice((0, 0, 1, 30, 600)))
    if kind == "released":
        return Released(rng.choice(ODD_REASONS), wait, rng.choice((None, None, None, "u1")))
    if kind == "held":
        return HeldForYes(rng.choice((0, 30, 3600)), "waits for a yes")
    if kind == "burst":
        return Burst(rng.choice(('["debounced", "r1", "a", "k1"]', LONG)), rng.choice((0, 30)), rng.choice((30, 3600)))
    if kind == "rekeyed":
        return Rekeyed(*(rng.choice((None, '["r1", "a", "k1"]', LONG)) for _ in "12"))
    error = rng.choice(ODD_TEXTS) if kind in ("retry", "dead", "interrupted") else None
    reason = {
        "dead": error,
        "retry": rng.choice((None, until_reached("shop"), f"{WAITS}then")),
        "skipped": "its `if` is false",
        "expired": "expired: 2d old",
        "dry": f"{DRY_RUN}of the route",
    }.get(kind)
    outcome = AttemptOutcome(kind) if kind != "dry" else AttemptOutcome.SKIPPED
    state = DeliveryState({"retry": "pending", "interrupted": "pending", "dry": "skipped"}.get(kind, kind))
    output = odd_output(rng) if kind == "succeeded" else None
    attempt = Attempt(1, AT, 0.01, outcome, error)
    return Finish(state, attempt, reason, wait if kind == "retry" else 0.0, output=output)


def odd_output(rng: Random) -> Any:
    """What an action returned: often nothing that JSON, or a database, can say."""
    if rng.random() < PLAIN_OUTPUTS:
        return rng.choice((None, {"told": "yes"}))
    circular: dict[str, Any] = {}
    circular["itself"] = circular
    return rng.choice(
        ({"cut": "x" * 70_000}, {"half": "\ud83d"}, {"nul": "\0"}, {"nan": float("nan")}, {("not", "a text"): 1},
         {"bytes": b"\xff"}, {"huge": 10**5000}, circular)
    )  # fmt: skip


# -- intake -----------------------------------------------------------------------------------------------------------


def _add(rng: Random) -> Step:
    account = rng.choice(("acme", "acme", "other"))
    id = f"evt_{rng.randrange(3) if rng.random() < 0.3 else rng.getrandbits(32):x}"
    gateway, planned, twin = rng.randrange(2), plans(rng), "t1" if rng.random() < 0.1 else None
    body = json.dumps({"id": id}).encode()
    until = tuple(rng.sample(UNTILS, rng.choice((0, 0, 1, 2))))
    event = Event(
        account, id, "invoice.paid", EventState.ROUTED, False, AT, body, object_id="in_\0_1", twin=twin, ends=until
    )
    cancels = f" cancels {len(until)} keys," if until else ""
    told = f"{account}'s {id} arrives{' (as a twin)' if twin else ''},{cancels} owes {_owes(planned)}"
    return Step(told, lambda w: w.add(gateway, event, planned))


def _replay(rng: Random) -> Step:
    gateway, number, planned, force = rng.randrange(2), rng.randrange(MOST_NAMED), plans(rng), rng.random() < 0.5
    told = f"event -{number} is replayed{' by force' if force else ''}, owes {_owes(planned)}"
    return Step(told, lambda w: w.replay(gateway, w.event_key(number), planned, force))


# -- delivery ---------------------------------------------------------------------------------------------------------


def _look(rng: Random) -> Step:
    gateway = rng.randrange(2)
    return Step("a gateway looks for work", lambda w: w.look(gateway))


def _claim(rng: Random) -> Step:
    gateway, limit, lease = rng.randrange(2), rng.choice((1, 2, 100)), rng.choice((5, 60))
    lanes = LANES if rng.random() < 0.7 else rng.sample(LANES, 2)
    rate = SharedRate("shop", frozenset(LANES[:6]), rng.choice((0.5, 20.0)), 3.0)
    rates = [rate] if rng.random() < 0.2 else []
    each = " and ".join(f"{at.account} {at.route}.{at.action}" for at in lanes)
    whose = "each lane" if lanes is LANES else each
    told = f"gateway {gateway} claims up to {limit} of {whose} for {lease} s" + (" at a rate" if rates else "")
    return Step(told, lambda w: w.claim(gateway, lanes, limit, lease, rates))


def _finish(rng: Random) -> Step:
    gateway, taken, outcome = rng.randrange(2), rng.choice((0, 0, 1, 2, 3, 5)), outcomes(rng)
    return Step(f"claim -{taken} ends: {_ended(outcome)}", lambda w: w.finish(gateway, taken, outcome))


def _renew(rng: Random) -> Step:
    gateway, lease = rng.randrange(2), rng.choice((5, 60))
    return Step(f"leases are renewed for {lease} s", lambda w: w.renew(gateway, lease))


def _kill(rng: Random) -> Step:
    gateway = rng.randrange(2)
    return Step(f"gateway {gateway} is killed", lambda w: w.kill(gateway))


def _gather(rng: Random) -> Step:
    gateway, taken, wait, every = rng.randrange(2), rng.randrange(2), rng.choice((0, 0, 30)), rng.choice((0, 30, 600))
    most = rng.choice((1, 500))
    told = f"digest -{taken} gathers, after {wait} s and every {every} s"
    return Step(told, lambda w: w.gather(gateway, taken, wait, every, most))


def _fetched(rng: Random) -> Step:
    gateway, number, asked, answer = (
        rng.randrange(2),
        rng.randrange(3),
        rng.choice(("[]", '["lines"]')),
        rng.choice("xyz"),
    )
    told = f"an action of delivery -{number} asks {asked}, and is told {answer}"
    return Step(told, lambda w: w.fetched(gateway, w.name(number), asked, answer))


# -- people -----------------------------------------------------------------------------------------------------------


def _some(rng: Random) -> list[int]:
    return rng.sample(range(MOST_NAMED), rng.choice((1, 1, 2, 3)))


def _retry(rng: Random) -> Step:
    gateway, numbers = rng.randrange(2), _some(rng)
    told = "retry of " + ", ".join(f"-{number}" for number in numbers)
    return Step(told, lambda w: w.retry(gateway, [w.name(number) for number in numbers]))


def _cancel(rng: Random) -> Step:
    gateway, numbers, reason = rng.randrange(2), _some(rng), rng.choice(ODD_REASONS) or "a person did"
    told = "cancel of " + ", ".join(f"-{number}" for number in numbers)
    return Step(told, lambda w: w.cancel(gateway, [w.name(number) for number in numbers], reason))


def _answer(rng: Random) -> Step:
    gateway, number, who = rng.randrange(2), rng.randrange(MOST_NAMED), rng.choice(("ann", "ben"))
    is_yes = rng.random() < 0.7
    told = f"{who} says {'yes' if is_yes else 'no'} to -{number}"
    return Step(told, lambda w: w.answer(gateway, w.name(number), who, is_yes))


# -- upkeep -----------------------------------------------------------------------------------------------------------


def _purge(rng: Random) -> Step:
    keep, dead, limit = rng.choice((0, 60, DAY, 60 * DAY)), rng.choice((None, None, 0, DAY)), rng.choice((1, 2, 100))
    gateway = rng.randrange(2)
    told = f"purge of what is older than {keep} s (dead: {dead}), {limit} at a time"
    return Step(told, lambda w: w.purge(gateway, keep, dead, limit))


def _sweep(rng: Random) -> Step:
    gateway, limit, number = rng.randrange(2), rng.choice((1, 100)), rng.randrange(3)
    if rng.random() < 0.5:
        return Step("a sweep reads everything", lambda w: w.read_contents(gateway, limit))
    return Step(f"the sweep puts back event {number}", lambda w: w.replace_contents(gateway, number))


def _connection(rng: Random) -> Step:
    gateway, name, is_stale = rng.randrange(2), rng.choice(("shop", "mail")), rng.random() < 0.2
    lasts, reason = rng.choice((None, 30.0)), rng.choice(ODD_REASONS)
    change = ConnectionChange(rng.choice(list(ConnectionState)), lasts, reason, failures=1, pauses=2)
    told = f"{name} becomes {change.state}{' (by an old version)' if is_stale else ''}"
    return Step(told, lambda w: w.change_connection(gateway, name, change, is_stale))


def _mark(rng: Random) -> Step:
    gateway, name, every = rng.randrange(2), rng.choice("mn"), rng.choice((0, 30, 600))
    return Step(f"mark {name} every {every} s", lambda w: w.mark(gateway, name, every))


def _lease(rng: Random) -> Step:
    gateway, holder, lasts = rng.randrange(2), rng.choice(("g1", "g2")), rng.choice((1, 60))
    if rng.random() < 0.3:
        return Step(f"{holder} gives the lease back", lambda w: w.release_lease(gateway, "reconcile", holder))
    return Step(f"{holder} takes the lease for {lasts} s", lambda w: w.take_lease(gateway, "reconcile", holder, lasts))


def _note(rng: Random) -> Step:
    gateway, value = rng.randrange(2), rng.choice((None, {"at": 1}, {"text": "\ud83d\0"}))
    return Step(f"note {value}", lambda w: w.keep_note(gateway, "n", value))


# -- time -------------------------------------------------------------------------------------------------------------


def _pass(rng: Random) -> Step:
    seconds = rng.choice((1, 1, 30, 30, 61, 3600, DAY, 46 * DAY))

    async def do(world: WholeWorld) -> str:
        world.clock.pass_ms(seconds * 1000)
        return "later"

    return Step(f"{seconds} s pass", do)


def _set_clock(rng: Random) -> Step:
    seconds = rng.choice((-DAY, -3600, -30, 30, 3600))

    async def do(world: WholeWorld) -> str:
        world.clock.now += seconds * 1000
        return "set"

    return Step(f"the clock is set by {seconds} s", do)


def _compare(_: Random) -> Step:
    return Step("everything is compared", lambda w: w.compare_all())


KINDS: Sequence[tuple[int, Callable[[Random], Step]]] = (
    (6, _add), (1, _replay), (2, _look), (6, _claim), (8, _finish), (1, _renew), (1, _kill), (2, _gather),
    (1, _fetched), (4, _retry), (2, _cancel), (2, _answer), (2, _purge), (2, _sweep), (3, _connection), (1, _mark),
    (1, _lease), (1, _note), (3, _pass), (1, _set_clock), (1, _compare),
)  # fmt: skip


# -- words ------------------------------------------------------------------------------------------------------------


def _owes(planned: Sequence[PlannedDelivery]) -> str:
    def key(name: str, value: str | None) -> str:
        return "" if value is None else f" {name} {value if len(value) < 40 else value[:18] + '... (long)'}"

    return (
        "; ".join(
            f"{p.route}.{p.action}"
            + (
                f" needs {'+'.join(f'{need} {p.otherwise[need]}' if need in p.otherwise else need for need in p.needs)}"
                if p.needs
                else ""
            )
            + key("once", p.once_key)
            + key("order", p.order_key)
            + ("" if p.is_judged else " (not judged)")
            + ("" if p.waits_until is None else f" in {p.waits_until.timestamp():.0f} s")
            + key("until", p.until_key)
            + ("" if p.skipped is None else " (disabled)")
            for p in planned
        )
        or "nothing"
    )


def _ended(outcome: Outcome) -> str:
    if isinstance(outcome, Released):
        return f"handed back for {outcome.wait_seconds:g} s"
    if isinstance(outcome, HeldForYes):
        return f"held for a yes for {outcome.within_seconds:g} s"
    if isinstance(outcome, Burst):
        return f"one of a burst, of {outcome.wait_seconds:g} s and at most {outcome.max_seconds:g} s"
    if isinstance(outcome, Rekeyed):
        return f"judged: {key_words(outcome.once_key)}, {key_words(outcome.order_key)}"
    again = f" again in {outcome.wait_seconds:g} s" if outcome.state is DeliveryState.PENDING else ""
    error = outcome.reason or outcome.attempt.error
    output = "" if outcome.output is None else f" with the output {next(iter(outcome.output))!r}"
    return f"{outcome.state.value}{again}" + ("" if error is None else f" ({error[:20]!r})") + output


def key_words(key: str | None) -> str:
    """A key in words."""
    return "no key" if key is None else key if len(key) < 40 else "a long key"
