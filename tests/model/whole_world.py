"""The rest of what a store can do, beside the model: sweeps, connections, marks, leases and notes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from gateway.core.model import ConnectionChange, Fetched
from gateway.store.protocol import Store
from gateway.store.sweep import EventContents
from tests.model.records import DisagreementError, ModelDelivery, ModelEvent
from tests.model.world import Clock, World, at_ms, plain

REWRITTEN = "[redacted]"
Copy = tuple[EventContents, ModelEvent, list[ModelDelivery]]


class WholeWorld(World):
    """All of a store."""

    def __init__(
        self, label: str, gateways: Sequence[Store], clock: Clock, reopen: Callable[[int], Awaitable[Store]] | None
    ) -> None:
        super().__init__(label, gateways, clock, reopen)
        self._copies: list[Copy] = []

    # -- upkeep -----------------------------------------------------------------------------------------------

    async def fetched(self, gateway: int, name: str, asked: str, answer: str) -> str:
        """An action asks what is kept with its run, and keeps an answer."""
        delivery = self.model.delivery(name)
        run = name if delivery is None else delivery.run
        first = self.model.delivery(run)
        kept = await self.store(gateway).fetched(self._id(run))
        before = None if first is None else first.fetched
        self.same(f"kept with {run}", None if kept is None else (kept.asked, kept.object["told"]), before)
        new = Fetched(asked, datetime(2026, 11, 24, tzinfo=UTC), {"told": answer})
        after = await self.store(gateway).keep_fetched(self._id(run), new)
        self.same(f"kept with {run}", after.object["told"], self.model.keep_fetched(run, asked, answer))
        return str(after.object["told"])

    async def purge(self, gateway: int, retention_seconds: int, dead_seconds: int | None, limit: int) -> str:
        """A whole run of retention."""
        store, cursor, total = self.store(gateway), 0, (0, 0, 0)
        now = self.clock.now
        self.sides.bound_times(now)
        doubtful = self.model.bound_times(now)
        for _ in range(1000):
            step = await store.purge(
                retention_seconds=retention_seconds, dead_retention_seconds=dead_seconds, cursor=cursor, limit=limit
            )
            total = (total[0] + step.events, total[1] + step.deliveries, total[2] + step.attempts)
            if step.cursor is None:
                break
            cursor = step.cursor
        else:
            raise DisagreementError(f"{self.label} does not come to the end of a purge")
        for name, due_at in doubtful:
            shown = await store.delivery(self._id(name))
            if shown is not None and at_ms(shown[0].next_attempt_at) == due_at:
                self.model.bring_forward(name, due_at, now)
        dead_ms = None if dead_seconds is None else dead_seconds * 1000
        self.same("purged", total, self.model.purge(retention_seconds * 1000, dead_ms, now))
        return f"{total[0]} events, {total[1]} deliveries, {total[2]} attempts"

    # -- sweeps -----------------------------------------------------------------------------------------------

    async def read_contents(self, gateway: int, limit: int) -> str:
        """A sweep reads all there is."""
        stored: list[EventContents] = []
        after: int | None = 0
        while after is not None:
            page = await self.store(gateway).contents(after, limit=limit)
            stored += page.items
            after = page.next
        expected = self.model.contents()
        self.same("contents", [self._contents(one) for one in stored], [_expected(*pair) for pair in expected])
        self._copies = [(kept, *pair) for kept, pair in zip(stored, expected, strict=True)]
        return f"{len(stored)} events"

    def _contents(self, event: EventContents) -> tuple[object, ...]:
        deliveries = [
            (self._name_of[d.id], d.state, plain(self._named(d.reason)), plain(d.last_error),
             [(said.number, plain(said.error)) for said in sorted(d.attempts, key=lambda said: said.number)])
            for d in event.deliveries
        ]  # fmt: skip
        return (event.account, event.id, event.body, plain(event.object_id), deliveries)

    async def replace_contents(self, gateway: int, number: int) -> str:
        """The sweep puts back an event that it has read, perhaps long ago, with other texts."""
        if not self._copies:
            return "nothing was read"
        before, event, deliveries = self._copies[number % len(self._copies)]
        after = replace(
            before,
            body=b"{}",
            object_id=None,
            deliveries=tuple(
                replace(
                    d,
                    last_error=None if d.last_error is None else REWRITTEN,
                    attempts=tuple(replace(said, error=REWRITTEN) for said in d.attempts),
                )
                for d in before.deliveries
            ),
        )
        now = {kept.key: (kept, theirs) for kept, theirs in self.model.contents()}.get(event.key)
        is_same = now is not None and _expected(*now) == _expected(event, deliveries)
        is_same = is_same and now is not None and [_kept(d) for d in now[1]] == [_kept(d) for d in deliveries]
        self.same("whether it was put back", await self.store(gateway).replace_contents(before, after), is_same)
        if is_same:
            self._rewrite(event, deliveries)
        for delivery in deliveries:
            await self.compare_one(delivery.name)
        return f"{event.key}: {'put back' if is_same else 'it has changed meanwhile'}"

    def _rewrite(self, event: ModelEvent, deliveries: Sequence[ModelDelivery]) -> None:
        kept = self.model.event(event.key)
        assert kept is not None
        kept.body, kept.object_id = b"{}", None
        for copied in deliveries:
            delivery = self.model.delivery(copied.name)
            assert delivery is not None
            delivery.last_error = None if delivery.last_error is None else REWRITTEN
            delivery.log = [
                (number, outcome, None if error is None else REWRITTEN) for number, outcome, error in delivery.log
            ]

    # -- connections ------------------------------------------------------------------------------------------

    async def change_connection(self, gateway: int, name: str, change: ConnectionChange, is_stale: bool) -> str:
        """A gateway or a person changes how a connection stands."""
        known = self.sides.connections.get(name)
        version = (0 if known is None else known.version) + is_stale
        status = await self.store(gateway).change_connection(name, version, change)
        expected = self.sides.change_connection(name, version, change, self.clock.now)
        self.same(f"whether {name} was changed", status is not None, expected is not None)
        if known is not None and expected is not None and known.state != "working" == expected.state:
            for waiting, due_at in self.model.hasten(name, self.clock.now):
                shown = await self.store(gateway).delivery(self._id(waiting))
                if shown is not None and at_ms(shown[0].next_attempt_at) == due_at:
                    self.model.bring_forward(waiting, due_at, self.clock.now)
        return "somebody was faster" if status is None else f"version {status.version}"

    async def mark(self, gateway: int, name: str, every_seconds: int) -> str:
        """Something is told, or was told lately."""
        marked_at = await self.store(gateway).mark(name, every_seconds)
        self.same(f"mark of {name}", at_ms(marked_at), self.sides.mark(name, every_seconds * 1000, self.clock.now))
        return "now" if at_ms(marked_at) == self.clock.now else "before"

    # -- gateways among themselves ----------------------------------------------------------------------------

    async def take_lease(self, gateway: int, name: str, holder: str, seconds: int) -> str:
        """A gateway wants to be the one that does something."""
        has_it = await self.store(gateway).take_lease(name, holder, lease_seconds=seconds)
        expected = self.sides.take_lease(name, holder, seconds * 1000, self.clock.now)
        self.same(f"whether {holder} has the lease", has_it, expected)
        return "has it" if has_it else "has it not"

    async def release_lease(self, gateway: int, name: str, holder: str) -> str:
        """A gateway needs it no more."""
        await self.store(gateway).release_lease(name, holder)
        self.sides.release_lease(name, holder)
        return "done"

    async def keep_note(self, gateway: int, name: str, value: Mapping[str, Any] | None) -> str:
        """A gateway reads a note, and keeps another."""
        note = await self.store(gateway).note(name)
        value_at = self.sides.notes.get(name)
        expected = None if value_at is None else (value_at[0], max(0, self.clock.now - value_at[1]) / 1000)
        self.same(f"note {name}", None if note is None else (dict(note.value), note.age_seconds), expected)
        await self.store(gateway).keep_note(name, value)
        self.sides.keep_note(name, value, self.clock.now)
        return f"instead of {expected}"


def _expected(event: ModelEvent, deliveries: Sequence[ModelDelivery]) -> tuple[object, ...]:
    texts = [
        (d.name, d.state, plain(d.reason), plain(d.last_error),
         [(number, plain(error)) for number, _, error in d.log if error is not None])
        for d in deliveries
    ]  # fmt: skip
    return (*event.key, event.body, plain(event.object_id), texts)


def _kept(delivery: ModelDelivery) -> tuple[object, ...]:
    """What else a sweep rewrites, and so compares."""
    return (delivery.once_key, delivery.order_key, delivery.output, delivery.fetched, delivery.runs)
