"""The only wiring: what a running gateway is made of, and in which order it starts and stops."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from structlog.typing import FilteringBoundLogger

from gateway.admin.gateway_view import GatewayView
from gateway.admin.outbox import Outbox
from gateway.admin.server import Admin, admin_listener
from gateway.alerts.monitor import Alerts
from gateway.app.certificates import Certificate, read_certificate
from gateway.app.control_socket import controlled
from gateway.app.systemd import HandedOver, Manager
from gateway.config.load import Config
from gateway.config.load import load as load_config
from gateway.config.reload import Load, Reloader
from gateway.config.runtime import Reload, ReloadOutcome, RuntimeConfig
from gateway.config.schema.types import split_listen
from gateway.config.watch import watch
from gateway.core.errors import UsageError
from gateway.core.model import Claim, Finish, Outcome, RejectedRequest
from gateway.core.routing import RouteTable, route
from gateway.core.tracing import Tracer
from gateway.delivery.connection_health import ConnectionChanged, ConnectionObserver
from gateway.delivery.fetch import Fetcher, StripeFetcher
from gateway.delivery.resources import Resources, connection_of
from gateway.delivery.retention import Retention
from gateway.delivery.worker import Observer, Worker
from gateway.intake.backfill.reconcile import Reconciler
from gateway.intake.listener import Listener
from gateway.intake.planning import intake_of
from gateway.intake.rejected import Rejections
from gateway.intake.webhook import Handler
from gateway.plugin import Action, ConnectionSettings
from gateway.store import open_store
from gateway.store.encryption.keyring import Keyring
from gateway.store.encryption.store import with_keys
from gateway.stripe.connections import StripeApis
from gateway.telemetry.metrics import Metrics

DRAIN_SECONDS = 20.0  # attempts under way at SIGTERM get so long; then they are handed back
SHUTDOWN_SECONDS = 5.0  # requests under way get so long
NO_SOCKETS = HandedOver()  # were handed over: it opens its own


@dataclass(frozen=True, slots=True)
class Ready:
    """Said once the gateway answers."""

    public_url: str
    admin: Admin
    seconds: float  # from start to ready
    reloader: Reloader


def observed(metrics: Metrics, alerts: Alerts, observer: Observer | None) -> Observer:
    """An observer that counts attempts and tells of dead letters, then asks another."""

    def observe(claim: Claim, ending: Outcome) -> None:
        if isinstance(ending, Finish):
            delivery, attempt = claim.delivery, ending.attempt
            metrics.attempt(delivery.route, delivery.action, attempt.outcome.value, attempt.duration_seconds)
        alerts.attempt_ended(claim, ending)
        if observer is not None:
            observer(claim, ending)

    return observe


@contextlib.asynccontextmanager
async def running(
    config: Config,
    log: FilteringBoundLogger,
    observer: Observer | None = None,
    drain_seconds: float = DRAIN_SECONDS,
    fetcher: Fetcher | None = None,
    outbox: Outbox | None = None,
    connection_observer: ConnectionObserver | None = None,
    load: Load | None = None,
    sockets: HandedOver = NO_SOCKETS,
) -> AsyncIterator[Ready]:
    """A gateway at work: answers on entry, drained on exit. `fetcher` answers in Stripe's place. Without `load`, the
    files are read as they were the first time, in this process's environment. Listens on `sockets` where there are any.
    Raises StoreError, UsageError (an address in use).
    """
    start = time.monotonic()
    live = RuntimeConfig(config, datetime.now(UTC))
    intake = intake_of(config, live.table)
    context = read_certificate(config)
    certificate = Certificate(context) if context is not None else None
    store = open_store(config.settings.store.url.get_secret_value(), config.folder)
    await store.start()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(store.close)
        store = await with_keys(store, Keyring(config.settings.store.keys()), strict=True)

        def in_force(action: Action[Any], name: str | None, settings: ConnectionSettings | None) -> bool:
            config = live.config
            return config.actions.get(action.name) is action and connection_of(config.connections, name) == settings

        resources = Resources(in_force, log)
        stack.push_async_callback(resources.close)
        apis = StripeApis()
        apis.take(config.accounts.values(), config.settings.stripe.api_base, config.settings.stripe.timeout)
        stack.push_async_callback(apis.close)
        metrics = Metrics()
        asking = fetcher or StripeFetcher(store, apis)
        tracer: Tracer | None = None
        if config.settings.tracing is not None:
            from gateway.telemetry.otel import start_tracing  # imports much, and an extra

            tracer, asking, stop_tracing = start_tracing(config, asking, log)
            stack.push_async_callback(stop_tracing)
        alerts = Alerts(
            store,
            lambda: (live.config, live.table),
            lambda event: route(event, intake.accounts, intake.table, intake.constants),
            log,
            raised=lambda event: metrics.own_event(event.type),
        )
        telling = asyncio.create_task(alerts.run(), name="gateway-alerts")

        async def stop_telling() -> None:
            alerts.stop()
            await telling

        stack.push_async_callback(stop_telling)

        def connection_changed(change: ConnectionChanged) -> None:
            alerts.connection_changed(change)
            if connection_observer is not None:
                connection_observer(change)

        worker = Worker(
            store,
            lambda: (live.config, live.table),
            resources,
            asking,
            log,
            observer=observed(metrics, alerts, observer),
            connection_observer=connection_changed,
            tracer=tracer,
        )
        working = asyncio.create_task(worker.run(), name="gateway-worker")

        async def stop_working() -> None:
            await worker.drain(drain_seconds)
            await working

        stack.push_async_callback(stop_working)
        retention = Retention(store, lambda: live.config.settings.store, log)
        purging = asyncio.create_task(retention.run(), name="gateway-retention")
        stack.push_async_callback(_cancel, purging)

        def prepare(config: Config) -> Callable[[RouteTable], None]:
            context = read_certificate(config)

            def apply(table: RouteTable) -> None:
                nonlocal intake
                intake = intake_of(config, table)
                resources.retire()
                apis.take(config.accounts.values(), config.settings.stripe.api_base, config.settings.stripe.timeout)
                if certificate is not None and context is not None:
                    certificate.in_force = context

            return apply

        def reloaded(result: Reload) -> None:
            metrics.reloaded("failed" if result.outcome is ReloadOutcome.REFUSED else "loaded")
            alerts.reloaded(result)

        reloader = Reloader(live, load or _load_again, prepare, store.waiting, log, on_reload=reloaded)
        admin = await stack.enter_async_context(
            admin_listener(GatewayView(live, worker), store, metrics, log, outbox, sockets.admin)
        )
        rejections = Rejections(store, lambda: live.config.settings.rejected.bounds(), log)
        rejecting = asyncio.create_task(rejections.run(), name="gateway-rejections")

        async def stop_rejecting() -> None:
            rejections.stop()
            await rejecting

        stack.push_async_callback(stop_rejecting)

        def refused(request: RejectedRequest) -> None:
            rejections.put(request)
            alerts.refused(request)

        handler = Handler(store, lambda: intake, log, metrics, refused, alerts.took, tracer)
        listener = Listener(handler, log, metrics.refused)
        stack.push_async_callback(listener.close, SHUTDOWN_SECONDS)

        async def stand_down() -> None:
            """What takes time before the end, while events are still taken."""
            handler.is_stopping = True
            listener.stand_down()
            delay = live.config.settings.server.shutdown_delay
            await asyncio.gather(worker.drain(drain_seconds), asyncio.sleep(delay))

        try:
            await listener.start(
                sockets.public or split_listen(config.settings.server.listen),
                certificate.listening if certificate is not None else None,
            )
        except OSError as error:
            raise UsageError(
                f"server.listen: cannot listen on {config.settings.server.listen}: {error.strerror}"
            ) from None
        if fetcher is None:  # nobody stands in Stripe's place
            reconciling = asyncio.create_task(
                Reconciler(store, apis, lambda: intake, log).run(), name="gateway-reconcile"
            )
            stack.push_async_callback(_cancel, reconciling)
        await stack.enter_async_context(controlled(config.folder / config.settings.reload.socket, reloader, log))
        if config.settings.reload.watch:
            watching = asyncio.create_task(watch(reloader, log), name="gateway-watch")
            stack.push_async_callback(_cancel, watching)
        stack.push_async_callback(stand_down)
        host, port = listener.address
        scheme = "https" if config.settings.server.tls else "http"
        shown = f"[{host}]" if ":" in host else host
        yield Ready(f"{scheme}://{shown}:{port}", admin, time.monotonic() - start, reloader)
        log.info("gateway.stopping")


async def _load_again(previous: Config) -> Config:
    return await asyncio.to_thread(load_config, previous.path, os.environ, previous)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def tune_garbage_collection() -> None:
    """To be called once all is made. What a gateway is made of is not garbage and is not looked through again and
    again; the rest is little, so that a full collection takes a millisecond or two, about once a minute under load.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 5, 5)
    gc.enable()


