"""`needs` that ask for another end than success, on both stores."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.core.model import DONE, DRY_RUN, DeliveryFilter, Finish, Need, PlannedDelivery, Refusal, Word
from gateway.store.protocol import Store
from tests.contract.test_store import DEAD, EXPIRED, SKIPPED, SUCCEEDED, an_event, claim_all, later, owed, states

_ALL = DeliveryFilter()
DRY = replace(SKIPPED, reason=f"{DRY_RUN}nothing was sent (route r says dry_run)")


def otherwise(action: str, **ends: Need) -> PlannedDelivery:
    return replace(owed(action, *ends), otherwise={name: end for name, end in ends.items() if end != "succeeded"})


async def end(store: Store, finish: Finish) -> str:
    """Ends the one delivery that can be claimed; its id."""
    [claim] = await claim_all(store)
    assert await store.finish(claim.delivery.id, claim.token, finish)
    return claim.delivery.id


@pytest.mark.parametrize(
    ("how", "ran"),
    [
        (SUCCEEDED, {"any"}),
        (DRY, {"any"}),
        (DEAD, {"dead", "any"}),
        (SKIPPED, {"skipped", "any"}),
        (EXPIRED, {"dead", "any"}),
        (None, {"any"}),  # cancelled
        (replace(SKIPPED, reason="debounce: dlv_2 stands for it"), set()),
    ],
    ids=["succeeded", "dry", "dead", "skipped", "expired", "cancelled", "stood for"],
)
async def test_an_action_runs_where_another_has_ended_as_it_asks(
    store: Store, how: Finish | None, ran: set[str]
) -> None:
    kinds = {kind: otherwise(kind, save=Need(kind)) for kind in ("dead", "skipped", "any")}
    await store.add(an_event(), [owed(), *kinds.values()])
    [claim] = await claim_all(store)
    if how is None:
        await store.cancel([claim.delivery.id], "a person")
    else:
        await store.finish(claim.delivery.id, claim.token, how)
    after = {action.removeprefix("evt_1/"): state for action, state in (await states(store)).items()}
    waits = {"skipped"} if how is DEAD else set()  # a retry may bring it there
    assert {kind for kind in kinds if after[kind] == "pending"} == ran
    assert {kind for kind in kinds if after[kind] == "blocked"} == waits
    assert {kind for kind in kinds if after[kind] == "skipped"} == kinds.keys() - ran - waits


async def test_a_claim_knows_how_what_it_needs_has_ended_and_why(store: Store) -> None:
    await store.add(an_event(), [owed(), otherwise("tell", save=Need.DEAD)])
    await end(store, DEAD)
    [claim] = await claim_all(store)
    assert (claim.delivery.needs, claim.delivery.otherwise) == (("save",), {"save": Need.DEAD})
    assert (claim.outputs, claim.ends) == ({}, {"save": ("dead", "no")})


async def test_what_waits_for_the_one_that_is_not_needed_any_more_is_skipped_too_and_says_why(store: Store) -> None:
    plan = [owed(), otherwise("repair", save=Need.DEAD), owed("tell", "repair"), otherwise("note", repair=Need.SKIPPED)]
    await store.add(an_event(), plan)
    await end(store, SUCCEEDED)
    assert await states(store) == {
        "evt_1/save": "succeeded",
        "evt_1/repair": "skipped",
        "evt_1/tell": "skipped",
        "evt_1/note": "pending",
    }
    [claim] = await claim_all(store)
    assert claim.ends["tell"].reason == claim.ends["repair"].reason == "needed action save succeeded"


async def test_what_ran_because_another_was_dead_stays_done_when_that_succeeds_after_all(store: Store) -> None:
    await store.add(an_event(), [owed(), otherwise("tell", save=Need.DEAD)])
    dead, tell = await end(store, DEAD), await end(store, SUCCEEDED)
    assert await store.retry([dead]) == {dead: DONE}
    assert await end(store, SUCCEEDED) == dead
    assert await states(store) == {"evt_1/save": "succeeded", "evt_1/tell": "succeeded"}
    assert tell != dead


async def test_nobody_retries_what_can_never_run(store: Store) -> None:
    """It would wait for an end that nothing can bring about any more."""
    await store.add(an_event(), [owed(), otherwise("tell", save=Need.DEAD)])
    await end(store, SUCCEEDED)
    [tell] = [d.id for d in await store.deliveries(_ALL, limit=9) if d.action == "tell"]
    refused = Refusal("it runs only where save is dead, and that has succeeded")
    assert await store.retry([tell]) == {tell: refused}


async def test_what_never_began_since_routing_failed_is_waited_for(store: Store) -> None:
    """Of two such, one that is retried and ends releases nobody who needs the other."""
    plan = [replace(owed(name), error="the route's `if` raised") for name in ("save", "mail")]
    await store.add(an_event(), [*plan, otherwise("tell", save=Need.DEAD), otherwise("note", save=Need.ANY)])
    ids = {d.action: d.id for d in await store.deliveries(_ALL, limit=9)}
    await store.retry([ids["mail"]])
    await end(store, SUCCEEDED)
    assert (await states(store))["evt_1/tell"] == (await states(store))["evt_1/note"] == "blocked"
    await store.retry([ids["save"]])
    await end(store, DEAD)
    assert {claim.delivery.action for claim in await claim_all(store)} == {"tell", "note"}


async def test_who_retries_a_dead_letter_wants_it_however_late(store: Store) -> None:
    await store.add(an_event(), [owed()])
    id = await end(store, DEAD)
    assert await store.retry([id]) == {id: DONE}
    (claim,) = await claim_all(store)
    assert claim.delivery.word == Word(is_wanted_late=True)


async def test_who_retries_what_expired_wants_it_late_at_every_attempt_and_after_its_death(store: Store) -> None:
    await store.add(an_event(), [owed()])
    id = await end(store, EXPIRED)
    assert await store.retry([id]) == {id: DONE}
    assert await end(store, later(0)) == id
    assert await end(store, DEAD) == id
    assert await store.retry([id]) == {id: DONE}
    [claim] = await claim_all(store)
    assert claim.delivery.word == Word(is_wanted_late=True)
