"""What the parts of a running gateway tell, made into own events where a route takes them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from structlog.typing import FilteringBoundLogger

from gateway.alerts.checks import InForce, Watch, lane_connection
from gateway.alerts.events import audit_differing, connection_changed, delivery_dead, reload_failed, signature_failing
from gateway.alerts.publisher import Plan, Publisher
from gateway.alerts.signature_failures import SignatureWatch
from gateway.config.runtime import Reload
from gateway.core.internal_events import DELIVERY_DEAD, OwnEvent, is_own
from gateway.core.model import (
    Claim,
    Delivery,
    DeliveryFilter,
    DeliveryState,
    Event,
    Finish,
    Outcome,
    PlannedDelivery,
    RejectedRequest,
)
from gateway.core.tasks import background
from gateway.delivery.connection_health import ConnectionChanged
from gateway.simulation.auditor import AuditEnded
from gateway.store.protocol import Store

MOST_DEAD_AT_ONCE = 1000  # deliveries of one event that were dead on arrival


class Alerts:
    """One a gateway. Its methods may be called at any time, never wait, and cost next to nothing where no route takes
    own events.
    """

    def __init__(
        self,
        store: Store,
        in_force: InForce,
        plan: Plan,
        log: FilteringBoundLogger,
        raised: Callable[[Event], None] = lambda event: None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._in_force = in_force
        self._now = now
        self._clock = clock  # for what is counted in time: that of the wall may be put back
        self._publisher = Publisher(store, plan, log, raised)
        self._watch = Watch(store, in_force, self.publish, log, now)
        self._signatures = SignatureWatch()

    async def run(self) -> None:
        """Until told to stop; then what is still to be told is committed."""
        async with background(self._watch.run, "gateway-watch-alerts"):
            await self._publisher.run()

    def stop(self) -> None:
        """Has `run` end soon."""
        self._publisher.stop()

    def publish(self, own: OwnEvent | None) -> None:
        """Has an own event committed, where a route takes it."""
        if own is not None and self._is_wanted(own.account, own.type):
            self._publisher.put(own)

    def _is_wanted(self, account: str, event_type: str) -> bool:
        return bool(self._in_force()[1].wanting(account, event_type))

    # -- what the parts tell ----------------------------------------------------------------------------------

    def attempt_ended(self, claim: Claim, ending: Outcome) -> None:
        """How an attempt ended, once that is recorded."""
        if isinstance(ending, Finish) and ending.state is DeliveryState.DEAD:
            self.publish(self._dead(claim.delivery, ending.reason, claim.event.connected_account, self._now()))

    def connection_changed(self, change: ConnectionChanged) -> None:
        """A pause or a recovery."""
        self.publish(connection_changed(change, self._now()))

    def audited(self, ended: AuditEnded) -> None:
        """How an audit of a route ended."""
        self.publish(audit_differing(ended))

    def reloaded(self, reload: Reload) -> None:
        """How a reload ended."""
        self.publish(reload_failed(reload, self._in_force()[0].settings.alerts.repeat))

    def refused(self, request: RejectedRequest) -> None:
        """A request that was refused."""
        alerts = self._in_force()[0].settings.alerts
        reasons = self._signatures.refused(
            request.account,
            request.reason,
            self._clock(),
            failures=alerts.signature_failures,
            within=alerts.signature_within,
            repeat=alerts.repeat,
        )
        if reasons is not None:
            at = request.received_at
            self.publish(signature_failing(request.account, reasons, alerts.signature_within, at, alerts.repeat))

    def took(self, event: Event, planned: Sequence[PlannedDelivery]) -> None:
        """An event that was verified and committed, with what is owed for it."""
        self._signatures.accepted(event.account)
        is_dead = any(delivery.error is not None for delivery in planned)  # its route's `if` raised
        if is_dead and not is_own(event.type) and self._is_wanted(event.account, DELIVERY_DEAD):
            self._publisher.put(lambda: self._dead_on_arrival(event))

    async def _dead_on_arrival(self, event: Event) -> list[OwnEvent]:
        where = DeliveryFilter(event_ids=(event.id,), accounts=(event.account,), states=(DeliveryState.DEAD,))
        events = [
            self._dead(delivery, delivery.reason, event.connected_account, delivery.finished_at or event.received_at)
            for delivery in await self._store.deliveries(where, limit=MOST_DEAD_AT_ONCE)
            if not delivery.attempts
        ]
        return [own for own in events if own is not None]

    def _dead(
        self, delivery: Delivery, reason: str | None, connected_account: str | None, at: datetime
    ) -> OwnEvent | None:
        connection = lane_connection(self._in_force()[1], delivery.lane)
        route = self._in_force()[1].by_name.get(delivery.route)
        owner = None if route is None else route.owner or None
        return delivery_dead(delivery, reason or "", connection, connected_account, at, owner)