async def serve(
    config: Config,
    *,
    log: FilteringBoundLogger,
    on_ready: Callable[[Ready], None] | None = None,
    observer: Observer | None = None,
    fetcher: Fetcher | None = None,
    outbox: Outbox | None = None,
    load: Load | None = None,
    is_hangup_end: bool = False,
    sockets: HandedOver = NO_SOCKETS,
    manager: Manager | None = None,
) -> None:
    """Runs a gateway until SIGTERM or SIGINT, then drains it. SIGHUP reloads, or ends it too where that is said.
    `manager` is told how it is.
    """
    manager = manager or Manager({})
    sys.setswitchinterval(0.00005)  # the thread that waits for the disk gets its short turns at once
    loop = asyncio.get_running_loop()
    stop, hangup = asyncio.Event(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, stop.set if is_hangup_end else hangup.set)
    async with (
        manager.watched(),
        running(config, log, observer, fetcher=fetcher, outbox=outbox, load=load, sockets=sockets) as ready,
    ):

        async def reload_at_hangup() -> None:
            while True:
                await hangup.wait()
                hangup.clear()
                manager.reloading()
                result = await ready.reloader.reload("SIGHUP")
                manager.ready(f"{ready.public_url}, configuration {result.version}, last reload {result.outcome}")

        reloading = asyncio.create_task(reload_at_hangup(), name="gateway-hangup")
        tune_garbage_collection()
        log.info(
            "gateway.ready",
            url=ready.public_url,
            admin=ready.admin.url,
            config=config.version,
            start_seconds=round(ready.seconds, 3),
        )
        manager.ready(f"{ready.public_url}, configuration {config.version}")
        if on_ready is not None:
            on_ready(ready)
        try:
            await stop.wait()
        finally:
            manager.stopping()
            await _cancel(reloading)
    log.info("gateway.stopped")
