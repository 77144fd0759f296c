"""A gateway as a process of its own: until a signal ends it, and how the service manager hears of it."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from gateway.app.gateway import NO_OPTIONS, GatewayOptions, Ready, running
from gateway.app.systemd import Manager
from gateway.config.load import Config
from gateway.core.tasks import background

SWITCH_SECONDS = 0.00005  # the thread that waits for the disk gets its short turns at once


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
    options: GatewayOptions = NO_OPTIONS,
    is_hangup_end: bool = False,
    manager: Manager | None = None,
) -> None:
    """Runs a gateway until SIGTERM or SIGINT, then drains it. SIGHUP reloads, or ends it too where that is said.
    `manager` is told how it is.
    """
    manager = manager or Manager({})
    sys.setswitchinterval(SWITCH_SECONDS)
    loop = asyncio.get_running_loop()
    stop, hangup = asyncio.Event(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, stop.set if is_hangup_end else hangup.set)
    async with manager.watched(), running(config, log, options) as ready:

        async def reload_at_hangup() -> None:
            while True:
                await hangup.wait()
                hangup.clear()
                manager.reloading()
                result = await ready.reloader.reload("SIGHUP")
                manager.ready(f"{ready.public_url}, configuration {result.version}, last reload {result.outcome}")

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
        async with background(
            reload_at_hangup,
            "gateway-hangup",
        ):
            await stop.wait()
            manager.stopping()
    log.info("gateway.stopped")
