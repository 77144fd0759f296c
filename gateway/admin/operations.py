"""What a person can do from the console or the API: everything that changes something, each noted in the audit log."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Protocol, TypeVar

from structlog.typing import FilteringBoundLogger

from gateway.admin.auth import Person
from gateway.admin.bulk_jobs import STEP, Job, Jobs
from gateway.admin.gateway_view import GatewayView
from gateway.core.errors import UsageError
from gateway.core.model import (
    DONE,
    AuditEntry,
    ChangeResult,
    DeliveryFilter,
    Event,
    EventFilter,
    PlannedDelivery,
    Refusal,
)
from gateway.intake.planning import intake_of, replan
from gateway.privacy.erasure import find, forget_event, forget_rejected, naming
from gateway.privacy.erasure import pages as event_pages
from gateway.store.answers import Page
from gateway.store.protocol import Store

T = TypeVar("T")
MOST_COUNTED = 1_000_000
NAMED = "named:"  # before the place of an event that names the customer who is to be forgotten
RETRIED = ("dead",)
CANCELLED = ("blocked", "pending", "dead")


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks, from where."""

    person: Person
    address: str

    @property
    def words(self) -> str:
        """For the audit log."""
        return f"{self.person.name} ({self.address})" if self.person.name else self.address


@dataclass(frozen=True, slots=True)
class Replay:
    """What a replay of one event did, or would do."""

    event: Event
    planned: Sequence[PlannedDelivery]
    made: Sequence[str]
    refused: str | None = None


