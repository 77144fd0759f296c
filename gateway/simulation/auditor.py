"""Audits routes by themselves, as their `audit` says: of several gateways on one store one does it at a time, and what
came of it counts for all. One route after the other, slowly.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from structlog.typing import FilteringBoundLogger

from gateway.config.load import Config
from gateway.core.errors import GatewayError, place_of
from gateway.core.model import Account, AuditRule, Route
from gateway.core.routing import RouteTable
from gateway.delivery.leases import NamedLease
from gateway.intake.backfill.objects import paced, seedable
from gateway.simulation.audit import AuditResult
from gateway.simulation.audit_pass import AuditOrder, audit_route
from gateway.store.protocol import Store
from gateway.stripe.connections import StripeApis

LOOK_SECONDS = 5.0
AGAIN_SECONDS = 600.0  # after a failure
PER_SECOND = 10.0  # requests to Stripe
MOST_NAMED = 20  # objects in an AuditEnded


@dataclass(frozen=True, slots=True)
class AuditEnded:
    """What an audit of a route came to, for one account."""

    route: Route
    account: str
    at: datetime
    objects: int
    rows: int
    differences: Counter[str]  # by why
    named: tuple[str, ...]  # the first objects that differ

    def as_note(self) -> dict[str, object]:
        """As it is kept, for the console and for whoever audits next."""
        return {"objects": self.objects, "rows": self.rows, "differences": dict(self.differences)}


def note_name(route: str, account: str) -> str:
    """Under which an audit's lease is held and its end is kept."""
    return f"audit {route} {account}"


class Auditor:
    """One a gateway. `run` until it is cancelled."""

    def __init__(
        self,
        store: Store,
        apis: StripeApis,
        in_force: Callable[[], tuple[Config, RouteTable]],
        log: FilteringBoundLogger,
        ended: Callable[[AuditEnded], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._apis = apis
        self._in_force = in_force
        self._log = log
        self._ended = ended
        self._clock = clock
        self._not_before: dict[str, float] = {}  # by note: after a failure

    async def run(self) -> None:
        """Looks again and again for an audit that is due."""
        while True:
            for route, account, rule in list(self._asked()):
                name = note_name(route.name, account.name)
                try:
                    await self._turn(route, account, rule)
                except GatewayError as failure:
                    self._not_before[name] = self._clock() + AGAIN_SECONDS
                    self._log.error("audit.failed", route=route.name, account=account.name, error=str(failure))
                except Exception as fault:  # of ours, or of a plugin: the other audits go on
                    self._not_before[name] = self._clock() + AGAIN_SECONDS
                    error = f"{place_of(fault)}: {type(fault).__name__}"
                    self._log.error("audit.broke", route=route.name, account=account.name, error=error)
            await asyncio.sleep(LOOK_SECONDS)

    def _asked(self) -> Iterator[tuple[Route, Account, AuditRule]]:
        config, _ = self._in_force()
        for route in config.routes:
            for account in config.accounts.values():
                is_named = route.accounts is None or account.name in route.accounts
                if route.audit is not None and route.is_enabled and is_named and account.api_key:
                    yield route, account, route.audit

    async def _turn(self, route: Route, account: Account, rule: AuditRule) -> None:
        """One audit, where it is due and no other gateway is at it. Raises StripeApiError, StoreError, AuditFailed."""
        lease = NamedLease(self._store, note_name(route.name, account.name))
        if self._not_before.get(lease.name, 0.0) > self._clock():
            return
        if not await self._is_due(lease.name, rule):
            return
        async with lease.held() as is_ours:
            if is_ours and await self._is_due(lease.name, rule):  # else another one has just ended it
                await self._audit(route, account, rule, lease)

    async def _is_due(self, name: str, rule: AuditRule) -> bool:
        note = await self._store.note(name)
        return note is None or note.age_seconds >= rule.every_seconds

    async def _audit(self, route: Route, account: Account, rule: AuditRule, lease: NamedLease) -> None:
        begun, (config, _) = self._clock(), self._in_force()
        owner = paced(account, PER_SECOND)
        config = replace(config, accounts={**config.accounts, account.name: owner})
        kinds = seedable(route.events, takes_changes=True).kinds
        at = datetime.now(UTC)
        order = AuditOrder(route, kinds, owner, share=rule.share, salt=at.isoformat())
        result = await audit_route(config, order, self._store, self._apis, self._log, still_ours=lease.check)
        ended = ended_audit(route, account.name, at, result)
        await self._store.keep_note(lease.name, ended.as_note())
        seconds = round(self._clock() - begun, 3)
        told: dict[str, object] = {why: count for why, count in ended.differences.items() if count}
        if result.unknown:
            reason, _ = result.unknown.most_common(1)[0]
            told |= {"not_compared": result.unknown.total(), "reason": reason}
        log = self._log.warning if told else self._log.info
        log("audit.finished", route=route.name, account=account.name, rows=ended.rows, seconds=seconds, **told)
        self._ended(ended)


def ended_audit(route: Route, account: str, at: datetime, result: AuditResult) -> AuditEnded:
    """What is told of an audit: what is on its way by itself is no difference worth a word."""
    findings = [finding for finding in result.findings if not finding.is_on_its_way]
    named = tuple(dict.fromkeys(str(finding.event.object_id) for finding in findings))[:MOST_NAMED]
    by_reason = Counter({"missed": 0, "late": 0, "edited": 0})
    by_reason.update(finding.why for finding in findings)
    return AuditEnded(route, account, at, result.objects, result.rows, by_reason, named)
