"""Goes through what Stripe has of a route's objects, has a sample of it compared, and puts right what differs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import msgspec
from structlog.typing import FilteringBoundLogger

from gateway.config.load import Config
from gateway.core.model import Account, Event, EventFilter, EventSource, PlannedDelivery, Route
from gateway.core.routing import RouteTable
from gateway.intake.backfill.importer import CatchUp
from gateway.intake.backfill.listing import Window
from gateway.intake.backfill.objects import Kind, event_of, object_listings
from gateway.intake.backfill.seeding import REPEATED, narrowed
from gateway.intake.planning import intake_of
from gateway.simulation.audit import AuditFinding, AuditResult, RouteAudit
from gateway.store.protocol import Store
from gateway.stripe.api import StripeApi
from gateway.stripe.connections import StripeApis

_TICK = timedelta(seconds=1)  # the time of events has seconds: what happened in the same one is newer


@dataclass(frozen=True, slots=True)
class AuditOrder:
    """What is to be compared."""

    route: Route
    kinds: tuple[Kind, ...]
    account: Account
    connected_account: str | None = None
    since: int = 0  # Unix times, of the objects' `created`
    until: int = 2**31
    share: float = 1.0  # of the objects, chosen by their ids
    salt: str = ""  # another one chooses others


def is_sampled(object_id: str, share: float, salt: str) -> bool:
    """Whether an object is in a sample of that share."""
    if share >= 1.0:
        return True
    digest = hashlib.sha256(f"{salt} {object_id}".encode()).digest()
    return int.from_bytes(digest[:8]) < share * 2**64


class _AuditPass(CatchUp):
    """A CatchUp that brings nothing into the inbox."""

    def __init__(
        self, store: Store, api: StripeApi, config: Config, log: FilteringBoundLogger, *,
        still_ours: Callable[[], None], audit: RouteAudit, order: AuditOrder,
        on_progress: Callable[[AuditResult], None],
    ) -> None:  # fmt: skip
        super().__init__(store, api, intake_of(config), EventSource.SEED, log, still_ours=still_ours)
        self._audit = audit
        self._order = order
        self._on_progress = on_progress

    async def _take_in(self, window: Window, wanted: Callable[[Event], bool]) -> None:
        for event in window.events:
            self._audit.result.objects += 1
            if event.type:
                chosen = is_sampled(str(event.object_id), self._order.share, self._order.salt)
                await self._audit.take(event, is_sampled=chosen)
                self._still_ours()
        self._on_progress(self._audit.result)


async def audit_route(
    config: Config,
    order: AuditOrder,
    store: Store,
    apis: StripeApis,
    log: FilteringBoundLogger,
    *,
    still_ours: Callable[[], None] = lambda: None,
    on_progress: Callable[[AuditResult], None] = lambda result: None,
    for_repair: bool = False,
) -> AuditResult:
    """Compares; changes nothing. `for_repair`: its findings may be given to `repair`. Raises AuditFailed,
    StripeApiError, StoreError, and what `still_ours` raises.
    """
    told = {each.type: each for kind in order.kinds for each in kind.types}
    audit = RouteAudit(config, order.route, store, apis, log, told, keeps_objects=for_repair)
    try:
        async with apis.of(order.account) as api:

            async def looked_at(_: Window) -> None:  # not before a window is done: one that fails is taken anew
                if audit.has_many_doubts:
                    await audit.look_again(api)

            going = _AuditPass(
                store, api, config, log, still_ours=still_ours, audit=audit, order=order, on_progress=on_progress
            )
            for listing in object_listings(order.account, order.route, order.kinds, order.connected_account):
                await going.run(listing, order.since, order.until, lambda event: True, looked_at)
            await audit.look_again(api)
    finally:
        await audit.close()
    return audit.result


@dataclass(slots=True)
class Repair:
    """What was done about findings."""

    put_in: int = 0  # deliveries that will write the rows
    on_their_way: int = 0  # left: a delivery of them is still to run, or an event came since they were compared
    impossible: int = 0  # left: nothing would be written, or their action needs others that do more than write rows


async def repair(
    config: Config, route: Route, findings: Sequence[AuditFinding], store: Store, now: Callable[[], datetime]
) -> Repair:
    """Has the gateway write the rows that differ, as an audit `for_repair` found them: each by an event of the object
    as it was when it was compared, whose time is just before then, so that it is newer than nothing that happened
    since; through the route's own actions and those they need. Raises StoreError.
    """
    done = Repair()
    by_event: dict[str, list[AuditFinding]] = {}
    for finding in findings:
        if finding.is_on_its_way:
            done.on_their_way += 1
        else:
            by_event.setdefault(finding.event.id, []).append(finding)
    for of_one in by_event.values():
        actions = {finding.action for finding in of_one}
        names = actions.union(*(route.needed_by(action) for action in actions))
        uses = [use for use in route.actions if use.name in names]
        is_unsent = route.why_disabled is not None or route.dry_run or any(use.dry_run for use in uses)
        if is_unsent or any(use.uses not in REPEATED for use in uses):
            done.impossible += len(of_one)
            continue
        event = of_one[0].event
        since = EventFilter(accounts=(event.account,), object_ids=(str(event.object_id),), since=event.received_at)
        if await store.events(since, limit=1):
            done.on_their_way += len(of_one)
            continue
        account = config.accounts[event.account]
        value = msgspec.json.decode(event.body)["data"]["object"]
        at = now()
        told_at = event.received_at - _TICK
        again = event_of(value, event.type, account, route.name, event.connected_account, at, told_at=told_at)
        intake = intake_of(config, RouteTable((narrowed(route, names),)))
        routed, planned = intake.route(again)
        await store.add(routed, [_again(delivery) for delivery in planned])
        done.put_in += len(of_one)
    return done


def _again(delivery: PlannedDelivery) -> PlannedDelivery:
    """The same whatever `once_per` says: it is done, and has to be done anew."""
    return replace(delivery, once_key=None)
