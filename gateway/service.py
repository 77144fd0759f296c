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

from gateway.control import controlled
from gateway.delivery.resources import Resources, connection_of
from gateway.delivery.worker import Observer, Worker
from gateway.errors import UsageError
from gateway.intake.handler import Handler, Intake, route
from gateway.intake.listener import Listener
from gateway.live import Live
from gateway.model import Event, PlannedDelivery
from gateway.plugin import Action, ConnectionSettings
from gateway.reload import Load, Reloader
from gateway.routing import RouteTable
from gateway.settings.load import Config
from gateway.settings.load import load as load_config
from gateway.settings.schema import split_listen
from gateway.store import open_store
from gateway.tls import Certificate, read_certificate
from gateway.watching import watch

DRAIN_SECONDS = 20.0  # attempts under way at SIGTERM get so long; then they are handed back
SHUTDOWN_SECONDS = 5.0  # requests under way get so long


@dataclass(frozen=True, slots=True)
class Ready:
    """Said once the gateway answers."""

    public_url: str
    seconds: float  # from start to ready
    reloader: Reloader


def intake_of(config: Config, table: RouteTable) -> Intake:
    """What intake needs of a configuration."""
    return Intake(config.accounts, table, config.vars, config.settings.server.max_body)


def replan(config: Config, event: Event) -> tuple[PlannedDelivery, ...]:
    """What today's config owes for a stored event."""
    if event.account not in config.accounts:
        raise UsageError(f"gateway.yaml has no account {event.account} any more")
    return tuple(route(intake_of(config, RouteTable(config.routes)), event)[1])


@contextlib.asynccontextmanager
async def running(
    config: Config,
    log: FilteringBoundLogger,
    observer: Observer | None = None,
    drain_seconds: float = DRAIN_SECONDS,
    load: Load | None = None,
) -> AsyncIterator[Ready]:
    """A gateway at work: answers on entry, drained on exit. Without `load`, the files are read as they were the first
    time, in this process's environment. Raises StoreError, UsageError (an address in use).
    """
    start = time.monotonic()
    live = Live(config, datetime.now(UTC))
    intake = intake_of(config, live.table)
    context = read_certificate(config)
    certificate = Certificate(context) if context is not None else None
    store = open_store(config.settings.store.url.get_secret_value(), config.folder)
    await store.start()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(store.close)

        def in_force(action: Action[Any], name: str | None, settings: ConnectionSettings | None) -> bool:
            config = live.config
            return config.actions.get(action.name) is action and connection_of(config.connections, name) == settings

        resources = Resources(in_force, log)
        stack.push_async_callback(resources.close)
        worker = Worker(store, lambda: (live.config, live.table), resources, log, observer=observer)
        working = asyncio.create_task(worker.run(), name="gateway-worker")

        async def stop_working() -> None:
            await worker.drain(drain_seconds)
            await working

        stack.push_async_callback(stop_working)

        def prepare(config: Config) -> Callable[[RouteTable], None]:
            context = read_certificate(config)

            def apply(table: RouteTable) -> None:
                nonlocal intake
                intake = intake_of(config, table)
                resources.retire()
                if certificate is not None and context is not None:
                    certificate.in_force = context

            return apply

        reloader = Reloader(live, load or _load_again, prepare, store.waiting, log)
        listener = Listener(Handler(store, lambda: intake, log), log)
        stack.push_async_callback(listener.close, SHUTDOWN_SECONDS)
        try:
            await listener.start(
                *split_listen(config.settings.server.listen), certificate.listening if certificate is not None else None
            )
        except OSError as error:
            raise UsageError(
                f"server.listen: cannot listen on {config.settings.server.listen}: {error.strerror}"
            ) from None
        await stack.enter_async_context(controlled(config.folder / config.settings.reload.socket, reloader, log))
        if config.settings.reload.watch:
            watching = asyncio.create_task(watch(reloader, log), name="gateway-watch")
            stack.push_async_callback(_cancel, watching)
        host, port = listener.address
        scheme = "https" if config.settings.server.tls else "http"
        shown = f"[{host}]" if ":" in host else host
        yield Ready(f"{scheme}://{shown}:{port}", time.monotonic() - start, reloader)
        log.info("gateway.stopping")


async def _load_again(previous: Config) -> Config:
    return await asyncio.to_thread(load_config, previous.path, os.environ, previous)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def serve(
    config: Config,
    *,
    log: FilteringBoundLogger,
    on_ready: Callable[[Ready], None] | None = None,
    observer: Observer | None = None,
    load: Load | None = None,
    is_hangup_end: bool = False,
) -> None:
    """Runs a gateway until SIGTERM or SIGINT, then drains it. SIGHUP reloads, or ends it too where that is said."""
    sys.setswitchinterval(0.00005)  # the thread that waits for the disk gets its short turns at once
    loop = asyncio.get_running_loop()
    stop, hangup = asyncio.Event(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, stop.set if is_hangup_end else hangup.set)
    async with running(config, log, observer, load=load) as ready:

        async def reload_at_hangup() -> None:
            while True:
                await hangup.wait()
                hangup.clear()
                await ready.reloader.reload("SIGHUP")

        reloading = asyncio.create_task(reload_at_hangup(), name="gateway-hangup")
        gc.collect()
        gc.freeze()  # what a gateway is made of is not garbage: do not look through it again and again
        gc.set_threshold(10_000, 20, 20)
        log.info("gateway.ready", url=ready.public_url, config=config.version, start_seconds=round(ready.seconds, 3))
        if on_ready is not None:
            on_ready(ready)
        try:
            await stop.wait()
        finally:
            await _cancel(reloading)
    log.info("gateway.stopped")
