"""Asks Stripe for what did not arrive: when the gateway starts, and again and again. Of several gateways on one store
one does it at a time, and a run of one counts for all.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict

from structlog.typing import FilteringBoundLogger

from gateway.core.errors import GatewayError, StripeUnavailable
from gateway.core.model import Account, EventSource, Reconcile
from gateway.core.tasks import cancel
from gateway.delivery.leases import LeaseLost, NamedLease
from gateway.intake.backfill.importer import CatchUp, WantedEvents, listings, on_behalf_of
from gateway.intake.webhook import Intake
from gateway.store.protocol import Store
from gateway.stripe.connections import StripeApis

SETTLE_SECONDS = 60  # Stripe is still delivering what is younger; only the first run, after an outage, takes it
AGAIN_SECONDS = 30.0  # after a failure
ELSEWHERE_SECONDS = 5.0  # while another holds the lease, or was killed holding it
LOOK_SECONDS = 5.0  # how soon an account that a reload brings is begun with
SKEW_SECONDS = 60  # that Stripe's clock may be ahead


class Reconciler:
    """One a gateway. `run` until it is cancelled."""

    def __init__(self, store: Store, apis: StripeApis, intake: Callable[[], Intake], log: FilteringBoundLogger) -> None:
        self._store = store
        self._apis = apis
        self._intake = intake
        self._log = log
        self._started = time.monotonic()
        self._whole: set[str] = set()  # accounts that were reconciled since the start

    async def run(self) -> None:
        """Each account has a task of its own: one that Stripe refuses holds up no other."""
        tasks: dict[str, asyncio.Task[None]] = {}
        try:
            while True:
                for name, account in self._intake().accounts.items():
                    if account.reconcile is not None and self._is_free(name, tasks):
                        tasks[name] = asyncio.create_task(self._account(name), name=f"gateway-reconcile-{name}")
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            await cancel(*tasks.values())

    def _is_free(self, name: str, tasks: Mapping[str, asyncio.Task[None]]) -> bool:
        """Whether an account has no task at work. One that broke is told of, and begun anew."""
        task = tasks.get(name)
        if task is None or not task.done():
            return task is None
        error = task.exception()
        if error is not None:
            self._log.error("reconcile.broke", account=name, error=f"{type(error).__name__}: {error}")
        return True

    async def _account(self, name: str) -> None:
        while True:
            account = self._intake().accounts.get(name)
            if account is None or account.reconcile is None:
                return
            try:
                wait = await self._turn(account, account.reconcile)
            except LeaseLost as error:
                self._log.warning("reconcile.lost", account=name, error=str(error))
                wait = AGAIN_SECONDS
            except GatewayError as error:
                wait = AGAIN_SECONDS
                if isinstance(error, StripeUnavailable):
                    wait = max(wait, error.after_seconds or 0.0)
                self._log.error("reconcile.failed", account=name, error=str(error), again_in_seconds=wait)
            await asyncio.sleep(wait)

    async def _turn(self, account: Account, reconcile: Reconcile) -> float:
        """One look, or none where another gateway was just there. How many seconds until the next."""
        lease = NamedLease(self._store, f"reconcile {account.name}")
        first = account.name not in self._whole
        async with lease.held() as is_ours:
            if not is_ours:
                self._log.debug("reconcile.elsewhere", account=account.name)
                return min(ELSEWHERE_SECONDS, reconcile.every_seconds)
            note = await self._store.note(lease.name)
            enough = time.monotonic() - self._started if first else reconcile.every_seconds * 0.9
            if note is None or note.age_seconds >= enough:
                await self._reconcile(account, reconcile, lease, first)
                note = None
            self._whole.add(account.name)
        return max(0.0, reconcile.every_seconds - (note.age_seconds if note is not None else 0.0))

    async def _reconcile(self, account: Account, reconcile: Reconcile, lease: NamedLease, first: bool) -> None:
        begun = time.monotonic()
        now = int(time.time())
        until = now + SKEW_SECONDS if first else now - SETTLE_SECONDS
        intake = self._intake()
        wanted = WantedEvents(intake.table, account.name)
        since = now - int(reconcile.look_back_seconds)
        async with self._apis.of(account) as api:
            catch_up = CatchUp(self._store, api, intake, EventSource.RECONCILE, self._log, still_ours=lease.check)
            for connected in await on_behalf_of(api, reconcile.connected_accounts):
                for listing in listings(
                    account, wanted, undelivered=reconcile.undelivered, connected_account=connected
                ):
                    await catch_up.run(listing, since, until, wanted)
        tally = asdict(catch_up.tally)
        await self._store.keep_note(lease.name, tally)
        seconds = round(time.monotonic() - begun, 3)
        self._log.info("reconcile.finished", account=account.name, **tally, seconds=seconds)
