"""The only wiring: what a running gateway is made of, and in which order it starts and stops."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from structlog.typing import FilteringBoundLogger

from gateway.admin.gateway_view import GatewayView
from gateway.admin.outbox import Outbox
from gateway.admin.server import NO_SOCKETS as NO_ADMIN_SOCKETS
from gateway.admin.server import Admin, AdminSockets, admin_listener
from gateway.alerts.monitor import Alerts
from gateway.app.certificates import Certificate, read_certificate
from gateway.app.control_socket import ReloaderControl, controlled
from gateway.app.systemd import HandedOver
from gateway.config.load import Config
from gateway.config.load import load as load_config
from gateway.config.reload import Load, Reloader
from gateway.config.runtime import Reload, ReloadOutcome, RuntimeConfig
from gateway.config.schema.types import split_listen
from gateway.config.watch import watch
from gateway.core.errors import cannot_listen
from gateway.core.model import Claim, Finish, Outcome, RejectedRequest
from gateway.core.routing import RouteTable
from gateway.core.tasks import background
from gateway.core.tracing import Tracer
from gateway.delivery.fetch import Fetcher, StripeFetcher
from gateway.delivery.recovery import Recovery
from gateway.delivery.resources import Resources, connection_of
from gateway.delivery.retention import Retention
from gateway.delivery.stripe_writes import StripeWriters, StripeWrites
from gateway.delivery.worker import Observer, Worker
from gateway.intake.backfill.reconcile import Reconciler
from gateway.intake.planning import intake_of
from gateway.intake.rejected import Rejections
from gateway.intake.server import PublicServer
from gateway.intake.webhook import Handler
from gateway.plugin import Action, ConnectionSettings
from gateway.simulation.auditor import AuditEnded, Auditor
from gateway.store import open_store
from gateway.store.encoding.store import EncodedStore, with_codec
from gateway.store.encryption.keyring import Keyring
from gateway.store.protocol import Store
from gateway.stripe.connections import StripeApis
from gateway.telemetry.metrics import Metrics

DRAIN_SECONDS = 20.0  # attempts under way at SIGTERM get so long; then they are handed back
SHUTDOWN_SECONDS = 5.0  # requests under way get so long


NO_SOCKETS = HandedOver()  # were handed over: it opens its own


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What one of several processes of a gateway is given by the one that started it."""

    public: list[socket.socket]
    is_kept: bool  # the public ones stay open when the gateway ends
    admin: AdminSockets
    reload: Callable[[str], Awaitable[object]]  # asked where a file has changed: all processes take it, or none


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayOptions:
    """What a gateway is run with beside its configuration."""

    observer: Observer | None = None  # told of each attempt that ended
    fetcher: Fetcher | None = None  # answers in Stripe's place, which then is not asked at all
    writers: StripeWriters | None = None  # the same for what is written there
    outbox: Outbox | None = None  # what was caught, for the console to show
    load: Load | None = None  # None: a reload reads the files as they were the first time, in this environment
    sockets: HandedOver = NO_SOCKETS  # listened on, where there are any
    worker: WorkerOptions | None = None  # where it is one of several processes


NO_OPTIONS = GatewayOptions()


@dataclass(frozen=True, slots=True)
class Ready:
    """Said once the gateway answers."""

    public_url: str
    admin: Admin
    seconds: float  # from start to ready
    gateway: Gateway

    @property
    def reloader(self) -> Reloader:
        """What takes a changed configuration."""
        return self.gateway.reloader