class Operations:
    """One a gateway."""

    def __init__(self, gateway: GatewayView, store: Store, log: FilteringBoundLogger) -> None:
        self.gateway = gateway
        self.store = store
        self.jobs = Jobs(log)
        self._log = log

    async def _note(self, actor: Actor, what: str, target: str, count: int = 1) -> None:
        """Before the change: what was asked for is known even where it did not come to it."""
        role = actor.person.role.word
        await self.store.record(AuditEntry(datetime.now(UTC), role, actor.words, what, target[:2000], count))
        self._log.info("audit", role=role, who=actor.words, what=what, target=target[:200], count=count)

    # -- deliveries -------------------------------------------------------------------------------------------

    async def retry(self, actor: Actor, ids: Sequence[str]) -> dict[str, ChangeResult]:
        """Revives deliveries; by id, what came of each."""
        ids = list(dict.fromkeys(ids))
        await self._note(actor, "delivery.retry", ", ".join(ids), len(ids))
        return dict(await self.store.retry(ids))

    async def cancel(self, actor: Actor, ids: Sequence[str]) -> dict[str, ChangeResult]:
        """Ends deliveries for good; by id, what came of each."""
        ids = list(dict.fromkeys(ids))
        await self._note(actor, "delivery.cancel", ", ".join(ids), len(ids))
        return dict(await self.store.cancel(ids, self._reason(actor)))

    def _reason(self, actor: Actor) -> str:
        return f"cancelled by {actor.person.name or 'an operator'}"

    # -- events -----------------------------------------------------------------------------------------------

    async def replay(
        self, actor: Actor, events: Sequence[Event], routes: Sequence[str] = (), *, force: bool, dry_run: bool
    ) -> list[Replay]:
        """Routes whole events through today's configuration. Raises UsageError for an unknown route."""
        self.check_routes(routes)
        if not dry_run:
            target = ", ".join(f"{event.account}/{event.id}" for event in events)
            await self._note(actor, "event.replay" + (" --force" if force else ""), target, len(events))
        return [await self._replay(event, routes, force, dry_run) for event in events]

    def check_routes(self, routes: Sequence[str]) -> None:
        """Raises UsageError for a route that is not there."""
        unknown = set(routes) - {route.name for route in self.gateway.config.routes}
        if unknown:
            raise UsageError(f"no such route: {', '.join(sorted(unknown))}")

    async def _replay(self, event: Event, routes: Sequence[str], force: bool, dry_run: bool) -> Replay:
        intake = intake_of(self.gateway.config, self.gateway.runtime.table)
        try:
            planned = [p for p in replan(intake, event) if not routes or p.route in routes]
        except UsageError as error:
            return Replay(event, (), (), str(error))
        made: Sequence[str] | None = ()
        if planned and not dry_run:
            made = await self.store.replay(event.account, event.id, planned, force=force)
        return Replay(event, planned, made or ())

    # -- many -------------------------------------------------------------------------------------------------

    async def start_deliveries(self, actor: Actor, what: str, where: DeliveryFilter, words: str) -> Job:
        """Retries or cancels all that a filter finds now. Raises UsageError where too much is under way."""
        where = self.settled(what, where)
        total = await self.store.count_deliveries(where, at_most=MOST_COUNTED)
        self._not_too_many()
        await self._note(actor, f"delivery.{what} (many)", words, total)

        async def step(ids: Sequence[str]) -> Sequence[ChangeResult]:
            store = self.store
            done = await (store.retry(ids) if what == "retry" else store.cancel(ids, self._reason(actor)))
            return [done[one] for one in ids]

        async def parts() -> AsyncIterator[Sequence[str]]:
            async for found in _each(partial(self.store.delivery_page, where, limit=STEP, oldest_first=True)):
                yield [delivery.id for delivery in found]

        return self.jobs.start(what, words, total, parts(), step)

    def settled(self, what: str, where: DeliveryFilter) -> DeliveryFilter:
        """A filter that new deliveries cannot enter while its job runs, and that names states that can be changed."""
        states = where.states or (RETRIED if what == "retry" else CANCELLED)
        return replace(where, states=states, until=where.until or datetime.now(UTC))

    async def start_replay(self, actor: Actor, where: EventFilter, routes: Sequence[str], words: str) -> Job:
        """Replays all events that a filter finds now, the oldest first. Raises UsageError."""
        self.check_routes(routes)
        where = replace(where, until=where.until or datetime.now(UTC))
        total = await self.store.count_events(where, at_most=MOST_COUNTED)
        self._not_too_many()
        await self._note(actor, "event.replay (many)", words, total)
        whole: dict[str, Event] = {}

        async def step(keys: Sequence[str]) -> Sequence[ChangeResult]:
            results: list[ChangeResult] = []
            for key in keys:
                (event,) = await self.store.event(whole[key].id, whole[key].account)
                refused = (await self._replay(event, routes, False, False)).refused
                results.append(DONE if refused is None else Refusal(refused))
            whole.clear()
            return results

        async def parts() -> AsyncIterator[Sequence[str]]:
            async for found in _each(partial(self.store.event_page, where, limit=STEP, oldest_first=True)):
                whole.update({f"{event.account}/{event.id}": event for event in found})
                yield list(whole)

        return self.jobs.start("replay", words, total, parts(), step)

    # -- a customer -------------------------------------------------------------------------------------------

    async def count_of_customer(self, customer: str, account: str) -> int:
        """How many events and rejected requests name a customer. Raises UsageError where that is no customer's id."""
        found = await find(self.store, naming(self.store, customer, account or None), lambda seen: None)
        return len(found.events) + len(found.rejected)

    async def start_forget(self, actor: Actor, customer: str, account: str, *, cancel: bool) -> Job:
        """Erases what is kept of a customer. Raises UsageError."""
        who = naming(self.store, customer, account or None)
        self._not_too_many()
        await self._note(actor, "customer.forget" + (" --cancel" if cancel else ""), customer, 1)
        total = (await self.store.counts())["events"]

        async def step(seqs: Sequence[str]) -> Sequence[ChangeResult]:
            named = [one.removeprefix(NAMED) for one in seqs if one.startswith(NAMED)]
            now = datetime.now(UTC)
            told = [await forget_event(self.store, who, int(seq), cancel=cancel, now=now) for seq in named]
            return [*told, *[DONE] * (len(seqs) - len(named))]

        async def parts() -> AsyncIterator[Sequence[str]]:
            async for items in event_pages(self.store):
                yield [f"{NAMED if who.in_event(event) else ''}{event.seq}" for event in items]
            await forget_rejected(self.store, who)
            left = await self.store.scrub()
            if left is not None:
                self._log.warning("customer.forgotten", left_to_do=left)

        return self.jobs.start("forget", customer, total, parts(), step)

    def _not_too_many(self) -> None:
        if self.jobs.is_full:
            raise UsageError("enough jobs are under way already; wait for one to end, or stop it")


class _Pages(Protocol[T]):
    def __call__(self, *, after: str | None) -> Awaitable[Page[T]]: ...


async def _each(pages: _Pages[T]) -> AsyncIterator[Sequence[T]]:
    """What stands on each page of a list that has anything, one page after another."""
    page = await pages(after=None)
    while True:
        if page.items:
            yield page.items
        if page.next is None:
            return
        page = await pages(after=page.next)
