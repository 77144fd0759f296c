"""gateway serve: runs the gateway."""

from __future__ import annotations

import gc
import os
import sys
from typing import TYPE_CHECKING

from gateway.cli.event_loop import run_loop
from gateway.cli.main import app, load_config, options
from gateway.cli.optional_imports import hidden

if TYPE_CHECKING:
    from gateway.app.gateway import Ready


@app.command()
def serve() -> None:
    """Run the gateway until SIGTERM or Ctrl-C."""
    if options.dev:
        from gateway.cli.commands.dev import dev

        dev()
        return
    gc.disable()  # what is made from here on stays; `gateway.app.gateway.serve` goes on collecting once all is made
    # stripe would load requests for its synchronous clients, structlog greenlet, and rich for tracebacks on a terminal
    with hidden("requests", "greenlet", *([] if sys.stderr.isatty() else ["rich"])):
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