class Gateway:
    """The parts of one gateway. They are made here, and started and stopped by `at_work`."""

    def __init__(self, config: Config, store: Store, log: FilteringBoundLogger, options: GatewayOptions) -> None:
        """Raises UsageError where the certificate cannot be read."""
        self.config = config  # at the start; `live` has the one in force
        self.options = options
        self.store = store
        self.log = log
        self.live = RuntimeConfig(config, datetime.now(UTC))
        self.intake = intake_of(config, self.live.table)
        context = read_certificate(config)
        self.certificate = Certificate(context) if context is not None else None
        self.metrics = Metrics()
        self.resources = Resources(self._is_in_force, log)
        self.apis = StripeApis()
        self._ask_stripe_by(config)
        fetcher = options.fetcher or StripeFetcher(store, self.apis)
        self.tracer, fetcher, self._stop_tracing = _traced(config, fetcher, log)
        self.alerts = Alerts(
            store,
            self.live.in_force,
            lambda event: self.intake.route(event),
            log,
            raised=lambda event: self.metrics.own_event(event.type),
        )
        self.worker = Worker(
            store,
            self.live.in_force,
            self.resources,
            fetcher,
            log,
            observer=self._attempt_ended,
            connection_observer=self.alerts.connection_changed,
            tracer=self.tracer,
            writers=options.writers or StripeWrites(self.apis),
        )
        self.recovery = Recovery(self.worker.connections, self.live.in_force, self.resources, log)
        if isinstance(store, EncodedStore):
            store.on_damaged = self._damaged
        self.retention = Retention(store, lambda: self.live.config.settings.store, log)
        self.rejections = Rejections(store, lambda: self.live.config.settings.rejected.bounds(), log)
        self.handler = Handler(
            store, lambda: self.intake, log, self.metrics, self._refused, self.alerts.took, self.tracer
        )
        self.server = PublicServer(self.handler, log, self.metrics.refused)
        self.reloader = Reloader(
            self.live, options.load or _load_again, self._prepare, store.waiting, log, on_reload=self._reloaded
        )

    # -- starting and stopping --------------------------------------------------------------------------------

    def _parts(self) -> Sequence[AbstractAsyncContextManager[None]]:
        """In the order of starting. They stop in the opposite order: first what brings work, last what work needs."""
        return (
            _closed_by(self.resources.close),
            _closed_by(self.apis.close),
            _closed_by(self._stop_tracing),
            background(self.alerts.run, "gateway-alerts", self.alerts.stop),
            background(self.worker.run, "gateway-worker", self._drain),
            background(self.recovery.run, "gateway-recovery"),
            background(self.retention.run, "gateway-retention"),
            self._console(),
            background(self.rejections.run, "gateway-rejections", self.rejections.stop),
            self._public_listener(),
            self._reconciling(),
            self._auditing(),
            self._controlled(),
            self._watching(),
            _closed_by(self._stand_down),
        )

    @contextlib.asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Answers while the block runs, and drains afterwards. Raises StoreError, UsageError (an address in use)."""
        async with contextlib.AsyncExitStack() as stack:
            for part in self._parts():
                await stack.enter_async_context(part)
            yield
            self.log.info("gateway.stopping")

    @property
    def public_url(self) -> str:
        """Where Stripe posts."""
        scheme = "https" if self.config.settings.server.tls else "http"
        host, port = self.server.address
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    @contextlib.asynccontextmanager
    async def _console(self) -> AsyncIterator[None]:
        view, handed_over = GatewayView(self.live, self.worker), self.options.sockets.admin
        sockets = AdminSockets((handed_over,)) if handed_over is not None else NO_ADMIN_SOCKETS
        if self.options.worker is not None:
            sockets = self.options.worker.admin
        async with admin_listener(view, self.store, self.metrics, self.log, self.options.outbox, sockets) as self.admin:
            yield

    @contextlib.asynccontextmanager
    async def _public_listener(self) -> AsyncIterator[None]:
        listen = self.config.settings.server.listen
        certificate = self.certificate.listening if self.certificate is not None else None
        async with _closed_by(lambda: self.server.close(SHUTDOWN_SECONDS)):
            try:
                worker, handed_over = self.options.worker, self.options.sockets.public
                if worker is not None:
                    await self.server.start(worker.public, certificate, is_kept=worker.is_kept)
                else:
                    await self.server.start(handed_over or split_listen(listen), certificate)
            except OSError as error:
                raise cannot_listen("server.listen", listen, error) from None
            yield

    def _reconciling(self) -> AbstractAsyncContextManager[None]:
        if self.options.fetcher is not None:
            return contextlib.nullcontext()
        reconciler = Reconciler(self.store, self.apis, lambda: self.intake, self.log)
        return background(reconciler.run, "gateway-reconcile")

    def _auditing(self) -> AbstractAsyncContextManager[None]:
        if self.options.fetcher is not None:
            return contextlib.nullcontext()
        auditor = Auditor(self.store, self.apis, self.live.in_force, self.log, self._audited)
        return background(auditor.run, "gateway-audit")

    def _watching(self) -> AbstractAsyncContextManager[None]:
        if not self.config.settings.reload.watch:
            return contextlib.nullcontext()
        reload = self.options.worker.reload if self.options.worker else None
        return background(lambda: watch(self.reloader, self.log, reload), "gateway-watch")

    def _controlled(self) -> AbstractAsyncContextManager[None]:
        if self.options.worker is not None:  # whoever started it is asked
            return contextlib.nullcontext()
        path = self.config.folder / self.config.settings.reload.socket
        return controlled(path, ReloaderControl(self.reloader), self.log)

    async def _stand_down(self) -> None:
        """What takes time before the end, while events are still taken."""
        self.handler.is_stopping = True
        self.server.is_leaving = True
        await asyncio.gather(self._drain(), asyncio.sleep(self.live.config.settings.server.shutdown_delay))

    async def _drain(self) -> None:
        await self.worker.drain(DRAIN_SECONDS)

    # -- who takes part in a reload ---------------------------------------------------------------------------

    def _prepare(self, config: Config) -> Callable[[RouteTable], None]:
        """Reads what a configuration needs beside its files, and gives what puts it into force. Raises UsageError."""
        context = read_certificate(config)

        def put_into_force(table: RouteTable) -> None:
            self.intake = intake_of(config, table)
            self.resources.retire()
            self._ask_stripe_by(config)
            if self.certificate is not None and context is not None:
                self.certificate.in_force = context

        return put_into_force

    def _reloaded(self, result: Reload) -> None:
        self.metrics.reloaded("failed" if result.outcome is ReloadOutcome.REFUSED else "loaded")
        self.alerts.reloaded(result)

    def _ask_stripe_by(self, config: Config) -> None:
        self.apis.take(config.accounts.values(), config.settings.stripe.api_base, config.settings.stripe.timeout)

    def _is_in_force(self, action: Action[Any], name: str | None, settings: ConnectionSettings | None) -> bool:
        config = self.live.config
        return config.actions.get(action.name) is action and connection_of(config.connections, name) == settings

    # -- what the parts tell each other -----------------------------------------------------------------------

    def _attempt_ended(self, claim: Claim, ending: Outcome) -> None:
        if isinstance(ending, Finish):
            delivery, attempt = claim.delivery, ending.attempt
            self.metrics.attempt(delivery.route, delivery.action, attempt.outcome.value, attempt.duration_seconds)
        self.alerts.attempt_ended(claim, ending)
        if self.options.observer is not None:
            self.options.observer(claim, ending)

    def _damaged(self, claim: Claim, ending: Finish) -> None:
        """A row of the store cannot be read: the delivery is dead, though nobody has run it."""
        delivery = claim.delivery
        self.log.error(
            "delivery.dead",
            account=delivery.account,
            event_id=delivery.event_id,
            delivery_id=delivery.id,
            route=delivery.route,
            action=delivery.action,
            error=ending.reason,
        )
        self._attempt_ended(claim, ending)

    def _audited(self, ended: AuditEnded) -> None:
        self.metrics.audited(ended.route.name, ended.account, ended.rows, ended.differences)
        self.alerts.audited(ended)

    def _refused(self, request: RejectedRequest) -> None:
        self.rejections.put(request)
        self.alerts.refused(request)


@contextlib.asynccontextmanager
async def running(
    config: Config, log: FilteringBoundLogger, options: GatewayOptions = NO_OPTIONS
) -> AsyncIterator[Ready]:
    """A gateway at work: answers on entry, drained on exit. Raises StoreError, UsageError (an address in use)."""
    start = time.monotonic()
    opened = open_store(config.settings.store.address(), config.folder)
    await opened.start()
    async with _closed_by(opened.close):
        kept = config.settings.store
        store = await with_codec(opened, Keyring(kept.keys()), compresses=kept.compress, strict=True)
        gateway = Gateway(config, store, log, options)
        async with gateway.at_work():
            yield Ready(gateway.public_url, gateway.admin, time.monotonic() - start, gateway)


@contextlib.asynccontextmanager
async def _closed_by(close: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await close()


def _traced(
    config: Config, fetcher: Fetcher, log: FilteringBoundLogger
) -> tuple[Tracer | None, Fetcher, Callable[[], Awaitable[None]]]:
    """What traces, the fetcher traced, and what sends the last spans; where nothing is traced, nothing."""
    if config.settings.tracing is None:
        return None, fetcher, lambda: asyncio.sleep(0)
    from gateway.telemetry.otel import start_tracing  # imports much, and an extra

    return start_tracing(config, fetcher, log)


async def _load_again(previous: Config) -> Config:
    return await asyncio.to_thread(load_config, previous.path, os.environ, previous)
