"""What `events` and `deliveries` ask of an inbox, whether it lies here or behind a console's API."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from gateway.cli.main import BadUsage, load_config
from gateway.core.model import Attempt, AuditEntry, ChangeResult, Delivery, DeliveryFilter, Event, EventFilter
from gateway.privacy.views import Redactions, shown_deliveries, shown_delivery, shown_event

if TYPE_CHECKING:
    from gateway.store.protocol import Store


@dataclass(frozen=True, slots=True)
class Asked:
    """Which deliveries."""

    where: DeliveryFilter
    connections: Sequence[str] = ()  # for a console, which knows their actions; `where.lanes` has them otherwise


class Inbox(Protocol):
    """See `gateway.store.protocol.Store` for what each method promises."""

    async def events(self, where: EventFilter, *, limit: int, newest_first: bool = True) -> list[Event]: ...

    async def event(self, event_id: str, account: str | None) -> list[Event]: ...

    async def deliveries(self, asked: Asked, *, limit: int, newest_first: bool = True) -> list[Delivery]: ...

    async def delivery(self, delivery_id: str) -> tuple[Delivery, list[Attempt]] | None: ...

    async def retry(self, ids: Sequence[str]) -> dict[str, ChangeResult]: ...

    async def cancel(self, ids: Sequence[str]) -> dict[str, ChangeResult]: ...

    async def check_routes(self, routes: Sequence[str]) -> None:
        """Raises BadUsage for a route that is not there."""

    async def replay(
        self, events: Sequence[Event], routes: Sequence[str], *, force: bool, dry_run: bool
    ) -> list[dict[str, Any]]:
        """For each `event_id`, `type`, what is `owed`, and the `deliveries` made."""


def who() -> str:
    """The person at this terminal, for the audit log."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


async def note(store: Store, what: str, ids: Sequence[str]) -> None:
    """Notes in the audit log what is about to be done from here."""
    target = ", ".join(ids)[:2000]
    await store.record(AuditEntry(datetime.now(UTC), "cli", who(), what, target, len(ids)))


class LocalInbox:
    """The store itself. What it changes is noted in the audit log, as what a console changes is."""

    def __init__(self, store: Store, redactions: Redactions) -> None:
        self._store = store
        self._redactions = redactions

    async def events(self, where: EventFilter, *, limit: int, newest_first: bool = True) -> list[Event]:
        return await self._store.events(where, limit=limit, newest_first=newest_first)

    async def event(self, event_id: str, account: str | None) -> list[Event]:
        return [shown_event(one, self._redactions) for one in await self._store.event(event_id, account)]

    async def deliveries(self, asked: Asked, *, limit: int, newest_first: bool = True) -> list[Delivery]:
        found = await self._store.deliveries(asked.where, limit=limit, newest_first=newest_first)
        return await shown_deliveries(self._store, found, self._redactions)

    async def delivery(self, delivery_id: str) -> tuple[Delivery, list[Attempt]] | None:
        found = await self._store.delivery(delivery_id)
        return None if found is None else await shown_delivery(self._store, *found, self._redactions)

    async def retry(self, ids: Sequence[str]) -> dict[str, ChangeResult]:
        await note(self._store, "delivery.retry", ids)
        return dict(await self._store.retry(ids))

    async def cancel(self, ids: Sequence[str]) -> dict[str, ChangeResult]:
        await note(self._store, "delivery.cancel", ids)
        return dict(await self._store.cancel(ids, "cancelled by a person"))

    async def check_routes(self, routes: Sequence[str]) -> None:
        unknown = set(routes) - {one.name for one in load_config().routes}
        if unknown:
            raise BadUsage(f"no such route: {', '.join(sorted(unknown))}")

    async def replay(
        self, events: Sequence[Event], routes: Sequence[str], *, force: bool, dry_run: bool
    ) -> list[dict[str, Any]]:
        from gateway.intake.planning import intake_of, replan

        intake = intake_of(load_config())
        if events and not dry_run:
            await note(
                self._store, "event.replay" + (" --force" if force else ""), [f"{e.account}/{e.id}" for e in events]
            )
        done = []
        for event in events:
            whole = (await self._store.event(event.id, event.account))[0]
            planned = [p for p in replan(intake, whole) if not routes or p.route in routes]
            made: list[str] | None = []
            if not dry_run and planned:
                made = await self._store.replay(event.account, event.id, planned, force=force)
            owed = [f"{p.route}/{p.action}" for p in planned]
            done.append({"event_id": event.id, "type": event.type, "owed": owed, "deliveries": made or []})
        return done
