"""What people answer, and what stays of it: on both stores."""

from __future__ import annotations

import pytest

from gateway.core.model import DONE, DeliveryFilter
from gateway.store.protocol import Store
from tests.contract.test_store import an_event, claim_all, owed


@pytest.mark.parametrize("is_yes", [False, True])
async def test_links_from_before_it_was_cancelled_say_nothing_any_more_though_it_was_never_held(
    store: Store, is_yes: bool
) -> None:
    await store.add(an_event(), [owed()])
    [waits] = await store.deliveries(DeliveryFilter(), limit=1)
    assert await store.answer(waits.id, "Ada by link", is_yes=is_yes) == DONE
    await store.cancel([waits.id], "cancelled by Ben")
    for _ in range(2):
        assert await store.retry([waits.id]) == {waits.id: DONE}
        [claim] = await claim_all(store)
        word = claim.delivery.word
        assert (word.is_link_used, word.approved_by, word.until) == (True, None, None)
        await store.cancel([waits.id], "cancelled by Ben")
