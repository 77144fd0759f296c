"""What the store keeps beside the inbox, as the model has it: digests and marks, connections, leases and notes.

A time more than a minute ahead, because the clock was wrong when it was written, counts as now where it is met.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.core.model import ConnectionChange
from tests.model.records import EventKey, ModelConnection
from tests.model.store import AHEAD_MS, ModelStore


class ModelSides:
    """Beside one inbox."""

    def __init__(self, inbox: ModelStore) -> None:
        self._inbox = inbox
        self.marks: dict[str, int] = {}
        self.connections: dict[str, ModelConnection] = {}
        self.leases: dict[str, tuple[str, int]] = {}
        self.notes: dict[str, tuple[Any, int]] = {}

    # -- digests ----------------------------------------------------------------------------------------------

    def gather(self, name: str, token: str, wait_ms: int, every_ms: int, now: int) -> list[EventKey] | int | None:
        """What it brings, or how many milliseconds it has to wait; None: the lease is lost."""
        delivery = self._inbox.delivery(name)
        if delivery is None or delivery.state != "running" or delivery.token != token:
            return None
        key = delivery.order_key
        assert key is not None
        if delivery.digest is not None:
            return delivery.digest
        if delivery.created_at > now + AHEAD_MS:
            delivery.created_at = now
        if self.marks.get(key, 0) > now + AHEAD_MS:
            self.marks[key] = now
        opens_at = max(delivery.created_at + wait_ms, self.marks[key] + every_ms if key in self.marks else 0)
        if opens_at > now:
            return opens_at - now
        self.marks[key] = now
        others = [d for d in self._inbox.deliveries if d.order_key == key and d.state == "pending" and d.digest is None]
        for other in others:
            other.state, other.reason, other.finished_at = "skipped", f"digest: {name} brings it", now
        brought = {delivery.event, *(other.event for other in others)}
        delivery.digest = [event.key for event in self._inbox.events if event.key in brought]
        return delivery.digest

    def mark(self, name: str, every_ms: int, now: int) -> int:
        """When it was last marked."""
        marked_at = self.marks.get(name)
        if marked_at is None or marked_at > now + AHEAD_MS or marked_at + every_ms <= now:
            self.marks[name] = now
        return self.marks[name]

    # -- connections ------------------------------------------------------------------------------------------

    def change_connection(self, name: str, version: int, change: ConnectionChange, now: int) -> ModelConnection | None:
        """Its new status; None where its version is another."""
        before = self.connections.get(name)
        if (0 if before is None else before.version) != version:
            return None
        state = change.state.value
        since = before.since if before is not None and before.state == state else now
        until = None if change.for_seconds is None else now + round(change.for_seconds * 1000)
        self.connections[name] = ModelConnection(
            version + 1, state, since, until, change.reason, change.failures, change.pauses
        )
        return self.connections[name]

    # -- leases and notes -------------------------------------------------------------------------------------

    def take_lease(self, name: str, holder: str, lease_ms: int, now: int) -> bool:
        """Whether the holder has it."""
        held_by, until = self.leases.get(name, (holder, 0))
        if held_by != holder and now < until <= now + lease_ms + AHEAD_MS:
            return False
        self.leases[name] = (holder, now + lease_ms)
        return True

    def release_lease(self, name: str, holder: str) -> None:
        """Gives it back, where it is the holder's."""
        if self.leases.get(name, ("", 0))[0] == holder:
            del self.leases[name]

    def keep_note(self, name: str, value: Mapping[str, Any] | None, now: int) -> None:
        """Keeps it, or forgets what was there."""
        self.notes.pop(name, None)
        if value is not None:
            self.notes[name] = (value, now)

    # -- a clock that was put back ----------------------------------------------------------------------------

    def bound_times(self, now: int) -> None:
        """A purge takes for now what lies too far ahead."""
        for name, marked_at in self.marks.items():
            self.marks[name] = now if marked_at > now + AHEAD_MS else marked_at
        for name, (value, kept_at) in self.notes.items():
            self.notes[name] = (value, now if kept_at > now + AHEAD_MS else kept_at)
        for connection in self.connections.values():
            if connection.since > now + AHEAD_MS:
                connection.until = None if connection.until is None else now + connection.until - connection.since
                connection.since = now

    def bring_forward(self, by_ms: int, now: int) -> None:
        """A store that has a clock which nobody sets knows by how much: what waits comes so much sooner."""
        for delivery in self._inbox.deliveries:
            if delivery.state == "pending" and delivery.waits_until is None and delivery.due_at > now:
                delivery.due_at = max(now, delivery.due_at - by_ms)
                delivery.claimed_at = min(delivery.claimed_at, now)
        for connection in self.connections.values():
            if connection.until is not None and connection.until > now:
                connection.until = max(now, connection.until - by_ms)
                connection.since = min(connection.since, now)
        for name, (holder, until) in self.leases.items():
            if until > now:
                self.leases[name] = (holder, max(now, until - by_ms))
