"""What Stripe adds to the inbox, with two gateways' stores at work on one PostgreSQL at once."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from gateway.core.model import DeliveryFilter, Fetched
from tests.contract.test_store import NOW, SUCCEEDED, an_event, claim_all, owed
from tests.integration.test_postgres_turns import stores

EVENTS = 300


async def test_of_two_forms_of_an_event_that_two_gateways_add_at_once_one_is_new(inbox_url: str) -> None:
    async with stores(inbox_url, 2) as (first, second):
        ids = [f"evt_{i}" for i in range(EVENTS)]
        snapshots = [first.add(replace(an_event(id), twin=id), [owed()]) for id in ids]
        thin = [second.add(replace(an_event(f"evt_thin_{id}"), twin=id), [owed()]) for id in reversed(ids)]
        added = await asyncio.gather(*snapshots, *thin)
        assert sum(not one.is_duplicate for one in added) == EVENTS
        assert await first.counts() == {"events": EVENTS, "pending": EVENTS}


async def test_the_first_answer_stays_while_deliveries_end_around_it(inbox_url: str) -> None:
    """The answer lies with a run's first delivery, which moves to another partition as it ends."""
    async with stores(inbox_url, 2) as gateways:
        first, second = gateways
        for i in range(40):
            await first.add(an_event(f"evt_{i}"), [owed("save"), owed("mail")])
        claims = await claim_all(first)
        assert len(claims) == 80
        answers = {claim.delivery.id: Fetched("what", NOW, {"by": claim.delivery.id}) for claim in claims}
        *kept, _ = await asyncio.gather(
            *(gateways[i % 2].keep_fetched(c.delivery.run_id, answers[c.delivery.id]) for i, c in enumerate(claims)),
            asyncio.gather(*(first.finish(c.delivery.id, c.token, SUCCEEDED) for c in claims)),
        )
        for claim, found in zip(claims, kept, strict=True):
            assert found == await second.fetched(claim.delivery.run_id)
        assert len(await first.deliveries(DeliveryFilter(), limit=100)) == 80
