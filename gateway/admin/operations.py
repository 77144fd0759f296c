"""What a person can do, from the console, the API or the command line. Each change is noted in the audit log before it
is made: what was asked for is known even where it did not come to it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Protocol, TypeVar

from structlog.typing import FilteringBoundLogger

from gateway.admin.api.schemas import EventOut, ForgetAsk, JobAnswer, JobAsk, JobOut, Replayed, Result
from gateway.admin.approving import Approving
from gateway.admin.bulk_jobs import MOST_TOUCHED, STEP, Job, Jobs, Parts, Step
from gateway.admin.inbox import InForce
from gateway.admin.pausing import Actor
from gateway.admin.previews import LOOKED_AT, OnceKeys, parts_of_replay, states_of
from gateway.admin.problems import Refused
from gateway.core.errors import UnknownName, UsageError
from gateway.core.internal_events import is_own
from gateway.core.model import (
    DONE,
    ChangeResult,
    DeliveryFilter,
    EventFilter,
    Refusal,
)
from gateway.intake.planning import intake_of, replan
from gateway.privacy.erasure import find, forget_event, forget_rejected, naming
from gateway.privacy.erasure import pages as event_pages
from gateway.privacy.views import Redactions
from gateway.store.answers import Page
from gateway.store.protocol import Store

T = TypeVar("T")
MOST_COUNTED = 1_000_000
NAMED = "named:"  # before the place of an event that names the customer who is to be forgotten
RETRIED = ("dead",)
CANCELLED = ("blocked", "pending", "dead")


class Operations(Approving):
    """One a gateway; or one a command, which then works on the store itself."""

    def __init__(
        self,
        store: Store,
        in_force: InForce,
        log: FilteringBoundLogger,
        redactions: Callable[[], Redactions] | None = None,
    ) -> None:
        super().__init__(store, in_force, log, redactions)
        self.jobs = Jobs(log)

    # -- deliveries -------------------------------------------------------------------------------------------

    async def retry(self, actor: Actor, ids: Sequence[str]) -> list[Result]:
        """Revives deliveries."""
        return await self._change("retry", actor, ids)

    async def cancel(self, actor: Actor, ids: Sequence[str]) -> list[Result]:
        """Ends deliveries for good."""
        return await self._change("cancel", actor, ids)

    async def _change(self, what: str, actor: Actor, ids: Sequence[str]) -> list[Result]:
        ids = list(dict.fromkeys(ids))
        await self.note(actor, f"delivery.{what}", ", ".join(ids), len(ids))
        results = await self._changed(what, actor, ids)
        return [Result.of(delivery_id, result) for delivery_id, result in zip(ids, results, strict=True)]

    async def _changed(self, what: str, actor: Actor, ids: Sequence[str]) -> list[ChangeResult]:
        store = self.store
        results = await (store.retry(ids) if what == "retry" else store.cancel(ids, actor.reason))
        return [results[delivery_id] for delivery_id in ids]

    # -- events -----------------------------------------------------------------------------------------------

    async def replay(
        self, actor: Actor, events: Sequence[EventOut], routes: Sequence[str] = (), *, force: bool, dry_run: bool
    ) -> list[Replayed]:
        """Routes stored events through today's configuration. Raises UnknownName for an unknown route."""
        self.check_routes(routes)
        if events and not dry_run:
            target = ", ".join(f"{event.account}/{event.id}" for event in events)
            await self.note(actor, "event.replay" + (" --force" if force else ""), target, len(events))
        once = None if force else OnceKeys(self.store)
        return [await self._replay(event, routes, once, force=force, dry_run=dry_run) for event in events]

    def check_routes(self, routes: Sequence[str]) -> None:
        """Raises UnknownName for a route that is not there."""
        if routes and (unknown := set(routes) - {route.name for route in self.config.routes}):
            raise UnknownName(f"no such route: {', '.join(sorted(unknown))}")

    async def _replay(
        self, event: EventOut, routes: Sequence[str], once: OnceKeys | None, *, force: bool, dry_run: bool
    ) -> Replayed:
        """With `once`, also says what `once_per` leaves out."""
        replayed = Replayed(
            event_id=event.id, account=event.account, type=event.type, owed=[], deliveries=[], refused=None
        )
        try:
            whole = await self.only_event(event.id, event.account)
            planned = replan(intake_of(*self.in_force()), whole)
        except UsageError as error:
            replayed.refused = str(error)
            return replayed
        planned = tuple(delivery for delivery in planned if not routes or delivery.route in routes)
        replayed.owed = [f"{delivery.route}/{delivery.action}" for delivery in planned]
        if once is not None:
            replayed.skips = await once.skips(event.id, planned)
        if planned and not dry_run:
            ids = await self.store.replay(event.account, event.id, planned, force=force)
            replayed.deliveries = list(ids or ())
        return replayed

    # -- many -------------------------------------------------------------------------------------------------

    async def change_many(self, actor: Actor, ask: JobAsk, words: str) -> JobAnswer:
        """Starts a change to all that a filter, in `words`, finds now; or only counts them. Raises UsageError."""
        touched: list[str] = []
        if ask.what == "replay":
            if ask.events is None or ask.deliveries is not None:
                raise Refused(422, "replay takes events")
            self.check_routes(ask.routes)
            events = self.replayed(ask.events.filter())
            count = await self.store.count_events(events, at_most=MOST_COUNTED)
            if ask.dry_run:
                return await self._previewed(events, ask.routes, count)
            parts, step = self._replays(events, ask.routes, touched)
            noted = "event.replay (many)"
        else:
            if ask.deliveries is None or ask.events is not None:
                raise Refused(422, f"{ask.what} takes deliveries")
            where = self.settled(ask.what, ask.deliveries.filter(lambda: self.config))
            count = await self.store.count_deliveries(where, at_most=MOST_COUNTED)
            if ask.dry_run:
                listed = (await self.store.delivery_page(where, limit=LOOKED_AT, oldest_first=True)).items
                kinds = Counter(f"{delivery.route}/{delivery.action}" for delivery in listed)
                return JobAnswer(count=count, job=None, parts=dict(kinds.most_common()), looked_at=len(listed))
            parts, step = self._changes(ask.what, where, actor, touched)
            noted = f"delivery.{ask.what} (many)"
        return await self._start(actor, noted, ask.what, words, count, parts, step, touched)

    def replayed(self, where: EventFilter) -> EventFilter:
        """A filter that new events cannot enter while its job runs. The gateway's own events are replayed where they
        are named, by their type or account: nobody wants last night's alerts once more.
        """
        accounts = where.accounts
        if not accounts and not any(is_own(pattern) for pattern in where.types):
            accounts = tuple(self.config.accounts)
            if not accounts:
                raise UsageError("this token sees the gateway's own events alone: name their type, such as gateway.*")
        return replace(where, accounts=accounts, until=where.until or datetime.now(UTC))

    async def _previewed(self, where: EventFilter, routes: Sequence[str], count: int) -> JobAnswer:
        """What a replay of all that a filter finds would make, by the first of them."""
        listed = (await self.store.event_page(where, limit=LOOKED_AT // 5, oldest_first=True)).items
        once = OnceKeys(self.store)
        replayed = [await self._replay(EventOut.of(event), routes, once, force=False, dry_run=True) for event in listed]
        parts = parts_of_replay([(result.owed, result.skips) for result in replayed])
        return JobAnswer(count=count, job=None, parts=parts, looked_at=len(listed))

    async def job(self, job_id: str) -> Job:
        """A change to many, and what became of its deliveries by now. Raises Refused."""
        job = self.jobs.get(job_id)
        job.became = await states_of(self.store, job.touched)
        return job

    async def _start(
        self,
        actor: Actor,
        noted: str,
        what: str,
        words: str,
        count: int,
        parts: AsyncIterator[Sequence[str]],
        step: Step,
        touched: list[str],
    ) -> JobAnswer:
        if self.jobs.is_full:
            raise UsageError("enough jobs are under way already; wait for one to end, or stop it")
        await self.note(actor, noted, words, 1 if what == "forget" else count)
        job = self.jobs.start(what, words, count, parts, step, touched)
        return JobAnswer(count=job.total, job=JobOut.of(job))

    def settled(self, what: str, where: DeliveryFilter) -> DeliveryFilter:
        """A filter that new deliveries cannot enter while its job runs, and that names states that can be changed."""
        states = where.states or (RETRIED if what == "retry" else CANCELLED)
        return replace(where, states=states, until=where.until or datetime.now(UTC))

    def _changes(self, what: str, where: DeliveryFilter, actor: Actor, touched: list[str]) -> tuple[Parts, Step]:
        async def parts() -> AsyncIterator[Sequence[str]]:
            async for deliveries in _each(partial(self.store.delivery_page, where, limit=STEP, oldest_first=True)):
                yield [delivery.id for delivery in deliveries]

        async def step(ids: Sequence[str]) -> Sequence[ChangeResult]:
            results = await self._changed(what, actor, ids)
            done = [
                delivery_id for delivery_id, result in zip(ids, results, strict=True) if not isinstance(result, Refusal)
            ]
            touched.extend(done[: MOST_TOUCHED - len(touched)])
            return results

        return parts(), step

    def _replays(self, where: EventFilter, routes: Sequence[str], touched: list[str]) -> tuple[Parts, Step]:
        listed: dict[str, EventOut] = {}

        async def parts() -> AsyncIterator[Sequence[str]]:
            async for events in _each(partial(self.store.event_page, where, limit=STEP, oldest_first=True)):
                listed.update({f"{event.account}/{event.id}": EventOut.of(event) for event in events})
                yield list(listed)

        async def step(keys: Sequence[str]) -> Sequence[ChangeResult]:
            replayed = [await self._replay(listed[key], routes, None, force=False, dry_run=False) for key in keys]
            listed.clear()
            made = [delivery_id for result in replayed for delivery_id in result.deliveries]
            touched.extend(made[: MOST_TOUCHED - len(touched)])
            return [DONE if result.refused is None else Refusal(result.refused) for result in replayed]

        return parts(), step

    # -- a customer -------------------------------------------------------------------------------------------

    async def forget(self, actor: Actor, ask: ForgetAsk) -> JobAnswer:
        """Erases what is kept of a customer, or only counts it. Raises UsageError where that is no customer's id."""
        who = naming(self.store, ask.customer, ask.account or None)
        if ask.dry_run:
            named = await find(self.store, who, lambda seen: None)
            return JobAnswer(count=len(named.events) + len(named.rejected), job=None)

        async def step(seqs: Sequence[str]) -> Sequence[ChangeResult]:
            named = [seq.removeprefix(NAMED) for seq in seqs if seq.startswith(NAMED)]
            now = datetime.now(UTC)
            results = [await forget_event(self.store, who, int(seq), cancel=ask.cancel, now=now) for seq in named]
            return [*results, *[DONE] * (len(seqs) - len(named))]

        async def parts() -> AsyncIterator[Sequence[str]]:
            async for events in event_pages(self.store):
                yield [str(event.seq) for event in events if not who.in_event(event)]
            seqs = [f"{NAMED}{seq}" for seq in (*who.digests, *who.named)]  # digests first: events tell which they are
            for start in range(0, len(seqs), STEP):
                yield seqs[start : start + STEP]
            await forget_rejected(self.store, who)
            left = await self.store.scrub()
            if left is not None:
                self._log.warning("customer.forgotten", left_to_do=left)

        noted = "customer.forget" + (" --cancel" if ask.cancel else "")
        total = (await self.store.counts())["events"]
        return await self._start(actor, noted, "forget", ask.customer, total, parts(), step, [])


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
