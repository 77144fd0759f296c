"""What an attempt sent and got is kept with it, on every store: for whoever looks, for sweeps and for `forget`."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

from gateway.core.model import Finish
from gateway.privacy.erasure import find, forget_event, naming
from gateway.store.protocol import Store
from tests.conftest import Clock
from tests.contract.test_store import SUCCEEDED, an_event, claim_all, later, owed

SENT = [{"sent": "POST https://shop.example", "body": 'für "cus_Jo" \U0001f600', "answer": "503 Busy"}]


def saying(ending: Finish, exchanges: object) -> Finish:
    return replace(ending, attempt=replace(ending.attempt, exchanges=exchanges))


async def test_each_attempt_keeps_its_own_also_where_others_end_beside_it(store: Store, clock: Clock) -> None:
    await store.add(an_event(), [owed("save"), owed("tell", once="k", order="o"), owed("ship")])
    claims = {claim.delivery.action: claim for claim in await claim_all(store)}
    endings = {"save": saying(later(5), SENT), "tell": saying(later(5), SENT * 2), "ship": SUCCEEDED}
    done = [store.finish(claims[action].delivery.id, claims[action].token, how) for action, how in endings.items()]
    assert await asyncio.gather(*done) == [True] * 3
    stale = saying(later(5), [{"sent": "too late"}])
    assert not await store.finish(claims["save"].delivery.id, claims["save"].token, stale)
    clock.forward(6)
    for claim in await claim_all(store):
        assert await store.finish(claim.delivery.id, claim.token, SUCCEEDED)
    kept = {}
    for action, claim in claims.items():
        whole = await store.delivery(claim.delivery.id)
        assert whole is not None
        kept[action] = [attempt.exchanges for attempt in whole[1]]
    assert kept == {"save": [SENT, None], "tell": [SENT * 2, None], "ship": [None]}


async def test_a_customer_named_there_alone_is_found_and_forgotten(store: Store) -> None:
    await store.add(an_event(), [owed("save")])
    (claim,) = await claim_all(store)
    silent = saying(SUCCEEDED, SENT)  # without an error
    assert await store.finish(claim.delivery.id, claim.token, silent)
    who = naming(store, "cus_Jo")
    assert [event_id for _, event_id, _ in (await find(store, who, lambda _: None)).events] == ["evt_1"]
    for seq in who.named:
        await forget_event(store, who, seq, cancel=False, now=datetime.now(UTC))
    whole = await store.delivery(claim.delivery.id)
    assert whole is not None
    assert [(attempt.error, attempt.exchanges) for attempt in whole[1]] == [(None, None)]
