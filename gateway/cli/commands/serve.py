"""gateway serve: runs the gateway."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.event_loop import run_loop
from gateway.cli.main import BadUsage, app, load_config, options
from gateway.cli.optional_imports import hidden

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from gateway.app.gateway import Ready
    from gateway.app.systemd import HandedOver, Manager
    from gateway.app.worker_place import WorkerPlace
    from gateway.config.load import Config


@app.command()
def serve(
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, max=64, help="So many processes, on PostgreSQL; instead of server.workers.", show_default=False
        ),
    ] = None,
) -> None:
    """Run the gateway until SIGTERM or Ctrl-C."""
    if options.dev:
        if workers is not None and workers > 1:
            raise BadUsage("--workers: what --dev runs is one process, on SQLite")
        from gateway.cli.commands.dev import dev

        dev()
        return
    from gateway.app.systemd import Manager, handed_over
    from gateway.app.worker_place import place_of

    place, sockets, manager = place_of(os.environ), handed_over(os.environ), Manager(os.environ)
    gc.disable()  # what is made from here on stays; it goes on once all is made
    if workers is None or workers == 1 or place is not None:
        # stripe would load requests for its synchronous clients, structlog greenlet, Windows's colorama, and rich for a
        # terminal
        with hidden("requests", "greenlet", "colorama", *([] if sys.stderr.isatty() else ["rich"])):
            from gateway.app import serving, worker_process  # noqa: F401 - imported here, without what is hidden
    config = load_config()
    count = 1 if place is not None else workers or config.settings.server.workers
    if count > 1:
        _refuse_one_process(config, count)
    from gateway.telemetry import logging as logs

    log = logs.configure(config.settings.log.level, config.settings.log.format)
    if place is not None:
        _work(config, place, log.bind(worker=place.number))
        return
    for warning in config.warnings:
        log.warning("config.warning", problem=str(warning))
    if count == 1:
        _serve(config, sockets, manager, log)
    else:
        _supervise(config, count, sockets, manager, log)


def _refuse_one_process(config: Config, count: int) -> None:
    from gateway.config.checks.processes import ONE_PROCESS, WAY_OUT, is_of_one_process

    if is_of_one_process(config.settings):
        raise BadUsage(f"--workers {count}: {ONE_PROCESS}\n    {WAY_OUT}")


def _serve(config: Config, sockets: HandedOver, manager: Manager, log: FilteringBoundLogger) -> None:
    from gateway.app.gateway import GatewayOptions
    from gateway.app.serving import serve as run

    def on_ready(ready: Ready) -> None:
        if ready.admin.token is not None:
            _tell_console(ready.admin.sign_in_url)

    run_loop(run(config, log=log, on_ready=on_ready, options=GatewayOptions(sockets=sockets), manager=manager))


def _work(config: Config, place: WorkerPlace, log: FilteringBoundLogger) -> None:
    from gateway.app.worker_process import work

    run_loop(work(config, place, log))


def _supervise(config: Config, count: int, sockets: HandedOver, manager: Manager, log: FilteringBoundLogger) -> None:
    from gateway.app.supervisor import supervise

    command = [sys.executable, "-P", "-m", "gateway", "--config", str(options.config), "serve"]
    gc.enable()

    def on_ready(sign_in_url: str) -> None:
        if sign_in_url:
            _tell_console(sign_in_url)

    asyncio.run(supervise(config, count, command, log=log, handed_over=sockets, manager=manager, on_ready=on_ready))


def _tell_console(url: str) -> None:
    """Not through the log, which others may read."""
    from gateway.telemetry.logging import Output

    print(f"Console: {url}", file=Output(sys.stderr), flush=True)
