"""gateway serve: runs the gateway."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import sys
from typing import TYPE_CHECKING

from gateway.cli.main import app, load_config, options

if TYPE_CHECKING:
    from gateway.app.gateway import Ready

WANTED_DESCRIPTORS = 65_536


@app.command()
def serve() -> None:
    """Run the gateway until SIGTERM or Ctrl-C."""
    if options.dev:
        from gateway.cli.commands.dev import dev

        dev()
        return
    gc.disable()  # what is made from here on stays; `gateway.app.gateway.serve` goes on collecting once all is made
    from gateway.app.gateway import GatewayOptions
    from gateway.app.gateway import serve as run
    from gateway.app.systemd import Manager, handed_over
    from gateway.telemetry import logging as logs

    sockets, manager = handed_over(os.environ), Manager(os.environ)
    config = load_config()
    log = logs.configure(config.settings.log.level, config.settings.log.format)
    for warning in config.warnings:
        log.warning("config.warning", problem=str(warning))

    def on_ready(ready: Ready) -> None:
        if ready.admin.token is not None:  # not through the log, which others may read
            print(f"Console: {ready.admin.sign_in_url}", file=logs.Output(sys.stderr), flush=True)

    run_loop(run(config, log=log, on_ready=on_ready, options=GatewayOptions(sockets=sockets), manager=manager))


def run_loop(main: object) -> None:
    """Runs a coroutine on uvloop where it is to be had, with as many file descriptors as are to be had."""
    raise_descriptor_limit()
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)  # type: ignore[arg-type]
    else:
        uvloop.run(main)  # type: ignore[arg-type]


def raise_descriptor_limit() -> None:
    """Raises this process's soft limit of file descriptors, which many systems set to 1,024, towards its hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(WANTED_DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):  # where the system does not let, it stays as it was
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
