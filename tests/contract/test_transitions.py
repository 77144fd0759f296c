"""The table of a delivery's transitions: what each store does, and the diagram in the docs."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from gateway.core.model import (
    DISABLED,
    DONE,
    DRY_RUN,
    TRANSITIONS,
    ChangedBy,
    Claim,
    Delivery,
    DeliveryFilter,
    DeliveryState,
    Outcome,
    Released,
)
from gateway.store.protocol import Store
from tests.conftest import Clock
from tests.contract.test_store import DEAD, EXPIRED, NOW, SKIPPED, SUCCEEDED, an_event, claim_all, later, owed

Change = tuple[DeliveryState | None, DeliveryState, ChangedBy]
TABLE: set[Change] = {(row.source, row.target, row.by) for row in TRANSITIONS}


class Scene:
    """A store, and what changed at each step, laid to whom the step belongs."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.seen: set[Change] = set()
        self._states: dict[str, DeliveryState] = {}
        self._events = 0

    async def note(self, by: ChangedBy, whose: Collection[str] | None = None) -> None:
        """Lays what has changed to somebody; where deliveries are named, what changed of others to the store."""
        for delivery in await self._all():
            before = self._states.get(delivery.id)
            if before is not delivery.state:
                self.seen.add(
                    (before, delivery.state, by if whose is None or delivery.id in whose else ChangedBy.STORE)
                )
                self._states[delivery.id] = delivery.state

    async def _all(self) -> list[Delivery]:
        return await self.store.deliveries(DeliveryFilter(), limit=1000)

    async def add(self, *actions: tuple[str, ...], once: str | None = None, **how: Any) -> None:
        """An event that owes actions, each with what it needs."""
        self._events += 1
        event = replace(an_event(f"evt_{self._events}"), created_at=NOW)
        planned = [replace(owed(*action, once=once), **how) for action in actions]
        await self.store.add(event, planned)
        await self.note(ChangedBy.INTAKE)

    async def end(self, until: str) -> None:
        """An event that cancels what waits by that key."""
        self._events += 1
        event = replace(an_event(f"evt_{self._events}"), created_at=NOW + timedelta(days=1), ends=(until,))
        await self.store.add(event, [])
        await self.note(ChangedBy.STORE)

    async def id(self, action: str) -> str:
        """Of the newest delivery of that action."""
        return next(delivery.id for delivery in await self._all() if delivery.action == action)

    async def claim(self) -> list[Claim]:
        """All that is due."""
        claims = await claim_all(self.store)
        await self.note(ChangedBy.GATEWAY, [claim.delivery.id for claim in claims])
        return claims

    async def run(self, action: str, how: Outcome) -> None:
        """Claims what is due and ends the attempt of that action."""
        (claim,) = [claim for claim in await self.claim() if claim.delivery.action == action]
        assert await self.store.finish(claim.delivery.id, claim.token, how)
        await self.note(ChangedBy.GATEWAY, [claim.delivery.id])

    async def retry(self, action: str) -> None:
        id = await self.id(action)
        assert await self.store.retry([id]) == {id: DONE}
        await self.note(ChangedBy.PERSON, [id])

    async def cancel(self, action: str) -> None:
        id = await self.id(action)
        assert await self.store.cancel([id], "no") == {id: DONE}
        await self.note(ChangedBy.PERSON, [id])


async def test_every_transition_of_the_table_happens_and_no_other(
    place: Callable[[], Store], store: Store, clock: Clock
) -> None:
    scene = Scene(store)
    await scene.add(("a",), ("b", "a"))  # and so on: an attempt that fails, is given back, fails for good
    for how in (later(0), Released("full"), DEAD):
        await scene.run("a", how)
    await scene.retry("a")
    await scene.run("a", SUCCEEDED)
    await scene.cancel("b")
    await scene.retry("b")
    await scene.run("b", DEAD)
    await scene.cancel("b")
    await scene.add(("c",), ("d", "c"), ("e", "d"))
    await scene.run("c", SKIPPED)  # and with it those that need it
    await scene.retry("e")
    await scene.retry("c")
    await scene.cancel("e")
    await scene.retry("e")
    await scene.run("c", SUCCEEDED)
    await scene.run("d", SUCCEEDED)
    await scene.run("e", replace(SKIPPED, reason=f"{DRY_RUN}nothing is sent"))
    await scene.retry("e")
    await scene.run("e", SUCCEEDED)
    await scene.add(("f",), ("g", "f"), error="no such field")
    await scene.retry("g")
    await scene.add(("h",), once="key")
    await scene.run("h", SUCCEEDED)
    await scene.add(("h",), once="key")
    assert await scene.claim() == []
    await scene.add(("i",))
    assert len(await scene.claim()) == 1
    await scene.cancel("i")
    await scene.add(("j",))
    assert len(await scene.claim()) == 1
    clock.forward(61)
    if not store.is_shared:
        await store.close()
        scene.store = store = place()
        await store.start()
    await store.due()
    await scene.note(ChangedBy.STORE)
    await scene.cancel("j")
    await scene.add(("s",), until_key="s")
    await scene.end("s")
    await scene.add(("t", "u"), until_key="t")
    await scene.end("t")
    await scene.end("v")
    await scene.add(("v",), until_key="v")
    await scene.add(("w",), until_key="w")
    (claim,) = await scene.claim()
    await scene.end("w")
    assert await store.finish(claim.delivery.id, claim.token, later(0))
    await scene.note(ChangedBy.GATEWAY, [claim.delivery.id])
    await scene.add(("x",), until_key="x")
    assert len(await scene.claim()) == 1
    await scene.end("x")
    clock.forward(61)
    if not store.is_shared:
        await store.close()
        scene.store = store = place()
        await store.start()
    await store.due()
    await scene.note(ChangedBy.STORE)
    await scene.add(("k",), skipped=f"{DISABLED}route r says `enabled: false`")
    await scene.add(("l",), ("m", "l"))
    await scene.run("l", replace(SKIPPED, reason=f"{DRY_RUN}nothing is sent"))
    await scene.run("m", EXPIRED)
    await scene.retry("l")
    await scene.retry("m")
    await scene.run("l", EXPIRED)
    await scene.retry("l")
    await scene.add(("n",))
    await scene.run("n", replace(SKIPPED, state=DeliveryState.CANCELLED, reason="nobody of finance said yes in time"))
    assert scene.seen == TABLE
    await store.close()


def test_the_diagram_in_the_docs_is_the_table() -> None:
    text = (Path(__file__).parents[2] / "docs/reliability.md").read_text()
    drawn = re.findall(r"^    (\S+) --> (\w+): (\w+): (.+)$", text, re.MULTILINE)
    assert drawn == [(row.source or "[*]", row.target, row.by, row.when) for row in TRANSITIONS]
